//! Plain loops over rows, compiled once per SIMD level: the compiler vectorizes them.

use std::ops::Range;

use super::conv::OFFSET;
use super::conv::scalar::quantized;
use crate::graph::{Activation, Quant};
use crate::vectorized;

/// Channels that a loop over voxels handles together: their sums and factors stay in registers.
const PART: usize = 16;

/// What a stored byte stands for.
#[inline(always)]
pub fn real(stored: u8, q: Quant) -> f32 {
    (i32::from((stored ^ OFFSET) as i8) - q.zero) as f32 * q.scale
}

/// Works on all channels, `W` at a time: whole parts, then the rest one by one.
macro_rules! by_parts {
    ($channels:expr, |$w:ident, $start:ident| $work:expr) => {
        let (channels, mut $start) = ($channels, 0);
        while $start + PART <= channels {
            const $w: usize = PART;
            $work;
            $start += $w;
        }
        while $start < channels {
            const $w: usize = 1;
            $work;
            $start += $w;
        }
    };
}

vectorized! {
    /// Real values → stored bytes. Divides, as ONNX says: times the reciprocal would round
    /// some halves the other way.
    pub fn quantize_row(from: &[f32], to: &mut [u8], q: Quant) {
        for (to, v) in to.iter_mut().zip(from) {
            *to = quantized(*v / q.scale, q.zero);
        }
    }

    pub fn dequantize_row(from: &[u8], to: &mut [f32], q: Quant) {
        for (to, v) in to.iter_mut().zip(from) {
            *to = real(*v, q);
        }
    }

    pub fn activate_row(row: &mut [f32], activation: Activation) {
        if activation != Activation::NONE {
            row.iter_mut().for_each(|v| *v = activation.apply(*v));
        }
    }

    pub fn add_row(row: &mut [f32], other: &[f32]) {
        row.iter_mut().zip(other).for_each(|(v, o)| *v += o);
    }

    /// Per channel; the row holds whole voxels.
    pub fn affine_row(row: &mut [f32], factor: &[f32], shift: &[f32]) {
        for voxel in row.chunks_exact_mut(factor.len()) {
            for ((v, f), s) in voxel.iter_mut().zip(factor).zip(shift) {
                *v = *v * f + s;
            }
        }
    }

    /// Adds differences from `near` and their squares, per channel, to the halves of `sums`.
    pub fn moments_row(row: Row<f32>, near: &[f32], sums: &mut [f32]) {
        by_parts!(near.len(), |W, start| moments_part::<W>(start, row, near, sums));
    }

    /// Adds codes and their squares, per channel, to the halves of `sums`: exact for up to 2^17
    /// voxels.
    pub fn moments_stored_row(row: Row<u8>, sums: &mut [i32]) {
        by_parts!(sums.len() / 2, |W, start| moments_stored_part::<W>(start, row, sums));
    }

    pub fn normalize(from: Row<f32>, to: RowMut<f32>, t: &Normal) {
        by_parts!(t.mean.len(), |W, start| normalize_part::<W, _, _>(start, from, &mut *to.0, to.1, t));
    }

    pub fn normalize_to_stored(from: Row<f32>, to: RowMut<u8>, t: &Normal) {
        by_parts!(t.mean.len(), |W, start| normalize_part::<W, _, _>(start, from, &mut *to.0, to.1, t));
    }

    pub fn normalize_from_stored(from: Row<u8>, to: RowMut<f32>, t: &Normal) {
        by_parts!(t.mean.len(), |W, start| normalize_part::<W, _, _>(start, from, &mut *to.0, to.1, t));
    }

    pub fn normalize_stored(from: Row<u8>, to: RowMut<u8>, t: &Normal) {
        by_parts!(t.mean.len(), |W, start| normalize_part::<W, _, _>(start, from, &mut *to.0, to.1, t));
    }

    /// The larger of each value and the other row's.
    pub fn max_voxels[T: Ordered](to: &mut [T], from: Row<T>, channels: usize) {
        let (from, step) = from;
        // One run where nothing lies between the voxels.
        let (run, step) = if step == channels { (to.len(), from.len()) } else { (channels, step) };
        for (to, from) in to.chunks_mut(run).zip(from.chunks(step)) {
            to.iter_mut().zip(from).for_each(|(to, v)| *to = to.larger(*v));
        }
    }

    /// Each voxel becomes the largest of a range of others, per channel.
    pub fn max_along[T: Ordered](
        from: &[T],
        ranges: &[Range<usize>],
        to: RowMut<T>,
        channels: usize,
    ) {
        for (to, range) in to.0.chunks_mut(to.1).zip(ranges) {
            let (first, others) = from[range.start * channels..range.end * channels].split_at(channels);
            let to = &mut to[..channels];
            to.copy_from_slice(first);
            for voxel in others.chunks_exact(channels) {
                to.iter_mut().zip(voxel).for_each(|(to, v)| *to = to.larger(*v));
            }
        }
    }

    /// Two planes' rows → voxels of two channels.
    pub fn interleave(a: &[f32], b: &[f32], to: &mut [f32]) {
        for ((to, a), b) in to.chunks_exact_mut(2).zip(a).zip(b) {
            to.copy_from_slice(&[*a, *b]);
        }
    }

    pub fn interleave_stored(a: &[f32], b: &[f32], to: &mut [u8], q: Quant) {
        for ((to, a), b) in to.chunks_exact_mut(2).zip(a).zip(b) {
            to.copy_from_slice(&[quantized(*a / q.scale, q.zero), quantized(*b / q.scale, q.zero)]);
        }
    }
}

