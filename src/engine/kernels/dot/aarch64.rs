//! aarch64.

use std::arch::aarch64::*;

use super::body::{self, Vectors};
use super::{Dots, F32Dot, I8Dot, POSITIONS};
use crate::engine::kernels::conv::Activation;
use crate::engine::kernels::conv::aarch64::dot_prod;

struct F32Neon;
struct I8Neon;
struct I8DotProd;

impl Vectors for F32Neon {
    type T = f32;
    type W = f32;
    type Sum = float32x4_t;
    type Input = float32x4_t;
    type Weights = float32x4_t;
    type Row = [f32; POSITIONS];
    const WIDTH: usize = 4;
    const MANY: bool = false;
    #[inline(always)]
    unsafe fn zero() -> float32x4_t {
        unsafe { vdupq_n_f32(0.0) }
    }
    #[inline(always)]
    unsafe fn input(from: *const f32) -> float32x4_t {
        unsafe { vld1q_f32(from) }
    }
    #[inline(always)]
    unsafe fn part(from: *const f32, n: usize) -> float32x4_t {
        unsafe {
            let mut values = [0.0f32; 4];
            std::ptr::copy_nonoverlapping(from, values.as_mut_ptr(), n);
            vld1q_f32(values.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn weights(from: *const f32) -> float32x4_t {
        unsafe { vld1q_f32(from) }
    }
    #[inline(always)]
    unsafe fn add(sum: float32x4_t, a: float32x4_t, w: float32x4_t) -> float32x4_t {
        unsafe { vfmaq_f32(sum, a, w) }
    }
    #[inline(always)]
    unsafe fn row(
        s: &[float32x4_t; POSITIONS],
        table: (i32, f32, f32),
        activation: Activation,
    ) -> Self::Row {
        unsafe {
            let four =
                |a: usize| vpaddq_f32(vpaddq_f32(s[a], s[a + 1]), vpaddq_f32(s[a + 2], s[a + 3]));
            let totals =
                std::mem::transmute::<[float32x4_t; 2], [f32; POSITIONS]>([four(0), four(4)]);
            body::f32_row(totals, table, activation)
        }
    }
    #[inline(always)]
    fn array(row: Self::Row) -> [f32; POSITIONS] {
        row
    }
    #[inline(always)]
    unsafe fn store(row: Self::Row, to: *mut f32) {
        unsafe { to.cast::<Self::Row>().write_unaligned(row) }
    }
    #[inline(always)]
    unsafe fn store_mixed(a: Self::Row, b: Self::Row, to: *mut f32) {
        unsafe { body::store_mixed(a, b, to) }
    }
}

macro_rules! i8_vectors {
    ($level:ident, $add:expr) => {
        impl Vectors for $level {
            type T = u8;
            type W = i8;
            type Sum = int32x4_t;
            type Input = int8x16_t;
            type Weights = int8x16_t;
            type Row = [f32; POSITIONS];
            const WIDTH: usize = 16;
            const MANY: bool = false;
            #[inline(always)]
            unsafe fn zero() -> int32x4_t {
                unsafe { vdupq_n_s32(0) }
            }
            #[inline(always)]
            unsafe fn input(from: *const u8) -> int8x16_t {
                unsafe { vld1q_s8(from.cast()) }
            }
            /// The weights are 0 beyond, and every byte is a number.
            #[inline(always)]
            unsafe fn part(from: *const u8, _: usize) -> int8x16_t {
                unsafe { Self::input(from) }
            }
            #[inline(always)]
            unsafe fn weights(from: *const i8) -> int8x16_t {
                unsafe { vld1q_s8(from) }
            }
            #[inline(always)]
            unsafe fn add(sum: int32x4_t, a: int8x16_t, w: int8x16_t) -> int32x4_t {
                unsafe { $add(sum, a, w) }
            }
            #[inline(always)]
            unsafe fn row(
                s: &[int32x4_t; POSITIONS],
                table: (i32, f32, f32),
                activation: Activation,
            ) -> Self::Row {
                unsafe {
                    let four = |a: usize| {
                        vpaddq_s32(vpaddq_s32(s[a], s[a + 1]), vpaddq_s32(s[a + 2], s[a + 3]))
                    };
                    let totals =
                        std::mem::transmute::<[int32x4_t; 2], [i32; POSITIONS]>([four(0), four(4)]);
                    body::i8_row(totals, table, activation)
                }
            }
            #[inline(always)]
            fn array(row: Self::Row) -> [f32; POSITIONS] {
                row
            }
            #[inline(always)]
            unsafe fn store(row: Self::Row, to: *mut f32) {
                unsafe { to.cast::<Self::Row>().write_unaligned(row) }
            }
            #[inline(always)]
            unsafe fn store_mixed(a: Self::Row, b: Self::Row, to: *mut f32) {
                unsafe { body::store_mixed(a, b, to) }
            }
        }
    };
}

/// Two products of |w| ≤ 127 fit i16.
#[inline(always)]
unsafe fn add_neon(sum: int32x4_t, a: int8x16_t, w: int8x16_t) -> int32x4_t {
    unsafe {
        let products = vmull_s8(vget_low_s8(a), vget_low_s8(w));
        vpadalq_s16(sum, vmlal_high_s8(products, a, w))
    }
}

i8_vectors!(I8Neon, add_neon);
i8_vectors!(I8DotProd, dot_prod);

/// Wrappers that switch the instructions on.
macro_rules! dots {
    ($table:ident, $i8:ident, $features:literal) => {
        pub const $table: Dots = {
            #[target_feature(enable = $features)]
            unsafe fn f32_tile<const C: usize>(t: &F32Dot) {
                unsafe { body::tile::<F32Neon, C>(t) }
            }
            #[target_feature(enable = $features)]
            unsafe fn i8_tile<const C: usize>(t: &I8Dot) {
                unsafe { body::tile::<$i8, C>(t) }
            }
            Dots {
                f32_width: <F32Neon as Vectors>::WIDTH,
                i8_width: <$i8 as Vectors>::WIDTH,
                f32: [f32_tile::<1>, f32_tile::<2>, f32_tile::<3>, f32_tile::<4>],
                i8: [i8_tile::<1>, i8_tile::<2>, i8_tile::<3>, i8_tile::<4>],
            }
        };
    };
}

dots!(NEON, I8Neon, "neon");
dots!(DOT_PROD, I8DotProd, "neon,dotprod");
