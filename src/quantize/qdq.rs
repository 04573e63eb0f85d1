//! Rewrites a graph as standard QDQ: what onnxruntime's `quantize_static` writes.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::onnx::{GraphProto, ModelProto, NodeProto, TensorProto};

use super::structure::{Layer, Structure};
use super::weights::Weights;
use crate::engine::onnx::build::{f32_tensor, i8_tensor, i32_tensor, int_attribute, node};
use crate::engine::onnx::read::floats;

/// What a graph is quantized with.
pub(super) struct Recipe<'a> {
    pub structure: &'a Structure,
    /// By the name that stands for all tensors of a scale.
    pub scales: BTreeMap<String, f32>,
    /// Of every layer's input, the mean of each channel.
    pub means: &'a BTreeMap<String, Vec<f32>>,
}

impl Recipe<'_> {
    /// The model with these layers in int8. Activations pass through QuantizeLinear and
    /// DequantizeLinear after their activation function; graph outputs stay f32.
    pub fn apply(&self, model: &ModelProto, int8: impl Fn(&str) -> bool) -> ModelProto {
        let mut model = model.clone();
        let Some(graph) = model.graph.as_mut() else { return model };
        let layers: BTreeMap<usize, &Layer> =
            (self.structure.layers.iter()).filter(|l| int8(&l.name)).map(|l| (l.node, l)).collect();
        let inputs = layers.values().flat_map(|l| self.structure.feeding(&l.input));
        let outputs = layers.values().filter_map(|l| l.output.clone());
        let quantized: BTreeSet<String> = inputs.chain(outputs).collect();
        let tensors: BTreeMap<String, TensorProto> =
            graph.initializer.drain(..).map(|t| (t.name.clone(), t)).collect();
        let mut made = Made::beside(graph, &tensors);
        let mut replaced = BTreeSet::new();
        for input in graph.input.iter().filter(|i| quantized.contains(&i.name)) {
            self.quantize_activation(&input.name, &mut made);
        }
        for (number, mut node) in std::mem::take(&mut graph.node).into_iter().enumerate() {
            for input in node.input.iter_mut().filter(|i| quantized.contains(*i)) {
                *input = made.name(input, DEQUANTIZED);
            }
            if let Some(layer) = layers.get(&number) {
                replaced.extend(node.input[1..].iter().cloned());
                self.quantize_weights(layer, &mut node, &tensors, &mut made);
            }
            let outputs = node.output.clone();
            made.nodes.push(node);
            for output in outputs.iter().filter(|o| quantized.contains(*o)) {
                self.quantize_activation(output, &mut made);
            }
        }
        made.finish(graph, tensors, &replaced);
        model
    }

    fn quantize_activation(&self, tensor: &str, made: &mut Made) {
        let of = &self.structure.scale_of[tensor];
        let [scale, zero] = [made.name(of, "_scale"), made.name(of, "_zero_point")];
        let codes = made.name(tensor, "_QuantizeLinear_Output");
        let result = made.name(tensor, DEQUANTIZED);
        made.nodes.push(node("QuantizeLinear", &[tensor, &scale, &zero], &codes));
        made.nodes.push(node("DequantizeLinear", &[&codes, &scale, &zero], &result));
        made.constant(f32_tensor(&scale, &[], &[self.scales[of]]));
        made.constant(i8_tensor(&zero, &[], &[0]));
    }

    /// Gives a layer int8 weights and an i32 bias, each through a DequantizeLinear of its own.
    fn quantize_weights(
        &self,
        layer: &Layer,
        node: &mut NodeProto,
        tensors: &BTreeMap<String, TensorProto>,
        made: &mut Made,
    ) {
        let weight = &tensors[&node.input[1]];
        let values = floats(weight);
        let dims: Vec<usize> = weight.dims.iter().map(|d| *d as usize).collect();
        let bias = node.input.get(2).and_then(|name| tensors.get(name)).map(floats);
        let weights = Weights::new(node, &values, &dims);
        let means = &self.means[&layer.input];
        let scale = self.scales[&self.structure.scale_of[&layer.input]];
        let axis = weights.axis();
        let q = weights.quantize(bias.as_deref(), scale, means);
        node.input.truncate(1);
        let zeros = vec![0; q.scales.len()];
        let [codes, zero] =
            [i8_tensor("", &dims, &q.values), i8_tensor("", &[zeros.len()], &zeros)];
        node.input.push(made.dequantized(&layer.name, ".weight", codes, &q.scales, zero, axis));
        let zeros = vec![0; q.bias.len()];
        let [codes, zero] = [&q.bias, &zeros].map(|v| i32_tensor("", &[v.len()], v));
        node.input.push(made.dequantized(&layer.name, ".bias", codes, &q.bias_scales, zero, 0));
    }
}

