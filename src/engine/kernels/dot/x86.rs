//! x86-64.

use std::arch::x86_64::*;

use super::body::{self, Vectors};
use super::{Dots, F32Dot, I8Dot, POSITIONS};
use crate::engine::kernels::conv::Activation;
use crate::engine::kernels::conv::x86::{activate8, dot_avx2, dot_avx512};

struct F32Avx2;
struct F32Avx512;
struct I8Avx2;
struct I8AvxVnni;
struct I8Avx512;
struct I8Vnni;

/// `activation(sums · factor + bias)`, not fused: the same rounding as on every architecture.
#[inline(always)]
unsafe fn finish(sums: __m256, (_, factor, bias): (i32, f32, f32), a: Activation) -> __m256 {
    unsafe {
        let v = _mm256_mul_ps(sums, _mm256_set1_ps(factor));
        let v = _mm256_add_ps(v, _mm256_set1_ps(bias));
        activate8(v, a.negative_slope, a.max)
    }
}

#[inline(always)]
unsafe fn finish_i32(sums: __m256i, table: (i32, f32, f32), a: Activation) -> __m256 {
    unsafe {
        let sums = _mm256_add_epi32(sums, _mm256_set1_epi32(table.0));
        finish(_mm256_cvtepi32_ps(sums), table, a)
    }
}

#[inline(always)]
unsafe fn mixed(a: __m256, b: __m256, to: *mut f32) {
    unsafe {
        let (low, high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        _mm256_storeu_ps(to, _mm256_permute2f128_ps::<0x20>(low, high));
        _mm256_storeu_ps(to.add(8), _mm256_permute2f128_ps::<0x31>(low, high));
    }
}

impl Vectors for F32Avx2 {
    type T = f32;
    type W = f32;
    type Sum = __m256;
    type Input = __m256;
    type Weights = __m256;
    type Row = __m256;
    const WIDTH: usize = 8;
    const MANY: bool = false;
    #[inline(always)]
    unsafe fn zero() -> __m256 {
        unsafe { _mm256_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn input(from: *const f32) -> __m256 {
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn part(from: *const f32, n: usize) -> __m256 {
        unsafe {
            let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            _mm256_maskload_ps(from, _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), lane))
        }
    }
    #[inline(always)]
    unsafe fn weights(from: *const f32) -> __m256 {
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn add(sum: __m256, a: __m256, w: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, w, sum) }
    }
    #[inline(always)]
    unsafe fn row(s: &[__m256; POSITIONS], table: (i32, f32, f32), a: Activation) -> __m256 {
        unsafe {
            let four = |a: usize| {
                let ab = _mm256_hadd_ps(s[a], s[a + 1]);
                let cd = _mm256_hadd_ps(s[a + 2], s[a + 3]);
                let all = _mm256_hadd_ps(ab, cd);
                _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1))
            };
            finish(_mm256_set_m128(four(4), four(0)), table, a)
        }
    }
    #[inline(always)]
    fn array(row: __m256) -> [f32; POSITIONS] {
        // SAFETY: both are 8 values.
        unsafe { std::mem::transmute(row) }
    }
    #[inline(always)]
    unsafe fn store(row: __m256, to: *mut f32) {
        unsafe { _mm256_storeu_ps(to, row) }
    }
    #[inline(always)]
    unsafe fn store_mixed(a: __m256, b: __m256, to: *mut f32) {
        unsafe { mixed(a, b, to) }
    }
}

