//! The mean of the area that a pixel of the result covers.

mod lanes;

use lanes::Lanes;

use super::taps::{Shares, scale};
use crate::image::Frame;
use crate::preprocess::frames::Sample;
use intraop_engine::{Simd, vectorized};

/// A sample whose mean over blocks of pixels is computed, as OpenCV rounds it.
pub trait Summed: Sample {
    /// Of two neighbors and the two below them.
    fn mean_of_four(row: [Self; 2], below: [Self; 2]) -> Self;

    /// Of four samples; exact for 8 and 16 bits.
    fn sum_of_four(samples: [Self; 4]) -> f32;

    /// Means of whole blocks of `cover` columns and rows.
    fn blocks(simd: Simd, from: &Frame<Self>, cover: [usize; 2], to: &mut Frame<Self>) {
        blocks_in_order(simd, from, cover, to);
    }

    /// Means where pixels are shared out among those of the result that they lie in.
    fn shares(simd: Simd, from: &Frame<Self>, to: &mut Frame<Self>) {
        let across = Shares::new(from.width, to.width);
        shares(simd, from, to, |row, sums| sum_across(simd, row, &across, sums));
    }
}

impl Summed for u8 {
    #[inline(always)]
    fn mean_of_four([a, b]: [u8; 2], [c, d]: [u8; 2]) -> u8 {
        ((u16::from(a) + u16::from(b) + u16::from(c) + u16::from(d) + 2) >> 2) as u8
    }

    #[inline(always)]
    fn sum_of_four(samples: [u8; 4]) -> f32 {
        f32::from(samples.map(u16::from).iter().sum::<u16>())
    }

    fn blocks(simd: Simd, from: &Frame<u8>, cover: [usize; 2], to: &mut Frame<u8>) {
        // Beyond, an i32 could not hold the sum (nor OpenCV's).
        if cover[0] * cover[1] <= 1 << 23 {
            blocks_by_columns(simd, from, cover, to);
        } else {
            blocks_in_order(simd, from, cover, to);
        }
    }

    fn shares(simd: Simd, from: &Frame<u8>, to: &mut Frame<u8>) {
        let mut across = Lanes::new(from.width, Shares::new(from.width, to.width), to.width);
        shares(simd, from, to, |row, sums| across.sum(simd, row, sums));
    }
}

impl Summed for u16 {
    #[inline(always)]
    fn mean_of_four([a, b]: [u16; 2], [c, d]: [u16; 2]) -> u16 {
        ((u32::from(a) + u32::from(b) + u32::from(c) + u32::from(d) + 2) >> 2) as u16
    }

    #[inline(always)]
    fn sum_of_four(samples: [u16; 4]) -> f32 {
        samples.map(u32::from).iter().sum::<u32>() as f32
    }
}

impl Summed for f32 {
    #[inline(always)]
    fn mean_of_four([a, b]: [f32; 2], [c, d]: [f32; 2]) -> f32 {
        ((a + b) + (c + d)) * 0.25
    }

    #[inline(always)]
    fn sum_of_four([a, b, c, d]: [f32; 4]) -> f32 {
        a + b + c + d
    }
}

pub(super) fn resize<T: Summed>(simd: Simd, from: &Frame<T>, to: &mut Frame<T>) {
    let [x, y] = [scale(from.width, to.width), scale(from.height, to.height)];
    // Not by a division of whole numbers: OpenCV's rounding misses some ratios, such as 49.
    let whole = |scale: f64| (scale - scale.round()).abs() < f64::EPSILON;
    if !(whole(x) && whole(y)) {
        return T::shares(simd, from, to);
    }
    let [x, y] = [x, y].map(|scale| scale.round() as usize);
    match [x, y] {
        [2, 2] => halve(simd, from, to),
        _ => T::blocks(simd, from, [x, y], to),
    }
}

fn halve<T: Summed>(simd: Simd, from: &Frame<T>, to: &mut Frame<T>) {
    // OpenCV's vectors of four f32 sum in pairs, what is left of a row does not.
    let width = to.width;
    let in_pairs = if size_of::<T>() < 4 { width } else { width / 4 * 4 };
    for (y, out) in to.data.chunks_exact_mut(width).enumerate() {
        let [row, below] = [from.row(2 * y), from.row(2 * y + 1)];
        means_of_four(simd, row, below, &mut out[..in_pairs]);
        for x in in_pairs..width {
            let four = [row[2 * x], row[2 * x + 1], below[2 * x], below[2 * x + 1]];
            out[x] = T::rounded(T::sum_of_four(four) * 0.25);
        }
    }
}

/// As [`Summed::blocks`], with sums in OpenCV's order.
fn blocks_in_order<T: Summed>(simd: Simd, from: &Frame<T>, cover: [usize; 2], to: &mut Frame<T>) {
    let rows = from.data.chunks_exact(cover[1] * from.width);
    for (block, out) in rows.zip(to.data.chunks_exact_mut(to.width)) {
        means(simd, block, cover, out);
    }
}

