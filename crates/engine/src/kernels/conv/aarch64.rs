//! aarch64: NEON, and its int8 dot product.

use std::arch::aarch64::*;
use std::arch::asm;

use super::body::{self, Codes, F32Vectors, I8Vectors};
use super::transform;
use super::{Activation, F32Kernel, I8Kernel, I8Tile, Tiles};

/// 4 lanes.
pub struct Neon;
/// 4 lanes, int8 by the dot product.
pub struct DotProd;

#[inline(always)]
pub unsafe fn activate(v: float32x4_t, slope: f32, max: f32) -> float32x4_t {
    unsafe {
        let v = vbslq_f32(vcltzq_f32(v), vmulq_n_f32(v, slope), v);
        vminq_f32(v, vdupq_n_f32(max))
    }
}

#[inline(always)]
unsafe fn store_f32(v: float32x4_t, to: *mut f32, channels: usize) {
    unsafe {
        if channels >= 4 {
            vst1q_f32(to, v);
        } else {
            let values: [f32; 4] = std::mem::transmute(v);
            std::ptr::copy_nonoverlapping(values.as_ptr(), to, channels);
        }
    }
}

impl F32Vectors for Neon {
    const LANES: usize = 4;
    type V = float32x4_t;
    #[inline(always)]
    unsafe fn load(from: *const f32) -> float32x4_t {
        unsafe { vld1q_f32(from) }
    }
    #[inline(always)]
    unsafe fn splat(from: *const f32) -> float32x4_t {
        unsafe { vld1q_dup_f32(from) }
    }
    #[inline(always)]
    unsafe fn store(v: float32x4_t, to: *mut f32) {
        unsafe { vst1q_f32(to, v) }
    }
    #[inline(always)]
    unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vaddq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vsubq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        unsafe { vfmaq_f32(c, a, b) }
    }
    const BLOCK: usize = 4;
    /// One load per position brings 4 values, each of which a multiplication takes from its
    /// lane: a splat would cost as much as a multiplication.
    #[inline(always)]
    unsafe fn block<const M: usize, const N: usize, const T: usize>(
        input: *const f32,
        step: usize,
        weights: *const f32,
        sums: &mut [[float32x4_t; N]; M],
    ) {
        unsafe {
            // M + T − 1 rows, T ≤ 3.
            let row = |at: usize| vld1q_f32(input.add(at * step));
            let rows: [float32x4_t; M] = std::array::from_fn(|m| row(m));
            let more = [row((T > 1) as usize * M), row((T > 2) as usize * (M + 1))];
            macro_rules! lane {
                ($lane:literal) => {
                    for tap in 0..T {
                        for n in 0..N {
                            let w = vld1q_f32(weights.add((($lane * T + tap) * N + n) * 4));
                            for m in 0..M {
                                let at = m + tap;
                                let a = if at < M { rows[at] } else { more[at - M] };
                                sums[m][n] = vfmaq_laneq_f32::<$lane>(sums[m][n], w, a);
                            }
                        }
                    }
                };
            }
            lane!(0);
            lane!(1);
            lane!(2);
            lane!(3);
        }
    }
    #[inline(always)]
    unsafe fn finish(v: float32x4_t, activation: Activation, to: *mut f32, channels: usize) {
        unsafe {
            let v = activate(v, activation.negative_slope, activation.max);
            store_f32(v, to, channels);
        }
    }
}

#[inline(always)]
unsafe fn value<const LINEAR: bool>(sum: int32x4_t, t: &I8Tile, n: usize) -> float32x4_t {
    unsafe {
        let scale = vld1q_f32(t.scale.add(4 * n));
        let bias = vld1q_f32(t.bias.add(4 * n));
        // Not fused: the same rounding as on every other architecture.
        let v = vaddq_f32(vmulq_f32(vcvtq_f32_s32(sum), scale), bias);
        if LINEAR {
            return vminq_f32(v, vdupq_n_f32(t.activation.max));
        }
        activate(v, t.activation.negative_slope, t.activation.max)
    }
}

/// The codes of a sum, within i16.
#[inline(always)]
pub unsafe fn code<const LINEAR: bool>(
    sum: int32x4_t,
    t: &I8Tile,
    n: usize,
    codes: Codes,
) -> int16x4_t {
    unsafe {
        // Of NaN and a number this takes the number.
        let v = vmaxnmq_f32(value::<LINEAR>(sum, t, n), vdupq_n_f32(codes.lowest));
        vqmovn_s32(vqaddq_s32(vcvtnq_s32_f32(v), vdupq_n_s32(codes.zero)))
    }
}

#[inline(always)]
unsafe fn store_bytes(q16: int16x4_t, to: *mut u8, channels: usize) {
    unsafe {
        let q8 = vqmovn_s16(vcombine_s16(q16, q16));
        let bytes: [u8; 8] = std::mem::transmute(q8);
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, channels.min(4));
    }
}

