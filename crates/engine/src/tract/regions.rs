//! The regions of an ONNX graph that are ours become single operations inside tract's graph. This
//! happens on the ONNX nodes, before tract rewrites them: quantized weights are still int8 there.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tract_onnx::Onnx;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::expandable::{Expansion, expand};
use tract_onnx::tract_hir::tract_core::ops::Cost;
use tract_onnx::tract_hir::tract_core::ops::konst::Const;
use tract_onnx::tract_hir::tract_core::ops::source::TypedSource;

use super::{guard, theirs};
use crate::graph::{Graph, Id, LARGEST_IMAGE, Node, TensorInfo, Translator, is_possible};
use crate::kernels::Arenas;
use crate::onnx::read::Constants;
use crate::onnx::{GraphProto, ModelProto, NodeProto};
use crate::plan::{Plan, StepInfo, TOO_LARGE};
use crate::simd::Simd;

/// tract's model of the graph, in which each region of our nodes is one operation.
///
/// # Errors
/// tract's, for what it cannot run either.
pub fn with_regions(
    framework: &Onnx,
    model: &ModelProto,
    inputs: &[TensorInfo],
    simd: Simd,
    arenas: &Arenas,
) -> TractResult<TypedModel> {
    let mut proto = model.clone();
    let graph = proto.graph.get_or_insert_default();
    guard::check_nodes(graph)?;
    let prefix = unused_prefix(graph);
    let shapes = shapes(framework, model)?;
    // Lists such as Resize's may be empty; with empty images tract reads where nothing is.
    for (name, shape) in shapes.iter().filter(|(_, shape)| shape.len() > 1) {
        if !is_possible(shape) {
            bail!("{name}: expected 1 to {LARGEST_IMAGE} values, found {shape:?}");
        }
    }
    let constants = Constants::new(graph);
    let regions = regions(graph, &constants, inputs, &shapes);
    let ours: HashSet<&str> = regions.iter().flat_map(|r| &r.members).map(String::as_str).collect();
    graph.node.retain(|n| !n.output.iter().any(|o| ours.contains(o.as_str())));
    for (i, region) in regions.iter().enumerate() {
        let name = |id: &Id| region.graph.tensors[*id].name.clone();
        graph.node.push(NodeProto {
            name: format!("{prefix}{i}"),
            op_type: "intraop.Region".into(),
            input: region.graph.inputs.iter().map(name).collect(),
            output: region.graph.outputs.iter().map(name).collect(),
            ..NodeProto::default()
        });
    }
    let read: HashSet<String> = graph.node.iter().flat_map(|n| n.input.clone()).collect();
    let kept = graph.output.iter().map(|o| o.name.clone()).collect::<HashSet<_>>();
    graph.initializer.retain(|t| read.contains(&t.name) || kept.contains(&t.name));
    let mut inference = framework.model_for_proto_model(&theirs(&proto)?)?;
    guard::guard(&mut inference);
    for (i, region) in regions.into_iter().enumerate() {
        let name = format!("{prefix}{i}");
        let plan = Arc::new(Plan::new(region.graph, simd, arenas).context(TOO_LARGE)?);
        let node = inference.nodes_mut().iter_mut().find(|n| n.name == name);
        node.context("a region's node")?.op = expand(Region { plan });
    }
    inference.into_typed()
}

/// The start of names that the model has none of, for the regions' nodes.
fn unused_prefix(graph: &GraphProto) -> String {
    let nodes = graph.node.iter().flat_map(|n| n.output.iter().chain([&n.name]));
    let ends = graph.input.iter().map(|i| &i.name);
    let names: Vec<&String> =
        nodes.chain(ends).chain(graph.initializer.iter().map(|t| &t.name)).collect();
    let mut prefix = String::from("intraop.region.");
    while names.iter().any(|name| name.starts_with(&prefix)) {
        prefix.push('.');
    }
    prefix
}

/// What tract finds out, before anything runs, of the tensors whose shape follows from its inputs'
/// shapes: name, fact and shape.
pub(super) fn facts(
    framework: &Onnx,
    model: &ModelProto,
) -> TractResult<Vec<(String, InferenceFact, Vec<usize>)>> {
    let parsed = framework.parse(&theirs(model)?, None)?;
    let mut inference = parsed.model;
    guard::guard(&mut inference);
    inference.analyse(false)?;
    let known = parsed.outlets_by_name.into_iter().filter_map(|(name, outlet)| {
        let fact = inference.outlet_fact(outlet).ok()?.clone();
        let shape = fact.shape.concretize()?;
        let shape: Option<Vec<usize>> = shape.iter().map(|d| d.to_usize().ok()).collect();
        Some((name, fact, shape?))
    });
    Ok(known.collect())
}