/// As [`Summed::blocks`], with exact sums.
fn blocks_by_columns(simd: Simd, from: &Frame<u8>, cover: [usize; 2], to: &mut Frame<u8>) {
    let [width, height] = cover;
    let share = 1.0 / (width * height) as f32;
    let mut sums = vec![0u32; from.width];
    let rows = from.data.chunks_exact(height * from.width);
    for (block, out) in rows.zip(to.data.chunks_exact_mut(to.width)) {
        sums.fill(0);
        block.chunks_exact(from.width).for_each(|row| add_whole(simd, row, &mut sums));
        match width {
            1 => share_columns(simd, sums.as_chunks::<1>().0, share, out),
            2 => share_columns(simd, sums.as_chunks::<2>().0, share, out),
            3 => share_columns(simd, sums.as_chunks::<3>().0, share, out),
            4 => share_columns(simd, sums.as_chunks::<4>().0, share, out),
            5 => share_columns(simd, sums.as_chunks::<5>().0, share, out),
            6 => share_columns(simd, sums.as_chunks::<6>().0, share, out),
            8 => share_columns(simd, sums.as_chunks::<8>().0, share, out),
            _ => {
                for (out, sums) in out.iter_mut().zip(sums.chunks_exact(width)) {
                    *out = u8::rounded(sums.iter().sum::<u32>() as f32 * share);
                }
            }
        }
    }
}

/// As [`Summed::shares`]; `sum_across` sums a row's samples by their shares.
fn shares<T: Summed>(
    simd: Simd,
    from: &Frame<T>,
    to: &mut Frame<T>,
    mut sum_across: impl FnMut(&[T], &mut [f32]),
) {
    let down = Shares::new(from.height, to.height);
    let width = to.width;
    let (mut row, mut sum) = (vec![0.0; width], vec![0.0; width]);
    let mut at_hand = None;
    for (y, out) in to.data.chunks_exact_mut(width).enumerate() {
        sum.fill(0.0);
        let (first, weights) = down.of(y);
        for (at, weight) in (first..).zip(weights) {
            if at_hand != Some(at) {
                sum_across(from.row(at), &mut row);
                at_hand = Some(at);
            }
            add(simd, &row, *weight, &mut sum);
        }
        round(simd, &sum, out);
    }
}

vectorized! {
    fn means_of_four[T: Summed](row: &[T], below: &[T], to: &mut [T]) {
        let rows = row.as_chunks().0.iter().zip(below.as_chunks().0);
        for (to, (row, below)) in to.iter_mut().zip(rows) {
            *to = T::mean_of_four(*row, *below);
        }
    }

    /// A row of the result, from a block of as many rows as a pixel covers.
    fn means[T: Summed](block: &[T], cover: [usize; 2], to: &mut [T]) {
        let [width, height] = cover;
        let area = width * height;
        let stride = block.len() / height;
        let share = 1.0 / area as f32;
        for (x, to) in to.iter_mut().enumerate() {
            let sample = |i: usize| block[i / width * stride + x * width + i % width];
            let fours = (0..area / 4)
                .map(|i| T::sum_of_four([0, 1, 2, 3].map(|part| sample(4 * i + part))));
            let sum = fours.fold(0.0, |sum, four| sum + four);
            let sum = (area / 4 * 4..area).fold(sum, |sum, i| sum + sample(i).real());
            *to = T::rounded(sum * share);
        }
    }

    fn add_whole(row: &[u8], sums: &mut [u32]) {
        for (sum, v) in sums.iter_mut().zip(row) {
            *sum += u32::from(*v);
        }
    }

    fn share_columns[const N: usize](sums: &[[u32; N]], share: f32, to: &mut [u8]) {
        for (to, sums) in to.iter_mut().zip(sums) {
            *to = u8::rounded(sums.iter().sum::<u32>() as i32 as f32 * share);
        }
    }

    pub(super) fn sum_across[T: Sample](from: &[T], shares: &Shares, to: &mut [f32]) {
        for (x, to) in to.iter_mut().enumerate() {
            let (first, weights) = shares.of(x);
            let taps = from[first..].iter().zip(weights);
            *to = taps.fold(0.0, |sum, (sample, weight)| sum + sample.real() * weight);
        }
    }

    fn add(row: &[f32], weight: f32, sum: &mut [f32]) {
        for (sum, v) in sum.iter_mut().zip(row) {
            *sum += weight * v;
        }
    }

    fn round[T: Sample](sum: &[f32], to: &mut [T]) {
        for (to, sum) in to.iter_mut().zip(sum) {
            *to = T::rounded(*sum);
        }
    }
}
