//! A whole depthwise convolution.

use rayon::prelude::*;

use super::{Depthwise, FOUR, channel};
use crate::engine::Simd;
use crate::engine::graph::{Conv, Weights};
use crate::engine::kernels::blocks::blocks;
use crate::engine::kernels::conv::{
    Activation, F32Tile, I8Output, I8Tile, OFFSET_VALUE, Segment, axis,
};
use crate::engine::kernels::{Image, Memory};

/// A depthwise convolution between two images, ready to run.
pub struct DepthwiseLayer {
    from: Image,
    to: Image,
    activation: Activation,
    stride: [usize; 3],
    /// Input planes that an output plane reads.
    planes: usize,
    kernels: Depthwise,
    /// One per tap; whole fours in int8, where weights are 0 for what fills them up.
    taps: Vec<Segment>,
    weights: Packed,
    /// Per (padded) channel, in the order of the lanes; `scale` and `init` only for int8.
    bias: Vec<f32>,
    scale: Vec<f32>,
    init: Vec<i32>,
}

/// By groups of channels that a tile computes.
enum Packed {
    F32(Vec<f32>),
    I8(Vec<i8>),
}

impl DepthwiseLayer {
    /// Is the convolution, of an image of so many channels, one of this kind?
    pub fn fits(conv: &Conv, channels: usize) -> bool {
        !conv.transposed && conv.groups > 1 && conv.groups == channels
            && conv.bias.len() == channels
    }

    /// # Panics
    /// For a convolution that does not fit.
    pub fn new(conv: &Conv, activation: Activation, from: Image, to: Image, simd: Simd) -> Self {
        let kernels = Depthwise::new(simd);
        let element = from.element();
        let stride = from.stride.map(|s| (s / element) as isize);
        let [z, y, x] = [0, 1, 2].map(|a| axis(conv, a, 0, to.size[a]).0);
        let mut taps = Vec::new();
        for (_, oz) in &z {
            for (_, oy) in &y {
                for (_, ox) in &x {
                    let start = oz * stride[0] + oy * stride[1] + ox * stride[2];
                    taps.push(Segment { start, taps: 1 });
                }
            }
        }
        if from.quant.is_some() {
            taps.resize(taps.len().next_multiple_of(FOUR), taps[0]);
        }
        let mut layer = DepthwiseLayer {
            from,
            to,
            activation: activation.in_units_of(to.quant),
            stride: conv.stride,
            planes: z.len(),
            kernels,
            taps,
            weights: Packed::F32(Vec::new()),
            bias: Vec::new(),
            scale: Vec::new(),
            init: Vec::new(),
        };
        match &conv.weights {
            Weights::F32(weights) => layer.pack_f32(conv, weights),
            Weights::I8 { values, scale } => layer.pack_i8(conv, values, scale),
        }
        layer
    }

    /// Channels of a tile.
    fn width(&self) -> usize {
        self.kernels.lanes * if self.from.quant.is_some() { FOUR } else { 1 }
    }

    fn pack_f32(&mut self, conv: &Conv, weights: &[f32]) {
        let (per_channel, channels) = (self.taps.len(), self.to.channels);
        let padded = channels.next_multiple_of(self.width());
        let mut packed = Vec::with_capacity(padded * per_channel);
        for first in (0..padded).step_by(self.width()) {
            for tap in 0..per_channel {
                let of = |c: usize| weights.get(c * per_channel + tap).copied().unwrap_or(0.0);
                packed.extend((first..first + self.width()).map(of));
            }
        }
        self.weights = Packed::F32(packed);
        self.bias = conv.bias.clone();
        self.bias.resize(padded, 0.0);
    }

