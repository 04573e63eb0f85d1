//! Operations that gather voxels: pooling and resizing.

use std::ops::Range;

use rayon::prelude::*;

use super::map::value;
use super::rows::{Ordered, max_along, max_voxels};
use super::{Image, Memory};
use crate::Simd;
use crate::graph::{Pool, Resize};

#[derive(Debug, Clone, PartialEq)]
pub struct PoolStep {
    pub pool: Pool,
    pub from: Image,
    pub to: Image,
    pub simd: Simd,
}

impl PoolStep {
    pub fn run(&self, memory: Memory) {
        match (self.pool.max, self.to.quant) {
            (true, Some(_)) => self.largest::<u8>(memory),
            (true, None) => self.largest::<f32>(memory),
            (false, _) => self.means(memory),
        }
    }

    /// The part inside the image of the window of an output's place along an axis; never empty,
    /// as pads are smaller than kernels.
    fn window(&self, a: usize, at: usize) -> Range<usize> {
        let start = at * self.pool.stride[a];
        let end = (start + self.pool.kernel[a]).saturating_sub(self.pool.before[a]);
        start.saturating_sub(self.pool.before[a])..end.min(self.from.size[a])
    }

    /// Across the rows of a window first, all of their voxels together, then along the row.
    fn largest<T: Ordered>(&self, memory: Memory) {
        let (from, to) = (&self.from, &self.to);
        let channels = to.channels;
        let along: Vec<_> = (0..to.size[2]).map(|x| self.window(2, x)).collect();
        let length = from.size[2] * channels;
        (0..to.rows()).into_par_iter().for_each_init(
            || vec![T::LOWEST; length],
            |rows, row| {
                let (zs, ys) = (self.window(0, row / to.size[1]), self.window(1, row % to.size[1]));
                rows.fill(T::LOWEST);
                for (z, y) in zs.flat_map(|z| ys.clone().map(move |y| (z, y))) {
                    // SAFETY: inside the image, which nobody writes now.
                    let row = unsafe { from.voxels::<T>(memory, z * from.size[1] + y) };
                    max_voxels(self.simd, rows, row, channels);
                }
                // SAFETY: the row is this task's alone, and apart from what is read. What lies
                // between its voxels stays as it is.
                let row = unsafe { to.voxels_mut::<T>(memory, row) };
                max_along(self.simd, rows, &along, row, channels);
            },
        );
    }

    fn means(&self, memory: Memory) {
        let to = &self.to;
        (0..to.rows()).into_par_iter().for_each(|row| {
            let at = [row / to.size[1], row % to.size[1]];
            for x in 0..to.size[2] {
                let [zs, ys, xs] = [(0, at[0]), (1, at[1]), (2, x)].map(|(a, i)| self.window(a, i));
                let places = zs.flat_map(|z| {
                    let xs = xs.clone();
                    ys.clone().flat_map(move |y| xs.clone().map(move |x| self.from.at([z, y, x])))
                });
                for c in 0..to.channels {
                    // SAFETY: the row is this task's; the images are the plan's and apart.
                    unsafe { self.mean(memory, to.at([at[0], at[1], x]), c, places.clone()) }
                }
            }
        });
    }

    unsafe fn mean(
        &self,
        memory: Memory,
        to: usize,
        c: usize,
        places: impl Iterator<Item = usize> + Clone,
    ) {
        let whole = self.pool.kernel.iter().product();
        let n = if self.pool.count_padding { whole } else { places.clone().count() };
        unsafe {
            // A whole channel's mean has too many terms for a sum in f32.
            let sum: f64 = places.map(|at| f64::from(value(memory, &self.from, at, c))).sum();
            *memory.at::<f32>(to + 4 * c) = (sum / n as f64) as f32;
        }
    }
}

/// Twice the size along every axis (not along z for frames).
#[derive(Debug, Clone, PartialEq)]
pub struct ResizeStep {
    pub mode: Resize,
    pub from: Image,
    pub to: Image,
}

/// The two neighbors of a position of the doubled axis, and the share of the second.
fn neighbors(at: usize, n: usize, doubled: bool) -> (usize, usize, f32) {
    if !doubled {
        return (at, at, 0.0);
    }
    let i = at / 2;
    if at.is_multiple_of(2) {
        (i.saturating_sub(1), i, 0.75)
    } else {
        (i, (i + 1).min(n - 1), 0.25)
    }
}

impl ResizeStep {
    pub fn run(&self, memory: Memory) {
        let (from, to) = (&self.from, &self.to);
        let doubled = [0, 1, 2].map(|a| to.size[a] != from.size[a]);
        (0..to.rows()).into_par_iter().with_min_len(4).for_each(|row| {
            let [z, y] = [row / to.size[1], row % to.size[1]];
            for x in 0..to.size[2] {
                let at = [z, y, x];
                let start = to.at(at);
                // SAFETY: the row is this task's; the images are the plan's and apart.
                unsafe {
                    match self.mode {
                        Resize::Nearest => {
                            let near = [0, 1, 2].map(|a| at[a] / (1 + usize::from(doubled[a])));
                            let bytes = to.channels * to.element();
                            let source = memory.row::<u8>(from.at(near), bytes);
                            memory.row_mut(start, bytes).copy_from_slice(source);
                        }
                        Resize::Linear => {
                            let sides =
                                [0, 1, 2].map(|a| neighbors(at[a], from.size[a], doubled[a]));
                            self.linear(memory, start, sides);
                        }
                    }
                }
            }
        });
    }

    unsafe fn linear(&self, memory: Memory, start: usize, sides: [(usize, usize, f32); 3]) {
        let n = self.to.channels;
        let voxel = |z, y, x| unsafe { memory.row::<f32>(self.from.at([z, y, x]), n) };
        let [(z0, z1, tz), (y0, y1, ty), (x0, x1, tx)] = sides;
        let corners = [
            [voxel(z0, y0, x0), voxel(z0, y0, x1), voxel(z0, y1, x0), voxel(z0, y1, x1)],
            [voxel(z1, y0, x0), voxel(z1, y0, x1), voxel(z1, y1, x0), voxel(z1, y1, x1)],
        ];
        let to = unsafe { memory.row_mut::<f32>(start, n) };
        for (c, to) in to.iter_mut().enumerate() {
            let lerp = |a: f32, b: f32, t: f32| a + t * (b - a);
            let plane =
                |p: &[&[f32]; 4]| lerp(lerp(p[0][c], p[1][c], tx), lerp(p[2][c], p[3][c], tx), ty);
            *to = lerp(plane(&corners[0]), plane(&corners[1]), tz);
        }
    }
}
