//! A whole convolution to few channels.

use rayon::prelude::*;

use super::{CHANNELS, DotTile, Dots, POSITIONS};
use crate::engine::graph::{Conv, Weights};
use crate::engine::kernels::blocks::blocks;
use crate::engine::kernels::conv::{Activation, I8Output, OFFSET_VALUE, Taps, axis};
use crate::engine::kernels::{Image, Memory};

/// Where the results go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    Image(Image),
    /// An output of the graph, one plane per channel; z, y, x.
    Output {
        number: usize,
        size: [usize; 3],
    },
}

/// A convolution to at most [`CHANNELS`] channels, ready to run.
pub struct DotLayer {
    from: Image,
    to: Target,
    channels: usize,
    activation: Activation,
    dots: Dots,
    phases: Vec<Phase>,
    weights: Packed,
    tables: [(i32, f32, f32); CHANNELS],
}

enum Packed {
    F32(Vec<f32>),
    I8(Vec<i8>),
}

/// Output positions `first + step · j` for j < `count`, along x maybe two phases at once.
struct Phase {
    first: [usize; 3],
    step: [usize; 3],
    count: [usize; 3],
    in_step: [usize; 3],
    /// Input planes that an output plane reads.
    planes: usize,
    segments: Vec<isize>,
    length: usize,
    padded: usize,
    together: usize,
    shift: isize,
    weights: usize,
    /// int8: what zero point and offset add, per channel and phase of `together`.
    starts: Vec<[i32; CHANNELS]>,
}

/// Planes of the graph's outputs that rows of different tasks share.
#[derive(Clone, Copy)]
struct Planes(*mut f32);
// SAFETY: every task writes rows of its own.
unsafe impl Send for Planes {}
unsafe impl Sync for Planes {}

impl DotLayer {
    /// Is this the better way for the convolution?
    pub fn fits(conv: &Conv, channels: usize) -> bool {
        conv.groups == 1 && channels <= CHANNELS
    }

    pub fn new(
        conv: &Conv,
        activation: Activation,
        from: Image,
        to: Target,
        size: [usize; 3],
        dots: Dots,
    ) -> Self {
        let channels = conv.bias.len();
        let quant = match to {
            Target::Image(image) => image.quant,
            Target::Output { .. } => None,
        };
        let unit = quant.map_or(1.0, |q| 1.0 / q.scale);
        let activation = activation.in_units_of(quant);
        let (input, weights) = match (&conv.weights, from.quant) {
            (Weights::I8 { .. }, Some(q)) => (q.scale, Packed::I8(Vec::new())),
            _ => (1.0, Packed::F32(Vec::new())),
        };
        let mut tables = [(0, 0.0, 0.0); CHANNELS];
        for (c, table) in tables.iter_mut().enumerate().take(channels) {
            let scale = match &conv.weights {
                Weights::I8 { scale, .. } => scale[c],
                Weights::F32(_) => 1.0,
            };
            *table = (0, input * scale * unit, conv.bias[c] * unit);
        }
        let phases = Vec::new();
        let mut layer = DotLayer { from, to, channels, activation, dots, phases, weights, tables };
        let phases = if conv.transposed { conv.stride } else { [1; 3] };
        for pz in 0..phases[0] {
            for py in 0..phases[1] {
                let mut px = 0;
                while px < phases[2] {
                    px += layer.add_phase(conv, [pz, py, px], size);
                }
            }
        }
        layer
    }

