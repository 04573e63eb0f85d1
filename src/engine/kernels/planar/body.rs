//! The loops, written once; each architecture provides the vectors.

use std::array::from_fn;

use super::{GROUPS, Strip, Table, Tile};
use crate::engine::kernels::conv::{Activation, prefetch};

/// The vector operations of a tile.
pub trait Vectors {
    const LANES: usize;
    type Input: Copy;
    type Sum: Copy;
    unsafe fn load(from: *const u32) -> Self::Input;
    /// One weight, or 4 of int8, in every lane.
    unsafe fn splat(from: *const u32) -> Self::Input;
    unsafe fn start(value: i32) -> Self::Sum;
    unsafe fn add(sum: Self::Sum, a: Self::Input, w: Self::Input) -> Self::Sum;
    /// Finishes the sums and stores them.
    unsafe fn store(sum: Self::Sum, table: Table, activation: Activation, to: *mut f32);
    /// `first[0] second[0] first[1] second[1] …`
    unsafe fn store_mixed(
        sums: [Self::Sum; 2],
        tables: [Table; 2],
        activation: Activation,
        to: *mut f32,
    );
}

/// Turns [`GROUPS`] groups of `LANES` positions.
pub trait Turn {
    const LANES: usize;
    unsafe fn turn(from: *const u8, step: usize, to: *mut u32, pitch: usize);
}

/// # Safety
/// The strip's memory is the caller's and the CPU has the vectors of `T`.
#[inline(always)]
pub unsafe fn turn<T: Turn>(s: &Strip) {
    if s.positions < T::LANES {
        for (x, k) in (0..s.positions).flat_map(|x| (0..s.groups).map(move |k| (x, k))) {
            // SAFETY: as the caller's.
            unsafe {
                let value = s.from.add(x * s.step).cast::<u32>().add(k).read_unaligned();
                *s.to.add(k * s.pitch + x) = value;
            }
        }
        return;
    }
    for x in (0..s.positions).step_by(T::LANES) {
        // The last block overlaps the one before.
        let x = x.min(s.positions - T::LANES);
        for k in (0..s.groups).step_by(GROUPS) {
            // SAFETY: as the caller's.
            unsafe {
                let from = s.from.add(x * s.step + 4 * k);
                T::turn(from, s.step, s.to.add(k * s.pitch + x), s.pitch);
            }
        }
    }
}

/// N vectors of positions × C channels × P phases.
///
/// # Safety
/// The tile's memory is the caller's and the CPU has the vectors of `V`.
#[inline(always)]
pub unsafe fn tile<V: Vectors, const P: usize, const C: usize, const N: usize>(t: &Tile) {
    // SAFETY: as the caller's.
    unsafe {
        let start = |p: usize, c: usize| [V::start(t.tables[p][c].start); N];
        let mut sums: [[[V::Sum; N]; C]; P] = from_fn(|p| from_fn(|c| start(p, c)));
        let mut weights = t.weights;
        let mut ahead = t.ahead.start;
        for row in t.rows {
            let mut input = t.input.add(*row);
            for _ in 0..t.groups {
                if ahead < t.ahead.end {
                    prefetch(ahead);
                    ahead = ahead.wrapping_add(64);
                }
                for (kind, shifts) in t.shifts.into_iter().enumerate().take(2 * P - 1) {
                    let phases = [0..P, 0..1, P - 1..P];
                    for shift in shifts {
                        let mut a = [V::load(input.add(*shift)); N];
                        for (n, a) in a.iter_mut().enumerate() {
                            *a = V::load(input.add(*shift + n * V::LANES));
                        }
                        for sums in &mut sums[phases[kind].clone()] {
                            for sums in sums {
                                let w = V::splat(weights);
                                for (sum, a) in sums.iter_mut().zip(a) {
                                    *sum = V::add(*sum, a, w);
                                }
                                weights = weights.add(1);
                            }
                        }
                    }
                }
                input = input.add(t.pitch);
            }
        }
        // Of a copy, in memory: the sums above stay in registers.
        finish::<V, P, C, N>(t, sums);
    }
}

#[inline(always)]
unsafe fn finish<V: Vectors, const P: usize, const C: usize, const N: usize>(
    t: &Tile,
    sums: [[[V::Sum; N]; C]; P],
) {
    for c in 0..C {
        for n in 0..N {
            unsafe {
                let to = t.output.add(c * t.channel_step + n * P * V::LANES);
                let [first, second] = [t.tables[0][c], t.tables[1][c]];
                if P == 1 {
                    V::store(sums[0][c][n], first, t.activation, to);
                } else {
                    let sums = [sums[0][c][n], sums[P - 1][c][n]];
                    V::store_mixed(sums, [first, second], t.activation, to);
                }
            }
        }
    }
}
