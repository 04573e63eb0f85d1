use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::percentile::percentiles;
use crate::image::Volume;
use crate::{Error, Result};

/// Samples that one task scales.
const CHUNK: usize = 1 << 16;

/// Brings intensities to a common range.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case", deny_unknown_fields)]
pub enum Normalize {
    /// The smallest sample becomes 0, the largest 1.
    MinMax,
    /// The `low`-th percentile becomes 0, the `high`-th 1; what is beyond is clipped.
    Percentile { low: f64, high: f64 },
    /// Mean 0 and standard deviation 1.
    ZScore,
    /// The sample `low` becomes 0, `high` 1, whatever the image; what is beyond is clipped.
    Window { low: f64, high: f64 },
}

/// What a method must know of an image's samples.
pub(super) trait Statistics {
    /// Smallest and largest.
    fn range(&self) -> (f64, f64);
    fn percentiles(&self, percents: [f64; 2]) -> [f64; 2];
    fn mean_and_sd(&self) -> (f64, f64);
}

/// What normalizing does to each sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scaling {
    zero: f32,
    factor: f32,
    clip: bool,
}

impl Scaling {
    #[inline(always)]
    pub fn of(&self, sample: f32) -> f32 {
        let scaled = (sample - self.zero) * self.factor;
        if self.clip { scaled.clamp(0.0, 1.0) } else { scaled }
    }
}

impl Normalize {
    /// `samples` is asked only where the method needs to know. `None` for an image whose samples
    /// are all (nearly) the same.
    pub(super) fn scaling<S: Statistics>(&self, samples: impl FnOnce() -> S) -> Option<Scaling> {
        let spread = |samples: &S| Some(samples.range()).filter(|(low, high)| high > low);
        let (zero, one, clip) = match *self {
            Normalize::MinMax => {
                let (low, high) = spread(&samples())?;
                (low, high, false)
            }
            Normalize::Percentile { low, high } => {
                let samples = samples();
                let [zero, one] = samples.percentiles([low, high]);
                // A mostly empty image (a small organ on black) may have both percentiles in
                // the background: then its whole range is the contrast there is.
                let between = Some((zero, one)).filter(|(zero, one)| one > zero);
                let (zero, one) = between.or_else(|| spread(&samples))?;
                (zero, one, true)
            }
            Normalize::ZScore => {
                let samples = samples();
                spread(&samples)?;
                let (mean, sd) = samples.mean_and_sd();
                (mean, mean + sd, false)
            }
            Normalize::Window { low, high } => (low, high, true),
        };
        let (zero, factor) = (zero as f32, (1.0 / (one - zero)) as f32);
        factor.is_normal().then_some(Scaling { zero, factor, clip })
    }

    /// What is wrong with the numbers: of what, what was expected, what was found.
    pub(super) fn defect(&self) -> Option<(&'static str, &'static str, String)> {
        let (expected, low, high) = match *self {
            Normalize::Percentile { low, high } if !(0.0 <= low && low < high && high <= 100.0) => {
                ("0 ≤ low < high ≤ 100", low, high)
            }
            Normalize::Window { low, high } if !(high - low).is_normal() || low > high => {
                ("low < high", low, high)
            }
            _ => return None,
        };
        Some(("normalize low and high", expected, format!("{low} and {high}")))
    }

    pub(super) fn apply(&self, volume: &Volume, name: &str) -> Result<Volume> {
        let scaling = self.scaling(|| volume).ok_or_else(|| {
            Error::unusable(
                name,
                "all voxels have (nearly) the same value, so there is nothing to align",
                "check that the right series was exported",
            )
        })?;
        let mut out = Volume::filled(volume.geometry.clone(), 0.0);
        let chunks = out.data.par_chunks_mut(CHUNK).zip(volume.data.par_chunks(CHUNK));
        chunks.for_each(|(out, data)| {
            for (out, v) in out.iter_mut().zip(data) {
                *out = scaling.of(*v);
            }
        });
        Ok(out)
    }
}

impl Statistics for &Volume {
    fn range(&self) -> (f64, f64) {
        let (low, high) = Volume::range(self);
        (low.into(), high.into())
    }

    fn percentiles(&self, percents: [f64; 2]) -> [f64; 2] {
        percentiles(&self.data, percents)
    }

    fn mean_and_sd(&self) -> (f64, f64) {
        mean_and_sd(&self.data)
    }
}

pub(super) fn mean_and_sd(data: &[f32]) -> (f64, f64) {
    let n = data.len() as f64;
    let mean = data.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    let variance = data.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n;
    (mean, variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Geometry;

    fn volume(data: Vec<f32>) -> Volume {
        Volume::new(Geometry::new([data.len(), 1, 1], [1.0; 3]), data)
    }

    #[test]
    fn every_method_reaches_its_range() {
        let data: Vec<f32> = (0..=100).map(|v| (v * v) as f32).collect();
        let run = |method: Normalize| method.apply(&volume(data.clone()), "test").unwrap();
        assert_eq!(run(Normalize::MinMax).range(), (0.0, 1.0));
        let clipped = run(Normalize::Percentile { low: 10.0, high: 90.0 });
        assert_eq!(clipped.range(), (0.0, 1.0));
        assert_eq!(clipped.data[10], 0.0);
        // (50² − 10²) / (90² − 10²)
        assert!((clipped.data[50] - 0.3).abs() < 1e-6);
        let (mean, sd) = mean_and_sd(&run(Normalize::ZScore).data);
        assert!(mean.abs() < 1e-6 && (sd - 1.0).abs() < 1e-6);
    }

    #[test]
    fn constant_images_are_refused_and_sparse_ones_are_not() {
        let percentile = Normalize::Percentile { low: 1.0, high: 99.0 };
        let error = percentile.apply(&volume(vec![3.0; 8]), "flat.nii").unwrap_err();
        assert!(error.to_string().starts_with("flat.nii: all voxels"));
        let mut sparse = volume(vec![0.0; 1000]);
        sparse.data[5] = 2.0;
        let sparse = percentile.apply(&sparse, "sparse").unwrap();
        assert_eq!(sparse.range(), (0.0, 1.0));
    }
}
