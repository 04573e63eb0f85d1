//! Which layers of a graph can run in int8, and which tensors must share a scale for it.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::onnx::{GraphProto, NodeProto, TensorProto};

use crate::engine::onnx::read::{floats, int};
use crate::engine::onnx::tensor_proto::DataType;

/// Operators that move values without changing them: their inputs and output share a scale, so
/// that an int8 engine can copy codes, or write a concatenation's parts where they belong.
const SAME_SCALE: [&str; 8] =
    ["Concat", "Resize", "MaxPool", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"];

/// Activation functions that the engine computes in the node before them.
const FUNCTIONS: [&str; 3] = ["Relu", "LeakyRelu", "Clip"];

/// A convolution (or transposed one) whose weights are constants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layer {
    /// The node's number.
    pub node: usize,
    /// The node's name, or its output's where other nodes or tensors are called so, too.
    pub name: String,
    /// Its activation input …
    pub input: String,
    /// … and its channels.
    pub channels: usize,
    /// Its output, where only an InstanceNormalization reads it, or a sum that is int8 itself: int8
    /// as well then, since codes serve as well as real values and are a quarter of the bytes.
    pub output: Option<String>,
}

/// What quantization must know of a graph.
#[derive(Debug)]
pub(super) struct Structure {
    pub layers: Vec<Layer>,
    /// Of every tensor that may be quantized: the tensor whose name stands for all that share
    /// its scale.
    pub scale_of: BTreeMap<String, String>,
    /// Of every tensor: the number of the node it comes from. Inputs and constants have none.
    producer: BTreeMap<String, usize>,
    moved: Vec<Vec<String>>,
}

impl Structure {
    pub fn of(graph: &GraphProto) -> Self {
        let constants: BTreeMap<&str, &TensorProto> =
            graph.initializer.iter().map(|t| (t.name.as_str(), t)).collect();
        let mut named = BTreeMap::from([("", 2)]);
        let names = graph.node.iter().flat_map(|n| n.output.iter().chain([&n.name]));
        names.for_each(|name| *named.entry(name.as_str()).or_insert(0) += 1);
        let norms = graph.node.iter().filter(|n| n.op_type == "InstanceNormalization");
        let normalized: BTreeSet<&str> =
            norms.filter_map(|n| n.input.first()).map(String::as_str).collect();
        let read = read(graph);
        let nodes = graph.node.iter().enumerate();
        let layers = nodes.clone().filter(|(_, n)| is_layer(n, &constants));
        let layers = layers.map(|(node, n)| Layer {
            node,
            name: if named[n.name.as_str()] == 1 { n.name.clone() } else { n.output[0].clone() },
            input: n.input[0].clone(),
            channels: channels(n, constants[n.input[1].as_str()]),
            output: Some(n.output[0].clone())
                .filter(|o| normalized.contains(&**o) && read[&**o] == 1),
        });
        let producer = nodes.flat_map(|(i, n)| n.output.iter().map(move |o| (o.clone(), i)));
        let mut structure = Structure {
            layers: layers.collect(),
            scale_of: BTreeMap::new(),
            producer: producer.collect(),
            moved: graph.node.iter().map(|n| moved(n, &constants)).collect(),
        };
        for layer in structure.layers.clone() {
            structure.scale_of.extend(layer.output.map(|t| (t.clone(), t)));
            let feeding = structure.feeding(&layer.input);
            // A tensor met before brings along all that it shares its scale with.
            let known: BTreeSet<String> =
                feeding.iter().filter_map(|t| structure.scale_of.get(t).cloned()).collect();
            let name = known.first().unwrap_or(&layer.input).clone();
            structure.scale_of.extend(feeding.into_iter().map(|t| (t, name.clone())));
            for other in structure.scale_of.values_mut().filter(|n| known.contains(*n)) {
                other.clone_from(&name);
            }
        }
        structure.quantize_sums(graph, &read);
        structure
    }

    /// Layers whose output a sum alone reads write int8 where the sum's result and its other input
    /// are int8, too.
    fn quantize_sums(&mut self, graph: &GraphProto, read: &BTreeMap<&str, usize>) {
        for sum in graph.node.iter().filter(|n| n.op_type == "Add" && n.output.len() == 1) {
            // Codes follow the activation function.
            let function = |n: &&NodeProto| {
                let of_sum = n.input.first() == sum.output.first() && read[&*sum.output[0]] == 1;
                of_sum && FUNCTIONS.contains(&&*n.op_type)
            };
            let result = graph.node.iter().find(function).unwrap_or(sum);
            let coded = result.output.iter().any(|t| self.scale_of.contains_key(t));
            let layer = |tensor: &String| {
                let node = self.producer(tensor).filter(|_| read[tensor.as_str()] == 1)?;
                self.layers.iter().position(|l| l.node == node)
            };
            let layers: Vec<Option<usize>> = sum.input.iter().map(layer).collect();
            let known = |(tensor, layer): (&String, &Option<usize>)| {
                layer.is_some() || self.scale_of.contains_key(tensor)
            };
            if !coded || !sum.input.iter().zip(&layers).all(known) {
                continue;
            }
            for (tensor, layer) in sum.input.iter().zip(layers) {
                if let Some(layer) = layer {
                    self.layers[layer].output = Some(tensor.clone());
                    self.scale_of.insert(tensor.clone(), tensor.clone());
                }
            }
        }
    }

