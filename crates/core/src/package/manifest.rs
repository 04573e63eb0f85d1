//! The manifest, `package.toml`: everything the runtime must know about a model. Names follow
//! MONAI's `metadata.json` (`network_data_format`) where it has them. docs/packages.md shows one.

use serde::{Deserialize, Serialize};

use super::frames::{Measurement, Peak, Region, View};
use crate::preprocess::{GridSpec, Step};

/// The manifest's version this library reads and writes.
pub const SCHEMA: u32 = 1;

/// A whole manifest. The shape is the same for every task: what a model computes is said by its
/// graphs' heads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub schema: u32,
    pub name: String,
    pub version: String,
    pub task: Task,
    pub description: String,
    #[serde(default)]
    pub authors: String,
    #[serde(default)]
    pub copyright: String,
    /// SPDX expression of the terms of the weights.
    pub license: String,
    pub intended_use: String,
    #[serde(default)]
    pub data_source: String,
    /// Number format of the weights and activations.
    pub precision: Precision,
    /// Figures the model card explains, by name.
    #[serde(default)]
    pub eval_metrics: std::collections::BTreeMap<String, f64>,
    /// How volumes are laid on the package's grid; packages for frames have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grid: Option<GridSpec>,
    #[serde(default)]
    pub preprocess: Vec<Step>,
    /// In the order they run.
    pub graphs: Vec<Graph>,
    /// Of packages for frames: what counts in which view; empty where everything counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub views: Vec<View>,
    /// Of packages for frames.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measurements: Vec<Measurement>,
    pub golden: Golden,
}

impl Manifest {
    /// All heads of a kind.
    pub(super) fn heads(&self, kind: HeadKind) -> impl Iterator<Item = &Head> {
        self.graphs.iter().flat_map(|g| &g.heads).filter(move |h| h.kind == kind)
    }

    /// The names of what heads of a kind find.
    fn names(&self, kind: HeadKind) -> Vec<&str> {
        self.heads(kind).flat_map(|h| &h.channel_def).map(String::as_str).collect()
    }

    /// The names of all landmarks.
    pub fn landmarks(&self) -> Vec<&str> {
        [HeadKind::Heatmaps, HeadKind::Coordinates].map(|kind| self.names(kind)).concat()
    }

    /// The names of the classes of all masks.
    pub fn masks(&self) -> Vec<&str> {
        self.names(HeadKind::Mask)
    }

    /// The names of the classes of whole frames.
    pub fn classes(&self) -> Vec<&str> {
        self.names(HeadKind::Classes)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    Registration,
    Landmarks,
    Segmentation,
    Classification,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    F32,
    Int8,
}

/// One ONNX file of the package.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Graph {
    pub name: String,
    /// Path inside the package.
    pub file: String,
    /// SHA-256 of the file, lower-case hexadecimal.
    pub sha256: String,
    pub inputs: Vec<Input>,
    pub heads: Vec<Head>,
}

/// One input tensor, `[1, num_channels, spatial_shape…]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The name in the ONNX graph.
    pub name: String,
    pub num_channels: usize,
    /// Tensor order: z, y, x for volumes, y, x for frames.
    pub spatial_shape: Vec<usize>,
    pub dtype: Dtype,
    /// What each channel holds: `fixed` and `moving` (warped by the stages before), or `image`.
    pub channel_def: Vec<String>,
    /// The modality of each channel, as in DICOM: `MR`, `US`, `CT`.
    pub modality: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_range: Option<[f64; 2]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    Float32,
}

/// One output tensor and its meaning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The name in the ONNX graph.
    pub name: String,
    pub kind: HeadKind,
    pub num_channels: usize,
    /// Empty for heads without places: `affine`, `coordinates`, `classes`.
    #[serde(default)]
    pub spatial_shape: Vec<usize>,
    pub dtype: Dtype,
    /// What each channel holds. For `displacement` the axes, each of x, y, z once; for
    /// `heatmaps` the landmarks, for `mask` and `classes` the classes.
    #[serde(default)]
    pub channel_def: Vec<String>,
    /// Of displacements and coordinates: voxels or pixels of the package's grid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units: Option<Units>,
    /// Of heatmaps: how landmarks are found in them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak: Option<Peak>,
    /// Of masks: which pixels count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Units {
    Voxels,
    Pixels,
}

/// What an output means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadKind {
    /// `[1, 3, z, y, x]`: the vector from each fixed voxel to the moving image.
    Displacement,
    /// `[1, 12]`: W (3×3, row by row, axes x, y, z) then b; p ↦ p + W (p − c) + b, c the grid's
    /// center.
    Affine,
    /// `[1, landmarks, y, x]`: about 1 at the landmark, 0 far from it.
    Heatmaps,
    /// `[1, 2 · landmarks]`: x and y of each, in pixels of the input.
    Coordinates,
    /// `[1, classes, y, x]`: logits.
    Mask,
    /// `[1, classes]`: logits.
    Classes,
}

/// The golden case: what another engine computed for a seeded input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// Path inside the package.
    pub file: String,
    pub sha256: String,
}
