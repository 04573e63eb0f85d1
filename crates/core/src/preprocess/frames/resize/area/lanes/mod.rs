//! Shares of 8-bit samples along a row, 16 results at a time: in OpenCV's order, so that every
//! level gives the oracle's bits. A result with fewer shares than others adds zeros.

#![allow(unsafe_code)]

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86;

use super::{Shares, sum_across};
use intraop_engine::Simd;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
use intraop_engine::SimdLevel;

/// Samples that are loaded at once.
const WINDOW: usize = 16;
/// Results that are computed together, from four windows.
const BLOCK: usize = 16;
/// A place that every CPU fills with 0.
const ZERO: u8 = 0x80;

/// The shares of every result.
pub(super) struct Lanes {
    /// The oracle's.
    shares: Shares,
    blocks: Vec<Block>,
    /// A row, and samples after it that count for nothing.
    row: Vec<u8>,
    sums: Vec<f32>,
}

/// [`BLOCK`] results; past the row's end the last one again.
struct Block {
    /// The first sample of each window for the first share; for each next one it is the next.
    windows: [u32; 4],
    /// For every byte of a 32-bit number per result the place in its window, or [`ZERO`].
    places: [u8; 4 * BLOCK],
    /// One for each share and result.
    weights: Vec<[f32; BLOCK]>,
}

impl Lanes {
    /// For rows of `from` samples and `to` results.
    pub fn new(from: usize, shares: Shares, to: usize) -> Self {
        let count = (0..to).map(|x| shares.of(x).1.len()).max().unwrap_or(0);
        let starts = (0..to).step_by(BLOCK);
        let blocks = starts.map(|x| Block::new(&shares, x, to, count)).collect::<Option<Vec<_>>>();
        let blocks = blocks.unwrap_or_default();
        let sums = vec![0.0; blocks.len() * BLOCK];
        Lanes { shares, blocks, row: vec![0; from + count + WINDOW], sums }
    }

    /// # Panics
    /// If `from` or `to` are longer than was said.
    pub fn sum(&mut self, simd: Simd, from: &[u8], to: &mut [f32]) {
        let (blocks, row) = (&self.blocks, self.row.as_mut_slice());
        row[..from.len()].copy_from_slice(from);
        match simd.level() {
            _ if blocks.is_empty() => return sum_across(simd, from, &self.shares, to),
            // SAFETY, of all: a `Simd` is given out only for a level that the CPU has. Windows
            // start in the row, which has as many more samples as they and the shares reach; there
            // is a sum for every result.
            #[cfg(target_arch = "x86_64")]
            SimdLevel::Avx2 | SimdLevel::AvxVnni => unsafe {
                x86::avx2(blocks, row, &mut self.sums)
            },
            #[cfg(target_arch = "x86_64")]
            SimdLevel::Avx512 | SimdLevel::Vnni => unsafe {
                x86::avx512(blocks, row, &mut self.sums)
            },
            #[cfg(target_arch = "aarch64")]
            SimdLevel::Neon | SimdLevel::DotProd => unsafe {
                aarch64::neon(blocks, row, &mut self.sums)
            },
            _ => return sum_across(simd, from, &self.shares, to),
        }
        to.copy_from_slice(&self.sums[..to.len()]);
    }
}

impl Block {
    /// `None` where a window cannot hold a share of four results.
    fn new(shares: &Shares, start: usize, to: usize, count: usize) -> Option<Self> {
        let mut block = Block {
            windows: [0; 4],
            places: [ZERO; 4 * BLOCK],
            weights: vec![[0.0; BLOCK]; count],
        };
        for lane in 0..BLOCK {
            let (first, weights) = shares.of((start + lane).min(to - 1));
            let window = &mut block.windows[lane / 4];
            if lane % 4 == 0 {
                *window = first as u32;
            }
            let place = first - *window as usize;
            if place >= WINDOW {
                return None;
            }
            block.places[4 * lane] = place as u8;
            for (all, weight) in block.weights.iter_mut().zip(weights) {
                all[lane] = *weight;
            }
        }
        Some(block)
    }
}
