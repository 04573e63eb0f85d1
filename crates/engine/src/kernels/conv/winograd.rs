//! A whole convolution of 3 × 3 taps along y and x by products of transformed windows, which are
//! 2.25 times fewer; its taps along z stay sums.
//!
//! A task transforms the windows of its block of the output, all channels, to [`PLANES`] planes
//! in memory of its thread. Within a plane a convolution over z is left, which the tiles of
//! `body.rs` compute: positions follow each other across rows, so every tile is full. The sums
//! are transformed back where they end.
//!
//! Rounding: for random inputs the error is that of the direct sum, below 1e-5 of the sum of the
//! products' absolute values. Where a window's values differ by orders of magnitude, its small
//! outputs carry the rounding of its large values.

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use super::layer::split;
use super::transform::{Forward, Inverse, PLANES, weights};
use super::{Activation, F32Tile, Segment, Tiles};
use crate::graph::{Conv, Weights};
use crate::kernels::{Image, Memory};

/// Windows of a block, if the image has as many. All weights are read once per block: fewer
/// windows would wait for them, more would want more memory, of which they take about
/// 8 KiB × input channels.
const WINDOWS: usize = 96;

/// Windows of a block along x.
const ACROSS: usize = 24;

/// A convolution between two images, ready to run.
pub struct Winograd {
    from: Image,
    to: Image,
    activation: Activation,
    tiles: Tiles,
    before: [usize; 3],
    /// Taps along z, at most 3.
    taps: usize,
    /// Windows along z, y, x, in all and of a block.
    windows: [usize; 3],
    block: [usize; 3],
    chunks: Vec<Chunk>,
    /// Per chunk `[plane][tap][input channel][vectors · lanes]`.
    weights: Vec<f32>,
    /// Per (padded) output channel.
    bias: Vec<f32>,
}

/// Neighboring output channels that one tile computes.
struct Chunk {
    vectors: usize,
    channel: usize,
    channels: usize,
    /// In `Winograd::weights`.
    weights: usize,
    /// In `Winograd::bias`.
    table: usize,
}

/// A block's windows, and its part of the thread's memory.
struct Block {
    first: [usize; 3],
    size: [usize; 3],
    /// `[plane][z][y][x][channel]`; z with those that only taps reach.
    values: *mut f32,
    plane: usize,
    /// `[plane][z][y][x][channel of a chunk]`.
    sums: *mut f32,
    sums_plane: usize,
}

/// A cache line: vectors that lie across two would be stored at half the speed.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[allow(dead_code)] [f32; LINE]);
const LINE: usize = 16;

