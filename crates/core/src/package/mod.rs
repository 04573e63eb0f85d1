//! A model is a package: a folder, or a tar of it, with a manifest, ONNX graphs and a golden
//! case. This module reads, checks and finds packages; the engine runs them.

mod frame_rules;
mod frames;
mod golden;
mod load;
mod lookup;
mod manifest;

pub use frames::{Measurement, MeasurementKind, Peak, PeakMethod, Region, View};
pub use golden::{GOLDEN_FRAME, GoldenCase, GoldenOutput, golden_input};
pub use load::{LARGEST_FILE, MANIFEST, Package, read_file, sha256};
pub use lookup::{DEMO, find, list};
pub use manifest::*;