    /// The tensor itself and all that its values are copied from.
    pub fn feeding(&self, tensor: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut open = vec![tensor.to_string()];
        while let Some(tensor) = open.pop() {
            let sources = self.copied_from(&tensor);
            if found.insert(tensor.clone()) {
                open.extend_from_slice(sources);
            }
        }
        found
    }

    /// The number of the node that computes a tensor.
    pub fn producer(&self, tensor: &str) -> Option<usize> {
        self.producer.get(tensor).copied()
    }

    /// Where the values of a tensor are copied from; nothing for one that computes its own.
    pub fn copied_from(&self, tensor: &str) -> &[String] {
        self.producer(tensor).map_or(&[], |node| &self.moved[node])
    }
}

/// How often each tensor is read, by nodes and as a graph output.
fn read(graph: &GraphProto) -> BTreeMap<&str, usize> {
    let outputs = graph.output.iter().map(|o| &o.name);
    let mut read = BTreeMap::new();
    let all = graph.node.iter().flat_map(|n| &n.input).chain(outputs);
    all.for_each(|t| *read.entry(t.as_str()).or_default() += 1);
    read
}

/// The activations that a node only moves.
fn moved(node: &NodeProto, constants: &BTreeMap<&str, &TensorProto>) -> Vec<String> {
    if !SAME_SCALE.contains(&node.op_type.as_str()) {
        return Vec::new();
    }
    let count = if node.op_type == "Concat" { node.input.len() } else { 1 };
    let data = &node.input[..count.min(node.input.len())];
    // A constant among them is not seen while calibrating.
    if data.iter().any(|t| constants.contains_key(t.as_str())) { Vec::new() } else { data.into() }
}

/// A convolution, computed from an activation by constant weights of consistent shapes.
fn is_layer(node: &NodeProto, constants: &BTreeMap<&str, &TensorProto>) -> bool {
    let input = |i: usize| node.input.get(i).filter(|name| !name.is_empty());
    let constant = |i: usize| input(i).and_then(|name| constants.get(name.as_str()).copied());
    let Some(weight) = constant(1).filter(|w| w.dims.len() > 2 && is_plain_f32(w)) else {
        return false;
    };
    let groups = groups(node);
    let outputs = match node.op_type.as_str() {
        "Conv" => weight.dims[0] as usize,
        "ConvTranspose" => (weight.dims[1] as usize).saturating_mul(groups),
        _ => return false,
    };
    let fits = |b: &TensorProto| b.dims == [outputs as i64] && is_plain_f32(b);
    (weight.dims[0] as usize).is_multiple_of(groups)
        && node.output.len() == 1
        && input(0).is_some_and(|x| !constants.contains_key(x.as_str()))
        && (input(2).is_none() || constant(2).is_some_and(fits))
}

fn groups(node: &NodeProto) -> usize {
    int(node, "group").map_or(1, |g| g.max(1) as usize)
}

/// How many channels a layer's input has.
fn channels(node: &NodeProto, weight: &TensorProto) -> usize {
    match node.op_type.as_str() {
        "Conv" => weight.dims[1] as usize * groups(node),
        _ => weight.dims[0] as usize,
    }
}

/// f32 with every value inside the file, as many as the shape says.
fn is_plain_f32(tensor: &TensorProto) -> bool {
    let values = tensor.dims.iter().try_fold(1usize, |n, d| {
        let d = usize::try_from(*d).ok().filter(|d| *d > 0)?;
        n.checked_mul(d)
    });
    tensor.data_type == DataType::Float as i32 && values == Some(floats(tensor).len())
}

#[cfg(test)]
mod tests {
    use super::super::nets::{layer, node, residual, unet};
    use super::*;

    #[test]
    fn skips_share_the_scale_of_their_concatenation() {
        let structure = Structure::of(&unet());
        let layers: Vec<&str> = structure.layers.iter().map(|l| l.name.as_str()).collect();
        assert_eq!(layers, ["down0", "down1", "up0", "head"]);
        let scale = |t: &str| structure.scale_of.get(t).map(String::as_str);
        assert_eq!(scale("pair"), Some("pair"));
        assert_eq!(scale("down1.act"), Some("down1.act"));
        assert!(scale("cat").is_some() && scale("cat") == scale("up0.act"));
        assert_eq!(scale("cat"), scale("down0.act"));
        assert_eq!((scale("down0"), scale("flow")), (None, None));
        let feeding = structure.feeding("cat");
        assert_eq!(feeding.iter().collect::<Vec<_>>(), ["cat", "down0.act", "up0.act"]);
    }

