//! aarch64.

use std::arch::aarch64::*;

use super::body::{self, Turn, Vectors};
use super::{Kernel, Planar, Strip, Table, Tile};
use crate::engine::kernels::conv::Activation;
use crate::engine::kernels::conv::aarch64::{activate, dot_prod};

struct F32Neon;
struct I8Neon;
struct I8DotProd;

/// `activation(sums · factor + bias)`, not fused: the same rounding as on every architecture.
#[inline(always)]
unsafe fn finish(sums: float32x4_t, table: Table, a: Activation) -> float32x4_t {
    unsafe {
        let v = vmulq_n_f32(sums, table.factor);
        activate(vaddq_f32(v, vdupq_n_f32(table.bias)), a.negative_slope, a.max)
    }
}

#[inline(always)]
unsafe fn finish_i32(sums: int32x4_t, table: Table, a: Activation) -> float32x4_t {
    unsafe { finish(vcvtq_f32_s32(sums), table, a) }
}

macro_rules! vectors {
    ($level:ident, $input:ty, $sum:ty, $load:expr, $splat:expr, $start:expr, $add:expr,
     $finish:expr) => {
        impl Vectors for $level {
            const LANES: usize = 4;
            type Input = $input;
            type Sum = $sum;
            #[inline(always)]
            unsafe fn load(from: *const u32) -> $input {
                unsafe { $load(from.cast()) }
            }
            #[inline(always)]
            unsafe fn splat(from: *const u32) -> $input {
                unsafe { $splat(from.cast()) }
            }
            #[inline(always)]
            unsafe fn start(value: i32) -> $sum {
                unsafe { $start(value) }
            }
            #[inline(always)]
            unsafe fn add(sum: $sum, a: $input, w: $input) -> $sum {
                unsafe { $add(sum, a, w) }
            }
            #[inline(always)]
            unsafe fn store(sum: $sum, table: Table, a: Activation, to: *mut f32) {
                unsafe { vst1q_f32(to, $finish(sum, table, a)) }
            }
            #[inline(always)]
            unsafe fn store_mixed(sums: [$sum; 2], t: [Table; 2], a: Activation, to: *mut f32) {
                unsafe {
                    let (first, second) = ($finish(sums[0], t[0], a), $finish(sums[1], t[1], a));
                    vst2q_f32(to, float32x4x2_t(first, second));
                }
            }
        }
    };
}

#[inline(always)]
unsafe fn start_f32(value: i32) -> float32x4_t {
    unsafe { vdupq_n_f32(value as f32) }
}

#[inline(always)]
unsafe fn splat_bytes(from: *const i32) -> int8x16_t {
    unsafe { vreinterpretq_s8_s32(vld1q_dup_s32(from)) }
}

/// Two products of int8 fit an i16 (2 · 128 · 127 = 32512), so neighbours are added in i16 first.
#[inline(always)]
unsafe fn dot_neon(sum: int32x4_t, a: int8x16_t, w: int8x16_t) -> int32x4_t {
    unsafe {
        let low = vmull_s8(vget_low_s8(a), vget_low_s8(w));
        vpadalq_s16(sum, vpaddq_s16(low, vmull_high_s8(a, w)))
    }
}

vectors!(F32Neon, float32x4_t, float32x4_t, vld1q_f32, vld1q_dup_f32, start_f32, vfmaq_f32, finish);
vectors!(I8Neon, int8x16_t, int32x4_t, vld1q_s8, splat_bytes, vdupq_n_s32, dot_neon, finish_i32);
vectors!(I8DotProd, int8x16_t, int32x4_t, vld1q_s8, splat_bytes, vdupq_n_s32, dot_prod, finish_i32);

impl Turn for F32Neon {
    const LANES: usize = 4;
    #[inline(always)]
    unsafe fn turn(from: *const u8, step: usize, to: *mut u32, pitch: usize) {
        unsafe {
            let row = |x: usize| vreinterpretq_u32_u8(vld1q_u8(from.add(x * step)));
            let [a, b, c, d] = [row(0), row(1), row(2), row(3)];
            let [ac, ac_high] = [vzip1q_u32(a, c), vzip2q_u32(a, c)];
            let [bd, bd_high] = [vzip1q_u32(b, d), vzip2q_u32(b, d)];
            vst1q_u32(to, vzip1q_u32(ac, bd));
            vst1q_u32(to.add(pitch), vzip2q_u32(ac, bd));
            vst1q_u32(to.add(2 * pitch), vzip1q_u32(ac_high, bd_high));
            vst1q_u32(to.add(3 * pitch), vzip2q_u32(ac_high, bd_high));
        }
    }
}

/// Wrappers that switch the instructions on, and the table of all tiles.
macro_rules! planar {
    ($table:ident, $i8:ident, $features:literal, $([$($p:literal $c:literal: $($n:literal)*),*])*) => {
        pub const $table: Planar = {
            #[target_feature(enable = $features)]
            unsafe fn turn(s: &Strip) {
                unsafe { body::turn::<F32Neon>(s) }
            }
            #[target_feature(enable = $features)]
            unsafe fn f32_tile<const P: usize, const C: usize, const N: usize>(t: &Tile) {
                unsafe { body::tile::<F32Neon, P, C, N>(t) }
            }
            #[target_feature(enable = $features)]
            unsafe fn i8_tile<const P: usize, const C: usize, const N: usize>(t: &Tile) {
                unsafe { body::tile::<$i8, P, C, N>(t) }
            }
            Planar {
                lanes: 4,
                turn,
                f32: [$([$(&[$(f32_tile::<$p, $c, $n> as Kernel),*]),*]),*],
                i8: [$([$(&[$(i8_tile::<$p, $c, $n> as Kernel),*]),*]),*],
            }
        };
    };
}

// Of 32 registers.
planar!(NEON, I8Neon, "neon",
    [1 1: 1 2 4, 1 2: 1 2 4, 1 3: 1 2 4, 1 4: 1 2 4] [2 1: 1 2 4, 2 2: 1 2 4, 2 3: 1 2 4, 2 4: 1 2]);
planar!(DOT_PROD, I8DotProd, "neon,dotprod",
    [1 1: 1 2 4, 1 2: 1 2 4, 1 3: 1 2 4, 1 4: 1 2 4] [2 1: 1 2 4, 2 2: 1 2 4, 2 3: 1 2 4, 2 4: 1 2]);
