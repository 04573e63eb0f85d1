//! Pictures by which a person judges a result.

mod canvas;
mod colour;
mod overlay;
mod plane;
mod preview;

pub use preview::{Preview, registration_preview, write_png};
