//! The loops of a tile, written once; `#[inline(always)]` so that each architecture's wrapper,
//! which switches the vector instructions on, gets its own copy.

use super::{Activation, F32Tile, I8Output, I8Tile};

/// A loop over 0, 1, … with a constant end of at most 18 (or 4: nested ones are long to compile),
/// written out: the compiler keeps the sums in registers only if every index into them is a
/// constant.
macro_rules! unroll {
    ($i:ident in 0..$end:expr, at most 4 => $body:block) => {
        const { assert!($end <= 4) };
        unroll!(@ $i $end, $body, 0 1 2 3)
    };
    ($i:ident in 0..$end:expr => $body:block) => {
        const { assert!($end <= 18) };
        unroll!(@ $i $end, $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17)
    };
    (@ $i:ident $end:expr, $body:block, $($n:literal)*) => {
        $({
            // Known before code is made of it: what is past the end costs no time to compile.
            if const { $n < $end } {
                let $i: usize = $n;
                $body
            }
        })*
    };
}

pub(in crate::kernels) use unroll;

/// Asks for a cache line that will be read soon; any address will do.
#[inline(always)]
pub fn prefetch(line: *const u8) {
    // SAFETY: a hint, which never faults.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(line.cast());
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) line, options(nostack, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = line;
}

/// Fetches the windows that are read next, a cache line at a time: they lie too far apart for
/// the CPU to guess, and waiting for the second cache would take a third of the time.
struct Ahead {
    line: *const u8,
    windows: usize,
    step: usize,
    at: usize,
}

impl Ahead {
    #[inline(always)]
    fn new<const M: usize, const T: usize>(first: *const u8, step: usize) -> Ahead {
        Ahead { line: first, windows: M + T - 1, step, at: 0 }
    }

    #[inline(always)]
    fn fetch(&mut self) {
        prefetch(self.line.wrapping_add(self.at * self.step));
        self.at += 1;
        if self.at == self.windows {
            self.at = 0;
            self.line = self.line.wrapping_add(64);
        }
    }
}

/// The vector operations of an f32 tile.
pub trait F32Vectors: Sized {
    const LANES: usize;
    type V: Copy;
    unsafe fn load(from: *const f32) -> Self::V;
    unsafe fn splat(from: *const f32) -> Self::V;
    unsafe fn store(v: Self::V, to: *mut f32);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    /// `a · b + c`
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// Steps of k that [`F32Vectors::block`] takes.
    const BLOCK: usize = 1;
    /// Adds the products of `BLOCK` steps of k.
    #[inline(always)]
    unsafe fn block<const M: usize, const N: usize, const T: usize>(
        input: *const f32,
        step: usize,
        weights: *const f32,
        sums: &mut [[Self::V; N]; M],
    ) {
        unsafe { f32_step::<Self, M, N, T>(input, step, weights, sums) }
    }
    /// The first `channels` lanes; zeros in the rest.
    #[inline(always)]
    unsafe fn load_some(from: *const f32, channels: usize) -> Self::V {
        if channels >= Self::LANES {
            return unsafe { Self::load(from) };
        }
        let mut some = [0.0; 16];
        unsafe {
            std::ptr::copy_nonoverlapping(from, some.as_mut_ptr(), channels);
            Self::load(some.as_ptr())
        }
    }
    /// Stores the activated values of the first `channels` lanes.
    unsafe fn finish(v: Self::V, activation: Activation, to: *mut f32, channels: usize);
}

/// # Safety
/// The tile's memory is the caller's and the CPU has the vectors of `I`.
#[inline(always)]
pub unsafe fn f32_tile<I: F32Vectors, const M: usize, const N: usize>(t: &F32Tile) {
    unsafe {
        let mut sums = [[I::load(t.bias); N]; M];
        unroll!(m in 0..M => {
            for (n, sum) in sums[m].iter_mut().enumerate() {
                *sum = I::load(t.bias.add(n * I::LANES));
            }
        });
        let mut weights = t.weights;
        for (i, segment) in t.segments.iter().enumerate() {
            let input = t.input.offset(segment.start);
            // What is read next: the next segment, or the first one of the next tile.
            let next = match t.segments.get(i + 1) {
                Some(next) => t.input.wrapping_offset(next.start),
                None => t.input.wrapping_add(M * t.step).wrapping_offset(t.segments[0].start),
            };
            let sums = &mut sums;
            weights = match segment.taps {
                2 if N == 1 => f32_segment::<I, M, N, 2>(t, input, next, weights, sums),
                3 if N == 1 => f32_segment::<I, M, N, 3>(t, input, next, weights, sums),
                _ => f32_segment::<I, M, N, 1>(t, input, next, weights, sums),
            };
        }
        unroll!(m in 0..M => {
            for (n, sum) in sums[m].iter().enumerate() {
                let to = t.output.add(m * t.output_step + n * I::LANES);
                let channels = t.channels.saturating_sub(n * I::LANES);
                I::finish(*sum, t.activation, to, channels);
            }
        });
    }
}

