//! The mean of the area that a pixel of the result covers.

use super::taps::{Shares, scale};
use crate::engine::{Simd, vectorised};
use crate::image::Frame;
use crate::preprocess::frames::Sample;

/// A sample whose mean over blocks of pixels is computed, as OpenCV rounds it.
pub trait Summed: Sample {
    /// Of two neighbours and the two below them.
    fn mean_of_four(row: [Self; 2], below: [Self; 2]) -> Self;

    /// Of four samples; exact for 8 and 16 bits.
    fn sum_of_four(samples: [Self; 4]) -> f32;
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
        return shares(simd, from, to);
    }
    let [x, y] = [x, y].map(|scale| scale.round() as usize);
    // OpenCV's vectors of four f32 sum in pairs, what is left of a row does not.
    let in_pairs = if size_of::<T>() < 4 { to.width } else { to.width / 4 * 4 };
    let in_pairs = if [x, y] == [2, 2] { in_pairs } else { 0 };
    let width = to.width;
    for (row, out) in to.data.chunks_exact_mut(width).enumerate() {
        halve(simd, from.row(row * y), from.row(row * y + (y - 1)), &mut out[..in_pairs]);
        let block = &from.data[row * y * from.width..][..y * from.width];
        means(simd, block, [x, y], in_pairs, out);
    }
}

/// Every pixel is shared out among those of the result that it lies in.
fn shares<T: Summed>(simd: Simd, from: &Frame<T>, to: &mut Frame<T>) {
    let across = Shares::new(from.width, to.width);
    let down = Shares::new(from.height, to.height);
    let width = to.width;
    let (mut row, mut sum) = (vec![0.0; width], vec![0.0; width]);
    let mut at_hand = None;
    for (y, out) in to.data.chunks_exact_mut(width).enumerate() {
        sum.fill(0.0);
        let (first, weights) = down.of(y);
        for (at, weight) in (first..).zip(weights) {
            if at_hand != Some(at) {
                sum_across(simd, from.row(at), &across, &mut row);
                at_hand = Some(at);
            }
            add(simd, &row, *weight, &mut sum);
        }
        round(simd, &sum, out);
    }
}

vectorised! {
    fn halve[T: Summed](row: &[T], below: &[T], to: &mut [T]) {
        let rows = row.as_chunks().0.iter().zip(below.as_chunks().0);
        for (to, (row, below)) in to.iter_mut().zip(rows) {
            *to = T::mean_of_four(*row, *below);
        }
    }

    /// The pixels of a row of the result from `start` on, from a block of as many rows as a pixel
    /// covers.
    fn means[T: Summed](block: &[T], cover: [usize; 2], start: usize, to: &mut [T]) {
        let [width, height] = cover;
        let area = width * height;
        let stride = block.len() / height;
        let share = 1.0 / area as f32;
        for (x, to) in to.iter_mut().enumerate().skip(start) {
            let sample = |i: usize| block[i / width * stride + x * width + i % width];
            let fours = (0..area / 4)
                .map(|i| T::sum_of_four([0, 1, 2, 3].map(|part| sample(4 * i + part))));
            let sum = fours.fold(0.0, |sum, four| sum + four);
            let sum = (area / 4 * 4..area).fold(sum, |sum, i| sum + sample(i).real());
            *to = T::rounded(sum * share);
        }
    }

    fn sum_across[T: Sample](from: &[T], shares: &Shares, to: &mut [f32]) {
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
