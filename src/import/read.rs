//! A foreign ONNX file, whole: weights from files beside it, and floats of any width as f32.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::{Component, Path, PathBuf};

use crate::engine::onnx::tensor_proto::{DataLocation, DataType};
use crate::engine::onnx::{
    GraphProto, ModelProto, TensorProto, TypeProto, ValueInfoProto, tensor_shape_proto::dimension,
    type_proto,
};

use crate::engine::{self, LARGEST_GRAPH, Network};
use crate::package::{LARGEST_FILE, read_file};
use crate::{Error, Result};

/// A model that somebody else made.
#[derive(Debug, Clone)]
pub struct Foreign {
    pub path: PathBuf,
    /// Its weights are inside, its floats are f32.
    pub(super) model: ModelProto,
    /// Of the file and of those beside it.
    pub bytes: u64,
    /// What was done to it on reading.
    pub notes: Vec<String>,
}

/// An input or output as the file states it.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Slot {
    pub name: String,
    /// As ONNX calls it: `float32`, or `not a tensor`.
    pub dtype: String,
    pub shape: Vec<Side>,
}

/// The length of an axis.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(untagged)]
pub enum Side {
    Fixed(i64),
    /// Left open, by this name or `?`.
    Open(String),
}

impl Foreign {
    /// Reads a model and the files that hold its weights, which must lie beside it.
    ///
    /// # Errors
    /// [`Error::Unreadable`], [`Error::Malformed`] naming the tensor, and [`Error::Unusable`] for
    /// what is no ONNX.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = read_file(path)?;
        let name = path.display().to_string();
        let mut model = Network::parse(&name, &bytes).map_err(unfit)?;
        if model.graph.as_ref().is_none_or(|g| g.node.is_empty() || g.output.is_empty()) {
            let expected = "an ONNX model with nodes and outputs";
            let advice = "export the model again";
            return Err(Error::malformed(path, "ONNX", expected, "none", advice));
        }
        super::text::escape(&mut model);
        // Before anything looks at each with each.
        let nodes = model.graph.as_ref().map_or(0, |g| g.node.len());
        if nodes > LARGEST_GRAPH {
            let (expected, found) = (format!("at most {LARGEST_GRAPH} nodes"), nodes.to_string());
            let advice = "give the part that looks at the image";
            return Err(Error::malformed(path, "graph", expected, found, advice));
        }
        let mut foreign =
            Foreign { path: path.into(), model: ModelProto::default(), bytes: 0, notes: vec![] };
        let beside = take_in(path, &mut model)?;
        foreign.bytes = bytes.len() as u64 + beside.values().sum::<u64>();
        let names =
            beside.keys().map(|name| format!("weights in {}, beside it", name.escape_debug()));
        foreign.notes.extend(names);
        let widths = float32(path, model.graph.get_or_insert_default())?;
        let names = widths.into_iter().map(|width| format!("{width} made float32"));
        foreign.notes.extend(names);
        // From IR 4 on weights need not be inputs, too: then none of them can be given.
        model.ir_version = model.ir_version.max(8);
        let graph = model.graph.get_or_insert_default();
        let weights: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
        graph.input.retain(|i| !weights.contains(i.name.as_str()));
        foreign.model = model;
        Ok(foreign)
    }

    pub(super) fn graph(&self) -> &GraphProto {
        self.model.graph.as_ref().expect("read")
    }

    /// The version of ONNX's operators; 0 where the file names none.
    pub fn opset(&self) -> i64 {
        opset(&self.model)
    }

    pub fn inputs(&self) -> Vec<Slot> {
        self.graph().input.iter().map(Slot::of).collect()
    }

    pub fn outputs(&self) -> Vec<Slot> {
        self.graph().output.iter().map(Slot::of).collect()
    }
}

/// What an engine says of a model, where no package is there yet to be verified.
pub(super) fn unfit(error: impl Into<Error>) -> Error {
    match error.into() {
        Error::Engine(engine::Error::Graph { graph, problem }) => {
            Error::unusable(graph, problem, "docs/import.md says what is refused, and what to do")
        }
        other => other,
    }
}

pub(super) fn opset(model: &ModelProto) -> i64 {
    let own = model.opset_import.iter().filter(|o| is_onnx(&o.domain));
    own.map(|o| o.version).max().unwrap_or(0)
}

