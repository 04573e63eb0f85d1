//! The transforms around the products of a Winograd convolution F(2×2, 3×3), written once
//! against the vector operations of `body.rs`.
//!
//! Along one axis, outputs 0 and 1 of the taps g need 4 products instead of 6:
//! ```text
//! m = [(d0 − d2)·g0, (d1 + d2)·(g0 + g1 + g2)/2, (d2 − d1)·(g0 − g1 + g2)/2, (d1 − d3)·g2]
//! y = [m0 + m1 + m2, m1 − m2 − m3]
//! ```
//! Along y and x, 16 instead of 36 (Lavin & Gray, "Fast Algorithms for Convolutional Neural
//! Networks", 2015).

use super::Activation;
use super::body::{F32Vectors, prefetch};

/// Products per window: planes that the transforms make and take, `[y][x]`.
pub const PLANES: usize = 16;

/// Windows of 4 × 4 voxels, neighbors along x and 2 voxels apart, become [`PLANES`] values per
/// channel.
#[derive(Clone, Copy)]
pub struct Forward {
    /// The first window's first channel.
    pub input: *const f32,
    /// Elements to the next voxel along y, x.
    pub step: [usize; 2],
    /// The last voxel along y, x that may be read, counted from the first one. A window's last
    /// row or column may lie beyond; what it holds only reaches outputs that do not exist.
    pub last: [usize; 2],
    /// Elements to the windows that are read next: rows too short for the CPU to guess the next.
    pub next: usize,
    pub windows: usize,
    pub channels: usize,
    /// Takes whole vectors of channels.
    pub output: *mut f32,
    /// Elements from one window's values to the next one's.
    pub window_step: usize,
    /// Elements from one plane to the next.
    pub plane: usize,
}

/// Sums in [`PLANES`] become 2 × 2 outputs per window.
#[derive(Clone, Copy)]
pub struct Inverse {
    /// Whole vectors of channels.
    pub sums: *const f32,
    pub window_step: usize,
    pub plane: usize,
    pub windows: usize,
    /// Whole vectors of channels.
    pub bias: *const f32,
    pub output: *mut f32,
    /// Elements to the next voxel along y, x.
    pub step: [usize; 2],
    /// Outputs that exist along y, x, counted from the first one.
    pub size: [usize; 2],
    pub channels: usize,
    pub activation: Activation,
}

pub type ForwardKernel = unsafe fn(&Forward);
pub type InverseKernel = unsafe fn(&Inverse);

/// # Safety
/// The memory is the caller's and the CPU has the vectors of `I`.
#[inline(always)]
pub unsafe fn forward<I: F32Vectors>(t: &Forward) {
    unsafe {
        for x in 0..t.windows {
            let columns = [0, 1, 2, 3].map(|i| (2 * x + i).min(t.last[1]) * t.step[1]);
            for c in (0..t.channels).step_by(I::LANES) {
                let channels = t.channels - c;
                let mut v = [[I::load_some(t.input.add(c), channels); 4]; 4];
                for (y, v) in v.iter_mut().enumerate() {
                    let row = t.input.add(y.min(t.last[0]) * t.step[0] + c);
                    // The other columns are those of the next window.
                    prefetch(row.wrapping_add(t.next + columns[0]).cast());
                    prefetch(row.wrapping_add(t.next + columns[1]).cast());
                    for (v, column) in v.iter_mut().zip(columns) {
                        *v = I::load_some(row.add(column), channels);
                    }
                    *v = forward_axis::<I>(*v);
                }
                let to = t.output.add(x * t.window_step + c);
                for i in 0..4 {
                    let values = forward_axis::<I>(column(&v, i));
                    for (y, value) in values.into_iter().enumerate() {
                        I::store(value, to.add((4 * y + i) * t.plane));
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn column<V: Copy, const N: usize>(rows: &[[V; N]; 4], x: usize) -> [V; 4] {
    [rows[0][x], rows[1][x], rows[2][x], rows[3][x]]
}

#[inline(always)]
unsafe fn forward_axis<I: F32Vectors>(d: [I::V; 4]) -> [I::V; 4] {
    unsafe { [I::sub(d[0], d[2]), I::add(d[1], d[2]), I::sub(d[2], d[1]), I::sub(d[1], d[3])] }
}

/// # Safety
/// As [`forward`].
#[inline(always)]
pub unsafe fn inverse<I: F32Vectors>(t: &Inverse) {
    unsafe {
        for x in 0..t.windows {
            for c in (0..t.channels).step_by(I::LANES) {
                let from = t.sums.add(x * t.window_step + c);
                let bias = I::load(t.bias.add(c));
                let mut v = [[bias; 2]; 4];
                for (y, v) in v.iter_mut().enumerate() {
                    let sum = |i: usize| I::load(from.add((4 * y + i) * t.plane));
                    *v = inverse_axis::<I>([sum(0), sum(1), sum(2), sum(3)]);
                }
                for i in 0..2 {
                    let values = inverse_axis::<I>(column(&v, i));
                    for (y, value) in values.into_iter().enumerate() {
                        if y < t.size[0] && 2 * x + i < t.size[1] {
                            let to = t.output.add(y * t.step[0] + (2 * x + i) * t.step[1] + c);
                            let value = I::add(value, bias);
                            I::finish(value, t.activation, to, t.channels - c);
                        }
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn inverse_axis<I: F32Vectors>(m: [I::V; 4]) -> [I::V; 2] {
    unsafe { [I::add(I::add(m[0], m[1]), m[2]), I::sub(I::sub(m[1], m[2]), m[3])] }
}

/// One plane of the kernel, `[y][x]`, as the factors of the [`PLANES`].
pub fn weights(taps: &[f32]) -> [f32; PLANES] {
    let axis = |g: [f64; 3]| {
        let (even, odd) = ((g[0] + g[2]) / 2.0, g[1] / 2.0);
        [g[0], even + odd, even - odd, g[2]]
    };
    let rows = [0, 1, 2].map(|y| axis([0, 1, 2].map(|x| f64::from(taps[3 * y + x]))));
    let mut factors = [0.0; PLANES];
    for x in 0..4 {
        for (y, factor) in axis(rows.map(|row| row[x])).into_iter().enumerate() {
            factors[4 * y + x] = factor as f32;
        }
    }
    factors
}
