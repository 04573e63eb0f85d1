//! Graphs with nodes that are not ours: tract runs them, with the largest regions of our nodes as
//! single operations.

mod guard;
pub mod reference;
mod regions;

use std::path::Path;
use std::sync::Arc;

use prost::Message;
use tract_linalg::multithread::{Executor, multithread_tract_scope};
use tract_onnx::data_resolver::ModelDataResolver;
use tract_onnx::prelude::*;

use crate::error::{Error, Result};
use crate::graph::TensorInfo;
use crate::kernels::Arenas;
use crate::onnx::ModelProto;
use crate::plan::StepInfo;
use crate::simd::Simd;

/// Refuses weights outside the ONNX file: a path in a model must never open another file
/// (CVE-2026-55832), and the package's hash covers only the ONNX.
struct NoExternalData;

impl ModelDataResolver for NoExternalData {
    fn read_bytes_from_path(
        &self,
        _: &mut Vec<u8>,
        path: &Path,
        _: usize,
        _: Option<usize>,
    ) -> TractResult<()> {
        Err(TractError::msg(format!("weights in another file ({}) are refused", path.display())))
    }
}

fn framework() -> tract_onnx::Onnx {
    let mut onnx = tract_onnx::onnx();
    onnx.provider = Arc::new(NoExternalData);
    onnx
}

/// A model in tract's own types.
fn theirs(model: &ModelProto) -> TractResult<tract_onnx::pb::ModelProto> {
    Ok(tract_onnx::pb::ModelProto::decode(&*model.encode_to_vec())?)
}

/// A graph as tract runs it.
pub struct Model {
    plan: Arc<TypedSimplePlan>,
    outputs: Vec<TensorInfo>,
}

impl Model {
    /// `foreign` is a node for which the graph is not ours.
    ///
    /// # Errors
    /// tract's, for what it cannot run either.
    pub fn new(
        name: &str,
        model: &ModelProto,
        foreign: &str,
        inputs: &[TensorInfo],
        simd: Simd,
        arenas: &Arenas,
    ) -> Result<Model> {
        log::debug!("a graph is left to tract, with {foreign}");
        Self::compile(model, inputs, simd, arenas).map_err(|e| Error::graph(name, text(e)))
    }

    fn compile(
        model: &ModelProto,
        inputs: &[TensorInfo],
        simd: Simd,
        arenas: &Arenas,
    ) -> TractResult<Model> {
        let typed = regions::with_regions(&framework(), model, inputs, simd, arenas)?;
        let outputs = model.graph.iter().flat_map(|g| &g.output).enumerate();
        let outputs = outputs.map(|(i, o)| tensor_info(&o.name, typed.output_fact(i)?));
        let outputs = outputs.collect::<TractResult<_>>()?;
        let typed = typed.into_optimized()?;
        guard::check_sizes(&typed)?;
        Ok(Model { plan: typed.into_runnable()?, outputs })
    }

    pub fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    /// As `Network::run`; `inputs` are the tensors that `data` holds.
    ///
    /// # Errors
    /// tract's.
    pub fn run(
        &self,
        name: &str,
        inputs: &[TensorInfo],
        data: &[&[f32]],
        outputs: &mut Vec<Vec<f32>>,
    ) -> Result<()> {
        // tract's `Executor::multithread(1)` would use every core (sonos/tract#2894);
        // `RayonGlobal` means the pool of the calling thread.
        let executor = match rayon::current_num_threads() {
            1 => Executor::SingleThread,
            _ => Executor::RayonGlobal,
        };
        let run = || {
            let tensors = inputs.iter().zip(data);
            let tensors =
                tensors.map(|(i, data)| Ok(Tensor::from_shape(&i.shape, data)?.into_tvalue()));
            let results = self.plan.run(tensors.collect::<TractResult<_>>()?)?;
            outputs.resize_with(results.len(), Vec::new);
            for (output, result) in outputs.iter_mut().zip(&results) {
                output.clear();
                output.extend_from_slice(result.try_as_plain_ram()?.as_slice::<f32>()?);
            }
            Ok(())
        };
        multithread_tract_scope(executor, run).map_err(|e| Error::graph(name, text(e)))
    }

    /// tract's nodes, and the steps of our regions among them.
    pub fn steps(&self) -> Vec<StepInfo> {
        regions::steps(self.plan.model())
    }

    /// Of all regions together.
    pub fn arena_bytes(&self) -> usize {
        regions::arena_bytes(self.plan.model())
    }
}

fn tensor_info(name: &str, fact: &TypedFact) -> TractResult<TensorInfo> {
    let shape = fact.shape.as_concrete().filter(|_| fact.datum_type == f32::datum_type());
    let shape = shape.ok_or_else(|| {
        let (kind, shape) = (fact.datum_type, &fact.shape);
        TractError::msg(format!("{name}: expected F32 of a fixed shape, found {kind:?} {shape:?}"))
    })?;
    Ok(TensorInfo { name: name.to_string(), shape: shape.to_vec() })
}

/// An error with its causes.
fn text(e: TractError) -> String {
    format!("{e:#}")
}