    /// Adds a phase and, if the next one along x reads alike, that too; gives how many.
    fn add_phase(&mut self, conv: &Conv, phase: [usize; 3], size: [usize; 3]) -> usize {
        let axes = [0, 1, 2].map(|a| axis(conv, a, phase[a], size[a]));
        let count = [0, 1, 2].map(|a| axes[a].1);
        let [z, y, x] = axes.map(|a| a.0);
        let mut phases = vec![x.clone()];
        let mut shift = 0;
        if conv.transposed && conv.stride[2] == 2 && phase[2] == 0 {
            let (other, width) = axis(conv, 2, 1, size[2]);
            let shifts = x.iter().zip(&other).map(|(a, b)| b.1 - a.1).collect::<Vec<_>>();
            let alike = other.len() == x.len() && width == count[2];
            if alike && shifts.windows(2).all(|w| w[0] == w[1]) && !shifts.is_empty() {
                shift = shifts[0];
                phases.push(other);
            }
        }
        if count.contains(&0) {
            return phases.len();
        }
        let element = self.from.element();
        let stride = self.from.stride.map(|s| (s / element) as isize);
        let consecutive = x.windows(2).all(|w| w[1].1 == w[0].1 + 1);
        let merged = self.from.dense() && consecutive && !x.is_empty();
        let run = if merged { x.len() } else { 1 };
        let mut segments = Vec::new();
        for (_, oz) in &z {
            for (_, oy) in &y {
                let starts = x.chunks(run).map(|t| t[0].1);
                segments.extend(starts.map(|ox| oz * stride[0] + oy * stride[1] + ox * stride[2]));
            }
        }
        let length = run * self.from.channels;
        let width = if element == 1 { self.dots.i8_width } else { self.dots.f32_width };
        let padded = length.next_multiple_of(width);
        let weights = match &self.weights {
            Packed::F32(w) => w.len(),
            Packed::I8(w) => w.len(),
        };
        let starts = phases.iter().map(|x| self.pack(conv, [&z, &y, x], run, padded)).collect();
        let together = phases.len();
        let (mut step, in_step) =
            if conv.transposed { (conv.stride, [1; 3]) } else { ([1; 3], conv.stride) };
        step[2] /= together;
        self.phases.push(Phase {
            first: phase,
            step,
            count,
            in_step,
            planes: z.len(),
            segments,
            length,
            padded,
            together,
            shift: shift * stride[2],
            weights,
            starts,
        });
        together
    }

    /// Appends one phase's weights; gives the int8 starts.
    fn pack(
        &mut self,
        conv: &Conv,
        [z, y, x]: [&Taps; 3],
        run: usize,
        padded: usize,
    ) -> [i32; CHANNELS] {
        let inputs = self.from.channels;
        let [_, ky, kx] = conv.kernel;
        let per_tap: usize = conv.kernel.iter().product();
        let mut starts = [0i32; CHANNELS];
        let zero = self.from.quant.map_or(0, |q| q.zero) + OFFSET_VALUE;
        for (kz, _) in z {
            for (kyi, _) in y {
                for taps in x.chunks(run) {
                    for (c, start) in starts.iter_mut().enumerate().take(self.channels) {
                        let index = |k: usize| {
                            let (kxi, _) = *taps.get(k / inputs)?;
                            let channel = c * inputs + k % inputs;
                            Some(channel * per_tap + (kz * ky + kyi) * kx + kxi)
                        };
                        match (&mut self.weights, &conv.weights) {
                            (Packed::F32(packed), Weights::F32(w)) => {
                                packed.extend((0..padded).map(|k| index(k).map_or(0.0, |i| w[i])));
                            }
                            (Packed::I8(packed), Weights::I8 { values, .. }) => {
                                for w in (0..padded).map(|k| index(k).map_or(0, |i| values[i])) {
                                    *start = start.wrapping_sub(zero * i32::from(w));
                                    packed.push(w);
                                }
                            }
                            _ => unreachable!("int8 weights go with int8 inputs"),
                        }
                    }
                }
            }
        }
        starts
    }

    /// Bytes of weights.
    pub fn bytes(&self) -> usize {
        match &self.weights {
            Packed::F32(w) => 4 * w.len(),
            Packed::I8(w) => w.len(),
        }
    }

