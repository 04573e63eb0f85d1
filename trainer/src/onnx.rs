//! The students as ONNX graphs: weights inline, fixed shapes, one input.

use intraop_engine::onnx::build::{
    self, f32_info, f32_tensor, float_attribute, i64_tensor, int_attribute, ints_attribute,
};
use intraop_engine::onnx::{AttributeProto, GraphProto, ModelProto, NodeProto};
use prost::Message;
use tch::Tensor;

use crate::nets::{AffineNet, FlowNet, Layer, SLOPE};
use crate::unet::{Block, HEATMAP, Head, Kind, MASK, Unet};

pub const PAIR: &str = "pair";
pub const IMAGE: &str = "image";
pub const AFFINE: &str = "affine";
pub const FLOW: &str = "flow";

/// The affine stage: [1, 2, D, H, W] → "affine" [1, 12]. `size` is x, y, z.
pub fn affine(net: &AffineNet, size: [i64; 3]) -> Vec<u8> {
    let mut graph = Graph::default();
    let mut map = PAIR.to_owned();
    for layer in &net.down {
        let convolved = graph.layer("Conv", layer, &map, [3; 3], [0, 0, 0, 1, 1, 1]);
        let slope = vec![float_attribute("alpha", SLOPE as f32)];
        map = graph.node("LeakyRelu", &format!("{}.act", layer.name), vec![convolved], slope);
    }
    if net.pool {
        let attributes = vec![
            ints_attribute("kernel_shape", &[3; 3]),
            ints_attribute("strides", &[2; 3]),
            ints_attribute("pads", &[0; 6]),
        ];
        map = graph.node("AveragePool", "affine.pool", vec![map], attributes);
    }
    let head = net.head();
    let kernel = head.size()[2..].to_vec();
    let weight = graph.floats("affine.head.weight", &head);
    let attributes = vec![
        ints_attribute("kernel_shape", &kernel),
        ints_attribute("strides", &[1; 3]),
        ints_attribute("pads", &[0; 6]),
    ];
    let whole = graph.node("Conv", "affine.head", vec![map, weight], attributes);
    let shape = graph.shape("affine.shape", &[1, 12]);
    let node = node("Reshape", "affine.flat", vec![whole, shape], AFFINE, vec![]);
    graph.0.node.push(node);
    let [w, h, d] = size;
    graph.model("affine", (PAIR, &[1, 2, d, h, w]), &[(AFFINE, &[1, 12])])
}

/// A flow stage: [1, 2, D, H, W] → "flow" [1, 3, D, H, W]. `size` is x, y, z.
pub fn flow(net: &FlowNet, size: [i64; 3]) -> Vec<u8> {
    let mut graph = Graph::default();
    let mut map = PAIR.to_owned();
    let mut skips = vec![];
    for layer in &net.down {
        let convolved = graph.layer("Conv", layer, &map, [4; 3], [1; 6]);
        map = graph.node("Relu", &format!("{}.act", layer.name), vec![convolved], vec![]);
        skips.push(map.clone());
    }
    skips.pop();
    for layer in &net.up {
        let larger = graph.layer("ConvTranspose", layer, &map, [4; 3], [1; 6]);
        let active = graph.node("Relu", &format!("{}.act", layer.name), vec![larger], vec![]);
        let skip = skips.pop().expect("one map per level");
        let inputs = vec![active, skip];
        map = graph.node(
            "Concat",
            &format!("{}.cat", layer.name),
            inputs,
            vec![int_attribute("axis", 1)],
        );
    }
    let head = graph.layer("ConvTranspose", &net.head, &map, [4; 3], [1; 6]);
    graph.0.node.last_mut().expect("the head").output = vec![FLOW.to_owned()];
    debug_assert_eq!(head, format!("{}.out", net.head.name));
    let [w, h, d] = size;
    graph.model(&net.name, (PAIR, &[1, 2, d, h, w]), &[(FLOW, &[1, 3, d, h, w])])
}

