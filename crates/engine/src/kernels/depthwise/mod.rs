//! Depthwise convolutions: every output channel reads one input channel, so with channels in lanes
//! a tap is one vector multiply-add. In int8 a dot product takes four taps of each channel, which
//! are brought side by side on the way.
//!
//! A tile is M neighboring positions of an output row × one vector of channels in f32, four in
//! int8. It is described as those of other convolutions are ([`F32Tile`], [`I8Tile`]), by segments of
//! 1 channel. In f32 each is one tap; in int8 four rows of taps go together, each of up to 3 taps
//! that slide over the positions: what is brought side by side serves all of them. Stride, dilation
//! and the number of axes only change where segments start.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod body;
mod layer;
mod scalar;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use layer::DepthwiseLayer;

use super::conv::{F32Kernel, I8Kernel};
#[cfg(doc)]
use super::conv::{F32Tile, I8Tile};
use crate::{Simd, SimdLevel};

/// Rows of taps that an int8 kernel takes together, vectors of a tile's channels, and neighboring
/// channels of a vector.
const FOUR: usize = 4;

/// What one SIMD level offers, by the number of positions − 1.
#[derive(Clone, Copy)]
struct Depthwise {
    /// Channels per vector, for both number formats.
    lanes: usize,
    /// Weights are `[tap][lane]`.
    f32: &'static [F32Kernel],
    /// Whole fours of rows; weights are `[four of rows][tap][vector][lane][row]`, tables
    /// `[vector][lane]`. Which channel a lane has, [`channel`] says.
    i8: &'static [I8Kernel],
}

/// The channel of a tile that a lane of one of its four vectors computes: bytes are brought side by
/// side within 16 bytes, the same in each of a wide vector's.
#[inline(always)]
fn channel(vector: usize, lane: usize) -> usize {
    16 * (lane / FOUR) + FOUR * vector + lane % FOUR
}

impl Depthwise {
    fn new(simd: Simd) -> Depthwise {
        match simd.level() {
            #[cfg(target_arch = "x86_64")]
            SimdLevel::Avx2 => x86::AVX2,
            #[cfg(target_arch = "x86_64")]
            SimdLevel::AvxVnni => x86::AVX_VNNI,
            #[cfg(target_arch = "x86_64")]
            SimdLevel::Avx512 => x86::AVX512,
            #[cfg(target_arch = "x86_64")]
            SimdLevel::Vnni => x86::VNNI,
            #[cfg(target_arch = "aarch64")]
            SimdLevel::Neon => aarch64::NEON,
            #[cfg(target_arch = "aarch64")]
            SimdLevel::DotProd => aarch64::DOT_PROD,
            _ => scalar::DEPTHWISE,
        }
    }
}