    #[test]
    fn what_a_normalization_alone_reads_has_a_scale() {
        let mut graph = unet();
        let norm = node("InstanceNormalization", "", &["down1", "factor", "shift"], "down1.norm");
        graph.node.insert(3, norm);
        graph.node[4].input = vec!["down1.norm".into()];
        let scale = |graph: &GraphProto| Structure::of(graph).scale_of.get("down1").cloned();
        assert_eq!(scale(&graph).as_deref(), Some("down1"));
        graph.node.push(node("Relu", "", &["down1"], "other"));
        assert_eq!(scale(&graph), None);
    }

    #[test]
    fn what_an_int8_sum_alone_reads_has_a_scale() {
        let graph = residual();
        let sum = graph.node.iter().position(|n| n.op_type == "Add").unwrap();
        // Of what `side` writes, after a change of the graph.
        let scale = |change: &dyn Fn(&mut Vec<NodeProto>)| {
            let mut graph = graph.clone();
            change(&mut graph.node);
            Structure::of(&graph).scale_of.get("side").cloned()
        };
        assert_eq!(scale(&|_| ()).as_deref(), Some("side"));
        let structure = Structure::of(&graph);
        assert!(structure.scale_of.contains_key("sum.act"));
        assert!(!structure.scale_of.contains_key("sum"));
        // Others read what is added, or the sum.
        assert_eq!(scale(&|n| n.push(node("Relu", "", &["side"], "other"))), None);
        assert_eq!(scale(&|n| n.push(node("Relu", "", &["sum"], "other"))), None);
        // A constant, or what has no scale, is added; or no layer reads the sum.
        assert_eq!(scale(&|n| n[sum].input[0] = "down0.bias".into()), None);
        assert_eq!(scale(&|n| n[sum].input[0] = "down0".into()), None);
        assert_eq!(scale(&|n| n[sum + 2].input[0] = "down0.act".into()), None);
        // Nodes that no one checked.
        let odd = |n: &mut Vec<NodeProto>| {
            n.push(node("Relu", "", &[], "empty"));
            n.push(NodeProto { output: vec![], ..node("Add", "", &["side"], "") });
        };
        assert_eq!(scale(&odd), None);
    }

    #[test]
    fn graphs_that_no_one_checked_end() {
        // Concatenations of each other, one of itself again and again, a node without input.
        let mut graph = unet();
        graph.node.push(node("Concat", "a", &["b", "cat"], "a"));
        graph.node.push(node("Concat", "b", &["a", "a"], "b"));
        let twice = |i: usize| [format!("t{i}"), format!("t{}", i + 1)];
        for [from, to] in (0..50).map(twice) {
            graph.node.push(node("Concat", "twice", &[&from, &from], &to));
        }
        graph.node.push(node("Reshape", "empty", &[], "e"));
        layer(&mut graph, "Conv", "first", "b", [1, 5, 1, 1, 1]);
        layer(&mut graph, "Conv", "last", "t50", [1, 5, 1, 1, 1]);
        let structure = Structure::of(&graph);
        assert_eq!(structure.scale_of.get("a"), structure.scale_of.get("b"));
        assert_eq!(structure.feeding("t50").len(), 51);
    }

    #[test]
    fn layers_have_names_of_their_own() {
        let mut graph = unet();
        let named = |node: &NodeProto, name: &str| node.name == name;
        graph.node.iter_mut().find(|n| named(n, "down1")).unwrap().name = String::new();
        graph.node.iter_mut().find(|n| named(n, "up0")).unwrap().name = "down1".into();
        let layers: BTreeSet<String> =
            Structure::of(&graph).layers.into_iter().map(|l| l.name).collect();
        assert_eq!(layers.len(), 4, "{layers:?}");
    }

    #[test]
    fn layers_with_computed_weights_stay() {
        let mut graph = unet();
        graph.initializer.retain(|t| t.name != "up0.weight");
        graph.node.insert(0, node("Relu", "w", &["down1.weight"], "up0.weight"));
        let structure = Structure::of(&graph);
        assert!(structure.layers.iter().all(|l| l.name != "up0"));
        // A concatenation with a constant has a scale of its own.
        graph.node.push(node("Concat", "odd", &["cat", "down0.bias"], "odd"));
        layer(&mut graph, "Conv", "last", "odd", [1, 5, 1, 1, 1]);
        let structure = Structure::of(&graph);
        assert_eq!(structure.scale_of.get("odd").map(String::as_str), Some("odd"));
    }
}
