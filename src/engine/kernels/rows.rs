//! Plain loops over rows, compiled once per SIMD level: the compiler vectorises them.

use super::conv::Activation;
use super::conv::scalar::quantised;
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
    fn moments_row(row: &[f32], near: &[f32], sums: &mut [f32]) {
        let (first, second) = sums.split_at_mut(near.len());
        for voxel in row.chunks_exact(near.len()) {
            let sums = first.iter_mut().zip(second.iter_mut());
            for ((v, k), (first, second)) in voxel.iter().zip(near).zip(sums) {
                let d = v - k;
                *first += d;
                *second += d * d;
            }
        }
    }

    fn normalize_row(
        row: &mut [f32],
        mean: &[f32],
        scale: &[f32],
        shift: &[f32],
        activation: Activation
    ) {
        for voxel in row.chunks_exact_mut(mean.len()) {
            let tables = mean.iter().zip(scale).zip(shift);
            for (v, ((mean, scale), shift)) in voxel.iter_mut().zip(tables) {
                *v = activation.apply((*v - mean) * scale + shift);
            }
        }
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
