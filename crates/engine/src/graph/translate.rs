//! From ONNX nodes to ours. What is not understood, in every detail, is left to tract.

use std::collections::{HashMap, HashSet};

use super::{
    Activation, Conv, Graph, Id, Node, Op, Pool, Quant, Resize, Tensor, TensorInfo, Weights,
    is_possible,
};
use crate::onnx::read::{Constant, Constants, Values, float, int, sizes, text};
use crate::onnx::{GraphProto, NodeProto};

/// The graph, if every node of it is ours.
///
/// # Errors
/// The first of its tensors or nodes that is not, for people.
pub fn whole(onnx: &GraphProto, inputs: &[TensorInfo]) -> Result<Graph, String> {
    let constants = Constants::new(onnx);
    let mut translator = Translator::new(&constants);
    for TensorInfo { name, shape } in inputs {
        let id = translator.add_source(name, shape);
        translator.graph.inputs.push(id.ok_or_else(|| format!("input {name} of shape {shape:?}"))?);
    }
    let denied = HashSet::new();
    for node in &onnx.node {
        let constant = node.output.iter().all(|o| constants.get(o).is_some());
        if !constant && !translator.add_node(node, &denied) {
            return Err(format!("{} {}", node.op_type, node.name));
        }
    }
    let f32 = |id: &Id| translator.graph.tensors[*id].quant.is_none();
    let output = |name: &String| translator.id(name).filter(f32).ok_or(format!("output {name}"));
    let outputs = onnx.output.iter().map(|o| output(&o.name)).collect::<Result<_, _>>()?;
    translator.graph.outputs = outputs;
    Ok(translator.graph)
}

/// Builds a [`Graph`] node by node.
pub struct Translator<'a> {
    constants: &'a Constants,
    pub graph: Graph,
    ids: HashMap<String, Id>,
}

/// A list as z, y, x; frames have 1 along z.
fn three<T: Copy>(list: &[T], filler: T) -> Option<[T; 3]> {
    match *list {
        [y, x] => Some([filler, y, x]),
        [z, y, x] => Some([z, y, x]),
        _ => None,
    }
}

impl<'a> Translator<'a> {
    pub fn new(constants: &'a Constants) -> Self {
        Translator { constants, graph: Graph::default(), ids: HashMap::new() }
    }

    pub fn id(&self, name: &str) -> Option<Id> {
        self.ids.get(name).copied()
    }

    /// Makes an f32 tensor known that no node of ours computes; `None` if it is no image.
    pub fn add_source(&mut self, name: &str, shape: &[usize]) -> Option<Id> {
        let (channels, size) = match *shape {
            [1, c] => (c, [1; 3]),
            [1, c, y, x] => (c, [1, y, x]),
            [1, c, z, y, x] => (c, [z, y, x]),
            _ => return None,
        };
        let name = name.to_string();
        let tensor = Tensor { name, channels, size, rank: shape.len(), quant: None };
        is_possible(shape).then(|| self.add_tensor(tensor))
    }

    fn add_tensor(&mut self, tensor: Tensor) -> Id {
        let id = self.graph.tensors.len();
        self.ids.insert(tensor.name.clone(), id);
        self.graph.tensors.push(tensor);
        id
    }

    /// Adds a node if it is one of ours. `denied` holds the outputs of nodes that are not to be.
    pub fn add_node(&mut self, node: &NodeProto, denied: &HashSet<String>) -> bool {
        let outputs = node.output.iter().filter(|o| !o.is_empty()).count();
        let first = node.output.first().filter(|name| !name.is_empty() && !denied.contains(*name));
        if outputs != 1 || first.is_none() || !matches!(node.domain.as_str(), "" | "ai.onnx") {
            return false;
        }
        let made = self.operation(node).filter(|(_, _, output)| is_possible(&output.shape()));
        let Some(((op, activation), inputs, output)) = made else { return false };
        let output = self.add_tensor(output);
        let name = if node.name.is_empty() { &node.output[0] } else { &node.name };
        self.graph.nodes.push(Node { name: name.clone(), op, inputs, output, activation });
        true
    }

