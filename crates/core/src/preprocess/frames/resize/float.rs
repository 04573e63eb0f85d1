//! Bilinear and bicubic for 16 bits and f32, in f32.

use super::Resizable;
use super::rows::Rows;
use super::taps::Taps;
use crate::image::Frame;
use crate::preprocess::frames::Sample;
use intraop_engine::{Simd, vectorized};

pub(super) fn linear<T: Resizable>(simd: Simd, from: &Frame<T>, to: &mut Frame<T>, covered: bool) {
    let across = Taps::linear(from.width, to.width, covered, true);
    let down = Taps::linear(from.height, to.height, covered, false);
    resample(simd, from, &across, &down, to.width, to);
}

/// `lanes`: how many samples OpenCV's vectors hold.
pub(super) fn cubic<T: Resizable>(simd: Simd, from: &Frame<T>, to: &mut Frame<T>, lanes: usize) {
    let across = Taps::cubic(from.width, to.width);
    let down = Taps::cubic(from.height, to.height);
    resample(simd, from, &across, &down, to.width / lanes * lanes, to);
}

/// First along the rows, then down the columns; the first `body` pixels of each row with sums
/// from the last tap to the first, the others from the first to the last.
fn resample<T: Sample, const N: usize>(
    simd: Simd,
    from: &Frame<T>,
    across: &Taps<N>,
    down: &Taps<N>,
    body: usize,
    to: &mut Frame<T>,
) {
    let width = to.width;
    let mut rows = Rows::new(width);
    for (y, out) in to.data.chunks_exact_mut(width).enumerate() {
        let taps = rows.of(down.at[y], |y, row| sum_across(simd, from.row(y), across, row));
        sum_down(simd, taps, &down.weights[y], body, out);
    }
}

vectorized! {
    fn sum_across[T: Sample, const N: usize](from: &[T], taps: &Taps<N>, to: &mut [f32]) {
        for ((to, at), weights) in to.iter_mut().zip(&taps.at).zip(&taps.weights) {
            let mut sum = from[at[0] as usize].real() * weights[0];
            for i in 1..N {
                sum += from[at[i] as usize].real() * weights[i];
            }
            *to = sum;
        }
    }

    fn sum_down[T: Sample, const N: usize](
        rows: [&[f32]; N],
        weights: &[f32; N],
        body: usize,
        to: &mut [T],
    ) {
        let rows = rows.map(|row| &row[..to.len()]);
        for x in 0..body {
            let mut sum = rows[N - 1][x] * weights[N - 1];
            for i in (0..N - 1).rev() {
                sum += rows[i][x] * weights[i];
            }
            to[x] = T::rounded(sum);
        }
        for x in body..to.len() {
            let mut sum = rows[0][x] * weights[0];
            for i in 1..N {
                sum += rows[i][x] * weights[i];
            }
            to[x] = T::rounded(sum);
        }
    }
}
