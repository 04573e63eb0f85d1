//! Brings the channels that share a scale to one magnitude, without changing what a graph
//! computes (cross-layer equalization: M. Nagel et al., Data-free quantization through weight
//! equalization and bias correction, ICCV 2019, section 4.1; here by measured activations).
//!
//! A ReLU commutes with positive factors, so a channel can be made larger by the layer that
//! computes it and smaller again by the layers that read it. The factors are powers of two: the
//! f32 graph computes the same bits. An InstanceNormalization takes any factor back by itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::onnx::{GraphProto, ModelProto, NodeProto, TensorProto};

use super::structure::Structure;
use super::weights::Weights;
use crate::engine::onnx::build::f32_tensor;
use crate::engine::onnx::read::{floats, int};

/// Exponents of two by tensor, one for each channel.
pub(super) type Exponents = BTreeMap<String, Vec<i32>>;

/// The least and the greatest exponent. A channel that hardly spoke in the first cases may be loud
/// in others, so none is made much larger.
const EXPONENTS: [f32; 2] = [-6.0, 2.0];

/// … where a normalization reads it: beside its epsilon only loud channels count as they are, and
/// one that hardly speaks may not become loud.
const NORMALIZED: [f32; 2] = [-6.0, 0.0];

/// A tensor whose channels may be scaled.
struct Link {
    /// The layer that computes it.
    from: usize,
    /// The layers that read it, each with the place of its first channel in their input.
    to: Vec<(usize, usize)>,
    exponents: [f32; 2],
}

/// The tensors that one layer computes and that only layers read, be it through concatenations,
/// or a normalization.
/// `channels` are those of every tensor that a layer may read.
fn links(
    graph: &GraphProto,
    structure: &Structure,
    channels: &BTreeMap<String, usize>,
) -> BTreeMap<String, Link> {
    let mut readers: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (number, node) in graph.node.iter().enumerate() {
        let inputs: BTreeSet<&str> = node.input.iter().map(String::as_str).collect();
        inputs.into_iter().for_each(|i| readers.entry(i).or_default().push(number));
    }
    let outputs: BTreeSet<&str> = graph.output.iter().map(|o| o.name.as_str()).collect();
    // Constants that several nodes read would need several values.
    let own = |node: &NodeProto| node.input[1..].iter().all(|c| readers[c.as_str()].len() == 1);
    let layers: BTreeSet<usize> =
        structure.layers.iter().map(|l| l.node).filter(|n| own(&graph.node[*n])).collect();
    let layer_before = |tensor: &str| {
        let node = structure.producer(tensor)?;
        let linear = ["Relu", "LeakyRelu"].contains(&graph.node[node].op_type.as_str());
        let alone = |t: &str| readers.get(t).is_some_and(|r| r.len() == 1) && !outputs.contains(t);
        match linear && alone(&graph.node[node].input[0]) {
            true => structure.producer(&graph.node[node].input[0]),
            false => Some(node),
        }
        .filter(|node| layers.contains(node))
    };
    let mut links = BTreeMap::new();
    for tensor in structure.scale_of.keys() {
        let Some(from) = layer_before(tensor) else { continue };
        let (mut to, mut open) = (Vec::new(), vec![(tensor.as_str(), 0)]);
        let (mut whole, mut exponents) = (true, EXPONENTS);
        while let Some((tensor, offset)) = open.pop() {
            whole &= !outputs.contains(tensor);
            for number in readers.get(tensor).into_iter().flatten() {
                let node = &graph.node[*number];
                if layers.contains(number) {
                    to.push((*number, offset));
                } else if normalizes(node, tensor) && graph.node[from].output[0] == tensor {
                    exponents = NORMALIZED;
                } else if node.op_type == "Concat" && int(node, "axis") == Some(1) {
                    let mut start = offset;
                    for input in &node.input {
                        if input == tensor {
                            open.push((&node.output[0], start));
                        }
                        match channels.get(input) {
                            Some(count) => start += count,
                            None => whole = false,
                        }
                    }
                } else {
                    whole = false;
                }
            }
        }
        if whole {
            links.insert(tensor.clone(), Link { from, to, exponents });
        }
    }
    links
}

