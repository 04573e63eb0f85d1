//! The loops, written once; each architecture provides the vectors.

use std::array::from_fn;

use super::{GROUPS, Strip, Table, Tile};
use crate::graph::Activation;
use crate::kernels::conv::body::unroll;
use crate::kernels::conv::prefetch;

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
    /// How many groups [`Vectors::add_groups`] may take: 1 or 2.
    const GROUPS: usize = 1;
    /// Adds the products of G groups of N vectors with their weights, to sums of one phase and
    /// channel.
    #[inline(always)]
    unsafe fn add_groups<const N: usize, const G: usize>(
        sums: &mut [Self::Sum; N],
        a: &[[Self::Input; N]; G],
        weights: [*const u32; G],
    ) {
        for (a, w) in a.iter().zip(weights) {
            unsafe {
                let w = Self::splat(w);
                unroll!(n in 0..N, at most 4 => {
                    sums[n] = Self::add(sums[n], a[n], w);
                });
            }
        }
    }
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
        let group_weights = C * (P * t.shifts[0].len() + t.shifts[1].len() + t.shifts[2].len());
        for row in t.rows {
            let mut from =
                From { input: t.input.add(*row), weights, pitch: t.pitch, group_weights };
            let mut left = t.groups;
            while left > 0 {
                let step = if V::GROUPS == 2 && left > 1 { 2 } else { 1 };
                for _ in 0..step {
                    if ahead < t.ahead.end {
                        prefetch(ahead);
                        ahead = ahead.wrapping_add(64);
                    }
                }
                if step == 2 {
                    group::<V, P, C, N, 2>(t, &from, &mut sums);
                } else {
                    group::<V, P, C, N, 1>(t, &from, &mut sums);
                }
                from.input = from.input.add(step * t.pitch);
                from.weights = from.weights.add(step * group_weights);
                left -= step;
            }
            weights = from.weights;
        }
        // Of a copy, in memory: the sums above stay in registers.
        finish::<V, P, C, N>(t, sums);
    }
}

/// Where groups' inputs and weights are.
struct From {
    input: *const u32,
    pitch: usize,
    weights: *const u32,
    group_weights: usize,
}

/// Adds the products of G groups.
#[inline(always)]
unsafe fn group<V: Vectors, const P: usize, const C: usize, const N: usize, const G: usize>(
    t: &Tile,
    from: &From,
    sums: &mut [[[V::Sum; N]; C]; P],
) {
    unsafe {
        let weights = taps::<V, P, C, N, G>(from, t.shifts[0], from.weights, sums);
        if let [first, second] = &mut sums[..] {
            let [first, second] = [first, second].map(std::array::from_mut);
            let weights = taps::<V, 1, C, N, G>(from, t.shifts[1], weights, first);
            taps::<V, 1, C, N, G>(from, t.shifts[2], weights, second);
        }
    }
}

/// Of the taps that belong to P phases; gives where the next ones' weights start.
#[inline(always)]
unsafe fn taps<V: Vectors, const P: usize, const C: usize, const N: usize, const G: usize>(
    from: &From,
    shifts: &[usize],
    mut weights: *const u32,
    sums: &mut [[[V::Sum; N]; C]; P],
) -> *const u32 {
    unsafe {
        for shift in shifts {
            let mut a = [[V::load(from.input.add(*shift)); N]; G];
            for (g, a) in a.iter_mut().enumerate() {
                for (n, a) in a.iter_mut().enumerate() {
                    *a = V::load(from.input.add(*shift + g * from.pitch + n * V::LANES));
                }
            }
            unroll!(p in 0..P, at most 4 => {
                unroll!(c in 0..C, at most 4 => {
                    let each = std::array::from_fn(|g| weights.add(g * from.group_weights));
                    V::add_groups::<N, G>(&mut sums[p][c], &a, each);
                    weights = weights.add(1);
                });
            });
        }
        weights
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
