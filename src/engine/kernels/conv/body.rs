//! The loops of a tile, written once; `#[inline(always)]` so that each architecture's wrapper,
//! which switches the vector instructions on, gets its own copy.

use super::{F32Tile, I8Output, I8Tile};

/// The vector operations of an f32 tile.
pub trait F32Vectors {
    const LANES: usize;
    type V: Copy;
    unsafe fn load(from: *const f32) -> Self::V;
    unsafe fn splat(from: *const f32) -> Self::V;
    /// `a · b + c`
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// Stores the activated values of the first `channels` lanes.
    unsafe fn finish(v: Self::V, t: &F32Tile, to: *mut f32, channels: usize);
}

/// # Safety
/// The tile's memory is the caller's and the CPU has the vectors of `I`.
#[inline(always)]
pub unsafe fn f32_tile<I: F32Vectors, const M: usize, const N: usize>(t: &F32Tile) {
    unsafe {
        let mut sums = [[I::load(t.bias); N]; M];
        for row in &mut sums {
            for (n, sum) in row.iter_mut().enumerate() {
                *sum = I::load(t.bias.add(n * I::LANES));
            }
        }
        let mut weights = t.weights;
        for segment in t.segments {
            let input = t.input.offset(*segment);
            for k in 0..t.length {
                let mut w = [I::load(weights); N];
                for (n, w) in w.iter_mut().enumerate() {
                    *w = I::load(weights.add(n * I::LANES));
                }
                for (m, row) in sums.iter_mut().enumerate() {
                    let a = I::splat(input.add(m * t.step + k));
                    for (sum, w) in row.iter_mut().zip(&w) {
                        *sum = I::fma(a, *w, *sum);
                    }
                }
                weights = weights.add(N * I::LANES);
            }
        }
        for (m, row) in sums.iter().enumerate() {
            for (n, sum) in row.iter().enumerate() {
                let to = t.output.add(m * t.output_step + n * I::LANES);
                I::finish(*sum, t, to, t.channels.saturating_sub(n * I::LANES));
            }
        }
    }
}

/// The vector operations of an int8 tile.
pub trait I8Vectors {
    const LANES: usize;
    type Sum: Copy;
    type Weights: Copy;
    type Bytes: Copy;
    unsafe fn init(from: *const i32) -> Self::Sum;
    /// LANES groups of 4 weights.
    unsafe fn weights(from: *const i8) -> Self::Weights;
    /// 4 stored bytes in every lane.
    unsafe fn splat(from: *const u8) -> Self::Bytes;
    /// Adds each lane's 4 products, exactly.
    unsafe fn dot(sum: Self::Sum, a: Self::Bytes, w: Self::Weights) -> Self::Sum;
    /// Stores the first `channels` lanes as f32; `n` is the vector's number in the tile.
    unsafe fn finish_f32(sum: Self::Sum, t: &I8Tile, n: usize, to: *mut f32, channels: usize);
    /// … as stored bytes with this zero point.
    unsafe fn finish_stored(
        sum: Self::Sum,
        t: &I8Tile,
        n: usize,
        to: *mut u8,
        zero: i32,
        channels: usize,
    );
}

/// # Safety
/// The tile's memory is the caller's and the CPU has the vectors of `I`.
#[inline(always)]
pub unsafe fn i8_tile<I: I8Vectors, const M: usize, const N: usize>(t: &I8Tile) {
    unsafe {
        let mut sums = [[I::init(t.init); N]; M];
        for row in &mut sums {
            for (n, sum) in row.iter_mut().enumerate() {
                *sum = I::init(t.init.add(n * I::LANES));
            }
        }
        let mut weights = t.weights;
        for segment in t.segments {
            let input = t.input.offset(*segment);
            for k in 0..t.length {
                let mut w = [I::weights(weights); N];
                for (n, w) in w.iter_mut().enumerate() {
                    *w = I::weights(weights.add(n * I::LANES * 4));
                }
                for (m, row) in sums.iter_mut().enumerate() {
                    let a = I::splat(input.add(m * t.step + 4 * k));
                    for (sum, w) in row.iter_mut().zip(&w) {
                        *sum = I::dot(*sum, a, *w);
                    }
                }
                weights = weights.add(N * I::LANES * 4);
            }
        }
        for (m, row) in sums.iter().enumerate() {
            for (n, sum) in row.iter().enumerate() {
                let at = m * t.output_step + n * I::LANES;
                let channels = t.channels.saturating_sub(n * I::LANES);
                match t.output {
                    I8Output::F32(data) => I::finish_f32(*sum, t, n, data.add(at), channels),
                    I8Output::Stored { data, zero } => {
                        I::finish_stored(*sum, t, n, data.add(at), zero, channels);
                    }
                }
            }
        }
    }
}
