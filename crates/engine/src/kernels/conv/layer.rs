//! A whole convolution: its weights packed for the tiles, and the loops over them.

use rayon::prelude::*;

use super::{Activation, F32Tile, I8Output, I8Tile, OFFSET_VALUE, Segment, Tiles};
use crate::graph::{Conv, Quant, Weights};
use crate::kernels::blocks::{Block, blocks};
use crate::kernels::{Image, Memory};

/// Weights up to this size stay in the second cache.
const WEIGHT_BYTES: usize = 384 << 10;

/// A convolution between two images, ready to run.
pub struct Layer {
    from: Image,
    to: Image,
    activation: Activation,
    /// Of values that become codes.
    lowest: f32,
    tiles: Tiles,
    /// One for a plain convolution; a transposed one has one per offset modulo the stride.
    phases: Vec<Phase>,
    weights: Packed,
    /// Per (padded) output channel; `scale` and `init` only for int8.
    bias: Vec<f32>,
    scale: Vec<f32>,
    init: Vec<i32>,
}

enum Packed {
    F32(Vec<f32>),
    I8(Vec<i8>),
}

/// Output positions `first + step · j` for j < `count`, each reading around `in_step · j`.
struct Phase {
    first: [usize; 3],
    step: [usize; 3],
    count: [usize; 3],
    in_step: [usize; 3],
    /// Input planes that an output plane reads.
    planes: usize,
    /// Segments of tiles of one vector and of wider ones; the same for all groups.
    narrow: Segments,
    wide: Segments,
    chunks: Vec<Chunk>,
}

/// How a window of the input is read.
#[derive(Default)]
struct Segments {
    list: Vec<Segment>,
    /// Per segment and tap: elements in f32, groups of 4 bytes in int8.
    length: usize,
    /// What the weights of a segment's elements are: per tap the index in the kernel.
    taps: Vec<Vec<[usize; 3]>>,
    /// Do the taps follow each other inside the elements, or slide?
    merged: bool,
}

/// Neighboring output channels that one tile computes.
struct Chunk {
    vectors: usize,
    channel: usize,
    channels: usize,
    /// The group's first input channel.
    input_channel: usize,
    /// In `Layer::weights`.
    weights: usize,
    /// In `Layer::bias` and the like.
    table: usize,
}

/// One axis's taps that meet a phase: (index in the kernel, input offset), offsets ascending.
pub type Taps = Vec<(usize, isize)>;

/// Taps and positions of one axis of a phase.
pub fn axis(conv: &Conv, a: usize, phase: usize, size: usize) -> (Taps, usize) {
    let (stride, before) = (conv.stride[a], conv.before[a] as isize);
    let taps = 0..conv.kernel[a];
    if !conv.transposed {
        let offset = |k: usize| (k * conv.dilation[a]) as isize - before;
        return (taps.map(|k| (k, offset(k))).collect(), size);
    }
    // Output o = stride · j + phase gets input i by tap k where i · stride + k − before = o.
    let at = |k: usize| phase as isize + before - k as isize;
    let meets = taps.filter(|k| at(*k).rem_euclid(stride as isize) == 0);
    let mut taps: Taps = meets.map(|k| (k, at(k).div_euclid(stride as isize))).collect();
    taps.sort_by_key(|t| t.1);
    (taps, (size.saturating_sub(phase)).div_ceil(stride))
}

/// Runs of up to `most` taps whose offsets are `in_step` apart: those slide.
pub fn runs(taps: &Taps, most: usize, in_step: usize) -> Vec<Taps> {
    let mut runs: Vec<Taps> = Vec::new();
    for tap in taps {
        let follows = |run: &&mut Taps| {
            run.len() < most && run.last().is_some_and(|l| l.1 + in_step as isize == tap.1)
        };
        match runs.iter_mut().find(follows) {
            Some(run) => run.push(*tap),
            None => runs.push(vec![*tap]),
        }
    }
    runs
}