impl Vectors for F32Avx512 {
    type T = f32;
    type W = f32;
    type Sum = __m512;
    type Input = __m512;
    type Weights = __m512;
    type Row = __m256;
    const WIDTH: usize = 16;
    const MANY: bool = true;
    #[inline(always)]
    unsafe fn zero() -> __m512 {
        unsafe { _mm512_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn input(from: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn part(from: *const f32, n: usize) -> __m512 {
        unsafe { _mm512_maskz_loadu_ps(((1u32 << n) - 1) as u16, from) }
    }
    #[inline(always)]
    unsafe fn weights(from: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn add(sum: __m512, a: __m512, w: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, w, sum) }
    }
    #[inline(always)]
    unsafe fn row(
        s: &[__m512; POSITIONS],
        table: (i32, f32, f32),
        activation: Activation,
    ) -> __m256 {
        unsafe {
            // Halves of neighbours, then quarters, then within the 128-bit lanes.
            let half = |a: __m512, b: __m512| {
                let low = _mm512_shuffle_f32x4::<0x44>(a, b);
                let high = _mm512_shuffle_f32x4::<0xEE>(a, b);
                _mm512_add_ps(low, high)
            };
            let quarter = |a: __m512, b: __m512| {
                let even = _mm512_shuffle_f32x4::<0x88>(a, b);
                let odd = _mm512_shuffle_f32x4::<0xDD>(a, b);
                _mm512_add_ps(even, odd)
            };
            // Lanes: positions 0 1 2 3 and 4 5 6 7.
            let a = quarter(half(s[0], s[1]), half(s[2], s[3]));
            let b = quarter(half(s[4], s[5]), half(s[6], s[7]));
            let even = _mm512_shuffle_ps::<0x88>(a, b);
            let odd = _mm512_shuffle_ps::<0xDD>(a, b);
            let ab = _mm512_add_ps(even, odd);
            let sums = _mm512_add_ps(ab, _mm512_permute_ps::<0xB1>(ab));
            let order = _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 0, 0, 0, 0, 0, 0, 0, 0);
            let sums = _mm512_castps512_ps256(_mm512_permutexvar_ps(order, sums));
            finish(sums, table, activation)
        }
    }
    #[inline(always)]
    fn array(row: __m256) -> [f32; POSITIONS] {
        // SAFETY: both are 8 values.
        unsafe { std::mem::transmute(row) }
    }
    #[inline(always)]
    unsafe fn store(row: __m256, to: *mut f32) {
        unsafe { _mm256_storeu_ps(to, row) }
    }
    #[inline(always)]
    unsafe fn store_mixed(a: __m256, b: __m256, to: *mut f32) {
        unsafe { mixed(a, b, to) }
    }
}

macro_rules! i8_256 {
    ($level:ident, $add:expr) => {
        impl Vectors for $level {
            type T = u8;
            type W = i8;
            type Sum = __m256i;
            type Input = __m256i;
            type Weights = __m256i;
            type Row = __m256;
            const WIDTH: usize = 32;
            const MANY: bool = false;
            #[inline(always)]
            unsafe fn zero() -> __m256i {
                unsafe { _mm256_setzero_si256() }
            }
            #[inline(always)]
            unsafe fn input(from: *const u8) -> __m256i {
                unsafe { _mm256_loadu_si256(from.cast()) }
            }
            /// The weights are 0 beyond, and every byte is a number.
            #[inline(always)]
            unsafe fn part(from: *const u8, _: usize) -> __m256i {
                unsafe { Self::input(from) }
            }
            #[inline(always)]
            unsafe fn weights(from: *const i8) -> __m256i {
                unsafe { _mm256_loadu_si256(from.cast()) }
            }
            #[inline(always)]
            unsafe fn add(sum: __m256i, a: __m256i, w: __m256i) -> __m256i {
                unsafe { $add(sum, a, w) }
            }
            #[inline(always)]
            unsafe fn row(
                s: &[__m256i; POSITIONS],
                table: (i32, f32, f32),
                activation: Activation,
            ) -> __m256 {
                unsafe {
                    let four = |a: usize| {
                        let ab = _mm256_hadd_epi32(s[a], s[a + 1]);
                        let cd = _mm256_hadd_epi32(s[a + 2], s[a + 3]);
                        let all = _mm256_hadd_epi32(ab, cd);
                        let high = _mm256_extracti128_si256(all, 1);
                        _mm_add_epi32(_mm256_castsi256_si128(all), high)
                    };
                    let sums = _mm256_set_m128i(four(4), four(0));
                    finish_i32(sums, table, activation)
                }
            }
            #[inline(always)]
            fn array(row: __m256) -> [f32; POSITIONS] {
                // SAFETY: both are 8 values.
                unsafe { std::mem::transmute(row) }
            }
            #[inline(always)]
            unsafe fn store(row: __m256, to: *mut f32) {
                unsafe { _mm256_storeu_ps(to, row) }
            }
            #[inline(always)]
            unsafe fn store_mixed(a: __m256, b: __m256, to: *mut f32) {
                unsafe { mixed(a, b, to) }
            }
        }
    };
}

#[inline(always)]
unsafe fn add_avx2(sum: __m256i, a: __m256i, w: __m256i) -> __m256i {
    unsafe { dot_avx2(sum, a, w) }
}

i8_256!(I8Avx2, add_avx2);
i8_256!(I8AvxVnni, _mm256_dpbusd_avx_epi32);

macro_rules! i8_512 {
    ($level:ident, $add:expr) => {
        impl Vectors for $level {
            type T = u8;
            type W = i8;
            type Sum = __m512i;
            type Input = __m512i;
            type Weights = __m512i;
            type Row = __m256;
            const WIDTH: usize = 64;
            const MANY: bool = true;
            #[inline(always)]
            unsafe fn zero() -> __m512i {
                unsafe { _mm512_setzero_si512() }
            }
            #[inline(always)]
            unsafe fn input(from: *const u8) -> __m512i {
                unsafe { _mm512_loadu_si512(from.cast()) }
            }
            /// The weights are 0 beyond, and every byte is a number.
            #[inline(always)]
            unsafe fn part(from: *const u8, _: usize) -> __m512i {
                unsafe { Self::input(from) }
            }
            #[inline(always)]
            unsafe fn weights(from: *const i8) -> __m512i {
                unsafe { _mm512_loadu_si512(from.cast()) }
            }
            #[inline(always)]
            unsafe fn add(sum: __m512i, a: __m512i, w: __m512i) -> __m512i {
                unsafe { $add(sum, a, w) }
            }
            #[inline(always)]
            unsafe fn row(
                s: &[__m512i; POSITIONS],
                table: (i32, f32, f32),
                activation: Activation,
            ) -> __m256 {
                unsafe {
                    let half = |a: __m512i, b: __m512i| {
                        let low = _mm512_shuffle_i32x4::<0x44>(a, b);
                        let high = _mm512_shuffle_i32x4::<0xEE>(a, b);
                        _mm512_add_epi32(low, high)
                    };
                    let quarter = |a: __m512i, b: __m512i| {
                        let even = _mm512_shuffle_i32x4::<0x88>(a, b);
                        let odd = _mm512_shuffle_i32x4::<0xDD>(a, b);
                        _mm512_add_epi32(even, odd)
                    };
                    let a = quarter(half(s[0], s[1]), half(s[2], s[3]));
                    let b = quarter(half(s[4], s[5]), half(s[6], s[7]));
                    let (a, b) = (_mm512_castsi512_ps(a), _mm512_castsi512_ps(b));
                    let even = _mm512_castps_si512(_mm512_shuffle_ps::<0x88>(a, b));
                    let odd = _mm512_castps_si512(_mm512_shuffle_ps::<0xDD>(a, b));
                    let ab = _mm512_add_epi32(even, odd);
                    let sums = _mm512_add_epi32(ab, _mm512_shuffle_epi32::<0xB1>(ab));
                    let order =
                        _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 0, 0, 0, 0, 0, 0, 0, 0);
                    let sums = _mm512_permutexvar_epi32(order, sums);
                    finish_i32(_mm512_castsi512_si256(sums), table, activation)
                }
            }
            #[inline(always)]
            fn array(row: __m256) -> [f32; POSITIONS] {
                // SAFETY: both are 8 values.
                unsafe { std::mem::transmute(row) }
            }
            #[inline(always)]
            unsafe fn store(row: __m256, to: *mut f32) {
                unsafe { _mm256_storeu_ps(to, row) }
            }
            #[inline(always)]
            unsafe fn store_mixed(a: __m256, b: __m256, to: *mut f32) {
                unsafe { mixed(a, b, to) }
            }
        }
    };
}

