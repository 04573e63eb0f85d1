//! A whole convolution to few channels.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;

use rayon::prelude::*;

use super::target::{Planes, ROW, Target, Values};
use super::{CHANNELS, GROUPS, Planar, SPAN, Strip, Table, Tile};
use crate::Simd;
use crate::graph::{Activation, Conv, Weights};
use crate::kernels::blocks::{Block, blocks};
use crate::kernels::conv::{OFFSET_VALUE, Taps, axis, prefetch, reach};
use crate::kernels::{Image, Memory};

/// The most bytes of a planar input row; longer rows are computed in parts.
const ROW_BYTES: usize = 16 << 10;

/// Values of a cache line.
const LINE: usize = 16;

/// A convolution to at most [`CHANNELS`] channels, ready to run.
pub struct PlanarLayer {
    from: Image,
    to: Target,
    /// Of the output; z, y, x.
    size: [usize; 3],
    channels: usize,
    activation: Activation,
    simd: Simd,
    planar: Planar,
    /// Input positions that may be read, per axis: the image and its border.
    exists: [Range<isize>; 3],
    /// The least offset of a tap from its output's position, and how many offsets there are up to
    /// the greatest one, per axis.
    least: [isize; 3],
    span: [usize; 3],
    /// From one position to the next one's input, and to its output of the same phase.
    in_step: [usize; 3],
    step: [usize; 3],
    groups: usize,
    phases: Vec<Phase>,
    /// As [`Tile::shifts`].
    shifts: [Vec<usize>; 3],
    /// Lanes: an f32 or 4 int8.
    weights: Vec<u32>,
}

/// Output rows `first + step · j` for j < `count`; z, y.
struct Phase {
    first: [usize; 2],
    count: [usize; 2],
    /// Offsets from `least` of the taps; z, y.
    rows: Vec<[usize; 2]>,
    /// Where the weights start.
    weights: usize,
    tables: [[Table; CHANNELS]; 2],
}

/// What a thread keeps for all layers and runs, so that it is allocated once.
#[derive(Default)]
struct Scratch {
    rows: Vec<Line>,
    starts: Vec<usize>,
}

/// A cache line.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
#[allow(dead_code, reason = "only used through pointers")]
struct Line([u32; LINE]);

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Positions `x` of all rows of a block, and how their planar input rows lie in the scratch.
struct Part {
    x: Range<usize>,
    pitch: usize,
    row: usize,
    plane: usize,
}

impl PlanarLayer {
    /// Is this the better way for the convolution?
    pub fn fits(conv: &Conv, channels: usize) -> bool {
        let most = if conv.transposed { 2 } else { 1 };
        let small = conv.kernel.iter().zip(conv.dilation).all(|(k, d)| k * d <= SPAN);
        conv.groups == 1 && channels <= CHANNELS && conv.stride[2] <= most && small
    }

    pub fn new(
        conv: &Conv,
        activation: Activation,
        from: Image,
        to: Target,
        size: [usize; 3],
        simd: Simd,
    ) -> Self {
        let per_group = if from.quant.is_some() { 4 } else { 1 };
        let (before, after) = reach(conv, from.size, size);
        let (step, in_step) =
            if conv.transposed { (conv.stride, [1; 3]) } else { ([1; 3], conv.stride) };
        let mut layer = PlanarLayer {
            from,
            to,
            size,
            channels: conv.bias.len(),
            activation: activation.in_units_of(to.quant()),
            simd,
            planar: Planar::new(simd),
            exists: [0, 1, 2].map(|a| -(before[a] as isize)..(from.size[a] + after[a]) as isize),
            least: [0; 3],
            span: [1; 3],
            in_step,
            step,
            groups: from.channels.div_ceil(per_group),
            phases: Vec::new(),
            shifts: Default::default(),
            weights: Vec::new(),
        };
        let axes = [0, 1, 2]
            .map(|a| (0..step[a]).map(|phase| axis(conv, a, phase, size[a])).collect::<Vec<_>>());
        for (a, phases) in axes.iter().enumerate() {
            let offsets = || phases.iter().flat_map(|(taps, _)| taps).map(|tap| tap.1);
            layer.least[a] = offsets().min().unwrap_or(0);
            layer.span[a] = (offsets().max().unwrap_or(0) - layer.least[a]) as usize + 1;
        }
        let along = layer.along(&axes[2]);
        for (pz, z) in axes[0].iter().enumerate() {
            for (py, y) in axes[1].iter().enumerate() {
                layer.add_phase(conv, [pz, py], [z, y], &along);
            }
        }
        layer
    }