/// How far a convolution reads beyond its input, before and after; windows' own positions count
/// as read, so that pointers to them stay inside.
pub fn reach(conv: &Conv, input: [usize; 3], output: [usize; 3]) -> ([usize; 3], [usize; 3]) {
    let (mut before, mut after) = ([0; 3], [0; 3]);
    for a in 0..3 {
        let phases = if conv.transposed { conv.stride[a] } else { 1 };
        let step = if conv.transposed { 1 } else { conv.stride[a] };
        for phase in 0..phases {
            let (taps, count) = axis(conv, a, phase, output[a]);
            let (Some(first), Some(last)) = (taps.first(), taps.last()) else { continue };
            if count > 0 {
                let end = ((count - 1) * step) as isize + last.1.max(0) + 1 - input[a] as isize;
                before[a] = before[a].max((-first.1).max(0) as usize);
                after[a] = after[a].max(end.max(0) as usize);
            }
        }
    }
    (before, after)
}

/// The number of vectors per tile for `blocks` vectors of channels over rows of `width`.
pub(super) fn split(blocks: usize, width: usize, most: &[usize]) -> Vec<usize> {
    // Cycles of a tile of m × n on a core with 2 multiply-adds and about 1.3 broadcasts a cycle,
    // 4 cycles of latency.
    let cost = |n: usize| {
        let tiles = width.div_ceil(most[n - 1]);
        let m = width.div_ceil(tiles) as f64;
        let cycles = (0.5 * m * n as f64).max(0.8 * m).max(4.0);
        cycles * tiles as f64
    };
    // Per number of vectors: the least cost, and the last tile of that solution.
    let mut best = vec![(0.0, 0)];
    for b in 1..=blocks {
        let choices = (1..=most.len().min(b)).map(|n| (best[b - n].0 + cost(n), n));
        let choice: Option<(f64, usize)> = choices.min_by(|a, b| a.0.total_cmp(&b.0));
        best.push(choice.unwrap_or_default());
    }
    let tile = |rest: usize| Some(best[rest].1).filter(|_| rest > 0);
    let mut rest = blocks;
    let mut parts: Vec<usize> = std::iter::from_fn(|| tile(rest).inspect(|n| rest -= n)).collect();
    parts.reverse();
    parts
}

impl Layer {
    pub fn new(conv: &Conv, activation: Activation, from: Image, to: Image, tiles: Tiles) -> Self {
        let int8 = from.quant.is_some();
        let codes = to.quant.map(|quant| activation.of_codes(quant, &conv.bias));
        let (activation, lowest) = codes.unwrap_or((activation, 0.0));
        let mut layer = Layer {
            from,
            to,
            activation,
            lowest,
            tiles,
            phases: Vec::new(),
            weights: if int8 { Packed::I8(Vec::new()) } else { Packed::F32(Vec::new()) },
            bias: Vec::new(),
            scale: Vec::new(),
            init: Vec::new(),
        };
        let phases = if conv.transposed { conv.stride } else { [1; 3] };
        for pz in 0..phases[0] {
            for py in 0..phases[1] {
                for px in 0..phases[2] {
                    layer.add_phase(conv, [pz, py, px]);
                }
            }
        }
        layer
    }

    fn add_phase(&mut self, conv: &Conv, phase: [usize; 3]) {
        let axes = [0, 1, 2].map(|a| axis(conv, a, phase[a], self.to.size[a]));
        let count = [0, 1, 2].map(|a| axes[a].1);
        if count.contains(&0) {
            return;
        }
        let taps = axes.map(|a| a.0);
        let (step, in_step) =
            if conv.transposed { (conv.stride, [1; 3]) } else { ([1; 3], conv.stride) };
        let wide = self.segments(conv, &taps, 1, in_step[2]);
        let narrow = self.segments(conv, &taps, 3, in_step[2]);
        let chunks = self.add_chunks(conv, count[2], &narrow, &wide);
        let planes = taps[0].len();
        self.phases.push(Phase {
            first: phase,
            step,
            count,
            in_step,
            planes,
            narrow,
            wide,
            chunks,
        });
    }