const DEQUANTIZED: &str = "_DequantizeLinear_Output";

/// Nodes in order and new constants by name.
#[derive(Default)]
struct Made {
    nodes: Vec<NodeProto>,
    constants: BTreeMap<String, TensorProto>,
    /// By what they are of and their endings.
    names: BTreeMap<(String, String), String>,
    /// These and all of the model's.
    taken: BTreeSet<String>,
}

impl Made {
    /// With names that the graph and its constants have none of.
    fn beside(graph: &GraphProto, tensors: &BTreeMap<String, TensorProto>) -> Self {
        let nodes = graph.node.iter().flat_map(|n| n.output.iter().chain([&n.name]));
        let taken = nodes.chain(graph.input.iter().map(|i| &i.name)).chain(tensors.keys());
        Made { taken: taken.cloned().collect(), ..Made::default() }
    }

    /// The name of what is made of `of`: always the same one, and nothing else's.
    fn name(&mut self, of: &str, ending: &str) -> String {
        let taken = &mut self.taken;
        let name = self.names.entry((of.into(), ending.into())).or_insert_with(|| {
            let mut name = format!("{of}{ending}");
            while !taken.insert(name.clone()) {
                name.push('_');
            }
            name
        });
        name.clone()
    }

    fn constant(&mut self, tensor: TensorProto) -> String {
        let name = tensor.name.clone();
        self.constants.insert(name.clone(), tensor);
        name
    }

    /// A constant of codes and its DequantizeLinear; gives the name of the result.
    fn dequantized(
        &mut self,
        layer: &str,
        part: &str,
        mut codes: TensorProto,
        scales: &[f32],
        mut zero: TensorProto,
        axis: usize,
    ) -> String {
        let mut name = |ending: &str| self.name(layer, &format!("{part}{ending}"));
        (codes.name, zero.name) = (name("_quantized"), name("_zero_point"));
        let scale = f32_tensor(&name("_scale"), &[scales.len()], scales);
        let result = name(DEQUANTIZED);
        let inputs = [codes, scale, zero].map(|t| self.constant(t));
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let mut node = node("DequantizeLinear", &inputs, &result);
        node.attribute.push(int_attribute("axis", axis as i64));
        self.nodes.push(node);
        result
    }

