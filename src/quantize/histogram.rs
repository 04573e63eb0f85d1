//! How often each magnitude of a tensor occurs.

use serde::{Deserialize, Serialize};

/// Bins between 0 and the power of two above the largest magnitude: at least four to a step of
/// int8 at full range.
const BINS: usize = 1024;

/// Counts of |x|. Bins are a power of two wide and reach to the first power of two above the
/// largest magnitude, so that the histogram of many tensors does not depend on their order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Histogram {
    /// The largest magnitude.
    max: f32,
    /// Values that are exactly 0, as half of a ReLU's are; any scale keeps them.
    zeros: u64,
    /// The other values by magnitude, up to the bin of `max`.
    counts: Vec<u64>,
}

impl Histogram {
    /// Counts finite values.
    pub fn add(&mut self, values: &[f32]) {
        let max = values.iter().fold(self.max, |m, v| m.max(v.abs()));
        if max == 0.0 {
            self.zeros += values.len() as u64;
            return;
        }
        self.grow(max);
        let per_width = 1.0 / self.width();
        for value in values {
            match *value {
                0.0 => self.zeros += 1,
                v => self.counts[(f64::from(v.abs()) * per_width) as usize] += 1,
            }
        }
    }

    /// Makes room for `max`: bins twice as wide hold the sum of two neighbors.
    fn grow(&mut self, max: f32) {
        let doublings = if self.max == 0.0 { 0 } else { exponent(max) - exponent(self.max) };
        for _ in 0..doublings {
            self.counts = self.counts.chunks(2).map(|pair| pair.iter().sum()).collect();
        }
        self.max = max;
        let bins = (f64::from(max) / self.width()) as usize + 1;
        self.counts.resize(bins, 0);
    }

    /// Of a bin.
    fn width(&self) -> f64 {
        2f64.powi(exponent(self.max)) / BINS as f64
    }

    /// What no histogram made here can be, for tables from elsewhere.
    pub(super) fn defect(&self) -> Option<String> {
        if !self.max.is_finite() || self.max < 0.0 {
            return Some(format!("max {}", self.max));
        }
        let bins = match self.max {
            0.0 => 0,
            max => (f64::from(max) / self.width()) as usize + 1,
        };
        let total = self.counts.iter().try_fold(self.zeros, |sum, n| sum.checked_add(*n));
        match total {
            Some(1..) if self.counts.len() == bins => None,
            _ => Some(format!("{} bins, total {total:?}", self.counts.len())),
        }
    }

    pub fn max(&self) -> f32 {
        self.max
    }

    /// How many values were counted.
    pub fn total(&self) -> u64 {
        self.zeros + self.counts.iter().sum::<u64>()
    }

    /// The bins that hold values other than 0: (upper end, count), the last ends at `max`.
    pub fn bins(&self) -> impl DoubleEndedIterator<Item = (f64, u64)> + '_ {
        let (width, max) = (self.width(), f64::from(self.max));
        let bins = self.counts.iter().enumerate();
        bins.map(move |(i, n)| (((i + 1) as f64 * width).min(max), *n))
    }
}

/// The e for which 2^(e−1) ≤ `v` < 2^e.
fn exponent(v: f32) -> i32 {
    // Magnitudes below the smallest normal number have no scale of their own.
    (v.max(f32::MIN_POSITIVE).to_bits() >> 23) as i32 - 126
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_tensors_does_not_matter() {
        let tensors: [&[f32]; 4] =
            [&[0.0, 0.1, -0.25], &[7.9, -0.003], &[0.0], &[1.0, -2.0, 4.0, 3.999]];
        let mut forth = Histogram::default();
        let mut back = Histogram::default();
        tensors.iter().for_each(|t| forth.add(t));
        tensors.iter().rev().for_each(|t| back.add(t));
        assert_eq!(forth, back);
        assert_eq!((forth.total(), forth.zeros, forth.max()), (10, 2, 7.9));
        assert_eq!(forth.defect(), None);
    }

    #[test]
    fn bins_hold_what_numpy_counts() {
        // numpy.histogram(abs(x), 1024, (0, 4)) of x = -3.5, -3.0, …, 3.5
        let x: Vec<f32> = (-7..=7).map(|i| i as f32 / 2.0).collect();
        let mut h = Histogram::default();
        h.add(&x);
        assert_eq!((h.zeros, h.counts.len()), (1, 897));
        let filled: Vec<(usize, u64)> =
            h.counts.iter().copied().enumerate().filter(|(_, n)| *n > 0).collect();
        let expected = [(128, 2), (256, 2), (384, 2), (512, 2), (640, 2), (768, 2), (896, 2)];
        assert_eq!(filled, expected);
        assert_eq!(h.bins().last(), Some((3.5, 2)));
    }

    #[test]
    fn only_zeros_have_no_range() {
        let mut h = Histogram::default();
        h.add(&[0.0; 5]);
        assert_eq!((h.total(), h.max(), h.bins().count(), h.defect()), (5, 0.0, 0, None));
        h.add(&[-1e-42]);
        assert_eq!((h.total(), h.defect()), (6, None));
    }
}
