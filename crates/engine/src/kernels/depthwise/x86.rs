//! x86-64: AVX2 and AVX-512.

use std::arch::x86_64::*;

use super::body::{self, I8Channels};
use super::{Depthwise, FOUR};
use crate::kernels::conv::body::Codes;
use crate::kernels::conv::x86::{Avx2, Avx512, AvxVnni, Vnni, bytes64, code8, pack16, rounded16};
use crate::kernels::conv::{F32Kernel, F32Tile, I8Kernel, I8Tile, OFFSET};

macro_rules! eight_lanes {
    ($level:ident) => {
        impl I8Channels for $level {
            #[inline(always)]
            unsafe fn load(from: *const u8) -> __m256i {
                unsafe { _mm256_loadu_si256(from.cast()) }
            }
            #[inline(always)]
            unsafe fn side_by_side([a, b, c, d]: [__m256i; FOUR]) -> [__m256i; FOUR] {
                unsafe {
                    let (ab, cd) = (_mm256_unpacklo_epi8(a, b), _mm256_unpacklo_epi8(c, d));
                    let (ab2, cd2) = (_mm256_unpackhi_epi8(a, b), _mm256_unpackhi_epi8(c, d));
                    [
                        _mm256_unpacklo_epi16(ab, cd),
                        _mm256_unpackhi_epi16(ab, cd),
                        _mm256_unpacklo_epi16(ab2, cd2),
                        _mm256_unpackhi_epi16(ab2, cd2),
                    ]
                }
            }
            #[inline(always)]
            unsafe fn finish_four<const LINEAR: bool>(
                [a, b, c, d]: [__m256i; FOUR],
                t: &I8Tile,
                to: *mut u8,
                codes: Codes,
            ) {
                unsafe {
                    // Packing brings the channels back in order.
                    let a = code8::<LINEAR>(a, t, 0, codes);
                    let b = code8::<LINEAR>(b, t, 1, codes);
                    let c = code8::<LINEAR>(c, t, 2, codes);
                    let d = code8::<LINEAR>(d, t, 3, codes);
                    let (ab, cd) = (_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
                    let offset = _mm256_set1_epi8(OFFSET as i8);
                    let bytes = _mm256_xor_si256(_mm256_packs_epi16(ab, cd), offset);
                    if t.channels >= 32 {
                        _mm256_storeu_si256(to.cast(), bytes);
                    } else {
                        let bytes: [u8; 32] = std::mem::transmute(bytes);
                        std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, t.channels);
                    }
                }
            }
        }
    };
}

macro_rules! sixteen_lanes {
    ($level:ident) => {
        impl I8Channels for $level {
            #[inline(always)]
            unsafe fn load(from: *const u8) -> __m512i {
                unsafe { _mm512_loadu_si512(from.cast()) }
            }
            #[inline(always)]
            unsafe fn side_by_side([a, b, c, d]: [__m512i; FOUR]) -> [__m512i; FOUR] {
                unsafe {
                    let (ab, cd) = (_mm512_unpacklo_epi8(a, b), _mm512_unpacklo_epi8(c, d));
                    let (ab2, cd2) = (_mm512_unpackhi_epi8(a, b), _mm512_unpackhi_epi8(c, d));
                    [
                        _mm512_unpacklo_epi16(ab, cd),
                        _mm512_unpackhi_epi16(ab, cd),
                        _mm512_unpacklo_epi16(ab2, cd2),
                        _mm512_unpackhi_epi16(ab2, cd2),
                    ]
                }
            }
            #[inline(always)]
            unsafe fn finish_four<const LINEAR: bool>(
                [a, b, c, d]: [__m512i; FOUR],
                t: &I8Tile,
                to: *mut u8,
                codes: Codes,
            ) {
                unsafe {
                    let a = rounded16::<LINEAR>(a, t, 0);
                    let b = rounded16::<LINEAR>(b, t, 1);
                    let c = rounded16::<LINEAR>(c, t, 2);
                    let d = rounded16::<LINEAR>(d, t, 3);
                    bytes64(pack16([a, b, c, d], codes), to, t.channels);
                }
            }
        }
    };
}

eight_lanes!(Avx2);
eight_lanes!(AvxVnni);
sixteen_lanes!(Avx512);
sixteen_lanes!(Vnni);

/// What a level offers, in wrappers that switch the instructions on.
macro_rules! depthwise {
    ($name:ident, $lanes:literal, $f32:ident, $i8:ident, $features:literal,
        [$($m:literal)*], [$($n:literal)*]) => {
        pub const $name: Depthwise = {
            #[target_feature(enable = $features)]
            unsafe fn f32_tile<const M: usize>(t: &F32Tile) {
                unsafe { body::f32_tile::<$f32, M>(t) }
            }
            #[target_feature(enable = $features)]
            unsafe fn i8_tile<const M: usize>(t: &I8Tile) {
                unsafe { body::i8_tile::<$i8, M>(t) }
            }
            Depthwise {
                lanes: $lanes,
                f32: &[$(f32_tile::<$m> as F32Kernel),*],
                i8: &[$(i8_tile::<$n> as I8Kernel),*],
            }
        };
    };
}

// Of 16 registers.
depthwise!(AVX2, 8, Avx2, Avx2, "avx2,fma", [1 2 3 4 5 6 7 8], [1]);
depthwise!(AVX_VNNI, 8, Avx2, AvxVnni, "avx2,fma,avxvnni", [1 2 3 4 5 6 7 8], [1 2]);
// Of 32 registers.
depthwise!(AVX512, 16, Avx512, Avx512, "avx512f,avx512bw,avx512dq,avx512vl",
    [1 2 3 4 5 6 7 8], [1 2]);
depthwise!(VNNI, 16, Avx512, Vnni, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni",
    [1 2 3 4 5 6 7 8], [1 2 3 4]);
