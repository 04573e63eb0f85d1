//! One ONNX graph, compiled for this CPU.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rayon::prelude::*;
use tract_linalg::multithread::{Executor, multithread_tract_scope};
use tract_onnx::data_resolver::ModelDataResolver;
use tract_onnx::pb::tensor_shape_proto::dimension;
use tract_onnx::pb::{ModelProto, ValueInfoProto, type_proto};
use tract_onnx::prelude::{Tensor as Tract, *};
use tract_onnx::tract_hir::internal::TractErrorContext;

use super::graph::{LARGEST_IMAGE, Tensor, is_possible};
use super::kernels::Arenas;
use super::plan::{Plan, StepInfo};
use super::{Simd, delegate, guard};
use crate::{Error, Result};

/// Compiling takes time and memory that grow with the square of the nodes.
const LARGEST_GRAPH: usize = 10_000;

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
    program: Program,
}

enum Program {
    /// Every node is ours.
    Own(Box<Plan>),
    /// tract runs the graph; regions of our nodes are single operations in it.
    Tract(Arc<TypedSimplePlan>),
}

impl Network {
    /// Reads an ONNX file's content; `name` is for messages.
    ///
    /// # Errors
    /// [`Error::Engine`] when it is not an ONNX model.
    pub fn parse(name: &str, mut onnx: &[u8]) -> Result<ModelProto> {
        framework().proto_model_for_read(&mut onnx).map_err(|e| failed(name, e))
    }

    /// Compiles a model whose shapes are all known.
    ///
    /// # Errors
    /// [`Error::Engine`] when it cannot run here.
    pub fn new(name: &str, model: &ModelProto, simd: Simd) -> Result<Self> {
        Self::sharing(name, model, simd, &Arenas::default())
    }

    /// As [`Network::new`], with the memory of other networks.
    pub(super) fn sharing(
        name: &str,
        model: &ModelProto,
        simd: Simd,
        arenas: &Arenas,
    ) -> Result<Self> {
        caught(|| Self::compile(name, model, simd, arenas)).map_err(|e| failed(name, e))
    }

    fn compile(name: &str, model: &ModelProto, simd: Simd, arenas: &Arenas) -> TractResult<Self> {
        let onnx = framework();
        let graph = model.graph.clone().unwrap_or_default();
        if graph.node.len() > LARGEST_GRAPH {
            let found = graph.node.len();
            let problem = format!("expected at most {LARGEST_GRAPH} nodes, found {found}");
            return Err(TractError::msg(problem));
        }
        guard::check_types(&graph)?;
        let is_weight = |name: &str| graph.initializer.iter().any(|t| t.name == name);
        let inputs = graph.input.iter().filter(|i| !is_weight(&i.name));
        let inputs = inputs.map(fixed_shape).collect::<TractResult<Vec<_>>>()?;
        if let Some(graph) = delegate::whole(&graph, &inputs) {
            let plan = Plan::new(graph, simd, arenas).context(delegate::TOO_LARGE)?;
            let info = |t: &Tensor| TensorInfo { name: t.name.clone(), shape: t.shape() };
            let outputs = plan.outputs.iter().map(info).collect();
            return Ok(Network {
                name: name.into(),
                inputs,
                outputs,
                program: Program::Own(Box::new(plan)),
            });
        }
        let typed = delegate::with_regions(&onnx, model, &inputs, simd, arenas)?;
        let outputs = graph.output.iter().enumerate();
        let outputs = outputs.map(|(i, o)| tensor_info(&o.name, typed.output_fact(i)?));
        let outputs = outputs.collect::<TractResult<_>>()?;
        let typed = typed.into_optimized()?;
        guard::check_sizes(&typed)?;
        let program = Program::Tract(typed.into_runnable()?);
        Ok(Network { name: name.into(), inputs, outputs, program })
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
        let sure: &[bool] = match &self.program {
            Program::Own(plan) => {
                plan.run(inputs, outputs);
                &plan.finite
            }
            Program::Tract(plan) => {
                // tract's `Executor::multithread(1)` would use every core (sonos/tract#2894);
                // `RayonGlobal` means the pool of the calling thread.
                let executor = match rayon::current_num_threads() {
                    1 => Executor::SingleThread,
                    _ => Executor::RayonGlobal,
                };
                let run = || self.run_tract(plan, inputs, outputs);
                multithread_tract_scope(executor, || caught(run))
                    .map_err(|e| failed(&self.name, e))?;
                &[]
            }
        };
        let finite = |part: &[f32]| part.iter().all(|v| v.is_finite());
        if outputs
            .iter()
            .enumerate()
            .all(|(i, output)| sure.get(i) == Some(&true) || output.par_chunks(1 << 16).all(finite))
        {
            return Ok(());
        }
        let problem = "expected numbers, found values that are not finite";
        Err(failed(&self.name, TractError::msg(problem)))
    }