    /// Computes the whole output; `outputs` are the graph's.
    pub fn run(&self, memory: Memory, outputs: &mut [Vec<f32>]) {
        let planes = match self.to {
            Target::Image(_) => Planes(std::ptr::null_mut()),
            Target::Output { number, .. } => Planes(outputs[number].as_mut_ptr()),
        };
        let most = |f: &dyn Fn(&Phase) -> usize| self.phases.iter().map(f).max().unwrap_or(0);
        let rows = [most(&|p| p.count[0]), most(&|p| p.count[1])];
        let row_bytes = self.from.stride[1] * most(&|p| p.in_step[1]);
        let threads = rayon::current_num_threads();
        let wanted = if threads == 1 { 1 } else { 4 * threads };
        let blocks = blocks(rows, most(&|p| p.planes), row_bytes, wanted);
        blocks.into_par_iter().for_each(|block| {
            for z in block.z.clone() {
                for y in block.y.clone() {
                    for phase in &self.phases {
                        // SAFETY: every row is written once; the layout gives the input a border
                        // as wide as `reach` says.
                        unsafe { self.row(memory, planes, phase, z, y) }
                    }
                }
            }
        });
    }

    /// # Safety
    /// See [`DotLayer::run`].
    unsafe fn row(&self, memory: Memory, planes: Planes, phase: &Phase, z: usize, y: usize) {
        let [depth, height, width] = phase.count;
        if z >= depth || y >= height {
            return;
        }
        let at = [
            phase.first[0] + z * phase.step[0],
            phase.first[1] + y * phase.step[1],
            phase.first[2],
        ];
        let from = self.from.at([z * phase.in_step[0], y * phase.in_step[1], 0]);
        for x in (0..width).step_by(POSITIONS) {
            let positions = (width - x).min(POSITIONS);
            let from = from + x * phase.in_step[2] * self.from.stride[2];
            let at = [at[0], at[1], at[2] + x * phase.together * phase.step[2]];
            let (output, channel_step, voxel) = match self.to {
                Target::Output { size: [_, h, w], .. } => {
                    let offset = (at[0] * h + at[1]) * w + at[2];
                    let plane = self.plane();
                    (I8Output::F32(planes.0.wrapping_add(offset)), plane, 1)
                }
                Target::Image(to) => match to.quant {
                    None => (I8Output::F32(memory.at(to.at(at))), 1, to.stride[2] / 4),
                    Some(q) => {
                        let data = memory.at(to.at(at));
                        (I8Output::Stored { data, zero: q.zero }, 1, to.stride[2])
                    }
                },
            };
            let places = (positions, channel_step, voxel * phase.step[2]);
            unsafe { self.tile(memory.at(from), phase, output, places) }
        }
    }

    fn plane(&self) -> usize {
        match self.to {
            Target::Output { size, .. } => size.iter().product(),
            Target::Image(_) => 1,
        }
    }

    unsafe fn tile(
        &self,
        from: *const u8,
        phase: &Phase,
        output: I8Output,
        (positions, channel_step, position_step): (usize, usize, usize),
    ) {
        // One table for both phases: int8 starts differ, so each phase brings its own.
        let mut tables = [self.tables; 2];
        for (table, starts) in tables.iter_mut().zip(&phase.starts) {
            table.iter_mut().zip(starts).for_each(|(t, s)| t.0 = *s);
        }
        let step = phase.in_step[2] * self.from.stride[2] / self.from.element();
        macro_rules! tile {
            ($weights:expr, $kernels:expr) => {{
                let tile = DotTile {
                    input: from.cast(),
                    step,
                    segments: &phase.segments,
                    length: phase.length,
                    weights: unsafe { $weights.as_ptr().add(phase.weights) },
                    padded: phase.padded,
                    phases: phase.together,
                    shift: phase.shift,
                    tables: &tables,
                    output,
                    channel_step,
                    position_step,
                    positions,
                    activation: self.activation,
                };
                unsafe { $kernels[self.channels - 1](&tile) }
            }};
        }
        match &self.weights {
            Packed::F32(weights) => tile!(weights, self.dots.f32),
            Packed::I8(weights) => tile!(weights, self.dots.i8),
        }
    }
}