pub fn lookup_row(from: &[u8], to: &mut [u8], table: &[u8; 256]) {
    for (to, v) in to.iter_mut().zip(from) {
        *to = table[usize::from(*v)];
    }
}

/// The voxels of a row, `step` elements apart.
pub type Row<'a, T> = (&'a [T], usize);
pub type RowMut<'a, T> = (&'a mut [T], usize);

/// `y = activation((x - mean) * scale + shift)`, per channel; x and y may be codes.
pub struct Normal<'a> {
    pub mean: &'a [f32],
    pub scale: &'a [f32],
    pub shift: &'a [f32],
    pub activation: Activation,
    /// The zero point of the codes written.
    pub zero: i32,
}

/// `W` values from `start`.
#[inline(always)]
fn part<const W: usize, T: Copy>(values: &[T], start: usize) -> [T; W] {
    *values[start..].first_chunk().expect("a part is inside its row")
}

#[inline(always)]
fn moments_part<const W: usize>(
    start: usize,
    (row, step): Row<f32>,
    near: &[f32],
    sums: &mut [f32],
) {
    let (first, second) = sums.split_at_mut(near.len());
    let near = part::<W, _>(near, start);
    let (mut a, mut b) = (part::<W, _>(first, start), part::<W, _>(second, start));
    for voxel in row.chunks(step) {
        let v = part::<W, _>(voxel, start);
        for i in 0..W {
            let d = v[i] - near[i];
            a[i] += d;
            b[i] += d * d;
        }
    }
    first[start..start + W].copy_from_slice(&a);
    second[start..start + W].copy_from_slice(&b);
}

#[inline(always)]
fn moments_stored_part<const W: usize>(start: usize, (row, step): Row<u8>, sums: &mut [i32]) {
    let (first, second) = sums.split_at_mut(sums.len() / 2);
    let (mut a, mut b) = (part::<W, _>(first, start), part::<W, _>(second, start));
    for voxel in row.chunks(step) {
        let v = part::<W, _>(voxel, start);
        for i in 0..W {
            let q = code(v[i]);
            a[i] += q;
            b[i] += q * q;
        }
    }
    first[start..start + W].copy_from_slice(&a);
    second[start..start + W].copy_from_slice(&b);
}

#[inline(always)]
fn normalize_part<const W: usize, F: Sample, T: Sample>(
    start: usize,
    (from, from_step): Row<F>,
    to: &mut [T],
    to_step: usize,
    t: &Normal,
) {
    let mean = part::<W, _>(t.mean, start);
    let (scale, shift) = (part::<W, _>(t.scale, start), part::<W, _>(t.shift, start));
    for (from, to) in from.chunks(from_step).zip(to.chunks_mut(to_step)) {
        let (v, to) = (part::<W, _>(from, start), &mut to[start..start + W]);
        for i in 0..W {
            let v = (v[i].read() - mean[i]) * scale[i] + shift[i];
            to[i] = T::write(t.activation.apply(v), t.zero);
        }
    }
}

/// A value, or a code as a number.
trait Sample: Copy {
    fn read(self) -> f32;
    fn write(v: f32, zero: i32) -> Self;
}

impl Sample for f32 {
    #[inline(always)]
    fn read(self) -> f32 {
        self
    }

    #[inline(always)]
    fn write(v: f32, _: i32) -> f32 {
        v
    }
}

impl Sample for u8 {
    #[inline(always)]
    fn read(self) -> f32 {
        code(self) as f32
    }

    #[inline(always)]
    fn write(v: f32, zero: i32) -> u8 {
        quantized(v, zero)
    }
}

/// A value, or a code as it is stored.
pub trait Ordered: Copy + Send + Sync {
    const LOWEST: Self;
    fn larger(self, other: Self) -> Self;
}

impl Ordered for f32 {
    const LOWEST: f32 = f32::NEG_INFINITY;

    #[inline(always)]
    fn larger(self, other: f32) -> f32 {
        self.max(other)
    }
}

impl Ordered for u8 {
    const LOWEST: u8 = i8::MIN as u8 ^ OFFSET;

    #[inline(always)]
    fn larger(self, other: u8) -> u8 {
        // Stored with an offset, codes are in the order of bytes.
        if OFFSET == 0 { (self as i8).max(other as i8) as u8 } else { self.max(other) }
    }
}

/// The stored byte's code.
#[inline(always)]
fn code(stored: u8) -> i32 {
    i32::from((stored ^ OFFSET) as i8)
}
