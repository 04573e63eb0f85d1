//! A model with the shapes of its inputs fixed, and what then is constant computed: exporters write
//! whole subgraphs that compute sizes, in which our engine would see operators that are not its own.

use std::collections::{HashMap, HashSet};

use crate::engine::onnx::tensor_proto::DataType;
use crate::engine::onnx::{GraphProto, ModelProto, NodeProto, TensorProto};

use crate::Result;
use crate::engine::onnx::build::{f32_tensor, info};
use crate::engine::onnx::read::{floats, int};
use crate::engine::reference::{self, Known};

/// The tensors of a model whose shape is known, by name.
pub(super) type Tensors = HashMap<String, Known>;

/// Leaves only what the outputs need.
pub(super) fn prune(graph: &mut GraphProto) {
    let made: HashMap<&str, &NodeProto> =
        graph.node.iter().flat_map(|n| n.output.iter().map(move |o| (o.as_str(), n))).collect();
    let mut needed: HashSet<String> = HashSet::new();
    let mut open: Vec<&str> = graph.output.iter().map(|o| o.name.as_str()).collect();
    while let Some(name) = open.pop() {
        if needed.insert(name.to_string()) {
            open.extend(made.get(name).iter().flat_map(|n| &n.input).map(String::as_str));
        }
    }
    graph.node.retain(|n| n.output.iter().any(|o| needed.contains(o)));
    graph.initializer.retain(|t| needed.contains(&t.name));
}

/// Computes what is constant, and takes out what does nothing.
///
/// # Errors
/// [`crate::Error::Engine`] naming the node where the shapes contradict each other.
pub(super) fn fold(name: &str, model: &ModelProto) -> Result<ModelProto> {
    let tensors = reference::known(name, model)?;
    let mut model = model.clone();
    let graph = model.graph.get_or_insert_default();
    constants(graph, &tensors);
    idle(graph, &tensors);
    for node in &mut graph.node {
        // The sum of two is an addition, which our engine knows.
        if node.op_type == "Sum" && node.input.len() == 2 && same_shapes(node, &tensors) {
            node.op_type = "Add".into();
        }
    }
    prune(graph);
    Ok(model)
}

fn same_shapes(node: &NodeProto, tensors: &Tensors) -> bool {
    let shape = |i: usize| node.input.get(i).and_then(|name| tensors.get(name)).map(|t| &t.shape);
    shape(0).is_some() && shape(0) == shape(1)
}

/// More values than this are not written out of one node, nor four times as many of all together.
const LARGEST_FILL: usize = 1 << 24;

/// The tensor that a ConstantOfShape makes: tract computes none of more than a few values before it
/// runs.
fn filled(node: &NodeProto, tensors: &Tensors, room: &mut usize) -> Option<TensorProto> {
    let shape = &tensors.get(node.output.first()?)?.shape;
    let count = shape.iter().try_fold(1usize, |n, side| n.checked_mul(*side))?;
    let value = node.attribute.iter().find(|a| a.name == "value").and_then(|a| a.t.as_ref());
    let value = value.map_or(vec![0.0], floats);
    let is_f32 = tensors[&node.output[0]].data_type == DataType::Float as i32;
    let fills =
        node.op_type == "ConstantOfShape" && count <= LARGEST_FILL.min(*room) && value.len() == 1;
    (fills && is_f32).then(|| {
        *room -= count;
        f32_tensor("", shape, &vec![value[0]; count])
    })
}

/// Nodes whose every output is known become weights; weights in int8 stay as they are: only what
/// is quantized in the graph is computed in int8.
fn constants(graph: &mut GraphProto, tensors: &Tensors) {
    let mut room = 4 * LARGEST_FILL;
    for node in std::mem::take(&mut graph.node) {
        let mut value = |name: &String| match tensors.get(name).and_then(|t| t.value.clone()) {
            None => filled(&node, tensors, &mut room),
            known => known,
        };
        let outputs = node.output.iter().filter(|name| !name.is_empty());
        let named = |name: &String| Some(TensorProto { name: name.clone(), ..value(name)? });
        let stays = node.op_type == "DequantizeLinear";
        match outputs.map(named).collect::<Option<Vec<_>>>() {
            Some(made) if !stays => graph.initializer.extend(made),
            _ => graph.node.push(node),
        }
    }
}

/// Takes out nodes that hand on what they are given: casts to the type that is there, paddings by
/// nothing.
fn idle(graph: &mut GraphProto, tensors: &Tensors) {
    let outputs: HashSet<String> = graph.output.iter().map(|o| o.name.clone()).collect();
    let zeros: HashSet<String> = (graph.initializer.iter())
        .filter(|t| t.data_type == DataType::Int64 as i32 && t.raw_data.iter().all(|b| *b == 0))
        .filter(|t| t.int64_data.iter().all(|v| *v == 0))
        .map(|t| t.name.clone())
        .collect();
    let does_nothing = |node: &NodeProto| match node.op_type.as_str() {
        "Identity" => true,
        "Cast" => {
            let from = node.input.first().and_then(|name| tensors.get(name)).map(|t| t.data_type);
            from.is_some_and(|from| int(node, "to") == Some(from.into()))
        }
        "Pad" => node.input.get(1).is_some_and(|pads| zeros.contains(pads)),
        _ => false,
    };
    let mut stands_for: HashMap<String, String> = HashMap::new();
    let mut kept = Vec::new();
    for mut node in std::mem::take(&mut graph.node) {
        for input in &mut node.input {
            if let Some(name) = stands_for.get(input) {
                *input = name.clone();
            }
        }
        match (&node.input.first(), &node.output[..]) {
            (Some(from), [to]) if does_nothing(&node) && !outputs.contains(to) => {
                stands_for.insert(to.clone(), from.to_string());
            }
            _ => kept.push(node),
        }
    }
    graph.node = kept;
}

/// States the outputs' shapes, and forgets those of all else: they were computed for other inputs.
pub(super) fn restate(graph: &mut GraphProto, tensors: &Tensors) {
    graph.value_info.clear();
    for output in &mut graph.output {
        let Some(known) = tensors.get(&output.name) else { continue };
        *output = info(&output.name, known.data_type, &known.shape);
    }
}
