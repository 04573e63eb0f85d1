//! Voxel by voxel: sums, per-channel scales, activations, number formats, copies.

use rayon::prelude::*;

use super::conv::{Activation, OFFSET};
use super::rows::{add_row, affine_row, dequantize_row, lookup_row, quantize_row};
use super::{Image, Memory};
use crate::engine::Simd;
use crate::engine::graph::Quant;

#[derive(Debug, Clone, PartialEq)]
pub enum MapKind {
    /// The first image's values.
    Copy,
    /// The two images' sums.
    Add,
    /// `x · factor + shift`, per channel.
    Scale { factor: Vec<f32>, shift: Vec<f32> },
}

/// `to = activation(kind(from…))`, from any number format to any.
#[derive(Debug, Clone)]
pub struct Map {
    pub kind: MapKind,
    pub from: Vec<Image>,
    pub to: Image,
    pub activation: Activation,
    pub simd: Simd,
}

impl Map {
    pub fn run(&self, memory: Memory) {
        let table = self.table();
        let copy = self.kind == MapKind::Copy
            && self.activation == Activation::NONE
            && self.from[0].quant == self.to.quant;
        // Voxels whose channels are contiguous in every image make one run per row.
        let dense = self.to.dense() && self.from.iter().all(Image::dense);
        let (width, channels) = (self.to.size[2], self.to.channels);
        let (runs, length) = if dense { (1, width * channels) } else { (width, channels) };
        (0..self.to.rows()).into_par_iter().with_min_len(4).for_each_init(
            || [vec![0.0f32; length], vec![0.0f32; length]],
            |scratch, row| {
                for x in 0..runs {
                    // SAFETY: the row is this task's; the images are the plan's and apart.
                    unsafe {
                        match &table {
                            _ if copy => self.copy(memory, row, x, length),
                            Some(table) => self.lookup(memory, row, x, length, table),
                            None => self.compute(memory, row, x, scratch),
                        }
                    }
                }
            },
        );
    }

    /// int8 to int8 of one image has 256 cases.
    fn table(&self) -> Option<[u8; 256]> {
        let (from, to) = (self.from[0].quant?, self.to.quant?);
        (self.kind == MapKind::Copy).then(|| {
            let mut table = [0; 256];
            for (stored, to_byte) in (0..=255u8).zip(&mut table) {
                let q = i32::from((stored ^ OFFSET) as i8) - from.zero;
                let v = self.activation.apply(q as f32 * from.scale);
                *to_byte = super::conv::scalar::quantised(v / to.scale, to.zero);
            }
            table
        })
    }

    unsafe fn copy(&self, memory: Memory, row: usize, x: usize, length: usize) {
        let (from, to) = (&self.from[0], &self.to);
        let bytes = length * to.element();
        let from = from.row(row) + x * from.stride[2];
        let to = to.row(row) + x * to.stride[2];
        unsafe { memory.row_mut::<u8>(to, bytes).copy_from_slice(memory.row(from, bytes)) }
    }

    unsafe fn lookup(
        &self,
        memory: Memory,
        row: usize,
        x: usize,
        length: usize,
        table: &[u8; 256],
    ) {
        let (from, to) = (&self.from[0], &self.to);
        let from = from.row(row) + x * from.stride[2];
        let to = to.row(row) + x * to.stride[2];
        unsafe { lookup_row(memory.row(from, length), memory.row_mut(to, length), table) }
    }

    unsafe fn compute(&self, memory: Memory, row: usize, x: usize, scratch: &mut [Vec<f32>; 2]) {
        let [values, other] = scratch;
        unsafe { load(memory, self.simd, &self.from[0], row, x, values) }
        match &self.kind {
            MapKind::Copy => (),
            MapKind::Add => {
                unsafe { load(memory, self.simd, &self.from[1], row, x, other) }
                add_row(self.simd, values, other);
            }
            MapKind::Scale { factor, shift } => affine_row(self.simd, values, factor, shift),
        }
        let start = self.to.row(row) + x * self.to.stride[2];
        let n = values.len();
        unsafe {
            match self.to.quant {
                None => {
                    let to: &mut [f32] = memory.row_mut(start, n);
                    to.copy_from_slice(values);
                    super::rows::activate_row(self.simd, to, self.activation);
                }
                Some(q) => {
                    super::rows::activate_row(self.simd, values, self.activation);
                    quantize_row(self.simd, values, memory.row_mut(start, n), q);
                }
            }
        }
    }
}

/// The real values of a run of voxels.
///
/// # Safety
/// The run is inside the image, which nobody writes now.
unsafe fn load(memory: Memory, simd: Simd, image: &Image, row: usize, x: usize, to: &mut [f32]) {
    let start = image.row(row) + x * image.stride[2];
    unsafe {
        match image.quant {
            None => to.copy_from_slice(memory.row(start, to.len())),
            Some(q) => dequantize_row(simd, memory.row(start, to.len()), to, q),
        }
    }
}

/// One value as a real number.
///
/// # Safety
/// The voxel at byte `at` is inside the image.
#[inline(always)]
pub unsafe fn value(memory: Memory, image: &Image, at: usize, channel: usize) -> f32 {
    unsafe {
        match image.quant {
            None => *memory.at::<f32>(at + 4 * channel),
            Some(q) => real(*memory.at::<u8>(at + channel), q),
        }
    }
}

#[inline(always)]
pub fn real(stored: u8, q: Quant) -> f32 {
    (i32::from((stored ^ OFFSET) as i8) - q.zero) as f32 * q.scale
}