    /// Sets the shifts; gives per shift the tap in each phase along x.
    fn along(&mut self, phases: &[(Taps, usize)]) -> Vec<[Option<usize>; 2]> {
        let mut taps = BTreeMap::<isize, [Option<usize>; 2]>::new();
        for (phase, (list, _)) in phases.iter().enumerate() {
            for (k, offset) in list {
                taps.entry(*offset).or_default()[phase] = Some(*k);
            }
        }
        let kind = |taps: &[Option<usize>; 2]| match taps {
            [Some(_), None] if phases.len() == 2 => 1,
            [None, _] => 2,
            _ => 0,
        };
        let mut along = Vec::new();
        for (number, shifts) in self.shifts.iter_mut().enumerate() {
            for (offset, taps) in taps.iter().filter(|(_, taps)| kind(taps) == number) {
                shifts.push((offset - self.least[2]) as usize);
                along.push(*taps);
            }
        }
        along
    }

    fn add_phase(
        &mut self,
        conv: &Conv,
        first: [usize; 2],
        [z, y]: [&(Taps, usize); 2],
        along: &[[Option<usize>; 2]],
    ) {
        let weights = self.weights.len();
        let (mut rows, mut starts) = (Vec::new(), [[0i32; CHANNELS]; 2]);
        for (kz, oz) in &z.0 {
            for (ky, oy) in &y.0 {
                rows.push([oz - self.least[0], oy - self.least[1]].map(|o| o as usize));
                for group in 0..self.groups {
                    for taps in along {
                        self.pack(conv, group, taps.map(|x| Some([*kz, *ky, x?])), &mut starts);
                    }
                }
            }
        }
        let tables = starts.map(|starts| self.table(conv, starts));
        self.phases.push(Phase { first, count: [z.1, y.1], rows, weights, tables });
    }

    /// Appends a group's weights of one shift, which is another tap in each phase.
    fn pack(
        &mut self,
        conv: &Conv,
        group: usize,
        taps: [Option<[usize; 3]>; 2],
        starts: &mut [[i32; CHANNELS]; 2],
    ) {
        let inputs = self.from.channels;
        let [kz, ky, kx] = conv.kernel;
        let zero = self.from.quant.map_or(0, |q| q.zero) + OFFSET_VALUE;
        for (starts, tap) in starts.iter_mut().zip(taps) {
            let Some([z, y, x]) = tap else { continue };
            for (c, start) in starts.iter_mut().enumerate().take(self.channels) {
                let at = |k: usize| (((c * inputs + k) * kz + z) * ky + y) * kx + x;
                self.weights.push(match &conv.weights {
                    Weights::F32(w) => w[at(group)].to_bits(),
                    Weights::I8 { values, .. } => {
                        let of = |k: usize| if k < inputs { values[at(k)] } else { 0 };
                        let four = [0, 1, 2, 3].map(|j| of(4 * group + j));
                        let sum: i32 = four.iter().map(|w| i32::from(*w)).sum();
                        *start = start.wrapping_sub(zero.wrapping_mul(sum));
                        u32::from_ne_bytes(four.map(|w| w as u8))
                    }
                });
            }
        }
    }

    fn table(&self, conv: &Conv, starts: [i32; CHANNELS]) -> [Table; CHANNELS] {
        let unit = self.to.quant().map_or(1.0, |q| 1.0 / q.scale);
        let mut tables = [Table::default(); CHANNELS];
        for (c, table) in tables.iter_mut().enumerate().take(self.channels) {
            let (input, scale) = match (&conv.weights, self.from.quant) {
                (Weights::I8 { scale, .. }, Some(q)) => (q.scale, scale[c]),
                (Weights::F32(_), None) => (1.0, 1.0),
                _ => unreachable!("int8 weights go with int8 inputs"),
            };
            let (factor, bias) = (input * scale * unit, conv.bias[c] * unit);
            *table = Table { start: starts[c], factor, bias };
        }
        tables
    }

    /// Bytes of weights.
    pub fn bytes(&self) -> usize {
        4 * self.weights.len()
    }

    /// The graph's output that it writes, if it writes one.
    pub fn output(&self) -> Option<usize> {
        match self.to {
            Target::Output { number, .. } => Some(number),
            Target::Image(_) => None,
        }
    }

