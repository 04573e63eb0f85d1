//! A whole depthwise convolution.

use rayon::prelude::*;

use super::{Depthwise, FOUR, channel};
use crate::Simd;
use crate::graph::{Activation, Conv, Quant, Weights};
use crate::kernels::blocks::blocks;
use crate::kernels::conv::{F32Tile, I8Output, I8Tile, OFFSET_VALUE, Segment, Taps, axis, runs};
use crate::kernels::{Image, Memory};

/// A depthwise convolution between two images, ready to run.
pub struct DepthwiseLayer {
    /// Neighboring positions along x as one of more channels, see [`together`].
    from: Image,
    to: Image,
    activation: Activation,
    /// Of values that become codes.
    lowest: f32,
    stride: [usize; 3],
    /// Input planes that an output plane reads.
    planes: usize,
    kernels: Depthwise,
    /// Taps in f32; in int8 whole fours of rows of taps, with weights of 0 where one fills up.
    segments: Vec<Segment>,
    weights: Packed,
    /// Elements of weights per channel, with those that fill up.
    weights_per_channel: usize,
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

/// How many neighboring positions to take as one, whose channels fill vectors of `width` channels
/// better: with a stride of 1 a tap is as far from each of them.
fn together(conv: &Conv, from: &Image, to: &Image, width: usize) -> usize {
    let possible = conv.stride[2] == 1 && from.dense() && to.dense();
    let idle = |n: usize| (n * to.channels).next_multiple_of(width) as f64 / n as f64;
    let counts =
        [1, 2, 4].into_iter().filter(|n| *n == 1 || possible && to.size[2].is_multiple_of(*n));
    counts.min_by(|a, b| idle(*a).total_cmp(&idle(*b))).unwrap_or(1)
}

/// An image's neighboring positions along x as one.
fn joined(image: Image, count: usize) -> Image {
    let [z, y, x] = image.size;
    let [sz, sy, sx] = image.stride;
    Image {
        channels: image.channels * count,
        size: [z, y, x / count],
        stride: [sz, sy, sx * count],
        ..image
    }
}

impl DepthwiseLayer {
    /// Is the convolution, of an image of so many channels, one of this kind?
    pub fn fits(conv: &Conv, channels: usize) -> bool {
        let each = conv.groups == channels && conv.bias.len() == channels;
        !conv.transposed && conv.groups > 1 && each
    }

    /// # Panics
    /// For a convolution that does not fit.
    pub fn new(conv: &Conv, activation: Activation, from: Image, to: Image, simd: Simd) -> Self {
        let kernels = Depthwise::new(simd);
        let int8 = from.quant.is_some();
        let width = kernels.lanes * if int8 { FOUR } else { 1 };
        let count = together(conv, &from, &to, width);
        let [z, y, x] = [0, 1, 2].map(|a| axis(conv, a, 0, to.size[a]).0);
        // Positions that were joined are further apart than taps: none slides over them.
        let most = if count == 1 { 3 } else { 1 };
        let runs = runs(&x, most, conv.stride[2]);
        let mut segments = Vec::new();
        let rows = || z.iter().flat_map(|z| y.iter().map(move |y| (z, y)));
        let stride = from.stride.map(|s| (s / from.element()) as isize);
        // With the numbers in the kernel of its taps.
        let segment = |run: &Taps, (kz, oz): &(usize, isize), (ky, oy): &(usize, isize)| {
            let start = oz * stride[0] + oy * stride[1] + run[0].1 * stride[2];
            let number = |kx| (kz * conv.kernel[1] + ky) * conv.kernel[2] + kx;
            let numbers = run.iter().map(|(kx, _)| Some(number(*kx)));
            (Segment { start, taps: run.len() }, numbers.collect::<Vec<_>>())
        };
        let all = runs.iter().flat_map(|run| rows().map(move |(z, y)| segment(run, z, y)));
        let all: Vec<_> = all.collect();
        for same in all.chunk_by(|a, b| a.0.taps == b.0.taps) {
            let fill = if int8 { same.len().next_multiple_of(FOUR) - same.len() } else { 0 };
            let none = (same[0].0, vec![None; same[0].0.taps]);
            segments.extend(same.iter().cloned().chain(std::iter::repeat_n(none, fill)));
        }
        let (segments, numbers): (Vec<Segment>, Vec<_>) = segments.into_iter().unzip();
        let codes = to.quant.map(|quant| activation.of_codes(quant, &conv.bias));
        let (activation, lowest) = codes.unwrap_or((activation, 0.0));
        let mut layer = DepthwiseLayer {
            from: joined(from, count),
            to: joined(to, count),
            activation,
            lowest,
            stride: conv.stride,
            planes: z.len(),
            kernels,
            weights_per_channel: segments.iter().map(|s| s.taps).sum(),
            segments,
            weights: Packed::F32(Vec::new()),
            bias: Vec::new(),
            scale: Vec::new(),
            init: Vec::new(),
        };
        match &conv.weights {
            Weights::F32(weights) => layer.pack_f32(conv, weights, &numbers),
            Weights::I8 { values, scale } => layer.pack_i8(conv, values, scale, &numbers),
        }
        layer
    }

