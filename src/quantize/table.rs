//! Calibration tables: statistics of a package's activations, never images.

use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Histogram, Range};
use crate::{Error, Result, io};

/// What `calibrate` learned of a package, JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    pub schema: u32,
    /// The package's name.
    pub model: String,
    /// How many pairs were registered, or frames looked at.
    pub cases: usize,
    /// On how many of them the errors were measured.
    pub trials: usize,
    pub graphs: BTreeMap<String, GraphTable>,
}

/// Statistics of one graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphTable {
    /// Of the ONNX file that was calibrated.
    pub sha256: String,
    /// Powers of two that each channel of a tensor is scaled by before all else: the other
    /// figures are of the scaled graph.
    pub exponents: BTreeMap<String, Vec<i32>>,
    /// Magnitudes of all tensors that share a scale, under the name of one of them.
    pub histograms: BTreeMap<String, Histogram>,
    /// Of every layer's input, the mean of each channel.
    pub means: BTreeMap<String, Vec<f32>>,
    /// What int8 does to the graph's heads with each kind of range.
    pub errors: BTreeMap<Range, Errors>,
}

/// Root mean square of the change that int8 makes to a graph's heads, as a share of the head's root
/// mean square; of several heads the root of the mean square. An affine head counts by how far it
/// moves the grid's voxels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Errors {
    /// With every layer in int8.
    pub all: f64,
    /// With one layer in int8, by its name.
    pub alone: BTreeMap<String, f64>,
}

/// Tables of networks for this runtime have some hundred kilobytes.
const LARGEST_FILE: u64 = 1 << 26;

/// The version of the table that this library reads and writes.
pub(super) const SCHEMA: u32 = 1;

impl Table {
    /// # Errors
    /// [`Error::Unreadable`]; [`Error::Malformed`] for a file that is no table.
    pub fn read(path: &Path) -> Result<Self> {
        let wrong = |found: String| {
            let expected = format!("a calibration table of schema {SCHEMA}");
            let advice = "make one with `intraop calibrate`";
            Error::malformed(path, "calibration", expected, found, advice)
        };
        let file = BufReader::new(io::open_regular(path)?.take(LARGEST_FILE));
        let table: Table = serde_json::from_reader(file).map_err(|e| wrong(e.to_string()))?;
        if table.schema != SCHEMA {
            return Err(wrong(format!("schema {}", table.schema)));
        }
        for (graph, statistics) in &table.graphs {
            for (tensor, histogram) in &statistics.histograms {
                if let Some(defect) = histogram.defect() {
                    return Err(wrong(format!("for {tensor} of {graph}: {defect}")));
                }
            }
        }
        Ok(table)
    }

    /// # Errors
    /// [`Error::Unwritable`].
    pub fn write(&self, file: io::Pending) -> Result<()> {
        file.fill(|w| {
            serde_json::to_writer(&mut *w, self)?;
            writeln!(w)
        })
    }
}