/// Shapes that tract finds for the f32 tensors of the graph, by name.
fn shapes(framework: &Onnx, model: &ModelProto) -> TractResult<HashMap<String, Vec<usize>>> {
    let facts = facts(framework, model)?.into_iter();
    let f32 = |fact: &InferenceFact| fact.datum_type.concretize() == Some(f32::datum_type());
    Ok(facts.filter(|(_, fact, _)| f32(fact)).map(|(name, _, shape)| (name, shape)).collect())
}

struct RegionGraph {
    graph: Graph,
    /// The names of the tensors that its nodes compute.
    members: HashSet<String>,
}

/// The largest sets of our nodes that can each run as one operation.
fn regions(
    onnx: &GraphProto,
    constants: &Constants,
    inputs: &[TensorInfo],
    shapes: &HashMap<String, Vec<usize>>,
) -> Vec<RegionGraph> {
    let mut denied = HashSet::new();
    loop {
        let found = regions_without(onnx, constants, inputs, shapes, &denied);
        // tract speaks f32 with us: int8 tensors stay inside a region.
        let crossing = found.iter().flat_map(|r| {
            let ends = r.graph.inputs.iter().chain(&r.graph.outputs);
            let tensors = ends.map(|id| &r.graph.tensors[*id]);
            tensors.filter(|t| t.quant.is_some()).map(|t| t.name.clone())
        });
        let crossing: Vec<String> = crossing.filter(|name| !denied.contains(name)).collect();
        if crossing.is_empty() {
            return found;
        }
        denied.extend(crossing);
    }
}

fn regions_without(
    onnx: &GraphProto,
    constants: &Constants,
    inputs: &[TensorInfo],
    shapes: &HashMap<String, Vec<usize>>,
    denied: &HashSet<String>,
) -> Vec<RegionGraph> {
    let mut translator = Translator::new(constants);
    for input in inputs {
        translator.add_source(&input.name, &input.shape);
    }
    // A node's stage grows with every change of side on the way to it: nodes of one stage and
    // side never depend on each other through the other side.
    let mut stages: HashMap<&str, (usize, bool)> = HashMap::new();
    let mut of_node = Vec::new();
    for node in &onnx.node {
        if node.output.iter().all(|o| constants.get(o).is_some()) {
            continue;
        }
        let ours = translator.add_node(node, denied);
        if !ours {
            for output in &node.output {
                if let Some(shape) = shapes.get(output) {
                    translator.add_source(output, shape);
                }
            }
        }
        let before = node.input.iter().filter_map(|name| stages.get(name.as_str()));
        let stage = before.map(|(s, side)| s + usize::from(*side != ours)).max().unwrap_or(0);
        stages.extend(node.output.iter().map(|o| (o.as_str(), (stage, ours))));
        if ours {
            of_node.push(stage);
        }
    }
    let read_outside = |name: &str, stage: usize| {
        let outside = |n: &&NodeProto| {
            n.output.first().and_then(|o| stages.get(o.as_str())) != Some(&(stage, true))
        };
        let mut readers = onnx.node.iter().filter(outside).flat_map(|n| &n.input);
        readers.any(|i| i == name) || onnx.output.iter().any(|o| o.name == name)
    };
    let all = translator.graph;
    let last = of_node.iter().max().map_or(0, |s| s + 1);
    let stage_graph = |stage: usize| {
        let nodes = all.nodes.iter().zip(&of_node).filter(|(_, s)| **s == stage);
        let nodes: Vec<_> = nodes.map(|(n, _)| n.clone()).collect();
        let made: HashSet<Id> = nodes.iter().map(|n| n.output).collect();
        let mut inputs: Vec<Id> = nodes.iter().flat_map(|n| n.inputs.clone()).collect();
        inputs.sort_unstable();
        inputs.dedup();
        inputs.retain(|id| !made.contains(id));
        let mut outputs: Vec<Id> = made.iter().copied().collect();
        outputs.retain(|id| read_outside(&all.tensors[*id].name, stage));
        outputs.sort_unstable();
        let members = made.iter().map(|id| all.tensors[*id].name.clone()).collect();
        RegionGraph { graph: part(&all, nodes, inputs, outputs), members }
    };
    (0..last).map(stage_graph).filter(|r| !r.graph.nodes.is_empty()).collect()
}