#[inline(always)]
unsafe fn add_avx512(sum: __m512i, a: __m512i, w: __m512i) -> __m512i {
    unsafe { dot_avx512(sum, a, w) }
}

i8_512!(I8Avx512, add_avx512);
i8_512!(I8Vnni, _mm512_dpbusd_epi32);

/// Wrappers that switch the instructions on.
macro_rules! dots {
    ($table:ident, $f32:ident, $i8:ident, $features:literal) => {
        pub const $table: Dots = {
            #[target_feature(enable = $features)]
            unsafe fn f32_tile<const C: usize>(t: &F32Dot) {
                unsafe { body::tile::<$f32, C>(t) }
            }
            #[target_feature(enable = $features)]
            unsafe fn i8_tile<const C: usize>(t: &I8Dot) {
                unsafe { body::tile::<$i8, C>(t) }
            }
            Dots {
                f32_width: <$f32 as Vectors>::WIDTH,
                i8_width: <$i8 as Vectors>::WIDTH,
                f32: [f32_tile::<1>, f32_tile::<2>, f32_tile::<3>, f32_tile::<4>],
                i8: [i8_tile::<1>, i8_tile::<2>, i8_tile::<3>, i8_tile::<4>],
            }
        };
    };
}

dots!(AVX2, F32Avx2, I8Avx2, "avx2,fma");
dots!(AVX_VNNI, F32Avx2, I8AvxVnni, "avx2,fma,avxvnni");
dots!(AVX512, F32Avx512, I8Avx512, "avx512f,avx512bw,avx512dq,avx512vl");
dots!(VNNI, F32Avx512, I8Vnni, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni");
