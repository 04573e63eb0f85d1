use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::percentile::percentiles;
use crate::image::Volume;
use crate::{Error, Result};

/// Samples that one task scales.
const CHUNK: usize = 1 << 16;

/// Brings intensities to a common range.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case")]
pub enum Normalise {
    /// The smallest sample becomes 0, the largest 1.
    MinMax,
    /// The `low`-th percentile becomes 0, the `high`-th 1; what is beyond is clipped.
    Percentile { low: f64, high: f64 },
    /// Mean 0 and standard deviation 1.
    ZScore,
}

impl Normalise {
    pub(super) fn apply(&self, volume: &Volume, name: &str) -> Result<Volume> {
        let constant = || {
            Error::unusable(
                name,
                "all voxels have (nearly) the same value, so there is nothing to align",
                "check that the right series was exported",
            )
        };
        let (low, high) = volume.range();
        let data = &volume.data;
        if high <= low {
            return Err(constant());
        }
        let (zero, one, clip) = match *self {
            Normalise::MinMax => (f64::from(low), f64::from(high), false),
            Normalise::Percentile { low: p, high: q } => {
                let [zero, one] = percentiles(data, [p, q]);
                // A mostly empty image (a small organ on black) may have both percentiles in
                // the background: then its whole range is the contrast there is.
                if one > zero { (zero, one, true) } else { (low.into(), high.into(), true) }
            }
            Normalise::ZScore => {
                let (mean, sd) = mean_and_sd(data);
                (mean, mean + sd, false)
            }
        };
        if !(one - zero).is_normal() {
            return Err(constant());
        }
        let scale = 1.0 / (one - zero);
        let mut out = Volume::filled(volume.geometry.clone(), 0.0);
        let chunks = out.data.par_chunks_mut(CHUNK).zip(data.par_chunks(CHUNK));
        chunks.for_each(|(out, data)| {
            for (out, v) in out.iter_mut().zip(data) {
                let scaled = ((f64::from(*v) - zero) * scale) as f32;
                *out = if clip { scaled.clamp(0.0, 1.0) } else { scaled };
            }
        });
        Ok(out)
    }
}

fn mean_and_sd(data: &[f32]) -> (f64, f64) {
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
        let run = |method: Normalise| method.apply(&volume(data.clone()), "test").unwrap();
        assert_eq!(run(Normalise::MinMax).range(), (0.0, 1.0));
        let clipped = run(Normalise::Percentile { low: 10.0, high: 90.0 });
        assert_eq!(clipped.range(), (0.0, 1.0));
        assert_eq!(clipped.data[10], 0.0);
        // (50² − 10²) / (90² − 10²)
        assert!((clipped.data[50] - 0.3).abs() < 1e-6);
        let (mean, sd) = mean_and_sd(&run(Normalise::ZScore).data);
        assert!(mean.abs() < 1e-6 && (sd - 1.0).abs() < 1e-6);
    }

    #[test]
    fn constant_images_are_refused_and_sparse_ones_are_not() {
        let percentile = Normalise::Percentile { low: 1.0, high: 99.0 };
        let error = percentile.apply(&volume(vec![3.0; 8]), "flat.nii").unwrap_err();
        assert!(error.to_string().starts_with("flat.nii: all voxels"));
        let mut sparse = volume(vec![0.0; 1000]);
        sparse.data[5] = 2.0;
        let sparse = percentile.apply(&sparse, "sparse").unwrap();
        assert_eq!(sparse.range(), (0.0, 1.0));
    }
}
