//! What happens to a volume between a file and a network: intensities by the manifest's list
//! ([`Step`]), then sampling on the package's grid ([`GridSpec`]). Training uses the same code.

mod grid;
mod lattice;
mod normalise;
mod percentile;
mod smooth;

pub use grid::{Fit, GridSpec, Initial, Orientation, centre_of_mass, sample_into, sample_on};
pub(crate) use lattice::on_voxel;
pub use normalise::Normalise;
pub use smooth::gaussian;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::image::Volume;

/// One entry of a manifest's `preprocess` list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Step {
    Normalise(Normalise),
}

/// Runs the manifest's list on a volume. `name` is what an error calls the image.
///
/// # Errors
/// [`Error::Unusable`](crate::Error::Unusable) when the image is constant, so that there is no
/// contrast to bring to a range.
pub fn run(steps: &[Step], volume: &Volume, name: &str) -> Result<Volume> {
    let mut out = Cow::Borrowed(volume);
    for step in steps {
        out = Cow::Owned(match step {
            Step::Normalise(normalise) => normalise.apply(&out, name)?,
        });
    }
    Ok(out.into_owned())
}
