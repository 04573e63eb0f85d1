//! Small ONNX graphs and their parts, for whoever writes one.

use super::attribute_proto::AttributeType;
use super::tensor_proto::DataType;
use super::tensor_shape_proto::{Dimension, dimension};
use super::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};

fn tensor(name: &str, dims: &[usize], kind: DataType, raw_data: Vec<u8>) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: dims.iter().map(|d| *d as i64).collect(),
        data_type: kind as i32,
        raw_data,
        ..Default::default()
    }
}

/// A constant of f32, in memory order.
pub fn f32_tensor(name: &str, dims: &[usize], values: &[f32]) -> TensorProto {
    tensor(name, dims, DataType::Float, values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

/// A constant of i32, in memory order.
pub fn i32_tensor(name: &str, dims: &[usize], values: &[i32]) -> TensorProto {
    tensor(name, dims, DataType::Int32, values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

/// A constant of i64, in memory order.
pub fn i64_tensor(name: &str, dims: &[usize], values: &[i64]) -> TensorProto {
    tensor(name, dims, DataType::Int64, values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

/// A constant of i8, in memory order.
pub fn i8_tensor(name: &str, dims: &[usize], values: &[i8]) -> TensorProto {
    tensor(name, dims, DataType::Int8, values.iter().map(|v| v.cast_unsigned()).collect())
}

/// A node of one output, named as its output.
pub fn node(op: &str, input: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        name: output.into(),
        input: input.iter().map(|i| i.to_string()).collect(),
        output: vec![output.into()],
        ..Default::default()
    }
}

/// An attribute that is one integer.
pub fn int_attribute(name: &str, value: i64) -> AttributeProto {
    let kind = AttributeType::Int as i32;
    AttributeProto { name: name.into(), r#type: kind, i: value, ..Default::default() }
}

/// An attribute that is a list of integers.
pub fn ints_attribute(name: &str, values: &[i64]) -> AttributeProto {
    let kind = AttributeType::Ints as i32;
    AttributeProto { name: name.into(), r#type: kind, ints: values.to_vec(), ..Default::default() }
}

/// An attribute that is one f32.
pub fn float_attribute(name: &str, value: f32) -> AttributeProto {
    let kind = AttributeType::Float as i32;
    AttributeProto { name: name.into(), r#type: kind, f: value, ..Default::default() }
}

/// An input or output with this shape; `data_type` as ONNX numbers types.
pub fn info(name: &str, data_type: i32, shape: &[usize]) -> ValueInfoProto {
    let side = |n: &usize| Dimension {
        value: Some(dimension::Value::DimValue(*n as i64)),
        ..Default::default()
    };
    let shape = TensorShapeProto { dim: shape.iter().map(side).collect() };
    let tensor = type_proto::Tensor { elem_type: data_type, shape: Some(shape) };
    let value = Some(type_proto::Value::TensorType(tensor));
    let kind = TypeProto { value, ..Default::default() };
    ValueInfoProto { name: name.into(), r#type: Some(kind), ..Default::default() }
}

/// An input or output of f32 with this shape.
pub fn f32_info(name: &str, shape: &[usize]) -> ValueInfoProto {
    info(name, DataType::Float as i32, shape)
}

/// A model of one graph, with the operators of ONNX's version 17.
pub fn model(graph: GraphProto) -> ModelProto {
    let opset = OperatorSetIdProto { domain: String::new(), version: 17 };
    ModelProto {
        ir_version: 8,
        opset_import: vec![opset],
        graph: Some(graph),
        ..Default::default()
    }
}
