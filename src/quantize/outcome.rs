//! What is asked of a quantization, and what it gives.

use std::collections::BTreeMap;

use super::Range;

/// How to quantize.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    pub range: Range,
    /// The largest change of a graph's heads, as a share of their root mean square: layers stay
    /// f32, the worst first, until the others are expected to cause no more.
    pub largest_error: f64,
}

impl Default for Options {
    /// What docs/quantization.md found best.
    fn default() -> Self {
        Options { range: Range::Mse, largest_error: 0.1 }
    }
}

/// What became of a layer.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerChoice {
    pub graph: String,
    pub layer: String,
    /// The measured change of the graph's heads when this layer alone is int8.
    pub error: f64,
    pub int8: bool,
}

/// The new package.
#[derive(Debug, Clone)]
pub struct Quantized {
    /// Every file of its folder.
    pub files: BTreeMap<String, Vec<u8>>,
    /// In the order they run.
    pub layers: Vec<LayerChoice>,
    /// How far the result is from the golden case, which another engine computed in f32, as a
    /// share of the output's largest value.
    pub golden_difference: f64,
}