/// Adds one segment's products; gives where the next one's weights start.
#[inline(always)]
unsafe fn f32_segment<I: F32Vectors, const M: usize, const N: usize, const T: usize>(
    t: &F32Tile,
    input: *const f32,
    next: *const f32,
    mut weights: *const f32,
    sums: &mut [[I::V; N]; M],
) -> *const f32 {
    unsafe {
        let mut ahead = Ahead::new::<M, T>(next.cast(), 4 * t.step);
        let mut k = 0;
        while k + I::BLOCK <= t.length {
            for _ in 0..I::BLOCK {
                ahead.fetch();
            }
            I::block::<M, N, T>(input.add(k), t.step, weights, sums);
            weights = weights.add(I::BLOCK * T * N * I::LANES);
            k += I::BLOCK;
        }
        while I::BLOCK > 1 && k < t.length {
            f32_step::<I, M, N, T>(input.add(k), t.step, weights, sums);
            weights = weights.add(T * N * I::LANES);
            k += 1;
        }
        weights
    }
}

/// One step of k.
#[inline(always)]
unsafe fn f32_step<I: F32Vectors, const M: usize, const N: usize, const T: usize>(
    input: *const f32,
    step: usize,
    weights: *const f32,
    sums: &mut [[I::V; N]; M],
) {
    unsafe {
        let mut w = [[I::load(weights); N]; T];
        for (i, w) in w.as_flattened_mut().iter_mut().enumerate() {
            *w = I::load(weights.add(i * I::LANES));
        }
        unroll!(at in 0..M + T - 1 => {
            let a = I::splat(input.add(at * step));
            for tap in 0..T {
                if at >= tap && at - tap < M {
                    for (sum, w) in sums[at - tap].iter_mut().zip(&w[tap]) {
                        *sum = I::fma(a, *w, *sum);
                    }
                }
            }
        });
    }
}

/// How values become codes, see [`I8Output::Stored`].
#[derive(Clone, Copy)]
pub struct Codes {
    pub zero: i32,
    pub lowest: f32,
}

/// The vector operations of an int8 tile.
pub trait I8Vectors: Sized {
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
    /// Groups of 4 bytes that [`I8Vectors::block`] takes.
    const BLOCK: usize = 1;
    /// Adds the products of `BLOCK` groups.
    #[inline(always)]
    unsafe fn block<const M: usize, const N: usize, const T: usize>(
        input: *const u8,
        step: usize,
        weights: *const i8,
        sums: &mut [[Self::Sum; N]; M],
    ) {
        unsafe { i8_step::<Self, M, N, T>(input, step, weights, sums) }
    }
    /// Stores the first `channels` lanes as f32; `n` is the vector's number in the tile.
    unsafe fn finish_f32(sum: Self::Sum, t: &I8Tile, n: usize, to: *mut f32, channels: usize);
    /// … as stored bytes. `LINEAR`: the activation has a slope of 1.
    unsafe fn finish_stored<const LINEAR: bool>(
        sum: Self::Sum,
        t: &I8Tile,
        n: usize,
        to: *mut u8,
        codes: Codes,
        channels: usize,
    );
    /// The same of all vectors of a position.
    #[inline(always)]
    unsafe fn finish_position<const N: usize, const LINEAR: bool>(
        sums: [Self::Sum; N],
        t: &I8Tile,
        to: *mut u8,
        codes: Codes,
    ) {
        for (n, sum) in sums.into_iter().enumerate() {
            let channels = t.channels.saturating_sub(n * Self::LANES);
            unsafe {
                let to = to.add(n * Self::LANES);
                Self::finish_stored::<LINEAR>(sum, t, n, to, codes, channels);
            }
        }
    }
}

