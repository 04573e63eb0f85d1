//! What happens to a 2-D frame between a file and a network. Each operation has a file or folder;
//! every SIMD level gives the same bits. [`FramePipeline`] runs a manifest's list, and refuses what
//! the operations by themselves expect: frames with pixels, and steps that make sense.

mod clahe;
mod counted;
mod cut;
mod gaussian;
mod grayscale;
mod listed;
mod lookup;
mod pipeline;
mod point;
mod resize;
mod sample;
mod values;

pub use clahe::{Clahe, MOST_TILES};
pub use counted::Counted;
pub use cut::{Crop, Pad};
pub use gaussian::{Gaussian, Smoothed, WIDEST};
pub use grayscale::{Channel, grayscale};
pub(crate) use pipeline::defect;
pub use pipeline::{FramePipeline, MOST_PIXELS, Prepared};
pub use point::Gamma;
pub use resize::{Interpolation, Resizable, Resize};
pub use sample::Sample;

#[cfg(test)]
mod tests;
