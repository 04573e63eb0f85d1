//! Plain loops over rows, compiled once per SIMD level: the compiler vectorises them.

use super::conv::scalar::quantised;
use super::conv::{Activation, OFFSET};
use super::map::real;
use crate::engine::graph::Quant;
use crate::engine::{Level, Simd};

/// Defines functions that are compiled for each level and choose by a [`Simd`].
macro_rules! vectorised {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),*) $body:block)*) => { $(
        $(#[$doc])*
        pub fn $name(simd: Simd, $($arg: $type),*) {
            #[inline(always)]
            fn plain($($arg: $type),*) $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $type),*) { plain($($arg),*) }
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
                fn avx512($($arg: $type),*) { plain($($arg),*) }
                match simd.level() {
                    // SAFETY: a `Simd` exists only for levels that the CPU has.
                    Level::Avx512 | Level::Vnni => return unsafe { avx512($($arg),*) },
                    Level::Avx2 | Level::AvxVnni => return unsafe { avx2($($arg),*) },
                    _ => (),
                }
            }
            let _ = (simd, Level::Scalar);
            plain($($arg),*)
        }
    )* };
}

vectorised! {
    /// Real values → stored bytes. Divides, as ONNX says: times the reciprocal would round
    /// some halves the other way.
    fn quantize_row(from: &[f32], to: &mut [u8], q: Quant) {
        for (to, v) in to.iter_mut().zip(from) {
            *to = quantised(*v / q.scale, q.zero);
        }
    }

    fn dequantize_row(from: &[u8], to: &mut [f32], q: Quant) {
        for (to, v) in to.iter_mut().zip(from) {
            *to = real(*v, q);
        }
    }

    fn activate_row(row: &mut [f32], activation: Activation) {
        if activation != Activation::NONE {
            row.iter_mut().for_each(|v| *v = activation.apply(*v));
        }
    }

    fn add_row(row: &mut [f32], other: &[f32]) {
        row.iter_mut().zip(other).for_each(|(v, o)| *v += o);
    }

    /// Per channel; the row holds whole voxels.
    fn affine_row(row: &mut [f32], factor: &[f32], shift: &[f32]) {
        for voxel in row.chunks_exact_mut(factor.len()) {
            for ((v, f), s) in voxel.iter_mut().zip(factor).zip(shift) {
                *v = *v * f + s;
            }
        }
    }

    /// Adds differences from `near` and their squares, per channel, to the halves of `sums`.
    fn moments_row(row: &[f32], step: usize, near: &[f32], sums: &mut [f32]) {
        let (first, second) = sums.split_at_mut(near.len());
        for start in (0..near.len()).step_by(BLOCK) {
            let near = block(near, start);
            let (mut a, mut b) = (block(first, start), block(second, start));
            for voxel in row.chunks(step) {
                each(&voxel[start..], near.width, |i, v| {
                    let d = v - near.values[i];
                    a.values[i] += d;
                    b.values[i] += d * d;
                });
            }
            a.put(first, start);
            b.put(second, start);
        }
    }

    /// Adds codes and their squares, per channel, to the halves of `sums`: exact for up to 2^17
    /// voxels.
    fn moments_stored_row(row: &[u8], step: usize, sums: &mut [i32]) {
        let (first, second) = sums.split_at_mut(sums.len() / 2);
        for start in (0..first.len()).step_by(BLOCK) {
            let (mut a, mut b) = (block(first, start), block(second, start));
            for voxel in row.chunks(step) {
                each(&voxel[start..], a.width, |i, v| {
                    let q = code(v);
                    a.values[i] += q;
                    b.values[i] += q * q;
                });
            }
            a.put(first, start);
            b.put(second, start);
        }
    }

    fn normalize(from: Row<f32>, to: RowMut<f32>, t: &Normal) {
        normalize_row(from, to, t, |v| v, |v| v);
    }

    fn normalize_to_stored(from: Row<f32>, to: RowMut<u8>, t: &Normal) {
        normalize_row(from, to, t, |v| v, |v| quantised(v, t.zero));
    }

    fn normalize_from_stored(from: Row<u8>, to: RowMut<f32>, t: &Normal) {
        normalize_row(from, to, t, |v| code(v) as f32, |v| v);
    }

    fn normalize_stored(from: Row<u8>, to: RowMut<u8>, t: &Normal) {
        normalize_row(from, to, t, |v| code(v) as f32, |v| quantised(v, t.zero));
    }

    /// Two planes' rows → voxels of two channels.
    fn interleave(a: &[f32], b: &[f32], to: &mut [f32]) {
        for ((to, a), b) in to.chunks_exact_mut(2).zip(a).zip(b) {
            to.copy_from_slice(&[*a, *b]);
        }
    }

    fn interleave_stored(a: &[f32], b: &[f32], to: &mut [u8], q: Quant) {
        for ((to, a), b) in to.chunks_exact_mut(2).zip(a).zip(b) {
            to.copy_from_slice(&[quantised(*a / q.scale, q.zero), quantised(*b / q.scale, q.zero)]);
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

#[inline(always)]
fn normalize_row<F: Copy, T>(
    (from, from_step): Row<F>,
    (to, to_step): RowMut<T>,
    t: &Normal,
    read: impl Fn(F) -> f32,
    write: impl Fn(f32) -> T,
) {
    for start in (0..t.mean.len()).step_by(BLOCK) {
        let (mean, scale, shift) =
            (block(t.mean, start), block(t.scale, start), block(t.shift, start));
        for (from, to) in from.chunks(from_step).zip(to.chunks_mut(to_step)) {
            let to = &mut to[start..start + mean.width];
            let value = |i: usize, v: F| {
                let v = (read(v) - mean.values[i]) * scale.values[i] + shift.values[i];
                write(t.activation.apply(v))
            };
            match <&mut [T; BLOCK]>::try_from(&mut *to) {
                Ok(to) => each(&from[start..], BLOCK, |i, v| to[i] = value(i, v)),
                Err(_) => each(&from[start..], mean.width, |i, v| to[i] = value(i, v)),
            }
        }
    }
}

/// Channels that a loop over voxels handles together: their sums and factors stay in registers.
const BLOCK: usize = 16;

/// Up to `BLOCK` channels of a table.
struct Channels<T> {
    values: [T; BLOCK],
    width: usize,
}

#[inline(always)]
fn block<T: Copy + Default>(table: &[T], start: usize) -> Channels<T> {
    let width = BLOCK.min(table.len() - start);
    let mut values = [T::default(); BLOCK];
    values[..width].copy_from_slice(&table[start..start + width]);
    Channels { values, width }
}

impl<T: Copy> Channels<T> {
    #[inline(always)]
    fn put(&self, table: &mut [T], start: usize) {
        table[start..start + self.width].copy_from_slice(&self.values[..self.width]);
    }
}

/// `work(i, value)` for the first `width` values; written out for a whole block, so that it
/// becomes one vector's work.
#[inline(always)]
fn each<T: Copy>(values: &[T], width: usize, mut work: impl FnMut(usize, T)) {
    match values.first_chunk::<BLOCK>() {
        Some(values) if width == BLOCK => (0..BLOCK).for_each(|i| work(i, values[i])),
        _ => values[..width].iter().enumerate().for_each(|(i, v)| work(i, *v)),
    }
}

/// The stored byte's code.
#[inline(always)]
fn code(stored: u8) -> i32 {
    i32::from((stored ^ OFFSET) as i8)
}