    fn constant(&self, node: &NodeProto, i: usize) -> Option<&'a Constant> {
        self.constants.get(node.input.get(i)?)
    }

    fn image(&self, node: &NodeProto, i: usize) -> Option<Id> {
        self.id(node.input.get(i)?)
    }

    fn operation(&self, node: &NodeProto) -> Option<((Op, Activation), Vec<Id>, Tensor)> {
        let plain = |op: Op| (op, Activation::NONE);
        // Mul and Add take their image on either side.
        let at = usize::from(self.image(node, 0).is_none());
        let input = self.image(node, at)?;
        if at == 1 && !matches!(node.op_type.as_str(), "Mul" | "Add") {
            return None;
        }
        let of = &self.graph.tensors[input];
        let mut to = Tensor { name: node.output[0].clone(), ..of.clone() };
        let quantized = of.quant.is_some();
        if quantized != (node.op_type == "DequantizeLinear") {
            return None;
        }
        let op = match node.op_type.as_str() {
            "Conv" => plain(self.conv(node, of, &mut to, false)?),
            "ConvTranspose" => plain(self.conv(node, of, &mut to, true)?),
            "Relu" => (Op::Activate, Activation { negative_slope: 0.0, max: f32::INFINITY }),
            "LeakyRelu" => {
                let negative_slope = float(node, "alpha").unwrap_or(0.01);
                (Op::Activate, Activation { negative_slope, max: f32::INFINITY })
            }
            "Clip" => (Op::Activate, self.clip(node)?),
            "Add" | "Mul" | "Sub" | "Div" if self.constant(node, 1 - at).is_some() => {
                plain(self.scale(node, self.constant(node, 1 - at)?, of)?)
            }
            "Add" => {
                let other = self.image(node, 1)?;
                let same = &self.graph.tensors[other];
                if (same.channels, same.size, same.rank) != (of.channels, of.size, of.rank) {
                    return None;
                }
                return Some((plain(Op::Add), vec![input, other], to));
            }
            "BatchNormalization" => plain(self.batch_norm(node, of)?),
            "InstanceNormalization" => plain(Op::InstanceNorm {
                epsilon: float(node, "epsilon").unwrap_or(1e-5),
                factor: self.per_channel(node, 1, of)?,
                shift: self.per_channel(node, 2, of)?,
            }),
            "Concat" => return self.concat(node, to),
            "Resize" | "Upsample" => plain(self.resize(node, &mut to)?),
            "MaxPool" | "AveragePool" => plain(self.pool(node, of, &mut to)?),
            "GlobalAveragePool" if of.rank > 2 => {
                to.size = [1; 3];
                let kernel = of.size;
                let (stride, before) = ([1; 3], [0; 3]);
                plain(Op::Pool(Pool { max: false, kernel, stride, before, count_padding: true }))
            }
            "QuantizeLinear" => {
                to.quant = Some(self.quant(node)?);
                plain(Op::Quantize)
            }
            "DequantizeLinear" => {
                to.quant = None;
                (self.quant(node)? == of.quant?).then(|| plain(Op::Dequantize))?
            }
            "Identity" => plain(Op::Activate),
            // Its third input says whether it is being trained.
            "Dropout" if node.input.get(2).is_none_or(String::is_empty) => plain(Op::Activate),
            "Reshape" | "Flatten" if of.positions() == 1 => {
                to.rank = 2;
                let shape = self.constant(node, 1).and_then(Constant::i64);
                let named =
                    |s: &[i64]| matches!(s, [-1..=1, c] if *c == of.channels as i64 || *c == -1);
                let flat = node.op_type == "Flatten" && int(node, "axis").unwrap_or(1) == 1;
                (flat || node.op_type == "Reshape" && shape.is_some_and(named))
                    .then(|| plain(Op::Reshape))?
            }
            _ => return None,
        };
        Some((op, vec![input], to))
    }

    fn per_channel(&self, node: &NodeProto, i: usize, of: &Tensor) -> Option<Vec<f32>> {
        self.constant(node, i)?.f32().filter(|v| v.len() == of.channels)
    }

    fn conv(&self, node: &NodeProto, of: &Tensor, to: &mut Tensor, transposed: bool) -> Option<Op> {
        let weights = self.constant(node, 1)?;
        let spatial = of.rank.checked_sub(2)?;
        let kernel = weights.shape.get(2..).filter(|k| k.len() == spatial)?;
        let list = |name: &str, default: usize| {
            three(&sizes(node, name, &vec![default; spatial])?, default)
        };
        let groups = int(node, "group").map_or(Some(1), |g| usize::try_from(g).ok())?.max(1);
        let (kernel, stride, dilation) =
            (three(kernel, 1)?, list("strides", 1)?, list("dilations", 1)?);
        if !kernel.iter().chain(&stride).chain(&dilation).all(|n| (1..=64).contains(n)) {
            return None;
        }
        let span = [0, 1, 2].map(|a| dilation[a] * (kernel[a] - 1) + 1);
        let extra = list("output_padding", 0)?;
        let (before, after) = self.pads(node, of.size, span, stride, spatial)?;
        let [a, b] = [weights.shape[0], weights.shape[1]];
        let all = b.checked_mul(groups)?;
        let (output, input) = if transposed { (all, a) } else { (a, all) };
        if input != of.channels || output == 0 || a % groups != 0 {
            return None;
        }
        let extends = (0..3).any(|a| extra[a] >= stride[a]);
        if transposed && (dilation != [1; 3] || extends || node_has_output_shape(node)) {
            return None;
        }
        // A group's channels are packed with zeros up to whole vectors.
        let [rows, columns] =
            [(output / groups).next_multiple_of(16), (input / groups).next_multiple_of(4)];
        if !is_possible(&[groups, rows, columns, kernel.iter().product()]) {
            return None;
        }
        to.channels = output;
        for axis in 0..3 {
            let n = of.size[axis];
            to.size[axis] = if transposed {
                let full = (n - 1) * stride[axis] + span[axis] + extra[axis];
                full.checked_sub(before[axis] + after[axis]).filter(|n| *n > 0)?
            } else {
                (n + before[axis] + after[axis]).checked_sub(span[axis])? / stride[axis] + 1
            };
        }
        let bias = match node.input.get(2).filter(|name| !name.is_empty()) {
            Some(name) => self.constants.get(name)?.f32().filter(|b| b.len() == output)?,
            None => vec![0.0; output],
        };
        let weights = if transposed { adjoint(weights, groups)? } else { direct(weights)? };
        let conv = Conv { transposed, kernel, stride, dilation, before, groups, weights, bias };
        Some(Op::Conv(Box::new(conv)))
    }

    /// Padding before and after, from `pads` or `auto_pad`.
    fn pads(
        &self,
        node: &NodeProto,
        size: [usize; 3],
        span: [usize; 3],
        stride: [usize; 3],
        spatial: usize,
    ) -> Option<([usize; 3], [usize; 3])> {
        match text(node, "auto_pad").unwrap_or("NOTSET") {
            "NOTSET" | "" => {
                let pads = sizes(node, "pads", &vec![0; 2 * spatial])?;
                Some((three(pads.get(..spatial)?, 0)?, three(pads.get(spatial..)?, 0)?))
            }
            "VALID" => Some(([0; 3], [0; 3])),
            side @ ("SAME_UPPER" | "SAME_LOWER") if node.op_type != "ConvTranspose" => {
                let total = [0, 1, 2].map(|a| {
                    let needed = (size[a].div_ceil(stride[a]) - 1) * stride[a] + span[a];
                    needed.saturating_sub(size[a])
                });
                let (small, large) = (total.map(|t| t / 2), total.map(|t| t - t / 2));
                Some(if side == "SAME_UPPER" { (small, large) } else { (large, small) })
            }
            _ => None,
        }
    }

    fn clip(&self, node: &NodeProto) -> Option<Activation> {
        let bound = |i: usize, name: &str, default: f32| match node.input.get(i) {
            Some(n) if !n.is_empty() => self.constants.get(n)?.scalar(),
            _ => Some(float(node, name).unwrap_or(default)),
        };
        let (min, max) = (bound(1, "min", f32::MIN)?, bound(2, "max", f32::MAX)?);
        (min == 0.0).then_some(Activation { negative_slope: 0.0, max })
    }

    /// An operation with a constant that is the same for all positions.
    fn scale(&self, node: &NodeProto, constant: &Constant, of: &Tensor) -> Option<Op> {
        let mut values = constant.f32().filter(|_| constant.shape.len() <= of.rank)?;
        // Broadcast from the right: the channel axis stands before the spatial ones.
        let axis = (constant.shape.len() + 1).checked_sub(of.rank.max(2));
        let per_channel = |axis: usize| {
            let others = constant.shape.iter().enumerate().filter(|(a, _)| *a != axis);
            others.map(|(_, n)| *n).product::<usize>() == 1
        };
        match (values.len(), axis) {
            (1, _) => values = vec![values[0]; of.channels],
            (n, Some(axis)) if n == of.channels && per_channel(axis) => {}
            _ => return None,
        }
        let (one, zero) = (vec![1.0; of.channels], vec![0.0; of.channels]);
        Some(match node.op_type.as_str() {
            "Mul" => Op::Scale { factor: values, shift: zero },
            "Div" => Op::Scale { factor: values.iter().map(|v| 1.0 / v).collect(), shift: zero },
            "Add" => Op::Scale { factor: one, shift: values },
            _ => Op::Scale { factor: one, shift: values.iter().map(|v| -v).collect() },
        })
    }

    fn batch_norm(&self, node: &NodeProto, of: &Tensor) -> Option<Op> {
        if int(node, "training_mode").unwrap_or(0) != 0 {
            return None;
        }
        let list = |i| self.per_channel(node, i, of);
        let (scale, bias, mean, variance) = (list(1)?, list(2)?, list(3)?, list(4)?);
        let epsilon = float(node, "epsilon").unwrap_or(1e-5);
        let factor: Vec<f32> =
            scale.iter().zip(&variance).map(|(s, v)| s / (v + epsilon).sqrt()).collect();
        let shift = bias.iter().zip(&mean).zip(&factor).map(|((b, m), f)| b - m * f).collect();
        Some(Op::Scale { factor, shift })
    }

    fn concat(
        &self,
        node: &NodeProto,
        mut to: Tensor,
    ) -> Option<((Op, Activation), Vec<Id>, Tensor)> {
        let inputs: Option<Vec<Id>> = node.input.iter().map(|name| self.id(name)).collect();
        let inputs = inputs?;
        let tensors = || inputs.iter().map(|id| &self.graph.tensors[*id]);
        let axis = int(node, "axis")?;
        let channels = axis == 1 || axis + to.rank as i64 == 1;
        let fits = |t: &Tensor| t.size == to.size && t.rank == to.rank && t.quant.is_none();
        if !channels || !tensors().all(fits) {
            return None;
        }
        to.channels = tensors().map(|t| t.channels).sum();
        Some(((Op::Concat, Activation::NONE), inputs, to))
    }

    fn resize(&self, node: &NodeProto, to: &mut Tensor) -> Option<Op> {
        let mode = text(node, "mode").unwrap_or("nearest");
        let centers = text(node, "coordinate_transformation_mode").unwrap_or("half_pixel");
        let rounding = text(node, "nearest_mode").unwrap_or("round_prefer_floor");
        let linear = mode == "linear";
        let old = node.op_type == "Upsample";
        let all_axes = crate::onnx::read::attribute(node, "axes").is_none();
        let understood = match (linear, centers) {
            _ if !all_axes || !["nearest", "linear"].contains(&mode) => false,
            _ if old => !linear,
            (true, "half_pixel") => true,
            // Length 1 has a rule of its own there.
            (true, "pytorch_half_pixel") => to.size[5 - to.rank..].iter().all(|n| *n > 1),
            (false, "half_pixel" | "pytorch_half_pixel") => rounding.starts_with("round"),
            (false, "asymmetric") => matches!(rounding, "floor" | "round_prefer_floor"),
            _ => false,
        };
        let size = |i: usize| self.constant(node, i);
        let scales = size(if old { 1 } else { 2 }).and_then(Constant::f32).unwrap_or_default();
        let spatial = to.rank.checked_sub(2).filter(|n| *n > 0)?;
        let doubled = |axis: usize| to.size[axis] * 2;
        let wanted: Vec<usize> = (3 - spatial..3).map(doubled).collect();
        let by_scale = scales.len() == to.rank
            && scales[..2] == [1.0; 2]
            && scales[2..].iter().all(|s| *s == 2.0);
        let by_size = size(3).and_then(Constant::i64).is_some_and(|s| {
            let wanted = [1, to.channels].into_iter().chain(wanted.iter().copied());
            s.len() == to.rank && s.iter().zip(wanted).all(|(a, b)| *a == b as i64)
        });
        if !understood || !(by_scale || by_size) {
            return None;
        }
        to.size[3 - spatial..].copy_from_slice(&wanted);
        Some(Op::Resize(if linear { Resize::Linear } else { Resize::Nearest }))
    }

    fn pool(&self, node: &NodeProto, of: &Tensor, to: &mut Tensor) -> Option<Op> {
        let spatial = of.rank.checked_sub(2)?;
        let ones = vec![1; spatial];
        let kernel = three(&sizes(node, "kernel_shape", &ones)?, 1)?;
        let stride = three(&sizes(node, "strides", &ones)?, 1)?;
        let plain = int(node, "ceil_mode").unwrap_or(0) == 0
            && sizes(node, "dilations", &ones)? == ones
            && kernel.iter().chain(&stride).all(|n| *n > 0);
        if !plain {
            return None;
        }
        let (before, after) = self.pads(node, of.size, kernel, stride, spatial)?;
        if (0..3).any(|a| before[a] >= kernel[a] || after[a] >= kernel[a]) {
            return None;
        }
        for axis in 0..3 {
            let padded = of.size[axis] + before[axis] + after[axis];
            to.size[axis] = padded.checked_sub(kernel[axis])? / stride[axis] + 1;
        }
        let max = node.op_type == "MaxPool";
        let count_padding = int(node, "count_include_pad").unwrap_or(0) != 0;
        Some(Op::Pool(Pool { max, kernel, stride, before, count_padding }))
    }

    /// Scale and zero point of a Quantize or Dequantize of a whole tensor.
    fn quant(&self, node: &NodeProto) -> Option<Quant> {
        let scale = self.constant(node, 1)?.scalar().filter(|s| *s > 0.0 && s.is_finite())?;
        let zero = match node.input.get(2).filter(|n| !n.is_empty()) {
            // Without a zero point the type is uint8, unless this says otherwise.
            None if int(node, "output_dtype").unwrap_or(0) != 0 => return None,
            None => -128,
            Some(name) => match self.constants.get(name)?.values {
                Values::U8(ref z) if z.len() == 1 => i32::from(z[0]) - 128,
                Values::I8(ref z) if z.len() == 1 => i32::from(z[0]),
                _ => return None,
            },
        };
        Some(Quant { scale, zero })
    }
}