    /// Puts everything into the graph; of the old constants, `replaced` go unless others use them.
    fn finish(
        self,
        graph: &mut GraphProto,
        tensors: BTreeMap<String, TensorProto>,
        replaced: &BTreeSet<String>,
    ) {
        let used: BTreeSet<&String> = self.nodes.iter().flat_map(|n| &n.input).collect();
        let gone = |name: &String| replaced.contains(name) && !used.contains(name);
        // Old files list their constants as inputs too.
        graph.input.retain(|i| !gone(&i.name));
        let old = tensors.into_values().filter(|t| !gone(&t.name));
        graph.initializer = old.chain(self.constants.into_values()).collect();
        graph.node = self.nodes;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use prost::Message;

    use super::super::nets::{residual, unet};
    use super::*;
    use crate::engine::{Network, Simd};

    /// The model with these layers in int8, of a range that no value leaves.
    fn apply(int8: impl Fn(&str) -> bool) -> ModelProto {
        recipe(&Structure::of(&unet()), &model(), int8)
    }

    fn recipe(
        structure: &Structure,
        model: &ModelProto,
        int8: impl Fn(&str) -> bool,
    ) -> ModelProto {
        let scales = structure.scale_of.values().map(|name| (name.clone(), 0.05)).collect();
        let means = structure.layers.iter().map(|l| (l.input.clone(), vec![0.0; l.channels]));
        Recipe { structure, scales, means: &means.collect() }.apply(model, int8)
    }

    pub(in super::super) fn model() -> ModelProto {
        of(unet())
    }

    fn of(graph: GraphProto) -> ModelProto {
        let opset = crate::engine::onnx::OperatorSetIdProto { version: 17, ..Default::default() };
        ModelProto {
            ir_version: 8,
            opset_import: vec![opset],
            graph: Some(graph),
            ..Default::default()
        }
    }

    pub(in super::super) fn run(model: &ModelProto, input: &[f32]) -> Vec<f32> {
        // Through bytes, as a package's file goes.
        let model = Network::parse("test", &model.encode_to_vec()).unwrap();
        let network = Network::new("test", &model, Simd::detect()).unwrap();
        let mut outputs = Vec::new();
        network.run(&[input], &mut outputs).unwrap();
        outputs.remove(0)
    }

    pub(in super::super) fn input() -> Vec<f32> {
        (0..2 * 8 * 8 * 8).map(|i| ((i * 7919) % 101) as f32 / 100.0).collect()
    }

    #[test]
    fn without_layers_the_graph_stays_as_it_is() {
        let (model, same) = (model(), apply(|_| false));
        let nodes = |m: &ModelProto| m.graph.as_ref().unwrap().node.clone();
        assert_eq!(nodes(&same), nodes(&model));
        assert_eq!(run(&same, &input()), run(&model, &input()));
    }

    #[test]
    fn a_quantized_graph_computes_nearly_the_same() {
        for graph in [unet(), residual()] {
            let (structure, model) = (Structure::of(&graph), of(graph));
            let qdq = recipe(&structure, &model, |_| true);
            let (exact, rounded) = (run(&model, &input()), run(&qdq, &input()));
            let power = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>();
            let difference: Vec<f32> = exact.iter().zip(&rounded).map(|(a, b)| a - b).collect();
            let share = (power(&difference) / power(&exact)).sqrt();
            assert!(share > 0.0 && share < 0.05, "{share}");
        }
    }

    #[test]
    fn residual_sums_are_of_codes_and_become_codes() {
        let model = recipe(&Structure::of(&residual()), &of(residual()), |_| true);
        let network = Network::new("test", &model, Simd::detect()).unwrap();
        let sums: Vec<_> = network.steps().into_iter().filter(|s| s.op == "Add").collect();
        assert_eq!(sums.len(), 1);
        assert_eq!(sums[0].from, "4×4×4×4 int8 + 4×4×4×4 int8");
        assert_eq!(sums[0].to, "4×4×4×4 int8");
    }

    /// A model may call its own tensors as those that are made.
    #[test]
    fn names_are_nobody_elses() {
        let mut model = model();
        let graph = model.graph.as_mut().unwrap();
        let names = [
            ("down0", "pair_scale"),
            ("down0.act", "cat_QuantizeLinear_Output"),
            ("down1", "head.weight_quantized"),
            ("down1.act", "head.weight"),
            ("up0", "cat_DequantizeLinear_Output"),
            ("up0.bias", "pair_zero_point"),
        ];
        let outputs = graph.node.iter_mut().flat_map(|n| n.input.iter_mut().chain(&mut n.output));
        let weight = |n: &mut String| {
            if n == "head.weight" {
                *n = "w".into()
            }
        };
        for tensor in outputs.chain(graph.initializer.iter_mut().map(|t| &mut t.name)) {
            weight(tensor);
            if let Some((_, new)) = names.iter().find(|(old, _)| old == tensor) {
                *tensor = (*new).into();
            }
        }
        let structure = Structure::of(graph);
        let qdq = recipe(&structure, &model, |_| true);
        assert_eq!(run(&qdq, &input()), run(&apply(|_| true), &input()));
    }

    #[test]
    fn codes_follow_the_activation_and_outputs_stay() {
        let graph = apply(|_| true).graph.unwrap();
        let quantized: Vec<&str> = (graph.node.iter())
            .filter(|n| n.op_type == "QuantizeLinear")
            .map(|n| n.input[0].as_str())
            .collect();
        assert_eq!(quantized, ["pair", "down0.act", "down1.act", "up0.act", "cat"]);
        let scale = |tensor: &str| {
            let node = graph.node.iter().find(|n| n.input[0] == tensor).unwrap();
            node.input[1].clone()
        };
        assert_eq!(scale("cat"), scale("down0.act"));
        assert!(graph.initializer.iter().all(|t| !t.name.ends_with(".weight")), "f32 weights left");
        let head = graph.node.iter().find(|n| n.name == "head").unwrap();
        assert_eq!(head.output, ["flow"]);
    }

    #[test]
    fn a_layer_that_stays_keeps_its_weights_and_needs_no_codes() {
        let graph = apply(|layer| layer != "head").graph.unwrap();
        let head = graph.node.iter().find(|n| n.name == "head").unwrap();
        assert_eq!(head.input, ["cat", "head.weight", "head.bias"]);
        assert!(graph.node.iter().all(|n| n.input[0] != "cat" || n.op_type != "QuantizeLinear"));
    }
}
