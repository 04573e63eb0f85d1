//! Statistics of a frame's samples.

use super::counted::{Counted, total};
use crate::image::Frame;
use crate::preprocess::normalise::{Statistics, mean_and_sd};
use crate::preprocess::percentile::percentiles;

impl Statistics for &Frame<f32> {
    fn range(&self) -> (f64, f64) {
        let none = (f32::MAX, f32::MIN);
        let (low, high) = self.data.iter().fold(none, |(a, b), v| (a.min(*v), b.max(*v)));
        (low.into(), high.into())
    }

    fn percentiles(&self, percents: [f64; 2]) -> [f64; 2] {
        percentiles(&self.data, percents)
    }

    fn mean_and_sd(&self) -> (f64, f64) {
        mean_and_sd(&self.data)
    }
}

/// How often each sample occurs, in ascending order.
pub(super) struct Histogram {
    bins: Vec<(f64, u64)>,
    samples: u64,
}

impl Histogram {
    /// Of the frame's samples as `value`, which keeps their order, makes them.
    pub fn new<T: Counted>(frame: &Frame<T>, value: impl Fn(usize) -> f32) -> Self {
        let mut counters = vec![0; T::SETS * T::VALUES];
        T::count(&frame.data, &mut counters);
        let counters = total(&mut counters, T::VALUES);
        let present = counters.iter().enumerate().filter(|(_, n)| **n > 0);
        let bins = present.map(|(v, n)| (f64::from(value(v)), u64::from(*n))).collect();
        Histogram { bins, samples: frame.data.len() as u64 }
    }

    /// The sample of a rank, from 0.
    fn ranked(&self, rank: u64) -> f64 {
        let mut before = 0;
        let reaches = |(_, n): &&(f64, u64)| {
            before += n;
            before > rank
        };
        self.bins.iter().find(reaches).map_or(f64::NAN, |(value, _)| *value)
    }

    fn mean(&self, of: impl Fn(f64) -> f64) -> f64 {
        self.bins.iter().map(|(v, n)| of(*v) * *n as f64).sum::<f64>() / self.samples as f64
    }
}

impl Statistics for Histogram {
    fn range(&self) -> (f64, f64) {
        (self.ranked(0), self.ranked(self.samples - 1))
    }

    /// With linear interpolation between ranks (numpy's default).
    fn percentiles(&self, percents: [f64; 2]) -> [f64; 2] {
        percents.map(|percent| {
            let rank = percent.clamp(0.0, 100.0) / 100.0 * (self.samples - 1) as f64;
            let [at, next] = [rank.floor(), rank.ceil()].map(|rank| self.ranked(rank as u64));
            at + rank.fract() * (next - at)
        })
    }

    fn mean_and_sd(&self) -> (f64, f64) {
        let mean = self.mean(|v| v);
        (mean, self.mean(|v| (v - mean) * (v - mean)).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_knows_what_the_samples_do() {
        let data: Vec<u8> = (0..997usize).map(|i| (i * i % 251) as u8).collect();
        let frame = Frame::new(997, 1, data);
        let floats = frame.with(frame.data.iter().map(|v| f32::from(*v)).collect());
        let histogram = Histogram::new(&frame, |v| v as f32);
        assert_eq!(histogram.range(), (&floats).range());
        let percents = [1.5, 99.0];
        assert_eq!(histogram.percentiles(percents), (&floats).percentiles(percents));
        let ((mean, sd), expected) = (histogram.mean_and_sd(), (&floats).mean_and_sd());
        assert!((mean - expected.0).abs() < 1e-10 && (sd - expected.1).abs() < 1e-10);
    }
}
