//! Pictures by which a person judges a result.

mod canvas;
mod colour;
mod findings;
mod overlay;
mod plane;
mod preview;

pub use findings::{findings_overlay, measured};
pub use preview::{Preview, registration_preview, write_png};
