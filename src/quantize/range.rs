//! From a histogram to the largest magnitude that int8 keeps.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Histogram;
use crate::{Error, Result};

/// The largest code of symmetric int8; −128 is not used, so that the range has a middle.
pub(super) const LARGEST: f64 = 127.0;

/// The share of values that [`Range::Percentile`] keeps.
const KEPT: f64 = 0.9999;

/// How the range of an activation is chosen; what lies beyond is clipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Range {
    /// Everything that was seen.
    MinMax,
    /// 99.99 % of the values.
    Percentile,
    /// The least mean squared error of rounding and clipping together.
    Mse,
    /// The least Kullback–Leibler divergence between the values' distribution and its int8
    /// image (S. Migacz, 8-bit inference with TensorRT, GTC 2017).
    Entropy,
}

impl Range {
    pub const ALL: [Range; 4] = [Range::MinMax, Range::Percentile, Range::Mse, Range::Entropy];

    /// As `--range` and calibration tables write it.
    pub fn name(self) -> &'static str {
        match self {
            Range::MinMax => "min-max",
            Range::Percentile => "percentile",
            Range::Mse => "mse",
            Range::Entropy => "entropy",
        }
    }

    /// The scale of symmetric int8, the real value of one code; 1 where every value was 0.
    pub fn scale(self, histogram: &Histogram) -> f32 {
        let threshold = match self {
            Range::MinMax => f64::from(histogram.max()),
            Range::Percentile => percentile(histogram),
            Range::Mse => least_squares(histogram),
            Range::Entropy => least_divergence(histogram),
        };
        let scale = (threshold / LARGEST) as f32;
        // A subnormal scale has no reciprocal.
        if scale < f32::MIN_POSITIVE { 1.0 } else { scale }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Range {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Range::ALL.into_iter().find(|r| r.name() == name).ok_or_else(|| Error::Option {
            option: "range".into(),
            expected: Range::ALL.map(Range::name).join(", "),
            found: name.into(),
        })
    }
}

fn percentile(histogram: &Histogram) -> f64 {
    let mut beyond = ((1.0 - KEPT) * histogram.total() as f64).round();
    for (end, count) in histogram.bins().rev() {
        if count as f64 > beyond {
            return end;
        }
        beyond -= count as f64;
    }
    f64::from(histogram.max())
}

/// Minimizes over t: (values within t) · s²/12 + Σ over the rest (|x| − t)², s = t / 127. The
/// first term is the error of rounding values that spread evenly within a step.
fn least_squares(histogram: &Histogram) -> f64 {
    let bins: Vec<(f64, f64)> = middles(histogram);
    let total: f64 = bins.iter().map(|(_, n)| n).sum();
    let mut best = (f64::INFINITY, f64::from(histogram.max()));
    // Count, first and second moment of what lies beyond t.
    let (mut n, mut first, mut second) = (0.0, 0.0, 0.0);
    for ((end, _), (middle, count)) in histogram.bins().rev().zip(bins.iter().rev()) {
        let clipping = second - 2.0 * end * first + end * end * n;
        let error = (total - n) * (end / LARGEST).powi(2) / 12.0 + clipping;
        if error < best.0 {
            best = (error, end);
        }
        n += count;
        first += count * middle;
        second += count * middle * middle;
    }
    best.1
}

/// (middle, count) of every bin.
fn middles(histogram: &Histogram) -> Vec<(f64, f64)> {
    let mut start = 0.0;
    let middle = |(end, count): (f64, u64)| {
        let middle = (start + end) / 2.0;
        start = end;
        (middle, count as f64)
    };
    histogram.bins().map(middle).collect()
}

fn least_divergence(histogram: &Histogram) -> f64 {
    let bins: Vec<(f64, u64)> = histogram.bins().collect();
    let counts: Vec<f64> = bins.iter().map(|(_, n)| *n as f64).collect();
    let mut beyond = 0.0;
    let mut best = (f64::INFINITY, f64::from(histogram.max()));
    for kept in (LARGEST as usize + 1..=bins.len()).rev() {
        let divergence = divergence(&counts[..kept], beyond);
        if divergence < best.0 {
            best = (divergence, bins[kept - 1].0);
        }
        beyond += counts[kept - 1];
    }
    best.1
}

