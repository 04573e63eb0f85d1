//! Operations that gather voxels: pooling and resizing.

use rayon::prelude::*;

use super::conv::OFFSET;
use super::map::value;
use super::{Image, Memory};
use crate::engine::graph::{Pool, Resize};

#[derive(Debug, Clone, PartialEq)]
pub struct PoolStep {
    pub pool: Pool,
    pub from: Image,
    pub to: Image,
}

impl PoolStep {
    pub fn run(&self, memory: Memory) {
        let to = &self.to;
        (0..to.rows()).into_par_iter().for_each(|row| {
            let (z, y) = (row / to.size[1], row % to.size[1]);
            for x in 0..to.size[2] {
                // The window's part inside the image; never empty, as pads are smaller than
                // kernels.
                let window = [z, y, x].into_iter().zip(0..3).map(|(at, a)| {
                    let start = at * self.pool.stride[a];
                    let end = (start + self.pool.kernel[a]).saturating_sub(self.pool.before[a]);
                    start.saturating_sub(self.pool.before[a])..end.min(self.from.size[a])
                });
                let window: Vec<_> = window.collect();
                for c in 0..to.channels {
                    // SAFETY: the row is this task's; the images are the plan's and apart.
                    unsafe { self.voxel(memory, to.at([z, y, x]), c, &window) }
                }
            }
        });
    }

    unsafe fn voxel(&self, memory: Memory, to: usize, c: usize, window: &[std::ops::Range<usize>]) {
        let [zs, ys, xs] = window else { return };
        let places = zs.clone().flat_map(|z| {
            ys.clone().flat_map(move |y| xs.clone().map(move |x| self.from.at([z, y, x])))
        });
        let n = zs.len() * ys.len() * xs.len();
        unsafe {
            match (self.pool.max, self.to.quant) {
                (true, Some(_)) => {
                    let order = |at: usize| (*memory.at::<u8>(at + c) ^ OFFSET) as i8;
                    let value = places.map(order).max().unwrap_or(0);
                    *memory.at::<u8>(to + c) = value as u8 ^ OFFSET;
                }
                (true, None) => {
                    let values = places.map(|at| value(memory, &self.from, at, c));
                    *memory.at::<f32>(to + 4 * c) = values.fold(f32::NEG_INFINITY, f32::max);
                }
                (false, _) => {
                    // A whole channel's mean has too many terms for a sum in f32.
                    let values = places.map(|at| f64::from(value(memory, &self.from, at, c)));
                    let sum: f64 = values.sum();
                    let whole = self.pool.kernel.iter().product();
                    let n = if self.pool.count_padding { whole } else { n };
                    *memory.at::<f32>(to + 4 * c) = (sum / n as f64) as f32;
                }
            }
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

/// The two neighbours of a position of the doubled axis, and the share of the second.
fn neighbours(at: usize, n: usize, doubled: bool) -> (usize, usize, f32) {
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
                                [0, 1, 2].map(|a| neighbours(at[a], from.size[a], doubled[a]));
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