    /// The window's segments, sliding up to `most` taps that are `in_step` apart.
    fn segments(
        &self,
        conv: &Conv,
        [z, y, x]: &[Taps; 3],
        most: usize,
        in_step: usize,
    ) -> Segments {
        let element = self.from.element();
        let stride = self.from.stride.map(|s| (s / element) as isize);
        let inputs = self.from.channels / conv.groups;
        // Fewer channels than this are not worth a loop of their own.
        let slides = most > 1 && inputs * element >= 16;
        let consecutive = x.windows(2).all(|w| w[1].1 == w[0].1 + 1);
        // Neighboring taps along x are one segment where nothing lies between them.
        let merged = !slides && conv.groups == 1 && self.from.dense() && consecutive;
        let runs: Vec<Taps> =
            if slides { runs(x, most, in_step) } else { x.chunks(1).map(<[_]>::to_vec).collect() };
        let runs = if merged { vec![x.clone()] } else { runs };
        let elements = inputs * if merged { x.len() } else { 1 };
        let length = if element == 1 { elements.div_ceil(4) } else { elements };
        let mut segments = Segments { length, merged, ..Segments::default() };
        for (kz, oz) in z {
            for (ky, oy) in y {
                for run in runs.iter().filter(|run| !run.is_empty()) {
                    let start = oz * stride[0] + oy * stride[1] + run[0].1 * stride[2];
                    let taps = if merged { 1 } else { run.len() };
                    segments.list.push(Segment { start, taps });
                    segments.taps.push(run.iter().map(|(kx, _)| [*kz, *ky, *kx]).collect());
                }
            }
        }
        segments
    }

    fn add_chunks(
        &mut self,
        conv: &Conv,
        width: usize,
        narrow: &Segments,
        wide: &Segments,
    ) -> Vec<Chunk> {
        let lanes = self.tiles.lanes;
        let per_group = self.to.channels / conv.groups;
        let most: Vec<usize> = match self.weights {
            Packed::F32(_) => self.tiles.f32.iter().map(|t| t.len()).collect(),
            Packed::I8(_) => self.tiles.i8.iter().map(|t| t.len()).collect(),
        };
        let parts = split(per_group.div_ceil(lanes), width, &most);
        let mut chunks = Vec::new();
        for group in 0..conv.groups {
            let mut done = 0;
            for &vectors in &parts {
                let channels = (per_group - done).min(vectors * lanes);
                let chunk = Chunk {
                    vectors,
                    channel: group * per_group + done,
                    channels,
                    input_channel: group * self.from.channels / conv.groups,
                    weights: self.weights_len(),
                    table: self.bias.len(),
                };
                self.pack(conv, &chunk, if vectors == 1 { narrow } else { wide });
                chunks.push(chunk);
                done += channels;
            }
        }
        chunks
    }

    fn weights_len(&self) -> usize {
        match &self.weights {
            Packed::F32(w) => w.len(),
            Packed::I8(w) => w.len(),
        }
    }