/// KL divergence of the bins, where what lies `beyond` is clipped into the last, from the same
/// bins after they were merged to 128 levels and spread out again over those that are not empty.
fn divergence(counts: &[f64], beyond: f64) -> f64 {
    let levels = LARGEST as usize + 1;
    let total: f64 = counts.iter().sum();
    let mut divergence = 0.0;
    for level in 0..levels {
        let [start, end] = [level, level + 1].map(|l| l * counts.len() / levels);
        let bins = &counts[start..end];
        let filled = bins.iter().filter(|n| **n > 0.0).count();
        let spread = bins.iter().sum::<f64>() / filled.max(1) as f64 / total;
        for (i, count) in bins.iter().enumerate() {
            let clipped = if start + i + 1 == counts.len() { beyond } else { 0.0 };
            let p = (count + clipped) / (total + beyond);
            if p > 0.0 {
                // An empty last bin that clipping fills has no image: as unlikely as one value.
                let q = if *count > 0.0 { spread } else { 1.0 / total };
                divergence += p * (p / q).ln();
            }
        }
    }
    divergence
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values at the quantiles of a distribution, both signs.
    fn histogram(quantile: impl Fn(f64) -> f64) -> Histogram {
        const N: usize = 200_000;
        let mut h = Histogram::default();
        let values: Vec<f32> = (0..N)
            .map(|i| {
                let sign = if i % 2 == 0 { 1.0 } else { -1.0 };
                (sign * quantile((i as f64 + 0.5) / N as f64)) as f32
            })
            .collect();
        h.add(&values);
        h
    }

    fn threshold(range: Range, h: &Histogram) -> f64 {
        f64::from(range.scale(h)) * LARGEST
    }

    #[test]
    fn an_even_distribution_is_kept_whole() {
        let h = histogram(|p| 3.0 * p);
        for range in Range::ALL {
            let t = threshold(range, &h);
            assert!((t - 3.0).abs() < 0.02, "{range}: {t}");
        }
        assert_eq!(threshold(Range::MinMax, &h) as f32, h.max());
    }

    #[test]
    fn laplace_is_clipped_where_the_closed_form_says() {
        // |x| is exponential with mean 1. The error t²/(12·127²)·(1 − e^−t) + 2 e^−t is least at
        // 9.8823 (found on a grid with numpy); the 99.99 % quantile is −ln 1e-4.
        let h = histogram(|p| -(1.0 - p).ln());
        let mse = threshold(Range::Mse, &h);
        assert!((mse - 9.8823).abs() < 0.05, "{mse}");
        let percentile = threshold(Range::Percentile, &h);
        assert!((percentile - 1e4f64.ln()).abs() < 0.05, "{percentile}");
        // The textbook's loops in numpy find 10.359; onnxruntime's calibrator, whose bins are twice
        // as wide, 10.08.
        let entropy = threshold(Range::Entropy, &h);
        assert!((entropy - 10.359).abs() < 0.02, "{entropy}");
    }

    #[test]
    fn an_outlier_is_clipped_but_by_min_max() {
        let mut h = histogram(|p| p);
        h.add(&[50.0]);
        assert_eq!(threshold(Range::MinMax, &h) as f32, 50.0);
        assert!(threshold(Range::Percentile, &h) < 1.1);
        // t²/(12·127²) + (50 − t)²/200001 is least at 50 / (1 + 200001/(12·127²)).
        let mse = threshold(Range::Mse, &h);
        assert!((mse - 24.59).abs() < 0.1, "{mse}");
    }

    #[test]
    fn without_values_the_scale_is_one() {
        let mut h = Histogram::default();
        h.add(&[0.0; 3]);
        assert!(Range::ALL.iter().all(|r| r.scale(&h) == 1.0));
    }
}
