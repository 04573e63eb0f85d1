//! Small networks for the tests.

use crate::engine::Random;
use crate::engine::onnx::build::{self, f32_info, f32_tensor, int_attribute, ints_attribute};
use crate::engine::onnx::{GraphProto, NodeProto};

pub fn node(op: &str, name: &str, input: &[&str], output: &str) -> NodeProto {
    NodeProto { name: name.into(), ..build::node(op, input, output) }
}

/// Appends a convolution of stride 2 where its kernel is 2, with seeded weights.
pub fn layer(graph: &mut GraphProto, op: &str, name: &str, input: &str, dims: [usize; 5]) {
    let mut random = Random::new(graph.node.len() as u64);
    let count = dims.iter().product();
    let weights: Vec<f32> = (0..count).map(|_| random.range(-0.5, 0.6) as f32).collect();
    let outputs = if op == "Conv" { dims[0] } else { dims[1] };
    let [weight, bias] = [format!("{name}.weight"), format!("{name}.bias")];
    graph.initializer.push(f32_tensor(&weight, &dims, &weights));
    graph.initializer.push(f32_tensor(&bias, &[outputs], &vec![0.1; outputs]));
    let output = if name == "head" { "flow" } else { name };
    let mut made = node(op, name, &[input, &weight, &bias], output);
    made.attribute.push(ints_attribute("strides", &[dims[2] as i64; 3]));
    graph.node.push(made);
}

/// pair [1, 2, 8, 8, 8] → down0 → down1 → up0, beside down0 → head: flow [1, 3, 8, 8, 8].
pub fn unet() -> GraphProto {
    let mut graph = GraphProto { name: "unet".into(), ..Default::default() };
    graph.input.push(f32_info("pair", &[1, 2, 8, 8, 8]));
    graph.output.push(f32_info("flow", &[1, 3, 8, 8, 8]));
    layer(&mut graph, "Conv", "down0", "pair", [4, 2, 2, 2, 2]);
    graph.node.push(node("Relu", "", &["down0"], "down0.act"));
    layer(&mut graph, "Conv", "down1", "down0.act", [8, 4, 2, 2, 2]);
    graph.node.push(node("LeakyRelu", "", &["down1"], "down1.act"));
    layer(&mut graph, "ConvTranspose", "up0", "down1.act", [8, 4, 2, 2, 2]);
    graph.node.push(node("Relu", "", &["up0"], "up0.act"));
    let mut cat = node("Concat", "cat", &["up0.act", "down0.act"], "cat");
    cat.attribute.push(int_attribute("axis", 1));
    graph.node.push(cat);
    layer(&mut graph, "ConvTranspose", "head", "cat", [8, 3, 2, 2, 2]);
    graph
}

/// The same with a residual sum: down0.act + what `side` makes of it → Relu → down1.
pub fn residual() -> GraphProto {
    let mut graph = unet();
    let mut rest = graph.node.split_off(2);
    layer(&mut graph, "Conv", "side", "down0.act", [4, 4, 1, 1, 1]);
    graph.node.push(node("Add", "sum", &["down0.act", "side"], "sum"));
    graph.node.push(node("Relu", "", &["sum"], "sum.act"));
    rest[0].input[0] = "sum.act".into();
    graph.node.append(&mut rest);
    graph
}
