//! The loops of a tile, written once; `#[inline(always)]` as in `conv/body.rs`.

use super::{FOUR, channel};
use crate::engine::kernels::conv::body::{F32Vectors, I8Vectors, unroll};
use crate::engine::kernels::conv::{F32Tile, I8Output, I8Tile};

/// # Safety
/// The tile's memory is the caller's and the CPU has the vectors of `I`.
#[inline(always)]
pub unsafe fn f32_tile<I: F32Vectors, const M: usize>(t: &F32Tile) {
    unsafe {
        let mut sums = [I::load(t.bias); M];
        let mut weights = t.weights;
        for tap in t.segments {
            let input = t.input.offset(tap.start);
            let w = I::load(weights);
            unroll!(m in 0..M => {
                sums[m] = I::fma(I::load(input.add(m * t.step)), w, sums[m]);
            });
            weights = weights.add(I::LANES);
        }
        unroll!(m in 0..M => {
            I::finish(sums[m], t.activation, t.output.add(m * t.output_step), t.channels);
        });
    }
}

/// What an int8 tile needs beside a convolution's operations.
pub trait I8Channels: I8Vectors {
    /// A tap's values of 4 · LANES channels.
    unsafe fn load(from: *const u8) -> Self::Bytes;
    /// Four taps' values → each channel's four in its lane, see [`channel`].
    unsafe fn side_by_side(taps: [Self::Bytes; FOUR]) -> [Self::Bytes; FOUR];
    /// Stores the first `channels` as bytes with this zero point.
    unsafe fn finish_four(
        sums: [Self::Sum; FOUR],
        t: &I8Tile,
        to: *mut u8,
        zero: i32,
        channels: usize,
    );
}

/// # Safety
/// As [`f32_tile`].
#[inline(always)]
pub unsafe fn i8_tile<I: I8Channels, const M: usize>(t: &I8Tile) {
    unsafe {
        let mut sums = [[I::init(t.init); FOUR]; M];
        unroll!(m in 0..M => {
            for (n, sum) in sums[m].iter_mut().enumerate() {
                *sum = I::init(t.init.add(n * I::LANES));
            }
        });
        let mut weights = t.weights;
        for taps in t.segments.as_chunks::<FOUR>().0 {
            let [a, b, c, d] = taps.map(|tap| t.input.offset(tap.start));
            unroll!(m in 0..M => {
                let at = m * t.step;
                let rows = [I::load(a.add(at)), I::load(b.add(at)), I::load(c.add(at)), I::load(d.add(at))];
                let values = I::side_by_side(rows);
                for (n, sum) in sums[m].iter_mut().enumerate() {
                    *sum = I::dot(*sum, values[n], I::weights(weights.add(n * I::LANES * FOUR)));
                }
            });
            weights = weights.add(FOUR * I::LANES * FOUR);
        }
        unroll!(m in 0..M => {
            let at = m * t.output_step;
            match t.output {
                I8Output::F32(data) => finish_f32::<I>(sums[m], t, data.add(at)),
                I8Output::Stored { data, zero } => {
                    I::finish_four(sums[m], t, data.add(at), zero, t.channels);
                }
            }
        });
    }
}

#[inline(always)]
unsafe fn finish_f32<I: I8Channels>(sums: [I::Sum; FOUR], t: &I8Tile, to: *mut f32) {
    let mut values = [0.0; 16];
    for (n, sum) in sums.into_iter().enumerate() {
        unsafe {
            I::finish_f32(sum, t, n, values.as_mut_ptr(), I::LANES);
            for (lane, value) in values[..I::LANES].iter().enumerate() {
                let channel = channel(n, lane);
                if channel < t.channels {
                    *to.add(channel) = *value;
                }
            }
        }
    }
}
