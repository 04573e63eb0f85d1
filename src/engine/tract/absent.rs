//! In place of tract, where it was not built in.

use super::kernels::Arenas;
use super::plan::StepInfo;
use super::{Simd, TensorInfo};
use crate::onnx::ModelProto;

/// There is none.
pub enum Model {}

impl Model {
    /// `foreign` is a node for which the graph is not ours.
    ///
    /// # Errors
    /// Always.
    pub fn new(
        _: &ModelProto,
        foreign: &str,
        _: &[TensorInfo],
        _: Simd,
        _: &Arenas,
    ) -> Result<Model, String> {
        Err(format!(
            "{foreign}: expected what intraop's own engine runs, as this program was built without \
             tract; build it with the feature `tract`"
        ))
    }

    pub fn outputs(&self) -> &[TensorInfo] {
        match *self {}
    }

    pub fn run(&self, _: &[TensorInfo], _: &[&[f32]], _: &mut Vec<Vec<f32>>) -> Result<(), String> {
        match *self {}
    }

    pub fn steps(&self) -> Vec<StepInfo> {
        match *self {}
    }

    pub fn arena_bytes(&self) -> usize {
        match *self {}
    }
}
