//! x86-64.

use std::arch::x86_64::*;

use super::body::{self, Turn, Vectors};
use super::{Kernel, Planar, Strip, Table, Tile};
use crate::graph::Activation;
use crate::kernels::conv::x86::{activate8, activate16, dot_avx2, dot_avx512};

struct F32Avx2;
struct F32Avx512;
struct I8Avx2;
struct I8AvxVnni;
struct I8Avx512;
struct I8Vnni;

/// `activation(sums · factor + bias)`, not fused: the same rounding as on every architecture.
#[inline(always)]
unsafe fn finish8(sums: __m256, table: Table, a: Activation) -> __m256 {
    unsafe {
        let v = _mm256_mul_ps(sums, _mm256_set1_ps(table.factor));
        let v = _mm256_add_ps(v, _mm256_set1_ps(table.bias));
        activate8(v, a.negative_slope, a.max)
    }
}

#[inline(always)]
unsafe fn finish16(sums: __m512, table: Table, a: Activation) -> __m512 {
    unsafe {
        let v = _mm512_mul_ps(sums, _mm512_set1_ps(table.factor));
        let v = _mm512_add_ps(v, _mm512_set1_ps(table.bias));
        activate16(v, a.negative_slope, a.max)
    }
}

#[inline(always)]
unsafe fn finish8_i32(sums: __m256i, table: Table, a: Activation) -> __m256 {
    unsafe { finish8(_mm256_cvtepi32_ps(sums), table, a) }
}

#[inline(always)]
unsafe fn finish16_i32(sums: __m512i, table: Table, a: Activation) -> __m512 {
    unsafe { finish16(_mm512_cvtepi32_ps(sums), table, a) }
}

#[inline(always)]
unsafe fn store_mixed8(a: __m256, b: __m256, to: *mut f32) {
    unsafe {
        let (low, high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        _mm256_storeu_ps(to, _mm256_permute2f128_ps::<0x20>(low, high));
        _mm256_storeu_ps(to.add(8), _mm256_permute2f128_ps::<0x31>(low, high));
    }
}

#[inline(always)]
unsafe fn store_mixed16(a: __m512, b: __m512, to: *mut f32) {
    unsafe {
        let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        let high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
        _mm512_storeu_ps(to, _mm512_permutex2var_ps(a, low, b));
        _mm512_storeu_ps(to.add(16), _mm512_permutex2var_ps(a, high, b));
    }
}

macro_rules! vectors {
    ($level:ident, $lanes:literal, $input:ty, $sum:ty, $load:expr, $splat:expr, $start:expr,
     $add:expr, $finish:expr, $store:expr, $store_mixed:expr) => {
        impl Vectors for $level {
            const LANES: usize = $lanes;
            type Input = $input;
            type Sum = $sum;
            #[inline(always)]
            unsafe fn load(from: *const u32) -> $input {
                unsafe { $load(from.cast()) }
            }
            #[inline(always)]
            unsafe fn splat(from: *const u32) -> $input {
                unsafe { $splat(*from.cast()) }
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
                unsafe { $store(to, $finish(sum, table, a)) }
            }
            #[inline(always)]
            unsafe fn store_mixed(sums: [$sum; 2], t: [Table; 2], a: Activation, to: *mut f32) {
                unsafe { $store_mixed($finish(sums[0], t[0], a), $finish(sums[1], t[1], a), to) }
            }
        }
    };
}

#[inline(always)]
unsafe fn start8(value: i32) -> __m256 {
    unsafe { _mm256_set1_ps(value as f32) }
}

#[inline(always)]
unsafe fn start16(value: i32) -> __m512 {
    unsafe { _mm512_set1_ps(value as f32) }
}

#[inline(always)]
unsafe fn fma8(sum: __m256, a: __m256, w: __m256) -> __m256 {
    unsafe { _mm256_fmadd_ps(a, w, sum) }
}

#[inline(always)]
unsafe fn fma16(sum: __m512, a: __m512, w: __m512) -> __m512 {
    unsafe { _mm512_fmadd_ps(a, w, sum) }
}

vectors!(
    F32Avx2,
    8,
    __m256,
    __m256,
    _mm256_loadu_ps,
    _mm256_set1_ps,
    start8,
    fma8,
    finish8,
    _mm256_storeu_ps,
    store_mixed8
);
vectors!(
    F32Avx512,
    16,
    __m512,
    __m512,
    _mm512_loadu_ps,
    _mm512_set1_ps,
    start16,
    fma16,
    finish16,
    _mm512_storeu_ps,
    store_mixed16
);

macro_rules! i8_vectors {
    ($($level:ident: $add:expr),*; 8) => { $(
        vectors!($level, 8, __m256i, __m256i, _mm256_loadu_si256, _mm256_set1_epi32,
            _mm256_set1_epi32, $add, finish8_i32, _mm256_storeu_ps, store_mixed8);
    )* };
    ($($level:ident: $add:expr),*; 16) => { $(
        vectors!($level, 16, __m512i, __m512i, _mm512_loadu_si512, _mm512_set1_epi32,
            _mm512_set1_epi32, $add, finish16_i32, _mm512_storeu_ps, store_mixed16);
    )* };
}

i8_vectors!(I8Avx2: dot_avx2, I8AvxVnni: _mm256_dpbusd_avx_epi32; 8);
i8_vectors!(I8Avx512: dot_avx512, I8Vnni: _mm512_dpbusd_epi32; 16);

/// Each 128-bit lane turns 4 positions of its own: the q-th row holds the q-th of every four.
impl Turn for F32Avx2 {
    const LANES: usize = 8;
    #[inline(always)]
    unsafe fn turn(from: *const u8, step: usize, to: *mut u32, pitch: usize) {
        unsafe {
            let load = |x: usize| _mm_loadu_ps(from.add(x * step).cast());
            let row = |q: usize| _mm256_set_m128(load(4 + q), load(q));
            let [a, b, c, d] = [row(0), row(1), row(2), row(3)];
            let (ab, cd) = (_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d));
            let store = |group: usize, v| _mm256_storeu_ps(to.add(group * pitch).cast(), v);
            store(0, _mm256_shuffle_ps::<0x44>(ab, cd));
            store(1, _mm256_shuffle_ps::<0xEE>(ab, cd));
            let (ab, cd) = (_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d));
            store(2, _mm256_shuffle_ps::<0x44>(ab, cd));
            store(3, _mm256_shuffle_ps::<0xEE>(ab, cd));
        }
    }
}