/// The frames' student: [1, 1, H, W] → "heatmaps" [1, landmarks, H/4, W/4] and the logits "mask"
/// [1, 1, H/2, W/2]. Each batch normalization is part of its convolution. `size` is width, height.
pub fn unet(net: &Unet, [width, height]: [usize; 2]) -> Vec<u8> {
    let mut graph = Graph::default();
    let mut map = IMAGE.to_owned();
    let mut skips = vec![];
    for [half, same] in &net.down {
        map = graph.block(half, &map);
        map = graph.block(same, &map);
        skips.push(map.clone());
    }
    skips.pop();
    let mut maps = vec![];
    for (number, up) in net.up.iter().enumerate() {
        let larger = graph.block(&up.larger, &map);
        let skip = skips.pop().expect("one map per level");
        let axis = vec![int_attribute("axis", 1)];
        let both = graph.node("Concat", &format!("up{number}.cat"), vec![larger, skip], axis);
        map = graph.block(&up.merge, &both);
        maps.push(map.clone());
    }
    let mut outputs = vec![];
    for (head, map, factor) in [(&net.heatmaps, &maps[2], HEATMAP), (&net.mask, &maps[3], MASK)] {
        graph.head(head, map);
        let [w, h] = [width, height].map(|n| (n / factor) as i64);
        outputs.push((head.name, [1, head.bias.size()[0], h, w]));
    }
    let outputs: Vec<(&str, &[i64])> = outputs.iter().map(|(n, s)| (*n, &s[..])).collect();
    graph.model("unet", (IMAGE, &[1, 1, height as i64, width as i64]), &outputs)
}

#[derive(Default)]
struct Graph(GraphProto);

impl Graph {
    /// Appends a node; its output is its name with ".out".
    fn node(
        &mut self,
        op: &str,
        name: &str,
        inputs: Vec<String>,
        attributes: Vec<AttributeProto>,
    ) -> String {
        let output = format!("{name}.out");
        self.0.node.push(node(op, name, inputs, &output, attributes));
        output
    }

    /// A stride-2 (transposed) convolution with bias.
    fn layer(
        &mut self,
        op: &str,
        layer: &Layer,
        input: &str,
        kernel: [i64; 3],
        pads: [i64; 6],
    ) -> String {
        let weight = self.floats(&format!("{}.weight", layer.name), &layer.weight);
        let bias = self.floats(&format!("{}.bias", layer.name), &layer.bias);
        let attributes = vec![
            ints_attribute("kernel_shape", &kernel),
            ints_attribute("strides", &[2; 3]),
            ints_attribute("pads", &pads),
        ];
        self.node(op, &layer.name, vec![input.to_owned(), weight, bias], attributes)
    }

    /// A convolution with its batch normalization, then ReLU.
    fn block(&mut self, block: &Block, input: &str) -> String {
        let (weight, bias) = block.folded();
        let kernel = weight.size()[2..].to_vec();
        let weight = self.floats(&format!("{}.weight", block.name), &weight);
        let bias = self.floats(&format!("{}.bias", block.name), &bias);
        let (op, stride) = match block.kind {
            Kind::Same => ("Conv", 1),
            Kind::Half => ("Conv", 2),
            Kind::Double => ("ConvTranspose", 2),
        };
        let attributes = vec![
            ints_attribute("kernel_shape", &kernel),
            ints_attribute("strides", &[stride; 2]),
            ints_attribute("pads", &[1; 4]),
        ];
        let inputs = vec![input.to_owned(), weight, bias];
        let convolved = self.node(op, &block.name, inputs, attributes);
        self.node("Relu", &format!("{}.act", block.name), vec![convolved], vec![])
    }

    /// A 1×1 convolution whose output has the head's name.
    fn head(&mut self, head: &Head, input: &str) {
        let weight = self.floats(&format!("{}.weight", head.name), &head.weight);
        let bias = self.floats(&format!("{}.bias", head.name), &head.bias);
        let inputs = vec![input.to_owned(), weight, bias];
        let attributes = vec![ints_attribute("kernel_shape", &[1; 2])];
        self.0.node.push(node(
            "Conv",
            &format!("{}.head", head.name),
            inputs,
            head.name,
            attributes,
        ));
    }

    fn floats(&mut self, name: &str, values: &Tensor) -> String {
        let dims: Vec<usize> = values.size().iter().map(|n| *n as usize).collect();
        let flat = values.detach().to_device(tch::Device::Cpu).contiguous().view([-1]);
        let values = Vec::<f32>::try_from(flat).expect("a float tensor");
        self.0.initializer.push(f32_tensor(name, &dims, &values));
        name.to_owned()
    }