    /// Is every value that it can write a number? In int8 a sum is an i32.
    pub fn is_finite(&self) -> bool {
        let largest =
            |t: &Table| 2f64.powi(31) * f64::from(t.factor).abs() + f64::from(t.bias).abs();
        let fits = |t: &Table| largest(t) < f64::from(f32::MAX);
        let Activation { negative_slope, max } = self.activation;
        let mut tables = self.phases.iter().flat_map(|phase| phase.tables.as_flattened());
        let activated = negative_slope.abs() <= 1.0 && max >= f32::MIN;
        self.from.quant.is_some() && activated && tables.all(fits)
    }

    /// Computes the whole output; `outputs` are the graph's. Tasks differ in what they write,
    /// never in how they sum: the same bits with any number of threads.
    pub fn run(&self, memory: Memory, outputs: &mut [Vec<f32>]) {
        let planes = match self.to {
            Target::Image(_) => Planes(std::ptr::null_mut()),
            Target::Output { number, .. } => Planes(outputs[number].as_mut_ptr()),
        };
        let most = |a: usize| self.phases.iter().map(|p| p.count[a]).max().unwrap_or(0);
        let threads = rayon::current_num_threads();
        let wanted = if threads == 1 { 1 } else { 4 * threads };
        let row_bytes = 4 * self.part(0..self.part_width(), 1).row * self.in_step[1];
        let blocks = blocks([most(0), most(1)], self.span[0], row_bytes, wanted);
        blocks.into_par_iter().for_each(|block| {
            SCRATCH.with_borrow_mut(|scratch| {
                let (width, all) = (self.part_width(), self.positions());
                for x in (0..all).step_by(width) {
                    let part = self.part(x..(x + width).min(all), block.y.len());
                    // SAFETY: every row is written by one task.
                    unsafe { self.block(memory, planes, &block, &part, scratch) }
                }
            });
        });
    }

    /// Along x, of one phase.
    fn positions(&self) -> usize {
        self.size[2].div_ceil(self.step[2])
    }

    /// Positions of a part, whole vectors.
    fn part_width(&self) -> usize {
        let all = self.positions();
        let most = (ROW_BYTES / (4 * self.groups)).max(self.planar.lanes);
        all.div_ceil(all.div_ceil(most)).next_multiple_of(self.planar.lanes)
    }

    fn part(&self, x: Range<usize>, rows: usize) -> Part {
        let lanes = self.planar.lanes;
        let pitch = (x.len().next_multiple_of(lanes) + self.span[2] - 1).next_multiple_of(lanes);
        let row = self.groups.next_multiple_of(GROUPS) * pitch;
        let plane = ((rows - 1) * self.in_step[1] + self.span[1]) * row;
        Part { x, pitch, row, plane }
    }

    /// Goes through the planes of a block, with as many planar input planes as one needs.
    ///
    /// # Safety
    /// Nobody else uses the block's rows meanwhile.
    unsafe fn block(
        &self,
        memory: Memory,
        planes: Planes,
        block: &Block,
        part: &Part,
        scratch: &mut Scratch,
    ) {
        let lines = (self.span[0] * part.plane).div_ceil(LINE);
        if scratch.rows.len() < lines {
            scratch.rows.resize(lines, Line::default());
        }
        let rows: *mut u32 = scratch.rows.as_mut_ptr().cast();
        let mut next = isize::MIN;
        for z in block.z.clone() {
            let first = (z * self.in_step[0]) as isize + self.least[0];
            let last = first + self.span[0] as isize;
            for plane in next.max(first)..last {
                let slot = plane.rem_euclid(self.span[0] as isize) as usize;
                unsafe {
                    self.turn(memory, plane, block.y.start, part, rows.add(slot * part.plane))
                }
            }
            next = last;
            let more = z + 1 < block.z.end;
            let mut ahead = self.ahead(memory, last, block.y.start, part, more);
            for phase in &self.phases {
                let slot =
                    |z: usize| (first + z as isize).rem_euclid(self.span[0] as isize) as usize;
                scratch.starts.clear();
                let starts = phase.rows.iter().map(|[z, y]| slot(*z) * part.plane + y * part.row);
                scratch.starts.extend(starts);
                let height = block.y.end.min(phase.count[1]);
                let height = if z < phase.count[0] { height } else { 0 };
                for y in block.y.start..height {
                    let row = (y - block.y.start) * self.in_step[1] * part.row;
                    unsafe {
                        let input = rows.add(row);
                        let starts = &scratch.starts;
                        self.row(memory, planes, phase, [z, y], part, starts, input, &mut ahead);
                    }
                }
            }
        }
    }