/// Does the node normalize the tensor, and use it for nothing else?
fn normalizes(node: &NodeProto, tensor: &str) -> bool {
    node.op_type == "InstanceNormalization"
        && node.input[0] == tensor
        && node.input[1..].iter().all(|i| i != tensor)
}

/// The exponents that bring each channel's largest magnitude (`peaks`, of every tensor that may
/// be quantized) to about the median of all channels that share the scale.
pub(super) fn exponents(
    graph: &GraphProto,
    structure: &Structure,
    peaks: &BTreeMap<String, Vec<f32>>,
) -> Exponents {
    let channels = peaks.iter().map(|(tensor, peaks)| (tensor.clone(), peaks.len())).collect();
    let links = links(graph, structure, &channels);
    let mut together: BTreeMap<&str, Vec<f32>> = BTreeMap::new();
    for tensor in links.keys() {
        let alive = peaks[tensor].iter().copied().filter(|p| *p > 0.0);
        together.entry(&structure.scale_of[tensor]).or_default().extend(alive);
    }
    together.values_mut().for_each(|all| all.sort_by(f32::total_cmp));
    let exponents = |tensor: &String| {
        let all = &together[structure.scale_of[tensor].as_str()];
        let median = all.get(all.len() / 2).copied().unwrap_or(1.0);
        let [least, most] = links[tensor].exponents;
        let exponent = |peak: &f32| match *peak {
            0.0 => 0,
            p => (median / p).log2().round().clamp(least, most) as i32,
        };
        (tensor.clone(), peaks[tensor].iter().map(exponent).collect())
    };
    links.keys().map(exponents).collect()
}

/// The model with its channels scaled by 2^exponents. Exponents for tensors that cannot be scaled
/// are ignored.
pub(super) fn apply(
    model: &ModelProto,
    structure: &Structure,
    exponents: &Exponents,
) -> ModelProto {
    let mut model = model.clone();
    let Some(graph) = model.graph.as_mut() else { return model };
    let channels = (structure.layers.iter().map(|l| (l.input.clone(), l.channels)))
        .chain(exponents.iter().map(|(tensor, e)| (tensor.clone(), e.len())));
    let links = links(graph, structure, &channels.collect());
    let GraphProto { node, initializer, .. } = graph;
    for (tensor, link) in &links {
        let Some(exponents) = exponents.get(tensor) else { continue };
        let factor = |channel: usize| exponents.get(channel).map_or(1.0, |e| 2f32.powi(*e));
        for name in &node[link.from].input[1..] {
            scale(initializer, name, &node[link.from], |output, _| factor(output));
        }
        for (reader, start) in &link.to {
            scale(initializer, &node[*reader].input[1], &node[*reader], |_, input| {
                input.checked_sub(*start).map_or(1.0, |channel| 1.0 / factor(channel))
            });
        }
    }
    model
}

/// Multiplies the weights or bias `name` of a layer by a factor of (output channel, input channel).
fn scale(
    constants: &mut [TensorProto],
    name: &str,
    layer: &NodeProto,
    factor: impl Fn(usize, usize) -> f32,
) {
    let Some(tensor) = constants.iter_mut().find(|t| t.name == name) else { return };
    let mut values = floats(tensor);
    let dims: Vec<usize> = tensor.dims.iter().map(|d| *d as usize).collect();
    if dims.len() == 1 {
        values.iter_mut().enumerate().for_each(|(o, v)| *v *= factor(o, 0));
    } else {
        let weights = Weights::new(layer, &[], &dims);
        for (i, value) in values.iter_mut().enumerate() {
            let (_, output, input) = weights.place(i);
            *value *= factor(output, input);
        }
    }
    *tensor = f32_tensor(name, &dims, &values);
}

#[cfg(test)]
mod tests {
    use super::super::nets::unet;
    use super::*;

    fn peaks() -> BTreeMap<String, Vec<f32>> {
        let channels =
            [("pair", 2), ("down0.act", 4), ("up0.act", 4), ("down1.act", 8), ("cat", 8)];
        channels.map(|(tensor, n)| (tensor.to_string(), vec![1.0; n])).into()
    }

