//! Bilinear and bicubic for 8 bits: weights in steps of 2⁻¹¹.

use super::rows::Rows;
use super::taps::Taps;
use super::windows::Windows;
use crate::image::Frame;
use crate::preprocess::frames::Sample;
use intraop_engine::{Simd, vectorized};

pub(super) fn linear(simd: Simd, from: &Frame<u8>, to: &mut Frame<u8>, covered: bool) {
    let across = Taps::linear(from.width, to.width, covered, true);
    let across = Windows::<2, 1>::new(from.width, across);
    let down = Taps::linear(from.height, to.height, covered, false);
    let weights = down.fixed_weights();
    let mut rows = Rows::new(across.padded_len());
    for (y, out) in to.data.chunks_exact_mut(to.width).enumerate() {
        let taps = rows.of(down.at[y], |y, row| across.sum(simd, from.row(y), row));
        sum_two(simd, taps, weights[y], out);
    }
}

pub(super) fn cubic(simd: Simd, from: &Frame<u8>, to: &mut Frame<u8>) {
    let across = Windows::<4, 2>::new(from.width, Taps::cubic(from.width, to.width));
    let down = Taps::cubic(from.height, to.height);
    let weights = down.fixed_weights();
    let mut rows = Rows::new(across.padded_len());
    for (y, out) in to.data.chunks_exact_mut(to.width).enumerate() {
        let taps = rows.of(down.at[y], |y, row| across.sum(simd, from.row(y), row));
        sum_four(simd, taps, weights[y], out);
    }
}

vectorized! {
    /// Cuts off the low bits of each product, as OpenCV's vectors of 16 bits do.
    fn sum_two(rows: [&[i16]; 2], weights: [i16; 2], to: &mut [u8]) {
        let [a, b] = rows.map(|row| &row[..to.len()]);
        for ((to, a), b) in to.iter_mut().zip(a).zip(b) {
            let part = |v: i16, i: usize| ((i32::from(v) * i32::from(weights[i])) >> 16) as i16;
            *to = ((part(*a, 0) + part(*b, 1) + 2) >> 2) as u8;
        }
    }

    /// OpenCV's vectors of 8 sum in f32, the rest of a row in whole numbers.
    fn sum_four(rows: [&[f32]; 4], weights: [i16; 4], to: &mut [u8]) {
        let [a, b, c, d] = rows.map(|row| &row[..to.len()]);
        let [p, q, r, s] = weights.map(|w| f32::from(w) * (1.0 / (2048.0 * 2048.0)));
        let body = to.len() / 8 * 8;
        for x in 0..body {
            to[x] = u8::rounded(a[x] * p + (b[x] * q + (c[x] * r + d[x] * s)));
        }
        let [p, q, r, s] = weights.map(i32::from);
        for x in body..to.len() {
            let [a, b, c, d] = [a[x], b[x], c[x], d[x]].map(|v| v as i32);
            let sum = a * p + b * q + c * r + d * s;
            to[x] = ((sum + (1 << 21)) >> 22).clamp(0, 255) as u8;
        }
    }
}
