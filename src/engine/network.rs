//! One ONNX graph, compiled for this CPU.

use std::path::Path;
use std::sync::Arc;

use tract_linalg::multithread::{Executor, multithread_tract_scope};
use tract_onnx::data_resolver::ModelDataResolver;
use tract_onnx::pb;
use tract_onnx::prelude::*;

use super::Simd;
use crate::{Error, Result};

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

/// Name and shape of an input or output tensor, `[1, channels, (z,) y, x]` for images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    pub name: String,
    pub shape: Vec<usize>,
}

/// One ONNX graph of f32 inputs and outputs, compiled for this CPU.
pub struct Network {
    name: String,
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
    plan: Arc<TypedSimplePlan>,
}

impl Network {
    /// Reads an ONNX file's content; `name` is for messages.
    ///
    /// # Errors
    /// [`Error::Engine`] when it is not an ONNX model.
    pub fn parse(name: &str, mut onnx: &[u8]) -> Result<pb::ModelProto> {
        framework().proto_model_for_read(&mut onnx).map_err(|e| failed(name, e))
    }

    /// Compiles a model whose shapes are all known.
    ///
    /// # Errors
    /// [`Error::Engine`] when it cannot run here.
    pub fn new(name: &str, model: &pb::ModelProto, _simd: Simd) -> Result<Self> {
        let failed = |e| failed(name, e);
        let typed = framework().model_for_proto_model(model).map_err(failed)?;
        let typed = typed.into_typed().map_err(failed)?;
        let graph = model.graph.clone().unwrap_or_default();
        let info = |name: &str, fact: &TypedFact| {
            let shape = fact.shape.as_concrete().map(<[usize]>::to_vec);
            let shape = shape.filter(|_| fact.datum_type == f32::datum_type());
            let shape = shape.ok_or_else(|| {
                let (kind, shape) = (fact.datum_type, &fact.shape);
                TractError::msg(format!(
                    "{name}: expected F32 of a fixed shape, found {kind:?} {shape:?}"
                ))
            })?;
            Ok(TensorInfo { name: name.to_string(), shape })
        };
        let is_weight = |name: &str| graph.initializer.iter().any(|t| t.name == name);
        let names = graph.input.iter().map(|i| i.name.as_str()).filter(|n| !is_weight(n));
        let inputs = names.enumerate().map(|(i, n)| info(n, typed.input_fact(i)?));
        let inputs = inputs.collect::<TractResult<_>>().map_err(failed)?;
        let names = graph.output.iter().map(|o| o.name.as_str());
        let outputs = names.enumerate().map(|(i, n)| info(n, typed.output_fact(i)?));
        let outputs = outputs.collect::<TractResult<_>>().map_err(failed)?;
        let plan = typed.into_optimized().and_then(TypedModel::into_runnable).map_err(failed)?;
        Ok(Network { name: name.to_string(), inputs, outputs, plan })
    }

    pub fn inputs(&self) -> &[TensorInfo] {
        &self.inputs
    }

    pub fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    /// Computes every output from the inputs, all in memory order, on the threads of the rayon
    /// pool that it is called in. The vectors of `outputs` are reused.
    ///
    /// # Errors
    /// [`Error::Engine`] when the engine fails or an output is not finite.
    ///
    /// # Panics
    /// If an input has not its tensor's number of elements.
    pub fn run(&self, inputs: &[&[f32]], outputs: &mut Vec<Vec<f32>>) -> Result<()> {
        // tract's `Executor::multithread(1)` would use every core (sonos/tract#2894);
        // `RayonGlobal` means the pool of the calling thread.
        let executor = match rayon::current_num_threads() {
            1 => Executor::SingleThread,
            _ => Executor::RayonGlobal,
        };
        multithread_tract_scope(executor, || self.run_tract(inputs, outputs))
            .map_err(|e| failed(&self.name, e))?;
        if outputs.iter().flatten().all(|v| v.is_finite()) {
            return Ok(());
        }
        Err(failed(
            &self.name,
            TractError::msg("expected numbers, found values that are not finite"),
        ))
    }

    fn run_tract(&self, inputs: &[&[f32]], outputs: &mut Vec<Vec<f32>>) -> TractResult<()> {
        let tensors = self.inputs.iter().zip(inputs);
        let tensors =
            tensors.map(|(i, data)| Ok(Tensor::from_shape(&i.shape, data)?.into_tvalue()));
        let results = self.plan.run(tensors.collect::<TractResult<_>>()?)?;
        outputs.resize_with(results.len(), Vec::new);
        for (output, result) in outputs.iter_mut().zip(&results) {
            output.clear();
            output.extend_from_slice(result.try_as_plain_ram()?.as_slice::<f32>()?);
        }
        Ok(())
    }
}

fn failed(name: &str, e: TractError) -> Error {
    Error::Engine { graph: name.to_string(), problem: format!("{e:#}").replace('\n', " ") }
}