thread_local! {
    /// Grows to what the largest layer needs, then stays.
    static SCRATCH: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// What tiles add to: the bias follows after the transform. As long as the widest tile.
static ZEROS: [f32; 64] = [0.0; 64];

/// Windows along z, y, x.
fn windows([depth, height, width]: [usize; 3]) -> [usize; 3] {
    [depth, height.div_ceil(2), width.div_ceil(2)]
}

impl Winograd {
    /// Is this the better way for the convolution from an f32 image?
    pub fn fits(conv: &Conv, from: &Image, to: &Image) -> bool {
        let possible = !conv.transposed
            && conv.groups == 1
            && (conv.stride, conv.dilation) == ([1; 3], [1; 3])
            && matches!(conv.kernel, [1 | 3, 3, 3])
            && matches!(conv.weights, Weights::F32(_));
        let (inputs, outputs) = (from.channels, to.channels);
        let windows: usize = windows(to.size).iter().product();
        // Measured: the transforms, of all channels, cost what they save where a window has few
        // products. More bytes of weights want some windows to pay for them, which are mostly
        // inside the image.
        possible
            && inputs.min(outputs) >= 16
            && conv.kernel[0] * inputs * outputs >= 16 * (inputs + outputs)
            && windows >= 16
            && 2 * to.size.iter().product::<usize>() >= 5 * windows
    }

    /// # Panics
    /// For a convolution that does not fit.
    pub fn new(conv: &Conv, activation: Activation, from: Image, to: Image, tiles: Tiles) -> Self {
        let windows = windows(to.size);
        // Whole blocks along x, of like size; then as deep as can be, as neighbors along z
        // share their windows.
        let x = windows[2].div_ceil(windows[2].div_ceil(ACROSS));
        let z = (WINDOWS / x).clamp(1, windows[0]);
        let y = (WINDOWS / (x * z)).clamp(1, windows[1]);
        let mut layer = Winograd {
            from,
            to,
            activation,
            tiles,
            before: conv.before,
            taps: conv.kernel[0],
            windows,
            block: [z, y, x],
            chunks: Vec::new(),
            weights: Vec::new(),
            bias: Vec::new(),
        };
        let most: Vec<usize> = tiles.f32.iter().map(|t| t.len()).collect();
        let parts = split(to.channels.div_ceil(tiles.lanes), z * y * x, &most);
        let channels = parts.iter().sum::<usize>() * tiles.lanes;
        layer.weights.reserve_exact(PLANES * layer.taps * from.channels * channels);
        let mut done = 0;
        for vectors in parts {
            let channels = (to.channels - done).min(vectors * tiles.lanes);
            let (weights, table) = (layer.weights.len(), layer.bias.len());
            let chunk = Chunk { vectors, channel: done, channels, weights, table };
            layer.pack(conv, &chunk);
            layer.chunks.push(chunk);
            done += channels;
        }
        layer
    }

    /// Appends a chunk's weights and bias.
    fn pack(&mut self, conv: &Conv, chunk: &Chunk) {
        let Weights::F32(taps) = &conv.weights else { unreachable!("only f32 fits") };
        let inputs = self.from.channels;
        let width = self.width(chunk);
        let plane = self.taps * inputs * width;
        self.weights.resize(chunk.weights + PLANES * plane, 0.0);
        let packed = &mut self.weights[chunk.weights..];
        for z in 0..self.taps {
            for input in 0..inputs {
                for c in 0..chunk.channels {
                    let kernel = ((chunk.channel + c) * inputs + input) * self.taps + z;
                    let factors = weights(&taps[9 * kernel..][..9]);
                    let first = (z * inputs + input) * width + c;
                    for (k, factor) in factors.into_iter().enumerate() {
                        packed[k * plane + first] = factor;
                    }
                }
            }
        }
        self.bias.extend(&conv.bias[chunk.channel..][..chunk.channels]);
        self.bias.resize(chunk.table + width, 0.0);
    }

    /// Bytes of weights and tables.
    pub fn bytes(&self) -> usize {
        4 * (self.weights.len() + self.bias.len())
    }

    /// Channels that a chunk's sums have.
    fn width(&self, chunk: &Chunk) -> usize {
        chunk.vectors * self.tiles.lanes
    }

    /// Elements from one window's values to the next one's.
    fn window_step(&self) -> usize {
        self.from.channels.next_multiple_of(LINE)
    }

    /// Computes the whole output. Tasks differ in what they write, never in how they sum: the
    /// same bits with any number of threads.
    pub fn run(&self, memory: Memory) {
        let blocks = [0, 1, 2].map(|a| self.windows[a].div_ceil(self.block[a]));
        let count: usize = blocks.iter().product();
        let threads = rayon::current_num_threads();
        let wanted = if threads == 1 { 1 } else { 4 * threads };
        // Blocks too few for the threads are split by chunks.
        let parts = wanted.div_ceil(count).min(self.chunks.len());
        let chunks = self.chunks.len().div_ceil(parts);
        let parts = self.chunks.len().div_ceil(chunks);
        (0..count * parts).into_par_iter().for_each(|task| {
            let (block, part) = (task / parts, task % parts);
            let [_, ny, nx] = blocks;
            let at = [block / (ny * nx), block / nx % ny, block % nx];
            let first = [0, 1, 2].map(|a| at[a] * self.block[a]);
            let size = [0, 1, 2].map(|a| self.block[a].min(self.windows[a] - first[a]));
            let chunks = chunks * part..self.chunks.len().min(chunks * (part + 1));
            SCRATCH.with_borrow_mut(|scratch| self.block(memory, first, size, chunks, scratch));
        });
    }

    /// Some chunks of a block.
    fn block(
        &self,
        memory: Memory,
        first: [usize; 3],
        size: [usize; 3],
        chunks: Range<usize>,
        scratch: &mut Vec<Line>,
    ) {
        let count: usize = size.iter().product();
        let widest = self.chunks.iter().map(|c| self.width(c)).max().unwrap_or(0);
        // A line more, so that the same place of all planes is not in one set of the cache.
        let values = (size[0] + self.taps - 1) * size[1] * size[2] * self.window_step();
        let plane = values + LINE;
        let sums_plane = (count * widest).next_multiple_of(LINE) + LINE;
        let lines = PLANES * (plane + sums_plane) / LINE;
        if scratch.len() < lines {
            scratch.resize(lines, Line([0.0; LINE]));
        }
        let values = scratch.as_mut_ptr().cast::<f32>();
        // SAFETY: inside the scratch, which the planes fill; rows and channels of different tasks
        // are different, and the layout gives the input a border as wide as `reach` says.
        unsafe {
            let sums = values.add(PLANES * plane);
            let block = Block { first, size, values, plane, sums, sums_plane };
            self.forward(memory, &block);
            for chunk in &self.chunks[chunks] {
                self.products(&block, chunk);
                self.inverse(memory, &block, chunk);
            }
        }
    }

    /// # Safety
    /// See [`Winograd::block`].
    unsafe fn forward(&self, memory: Memory, block: &Block) {
        let [depth, height, width] = block.size;
        let [z_step, y_step, x_step] = self.from.stride.map(|s| s / 4);
        let next = if height > 1 { 2 * y_step } else { z_step };
        // Seen from the first voxel of the border that is read.
        let before: usize = (0..3).map(|a| self.before[a] * self.from.stride[a]).sum();
        let border = Image { origin: self.from.origin - before, ..self.from };
        for z in 0..depth + self.taps - 1 {
            for y in 0..height {
                let at = [block.first[0] + z, 2 * (block.first[1] + y), 2 * block.first[2]];
                let row = (z * height + y) * width;
                let t = Forward {
                    input: memory.at(border.at(at)),
                    step: [y_step, x_step],
                    last: [self.to.size[1] + 1 - at[1], self.to.size[2] + 1 - at[2]],
                    next,
                    windows: width,
                    channels: self.from.channels,
                    output: unsafe { block.values.add(row * self.window_step()) },
                    window_step: self.window_step(),
                    plane: block.plane,
                };
                unsafe { (self.tiles.transforms.0)(&t) }
            }
        }
    }

    /// # Safety
    /// See [`Winograd::block`].
    unsafe fn products(&self, block: &Block, chunk: &Chunk) {
        let [depth, height, width] = block.size;
        let (count, step) = (depth * height * width, self.window_step());
        let start = |tap: usize| (tap * height * width * step) as isize;
        let segments = [0, 1, 2].map(|tap| Segment { start: start(tap), taps: 1 });
        let kernels = self.tiles.f32[chunk.vectors - 1];
        let tiles = count.div_ceil(kernels.len());
        let output_step = self.width(chunk);
        for k in 0..PLANES {
            let weights = chunk.weights + k * self.taps * self.from.channels * output_step;
            let mut at = 0;
            for tile in 0..tiles {
                let m = (count - at).div_ceil(tiles - tile);
                unsafe {
                    let t = F32Tile {
                        input: block.values.add(k * block.plane + at * step),
                        step,
                        segments: &segments[..self.taps],
                        length: self.from.channels,
                        weights: self.weights.as_ptr().add(weights),
                        bias: ZEROS.as_ptr(),
                        output: block.sums.add(k * block.sums_plane + at * output_step),
                        output_step,
                        channels: output_step,
                        activation: Activation::NONE,
                    };
                    kernels[m - 1](&t);
                }
                at += m;
            }
        }
    }

    /// # Safety
    /// See [`Winograd::block`].
    unsafe fn inverse(&self, memory: Memory, block: &Block, chunk: &Chunk) {
        let [depth, height, width] = block.size;
        let window_step = self.width(chunk);
        for z in 0..depth {
            for y in 0..height {
                let at = [block.first[0] + z, 2 * (block.first[1] + y), 2 * block.first[2]];
                let row = (z * height + y) * width;
                unsafe {
                    let t = Inverse {
                        sums: block.sums.add(row * window_step),
                        window_step,
                        plane: block.sums_plane,
                        windows: width,
                        bias: self.bias.as_ptr().add(chunk.table),
                        output: memory.at(self.to.at(at) + 4 * chunk.channel),
                        step: [self.to.stride[1] / 4, self.to.stride[2] / 4],
                        size: [self.to.size[1] - at[1], self.to.size[2] - at[2]],
                        channels: chunk.channels,
                        activation: self.activation,
                    };
                    (self.tiles.transforms.1)(&t);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Random;
    use crate::Simd;
    use crate::kernels::Arenas;

    /// A convolution with its input, `[voxel of the bordered box][channel]`.
    struct Case {
        conv: Conv,
        channels: [usize; 2],
        /// The input's with its border, and the output's.
        full: [usize; 3],
        size: [usize; 3],
        input: Vec<f32>,
    }

    fn voxels(size: [usize; 3]) -> impl Iterator<Item = [usize; 3]> {
        let [depth, height, width] = size;
        (0..depth * height * width)
            .map(move |i| [i / width / height, i / width % height, i % width])
    }

    fn case(seed: u64, channels: [usize; 2], size: [usize; 3], taps: usize) -> Case {
        let mut random = Random::new(seed);
        let mut values = |n: usize| (0..n).map(|_| random.normal() as f32).collect::<Vec<_>>();
        let kernel = [taps, 3, 3];
        let before = [taps / 2, (seed % 3) as usize, (seed / 3 % 3) as usize];
        let full = [0, 1, 2].map(|a| size[a] + kernel[a] - 1);
        let mut input = values(full.iter().product::<usize>() * channels[0]);
        for (at, voxel) in voxels(full).zip(input.chunks_mut(channels[0])) {
            let last = [0, 1, 2].map(|a| full[a] - (kernel[a] - 1 - before[a]));
            if (0..3).any(|a| at[a] < before[a] || at[a] >= last[a]) {
                voxel.fill(0.0);
            }
        }
        let conv = Conv {
            transposed: false,
            kernel,
            stride: [1; 3],
            dilation: [1; 3],
            before,
            groups: 1,
            weights: Weights::F32(values(channels[0] * channels[1] * 9 * taps)),
            bias: values(channels[1]),
        };
        Case { conv, channels, full, size, input }
    }

    const ACTIVATION: Activation = Activation { negative_slope: 0.1, max: 30.0 };

    /// Per voxel and channel: the output, and the sum of the products' absolute values.
    fn expected(case: &Case) -> Vec<(f64, f64)> {
        let Weights::F32(weights) = &case.conv.weights else { unreachable!() };
        let [inputs, outputs] = case.channels;
        let [_, height, width] = case.full;
        let value = |at: [usize; 3], o: usize| {
            let (mut sum, mut size) = (f64::from(case.conv.bias[o]), 0.0);
            for (tap, [z, y, x]) in voxels(case.conv.kernel).enumerate() {
                let voxel = ((at[0] + z) * height + at[1] + y) * width + at[2] + x;
                for (k, v) in case.input[voxel * inputs..][..inputs].iter().enumerate() {
                    let taps = case.conv.kernel.iter().product::<usize>();
                    let w = weights[(o * inputs + k) * taps + tap];
                    sum += f64::from(*v) * f64::from(w);
                    size += (f64::from(*v) * f64::from(w)).abs();
                }
            }
            let sum = if sum < 0.0 { sum * f64::from(ACTIVATION.negative_slope) } else { sum };
            (sum.min(ACTIVATION.max.into()), size)
        };
        voxels(case.size).flat_map(|at| (0..outputs).map(move |o| value(at, o))).collect()
    }

    /// An image of `channels` of `all`, from channel 1 on, in a box that starts at `origin`.
    fn image(origin: usize, [channels, all]: [usize; 2], full: [usize; 3]) -> Image {
        let stride = [4 * all * full[2] * full[1], 4 * all * full[2], 4 * all];
        Image { origin: origin + 4, stride, channels, size: full, quant: None }
    }

    /// Runs the case among the channels of other images, which hold no numbers.
    fn found(case: &Case, simd: Simd, threads: usize) -> Vec<f32> {
        let [inputs, outputs] = case.channels;
        let boxed = |n: usize, size: [usize; 3]| 4 * (n + 3) * size.iter().product::<usize>();
        let start = boxed(inputs, case.full).next_multiple_of(64);
        let from = image(0, [inputs, inputs + 3], case.full);
        let to = image(start, [outputs, outputs + 3], case.size);
        let bytes = start + boxed(outputs, case.size);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        Arenas::default().lend(bytes, |memory| {
            // SAFETY: all of the memory, which nobody else has.
            unsafe { memory.row_mut::<f32>(0, bytes / 4) }.fill(f32::NAN);
            for (at, voxel) in voxels(case.full).zip(case.input.chunks(inputs)) {
                // SAFETY: as above.
                unsafe { memory.row_mut(from.at(at), inputs) }.copy_from_slice(voxel);
            }
            let inside = Image { origin: from.at(case.conv.before), ..from };
            let layer = Winograd::new(&case.conv, ACTIVATION, inside, to, Tiles::new(simd));
            pool.install(|| layer.run(memory));
            let all = voxels(case.size).map(|at| {
                // SAFETY: as above; a voxel and the channels around it.
                let voxel: &[f32] = unsafe { memory.row(to.at(at) - 4, outputs + 3) };
                let others = [voxel[0], voxel[outputs + 1], voxel[outputs + 2]];
                assert!(others.iter().all(|v| v.is_nan()), "{simd} wrote to other channels");
                voxel[1..=outputs].to_vec()
            });
            all.collect::<Vec<_>>().concat()
        })
    }

    fn check(case: &Case) {
        let expected = expected(case);
        for simd in Simd::all() {
            let found = [1, 3].map(|threads| found(case, simd, threads));
            assert!(found[0] == found[1], "{simd}: other bits with 3 threads");
            for (i, (v, (e, size))) in found[0].iter().zip(&expected).enumerate() {
                let error = (f64::from(*v) - e).abs();
                assert!(error <= 1e-5 * size, "{simd} value {i}: {v}, not {e}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn products_of_transformed_windows_are_the_convolution(
            seed in any::<u64>(), inputs in 16..70usize, outputs in 16..70usize,
            depth in 1..4usize, height in 1..8usize, width in 1..10usize, taps in 0..2usize,
        ) {
            check(&case(seed, [inputs, outputs], [depth, height, width], 1 + 2 * taps));
        }
    }

    #[test]
    fn blocks_fit_together() {
        check(&case(4, [16, 24], [5, 21, 99], 3));
        check(&case(5, [17, 33], [1, 37, 60], 1));
    }
}
