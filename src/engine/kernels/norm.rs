//! Normalisation over a whole channel.

use rayon::prelude::*;

use super::conv::Activation;
use super::map::{load, store};
use super::rows::{moments_row, normalize_row};
use super::{Image, Memory};
use crate::engine::Simd;

/// InstanceNorm: each channel to mean 0 and variance 1, then `· factor + shift`; from any number
/// format to any.
#[derive(Debug, Clone)]
pub struct Norm {
    pub epsilon: f32,
    pub factor: Vec<f32>,
    pub shift: Vec<f32>,
    pub activation: Activation,
    pub from: Image,
    pub to: Image,
    pub simd: Simd,
}

impl Norm {
    pub fn run(&self, memory: Memory) {
        let (mean, variance) = self.moments(memory);
        let mean: Vec<f32> = mean.iter().map(|m| *m as f32).collect();
        let deviation = variance.iter().map(|v| (v + f64::from(self.epsilon)).sqrt() as f32);
        let scale: Vec<f32> = self.factor.iter().zip(deviation).map(|(f, d)| f / d).collect();
        let length = self.to.size[2] * self.to.channels;
        (0..self.to.rows()).into_par_iter().with_min_len(4).for_each_init(
            || vec![0.0f32; length],
            |values, row| {
                // SAFETY: the row is this task's; the images are the plan's and apart.
                unsafe {
                    load(memory, self.simd, &self.from, row, values);
                    normalize_row(self.simd, values, &mean, &scale, &self.shift, self.activation);
                    store(memory, self.simd, &self.to, row, values);
                }
            },
        );
    }

    /// Mean and variance per channel, in one pass over the image: sums of differences from a
    /// value near the mean, so that no digits cancel. In f32 along a row, then in f64 and in
    /// the order of the rows: the same bits with any number of threads.
    fn moments(&self, memory: Memory) -> (Vec<f64>, Vec<f64>) {
        let (from, n) = (&self.from, self.from.channels);
        let length = from.size[2] * n;
        let row_moments = |row: usize, near: &[f32], scratch: &mut [f32]| {
            let mut sums = vec![0.0f32; 2 * n];
            // SAFETY: inside the image, which nobody writes now.
            unsafe { load(memory, self.simd, from, row, scratch) }
            moments_row(self.simd, scratch, near, &mut sums);
            sums
        };
        let middle = row_moments(from.rows() / 2, &vec![0.0; n], &mut vec![0.0; length]);
        let near: Vec<f32> = middle[..n].iter().map(|s| s / from.size[2] as f32).collect();
        let rows: Vec<Vec<f32>> = (0..from.rows())
            .into_par_iter()
            .with_min_len(4)
            .map_init(|| vec![0.0f32; length], |scratch, row| row_moments(row, &near, scratch))
            .collect();
        let count = (from.rows() * from.size[2]) as f64;
        let total = |i: usize| rows.iter().map(|r| f64::from(r[i])).sum::<f64>() / count;
        let moments = (0..n).map(|c| {
            let (first, second) = (total(c), total(n + c));
            (f64::from(near[c]) + first, (second - first * first).max(0.0))
        });
        moments.unzip()
    }
}
