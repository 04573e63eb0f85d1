//! Statistics of a frame's samples.

use super::counted::{Counted, total};
use crate::image::Frame;
use crate::preprocess::normalize::{Statistics, mean_and_sd};
use crate::preprocess::percentile::percentiles;
use intraop_engine::Simd;

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

/// A frame of 8 or 16 bits as `value`, which never falls where the sample rises, makes it.
pub(super) struct Mapped<'a, T, F> {
    pub simd: Simd,
    pub frame: &'a Frame<T>,
    pub value: F,
}

impl<T: Counted, F: Fn(usize) -> f32> Mapped<'_, T, F> {
    /// The values that occur, ascending, and how often.
    fn histogram(&self) -> Vec<(f64, u64)> {
        let mut counters = vec![0; T::SETS * T::VALUES];
        T::count(&self.frame.data, &mut counters);
        let counters = total(&mut counters, T::VALUES);
        let present = counters.iter().enumerate().filter(|(_, n)| **n > 0);
        present.map(|(v, n)| (f64::from((self.value)(v)), u64::from(*n))).collect()
    }
}

impl<T: Counted, F: Fn(usize) -> f32> Statistics for Mapped<'_, T, F> {
    fn range(&self) -> (f64, f64) {
        let (low, high) = T::range(self.simd, &self.frame.data);
        let value = |v: T| f64::from((self.value)(v.into()));
        (value(low), value(high))
    }

    /// With linear interpolation between ranks (numpy's default).
    fn percentiles(&self, percents: [f64; 2]) -> [f64; 2] {
        let histogram = self.histogram();
        let ranked = |rank: f64| {
            let mut before = 0;
            let reaches = |(_, n): &&(f64, u64)| {
                before += n;
                before > rank as u64
            };
            histogram.iter().find(reaches).map_or(f64::NAN, |(value, _)| *value)
        };
        percents.map(|percent| {
            let rank = percent.clamp(0.0, 100.0) / 100.0 * (self.frame.data.len() - 1) as f64;
            let [at, next] = [ranked(rank.floor()), ranked(rank.ceil())];
            at + rank.fract() * (next - at)
        })
    }

    fn mean_and_sd(&self) -> (f64, f64) {
        let histogram = self.histogram();
        let mean_of = |of: &dyn Fn(f64) -> f64| {
            let sum = histogram.iter().map(|(v, n)| of(*v) * *n as f64).sum::<f64>();
            sum / self.frame.data.len() as f64
        };
        let mean = mean_of(&|v| v);
        (mean, mean_of(&|v| (v - mean) * (v - mean)).sqrt())
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
        let mapped = Mapped { simd: Simd::detect(), frame: &frame, value: |v| v as f32 };
        assert_eq!(mapped.range(), (&floats).range());
        let percents = [1.5, 99.0];
        assert_eq!(mapped.percentiles(percents), (&floats).percentiles(percents));
        let ((mean, sd), expected) = (mapped.mean_and_sd(), (&floats).mean_and_sd());
        assert!((mean - expected.0).abs() < 1e-10 && (sd - expected.1).abs() < 1e-10);
    }
}