pub(super) fn is_onnx(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

impl Slot {
    fn of(info: &ValueInfoProto) -> Slot {
        let name = info.name.clone();
        let Some(tensor) = tensor(info.r#type.as_ref()) else {
            return Slot { name, dtype: "not a tensor".into(), shape: vec![] };
        };
        let sides = tensor.shape.iter().flat_map(|s| &s.dim).map(|d| match &d.value {
            Some(dimension::Value::DimValue(n)) => Side::Fixed(*n),
            Some(dimension::Value::DimParam(name)) if !name.is_empty() => Side::Open(name.clone()),
            _ => Side::Open("?".into()),
        });
        Slot { name, dtype: dtype(tensor.elem_type), shape: sides.collect() }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let side = |side: &Side| match side {
            Side::Fixed(n) => n.to_string(),
            Side::Open(name) => name.clone(),
        };
        let shape = self.shape.iter().map(side).collect::<Vec<_>>().join(", ");
        write!(f, "{} {} [{shape}]", self.name, self.dtype)
    }
}

fn tensor(kind: Option<&TypeProto>) -> Option<&type_proto::Tensor> {
    match kind?.value.as_ref()? {
        type_proto::Value::TensorType(tensor) => Some(tensor),
        #[allow(unreachable_patterns)] // tract's own version of the format has no other
        _ => None,
    }
}

/// The name of a type as ONNX writes it.
pub(super) fn dtype(number: i32) -> String {
    match DataType::try_from(number) {
        Ok(DataType::Float) => "float32".into(),
        Ok(DataType::Double) => "float64".into(),
        Ok(kind) => format!("{kind:?}").to_lowercase(),
        Err(_) => format!("type {number}"),
    }
}

/// Every tensor of a graph that holds values.
fn tensors(graph: &mut GraphProto) -> impl Iterator<Item = &mut TensorProto> {
    let of_nodes = graph.node.iter_mut().flat_map(|n| &mut n.attribute);
    let of_nodes = of_nodes.flat_map(|a| a.t.iter_mut().chain(&mut a.tensors));
    graph.initializer.iter_mut().chain(of_nodes)
}

/// Takes weights in other files into the model. Gives the names of these files and their sizes.
fn take_in(path: &Path, model: &mut ModelProto) -> Result<BTreeMap<String, u64>> {
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let graph = model.graph.get_or_insert_default();
    let mut all = 0;
    for tensor in tensors(graph) {
        if tensor.data_location != Some(DataLocation::External as i32) {
            continue;
        }
        let wrong = |expected: &str, found: String| {
            let what = format!("external data of {}", tensor.name);
            let advice = "put its file beside the model, or export with the weights inside";
            Error::malformed(path, what, expected, found, advice)
        };
        let entry = |key: &str| {
            let found = tensor.external_data.iter().find(|e| e.key == key);
            found.map(|e| e.value.clone())
        };
        let location = entry("location").unwrap_or_default();
        if !files.contains_key(&location) {
            let file = beside(path, &location).ok_or_else(|| {
                wrong("the name of a file in the model's folder", location.clone())
            })?;
            files.insert(location.clone(), read_file(&file)?);
            if files.values().map(|f| f.len() as u64).sum::<u64>() > LARGEST_FILE {
                return Err(wrong("at most 1 GiB in all", "more".into()));
            }
        }
        let number = |key: &str, default: usize| match entry(key) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| wrong("a number of bytes", text)),
        };
        let file = &files[&location];
        let offset = number("offset", 0)?;
        let length = number("length", file.len().saturating_sub(offset))?;
        let part = offset.checked_add(length).and_then(|end| file.get(offset..end));
        let part = part.ok_or_else(|| {
            let found = format!("bytes {offset} to {offset} + {length} of {}", file.len());
            wrong("bytes that the file has", found)
        })?;
        all += part.len() as u64;
        if all > LARGEST_FILE {
            return Err(wrong("at most 1 GiB in all", "more".into()));
        }
        tensor.raw_data = part.to_vec();
        tensor.data_location = None;
        tensor.external_data.clear();
    }
    Ok(files.into_iter().map(|(name, bytes)| (name, bytes.len() as u64)).collect())
}

