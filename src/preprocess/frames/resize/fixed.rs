//! Bilinear and bicubic for 8 bits: weights in steps of 2⁻¹¹.

use super::float::Rows;
use super::taps::Taps;
use crate::engine::{Simd, vectorised};
use crate::image::Frame;
use crate::preprocess::frames::Sample;

pub(super) fn linear(simd: Simd, from: &Frame<u8>, to: &mut Frame<u8>, covered: bool) {
    let across = Taps::linear(from.width, to.width, covered, true);
    let down = Taps::linear(from.height, to.height, covered, false);
    resample(simd, from, &across, &down, sum_two, to);
}

pub(super) fn cubic(simd: Simd, from: &Frame<u8>, to: &mut Frame<u8>) {
    let across = Taps::cubic(from.width, to.width);
    let down = Taps::cubic(from.height, to.height);
    resample(simd, from, &across, &down, sum_four, to);
}

type SumDown<const N: usize> = fn(Simd, [&[i32]; N], [i16; N], &mut [u8]);

/// First along the rows, then down the columns.
fn resample<const N: usize>(
    simd: Simd,
    from: &Frame<u8>,
    across: &Taps<N>,
    down: &Taps<N>,
    sum_down: SumDown<N>,
    to: &mut Frame<u8>,
) {
    let width = to.width;
    let (weights_across, weights_down) = (across.fixed_weights(), down.fixed_weights());
    let mut rows = Rows::new(width);
    for (y, out) in to.data.chunks_exact_mut(width).enumerate() {
        let taps = rows.of(down.at[y], |y, row| {
            sum_across(simd, from.row(y), &across.at, &weights_across, row);
        });
        sum_down(simd, taps, weights_down[y], out);
    }
}

vectorised! {
    fn sum_across[const N: usize](
        from: &[u8],
        at: &[[u32; N]],
        weights: &[[i16; N]],
        to: &mut [i32],
    ) {
        for ((to, at), weights) in to.iter_mut().zip(at).zip(weights) {
            *to = (0..N).map(|i| i32::from(from[at[i] as usize]) * i32::from(weights[i])).sum();
        }
    }

    /// Cuts off the low bits of each product, as OpenCV's vectors of 16 bits do.
    fn sum_two(rows: [&[i32]; 2], weights: [i16; 2], to: &mut [u8]) {
        let rows = rows.map(|row| &row[..to.len()]);
        for (x, to) in to.iter_mut().enumerate() {
            let part = |i: usize| ((rows[i][x] >> 4) * i32::from(weights[i])) >> 16;
            *to = ((part(0) + part(1) + 2) >> 2) as u8;
        }
    }

    /// OpenCV's vectors of 8 sum in f32, the rest of a row in whole numbers.
    fn sum_four(rows: [&[i32]; 4], weights: [i16; 4], to: &mut [u8]) {
        let rows = rows.map(|row| &row[..to.len()]);
        let real = weights.map(|w| f32::from(w) * (1.0 / (2048.0 * 2048.0)));
        let body = to.len() / 8 * 8;
        for (x, to) in to[..body].iter_mut().enumerate() {
            let [a, b, c, d] = [0, 1, 2, 3].map(|i| rows[i][x] as f32 * real[i]);
            *to = u8::rounded(a + (b + (c + d)));
        }
        for (x, to) in to.iter_mut().enumerate().skip(body) {
            let sum: i32 = (0..4).map(|i| rows[i][x] * i32::from(weights[i])).sum();
            *to = ((sum + (1 << 21)) >> 22).clamp(0, 255) as u8;
        }
    }
}
