//! How good a result is: overlap of labels, distance of surfaces and landmarks, agreement of
//! measurements, confusion of classes, similarity of intensities, regularity of a field. Same input,
//! same bits, at any thread count.

mod agreement;
mod confusion;
mod curve;
mod landmarks;
mod overlap;
mod regularity;
mod similarity;
pub mod statistics;
mod surface;

pub use agreement::{Agreement, agreement};
pub use confusion::Confusion;
pub use curve::ErrorCurve;
pub use landmarks::{FrameError, LandmarkErrors, frame_error, landmark_errors};
pub use overlap::{dice, jaccard, mean};
pub use regularity::{Regularity, max_displacement_mm, regularity};
pub use similarity::ncc;
pub use surface::hd95;

use crate::image::LabelMap;
use crate::{Error, Result};

fn require_same_grid(a: &LabelMap, b: &LabelMap) -> Result<()> {
    if a.geometry.same_grid(&b.geometry) {
        return Ok(());
    }
    let (a, b) = (&a.geometry, &b.geometry);
    let problem = if a.to_string() == b.to_string() {
        format!("expected one grid, found two at different places or orientations ({a})")
    } else {
        format!("expected one grid, found {a} and {b}")
    };
    Err(Error::unusable("label maps", problem, "resample one onto the other's grid"))
}
