//! Which pixels along an axis a pixel of the result is computed from, and their weights.

use crate::preprocess::frames::sample::nearest;

/// For every pixel of an axis of the result, `N` neighbors and their weights. Beyond the border
/// the border's pixel counts.
pub(super) struct Taps<const N: usize> {
    pub at: Vec<[u32; N]>,
    pub weights: Vec<[f32; N]>,
}

/// Pixels of `from` per pixel of `to`. A ratio of ratios, as OpenCV has it: its rounding can be
/// seen in the result.
pub(super) fn scale(from: usize, to: usize) -> f64 {
    1.0 / (to as f64 / from as f64)
}

/// Where a pixel of the result lies: the pixel before, and how far it is to the next.
fn place(scale: f64, x: usize) -> (i64, f32) {
    // OpenCV's place is an f32.
    let place = ((x as f64 + 0.5) * scale - 0.5) as f32;
    // Not `floor`, which not every CPU has, for so many places.
    let toward_zero = place as i64;
    let at = toward_zero - i64::from(toward_zero as f32 > place);
    (at, place - at as f32)
}

/// As [`place`], for pixels of the result that cover less than a pixel: whole pixels where they
/// lie in one, and else by how much they reach into the next.
fn covered_place(scale: f64, inverse: f64, x: usize) -> (i64, f32) {
    let at = (x as f64 * scale).floor();
    let t = ((x as f64 + 1.0) - (at + 1.0) * inverse) as f32;
    (at as i64, if t <= 0.0 { 0.0 } else { t - t.floor() })
}

impl Taps<2> {
    /// `across`: for columns OpenCV gives the border's pixel all the weight, for rows it shares it
    /// between two equal neighbors.
    pub fn linear(from: usize, to: usize, covered: bool, across: bool) -> Self {
        let last = from as i64 - 1;
        let (scale, inverse) = (scale(from, to), to as f64 / from as f64);
        let tap = |x| {
            let (at, t) = if covered { covered_place(scale, inverse, x) } else { place(scale, x) };
            let t = if across && (at < 0 || at >= last) { 0.0 } else { t };
            ([at, at + 1].map(|at| at.clamp(0, last) as u32), [1.0 - t, t])
        };
        let (at, weights) = (0..to).map(tap).unzip();
        Taps { at, weights }
    }
}

impl Taps<4> {
    /// Keys' cubic convolution with a = −¾ ("Cubic convolution interpolation for digital image
    /// processing", 1981), its polynomials evaluated as OpenCV does.
    pub fn cubic(from: usize, to: usize) -> Self {
        const A: f32 = -0.75;
        let last = from as i64 - 1;
        let scale = scale(from, to);
        let tap = |x| {
            let (at, t) = place(scale, x);
            let far = ((A * (t + 1.0) - 5.0 * A) * (t + 1.0) + 8.0 * A) * (t + 1.0) - 4.0 * A;
            let near = |t: f32| ((A + 2.0) * t - (A + 3.0)) * t * t + 1.0;
            let (before, after) = (near(t), near(1.0 - t));
            let weights = [far, before, after, 1.0 - far - before - after];
            ([-1, 0, 1, 2].map(|i| (at + i).clamp(0, last) as u32), weights)
        };
        let (at, weights) = (0..to).map(tap).unzip();
        Taps { at, weights }
    }
}

impl<const N: usize> Taps<N> {
    /// The weights in steps of 2⁻¹¹, as OpenCV computes with 8 bits.
    pub fn fixed_weights(&self) -> Vec<[i16; N]> {
        let fixed = |w: f32| nearest(w * 2048.0) as i16;
        self.weights.iter().map(|weights| weights.map(fixed)).collect()
    }
}

/// For every pixel of a shorter axis, the pixels that it covers, and how much of it each is.
pub(super) struct Shares {
    /// The first pixel, and where its weight stands; one more than there are pixels.
    starts: Vec<(usize, usize)>,
    weights: Vec<f32>,
}

impl Shares {
    pub fn new(from: usize, to: usize) -> Self {
        /// OpenCV leaves parts of pixels out that are smaller than this.
        const LEAST: f64 = 1e-3;
        let scale = scale(from, to);
        let (mut starts, mut weights) = (Vec::with_capacity(to + 1), Vec::new());
        for x in 0..to {
            let start = x as f64 * scale;
            let end = start + scale;
            let width = scale.min(from as f64 - start);
            let last = end.floor().min(from as f64 - 1.0);
            let first = start.ceil().min(last);
            let before = first - start > LEAST;
            starts.push((first as usize - usize::from(before), weights.len()));
            if before {
                weights.push(((first - start) / width) as f32);
            }
            let wholes = last as usize - first as usize;
            weights.extend(std::iter::repeat_n((1.0 / width) as f32, wholes));
            if end - last > LEAST {
                weights.push(((end - last).min(1.0).min(width) / width) as f32);
            }
        }
        starts.push((from, weights.len()));
        Shares { starts, weights }
    }

    /// The first pixel that pixel `x` covers, and the weights of it and the next ones.
    #[inline(always)]
    pub fn of(&self, x: usize) -> (usize, &[f32]) {
        let (first, start) = self.starts[x];
        (first, &self.weights[start..self.starts[x + 1].1])
    }
}
