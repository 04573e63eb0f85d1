//! Voxel by voxel: sums, per-channel scales, activations, number formats, copies.

use rayon::prelude::*;

use super::conv::OFFSET;
use super::rows::{
    activate_row, add_row, affine_row, dequantize_row, lookup_row, quantize_row, real,
};
use super::{Image, Memory};
use crate::Simd;
use crate::graph::Activation;

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
        let length = self.to.size[2] * self.to.channels;
        (0..self.to.rows()).into_par_iter().with_min_len(4).for_each_init(
            || [vec![0.0f32; length], vec![0.0f32; length]],
            |scratch, row| {
                // SAFETY: the row is this task's; the images are the plan's and apart.
                unsafe {
                    match &table {
                        _ if copy => self.bytes(memory, row, <[u8]>::copy_from_slice),
                        Some(table) => {
                            self.bytes(memory, row, |to, from| lookup_row(from, to, table));
                        }
                        None => self.compute(memory, row, scratch),
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
                *to_byte = super::conv::scalar::quantized(v / to.scale, to.zero);
            }
            table
        })
    }

    /// `work(to, from)` on the bytes of a row, in as long runs as the images allow.
    unsafe fn bytes(&self, memory: Memory, row: usize, work: impl Fn(&mut [u8], &[u8])) {
        let (from, to) = (&self.from[0], &self.to);
        let bytes = to.channels * to.element();
        let dense = from.dense() && to.dense();
        let (runs, length) = if dense { (1, bytes * to.size[2]) } else { (to.size[2], bytes) };
        for x in 0..runs {
            let start = from.row(row) + x * from.stride[2];
            let end = to.row(row) + x * to.stride[2];
            unsafe { work(memory.row_mut(end, length), memory.row(start, length)) }
        }
    }

    unsafe fn compute(&self, memory: Memory, row: usize, scratch: &mut [Vec<f32>; 2]) {
        let [values, other] = scratch;
        unsafe { load(memory, self.simd, &self.from[0], row, values) }
        match &self.kind {
            MapKind::Copy => (),
            MapKind::Add => {
                unsafe { load(memory, self.simd, &self.from[1], row, other) }
                add_row(self.simd, values, other);
            }
            MapKind::Scale { factor, shift } => affine_row(self.simd, values, factor, shift),
        }
        activate_row(self.simd, values, self.activation);
        unsafe { store(memory, self.simd, &self.to, row, values) }
    }
}

/// The real values of a row of voxels.
///
/// # Safety
/// The row is inside the image, which nobody writes now.
pub unsafe fn load(memory: Memory, simd: Simd, image: &Image, row: usize, to: &mut [f32]) {
    let length = if image.dense() { to.len() } else { image.channels };
    for (x, to) in to.chunks_exact_mut(length).enumerate() {
        let start = image.row(row) + x * image.stride[2];
        unsafe {
            match image.quant {
                None => to.copy_from_slice(memory.row(start, length)),
                Some(q) => dequantize_row(simd, memory.row(start, length), to, q),
            }
        }
    }
}

/// Writes the real values of a row of voxels.
///
/// # Safety
/// The row is inside the image, and nobody else uses it now.
pub unsafe fn store(memory: Memory, simd: Simd, image: &Image, row: usize, from: &[f32]) {
    let length = if image.dense() { from.len() } else { image.channels };
    for (x, from) in from.chunks_exact(length).enumerate() {
        let start = image.row(row) + x * image.stride[2];
        unsafe {
            match image.quant {
                None => memory.row_mut(start, length).copy_from_slice(from),
                Some(q) => quantize_row(simd, from, memory.row_mut(start, length), q),
            }
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
