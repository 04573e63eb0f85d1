//! The oracle: what every level computes, in plain Rust.

use super::body::F32Vectors;
use super::transform::{forward, inverse};
use super::{
    Activation, F32Kernel, F32Tile, I8Kernel, I8Output, I8Tile, LARGEST_SUM, OFFSET, Tiles,
};

const LANES: usize = 4;

/// One value at a time.
struct Single;

impl F32Vectors for Single {
    const LANES: usize = 1;
    type V = f32;
    unsafe fn load(from: *const f32) -> f32 {
        unsafe { *from }
    }
    unsafe fn splat(from: *const f32) -> f32 {
        unsafe { *from }
    }
    unsafe fn store(v: f32, to: *mut f32) {
        unsafe { *to = v }
    }
    unsafe fn add(a: f32, b: f32) -> f32 {
        a + b
    }
    unsafe fn sub(a: f32, b: f32) -> f32 {
        a - b
    }
    unsafe fn fma(a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }
    unsafe fn finish(v: f32, activation: Activation, to: *mut f32, _: usize) {
        unsafe { *to = activation.apply(v) }
    }
}

pub const TILES: Tiles = Tiles {
    lanes: LANES,
    f32: &[
        &[f32_tile::<1, 1>, f32_tile::<2, 1>, f32_tile::<3, 1>, f32_tile::<4, 1>] as &[F32Kernel]
    ],
    i8: &[&[i8_tile::<1, 1>, i8_tile::<2, 1>, i8_tile::<3, 1>, i8_tile::<4, 1>] as &[I8Kernel]],
    transforms: (forward::<Single>, inverse::<Single>),
};

/// # Safety
/// Every element that the tile names lies inside memory that the caller owns.
pub unsafe fn f32_tile<const M: usize, const N: usize>(t: &F32Tile) {
    // SAFETY: see above; weights and bias hold N · LANES values per step.
    unsafe { f32_positions(t, M, N * LANES) }
}

/// # Safety
/// As [`f32_tile`].
pub unsafe fn i8_tile<const M: usize, const N: usize>(t: &I8Tile) {
    // SAFETY: see above.
    unsafe { i8_positions(t, M, N * LANES) }
}

/// `width` is the number of channels that the weights hold per step.
///
/// # Safety
/// As [`f32_tile`].
pub unsafe fn f32_positions(t: &F32Tile, positions: usize, width: usize) {
    for m in 0..positions {
        for c in 0..t.channels {
            let mut sum = 0.0f32;
            let mut weights = t.weights;
            for segment in t.segments {
                for (k, tap) in (0..t.length).flat_map(|k| (0..segment.taps).map(move |t| (k, t))) {
                    // SAFETY: inside the segment, and inside the packed weights.
                    unsafe {
                        let window = t.input.add((m + tap) * t.step).offset(segment.start);
                        sum += *window.add(k) * *weights.add(c);
                        weights = weights.add(width);
                    }
                }
            }
            // SAFETY: c < channels ≤ width.
            unsafe {
                let v = t.activation.apply(sum + *t.bias.add(c));
                *t.output.add(m * t.output_step + c) = v;
            }
        }
    }
}

/// # Safety
/// As [`f32_tile`].
pub unsafe fn i8_positions(t: &I8Tile, positions: usize, width: usize) {
    for m in 0..positions {
        for c in 0..t.channels {
            // SAFETY: inside the segments and the packed tables.
            let v = unsafe {
                let mut sum = *t.init.add(c);
                let mut weights = t.weights;
                for segment in t.segments {
                    let taps = |k| (0..segment.taps).map(move |t| (k, t));
                    for (k, tap) in (0..t.length).flat_map(taps) {
                        let window = t.input.add((m + tap) * t.step).offset(segment.start);
                        for j in 0..4 {
                            let a = stored_value(*window.add(4 * k + j));
                            let w = i32::from(*weights.add(4 * c + j));
                            sum = sum.wrapping_add(a * w);
                        }
                        weights = weights.add(4 * width);
                    }
                }
                t.activation.apply(sum as f32 * *t.scale.add(c) + *t.bias.add(c))
            };
            let at = m * t.output_step + c;
            // SAFETY: c < channels.
            unsafe {
                match t.output {
                    I8Output::F32(data) => *data.add(at) = v,
                    I8Output::Stored { data, zero, lowest } => {
                        *data.add(at) = quantized(v.max(lowest), zero);
                    }
                }
            }
        }
    }
}

/// The left factor as the hardware sees it.
pub fn stored_value(byte: u8) -> i32 {
    if OFFSET == 0 { i32::from(byte as i8) } else { i32::from(byte) }
}

/// Rounds half to even and saturates; the stored byte. What is not a number becomes the lowest
/// one, as in onnxruntime.
#[allow(clippy::manual_clamp, reason = "unlike `clamp`, `max` drops NaN")]
#[inline(always)]
pub fn quantized(v: f32, zero: i32) -> u8 {
    let v = v.max(-LARGEST_SUM).min(LARGEST_SUM).round_ties_even();
    // SAFETY: finite and in the range of i32.
    let q = unsafe { v.to_int_unchecked::<i32>() };
    (q + zero).clamp(-128, 127) as i8 as u8 ^ OFFSET
}
