//! Small things about ONNX protocol buffers.

use crate::onnx::attribute_proto::AttributeType;
use crate::onnx::tensor_proto::DataType;
use crate::onnx::{AttributeProto, NodeProto, TensorProto};

pub(crate) const FLOAT: i32 = DataType::Float as i32;

/// The values of an f32 tensor; none where they are in another file.
pub(crate) fn floats(tensor: &TensorProto) -> Vec<f32> {
    if tensor.raw_data.is_empty() {
        return tensor.float_data.clone();
    }
    let values = tensor.raw_data.chunks_exact(4);
    values.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

fn tensor(name: &str, dims: &[usize], kind: DataType, raw_data: Vec<u8>) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: dims.iter().map(|d| *d as i64).collect(),
        data_type: kind as i32,
        raw_data,
        ..Default::default()
    }
}

pub(crate) fn f32_tensor(name: &str, dims: &[usize], values: &[f32]) -> TensorProto {
    tensor(name, dims, DataType::Float, values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

pub(crate) fn i32_tensor(name: &str, dims: &[usize], values: &[i32]) -> TensorProto {
    tensor(name, dims, DataType::Int32, values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

pub(crate) fn i8_tensor(name: &str, dims: &[usize], values: &[i8]) -> TensorProto {
    tensor(name, dims, DataType::Int8, values.iter().map(|v| v.cast_unsigned()).collect())
}

/// A node of one output, named as its output.
pub(crate) fn node(op: &str, input: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        name: output.into(),
        input: input.iter().map(|i| i.to_string()).collect(),
        output: vec![output.into()],
        ..Default::default()
    }
}

pub(crate) fn int_attribute(name: &str, value: i64) -> AttributeProto {
    let kind = AttributeType::Int as i32;
    AttributeProto { name: name.into(), r#type: kind, i: value, ..Default::default() }
}

/// An attribute that is one integer.
pub(crate) fn int(node: &NodeProto, name: &str) -> Option<i64> {
    node.attribute.iter().find(|a| a.name == name).map(|a| a.i)
}

/// An attribute that is a list of integers; empty where it is missing.
pub(crate) fn ints<'a>(node: &'a NodeProto, name: &str) -> &'a [i64] {
    node.attribute.iter().find(|a| a.name == name).map_or(&[], |a| &a.ints)
}

#[cfg(test)]
pub(super) mod tests {
    use crate::onnx::tensor_shape_proto::{Dimension, dimension};
    use crate::onnx::{
        GraphProto, TensorShapeProto, TypeProto, ValueInfoProto, type_proto, type_proto::Tensor,
    };

    use super::*;

    pub(in super::super) fn node(op: &str, name: &str, input: &[&str], output: &str) -> NodeProto {
        NodeProto { name: name.into(), ..super::node(op, input, output) }
    }

    fn info(name: &str, shape: &[i64]) -> ValueInfoProto {
        let dim = |d: &i64| Dimension {
            value: Some(dimension::Value::DimValue(*d)),
            ..Default::default()
        };
        let shape = TensorShapeProto { dim: shape.iter().map(dim).collect() };
        let value = type_proto::Value::TensorType(Tensor { elem_type: FLOAT, shape: Some(shape) });
        let kind = TypeProto { value: Some(value), ..Default::default() };
        ValueInfoProto { name: name.into(), r#type: Some(kind), ..Default::default() }
    }

    /// Appends a convolution of stride 2 where its kernel is 2, with seeded weights.
    pub(in super::super) fn layer(
        graph: &mut GraphProto,
        op: &str,
        name: &str,
        input: &str,
        dims: [usize; 5],
    ) {
        let mut random = crate::phantom::Random::new(graph.node.len() as u64);
        let count = dims.iter().product();
        let weights: Vec<f32> = (0..count).map(|_| random.range(-0.5, 0.6) as f32).collect();
        let outputs = if op == "Conv" { dims[0] } else { dims[1] };
        let [weight, bias] = [format!("{name}.weight"), format!("{name}.bias")];
        graph.initializer.push(f32_tensor(&weight, &dims, &weights));
        graph.initializer.push(f32_tensor(&bias, &[outputs], &vec![0.1; outputs]));
        let output = if name == "head" { "flow" } else { name };
        let mut made = node(op, name, &[input, &weight, &bias], output);
        let mut strides = int_attribute("strides", 0);
        strides.r#type = AttributeType::Ints as i32;
        strides.ints = vec![dims[2] as i64; 3];
        made.attribute.push(strides);
        graph.node.push(made);
    }

    /// pair [1, 2, 8, 8, 8] → down0 → down1 → up0, beside down0 → head: flow [1, 3, 8, 8, 8].
    pub(in super::super) fn unet() -> GraphProto {
        let mut graph = GraphProto { name: "unet".into(), ..Default::default() };
        graph.input.push(info("pair", &[1, 2, 8, 8, 8]));
        graph.output.push(info("flow", &[1, 3, 8, 8, 8]));
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
    pub(in super::super) fn residual() -> GraphProto {
        let mut graph = unet();
        let mut rest = graph.node.split_off(2);
        layer(&mut graph, "Conv", "side", "down0.act", [4, 4, 1, 1, 1]);
        graph.node.push(node("Add", "sum", &["down0.act", "side"], "sum"));
        graph.node.push(node("Relu", "", &["sum"], "sum.act"));
        rest[0].input[0] = "sum.act".into();
        graph.node.append(&mut rest);
        graph
    }
}
