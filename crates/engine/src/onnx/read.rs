//! Attributes and constants of an ONNX graph, in Rust's types.

use std::collections::HashMap;

use super::{AttributeProto, GraphProto, NodeProto, TensorProto};

/// A constant tensor, in memory order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Constant {
    pub shape: Vec<usize>,
    pub values: Values,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Values {
    F32(Vec<f32>),
    I64(Vec<i64>),
    I32(Vec<i32>),
    I8(Vec<i8>),
    U8(Vec<u8>),
    /// int8 after a symmetric DequantizeLinear with one scale per index of an axis.
    Scaled {
        values: Vec<i8>,
        scale: Vec<f32>,
        axis: usize,
    },
}

impl Constant {
    /// `None` for types and layouts that our operators do not take.
    fn read(proto: &TensorProto) -> Option<Constant> {
        let shape: Option<Vec<usize>> =
            proto.dims.iter().map(|d| usize::try_from(*d).ok()).collect();
        let shape = shape?;
        let n = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d))?;
        let raw = &proto.raw_data;
        let small = proto.int32_data.iter();
        let values = match (proto.data_type, raw.is_empty()) {
            (1, _) => Values::F32(floats(proto)),
            (2, true) => Values::U8(small.map(|v| *v as u8).collect()),
            (2, false) => Values::U8(raw.clone()),
            (3, true) => Values::I8(small.map(|v| *v as i8).collect()),
            (3, false) => Values::I8(raw.iter().map(|v| *v as i8).collect()),
            (6, true) => Values::I32(proto.int32_data.clone()),
            (6, false) => Values::I32(words(raw).map(i32::from_le_bytes).collect()),
            (7, true) => Values::I64(proto.int64_data.clone()),
            (7, false) => Values::I64(words(raw).map(i64::from_le_bytes).collect()),
            _ => return None,
        };
        let constant = Constant { shape, values };
        (constant.len() == n).then_some(constant)
    }

    pub fn len(&self) -> usize {
        match &self.values {
            Values::F32(v) => v.len(),
            Values::I64(v) => v.len(),
            Values::I32(v) => v.len(),
            Values::I8(v) | Values::Scaled { values: v, .. } => v.len(),
            Values::U8(v) => v.len(),
        }
    }

    pub fn f32(&self) -> Option<Vec<f32>> {
        match &self.values {
            Values::F32(v) => Some(v.clone()),
            Values::Scaled { values, scale, axis } => {
                let inner: usize = self.shape.iter().skip(axis + 1).product();
                let value = |(i, v): (usize, &i8)| f32::from(*v) * scale[i / inner % scale.len()];
                Some(values.iter().enumerate().map(value).collect())
            }
            _ => None,
        }
    }

    pub fn i64(&self) -> Option<&[i64]> {
        if let Values::I64(v) = &self.values { Some(v) } else { None }
    }

    /// A single f32.
    pub fn scalar(&self) -> Option<f32> {
        self.f32().filter(|v| v.len() == 1).map(|v| v[0])
    }

    /// All of the integers, whatever their width.
    fn integers(&self) -> Option<Vec<i32>> {
        match &self.values {
            Values::I32(v) => Some(v.clone()),
            Values::I8(v) => Some(v.iter().map(|v| i32::from(*v)).collect()),
            Values::U8(v) => Some(v.iter().map(|v| i32::from(*v)).collect()),
            _ => None,
        }
    }

    /// DequantizeLinear of a constant, per tensor or per index of `axis`.
    fn dequantize(&self, scale: &Constant, zero: Option<&Constant>, axis: i64) -> Option<Self> {
        let scale = scale.f32()?;
        let zeros = match zero {
            Some(zero) => zero.integers()?,
            None => vec![0; scale.len()],
        };
        let rank = self.shape.len();
        let axis = if scale.len() == 1 { 0 } else { axis.rem_euclid(rank.max(1) as i64) as usize };
        let per_axis = scale.len() == 1 || self.shape.get(axis) == Some(&scale.len());
        if !per_axis || zeros.len() != scale.len() {
            return None;
        }
        let shape = self.shape.clone();
        if let Values::I8(values) = &self.values
            && zeros.iter().all(|z| *z == 0)
            && values.iter().all(|v| *v > i8::MIN)
        {
            let values = Values::Scaled { values: values.clone(), scale, axis };
            return Some(Constant { shape, values });
        }
        let inner: usize = self.shape.iter().skip(axis + 1).product();
        let real = |(i, v): (usize, i32)| {
            let channel = i / inner % scale.len();
            v.wrapping_sub(zeros[channel]) as f32 * scale[channel]
        };
        let values = self.integers()?.into_iter().enumerate().map(real).collect();
        Some(Constant { shape, values: Values::F32(values) })
    }
}