fn node_has_output_shape(node: &NodeProto) -> bool {
    crate::onnx::read::attribute(node, "output_shape").is_some()
}

/// Weights of Conv as they are.
fn direct(weights: &Constant) -> Option<Weights> {
    Some(match &weights.values {
        Values::Scaled { values, scale, axis } if *axis == 0 => {
            let scale =
                if scale.len() == 1 { vec![scale[0]; weights.shape[0]] } else { scale.clone() };
            Weights::I8 { values: values.clone(), scale }
        }
        _ => Weights::F32(weights.f32()?),
    })
}

/// `[input channel][output channel of the group][…]` → `[output channel][input channel of the
/// group][…]`.
fn adjoint(weights: &Constant, groups: usize) -> Option<Weights> {
    let [input, output] = [weights.shape[0], weights.shape[1]];
    let taps: usize = weights.shape[2..].iter().product();
    let per_group = input / groups;
    let order = (0..groups).flat_map(move |g| {
        (0..output).flat_map(move |o| {
            (0..per_group).flat_map(move |i| {
                let at = ((g * per_group + i) * output + o) * taps;
                at..at + taps
            })
        })
    });
    Some(match &weights.values {
        Values::Scaled { values, scale, axis }
            if scale.len() == 1 || (*axis == 1 && groups == 1) =>
        {
            let n = output * groups;
            let scale = if scale.len() == 1 { vec![scale[0]; n] } else { scale.clone() };
            Weights::I8 { values: order.map(|i| values[i]).collect(), scale }
        }
        _ => {
            let values = weights.f32()?;
            Weights::F32(order.map(|i| values[i]).collect())
        }
    })
}
