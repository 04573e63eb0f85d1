//! In place of tract, where it was not built in.

use crate::error::{Error, Result};
use crate::graph::TensorInfo;
use crate::kernels::Arenas;
use crate::onnx::ModelProto;
use crate::plan::StepInfo;
use crate::simd::Simd;

/// There is none.
pub enum Model {}

impl Model {
    /// `foreign` is a node for which the graph is not ours.
    ///
    /// # Errors
    /// [`Error::NeedsFull`], always.
    pub fn new(
        name: &str,
        _: &ModelProto,
        foreign: &str,
        _: &[TensorInfo],
        _: Simd,
        _: &Arenas,
    ) -> Result<Model> {
        Err(Error::NeedsFull { graph: name.into(), node: foreign.into() })
    }

    pub fn outputs(&self) -> &[TensorInfo] {
        match *self {}
    }

    pub fn run(
        &self,
        _: &str,
        _: &[TensorInfo],
        _: &[&[f32]],
        _: &mut Vec<Vec<f32>>,
    ) -> Result<()> {
        match *self {}
    }

    pub fn steps(&self) -> Vec<StepInfo> {
        match *self {}
    }

    pub fn arena_bytes(&self) -> usize {
        match *self {}
    }
}
