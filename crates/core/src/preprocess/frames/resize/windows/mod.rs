//! Weighted sums of neighbors along a row of 8-bit samples: four results at a time are computed
//! from the 16 samples that hold all their neighbors, which one instruction moves into place.
//! Exact: every level gives the oracle's numbers.

#![allow(unsafe_code)]

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86;

use super::taps::Taps;
use intraop_engine::{Simd, SimdLevel};

/// Samples that are loaded at once.
const WINDOW: usize = 16;
/// Results that are computed together, from four windows.
const BLOCK: usize = 16;

/// `N` taps for every result, and where they suit vectors the same in `P` = `N` / 2 pairs.
pub(super) struct Windows<const N: usize, const P: usize> {
    /// The oracle's.
    at: Vec<[u32; N]>,
    weights: Vec<[i16; N]>,
    /// Samples of a row.
    from: usize,
    blocks: Option<Vec<Block<P>>>,
}

/// [`BLOCK`] results; past the row's end the last one again.
struct Block<const P: usize> {
    /// The first sample of each window.
    windows: [u32; 4],
    pairs: [Pair; P],
}

/// One pair of taps of every result.
struct Pair {
    /// For every byte of two 16-bit numbers per result the place in its window, or [`ZERO`].
    places: [u8; 4 * BLOCK],
    weights: [i16; 2 * BLOCK],
}

/// A place that every CPU fills with 0.
const ZERO: u8 = 0x80;

/// What the sums are kept as.
pub(super) trait Kept: vector::Kept + Copy + Default {
    fn kept(sum: i32) -> Self;
}

impl Kept for i16 {
    /// Without four bits, which OpenCV's bilinear drops.
    fn kept(sum: i32) -> i16 {
        (sum >> 4) as i16
    }
}

impl Kept for f32 {
    /// Exact: less than 2²⁴.
    fn kept(sum: i32) -> f32 {
        sum as f32
    }
}

#[cfg(target_arch = "aarch64")]
use aarch64 as vector;
#[cfg(target_arch = "x86_64")]
use x86 as vector;
#[cfg(not(any(target_arch = "aarch64", target_arch = "x86_64")))]
mod vector {
    pub trait Kept {}
    impl Kept for i16 {}
    impl Kept for f32 {}
}

impl<const N: usize, const P: usize> Windows<N, P> {
    /// For rows of `from` samples.
    pub fn new(from: usize, taps: Taps<N>) -> Self {
        assert_eq!(N, 2 * P, "taps come in pairs");
        let weights = taps.fixed_weights();
        let blocks = taps.at.chunks(BLOCK).zip(weights.chunks(BLOCK));
        let blocks = blocks.map(|(at, weights)| Block::new(from, at, weights)).collect();
        Windows { at: taps.at, weights, from, blocks }
    }

    /// How many numbers [`sum`](Self::sum) writes: at least one per result.
    pub fn padded_len(&self) -> usize {
        self.at.len().next_multiple_of(BLOCK)
    }

    /// # Panics
    /// If `from` is not as long as was said, or `to` not [`padded_len`](Self::padded_len).
    pub fn sum<K: Kept>(&self, simd: Simd, from: &[u8], to: &mut [K]) {
        assert!(from.len() == self.from && to.len() == self.padded_len(), "rows as announced");
        let Some(blocks) = &self.blocks else { return self.sum_one_by_one(from, to) };
        match simd.level() {
            // SAFETY: a `Simd` is given out only for a level that the CPU has. Windows are in the
            // row, by `Block::new`, and `to` has room for every block.
            #[cfg(target_arch = "x86_64")]
            SimdLevel::Avx2 | SimdLevel::AvxVnni => unsafe { x86::avx2(blocks, from, to) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            SimdLevel::Avx512 | SimdLevel::Vnni => unsafe { x86::avx512(blocks, from, to) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            SimdLevel::Neon | SimdLevel::DotProd => unsafe { aarch64::neon(blocks, from, to) },
            _ => self.sum_one_by_one(from, to),
        }
    }

    /// The oracle, and for rows that do not suit vectors.
    fn sum_one_by_one<K: Kept>(&self, from: &[u8], to: &mut [K]) {
        for ((to, at), weights) in to.iter_mut().zip(&self.at).zip(&self.weights) {
            let taps = at.iter().zip(weights);
            let sum = taps.map(|(at, w)| i32::from(from[*at as usize]) * i32::from(*w)).sum();
            *to = K::kept(sum);
        }
    }
}

impl<const P: usize> Block<P> {
    /// `None` where a window cannot hold all neighbors of four results.
    fn new<const N: usize>(from: usize, at: &[[u32; N]], weights: &[[i16; N]]) -> Option<Self> {
        let mut pairs = [const { Pair { places: [ZERO; 4 * BLOCK], weights: [0; 2 * BLOCK] } }; P];
        let mut windows = [0; 4];
        for (group, window) in windows.iter_mut().enumerate() {
            let results = [0, 1, 2, 3].map(|i| (group * 4 + i).min(at.len() - 1));
            let all = || results.iter().flat_map(|i| at[*i]);
            *window = all().min()?.min(from.checked_sub(WINDOW)? as u32);
            if all().max()? - *window >= WINDOW as u32 {
                return None;
            }
            for (lane, i) in results.into_iter().enumerate() {
                for tap in 0..N {
                    let pair = &mut pairs[tap / 2];
                    let place = (group * 4 + lane) * 2 + tap % 2;
                    pair.places[2 * place] = (at[i][tap] - *window) as u8;
                    pair.weights[place] = weights[i][tap];
                }
            }
        }
        Some(Block { windows, pairs })
    }
}
