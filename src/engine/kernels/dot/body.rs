//! The loops of a tile, written once; each architecture provides the vectors.

use super::{CHANNELS, DotTile, POSITIONS};
use crate::engine::kernels::conv::I8Output;
use crate::engine::kernels::conv::scalar::quantised;

/// The vector operations of a tile with elements `T` and weights `W`.
pub trait Vectors {
    type T: Copy;
    type W: Copy;
    type Sum: Copy;
    type Input: Copy;
    type Weights: Copy;
    /// What the sums are: f32, or i32 of int8.
    type Total: Copy;
    const WIDTH: usize;
    /// How many positions' sums the registers hold beside `CHANNELS` weights.
    const AT_ONCE: usize;
    unsafe fn zero() -> Self::Sum;
    unsafe fn input(from: *const Self::T) -> Self::Input;
    /// The first `n` elements, 0 in the others.
    unsafe fn part(from: *const Self::T, n: usize) -> Self::Input;
    unsafe fn weights(from: *const Self::W) -> Self::Weights;
    unsafe fn add(sum: Self::Sum, a: Self::Input, w: Self::Weights) -> Self::Sum;
    /// The sum of the lanes of each.
    unsafe fn totals(sums: &[Self::Sum; POSITIONS]) -> [Self::Total; POSITIONS];
    /// `(start + total) · factor + bias`.
    fn value(total: Self::Total, table: (i32, f32, f32)) -> f32;
}

/// # Safety
/// The tile's memory is the caller's and the CPU has the vectors of `V`.
#[inline(always)]
pub unsafe fn tile<V: Vectors, const C: usize>(t: &DotTile<V::T, V::W>) {
    let mut values = [[[0.0f32; POSITIONS]; 2]; C];
    let per_phase = t.segments.len() * C * t.padded;
    for phase in 0..t.phases {
        // SAFETY: as the caller's.
        unsafe {
            let input = t.input.offset(t.shift * phase as isize);
            let sums = sums::<V, C>(t, input, t.weights.add(phase * per_phase));
            for c in 0..C {
                let totals = V::totals(&sums[c]);
                for (value, total) in values[c][phase].iter_mut().zip(totals) {
                    *value = t.activation.apply(V::value(total, t.tables[phase][c]));
                }
            }
        }
    }
    for (c, phases) in values.iter().enumerate() {
        // SAFETY: as the caller's; c < C ≤ CHANNELS.
        unsafe { store(t, c, phases) }
    }
}

/// The sums of every position, `[channel][position]`, still spread over lanes.
#[inline(always)]
unsafe fn sums<V: Vectors, const C: usize>(
    t: &DotTile<V::T, V::W>,
    input: *const V::T,
    weights: *const V::W,
) -> [[V::Sum; POSITIONS]; C] {
    const { assert!(C <= CHANNELS && POSITIONS % V::AT_ONCE == 0) };
    unsafe {
        let mut all = [[V::zero(); POSITIONS]; C];
        let mut first = 0;
        while first < POSITIONS {
            // Positions that do not exist repeat the last that does.
            let from = |m: usize| (first + m).min(t.positions - 1) * t.step;
            // A constant number of sums, or they would not stay in registers.
            if V::AT_ONCE == POSITIONS {
                block::<V, C, POSITIONS>(t, input, weights, from, 0, &mut all);
            } else {
                block::<V, C, 2>(t, input, weights, from, first, &mut all);
            }
            first += V::AT_ONCE;
        }
        all
    }
}

#[inline(always)]
unsafe fn block<V: Vectors, const C: usize, const M: usize>(
    t: &DotTile<V::T, V::W>,
    input: *const V::T,
    mut weights: *const V::W,
    from: impl Fn(usize) -> usize,
    first: usize,
    all: &mut [[V::Sum; POSITIONS]; C],
) {
    unsafe {
        let mut sums = [[V::zero(); M]; C];
        let mut rows = [input; M];
        for (m, row) in rows.iter_mut().enumerate() {
            *row = input.add(from(m));
        }
        let whole = t.length / V::WIDTH * V::WIDTH;
        for segment in t.segments {
            let mut k = 0;
            while k < t.length {
                let mut w = [V::weights(weights); C];
                for (c, w) in w.iter_mut().enumerate() {
                    *w = V::weights(weights.add(c * t.padded + k));
                }
                for m in 0..M {
                    let from = rows[m].offset(*segment).add(k);
                    let a = if k < whole { V::input(from) } else { V::part(from, t.length - k) };
                    for c in 0..C {
                        sums[c][m] = V::add(sums[c][m], a, w[c]);
                    }
                }
                k += V::WIDTH;
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
unsafe fn store<T, W>(t: &DotTile<T, W>, channel: usize, phases: &[[f32; POSITIONS]; 2]) {
    let start = channel * t.channel_step;
    unsafe {
        match t.output {
            I8Output::F32(data) if t.position_step == 1 && t.positions == POSITIONS => {
                let to = data.add(start);
                if t.phases == 1 {
                    to.cast::<[f32; POSITIONS]>().write_unaligned(phases[0]);
                } else {
                    let mut mixed = [0.0; 2 * POSITIONS];
                    for m in 0..POSITIONS {
                        mixed[2 * m] = phases[0][m];
                        mixed[2 * m + 1] = phases[1][m];
                    }
                    to.cast::<[f32; 2 * POSITIONS]>().write_unaligned(mixed);
                }
            }
            _ => {
                for (phase, values) in phases.iter().enumerate().take(t.phases) {
                    for (m, v) in values.iter().enumerate().take(t.positions) {
                        let at = start + (m * t.phases + phase) * t.position_step;
                        match t.output {
                            I8Output::F32(data) => *data.add(at) = *v,
                            I8Output::Stored { data, zero } => {
                                *data.add(at) = quantised(*v, zero);
                            }
                        }
                    }
                }
            }
        }
    }
}