/// Of whole vectors.
#[inline(always)]
unsafe fn store_position<const N: usize>(q16: [int16x4_t; N], to: *mut u8) {
    unsafe {
        for (n, pair) in q16.chunks(2).enumerate() {
            let to = to.add(8 * n).cast::<i8>();
            match *pair {
                [first, second] => vst1_s8(to, vqmovn_s16(vcombine_s16(first, second))),
                _ => {
                    let q8 = vreinterpret_s32_s8(vqmovn_s16(vcombine_s16(pair[0], pair[0])));
                    to.cast::<i32>().write_unaligned(vget_lane_s32::<0>(q8));
                }
            }
        }
    }
}

macro_rules! four_lanes {
    ($level:ident, $sum:ty, $init:expr, $dot:expr, $total:expr, $size:literal, $block:ident) => {
        impl I8Vectors for $level {
            const LANES: usize = 4;
            type Sum = $sum;
            type Weights = int8x16_t;
            type Bytes = int8x16_t;
            #[inline(always)]
            unsafe fn init(from: *const i32) -> $sum {
                unsafe { $init(vld1q_s32(from)) }
            }
            #[inline(always)]
            unsafe fn weights(from: *const i8) -> int8x16_t {
                unsafe { vld1q_s8(from) }
            }
            #[inline(always)]
            unsafe fn splat(from: *const u8) -> int8x16_t {
                unsafe { vreinterpretq_s8_s32(vld1q_dup_s32(from.cast())) }
            }
            #[inline(always)]
            unsafe fn dot(sum: $sum, a: int8x16_t, w: int8x16_t) -> $sum {
                unsafe { $dot(sum, a, w) }
            }
            const BLOCK: usize = $size;
            #[inline(always)]
            unsafe fn block<const M: usize, const N: usize, const T: usize>(
                input: *const u8,
                step: usize,
                weights: *const i8,
                sums: &mut [[$sum; N]; M],
            ) {
                unsafe { $block::<M, N, T>(input.cast(), step, weights, sums) }
            }
            #[inline(always)]
            unsafe fn finish_f32(s: $sum, t: &I8Tile, n: usize, to: *mut f32, channels: usize) {
                unsafe { store_f32(value::<false>($total(s), t, n), to, channels) }
            }
            #[inline(always)]
            unsafe fn finish_stored<const LINEAR: bool>(
                s: $sum,
                t: &I8Tile,
                n: usize,
                to: *mut u8,
                codes: Codes,
                channels: usize,
            ) {
                unsafe { store_bytes(code::<LINEAR>($total(s), t, n, codes), to, channels) }
            }
            #[inline(always)]
            unsafe fn finish_position<const N: usize, const LINEAR: bool>(
                sums: [$sum; N],
                t: &I8Tile,
                to: *mut u8,
                codes: Codes,
            ) {
                unsafe {
                    if t.channels >= 4 * N {
                        let mut q16 = [vdup_n_s16(0); N];
                        for n in 0..N {
                            q16[n] = code::<LINEAR>($total(sums[n]), t, n, codes);
                        }
                        return store_position(q16, to);
                    }
                    for (n, sum) in sums.into_iter().enumerate() {
                        let channels = t.channels.saturating_sub(4 * n);
                        Self::finish_stored::<LINEAR>(sum, t, n, to.add(4 * n), codes, channels);
                    }
                }
            }
        }
    };
}

/// The sum of each lane in two halves: lanes 0 0 1 1 and 2 2 3 3.
pub type Halves = (int32x4_t, int32x4_t);

#[inline(always)]
pub unsafe fn halves(sum: int32x4_t) -> Halves {
    unsafe {
        let zero = vdupq_n_s32(0);
        (vzip1q_s32(sum, zero), vzip2q_s32(sum, zero))
    }
}

/// Products in i16, which |w| ≤ 127 keeps in range, added pairwise into i32.
#[inline(always)]
pub unsafe fn dot_neon(sum: Halves, a: int8x16_t, w: int8x16_t) -> Halves {
    unsafe {
        let low = vmull_s8(vget_low_s8(a), vget_low_s8(w));
        let high = vmull_high_s8(a, w);
        (vpadalq_s16(sum.0, low), vpadalq_s16(sum.1, high))
    }
}

#[inline(always)]
pub unsafe fn total(sum: Halves) -> int32x4_t {
    unsafe { vpaddq_s32(sum.0, sum.1) }
}

/// The intrinsic is not stable yet.
#[inline(always)]
pub unsafe fn dot_prod(mut sum: int32x4_t, a: int8x16_t, w: int8x16_t) -> int32x4_t {
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {w:v}.16b, {a:v}.16b",
            sum = inout(vreg) sum, w = in(vreg) w, a = in(vreg) a,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}

#[inline(always)]
unsafe fn same(sum: int32x4_t) -> int32x4_t {
    sum
}

