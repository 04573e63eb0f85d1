//! Gaussian smoothing of frames.

mod fixed;

use serde::{Deserialize, Serialize};

use super::Sample;
use crate::image::Frame;
use crate::preprocess::smooth;
use intraop_engine::{Simd, vectorized};

/// Smoothing; the kernel reaches 3 standard deviations and the border is replicated. In f32; 8 bits
/// in fixed point, which is within 1 of that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gaussian {
    /// Standard deviation in pixels of the frame at this place of the list, above 0 and at most
    /// [`WIDEST`].
    pub sigma_px: f64,
}

pub const WIDEST: f64 = 100.0;

/// Pixels whose sums stay in registers.
const BLOCK: usize = 64;

impl Gaussian {
    /// # Panics
    /// If the frame has no pixel.
    pub fn apply<T: Smoothed>(&self, simd: Simd, frame: &Frame<T>) -> Frame<T> {
        T::smooth(simd, frame, &smooth::kernel(self.sigma_px))
    }
}

/// A sample of a frame that can be smoothed: `u8`, `u16` or `f32`.
pub trait Smoothed: Sample {
    /// `half` of a kernel, the center first.
    fn smooth(simd: Simd, frame: &Frame<Self>, half: &[f32]) -> Frame<Self> {
        separately(
            frame,
            half.len() - 1,
            |pairs, to| down(simd, pairs, half, to),
            |row, to| {
                across(simd, row, half, to);
            },
        )
    }
}

impl Smoothed for u8 {
    fn smooth(simd: Simd, frame: &Frame<u8>, half: &[f32]) -> Frame<u8> {
        let weights = fixed::weights(half);
        separately(
            frame,
            half.len() - 1,
            |pairs, to| fixed::down(simd, pairs, &weights, to),
            |row, to| fixed::across(simd, row, &weights, to),
        )
    }
}

impl Smoothed for u16 {}
impl Smoothed for f32 {}

/// Smooths row after row, first along y to numbers of type `R`, then along x. `down` is given the
/// rows at each distance, above and below; `across` a row with `reach` numbers before and at least
/// as many, in whole blocks, after it.
fn separately<T: Sample, R: Copy + Default>(
    frame: &Frame<T>,
    reach: usize,
    down: impl Fn(&[[&[T]; 2]], &mut [R]),
    across: impl Fn(&[R], &mut [T]),
) -> Frame<T> {
    let mut out = frame.with(vec![T::default(); frame.data.len()]);
    let mut row = vec![R::default(); reach + frame.width.next_multiple_of(BLOCK) + reach];
    let mut pairs = Vec::with_capacity(reach + 1);
    for (y, out) in out.data.chunks_exact_mut(frame.width).enumerate() {
        pairs.clear();
        pairs.extend((0..=reach).map(|i| {
            let below = (y + i).min(frame.height - 1);
            [frame.row(y.saturating_sub(i)), frame.row(below)]
        }));
        let middle = &mut row[reach..reach + frame.width];
        down(&pairs, middle);
        let (first, last) = (middle[0], middle[frame.width - 1]);
        row[..reach].fill(first);
        row[reach + frame.width..].fill(last);
        across(&row, out);
    }
    out
}

vectorized! {
    fn down[T: Sample](pairs: &[[&[T]; 2]], half: &[f32], to: &mut [f32]) {
        let blocks = to.len() / BLOCK * BLOCK;
        // Not `skip`, which is not inlined here.
        let (others, sides) = (&pairs[1..], &half[1..]);
        for x in (0..blocks).step_by(BLOCK) {
            let mut sum = [0.0; BLOCK];
            let center = &pairs[0][0][x..][..BLOCK];
            for i in 0..BLOCK {
                sum[i] = half[0] * center[i].real();
            }
            for ([above, below], weight) in others.iter().zip(sides) {
                let (above, below) = (&above[x..][..BLOCK], &below[x..][..BLOCK]);
                for i in 0..BLOCK {
                    sum[i] += weight * (above[i].real() + below[i].real());
                }
            }
            to[x..][..BLOCK].copy_from_slice(&sum);
        }
        for (x, to) in to.iter_mut().enumerate().skip(blocks) {
            let center = half[0] * pairs[0][0][x].real();
            *to = others.iter().zip(sides).fold(center, |sum, ([above, below], weight)| {
                sum + weight * (above[x].real() + below[x].real())
            });
        }
    }

    /// `row` reaches as far beyond both ends of `to` as the kernel does.
    fn across[T: Sample](row: &[f32], half: &[f32], to: &mut [T]) {
        let reach = half.len() - 1;
        for (block, to) in to.chunks_mut(BLOCK).enumerate() {
            let center = reach + block * BLOCK;
            let mut sum = [0.0; BLOCK];
            let near = &row[center..][..BLOCK];
            for i in 0..BLOCK {
                sum[i] = half[0] * near[i];
            }
            for (distance, weight) in (1..).zip(&half[1..]) {
                let before = &row[center - distance..][..BLOCK];
                let after = &row[center + distance..][..BLOCK];
                for i in 0..BLOCK {
                    sum[i] += weight * (before[i] + after[i]);
                }
            }
            for (to, sum) in to.iter_mut().zip(sum) {
                *to = T::rounded(sum);
            }
        }
    }
}

#[cfg(test)]
mod tests;
