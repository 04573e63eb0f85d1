//! The loops of a tile, written once; `#[inline(always)]` as in `conv/body.rs`.

use super::{FOUR, channel};
use crate::kernels::conv::body::{Codes, F32Vectors, I8Vectors, unroll};
use crate::kernels::conv::{F32Tile, I8Output, I8Tile};

/// # Safety
/// The tile's memory is the caller's and the CPU has the vectors of `I`.
#[inline(always)]
pub unsafe fn f32_tile<I: F32Vectors, const M: usize>(t: &F32Tile) {
    unsafe {
        let mut sums = [I::load(t.bias); M];
        let mut weights = t.weights;
        for row in t.segments {
            let input = t.input.offset(row.start);
            let sums = &mut sums;
            weights = match row.taps {
                2 => f32_row::<I, M, 2>(input, t.step, weights, sums),
                3 => f32_row::<I, M, 3>(input, t.step, weights, sums),
                _ => f32_row::<I, M, 1>(input, t.step, weights, sums),
            };
        }
        unroll!(m in 0..M => {
            I::finish(sums[m], t.activation, t.output.add(m * t.output_step), t.channels);
        });
    }
}

/// Adds the products of a row of T taps; gives where the next one's weights start.
#[inline(always)]
unsafe fn f32_row<I: F32Vectors, const M: usize, const T: usize>(
    input: *const f32,
    step: usize,
    weights: *const f32,
    sums: &mut [I::V; M],
) -> *const f32 {
    unsafe {
        let mut w = [I::load(weights); T];
        for (tap, w) in w.iter_mut().enumerate() {
            *w = I::load(weights.add(tap * I::LANES));
        }
        unroll!(position in 0..M + T - 1 => {
            let v = I::load(input.add(position * step));
            for tap in 0..T {
                if position >= tap && position - tap < M {
                    sums[position - tap] = I::fma(v, w[tap], sums[position - tap]);
                }
            }
        });
        weights.add(T * I::LANES)
    }
}

/// What an int8 tile needs beside a convolution's operations.
pub trait I8Channels: I8Vectors {
    /// A tap's values of 4 · LANES channels.
    unsafe fn load(from: *const u8) -> Self::Bytes;
    /// Four taps' values → each channel's four in its lane, see [`channel`].
    unsafe fn side_by_side(taps: [Self::Bytes; FOUR]) -> [Self::Bytes; FOUR];
    /// Stores the tile's channels of a position as bytes. `LINEAR`: the activation has a slope of 1.
    unsafe fn finish_four<const LINEAR: bool>(
        sums: [Self::Sum; FOUR],
        t: &I8Tile,
        to: *mut u8,
        codes: Codes,
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
        for rows in t.segments.as_chunks::<FOUR>().0 {
            let inputs = rows.map(|row| t.input.offset(row.start));
            let sums = &mut sums;
            weights = match rows[0].taps {
                2 => i8_rows::<I, M, 2>(inputs, t.step, weights, sums),
                3 => i8_rows::<I, M, 3>(inputs, t.step, weights, sums),
                _ => i8_rows::<I, M, 1>(inputs, t.step, weights, sums),
            };
        }
        match t.output {
            I8Output::F32(data) => {
                unroll!(m in 0..M => {
                    finish_f32::<I>(sums[m], t, data.add(m * t.output_step));
                });
            }
            I8Output::Stored { data, zero, lowest } if t.activation.negative_slope == 1.0 => {
                unroll!(m in 0..M => {
                    let to = data.add(m * t.output_step);
                    I::finish_four::<true>(sums[m], t, to, Codes { zero, lowest });
                });
            }
            I8Output::Stored { data, zero, lowest } => {
                unroll!(m in 0..M => {
                    let to = data.add(m * t.output_step);
                    I::finish_four::<false>(sums[m], t, to, Codes { zero, lowest });
                });
            }
        }
    }
}

/// Adds the products of T taps of four rows; gives where the next ones' weights start.
#[inline(always)]
unsafe fn i8_rows<I: I8Channels, const M: usize, const T: usize>(
    [a, b, c, d]: [*const u8; FOUR],
    step: usize,
    weights: *const i8,
    sums: &mut [[I::Sum; FOUR]; M],
) -> *const i8 {
    let vector = I::LANES * FOUR;
    unsafe {
        unroll!(position in 0..M + T - 1 => {
            let at = position * step;
            let loaded = [I::load(a.add(at)), I::load(b.add(at)), I::load(c.add(at)), I::load(d.add(at))];
            let values = I::side_by_side(loaded);
            for tap in 0..T {
                if position >= tap && position - tap < M {
                    let weights = weights.add(tap * FOUR * vector);
                    for (n, sum) in sums[position - tap].iter_mut().enumerate() {
                        *sum = I::dot(*sum, values[n], I::weights(weights.add(n * vector)));
                    }
                }
            }
        });
        weights.add(T * FOUR * vector)
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
