//! Golden cases: inputs from a seed, outputs from another engine. They prove that this build on
//! this machine computes what the trainer saw.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Manifest;
use crate::image::{Affine, Geometry, Pixels};
use crate::phantom::Pair;
use crate::preprocess::GridSpec;
use crate::preprocess::frames::FramePipeline;
use crate::{Error, Result, phantom, preprocess};
use intraop_engine::Simd;

/// Width and height of the phantom frame that packages for frames are given.
pub const GOLDEN_FRAME: [usize; 2] = [800, 600];

/// The golden file, JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenCase {
    /// Every graph gets the phantom pair of this seed on the package's grid, or the phantom frame,
    /// preprocessed.
    pub phantom_seed: u64,
    /// The engine that computed the outputs, with its version; never this runtime.
    pub engine: String,
    /// Largest accepted difference, as a share of the output's largest absolute value.
    pub tolerance: f64,
    /// By graph, then by head.
    pub outputs: BTreeMap<String, BTreeMap<String, GoldenOutput>>,
}

/// A regular sample of an output tensor: elements 0, `stride`, 2·`stride`, … in memory order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenOutput {
    pub len: usize,
    pub stride: usize,
    pub values: Vec<f32>,
    /// Largest absolute value of the whole tensor.
    pub largest: f32,
}

impl GoldenOutput {
    /// Keeps at most about `keep` elements of `tensor`.
    pub fn sample(tensor: &[f32], keep: usize) -> Self {
        // A prime-like odd stride would be no better: flows are smooth, any stride sees them.
        let stride = tensor.len().div_ceil(keep).max(1);
        GoldenOutput {
            len: tensor.len(),
            stride,
            values: tensor.iter().copied().step_by(stride).collect(),
            largest: tensor.iter().fold(0.0, |m, v| m.max(v.abs())),
        }
    }

    /// Largest difference to `tensor` as a share of `largest`; infinite when the lengths differ
    /// or a value is not a number.
    pub fn difference(&self, tensor: &[f32]) -> f64 {
        let sampled = tensor.iter().step_by(self.stride.max(1));
        if tensor.len() != self.len || sampled.len() != self.values.len() {
            return f64::INFINITY;
        }
        let scale = f64::from(self.largest).max(1e-6);
        let worst = sampled.zip(&self.values).fold(0.0f64, |worst, (a, b)| {
            let d = f64::from((a - b).abs());
            if d.is_nan() { f64::INFINITY } else { worst.max(d) }
        });
        worst / scale
    }
}

/// The input of a package's golden case, `[1, channels, spatial_shape…]`, made by the manifest's
/// own preprocessing: of a package for volumes the phantom pair of the seed on its grid, of one for
/// frames the phantom frame.
///
/// # Errors
/// [`Error::Unusable`] for a manifest whose preprocessing does not make what its first graph takes,
/// and those of [`preprocess::run`] and [`FramePipeline`].
pub fn golden_input(manifest: &Manifest, seed: u64) -> Result<Vec<f32>> {
    let input = &manifest.graphs[0].inputs[0];
    match (&manifest.grid, &input.spatial_shape[..]) {
        (Some(spec), [z, y, x]) => pair(manifest, spec, [*x, *y, *z], seed),
        (None, [y, x]) => frame(manifest, [*x, *y], seed),
        (_, shape) => {
            let problem = format!("no golden input for {shape:?}");
            Err(Error::unusable(&manifest.name, problem, "correct spatial_shape and [grid]"))
        }
    }
}

fn pair(manifest: &Manifest, spec: &GridSpec, size: [usize; 3], seed: u64) -> Result<Vec<f32>> {
    let geometry = Geometry::new(size, spec.spacing_mm);
    // All else of the pair, several times as large, is freed here.
    let Pair { fixed, moving, .. } =
        phantom::pair(seed, &phantom::Options { geometry, ..Default::default() });
    let grid = spec.lay_on(size, &fixed.geometry);
    let mut tensor = vec![0.0; 2 * grid.voxels()];
    for (channel, volume) in tensor.chunks_mut(grid.voxels()).zip([fixed, moving]) {
        let ready = preprocess::run(&manifest.preprocess, &volume, "golden phantom")?;
        preprocess::sample_into(channel, &grid, &ready, &Affine::identity());
    }
    Ok(tensor)
}

fn frame(manifest: &Manifest, size: [usize; 2], seed: u64) -> Result<Vec<f32>> {
    let (phantom, _) = phantom::frame(seed, GOLDEN_FRAME[0], GOLDEN_FRAME[1]);
    let pipeline = FramePipeline::new(&manifest.preprocess, Simd::detect())?;
    let made = pipeline.run(&Pixels::Gray8(phantom), "golden phantom")?.frame;
    if made.size() != size {
        let problem =
            format!("its preprocess makes {:?} pixels, its graph takes {size:?}", made.size());
        return Err(Error::unusable(&manifest.name, problem, "add resize and pad to the list"));
    }
    Ok(made.data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_relative_and_never_hide_nan() {
        let tensor: Vec<f32> = (0..100).map(|i| i as f32 - 50.0).collect();
        let golden = GoldenOutput::sample(&tensor, 30);
        assert_eq!((golden.stride, golden.values.len(), golden.largest), (4, 25, 50.0));
        assert_eq!(golden.difference(&tensor), 0.0);
        let mut other = tensor.clone();
        other[4] += 0.5;
        assert!((golden.difference(&other) - 0.01).abs() < 1e-6);
        other[4] = f32::NAN;
        assert_eq!(golden.difference(&other), f64::INFINITY);
        assert_eq!(golden.difference(&tensor[1..]), f64::INFINITY);
    }
}
