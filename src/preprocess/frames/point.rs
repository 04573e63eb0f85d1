//! What happens to each pixel by itself.

use serde::{Deserialize, Serialize};

/// Brightens (below 1) or darkens (above 1) the middle: `v^gamma`, of the share `v` of the largest
/// sample for 8 and 16 bits, and of `v` itself for f32, where negative samples count as 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gamma {
    /// Above 0.
    pub gamma: f64,
}

impl Gamma {
    /// What becomes of the whole number `value` of at most `largest`.
    pub fn of_whole(&self, value: usize, largest: usize) -> f32 {
        let largest = largest as f64;
        (largest * (value as f64 / largest).powf(self.gamma)) as f32
    }

    pub fn of_real(&self, value: f32) -> f32 {
        value.max(0.0).powf(self.gamma as f32)
    }
}