    /// Where the rows of the input plane lie that is turned next, if any is; nowhere if rows have
    /// several parts, for then most of that belongs to others.
    fn ahead(
        &self,
        memory: Memory,
        z: isize,
        y: usize,
        part: &Part,
        more: bool,
    ) -> Range<*const u8> {
        let [sz, sy, sx] = self.from.stride.map(|s| s as isize);
        let y = (y * self.in_step[1]) as isize + self.least[1];
        let start = self.from.origin as isize + z * sz + y * sy + self.least[2] * sx;
        let whole = part.x.len() == self.positions();
        let rows = if whole && more { part.plane / part.row } else { 0 };
        let start = memory.at::<u8>(0).cast_const().wrapping_offset(start);
        start..start.wrapping_offset(rows as isize * sy)
    }

    /// Turns the rows of one input plane that a block needs, as far as they exist.
    ///
    /// # Safety
    /// There is room for the part's plane.
    unsafe fn turn(&self, memory: Memory, z: isize, y: usize, part: &Part, to: *mut u32) {
        let first = (y * self.in_step[1]) as isize + self.least[1];
        let start = part.x.start as isize + self.least[2];
        let end = (part.x.end + self.span[2] - 1) as isize + self.least[2];
        let [depth, height, width] = &self.exists;
        let (start_x, end) = (start.max(width.start), end.min(width.end));
        for row in 0..part.plane / part.row {
            let y = first + row as isize;
            if !depth.contains(&z) || !height.contains(&y) || end <= start_x {
                continue;
            }
            let [sz, sy, sx] = self.from.stride.map(|s| s as isize);
            let from = self.from.origin as isize + z * sz + y * sy + start_x * sx;
            let strip = Strip {
                from: memory.at(from as usize),
                step: self.from.stride[2],
                positions: (end - start_x) as usize,
                groups: self.groups,
                to: unsafe { to.add(row * part.row + (start_x - start) as usize) },
                pitch: part.pitch,
            };
            unsafe { (self.planar.turn)(&strip) }
        }
    }

    /// One part of a row of a phase, tile by tile.
    ///
    /// # Safety
    /// Nobody else uses the row meanwhile, and what `starts` says was turned.
    #[allow(clippy::too_many_arguments)]
    unsafe fn row(
        &self,
        memory: Memory,
        planes: Planes,
        phase: &Phase,
        [z, y]: [usize; 2],
        part: &Part,
        starts: &[usize],
        input: *const u32,
        ahead: &mut Range<*const u8>,
    ) {
        let (z, y) = (phase.first[0] + z * self.step[0], phase.first[1] + y * self.step[1]);
        let tiles = match self.from.quant {
            None => self.planar.f32,
            Some(_) => self.planar.i8,
        };
        let tiles = tiles[self.step[2] - 1][self.channels - 1];
        let mut x = 0;
        while x < part.x.len() {
            let vectors = (part.x.len() - x).div_ceil(self.planar.lanes);
            let kernel = (vectors.ilog2() as usize).min(tiles.len() - 1);
            let positions = self.planar.lanes << kernel;
            let at = [z, y, (part.x.start + x) * self.step[2]];
            let count = (positions * self.step[2]).min(self.size[2] - at[2]);
            let tile = |output, channel_step| Tile {
                input: input.wrapping_add(x),
                rows: starts,
                shifts: self.shifts.each_ref().map(|s| &s[..]),
                groups: self.groups,
                pitch: part.pitch,
                weights: self.weights.as_ptr().wrapping_add(phase.weights),
                tables: &phase.tables,
                activation: self.activation,
                ahead,
                output,
                channel_step,
            };
            match self.to {
                Target::Output { size: [d, h, w], .. } if count == positions * self.step[2] => {
                    let output = planes.0.wrapping_add((z * h + y) * w + at[2]);
                    // What the tile of the phase's next row writes.
                    let next = output.wrapping_add(self.step[1] * w);
                    for c in 0..self.channels {
                        let line = |x: usize| next.wrapping_add(c * d * h * w + x);
                        (0..count).step_by(LINE).for_each(|x| prefetch(line(x).cast()));
                    }
                    unsafe { tiles[kernel](&tile(output, d * h * w)) }
                }
                _ => {
                    let mut values: Values = [[0.0; ROW]; CHANNELS];
                    unsafe {
                        tiles[kernel](&tile(values.as_mut_ptr().cast(), ROW));
                        let values = &values[..self.channels];
                        self.to.place(memory, planes, self.simd, at, count, values);
                    }
                }
            }
            x += positions;
            ahead.start = ahead.start.wrapping_add(64 * self.groups * starts.len());
        }
    }
}
