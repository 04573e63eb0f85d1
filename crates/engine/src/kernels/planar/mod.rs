//! Convolutions to few channels, such as the 3 of a displacement field: with channels in lanes
//! most of a vector would be idle, so neighboring positions are in lanes instead.
//!
//! For that the input's rows are first turned from channels-last into planar ones, `[group][x]`.
//! A group is one 32-bit lane: an f32 channel, or 4 int8 channels that a dot product takes
//! together. Each row serves all the output rows of a block that read it, and is turned once.
//!
//! A tile is a few vectors of positions × the output channels × the two phases along x of a
//! transposed convolution of stride 2, which are interleaved as they are stored.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod body;
mod layer;
mod scalar;
mod target;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use layer::PlanarLayer;
pub use target::Target;

use std::ops::Range;

use crate::graph::Activation;
use crate::{Simd, SimdLevel};

/// Output channels that a tile can have at most.
const CHANNELS: usize = 4;

/// The most positions that a kernel may span along an axis: of so many rows and planes a thread
/// keeps planar copies.
const SPAN: usize = 16;

/// Groups that are turned into planar rows together.
const GROUPS: usize = 4;

/// What of an input row becomes planar.
#[derive(Clone, Copy)]
struct Strip {
    from: *const u8,
    /// Bytes from one position to the next one.
    step: usize,
    positions: usize,
    /// Whole [`GROUPS`] are read and written: up to 15 bytes after a position's channels.
    groups: usize,
    to: *mut u32,
    /// From one group's row to the next one's.
    pitch: usize,
}

/// `v = (start + Σ input · weight) · factor + bias` of one output channel and phase; `start` only
/// for int8, and a factor of 1 for f32.
#[derive(Debug, Clone, Copy, Default)]
struct Table {
    start: i32,
    factor: f32,
    bias: f32,
}

/// One tile; its kernel says how many vectors, channels and phases.
#[derive(Clone, Copy)]
struct Tile<'a> {
    input: *const u32,
    /// Where the planar rows of each tap along z and y start, in lanes from `input`.
    rows: &'a [usize],
    /// The taps along x that belong to all phases, to the first one alone, to the second one
    /// alone: how many positions each is further on.
    shifts: [&'a [usize]; 3],
    groups: usize,
    pitch: usize,
    /// `[row][group][shift][phase][channel]`, of the phases that a shift belongs to.
    weights: *const u32,
    /// `[phase][channel]`.
    tables: &'a [[Table; CHANNELS]; 2],
    activation: Activation,
    /// What will be turned next: a tile fetches up to a cache line per group that it reads.
    ahead: &'a Range<*const u8>,
    /// Phases interleaved; always whole vectors.
    output: *mut f32,
    /// From one channel to the next.
    channel_step: usize,
}

type Kernel = unsafe fn(&Tile);

/// By phases − 1, channels − 1, then the logarithm of the number of vectors: 1, 2 or 4 of them,
/// as many as the registers hold the sums of.
type Kernels = [[&'static [Kernel]; CHANNELS]; 2];

/// What one SIMD level offers.
#[derive(Clone, Copy)]
struct Planar {
    lanes: usize,
    turn: unsafe fn(&Strip),
    f32: Kernels,
    i8: Kernels,
}

impl Planar {
    fn new(simd: Simd) -> Planar {
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
            _ => scalar::PLANAR,
        }
    }
}