/// Adds the products of two groups. Two products of int8 fit an i16 (2 · 128 · 127 = 32512), so one
/// pairwise addition serves both. As one piece of assembly: the compiler would form the products of
/// all sums first, and then keep sums in memory for want of registers.
#[inline(always)]
pub unsafe fn dot_two(sum: Halves, a: [int8x16_t; 2], w: [int8x16_t; 2]) -> Halves {
    let (mut low, mut high) = sum;
    unsafe {
        asm!(
            "smull {p:v}.8h, {w0:v}.8b, {a0:v}.8b",
            "smull2 {q:v}.8h, {w0:v}.16b, {a0:v}.16b",
            "smlal {p:v}.8h, {w1:v}.8b, {a1:v}.8b",
            "smlal2 {q:v}.8h, {w1:v}.16b, {a1:v}.16b",
            "sadalp {low:v}.4s, {p:v}.8h",
            "sadalp {high:v}.4s, {q:v}.8h",
            low = inout(vreg) low, high = inout(vreg) high,
            a0 = in(vreg) a[0], a1 = in(vreg) a[1], w0 = in(vreg) w[0], w1 = in(vreg) w[1],
            p = out(vreg) _, q = out(vreg) _,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    (low, high)
}

/// Two groups.
#[inline(always)]
unsafe fn block_neon<const M: usize, const N: usize, const T: usize>(
    input: *const i8,
    step: usize,
    weights: *const i8,
    sums: &mut [[Halves; N]; M],
) {
    unsafe {
        let w: [[[int8x16_t; 2]; N]; T] = std::array::from_fn(|t| {
            std::array::from_fn(|n| [0, T].map(|k| vld1q_s8(weights.add(((k + t) * N + n) * 16))))
        });
        for at in 0..M + T - 1 {
            let a = vreinterpret_s32_s8(vld1_s8(input.add(at * step)));
            let a = [vdupq_lane_s32::<0>(a), vdupq_lane_s32::<1>(a)];
            let a = [vreinterpretq_s8_s32(a[0]), vreinterpretq_s8_s32(a[1])];
            for tap in 0..T {
                if at >= tap && at - tap < M {
                    for n in 0..N {
                        let sum = &mut sums[at - tap][n];
                        *sum = dot_two(*sum, a, w[tap][n]);
                    }
                }
            }
        }
    }
}

/// The intrinsic is not stable yet.
#[inline(always)]
unsafe fn dot_lane<const LANE: i32>(mut sum: int32x4_t, w: int8x16_t, a: int8x16_t) -> int32x4_t {
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {w:v}.16b, {a:v}.4b[{lane}]",
            sum = inout(vreg) sum, w = in(vreg) w, a = in(vreg) a, lane = const LANE,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}

/// Four groups, as in f32.
#[inline(always)]
unsafe fn block_dot<const M: usize, const N: usize, const T: usize>(
    input: *const i8,
    step: usize,
    weights: *const i8,
    sums: &mut [[int32x4_t; N]; M],
) {
    unsafe {
        let row = |at: usize| vld1q_s8(input.add(at * step));
        let rows: [int8x16_t; M] = std::array::from_fn(|m| row(m));
        let more = [row((T > 1) as usize * M), row((T > 2) as usize * (M + 1))];
        macro_rules! lane {
            ($lane:literal) => {
                for tap in 0..T {
                    for n in 0..N {
                        let w = vld1q_s8(weights.add((($lane * T + tap) * N + n) * 16));
                        for m in 0..M {
                            let at = m + tap;
                            let a = if at < M { rows[at] } else { more[at - M] };
                            sums[m][n] = dot_lane::<$lane>(sums[m][n], w, a);
                        }
                    }
                }
            };
        }
        lane!(0);
        lane!(1);
        lane!(2);
        lane!(3);
    }
}

four_lanes!(Neon, Halves, halves, dot_neon, total, 2, block_neon);
four_lanes!(DotProd, int32x4_t, same, dot_prod, same, 4, block_dot);

/// All shapes of int8 tiles, in wrappers that switch the instructions on.
macro_rules! i8_tiles {
    ($vectors:ident, $features:literal, $($n:literal: [$($m:literal)*]),*) => {{
        #[target_feature(enable = $features)]
        unsafe fn tile<const M: usize, const N: usize>(t: &I8Tile) {
            unsafe { body::i8_tile::<$vectors, M, N>(t) }
        }
        &[$(&[$(tile::<$m, $n> as I8Kernel),*]),*]
    }};
}

macro_rules! f32_tiles {
    ($($n:literal: [$($m:literal)*]),*) => {
        &[$(&[$(body::f32_tile::<Neon, $m, $n> as F32Kernel),*]),*]
    };
}

// As many as fit the 32 registers without spilling.
pub const NEON: Tiles = Tiles {
    lanes: 4,
    f32: f32_tiles!(1: [1 2 3 4 5 6 7 8], 2: [1 2 3 4 5 6 7 8], 3: [1 2 3 4 5 6 7],
        4: [1 2 3 4 5 6]),
    i8: i8_tiles!(Neon, "neon", 1: [1 2 3 4 5 6], 2: [1 2 3 4]),
    transforms: (transform::forward::<Neon>, transform::inverse::<Neon>),
};

pub const DOT_PROD: Tiles = Tiles {
    i8: i8_tiles!(DotProd, "neon,dotprod", 1: [1 2 3 4 5 6 7 8], 2: [1 2 3 4 5 6 7 8],
        3: [1 2 3 4 5 6 7], 4: [1 2 3 4 5 6]),
    ..NEON
};
