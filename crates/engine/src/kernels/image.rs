//! Images in the arena.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rayon::prelude::*;

use super::conv::OFFSET;
use crate::graph::Quant;

/// Memory for all intermediate images of a run, which plans take in turn: there are as many arenas
/// as ever ran at once, each as large as the largest plan asked for.
#[derive(Clone, Default)]
pub struct Arenas(Arc<Mutex<Vec<Arena>>>);

/// In cache lines.
type Arena = Vec<[u64; 8]>;

impl Arenas {
    /// Runs `work` with an arena of at least so many bytes, of any content.
    pub fn lend<R>(&self, bytes: usize, work: impl FnOnce(Memory) -> R) -> R {
        // Not locked while it is in use: a thread that waits for others in a run may begin another.
        let mut arena = self.free().pop().unwrap_or_default();
        if arena.len() * 64 < bytes {
            drop(arena);
            arena = vec![[0; 8]; bytes.div_ceil(64)];
        }
        if cfg!(debug_assertions) {
            // No run may read what it has not written: as floats these are no numbers.
            arena.fill([u64::MAX; 8]);
        }
        let memory = Memory { base: arena.as_mut_ptr().cast(), bytes: arena.len() * 64 };
        let result = work(memory);
        self.free().push(arena);
        result
    }

    fn free(&self) -> MutexGuard<'_, Vec<Arena>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pointer to the arena that the threads of one step share.
#[derive(Clone, Copy)]
pub struct Memory {
    base: *mut u8,
    bytes: usize,
}

// SAFETY: within a step every thread writes rows of its own, of an image that no thread reads.
unsafe impl Send for Memory {}
unsafe impl Sync for Memory {}

impl Memory {
    pub fn at<T>(self, offset: usize) -> *mut T {
        debug_assert!(offset < self.bytes && offset.is_multiple_of(size_of::<T>()));
        self.base.wrapping_add(offset).cast()
    }

    /// # Safety
    /// The row is inside the arena and nobody writes it meanwhile.
    pub unsafe fn row<'a, T>(self, offset: usize, len: usize) -> &'a [T] {
        debug_assert!(offset + len * size_of::<T>() <= self.bytes);
        unsafe { std::slice::from_raw_parts(self.at(offset), len) }
    }

    /// # Safety
    /// The row is inside the arena and nobody else uses it meanwhile.
    pub unsafe fn row_mut<'a, T>(self, offset: usize, len: usize) -> &'a mut [T] {
        debug_assert!(offset + len * size_of::<T>() <= self.bytes);
        unsafe { std::slice::from_raw_parts_mut(self.at(offset), len) }
    }
}

/// Where an image lies in the arena: channels-last, maybe beside the channels of others (so
/// that a Concat needs no copy), in a bordered box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Image {
    /// Of the first voxel's first channel, in bytes.
    pub origin: usize,
    /// From one voxel to the next along z, y, x, in bytes.
    pub stride: [usize; 3],
    pub channels: usize,
    pub size: [usize; 3],
    pub quant: Option<Quant>,
}

impl Image {
    /// Bytes of a channel's value.
    pub fn element(&self) -> usize {
        if self.quant.is_some() { 1 } else { 4 }
    }

    pub fn at(&self, [z, y, x]: [usize; 3]) -> usize {
        self.origin + z * self.stride[0] + y * self.stride[1] + x * self.stride[2]
    }

    /// Rows of voxels, (z, y) by number.
    pub fn rows(&self) -> usize {
        self.size[0] * self.size[1]
    }

    pub fn row(&self, number: usize) -> usize {
        self.at([number / self.size[1], number % self.size[1], 0])
    }

    /// The voxels of a row, and the elements from one to the next. Between them may lie other
    /// images' channels.
    ///
    /// # Safety
    /// The row is inside the arena, of elements of this size, and nobody writes it meanwhile.
    pub unsafe fn voxels<'a, T>(&self, memory: Memory, row: usize) -> (&'a [T], usize) {
        let step = self.stride[2] / size_of::<T>();
        let length = (self.size[2] - 1) * step + self.channels;
        unsafe { (memory.row(self.row(row), length), step) }
    }

    /// # Safety
    /// As [`Image::voxels`], and nobody else uses the row, or what lies between its voxels,
    /// meanwhile.
    pub unsafe fn voxels_mut<'a, T>(&self, memory: Memory, row: usize) -> (&'a mut [T], usize) {
        let step = self.stride[2] / size_of::<T>();
        let length = (self.size[2] - 1) * step + self.channels;
        unsafe { (memory.row_mut(self.row(row), length), step) }
    }

    /// Are a voxel's channels all that lies between it and the next voxel?
    pub fn dense(&self) -> bool {
        self.stride[2] == self.channels * self.element()
    }
}

/// The border of a bordered box of voxels: it holds what stands for zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Border {
    /// Of the whole box.
    pub origin: usize,
    /// Of one voxel.
    pub bytes: usize,
    /// Without the border; z, y, x.
    pub size: [usize; 3],
    pub before: [usize; 3],
    pub after: [usize; 3],
    pub fill: u8,
}

impl Border {
    /// The byte that stands for 0.
    pub fn fill(quant: Option<Quant>) -> u8 {
        quant.map_or(0, |q| q.zero as i8 as u8 ^ OFFSET)
    }

    pub fn full(&self) -> [usize; 3] {
        [0, 1, 2].map(|a| self.before[a] + self.size[a] + self.after[a])
    }

    /// Fills the border; what is inside stays.
    pub fn write(&self, memory: Memory) {
        if self.before == [0; 3] && self.after == [0; 3] {
            return;
        }
        let [depth, height, width] = self.full();
        let row = width * self.bytes;
        (0..depth).into_par_iter().for_each(|z| {
            let inside_z = (self.before[0]..self.before[0] + self.size[0]).contains(&z);
            for y in 0..height {
                let start = self.origin + (z * height + y) * row;
                let inside = (self.before[1]..self.before[1] + self.size[1]).contains(&y);
                // SAFETY: each z is one thread's, and the box is the plan's.
                let row: &mut [u8] = unsafe { memory.row_mut(start, row) };
                if inside_z && inside {
                    row[..self.before[2] * self.bytes].fill(self.fill);
                    row[(self.before[2] + self.size[2]) * self.bytes..].fill(self.fill);
                } else {
                    row.fill(self.fill);
                }
            }
        });
    }
}