impl Turn for F32Avx512 {
    const LANES: usize = 16;
    #[inline(always)]
    unsafe fn turn(from: *const u8, step: usize, to: *mut u32, pitch: usize) {
        unsafe {
            let load = |x: usize| _mm_loadu_ps(from.add(x * step).cast());
            let row = |q: usize| {
                let row = _mm512_castps128_ps512(load(q));
                let row = _mm512_insertf32x4::<1>(row, load(4 + q));
                let row = _mm512_insertf32x4::<2>(row, load(8 + q));
                _mm512_insertf32x4::<3>(row, load(12 + q))
            };
            let [a, b, c, d] = [row(0), row(1), row(2), row(3)];
            let (ab, cd) = (_mm512_unpacklo_ps(a, b), _mm512_unpacklo_ps(c, d));
            let store = |group: usize, v| _mm512_storeu_ps(to.add(group * pitch).cast(), v);
            store(0, _mm512_shuffle_ps::<0x44>(ab, cd));
            store(1, _mm512_shuffle_ps::<0xEE>(ab, cd));
            let (ab, cd) = (_mm512_unpackhi_ps(a, b), _mm512_unpackhi_ps(c, d));
            store(2, _mm512_shuffle_ps::<0x44>(ab, cd));
            store(3, _mm512_shuffle_ps::<0xEE>(ab, cd));
        }
    }
}

/// Wrappers that switch the instructions on, and the table of all tiles.
macro_rules! planar {
    ($table:ident, $lanes:literal, $f32:ident, $i8:ident, $features:literal,
     $([$($p:literal $c:literal: $($n:literal)*),*])*) => {
        pub const $table: Planar = {
            #[target_feature(enable = $features)]
            unsafe fn turn(s: &Strip) {
                unsafe { body::turn::<$f32>(s) }
            }
            #[target_feature(enable = $features)]
            unsafe fn f32_tile<const P: usize, const C: usize, const N: usize>(t: &Tile) {
                unsafe { body::tile::<$f32, P, C, N>(t) }
            }
            #[target_feature(enable = $features)]
            unsafe fn i8_tile<const P: usize, const C: usize, const N: usize>(t: &Tile) {
                unsafe { body::tile::<$i8, P, C, N>(t) }
            }
            Planar {
                lanes: $lanes,
                turn,
                f32: [$([$(&[$(f32_tile::<$p, $c, $n> as Kernel),*]),*]),*],
                i8: [$([$(&[$(i8_tile::<$p, $c, $n> as Kernel),*]),*]),*],
            }
        };
    };
}

// Of 16 registers.
planar!(AVX2, 8, F32Avx2, I8Avx2, "avx2,fma",
    [1 1: 1 2 4, 1 2: 1 2 4, 1 3: 1 2 4, 1 4: 1 2] [2 1: 1 2 4, 2 2: 1 2, 2 3: 1 2, 2 4: 1]);
planar!(AVX_VNNI, 8, F32Avx2, I8AvxVnni, "avx2,fma,avxvnni",
    [1 1: 1 2 4, 1 2: 1 2 4, 1 3: 1 2 4, 1 4: 1 2] [2 1: 1 2 4, 2 2: 1 2, 2 3: 1 2, 2 4: 1]);
// Of 32 registers.
planar!(AVX512, 16, F32Avx512, I8Avx512, "avx512f,avx512bw,avx512dq,avx512vl",
    [1 1: 1 2 4, 1 2: 1 2 4, 1 3: 1 2 4, 1 4: 1 2 4] [2 1: 1 2 4, 2 2: 1 2 4, 2 3: 1 2 4, 2 4: 1 2]);
planar!(VNNI, 16, F32Avx512, I8Vnni, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni",
    [1 1: 1 2 4, 1 2: 1 2 4, 1 3: 1 2 4, 1 4: 1 2 4] [2 1: 1 2 4, 2 2: 1 2 4, 2 3: 1 2 4, 2 4: 1 2]);
