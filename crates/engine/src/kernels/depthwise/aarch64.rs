//! aarch64: NEON, and its int8 dot product.

use std::arch::aarch64::*;

use super::body::{self, I8Channels};
use super::{Depthwise, FOUR};
use crate::kernels::conv::aarch64::{DotProd, Neon, code, total};
use crate::kernels::conv::body::Codes;
use crate::kernels::conv::{F32Kernel, I8Kernel, I8Tile};

macro_rules! four_lanes {
    ($level:ident, $sum:ty, $total:expr) => {
        impl I8Channels for $level {
            #[inline(always)]
            unsafe fn load(from: *const u8) -> int8x16_t {
                unsafe { vld1q_s8(from.cast()) }
            }
            #[inline(always)]
            unsafe fn side_by_side([a, b, c, d]: [int8x16_t; FOUR]) -> [int8x16_t; FOUR] {
                unsafe {
                    let pair = |v| vreinterpretq_s16_s8(v);
                    let (ab, cd) = (pair(vzip1q_s8(a, b)), pair(vzip1q_s8(c, d)));
                    let (ab2, cd2) = (pair(vzip2q_s8(a, b)), pair(vzip2q_s8(c, d)));
                    [
                        vreinterpretq_s8_s16(vzip1q_s16(ab, cd)),
                        vreinterpretq_s8_s16(vzip2q_s16(ab, cd)),
                        vreinterpretq_s8_s16(vzip1q_s16(ab2, cd2)),
                        vreinterpretq_s8_s16(vzip2q_s16(ab2, cd2)),
                    ]
                }
            }
            #[inline(always)]
            unsafe fn finish_four<const LINEAR: bool>(
                [a, b, c, d]: [$sum; FOUR],
                t: &I8Tile,
                to: *mut u8,
                codes: Codes,
            ) {
                unsafe {
                    let code = |sum, n| code::<LINEAR>($total(sum), t, n, codes);
                    let ab = vcombine_s16(code(a, 0), code(b, 1));
                    let cd = vcombine_s16(code(c, 2), code(d, 3));
                    let bytes = vcombine_s8(vqmovn_s16(ab), vqmovn_s16(cd));
                    if t.channels >= 16 {
                        vst1q_s8(to.cast(), bytes);
                    } else {
                        let bytes: [u8; 16] = std::mem::transmute(bytes);
                        std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, t.channels);
                    }
                }
            }
        }
    };
}

four_lanes!(Neon, (int32x4_t, int32x4_t), total);
four_lanes!(DotProd, int32x4_t, |sum| sum);

macro_rules! i8_tiles {
    ($vectors:ident, $features:literal, $($m:literal)*) => {{
        #[target_feature(enable = $features)]
        unsafe fn tile<const M: usize>(t: &I8Tile) {
            unsafe { body::i8_tile::<$vectors, M>(t) }
        }
        &[$(tile::<$m> as I8Kernel),*]
    }};
}

macro_rules! f32_tiles {
    ($($m:literal)*) => { &[$(body::f32_tile::<Neon, $m> as F32Kernel),*] };
}

pub const NEON: Depthwise =
    Depthwise { lanes: 4, f32: f32_tiles!(1 2 3 4 5 6 7 8), i8: i8_tiles!(Neon, "neon", 1 2) };

pub const DOT_PROD: Depthwise =
    Depthwise { i8: i8_tiles!(DotProd, "neon,dotprod", 1 2 3 4), ..NEON };