    #[test]
    fn channels_that_share_a_scale_come_to_their_median() {
        let (graph, mut peaks) = (unet(), peaks());
        peaks.insert("down0.act".into(), vec![0.24, 0.5, 0.0, 1e-9]);
        peaks.insert("up0.act".into(), vec![1.0, 1.1, 2.1, 4.1]);
        let exponents = exponents(&graph, &Structure::of(&graph), &peaks);
        assert_eq!(exponents["down0.act"], [2, 1, 0, 2]);
        assert_eq!(exponents["up0.act"], [0, 0, -1, -2]);
        assert_eq!(exponents.keys().collect::<Vec<_>>(), ["down0.act", "down1.act", "up0.act"]);
    }

    #[test]
    fn the_graph_computes_the_same_bits() {
        use super::super::qdq::tests::{input, model, run};
        let (model, structure) = (model(), Structure::of(&unet()));
        let exponents = [
            ("down0.act", vec![3, -2, 0, 1]),
            ("down1.act", vec![1, 2, 3, 4, -1, -2, -3, -4]),
            ("up0.act", vec![5, 0, -5, 2]),
        ];
        let exponents = exponents.map(|(tensor, e)| (tensor.to_string(), e)).into();
        let scaled = apply(&model, &structure, &exponents);
        assert_ne!(scaled, model);
        assert_eq!(run(&scaled, &input()), run(&model, &input()));
    }

    #[test]
    fn a_normalization_takes_factors_back() {
        use crate::engine::onnx::attribute_proto::AttributeType;

        use super::super::nets::node;
        use super::super::qdq::tests::{input, model, run};
        use crate::engine::onnx::build::int_attribute;
        let mut model = model();
        let graph = model.graph.as_mut().unwrap();
        let inputs = ["down1", "factor", "shift"];
        let mut norm = node("InstanceNormalization", "", &inputs, "down1.norm");
        let mut epsilon = int_attribute("epsilon", 0);
        (epsilon.r#type, epsilon.f) = (AttributeType::Float as i32, 1e-9);
        norm.attribute.push(epsilon);
        graph.node.insert(3, norm);
        graph.node[4].input = vec!["down1.norm".into()];
        for (name, value) in [("factor", 1.5), ("shift", 0.25)] {
            graph.initializer.push(f32_tensor(name, &[8], &[value; 8]));
        }
        let structure = Structure::of(graph);
        let mut peaks = peaks();
        peaks.insert("down1".into(), vec![1.0, 0.1, 4.0, 1.0, 1.0, 1.0, 16.0, 1.0]);
        let exponents = exponents(graph, &structure, &peaks);
        // A quiet channel stays quiet.
        assert_eq!(exponents["down1"], [0, 0, -2, 0, 0, 0, -4, 0]);
        let scaled = apply(&model, &structure, &exponents);
        assert_ne!(scaled, model);
        for (a, b) in run(&scaled, &input()).iter().zip(run(&model, &input())) {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
    }

    #[test]
    fn a_tensor_joined_twice_is_scaled_once() {
        let mut graph = unet();
        let cat = graph.node.iter_mut().find(|n| n.name == "cat").unwrap();
        cat.input = vec!["up0.act".into(), "up0.act".into()];
        let structure = Structure::of(&graph);
        let channels = peaks().into_iter().map(|(tensor, p)| (tensor, p.len())).collect();
        let links = links(&graph, &structure, &channels);
        let head = graph.node.iter().position(|n| n.name == "head").unwrap();
        let mut to = links["up0.act"].to.clone();
        to.sort_unstable();
        assert_eq!(to, [(head, 0), (head, 4)]);
    }

    #[test]
    fn tensors_that_others_see_keep_their_values() {
        let mut graph = unet();
        let seen = crate::engine::onnx::ValueInfoProto { name: "cat".into(), ..Default::default() };
        graph.output.push(seen);
        let exponents = exponents(&graph, &Structure::of(&graph), &peaks());
        assert_eq!(exponents.keys().collect::<Vec<_>>(), ["down1.act"]);
    }
}