/// The file of this plain name in the model's folder, which no link leads out of.
fn beside(model: &Path, name: &str) -> Option<PathBuf> {
    let parts: Vec<Component> = Path::new(name).components().collect();
    let [Component::Normal(name)] = parts[..] else { return None };
    let folder = match model.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let file = folder.join(name);
    let real = file.canonicalize().ok()?;
    (real.parent() == folder.canonicalize().ok().as_deref()).then_some(file)
}

/// Makes every float of another width f32, in weights, types and casts. Gives the names of the
/// types that it found.
fn float32(path: &Path, graph: &mut GraphProto) -> Result<Vec<String>> {
    const OTHERS: [DataType; 3] = [DataType::Float16, DataType::Bfloat16, DataType::Double];
    let float = DataType::Float as i32;
    let mut found = Vec::new();
    let mut change = |number: i32| {
        let other = OTHERS.into_iter().find(|kind| *kind as i32 == number);
        found.extend(other.map(|kind| dtype(kind as i32)));
        if other.is_some() { float } else { number }
    };
    for tensor in tensors(graph) {
        let kind = tensor.data_type;
        tensor.data_type = change(kind);
        if tensor.data_type == kind {
            continue;
        }
        let values = floats(tensor, kind).ok_or_else(|| {
            let what = format!("weights {}", tensor.name);
            let expected = format!("{:?} values of {}", tensor.dims, dtype(kind));
            let found = "another number of them";
            Error::malformed(path, what, expected, found, "export the model again")
        })?;
        tensor.raw_data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        tensor.int32_data.clear();
        tensor.double_data.clear();
    }
    for node in &mut graph.node {
        // Also `dtype` of nodes that make tensors: they number types the same way.
        let kinds = node.attribute.iter_mut().filter(|a| ["to", "dtype"].contains(&&*a.name));
        kinds.for_each(|a| a.i = i32::try_from(a.i).map_or(a.i, |kind| change(kind).into()));
    }
    let infos = graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info);
    for info in infos {
        if let Some(type_proto::Value::TensorType(tensor)) =
            info.r#type.as_mut().and_then(|t| t.value.as_mut())
        {
            tensor.elem_type = change(tensor.elem_type);
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// The values of a tensor of wider or narrower floats; `None` where they are not as many as its
/// shape says.
fn floats(tensor: &TensorProto, kind: i32) -> Option<Vec<f32>> {
    fn words<const N: usize>(raw: &[u8]) -> impl Iterator<Item = [u8; N]> {
        raw.chunks_exact(N).map(|c| <[u8; N]>::try_from(c).unwrap_or([0; N]))
    }
    let raw = &tensor.raw_data;
    let wide = |bits: u16| f32::from_bits(u32::from(bits) << 16);
    let values: Vec<f32> = if kind == DataType::Double as i32 {
        match raw.is_empty() {
            true => tensor.double_data.iter().map(|v| *v as f32).collect(),
            false => words(raw).map(|b| f64::from_le_bytes(b) as f32).collect(),
        }
    } else {
        let bits: Vec<u16> = match raw.is_empty() {
            true => tensor.int32_data.iter().map(|v| *v as u16).collect(),
            false => words(raw).map(u16::from_le_bytes).collect(),
        };
        let half = kind == DataType::Float16 as i32;
        bits.into_iter().map(|b| if half { half_float(b) } else { wide(b) }).collect()
    };
    let count =
        tensor.dims.iter().try_fold(1usize, |n, d| n.checked_mul(usize::try_from(*d).ok()?));
    (count == Some(values.len())).then_some(values)
}

/// IEEE 754 binary16.
fn half_float(bits: u16) -> f32 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    let magnitude = match exponent {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1024.0 + fraction) * 2f32.powi(exponent - 25),
    };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_floats_are_those_of_ieee_754() {
        let cases = [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x3555, 0.33325195),
            (0x0001, 5.9604645e-8),
            (0x03ff, 6.097555e-5),
            (0x0400, 6.1035156e-5),
            (0x7c00, f32::INFINITY),
        ];
        for (bits, value) in cases {
            assert_eq!(half_float(bits), value, "{bits:#06x}");
        }
        assert!(half_float(0x7c01).is_nan());
    }
}
