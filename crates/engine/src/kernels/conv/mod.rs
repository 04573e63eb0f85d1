//! One tile of a convolution: M neighboring positions of one output row × N vectors of output
//! channels, all of it in registers.
//!
//! The input is channels-last, so the values that one row of the kernel touches are contiguous:
//! a *segment*. A tile is a matrix product whose left rows are windows of the input, `step`
//! apart, never copied together (no im2col). Strides, transposed convolutions (one
//! stride-phase at a time), groups and dilations differ only in the segments.
//!
//! [`Layer`] is the direct sum of any convolution, [`Winograd`] a shorter one of many f32
//! convolutions with 3 taps per axis: the same tiles between two transforms.
//!
//! `body.rs` holds the loops, written once against a small set of vector operations; each
//! architecture's file provides those. [`scalar`] is the oracle.

#[cfg(target_arch = "aarch64")]
pub mod aarch64;
pub(in crate::kernels) mod body;
mod layer;
pub mod scalar;
mod transform;
mod winograd;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
pub mod x86;

pub use body::prefetch;
pub use layer::{Layer, Taps, axis, reach, runs};
pub use winograd::Winograd;

use crate::graph::{Activation, LARGEST_SUM};
use crate::{Simd, SimdLevel};
use transform::{ForwardKernel, InverseKernel};

/// Inputs that follow each other: `taps` windows of the tile's `length`, one position's `step`
/// apart. A tile of one vector loads each value once for all taps, which slides the taps over
/// the positions; wider tiles only take 1 tap.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Segment {
    /// From the window's start, in elements.
    pub start: isize,
    /// 1 to 3.
    pub taps: usize,
}

/// An f32 tile. Pointers are to the first position; weights are `[segment][k][tap][N · lanes]`.
#[derive(Clone, Copy)]
pub struct F32Tile<'a> {
    pub input: *const f32,
    /// Elements from one position's window to the next one's.
    pub step: usize,
    pub segments: &'a [Segment],
    /// Elements per segment and tap.
    pub length: usize,
    pub weights: *const f32,
    /// `[N · lanes]`.
    pub bias: *const f32,
    pub output: *mut f32,
    /// Elements from one position's outputs to the next one's.
    pub output_step: usize,
    /// Output channels to store, at most N · lanes.
    pub channels: usize,
    pub activation: Activation,
}

/// Activations are stored as `q ^ OFFSET`: x86 multiplies unsigned by signed bytes, so there
/// a byte holds q + 128.
pub const OFFSET: u8 = if cfg!(target_arch = "x86_64") { 0x80 } else { 0 };

/// What [`OFFSET`] adds to every product's left factor.
pub const OFFSET_VALUE: i32 = OFFSET as i32;

/// An int8 tile: `v = (init + Σ stored · w) · scale + bias`, then the activation.
#[derive(Clone, Copy)]
pub struct I8Tile<'a> {
    /// Stored bytes.
    pub input: *const u8,
    /// Bytes from one position's window to the next one's.
    pub step: usize,
    pub segments: &'a [Segment],
    /// Groups of 4 bytes per segment and tap; weights that fill up the last group are 0.
    pub length: usize,
    /// `[segment][group][tap][N · lanes][4]`.
    pub weights: *const i8,
    /// `[N · lanes]` each: i32 bias minus what zero point and [`OFFSET`] add; then in f32.
    pub init: *const i32,
    pub scale: *const f32,
    pub bias: *const f32,
    pub output: I8Output,
    pub output_step: usize,
    pub channels: usize,
    pub activation: Activation,
}

#[derive(Clone, Copy)]
pub enum I8Output {
    /// v as it is.
    F32(*mut f32),
    /// `q = clamp(round(max(v, lowest)) + zero)`, rounding half to even, stored; `scale` and `bias`
    /// are in units of the output's scale, and so is the activation, see [`Activation::of_codes`].
    Stored { data: *mut u8, zero: i32, lowest: f32 },
}

/// The function for M positions × N vectors.
pub type F32Kernel = unsafe fn(&F32Tile);
pub type I8Kernel = unsafe fn(&I8Tile);

/// The tiles that one SIMD level offers.
#[derive(Clone, Copy)]
pub struct Tiles {
    /// Output channels per vector, for both number formats.
    pub lanes: usize,
    /// `f32[n − 1][m − 1]`.
    pub f32: &'static [&'static [F32Kernel]],
    pub i8: &'static [&'static [I8Kernel]],
    /// Of Winograd's convolution: forward and inverse.
    pub transforms: (ForwardKernel, InverseKernel),
}

impl Tiles {
    pub fn new(simd: Simd) -> Tiles {
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
            _ => scalar::TILES,
        }
    }
}
