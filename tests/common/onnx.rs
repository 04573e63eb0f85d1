//! ONNX graphs for tests, node by node.

use intraop::onnx::tensor_proto::DataType;
use intraop::onnx::tensor_shape_proto::{Dimension, dimension};
use intraop::onnx::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, type_proto, type_proto::Tensor,
};

pub fn node(op: &str, input: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        name: output.into(),
        input: input.iter().map(ToString::to_string).collect(),
        output: vec![output.into()],
        ..Default::default()
    }
}

pub fn info(name: &str, shape: &[i64]) -> ValueInfoProto {
    let dim =
        |d: &i64| Dimension { value: Some(dimension::Value::DimValue(*d)), ..Default::default() };
    let shape = TensorShapeProto { dim: shape.iter().map(dim).collect() };
    let elem_type = DataType::Float as i32;
    let value = type_proto::Value::TensorType(Tensor { elem_type, shape: Some(shape) });
    let kind = TypeProto { value: Some(value), ..Default::default() };
    ValueInfoProto { name: name.into(), r#type: Some(kind), ..Default::default() }
}

fn tensor(name: &str, dims: &[usize], values: &[f32]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: dims.iter().map(|d| *d as i64).collect(),
        data_type: DataType::Float as i32,
        raw_data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ..Default::default()
    }
}

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
    graph.initializer.push(tensor(&weight, &dims, &weights.concat()));
    graph.initializer.push(tensor(&shift, &[bias.len()], bias));
    graph.node.push(node("Conv", &[input, &weight, &shift], output));
}

/// The whole of a graph, with ONNX's operators of version 17.
pub fn model(graph: GraphProto) -> ModelProto {
    let opset = OperatorSetIdProto { domain: String::new(), version: 17 };
    ModelProto {
        ir_version: 8,
        opset_import: vec![opset],
        graph: Some(graph),
        ..Default::default()
    }
}
