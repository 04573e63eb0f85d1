//! ONNX graphs for tests, node by node.

use intraop::engine::onnx::GraphProto;
use intraop::engine::onnx::build::f32_tensor;
pub use intraop::engine::onnx::build::{f32_info as info, model, node};

/// Adds a convolution of one place (of `axes` axes) with these weights, a row per output, and a
/// bias per output.
pub fn conv(
    graph: &mut GraphProto,
    axes: usize,
    [input, output]: [&str; 2],
    weights: &[Vec<f32>],
    bias: &[f32],
) {
    let [weight, shift] = [format!("{output}.weight"), format!("{output}.bias")];
    let dims = [&[weights.len(), weights[0].len()], vec![1; axes].as_slice()].concat();
    graph.initializer.push(f32_tensor(&weight, &dims, &weights.concat()));
    graph.initializer.push(f32_tensor(&shift, &[bias.len()], bias));
    graph.node.push(node("Conv", &[input, &weight, &shift], output));
}
