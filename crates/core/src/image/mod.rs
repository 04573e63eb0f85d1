//! Pixels with their place in the world. Knows no file.

mod affine;
mod ellipse;
mod frame;
mod frame_transform;
mod geometry;
mod interpolate;
mod volume;

pub use affine::Affine;
pub use ellipse::Ellipse;
pub use frame::{Frame, Pixels, is_pixel_size};
pub use frame_transform::FrameTransform;
pub use geometry::Geometry;
pub use interpolate::{Lerp, Trilinear, inside};
pub use volume::{Field, LabelMap, Volume};
