//! Pictures by which a person judges a result.

mod canvas;
mod color;
mod findings;
mod overlay;
mod picture;
mod plane;
mod preview;

pub use findings::{findings_overlay, measured};
pub use picture::{Picture, Rgb};
pub use preview::{Preview, registration_preview, write_png};