/// Everything in a graph that does not depend on its inputs, by name.
pub(crate) struct Constants(HashMap<String, Constant>);

impl Constants {
    pub fn new(graph: &GraphProto) -> Constants {
        let initializers = graph.initializer.iter();
        let named = initializers.filter_map(|t| Some((t.name.clone(), Constant::read(t)?)));
        let mut constants = Constants(named.collect());
        for node in &graph.node {
            if let (Some(value), Some(name)) = (constants.value_of(node), node.output.first()) {
                constants.0.insert(name.clone(), value);
            }
        }
        constants
    }

    pub fn get(&self, name: &str) -> Option<&Constant> {
        self.0.get(name)
    }

    fn value_of(&self, node: &NodeProto) -> Option<Constant> {
        let input = |i: usize| node.input.get(i).and_then(|name| self.get(name));
        match node.op_type.as_str() {
            "Constant" => Constant::read(attribute(node, "value")?.t.as_ref()?),
            "Identity" => input(0).cloned(),
            // Scales of blocks look like those of an axis.
            "DequantizeLinear" if int(node, "block_size").unwrap_or(0) == 0 => {
                input(0)?.dequantize(input(1)?, input(2), int(node, "axis").unwrap_or(1))
            }
            _ => None,
        }
    }
}

/// Raw data as its little-endian numbers of N bytes.
fn words<const N: usize>(raw: &[u8]) -> impl Iterator<Item = [u8; N]> {
    raw.as_chunks::<N>().0.iter().copied()
}

/// The attribute of this name.
pub(crate) fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|a| a.name == name)
}

/// Numbers of types in ONNX.
const FLOAT: i64 = 1;
const UINT8: i64 = 2;

/// Refuses nodes that ask for a type which nobody here computes in, and tract does not read.
///
/// # Errors
/// What is wrong with the first such node.
pub(crate) fn check_types(graph: &GraphProto) -> Result<(), String> {
    for node in &graph.node {
        let has_zero = node.input.get(2).is_some_and(|name| !name.is_empty());
        let (only, expected) = match node.op_type.as_str() {
            "QuantizeLinear" if !has_zero => (UINT8, "UINT8, or a zero point of another type"),
            "DequantizeLinear" => (FLOAT, "FLOAT"),
            _ => continue,
        };
        let found = int(node, "output_dtype").unwrap_or(0);
        if found != 0 && found != only {
            let name = &node.name;
            return Err(format!("{name}: output_dtype: expected {expected}, found type {found}"));
        }
    }
    Ok(())
}

/// An attribute that is one integer.
pub fn int(node: &NodeProto, name: &str) -> Option<i64> {
    attribute(node, name).map(|a| a.i)
}

pub(crate) fn float(node: &NodeProto, name: &str) -> Option<f32> {
    attribute(node, name).map(|a| a.f)
}

pub(crate) fn text<'a>(node: &'a NodeProto, name: &str) -> Option<&'a str> {
    attribute(node, name).and_then(|a| std::str::from_utf8(&a.s).ok())
}

/// Longer paddings, strides and kernels are mistakes, and sums of them might overflow.
const LARGEST_SIZE: i64 = 1 << 20;

/// A list of whole numbers, `default` where it is absent; `None` where one is negative or far too
/// large, and where there are not as many as in `default`.
pub(crate) fn sizes(node: &NodeProto, name: &str, default: &[usize]) -> Option<Vec<usize>> {
    let Some(attribute) = attribute(node, name) else { return Some(default.to_vec()) };
    let size = |v: &i64| (0..=LARGEST_SIZE).contains(v).then_some(*v as usize);
    let list: Vec<usize> = attribute.ints.iter().map(size).collect::<Option<_>>()?;
    (list.len() == default.len()).then_some(list)
}

/// The values of an f32 tensor; none where they are in another file.
pub fn floats(tensor: &TensorProto) -> Vec<f32> {
    match tensor.raw_data.is_empty() {
        true => tensor.float_data.clone(),
        false => words(&tensor.raw_data).map(f32::from_le_bytes).collect(),
    }
}

/// An attribute that is a list of integers; empty where it is missing.
pub fn ints<'a>(node: &'a NodeProto, name: &str) -> &'a [i64] {
    attribute(node, name).map_or(&[], |a| &a.ints)
}
