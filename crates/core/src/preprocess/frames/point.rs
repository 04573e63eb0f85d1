//! What happens to each pixel by itself.

use serde::{Deserialize, Serialize};

use super::Counted;

/// Brightens (below 1) or darkens (above 1) the middle: `v^gamma`, of the share `v` of the largest
/// sample for 8 and 16 bits, and of `v` itself for f32, where negative samples count as 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gamma {
    /// Above 0.
    pub gamma: f64,
}

impl Gamma {
    /// What becomes of each 8- or 16-bit sample.
    pub fn table<T: Counted>(&self) -> Vec<T> {
        let largest = (T::VALUES - 1) as f64;
        let of = |v: usize| (largest * (v as f64 / largest).powf(self.gamma)) as f32;
        (0..T::VALUES).map(|v| T::rounded(of(v))).collect()
    }

    pub fn of_real(&self, value: f32) -> f32 {
        value.max(0.0).powf(self.gamma as f32)
    }
}
