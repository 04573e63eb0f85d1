//! A model is a package: a folder, or a tar of it, with a manifest, ONNX graphs and a golden
//! case. This module reads, checks and finds packages; the engine runs them.

mod frames;
mod golden;
mod load;
mod lookup;
mod manifest;

pub use frames::{Measurement, MeasurementKind, Peak, PeakMethod, Region, View};
pub use golden::{GoldenCase, GoldenOutput, golden_input};
#[cfg(feature = "import")]
pub(crate) use load::{LARGEST_FILE, read_file};
pub use load::{MANIFEST, Package, sha256};
pub use lookup::{DEMO, find, list};
pub use manifest::*;
