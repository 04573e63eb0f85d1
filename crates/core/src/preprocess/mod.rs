//! What happens to an image between a file and a network, by the manifest's list ([`Step`]). For
//! a volume intensities, then sampling on the package's grid ([`GridSpec`]); for a frame
//! everything ([`frames`]). Training uses the same code.

pub mod frames;
mod grid;
mod lattice;
mod normalize;
mod percentile;
mod smooth;

pub(crate) use frames::defect;
pub use grid::{Fit, GridSpec, Initial, Orientation, center_of_mass, sample_into, sample_on};
pub(crate) use lattice::on_voxel;
pub use normalize::Normalize;
pub use smooth::gaussian;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use self::frames::{Clahe, Crop, Gamma, Gaussian, Pad, Resize};
use crate::image::Volume;
use crate::{Error, Result};

/// One entry of a manifest's `preprocess` list. Volumes can only be normalized.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Step {
    #[serde(alias = "normalise")]
    Normalize(Normalize),
    /// Colors to gray. Must be first; does nothing to gray frames.
    Grayscale,
    /// For 8 and 16 bits: before `Normalize`.
    Clahe(Clahe),
    Gamma(Gamma),
    Resize(Resize),
    Crop(Crop),
    Pad(Pad),
    Gaussian(Gaussian),
}

/// Runs the manifest's list on a volume. `name` is what an error calls the image.
///
/// # Errors
/// [`Error::Unusable`] when the image is constant, so that there is no contrast to bring to a
/// range, and for steps that only frames can be put through.
pub fn run(steps: &[Step], volume: &Volume, name: &str) -> Result<Volume> {
    let mut out = Cow::Borrowed(volume);
    for step in steps {
        out = Cow::Owned(match step {
            Step::Normalize(normalize) => normalize.apply(&out, name)?,
            _ => {
                let problem = format!("the package's step {step:?} is for frames, not volumes");
                return Err(Error::unusable(name, problem, "use another package, or a frame"));
            }
        });
    }
    Ok(out.into_owned())
}
