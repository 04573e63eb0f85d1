//! Gaussian smoothing of frames.

use serde::{Deserialize, Serialize};

use super::Sample;
use crate::engine::{Simd, vectorised};
use crate::image::Frame;
use crate::preprocess::smooth;

/// Smoothing; the kernel reaches 3 standard deviations and the border is replicated.
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
    pub fn apply<T: Sample>(&self, simd: Simd, frame: &Frame<T>) -> Frame<T> {
        let half = smooth::kernel(self.sigma_px);
        let reach = half.len() - 1;
        let mut out = frame.with(vec![T::default(); frame.data.len()]);
        // A row that is smoothed along y, with its ends repeated.
        let mut row = vec![0.0; reach + frame.width.next_multiple_of(BLOCK) + reach];
        for (y, out) in out.data.chunks_exact_mut(frame.width).enumerate() {
            let pair = |i: usize| {
                let below = (y + i).min(frame.height - 1);
                [frame.row(y.saturating_sub(i)), frame.row(below)]
            };
            let pairs: Vec<[&[T]; 2]> = (0..=reach).map(pair).collect();
            let middle = &mut row[reach..reach + frame.width];
            down(simd, &pairs, &half, middle);
            let (first, last) = (middle[0], middle[frame.width - 1]);
            row[..reach].fill(first);
            row[reach + frame.width..].fill(last);
            across(simd, &row, &half, out);
        }
        out
    }
}

vectorised! {
    fn down[T: Sample](pairs: &[[&[T]; 2]], half: &[f32], to: &mut [f32]) {
        let blocks = to.len() / BLOCK * BLOCK;
        for x in (0..blocks).step_by(BLOCK) {
            let mut sum = [0.0; BLOCK];
            let centre = &pairs[0][0][x..][..BLOCK];
            for i in 0..BLOCK {
                sum[i] = half[0] * centre[i].real();
            }
            for ([above, below], weight) in pairs.iter().zip(half).skip(1) {
                let (above, below) = (&above[x..][..BLOCK], &below[x..][..BLOCK]);
                for i in 0..BLOCK {
                    sum[i] += weight * (above[i].real() + below[i].real());
                }
            }
            to[x..][..BLOCK].copy_from_slice(&sum);
        }
        for (x, to) in to.iter_mut().enumerate().skip(blocks) {
            let products = pairs.iter().zip(half).skip(1);
            let centre = half[0] * pairs[0][0][x].real();
            *to = products.fold(centre, |sum, ([above, below], weight)| {
                sum + weight * (above[x].real() + below[x].real())
            });
        }
    }

    /// `row` reaches as far beyond both ends of `to` as the kernel does.
    fn across[T: Sample](row: &[f32], half: &[f32], to: &mut [T]) {
        let reach = half.len() - 1;
        for (block, to) in to.chunks_mut(BLOCK).enumerate() {
            let centre = reach + block * BLOCK;
            let mut sum = [0.0; BLOCK];
            let near = &row[centre..][..BLOCK];
            for i in 0..BLOCK {
                sum[i] = half[0] * near[i];
            }
            for (distance, weight) in half.iter().enumerate().skip(1) {
                let before = &row[centre - distance..][..BLOCK];
                let after = &row[centre + distance..][..BLOCK];
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
mod tests {
    use super::*;

    #[test]
    fn an_impulse_becomes_a_gaussian_and_a_constant_stays() {
        let mut frame = Frame::filled(150, 31, 0.0f32);
        frame.data[15 * 150 + 70] = 1.0;
        let smooth = Gaussian { sigma_px: 2.0 }.apply(Simd::detect(), &frame);
        assert!((smooth.data.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        let at = |x: usize, y: usize| smooth.data[y * 150 + x];
        for (x, y) in [(71, 15), (70, 17), (68, 12)] {
            let (dx, dy) = (x as f32 - 70.0, y as f32 - 15.0);
            let expected = (-(dx * dx + dy * dy) / 8.0).exp();
            assert!((at(x, y) / at(70, 15) - expected).abs() < 1e-5);
        }
        for size in [[1, 1], [3, 2], [64, 1], [129, 5]] {
            let flat = Frame::filled(size[0], size[1], 200u8);
            assert_eq!(Gaussian { sigma_px: 3.0 }.apply(Simd::detect(), &flat), flat);
        }
    }
}
