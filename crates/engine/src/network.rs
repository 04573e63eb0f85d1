//! One ONNX graph, compiled for this CPU.

use std::collections::HashSet;
use std::time::Duration;

use prost::Message;
use rayon::prelude::*;

use crate::error::{Error, Result, caught};
use crate::graph::{LARGEST_IMAGE, Tensor, TensorInfo, is_possible, whole};
use crate::kernels::Arenas;
use crate::onnx::read::check_types;
use crate::onnx::tensor_shape_proto::dimension;
use crate::onnx::{GraphProto, ModelProto, ValueInfoProto, type_proto};
use crate::plan::{Plan, StepInfo, TOO_LARGE};
use crate::{Simd, tract};

/// The most nodes of a graph: compiling takes time and memory that grow with the square of the nodes.
pub const LARGEST_GRAPH: usize = 10_000;

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
    Tract(tract::Model),
}

impl Network {
    /// Reads an ONNX file's content; `name` is for messages.
    ///
    /// # Errors
    /// [`Error::Graph`] when it is not an ONNX model.
    pub fn parse(name: &str, onnx: &[u8]) -> Result<ModelProto> {
        ModelProto::decode(onnx).map_err(|e| Error::graph(name, e.to_string()))
    }

    /// Compiles a model whose shapes are all known.
    ///
    /// # Errors
    /// [`Error::Graph`] when it cannot run here, [`Error::NeedsFull`] where only the fallback could.
    pub fn new(name: &str, model: &ModelProto, simd: Simd) -> Result<Self> {
        Self::sharing(name, model, simd, &Arenas::default())
    }

    /// As [`Network::new`], with the memory of other networks.
    ///
    /// # Errors
    /// As [`Network::new`].
    pub fn sharing(name: &str, model: &ModelProto, simd: Simd, arenas: &Arenas) -> Result<Self> {
        caught(name, || Self::compile(name, model, simd, arenas))
    }

    fn compile(name: &str, model: &ModelProto, simd: Simd, arenas: &Arenas) -> Result<Self> {
        let wrong = |problem| Error::graph(name, problem);
        let empty = GraphProto::default();
        let graph = model.graph.as_ref().unwrap_or(&empty);
        if graph.node.len() > LARGEST_GRAPH {
            let found = graph.node.len();
            return Err(wrong(format!("expected at most {LARGEST_GRAPH} nodes, found {found}")));
        }
        check_types(graph).map_err(wrong)?;
        let weights: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
        let inputs = graph.input.iter().filter(|i| !weights.contains(i.name.as_str()));
        let inputs = inputs.map(fixed_shape).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
        let (outputs, program) = match whole(graph, &inputs) {
            Ok(graph) => {
                let plan = Plan::new(graph, simd, arenas).ok_or_else(|| wrong(TOO_LARGE.into()))?;
                let info = |t: &Tensor| TensorInfo { name: t.name.clone(), shape: t.shape() };
                let outputs = plan.outputs.iter().map(info).collect();
                (outputs, Program::Own(Box::new(plan)))
            }
            Err(foreign) => {
                let compiled = tract::Model::new(name, model, &foreign, &inputs, simd, arenas)?;
                (compiled.outputs().to_vec(), Program::Tract(compiled))
            }
        };
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
    /// [`Error::Graph`] when the engine fails or an output is not finite.
    ///
    /// # Panics
    /// If an input has not its tensor's number of elements.
    pub fn run(&self, inputs: &[&[f32]], outputs: &mut Vec<Vec<f32>>) -> Result<()> {
        let sure: &[bool] = match &self.program {
            Program::Own(plan) => {
                plan.run(inputs, outputs);
                &plan.finite
            }
            Program::Tract(model) => {
                caught(&self.name, || model.run(&self.name, &self.inputs, inputs, outputs))?;
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
        Err(Error::graph(&self.name, "expected numbers, found values that are not finite".into()))
    }

    /// What runs, in order: our steps, and the nodes that tract runs.
    pub fn steps(&self) -> Vec<StepInfo> {
        match &self.program {
            Program::Own(plan) => plan.steps().cloned().collect(),
            Program::Tract(model) => model.steps(),
        }
    }

    /// Bytes of memory for the images between our steps.
    pub fn arena_bytes(&self) -> usize {
        match &self.program {
            Program::Own(plan) => plan.arena_bytes,
            Program::Tract(model) => model.arena_bytes(),
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
}

/// A graph input's shape; every dimension must be given.
fn fixed_shape(input: &ValueInfoProto) -> Result<TensorInfo, String> {
    let kind = input.r#type.as_ref().and_then(|t| t.value.as_ref());
    let Some(type_proto::Value::TensorType(tensor)) = kind else {
        return Err(format!("input {}: expected a tensor", input.name));
    };
    let dims = tensor.shape.iter().flat_map(|s| &s.dim).map(|d| match &d.value {
        Some(dimension::Value::DimValue(n)) => usize::try_from(*n).ok(),
        _ => None,
    });
    let shape =
        dims.collect::<Option<Vec<usize>>>().filter(|s| !s.is_empty() && tensor.elem_type == 1);
    let shape =
        shape.ok_or_else(|| format!("input {}: expected f32 of a fixed shape", input.name))?;
    if !is_possible(&shape) {
        let problem = format!("expected 1 to {LARGEST_IMAGE} values, found {shape:?}");
        return Err(format!("input {}: {problem}", input.name));
    }
    Ok(TensorInfo { name: input.name.clone(), shape })
}