/// # Safety
/// The tile's memory is the caller's and the CPU has the vectors of `I`.
#[inline(always)]
pub unsafe fn i8_tile<I: I8Vectors, const M: usize, const N: usize>(t: &I8Tile) {
    unsafe {
        let mut sums = [[I::init(t.init); N]; M];
        unroll!(m in 0..M => {
            for (n, sum) in sums[m].iter_mut().enumerate() {
                *sum = I::init(t.init.add(n * I::LANES));
            }
        });
        let mut weights = t.weights;
        for (i, segment) in t.segments.iter().enumerate() {
            let input = t.input.offset(segment.start);
            // What is read next: the next segment, or the first one of the next tile.
            let next = match t.segments.get(i + 1) {
                Some(next) => t.input.wrapping_offset(next.start),
                None => t.input.wrapping_add(M * t.step).wrapping_offset(t.segments[0].start),
            };
            let sums = &mut sums;
            weights = match segment.taps {
                2 if N == 1 => i8_segment::<I, M, N, 2>(t, input, next, weights, sums),
                3 if N == 1 => i8_segment::<I, M, N, 3>(t, input, next, weights, sums),
                _ => i8_segment::<I, M, N, 1>(t, input, next, weights, sums),
            };
        }
        match t.output {
            I8Output::F32(data) => {
                unroll!(m in 0..M => {
                    for (n, sum) in sums[m].iter().enumerate() {
                        let to = data.add(m * t.output_step + n * I::LANES);
                        let channels = t.channels.saturating_sub(n * I::LANES);
                        I::finish_f32(*sum, t, n, to, channels);
                    }
                });
            }
            I8Output::Stored { data, zero, lowest } if t.activation.negative_slope == 1.0 => {
                unroll!(m in 0..M => {
                    let to = data.add(m * t.output_step);
                    I::finish_position::<N, true>(sums[m], t, to, Codes { zero, lowest });
                });
            }
            I8Output::Stored { data, zero, lowest } => {
                unroll!(m in 0..M => {
                    let to = data.add(m * t.output_step);
                    I::finish_position::<N, false>(sums[m], t, to, Codes { zero, lowest });
                });
            }
        }
    }
}

/// As [`f32_segment`].
#[inline(always)]
unsafe fn i8_segment<I: I8Vectors, const M: usize, const N: usize, const T: usize>(
    t: &I8Tile,
    input: *const u8,
    next: *const u8,
    mut weights: *const i8,
    sums: &mut [[I::Sum; N]; M],
) -> *const i8 {
    unsafe {
        let mut ahead = Ahead::new::<M, T>(next, t.step);
        let mut k = 0;
        while k + I::BLOCK <= t.length {
            for _ in 0..I::BLOCK {
                ahead.fetch();
            }
            I::block::<M, N, T>(input.add(4 * k), t.step, weights, sums);
            weights = weights.add(I::BLOCK * T * N * I::LANES * 4);
            k += I::BLOCK;
        }
        while I::BLOCK > 1 && k < t.length {
            i8_step::<I, M, N, T>(input.add(4 * k), t.step, weights, sums);
            weights = weights.add(T * N * I::LANES * 4);
            k += 1;
        }
        weights
    }
}

/// One group of 4 bytes.
#[inline(always)]
unsafe fn i8_step<I: I8Vectors, const M: usize, const N: usize, const T: usize>(
    input: *const u8,
    step: usize,
    weights: *const i8,
    sums: &mut [[I::Sum; N]; M],
) {
    unsafe {
        let mut w = [[I::weights(weights); N]; T];
        for (i, w) in w.as_flattened_mut().iter_mut().enumerate() {
            *w = I::weights(weights.add(i * I::LANES * 4));
        }
        unroll!(at in 0..M + T - 1 => {
            let a = I::splat(input.add(at * step));
            for tap in 0..T {
                if at >= tap && at - tap < M {
                    for (sum, w) in sums[at - tap].iter_mut().zip(&w[tap]) {
                        *sum = I::dot(*sum, a, *w);
                    }
                }
            }
        });
    }
}