    /// Channels of a tile.
    fn width(&self) -> usize {
        self.kernels.lanes * if self.from.quant.is_some() { FOUR } else { 1 }
    }

    /// The convolution's channel for one of ours; none for those that fill up the last tile.
    fn channel(&self, conv: &Conv, c: usize) -> Option<usize> {
        (c < self.to.channels).then_some(c % conv.groups)
    }

    fn pack_f32(&mut self, conv: &Conv, weights: &[f32], numbers: &[Vec<Option<usize>>]) {
        let padded = self.to.channels.next_multiple_of(self.width());
        let taps = weights.len() / conv.groups;
        let of = |c: usize, tap: usize| {
            self.channel(conv, c).map_or(0.0, |channel| weights[channel * taps + tap])
        };
        let mut packed = Vec::with_capacity(padded * taps);
        for first in (0..padded).step_by(self.width()) {
            for tap in numbers.iter().flatten().flatten() {
                packed.extend((first..first + self.width()).map(|c| of(c, *tap)));
            }
        }
        let bias = |c| self.channel(conv, c).map_or(0.0, |channel| conv.bias[channel]);
        self.bias = (0..padded).map(bias).collect();
        self.weights = Packed::F32(packed);
    }

    fn pack_i8(
        &mut self,
        conv: &Conv,
        weights: &[i8],
        scale: &[f32],
        numbers: &[Vec<Option<usize>>],
    ) {
        let lanes = self.kernels.lanes;
        let padded = self.to.channels.next_multiple_of(self.width());
        let taps = weights.len() / conv.groups;
        let of = |channel: Option<usize>, tap: Option<usize>| match (channel, tap) {
            (Some(channel), Some(tap)) => weights[channel * taps + tap],
            _ => 0,
        };
        let (zero, input) = self.from.quant.map_or((0, 1.0), |q| (q.zero, q.scale));
        let unit = self.to.quant.map_or(1.0, |q| 1.0 / q.scale);
        let mut packed = Vec::with_capacity(padded * self.weights_per_channel);
        for first in (0..padded).step_by(self.width()) {
            let channels: Vec<Option<usize>> = (0..FOUR)
                .flat_map(|n| (0..lanes).map(move |lane| first + channel(n, lane)))
                .map(|c| self.channel(conv, c))
                .collect();
            for four in numbers.chunks(FOUR) {
                for tap in 0..four[0].len() {
                    for channel in &channels {
                        packed.extend(four.iter().map(|row| of(*channel, row[tap])));
                    }
                }
            }
            for channel in channels {
                let sum: i32 = (0..taps).map(|tap| i32::from(of(channel, Some(tap)))).sum();
                self.init.push(sum.wrapping_mul(-(zero + OFFSET_VALUE)));
                self.scale.push(channel.map_or(0.0, |c| input * scale[c] * unit));
                self.bias.push(channel.map_or(0.0, |c| conv.bias[c] * unit));
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
                for first in (0..self.to.channels).step_by(self.width()) {
                    for y in block.y.clone() {
                        // SAFETY: tasks' rows are different; the layout gives the input a border
                        // as wide as `reach` says.
                        unsafe { self.row(memory, z, y, first) }
                    }
                }
            }
        });
    }

    /// A row of one tile of channels.
    ///
    /// # Safety
    /// See [`DepthwiseLayer::run`].
    unsafe fn row(&self, memory: Memory, z: usize, y: usize, first: usize) {
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
            unsafe { self.tile(memory, first, from, to, m) }
            x += m;
        }
    }

    /// `m` positions of the channels from `first` on.
    #[inline(always)]
    unsafe fn tile(&self, memory: Memory, first: usize, from: usize, to: usize, m: usize) {
        let (from, to) = (from + first * self.from.element(), to + first * self.to.element());
        let step = self.from.stride[2] * self.stride[2] / self.from.element();
        let (segments, length) = (&self.segments[..], 1);
        let output_step = self.to.stride[2] / self.to.element();
        let channels = (self.to.channels - first).min(self.width());
        let activation = self.activation;
        let weights_at = first * self.weights_per_channel;
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
                        Some(Quant { zero, .. }) => {
                            I8Output::Stored { data: memory.at(to), zero, lowest: self.lowest }
                        }
                    },
                    output_step,
                    channels,
                    activation,
                }),
            }
        }
    }
}
