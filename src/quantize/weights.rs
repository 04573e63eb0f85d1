//! One layer's weights and bias in int8.

use crate::engine::onnx::NodeProto;

use super::range::LARGEST;
use crate::engine::onnx::read::{int, ints};

/// Weights of a convolution `[O, I/g, …]` or of a transposed one `[I, O/g, …]`.
pub(super) struct Weights<'a> {
    values: &'a [f32],
    dims: &'a [usize],
    transposed: bool,
    groups: usize,
    /// At how many outputs each input meets one tap: 1, or the strides' product if transposed.
    share: usize,
}

/// Symmetric int8, a scale for every output channel (of a group, for transposed convolutions),
/// and a bias in the accumulator's unit.
#[derive(Debug, PartialEq)]
pub(super) struct Quantized {
    pub values: Vec<i8>,
    /// Along axis 0, or 1 if transposed.
    pub scales: Vec<f32>,
    /// Of every output channel, in units of `input_scale · scales[o]`.
    pub bias: Vec<i32>,
    pub bias_scales: Vec<f32>,
}

impl<'a> Weights<'a> {
    pub fn new(node: &NodeProto, values: &'a [f32], dims: &'a [usize]) -> Self {
        let transposed = node.op_type == "ConvTranspose";
        let strides = ints(node, "strides").iter().map(|s| (*s).max(1) as usize);
        Weights {
            values,
            dims,
            transposed,
            groups: int(node, "group").map_or(1, |g| g.max(1) as usize),
            share: if transposed { strides.product::<usize>().max(1) } else { 1 },
        }
    }

    fn taps(&self) -> usize {
        self.dims[2..].iter().product()
    }

    /// The axis of the scales.
    pub fn axis(&self) -> usize {
        usize::from(self.transposed)
    }

    /// Output channels.
    fn outputs(&self) -> usize {
        if self.transposed { self.dims[1] * self.groups } else { self.dims[0] }
    }

    /// Of value number `i`: its scale, its output channel and its input channel.
    pub fn place(&self, i: usize) -> (usize, usize, usize) {
        let (first, second) = (i / self.taps() / self.dims[1], i / self.taps() % self.dims[1]);
        if self.transposed {
            let group = first / self.dims[0].div_ceil(self.groups);
            (second, group * self.dims[1] + second, first)
        } else {
            let group = first / self.dims[0].div_ceil(self.groups);
            (first, first, group * self.dims[1] + second)
        }
    }

