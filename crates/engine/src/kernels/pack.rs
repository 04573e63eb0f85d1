//! Between the caller's tensors (one plane per channel) and images (channels-last).

use rayon::prelude::*;

use super::conv::scalar::quantized;
use super::rows::{interleave, interleave_stored};
use super::{Image, Memory};
use crate::Simd;

/// A graph's input becomes an image, quantized on the way if the image is.
#[derive(Debug, Clone)]
pub struct Pack {
    /// Which of the graph's inputs.
    pub input: usize,
    pub to: Image,
    pub simd: Simd,
}

impl Pack {
    pub fn run(&self, memory: Memory, inputs: &[&[f32]]) {
        let (from, to) = (inputs[self.input], &self.to);
        let (width, plane) = (to.size[2], to.size.iter().product::<usize>());
        (0..to.rows()).into_par_iter().with_min_len(8).for_each(|row| {
            let channel = |c: usize| &from[c * plane + row * width..][..width];
            let start = to.row(row);
            // SAFETY: the row is this task's, and the image is the plan's.
            unsafe {
                if to.channels == 2 && to.dense() {
                    self.pair(channel(0), channel(1), memory, start);
                } else {
                    for c in 0..to.channels {
                        self.channel(channel(c), memory, start + c * to.element());
                    }
                }
            }
        });
    }

    /// Two channels, all that the voxels hold.
    unsafe fn pair(&self, a: &[f32], b: &[f32], memory: Memory, start: usize) {
        let n = 2 * a.len();
        unsafe {
            match self.to.quant {
                None => interleave(self.simd, a, b, memory.row_mut(start, n)),
                Some(q) => {
                    let to = memory.row_mut(start, n);
                    interleave_stored(self.simd, a, b, to, q);
                }
            }
        }
    }

    unsafe fn channel(&self, from: &[f32], memory: Memory, start: usize) {
        let step = self.to.stride[2] / self.to.element();
        for (x, v) in from.iter().enumerate() {
            unsafe {
                match self.to.quant {
                    None => *memory.at::<f32>(start).add(x * step) = *v,
                    Some(q) => {
                        let stored = quantized(*v / q.scale, q.zero);
                        *memory.at::<u8>(start).add(x * step) = stored;
                    }
                }
            }
        }
    }
}

/// An f32 image becomes an output of the graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Unpack {
    pub from: Image,
    /// Which of the graph's outputs.
    pub output: usize,
}

impl Unpack {
    pub fn run(&self, memory: Memory, output: &mut [f32]) {
        let from = &self.from;
        let (width, height) = (from.size[2], from.size[1]);
        let plane = from.size[0] * height * width;
        output.par_chunks_mut(width).enumerate().with_min_len(8).for_each(|(row, to)| {
            let (c, row) = (row * width / plane, row % (height * from.size[0]));
            let start = from.row(row) + 4 * c;
            for (x, to) in to.iter_mut().enumerate() {
                // SAFETY: inside the image, which nobody writes now.
                *to = unsafe { *memory.at::<f32>(start + x * from.stride[2]) };
            }
        });
    }
}