    /// Appends a chunk's weights and tables.
    fn pack(&mut self, conv: &Conv, chunk: &Chunk, segments: &Segments) {
        let inputs = self.from.channels / conv.groups;
        let [_, ky, kx] = conv.kernel;
        let per_tap: usize = conv.kernel.iter().product();
        // The weight of output channel c for element k of a tap; 0 where there is none.
        let index = |c: usize, taps: &[[usize; 3]], tap: usize, k: usize| {
            let tap = if segments.merged { k / inputs } else { tap };
            let k = if segments.merged { k % inputs } else { k };
            let [z, y, x] = *taps.get(tap)?;
            let channel = (chunk.channel + c) * inputs + k;
            let exists = c < chunk.channels && k < inputs;
            exists.then_some(channel * per_tap + (z * ky + y) * kx + x)
        };
        let width = chunk.vectors * self.tiles.lanes;
        let channels = || (0..width).map(|c| (c < chunk.channels).then_some(chunk.channel + c));
        let steps = segments.list.iter().zip(&segments.taps).flat_map(|(segment, taps)| {
            (0..segments.length).flat_map(move |k| (0..segment.taps).map(move |tap| (taps, tap, k)))
        });
        match (&mut self.weights, &conv.weights) {
            (Packed::F32(packed), Weights::F32(weights)) => {
                for (taps, tap, k) in steps {
                    let of = |c| index(c, taps, tap, k).map_or(0.0, |i| weights[i]);
                    packed.extend((0..width).map(of));
                }
                self.bias.extend(channels().map(|c| c.map_or(0.0, |c| conv.bias[c])));
            }
            (Packed::I8(packed), Weights::I8 { values, scale }) => {
                let start = packed.len();
                for (taps, tap, k) in steps {
                    for c in 0..width {
                        let of = |j| index(c, taps, tap, 4 * k + j).map_or(0, |i| values[i]);
                        packed.extend([0, 1, 2, 3].map(of));
                    }
                }
                let mut sums = vec![0i32; width];
                for (i, w) in packed[start..].iter().enumerate() {
                    sums[i / 4 % width] += i32::from(*w);
                }
                let input = self.from.quant.map_or((1.0, 0), |q| (q.scale, q.zero));
                let unit = self.to.quant.map_or(1.0, |q| 1.0 / q.scale);
                self.init.extend(sums.iter().map(|s| s.wrapping_mul(-(input.1 + OFFSET_VALUE))));
                self.scale.extend(channels().map(|c| c.map_or(0.0, |c| input.0 * scale[c] * unit)));
                self.bias.extend(channels().map(|c| c.map_or(0.0, |c| conv.bias[c] * unit)));
            }
            _ => unreachable!("int8 weights go with int8 inputs"),
        }
    }

    /// Bytes of weights and tables.
    pub fn bytes(&self) -> usize {
        let tables = 4 * (self.bias.len() + self.scale.len() + self.init.len());
        tables + self.weights_len() * if self.from.quant.is_some() { 1 } else { 4 }
    }

    /// Computes the whole output. Tasks differ in what they write, never in how they sum: the
    /// same bits with any number of threads.
    pub fn run(&self, memory: Memory) {
        let tasks = self.tasks(rayon::current_num_threads());
        // Weights that stay in the second cache can be gone through for every plane.
        let keep = self.bytes() <= WEIGHT_BYTES;
        tasks.into_par_iter().for_each(|(block, parts)| {
            let planes = if keep { block.z.clone() } else { 0..1 };
            for plane in planes {
                let z = if keep { plane..plane + 1 } else { block.z.clone() };
                for &(phase, chunk) in &parts {
                    let (phase, chunk) = (&self.phases[phase], &self.phases[phase].chunks[chunk]);
                    for z in z.clone() {
                        for y in block.y.clone() {
                            // SAFETY: rows and channels of different tasks are different; the
                            // layout gives the input a border as wide as `reach` says.
                            unsafe { self.row(memory, phase, chunk, z, y) }
                        }
                    }
                }
            }
        });
    }