    fn pack_i8(&mut self, conv: &Conv, weights: &[i8], scale: &[f32]) {
        let lanes = self.kernels.lanes;
        let per_channel = conv.kernel.iter().product::<usize>();
        let padded = self.to.channels.next_multiple_of(self.width());
        let of = |c: usize, tap: usize| {
            let exists = c < self.to.channels && tap < per_channel;
            if exists { weights[c * per_channel + tap] } else { 0 }
        };
        let order = |first: usize| {
            (0..FOUR).flat_map(move |n| (0..lanes).map(move |lane| first + channel(n, lane)))
        };
        let (zero, input) = self.from.quant.map_or((0, 1.0), |q| (q.zero, q.scale));
        let unit = self.to.quant.map_or(1.0, |q| 1.0 / q.scale);
        let mut packed = Vec::with_capacity(padded * self.taps.len());
        for first in (0..padded).step_by(self.width()) {
            for four in (0..self.taps.len()).step_by(FOUR) {
                packed.extend(order(first).flat_map(|c| (four..four + FOUR).map(move |t| of(c, t))));
            }
            for c in order(first) {
                let sum: i32 = (0..per_channel).map(|tap| i32::from(of(c, tap))).sum();
                self.init.push(sum.wrapping_mul(-(zero + OFFSET_VALUE)));
                self.scale.push(scale.get(c).map_or(0.0, |s| input * s * unit));
                self.bias.push(conv.bias.get(c).map_or(0.0, |b| b * unit));
            }
        }
        self.weights = Packed::I8(packed);
    }

    /// Bytes of weights and tables.
    pub fn bytes(&self) -> usize {
        let tables = 4 * (self.bias.len() + self.scale.len() + self.init.len());
        tables
            + match &self.weights {
                Packed::F32(w) => 4 * w.len(),
                Packed::I8(w) => w.len(),
            }
    }

    /// Computes the whole output. Tasks differ in what they write, never in how they sum: the
    /// same bits with any number of threads.
    pub fn run(&self, memory: Memory) {
        let [depth, height, _] = self.to.size;
        let threads = rayon::current_num_threads();
        let wanted = if threads == 1 { 1 } else { 4 * threads };
        let row_bytes = self.from.stride[1] * self.stride[1];
        let blocks = blocks([depth, height], self.planes, row_bytes, wanted);
        blocks.into_par_iter().for_each(|block| {
            for z in block.z {
                for y in block.y.clone() {
                    // SAFETY: tasks' rows are different; the layout gives the input a border as
                    // wide as `reach` says.
                    unsafe { self.row(memory, z, y) }
                }
            }
        });
    }

    /// All channels of a few positions, then of the next ones: memory is read and written in order.
    ///
    /// # Safety
    /// See [`DepthwiseLayer::run`].
    unsafe fn row(&self, memory: Memory, z: usize, y: usize) {
        let width = self.to.size[2];
        let most = match self.weights {
            Packed::F32(_) => self.kernels.f32.len(),
            Packed::I8(_) => self.kernels.i8.len(),
        };
        let tiles = width.div_ceil(most);
        let mut x = 0;
        for tile in 0..tiles {
            let m = (width - x).div_ceil(tiles - tile);
            let at = [z * self.stride[0], y * self.stride[1], x * self.stride[2]];
            let (from, to) = (self.from.at(at), self.to.at([z, y, x]));
            for first in (0..self.to.channels).step_by(self.width()) {
                unsafe { self.tile(memory, first, from, to, m) }
            }
            x += m;
        }
    }

    /// `m` positions of the channels from `first` on.
    #[inline(always)]
    unsafe fn tile(&self, memory: Memory, first: usize, from: usize, to: usize, m: usize) {
        let (from, to) = (from + first * self.from.element(), to + first * self.to.element());
        let step = self.from.stride[2] * self.stride[2] / self.from.element();
        let (segments, length) = (&self.taps[..], 1);
        let output_step = self.to.stride[2] / self.to.element();
        let channels = (self.to.channels - first).min(self.width());
        let (activation, weights_at) = (self.activation, first * self.taps.len());
        // SAFETY: tables hold whole tiles of channels.
        unsafe {
            let bias = self.bias.as_ptr().add(first);
            match &self.weights {
                Packed::F32(weights) => self.kernels.f32[m - 1](&F32Tile {
                    input: memory.at(from),
                    step,
                    segments,
                    length,
                    weights: weights.as_ptr().add(weights_at),
                    bias,
                    output: memory.at(to),
                    output_step,
                    channels,
                    activation,
                }),
                Packed::I8(weights) => self.kernels.i8[m - 1](&I8Tile {
                    input: memory.at(from),
                    step,
                    segments,
                    length,
                    weights: weights.as_ptr().add(weights_at),
                    init: self.init.as_ptr().add(first),
                    scale: self.scale.as_ptr().add(first),
                    bias,
                    output: match self.to.quant {
                        None => I8Output::F32(memory.at(to)),
                        Some(q) => I8Output::Stored { data: memory.at(to), zero: q.zero },
                    },
                    output_step,
                    channels,
                    activation,
                }),
            }
        }
    }
}