/// A graph of some of the nodes, with only the tensors that these know.
fn part(all: &Graph, mut nodes: Vec<Node>, mut inputs: Vec<Id>, mut outputs: Vec<Id>) -> Graph {
    let made = nodes.iter().map(|n| n.output);
    let mut known: Vec<Id> = inputs.iter().copied().chain(made).collect();
    known.sort_unstable();
    let own = nodes.iter_mut().flat_map(|n| n.inputs.iter_mut().chain([&mut n.output]));
    for id in own.chain(&mut inputs).chain(&mut outputs) {
        *id = known.partition_point(|k| *k < *id);
    }
    let tensors = known.iter().map(|id| all.tensors[*id].clone()).collect();
    Graph { tensors, nodes, inputs, outputs }
}

/// A plan as an operation of tract.
#[derive(Clone)]
struct Region {
    plan: Arc<Plan>,
}

impl std::fmt::Debug for Region {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Region of {} steps", self.plan.steps().count())
    }
}

impl PartialEq for Region {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.plan, &other.plan)
    }
}

impl Eq for Region {}

impl Expansion for Region {
    fn name(&self) -> StaticName {
        "Region".into()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(self.plan.outputs.len())
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        _: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        for (proxy, tensor) in outputs.iter().zip(&self.plan.outputs) {
            s.equals(&proxy.datum_type, f32::datum_type())?;
            let shape: TVec<TDim> = tensor.shape().iter().map(|n| n.to_dim()).collect();
            s.equals(&proxy.shape, shape)?;
        }
        Ok(())
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, self.clone(), inputs)
    }
}

impl Op for Region {
    fn name(&self) -> StaticName {
        "Region".into()
    }
    op_as_typed_op!();
}

impl EvalOp for Region {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let slices = inputs.iter().map(|t| t.try_as_plain_ram()?.as_slice::<f32>());
        let slices = slices.collect::<TractResult<Vec<_>>>()?;
        let mut outputs = Vec::new();
        self.plan.run(&slices, &mut outputs);
        let tensors = self.plan.outputs.iter().zip(&outputs);
        tensors.map(|(t, v)| Ok(Tensor::from_shape(&t.shape(), v)?.into_tvalue())).collect()
    }
}

impl TypedOp for Region {
    fn output_facts(&self, _: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let fact = |t: &crate::graph::Tensor| f32::fact(t.shape());
        Ok(self.plan.outputs.iter().map(fact).collect())
    }
    as_op!();
}

fn region_of(node: &TypedNode) -> Option<&Region> {
    node.op.downcast_ref::<Region>()
}

/// What a model with regions computes, the regions step by step: no weights, no inputs.
pub fn steps(model: &TypedModel) -> Vec<StepInfo> {
    let of_node = |node: &TypedNode| match region_of(node) {
        Some(region) => region.plan.steps().cloned().collect(),
        None => {
            let facts: Vec<String> = node.outputs.iter().map(|o| format!("{:?}", o.fact)).collect();
            let (op, macs) = (node.op.name(), macs(model, node));
            vec![StepInfo::of_tract(&node.name, &op, facts.join(" + "), macs)]
        }
    };
    let computes = |n: &&TypedNode| !n.op_is::<Const>() && !n.op_is::<TypedSource>();
    model.nodes().iter().filter(computes).flat_map(of_node).collect()
}

/// What tract says that a node multiplies and adds; 0 where it does not know.
fn macs(model: &TypedModel, node: &TypedNode) -> usize {
    let cost = model.node_input_facts(node.id).and_then(|facts| node.op.cost(&facts));
    let multiplied = |(kind, n): &(Cost, TDim)| match kind {
        Cost::FMA(_) => n.to_usize().unwrap_or(0),
        _ => 0,
    };
    cost.map_or(0, |cost| cost.iter().map(multiplied).sum())
}

/// Of all regions together.
pub fn arena_bytes(model: &TypedModel) -> usize {
    model.nodes().iter().filter_map(region_of).map(|r| r.plan.arena_bytes).sum()
}
