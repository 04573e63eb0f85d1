//! The inner loops of the networks, and the steps made of them.
//!
//! Images lie channels-last in one arena, each with a border wide enough for the convolutions
//! that read it (see [`Image`]), so that no kernel asks where the edge is.
//!
//! The only part of the engine with `unsafe` code: kernels take pointers into the arena, whose
//! bounds the plan's layout guarantees, and use vector instructions, whose presence
//! [`super::Simd`] proves.

#![allow(unsafe_code)]

mod blocks;
pub mod conv;
pub mod depthwise;
mod image;
mod map;
mod norm;
mod pack;
pub mod planar;
mod pool;
mod rows;

pub use image::{Arenas, Border, Image, Memory};
pub use map::{Map, MapKind};
pub use norm::Norm;
pub use pack::{Pack, Unpack};
pub use pool::{PoolStep, ResizeStep};