    /// Rounds to int8. `means` are those of the input's channels: with them, the bias makes up
    /// for the shift of each output's mean that rounding causes (M. Nagel et al., Data-free
    /// quantization through weight equalization and bias correction, ICCV 2019, section 4.2).
    pub fn quantize(&self, bias: Option<&[f32]>, input_scale: f32, means: &[f32]) -> Quantized {
        let mut scales = vec![0f32; self.dims[self.axis()]];
        for (i, value) in self.values.iter().enumerate() {
            let largest = &mut scales[self.place(i).0];
            *largest = largest.max(value.abs());
        }
        scales.iter_mut().for_each(|s| *s = (f64::from(*s) / LARGEST) as f32);
        let mut bias: Vec<f64> = match bias {
            Some(bias) => bias.iter().copied().map(f64::from).collect(),
            None => vec![0.0; self.outputs()],
        };
        // Channels of tiny weights: the bias must fit the accumulator's unit.
        for (o, b) in bias.iter().enumerate() {
            let count = scales.len();
            let scale = &mut scales[o % count];
            let least = 2.0 * b.abs() / f64::from(i32::MAX) / f64::from(input_scale);
            *scale = scale.max(least as f32);
        }
        scales.iter_mut().filter(|s| **s < f32::MIN_POSITIVE).for_each(|s| *s = 1.0);
        let code = |i: usize| {
            let code = (self.values[i] / scales[self.place(i).0]).round_ties_even();
            code.clamp(-LARGEST as f32, LARGEST as f32) as i8
        };
        let values: Vec<i8> = (0..self.values.len()).map(code).collect();
        for (i, code) in values.iter().enumerate() {
            let (s, o, input) = self.place(i);
            let error = f64::from(*code) * f64::from(scales[s]) - f64::from(self.values[i]);
            bias[o] -= error * f64::from(means[input]) / self.share as f64;
        }
        let units: Vec<f32> =
            (0..bias.len()).map(|o| input_scale * scales[o % scales.len()]).collect();
        // `as` saturates.
        let codes =
            bias.iter().zip(&units).map(|(b, u)| (b / f64::from(*u)).round_ties_even() as i32);
        Quantized { values, scales, bias: codes.collect(), bias_scales: units }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::onnx::build::{int_attribute, node};

    /// A 1×1×1 convolution, or a transposed one, of two groups, 4 inputs and 4 outputs.
    fn grouped(op: &str, values: &[f32]) -> Quantized {
        let mut node = node(op, &["x", "w"], "y");
        node.attribute.push(int_attribute("group", 2));
        Weights::new(&node, values, &[4, 2, 1, 1, 1]).quantize(None, 0.5, &[1.0, 2.0, 3.0, 4.0])
    }

    #[test]
    fn every_output_channel_has_its_scale_and_uses_it_whole() {
        let w = [0.5, -1.27, 12.7, 0.04, 0.0, 0.0, 3.0, 127.0];
        let q = grouped("Conv", &w);
        assert_eq!(q.scales, [0.01, 0.1, 1.0, 1.0]);
        assert_eq!(q.values, [50, -127, 127, 0, 0, 0, 3, 127]);
        let q = grouped("ConvTranspose", &w);
        assert_eq!(q.scales, [12.7f32 / 127.0, 1.0]);
        assert_eq!(q.values, [5, -1, 127, 0, 0, 0, 30, 127]);
    }

    #[test]
    fn the_bias_makes_up_for_the_mean_error() {
        // Output 1 lost 0.04 of its second input, whose mean is 2: its bias gains 0.08 in units
        // of 0.5 · 0.1, that is 1.6 → 2.
        let q = grouped("Conv", &[0.5, -1.27, 12.7, 0.04, 0.0, 0.0, 3.0, 127.0]);
        assert_eq!(q.bias, [0, 2, 0, 0]);
        assert_eq!(q.bias_scales, [0.005, 0.05, 0.5, 0.5]);
        // Transposed, w[input][output]: output 1 gained 0.27 at input 0 (mean 1) and 0.1 at input 1
        // (mean 2), so its bias loses 0.47 in units of 0.5 · 1.
        let q = grouped("ConvTranspose", &[0.5, -1.27, 12.7, 0.9, 0.0, 0.0, 3.0, 127.0]);
        assert_eq!(q.bias, [0, -1, 0, 0]);
    }

    #[test]
    fn strided_transposed_convolutions_meet_each_tap_at_one_output_of_many() {
        let mut node = node("ConvTranspose", &["x", "w"], "y");
        let strides = node.attribute.len();
        node.attribute.push(int_attribute("strides", 0));
        node.attribute[strides].ints = vec![2, 2, 2];
        // 8 taps of one channel pair, each rounded down by 0.4 of its scale 1.
        let mut w = [1.4f32; 8];
        w[0] = 127.0;
        let weights = Weights::new(&node, &w, &[1, 1, 2, 2, 2]);
        let q = weights.quantize(Some(&[10.0]), 0.01, &[8.0]);
        // 7 · 0.4 · 8 / 8 = 2.8
        assert!((f64::from(q.bias[0]) * f64::from(q.bias_scales[0]) - 12.8).abs() < 0.01);
    }

    #[test]
    fn a_large_bias_on_tiny_weights_does_not_overflow() {
        let node = node("Conv", &["x", "w", "b"], "y");
        let weights = Weights::new(&node, &[1e-12, 0.0], &[2, 1, 1, 1, 1]);
        let q = weights.quantize(Some(&[100.0, 0.0]), 0.01, &[0.0]);
        assert!((f64::from(q.bias[0]) * f64::from(q.bias_scales[0]) - 100.0).abs() < 1e-4);
        assert_eq!((q.bias[1], q.scales[1]), (0, 1.0));
    }
}
