//! The loops of a tile, written once; each architecture provides the vectors.

use super::{CHANNELS, DotTile, POSITIONS};
use crate::engine::kernels::conv::scalar::quantised;
use crate::engine::kernels::conv::{Activation, I8Output};

/// The vector operations of a tile with elements `T` and weights `W`.
pub trait Vectors {
    type T: Copy;
    type W: Copy;
    type Sum: Copy;
    type Input: Copy;
    type Weights: Copy;
    /// [`POSITIONS`] finished values.
    type Row: Copy;
    const WIDTH: usize;
    /// Can the registers hold the sums of all positions of 3 channels?
    const MANY: bool;
    unsafe fn zero() -> Self::Sum;
    unsafe fn input(from: *const Self::T) -> Self::Input;
    /// The first `n` elements, 0 in the others.
    unsafe fn part(from: *const Self::T, n: usize) -> Self::Input;
    unsafe fn weights(from: *const Self::W) -> Self::Weights;
    unsafe fn add(sum: Self::Sum, a: Self::Input, w: Self::Weights) -> Self::Sum;
    /// Adds up the lanes of each, then `activation((start + sum) · factor + bias)`.
    unsafe fn row(
        sums: &[Self::Sum; POSITIONS],
        table: (i32, f32, f32),
        activation: Activation,
    ) -> Self::Row;
    fn array(row: Self::Row) -> [f32; POSITIONS];
    unsafe fn store(row: Self::Row, to: *mut f32);
    /// `a[0] b[0] a[1] b[1] …`
    unsafe fn store_mixed(a: Self::Row, b: Self::Row, to: *mut f32);
}

/// # Safety
/// The tile's memory is the caller's and the CPU has the vectors of `V`.
#[inline(always)]
pub unsafe fn tile<V: Vectors, const C: usize>(t: &DotTile<V::T, V::W>) {
    const { assert!(C <= CHANNELS) };
    // SAFETY: as the caller's.
    unsafe {
        let first = rows::<V, C>(t, 0);
        let second = if t.phases == 2 { rows::<V, C>(t, 1) } else { first };
        let whole = t.position_step == 1 && t.positions == POSITIONS;
        for c in 0..C {
            let start = c * t.channel_step;
            match t.output {
                I8Output::F32(data) if whole && t.phases == 1 => {
                    V::store(first[c], data.add(start));
                }
                I8Output::F32(data) if whole => {
                    V::store_mixed(first[c], second[c], data.add(start));
                }
                _ => store_apart(t, start, [V::array(first[c]), V::array(second[c])]),
            }
        }
    }
}

/// The finished values of one phase, per channel.
#[inline(always)]
unsafe fn rows<V: Vectors, const C: usize>(t: &DotTile<V::T, V::W>, phase: usize) -> [V::Row; C] {
    unsafe {
        let input = t.input.offset(t.shift * phase as isize);
        let weights = t.weights.add(phase * t.segments.len() * C * t.padded);
        let mut sums = [[V::zero(); POSITIONS]; C];
        // A constant number of sums, or they would not stay in registers.
        if V::MANY && C <= 3 {
            block::<V, C, POSITIONS>(t, input, weights, 0, &mut sums);
        } else if V::MANY {
            for first in [0, 4] {
                block::<V, C, 4>(t, input, weights, first, &mut sums);
            }
        } else {
            for first in [0, 2, 4, 6] {
                block::<V, C, 2>(t, input, weights, first, &mut sums);
            }
        }
        let tables = &t.tables[phase];
        let mut rows = [V::row(&sums[0], tables[0], t.activation); C];
        for c in 1..C {
            rows[c] = V::row(&sums[c], tables[c], t.activation);
        }
        rows
    }
}

/// The sums of M positions from `first` on. Positions that are not stored read what lies there:
/// the border, or the slack after it.
#[inline(always)]
unsafe fn block<V: Vectors, const C: usize, const M: usize>(
    t: &DotTile<V::T, V::W>,
    input: *const V::T,
    mut weights: *const V::W,
    first: usize,
    all: &mut [[V::Sum; POSITIONS]; C],
) {
    unsafe {
        let mut sums = [[V::zero(); M]; C];
        let input = input.add(first * t.step);
        let rest = t.length % V::WIDTH;
        for segment in t.segments {
            let from = input.offset(*segment);
            let mut k = 0;
            while k + V::WIDTH <= t.length {
                let row = |m: usize| V::input(from.add(m * t.step + k));
                step::<V, C, M>(t, weights.add(k), row, &mut sums);
                k += V::WIDTH;
            }
            if rest > 0 {
                let row = |m: usize| V::part(from.add(m * t.step + k), rest);
                step::<V, C, M>(t, weights.add(k), row, &mut sums);
            }
            weights = weights.add(C * t.padded);
        }
        for c in 0..C {
            for m in 0..M {
                all[c][first + m] = sums[c][m];
            }
        }
    }
}

#[inline(always)]
unsafe fn step<V: Vectors, const C: usize, const M: usize>(
    t: &DotTile<V::T, V::W>,
    weights: *const V::W,
    row: impl Fn(usize) -> V::Input,
    sums: &mut [[V::Sum; M]; C],
) {
    unsafe {
        let mut w = [V::weights(weights); C];
        for (c, w) in w.iter_mut().enumerate() {
            *w = V::weights(weights.add(c * t.padded));
        }
        #[allow(clippy::needless_range_loop, reason = "positions are the inner index")]
        for m in 0..M {
            let a = row(m);
            for c in 0..C {
                sums[c][m] = V::add(sums[c][m], a, w[c]);
            }
        }
    }
}

/// Value by value, where they do not follow each other.
#[cold]
unsafe fn store_apart<T, W>(t: &DotTile<T, W>, start: usize, phases: [[f32; POSITIONS]; 2]) {
    for (phase, values) in phases.iter().enumerate().take(t.phases) {
        for (m, v) in values.iter().enumerate().take(t.positions) {
            let at = start + (m * t.phases + phase) * t.position_step;
            unsafe {
                match t.output {
                    I8Output::F32(data) => *data.add(at) = *v,
                    I8Output::Stored { data, zero } => *data.add(at) = quantised(*v, zero),
                }
            }
        }
    }
}

/// [`Vectors::row`] in plain Rust, for f32.
#[inline(always)]
pub fn f32_row(
    totals: [f32; POSITIONS],
    (_, factor, bias): (i32, f32, f32),
    activation: Activation,
) -> [f32; POSITIONS] {
    totals.map(|v| activation.apply(v * factor + bias))
}

/// … for int8.
#[inline(always)]
pub fn i8_row(
    totals: [i32; POSITIONS],
    (start, factor, bias): (i32, f32, f32),
    activation: Activation,
) -> [f32; POSITIONS] {
    totals.map(|v| activation.apply(start.wrapping_add(v) as f32 * factor + bias))
}

/// [`Vectors::store_mixed`] in plain Rust.
///
/// # Safety
/// There is room for 2 · [`POSITIONS`] values.
#[inline(always)]
pub unsafe fn store_mixed(a: [f32; POSITIONS], b: [f32; POSITIONS], to: *mut f32) {
    for (m, (a, b)) in a.into_iter().zip(b).enumerate() {
        unsafe {
            *to.add(2 * m) = a;
            *to.add(2 * m + 1) = b;
        }
    }
}