    /// What runs, in order: our steps, and the nodes that tract runs.
    pub fn steps(&self) -> Vec<StepInfo> {
        match &self.program {
            Program::Own(plan) => plan.steps().cloned().collect(),
            Program::Tract(plan) => delegate::steps(plan.model()),
        }
    }

    /// Bytes of memory for the images between our steps.
    pub fn arena_bytes(&self) -> usize {
        match &self.program {
            Program::Own(plan) => plan.arena_bytes,
            Program::Tract(plan) => delegate::arena_bytes(plan.model()),
        }
    }

    /// Runs once and tells of every step of our engine, in order, how long it took; of none for a
    /// graph that tract runs.
    ///
    /// # Panics
    /// As [`Network::run`].
    pub fn profile(&self, inputs: &[&[f32]], observe: impl FnMut(&StepInfo, Duration)) {
        if let Program::Own(plan) = &self.program {
            plan.run_observed(inputs, &mut Vec::new(), observe);
        }
    }

    fn run_tract(
        &self,
        plan: &Arc<TypedSimplePlan>,
        inputs: &[&[f32]],
        outputs: &mut Vec<Vec<f32>>,
    ) -> TractResult<()> {
        let tensors = self.inputs.iter().zip(inputs);
        let tensors = tensors.map(|(i, data)| Ok(Tract::from_shape(&i.shape, data)?.into_tvalue()));
        let results = plan.run(tensors.collect::<TractResult<_>>()?)?;
        outputs.resize_with(results.len(), Vec::new);
        for (output, result) in outputs.iter_mut().zip(&results) {
            output.clear();
            output.extend_from_slice(result.try_as_plain_ram()?.as_slice::<f32>()?);
        }
        Ok(())
    }
}

/// tract panics at some models that break ONNX's rules.
fn caught<T>(work: impl FnOnce() -> TractResult<T>) -> TractResult<T> {
    let panicked = "it breaks a rule of ONNX, for which tract has a panic and no message";
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(TractError::msg(panicked)))
}

/// A graph input's shape; every dimension must be given.
fn fixed_shape(input: &ValueInfoProto) -> TractResult<TensorInfo> {
    let kind = input.r#type.as_ref().and_then(|t| t.value.as_ref());
    let Some(type_proto::Value::TensorType(tensor)) = kind else {
        return Err(TractError::msg(format!("input {}: expected a tensor", input.name)));
    };
    let dims = tensor.shape.iter().flat_map(|s| &s.dim).map(|d| match &d.value {
        Some(dimension::Value::DimValue(n)) => usize::try_from(*n).ok(),
        _ => None,
    });
    let shape =
        dims.collect::<Option<Vec<usize>>>().filter(|s| !s.is_empty() && tensor.elem_type == 1);
    let shape = shape.ok_or_else(|| {
        TractError::msg(format!("input {}: expected f32 of a fixed shape", input.name))
    })?;
    if !is_possible(&shape) {
        let problem = format!("expected 1 to {LARGEST_IMAGE} values, found {shape:?}");
        return Err(TractError::msg(format!("input {}: {problem}", input.name)));
    }
    Ok(TensorInfo { name: input.name.clone(), shape })
}

fn tensor_info(name: &str, fact: &TypedFact) -> TractResult<TensorInfo> {
    let shape = fact.shape.as_concrete().filter(|_| fact.datum_type == f32::datum_type());
    let shape = shape.ok_or_else(|| {
        let (kind, shape) = (fact.datum_type, &fact.shape);
        TractError::msg(format!("{name}: expected F32 of a fixed shape, found {kind:?} {shape:?}"))
    })?;
    Ok(TensorInfo { name: name.to_string(), shape: shape.to_vec() })
}

fn failed(name: &str, e: TractError) -> Error {
    Error::Engine { graph: name.to_string(), problem: format!("{e:#}").replace('\n', " ") }
}