    fn shape(&mut self, name: &str, values: &[i64]) -> String {
        self.0.initializer.push(i64_tensor(name, &[values.len()], values));
        name.to_owned()
    }

    /// The bytes of the file; input and outputs with their shapes.
    fn model(mut self, name: &str, input: (&str, &[i64]), outputs: &[(&str, &[i64])]) -> Vec<u8> {
        self.0.name = name.to_owned();
        let sides = |shape: &[i64]| shape.iter().map(|n| *n as usize).collect::<Vec<_>>();
        self.0.input = vec![f32_info(input.0, &sides(input.1))];
        let output = |(name, shape): &(&str, &[i64])| f32_info(name, &sides(shape));
        self.0.output = outputs.iter().map(output).collect();
        ModelProto {
            producer_name: env!("CARGO_PKG_NAME").to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            ..build::model(self.0)
        }
        .encode_to_vec()
    }
}

fn node(
    op: &str,
    name: &str,
    input: Vec<String>,
    output: &str,
    attribute: Vec<AttributeProto>,
) -> NodeProto {
    NodeProto { name: name.into(), input, attribute, ..build::node(op, &[], output) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nets::Student;
    use crate::warp::{Grid, tests::noise};
    use intraop_engine::{Network, Simd};

    /// Largest difference between output number `output` of a graph, as the runtime's engine
    /// computes it, and what tch computed on the same input.
    fn difference(
        model: &[u8],
        input: &Tensor,
        output: usize,
        expected: &Tensor,
    ) -> anyhow::Result<f32> {
        let flat = |t: &Tensor| {
            Vec::<f32>::try_from(t.detach().to_device(tch::Device::Cpu).contiguous().view([-1]))
        };
        let network = Network::new("export", &Network::parse("export", model)?, Simd::detect())?;
        let mut outputs = Vec::new();
        network.run(&[&flat(input)?], &mut outputs)?;
        let found = &outputs[output];
        let expected = flat(expected)?;
        anyhow::ensure!(
            found.len() == expected.len(),
            "{} values, not {}",
            found.len(),
            expected.len()
        );
        // A NaN anywhere must not pass: f32::max would drop it.
        let worst = |worst: f32, d: f32| if worst >= d { worst } else { d };
        Ok(found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, worst))
    }

    #[test]
    fn graphs_agree_with_tch() {
        // Without and with the affine stage's pool.
        for size in [[32, 16, 48], [112, 128, 112]] {
            let grid = Grid::new(size, tch::Device::Cpu);
            let student = Student::new(&grid, true, 2, 2, 3);
            let pair = noise(&[1, 2, size[2], size[1], size[0]], 4);
            let affine_net = student.affine.as_ref().unwrap();
            assert_eq!(affine_net.pool, size[0] > 100);
            let expected = affine_net.forward(&pair);
            assert!(expected.abs().max().double_value(&[]) > 1e-4);
            let found = difference(&affine(affine_net, size), &pair, 0, &expected).unwrap();
            assert!(found < 1e-4, "affine {found}");
            for net in &student.flows {
                let expected = net.forward(&pair);
                assert!(expected.abs().max().double_value(&[]) > 1e-3);
                let found = difference(&flow(net, size), &pair, 0, &expected).unwrap();
                assert!(found < 1e-4, "flow {found}");
            }
        }
    }

    #[test]
    fn normalizations_are_folded_into_convolutions() {
        let net = Unet::new(4, 2, 5, tch::Device::Cpu);
        let frames = noise(&[3, 1, 64, 96], 6);
        // Running means and variances that are not 0 and 1, heads that say something.
        for _ in 0..3 {
            net.forward(&(&frames * 2.0 + 1.0), true);
        }
        let frame = frames.narrow(0, 0, 1);
        let answer = tch::no_grad(|| net.forward(&frame, false));
        let model = unet(&net, [96, 64]);
        for (output, expected) in [answer.heatmaps, answer.mask].iter().enumerate() {
            let largest = expected.abs().max().double_value(&[]);
            assert!(largest > 1e-3);
            let found = difference(&model, &frame, output, expected).unwrap();
            assert!(f64::from(found) < 1e-4 * largest, "{output}: {found} of {largest}");
        }
    }
}
