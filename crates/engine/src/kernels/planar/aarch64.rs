//! aarch64.

use std::arch::aarch64::*;
use std::arch::asm;

use super::body::{self, Turn, Vectors};
use super::{Kernel, Planar, Strip, Table, Tile};
use crate::graph::Activation;
use crate::kernels::conv::aarch64::{Halves, activate, dot_neon, dot_prod, dot_two, halves, total};

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
     $finish:expr $(, $two:ident)?) => {
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
            $(
                const GROUPS: usize = 2;
                #[inline(always)]
                unsafe fn add_groups<const N: usize, const G: usize>(
                    sums: &mut [$sum; N],
                    a: &[[$input; N]; G],
                    weights: [*const u32; G],
                ) {
                    unsafe { $two(sums, a, weights) }
                }
            )?
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

/// As [`Vectors::add_groups`].
#[inline(always)]
unsafe fn add_groups<const N: usize, const G: usize>(
    sums: &mut [Halves; N],
    a: &[[int8x16_t; N]; G],
    weights: [*const u32; G],
) {
    unsafe {
        match (&mut sums[..], a.as_flattened(), &weights[..]) {
            ([first, second], [a0, b0, a1, b1], [w0, w1]) => {
                dot_two_twice([first, second], [[*a0, *a1], [*b0, *b1]], [*w0, *w1]);
            }
            (sums, _, &[w0, w1]) => {
                let w = [w0, w1].map(|w| splat_bytes(w.cast()));
                for (n, sum) in sums.iter_mut().enumerate() {
                    *sum = dot_two(*sum, [a[0][n], a[1][n]], w);
                }
            }
            (sums, _, _) => {
                let w = splat_bytes(weights[0].cast());
                for (n, sum) in sums.iter_mut().enumerate() {
                    *sum = dot_neon(*sum, a[0][n], w);
                }
            }
        }
    }
}

/// [`dot_two`] of two vectors with the same weights. 2 phases of 3 channels take all registers: the
/// compiler would load weights too early.
#[inline(always)]
unsafe fn dot_two_twice(
    sums: [&mut Halves; 2],
    [a, b]: [[int8x16_t; 2]; 2],
    weights: [*const u32; 2],
) {
    let [first, second] = sums;
    unsafe {
        asm!(
            "ld1r {{{w0:v}.4s}}, [{at0}]",
            "ld1r {{{w1:v}.4s}}, [{at1}]",
            "smull {p:v}.8h, {w0:v}.8b, {a0:v}.8b",
            "smull2 {q:v}.8h, {w0:v}.16b, {a0:v}.16b",
            "smlal {p:v}.8h, {w1:v}.8b, {a1:v}.8b",
            "smlal2 {q:v}.8h, {w1:v}.16b, {a1:v}.16b",
            "sadalp {s0:v}.4s, {p:v}.8h",
            "sadalp {s1:v}.4s, {q:v}.8h",
            "smull {p:v}.8h, {w0:v}.8b, {b0:v}.8b",
            "smull2 {q:v}.8h, {w0:v}.16b, {b0:v}.16b",
            "smlal {p:v}.8h, {w1:v}.8b, {b1:v}.8b",
            "smlal2 {q:v}.8h, {w1:v}.16b, {b1:v}.16b",
            "sadalp {s2:v}.4s, {p:v}.8h",
            "sadalp {s3:v}.4s, {q:v}.8h",
            at0 = in(reg) weights[0], at1 = in(reg) weights[1],
            a0 = in(vreg) a[0], a1 = in(vreg) a[1], b0 = in(vreg) b[0], b1 = in(vreg) b[1],
            s0 = inout(vreg) first.0, s1 = inout(vreg) first.1,
            s2 = inout(vreg) second.0, s3 = inout(vreg) second.1,
            w0 = out(vreg) _, w1 = out(vreg) _, p = out(vreg) _, q = out(vreg) _,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
}

#[inline(always)]
unsafe fn start_halves(value: i32) -> Halves {
    unsafe { halves(vdupq_n_s32(value)) }
}

#[inline(always)]
unsafe fn finish_halves(sums: Halves, table: Table, a: Activation) -> float32x4_t {
    unsafe { finish_i32(total(sums), table, a) }
}

vectors!(F32Neon, float32x4_t, float32x4_t, vld1q_f32, vld1q_dup_f32, start_f32, vfmaq_f32, finish);
vectors!(
    I8Neon,
    int8x16_t,
    Halves,
    vld1q_s8,
    splat_bytes,
    start_halves,
    dot_neon,
    finish_halves,
    add_groups
);
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

/// Wrappers that switch the instructions on, and the table of all tiles: by phases and channels,
/// the numbers of vectors.
macro_rules! planar {
    ($table:ident, $i8:ident, $features:literal,
     $([$($p:literal $c:literal: $($n:literal)*),*])*,
     $([$($p8:literal $c8:literal: $($n8:literal)*),*])*) => {
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
                i8: [$([$(&[$(i8_tile::<$p8, $c8, $n8> as Kernel),*]),*]),*],
            }
        };
    };
}

// Of 32 registers; sums of int8 without the dot product take two.
planar!(NEON, I8Neon, "neon",
    [1 1: 1 2 4, 1 2: 1 2 4, 1 3: 1 2 4, 1 4: 1 2 4] [2 1: 1 2 4, 2 2: 1 2 4, 2 3: 1 2 4, 2 4: 1 2],
    [1 1: 1 2 4, 1 2: 1 2, 1 3: 1 2, 1 4: 1 2] [2 1: 1 2, 2 2: 1 2, 2 3: 1 2, 2 4: 1]);
planar!(DOT_PROD, I8DotProd, "neon,dotprod",
    [1 1: 1 2 4, 1 2: 1 2 4, 1 3: 1 2 4, 1 4: 1 2 4] [2 1: 1 2 4, 2 2: 1 2 4, 2 3: 1 2 4, 2 4: 1 2],
    [1 1: 1 2 4, 1 2: 1 2 4, 1 3: 1 2 4, 1 4: 1 2 4] [2 1: 1 2 4, 2 2: 1 2 4, 2 3: 1 2 4, 2 4: 1 2]);