    /// Blocks of rows, each with the (phase, chunk) parts to compute; blocks too few for the
    /// threads are split by parts.
    fn tasks(&self, threads: usize) -> Vec<(Block, Vec<(usize, usize)>)> {
        let most = |f: &dyn Fn(&Phase) -> usize| self.phases.iter().map(f).max().unwrap_or(0);
        let rows = [most(&|p| p.count[0]), most(&|p| p.count[1])];
        let planes = most(&|p| p.planes);
        let row_bytes = self.from.stride[1] * most(&|p| p.in_step[1]);
        let wanted = if threads == 1 { 1 } else { 4 * threads };
        let heavy = self.bytes() > self.from.stride[0] * self.from.size[0];
        let blocks = blocks(rows, planes, row_bytes, if heavy { 1 } else { wanted });
        let parts: Vec<(usize, usize)> = (self.phases.iter().enumerate())
            .flat_map(|(p, phase)| (0..phase.chunks.len()).map(move |c| (p, c)))
            .collect();
        let groups = wanted.div_ceil(blocks.len().max(1)).clamp(1, parts.len().max(1));
        let size = parts.len().div_ceil(groups).max(1);
        let groups = || parts.chunks(size).map(<[_]>::to_vec);
        blocks.into_iter().flat_map(|b| groups().map(move |g| (b.clone(), g))).collect()
    }

    /// One row of a phase, tile by tile.
    ///
    /// # Safety
    /// See [`Layer::run`].
    unsafe fn row(&self, memory: Memory, phase: &Phase, chunk: &Chunk, z: usize, y: usize) {
        let [depth, height, width] = phase.count;
        if z >= depth || y >= height {
            return;
        }
        let from = self.from.at([z * phase.in_step[0], y * phase.in_step[1], 0])
            + chunk.input_channel * self.from.element();
        let out = [
            phase.first[0] + z * phase.step[0],
            phase.first[1] + y * phase.step[1],
            phase.first[2],
        ];
        let to = self.to.at(out) + chunk.channel * self.to.element();
        let step = self.from.stride[2] * phase.in_step[2];
        let out_step = self.to.stride[2] * phase.step[2];
        let most = match self.weights {
            Packed::F32(_) => self.tiles.f32[chunk.vectors - 1].len(),
            Packed::I8(_) => self.tiles.i8[chunk.vectors - 1].len(),
        };
        let tiles = width.div_ceil(most);
        let mut x = 0;
        for tile in 0..tiles {
            let m = (width - x).div_ceil(tiles - tile);
            unsafe {
                self.tile(
                    memory,
                    phase,
                    chunk,
                    from + x * step,
                    to + x * out_step,
                    m,
                    step,
                    out_step,
                );
            }
            x += m;
        }
    }

    #[allow(clippy::too_many_arguments)]
    #[inline(always)]
    unsafe fn tile(
        &self,
        memory: Memory,
        phase: &Phase,
        chunk: &Chunk,
        from: usize,
        to: usize,
        m: usize,
        step: usize,
        out_step: usize,
    ) {
        let element = self.to.element();
        let segments = if chunk.vectors == 1 { &phase.narrow } else { &phase.wide };
        let (segments, length) = (&segments.list[..], segments.length);
        let channels = chunk.channels;
        let (activation, output_step) = (self.activation, out_step / element);
        unsafe {
            match &self.weights {
                Packed::F32(weights) => {
                    let tile = F32Tile {
                        input: memory.at(from),
                        step: step / 4,
                        segments,
                        length,
                        weights: weights.as_ptr().add(chunk.weights),
                        bias: self.bias.as_ptr().add(chunk.table),
                        output: memory.at(to),
                        output_step,
                        channels,
                        activation,
                    };
                    self.tiles.f32[chunk.vectors - 1][m - 1](&tile);
                }
                Packed::I8(weights) => {
                    let tile = I8Tile {
                        input: memory.at(from),
                        step,
                        segments,
                        length,
                        weights: weights.as_ptr().add(chunk.weights),
                        init: self.init.as_ptr().add(chunk.table),
                        scale: self.scale.as_ptr().add(chunk.table),
                        bias: self.bias.as_ptr().add(chunk.table),
                        output: match self.to.quant {
                            None => I8Output::F32(memory.at(to)),
                            Some(Quant { zero, .. }) => {
                                I8Output::Stored { data: memory.at(to), zero, lowest: self.lowest }
                            }
                        },
                        output_step,
                        channels,
                        activation,
                    };
                    self.tiles.i8[chunk.vectors - 1][m - 1](&tile);
                }
            }
        }
    }
}
