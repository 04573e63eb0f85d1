//! Convolutions to few channels, such as the 3 of a displacement field: with channels in lanes
//! most of a vector would be idle, so the lanes run along the inputs instead, and are added up
//! at the end.
//!
//! A tile is [`POSITIONS`] neighbouring positions × up to 4 channels × up to 2 phases of a
//! transposed convolution, which are interleaved as they are stored.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod body;
mod layer;
pub mod scalar;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use layer::{DotLayer, Target};

use super::conv::{Activation, I8Output};
use crate::engine::{Level, Simd};

/// Positions of a tile.
pub const POSITIONS: usize = 8;

/// Output channels that a tile can have at most.
pub const CHANNELS: usize = 4;

/// One tile. The sum of each output runs over segments of contiguous inputs; in int8 inputs are
/// stored bytes and weights i8.
#[derive(Clone, Copy)]
pub struct DotTile<'a, T, W> {
    pub input: *const T,
    /// Elements from one position's window to the next one's.
    pub step: usize,
    /// Where segments start, in elements from the window's start.
    pub segments: &'a [isize],
    /// Elements per segment.
    pub length: usize,
    /// `[phase][segment][channel][padded]`, 0 beyond `length`.
    pub weights: *const W,
    /// `length` rounded up to whole vectors.
    pub padded: usize,
    pub phases: usize,
    /// From the first phase's segments to the second one's, in elements.
    pub shift: isize,
    /// Per phase and channel: i32 start, only for int8; factor, 1 for f32; what is added.
    pub tables: &'a [[(i32, f32, f32); CHANNELS]; 2],
    pub output: I8Output,
    /// From one channel to the next, and from one of all phases' positions to the next.
    pub channel_step: usize,
    pub position_step: usize,
    /// Positions to store, at most [`POSITIONS`].
    pub positions: usize,
    pub activation: Activation,
}

pub type F32Dot<'a> = DotTile<'a, f32, f32>;
pub type I8Dot<'a> = DotTile<'a, u8, i8>;

/// The tiles of one SIMD level, by number of channels − 1.
#[derive(Clone, Copy)]
pub struct Dots {
    /// Elements per vector.
    pub f32_width: usize,
    pub i8_width: usize,
    pub f32: [unsafe fn(&F32Dot); CHANNELS],
    pub i8: [unsafe fn(&I8Dot); CHANNELS],
}

impl Dots {
    pub fn new(simd: Simd) -> Dots {
        match simd.level() {
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => x86::AVX2,
            #[cfg(target_arch = "x86_64")]
            Level::AvxVnni => x86::AVX_VNNI,
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => x86::AVX512,
            #[cfg(target_arch = "x86_64")]
            Level::Vnni => x86::VNNI,
            #[cfg(target_arch = "aarch64")]
            Level::Neon => aarch64::NEON,
            #[cfg(target_arch = "aarch64")]
            Level::DotProd => aarch64::DOT_PROD,
            _ => scalar::DOTS,
        }
    }
}
