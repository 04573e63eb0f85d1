//! Where the results go.

use super::CHANNELS;
use crate::Simd;
use crate::graph::Quant;
use crate::kernels::rows::quantize_row;
use crate::kernels::{Image, Memory};

/// The most values of one channel of a tile: of phases, vectors and lanes.
pub const ROW: usize = 2 * 4 * 16;

/// A tile's values, per channel.
pub type Values = [[f32; ROW]; CHANNELS];

/// An image, or an output of the graph.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    Image(Image),
    /// An output of the graph, one plane per channel; z, y, x.
    Output {
        number: usize,
        size: [usize; 3],
    },
}

/// Planes of the graph's outputs that rows of different tasks share.
#[derive(Clone, Copy)]
pub struct Planes(pub *mut f32);
// SAFETY: every task writes rows of its own.
unsafe impl Send for Planes {}
unsafe impl Sync for Planes {}

impl Target {
    pub fn quant(self) -> Option<Quant> {
        match self {
            Target::Image(image) => image.quant,
            Target::Output { .. } => None,
        }
    }

    /// Puts the first `count` values of each channel from a place on, along x.
    ///
    /// # Safety
    /// The place is inside, and nobody else uses what is written.
    pub unsafe fn place(
        self,
        memory: Memory,
        planes: Planes,
        simd: Simd,
        at: [usize; 3],
        count: usize,
        channels: &[[f32; ROW]],
    ) {
        let mut bytes = [0u8; ROW];
        for (c, values) in channels.iter().enumerate() {
            let values = &values[..count];
            match self {
                Target::Output { size: [d, h, w], .. } => {
                    let to = ((c * d + at[0]) * h + at[1]) * w + at[2];
                    let to = planes.0.wrapping_add(to);
                    unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), to, count) }
                }
                Target::Image(to) => {
                    let start = to.at(at) + c * to.element();
                    match to.quant {
                        None => unsafe { scatter(memory, start, to.stride[2], values) },
                        Some(q) => {
                            // The values are in units of the scale already.
                            let bytes = &mut bytes[..count];
                            quantize_row(simd, values, bytes, Quant { scale: 1.0, ..q });
                            unsafe { scatter(memory, start, to.stride[2], bytes) }
                        }
                    }
                }
            }
        }
    }
}

/// # Safety
/// As [`Target::place`].
unsafe fn scatter<T: Copy>(memory: Memory, start: usize, step: usize, values: &[T]) {
    for (x, v) in values.iter().enumerate() {
        unsafe { *memory.at::<T>(start + x * step) = *v }
    }
}
