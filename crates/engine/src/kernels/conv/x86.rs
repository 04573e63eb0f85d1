//! x86-64: AVX2 with FMA, AVX-512, and their int8 dot products.

use std::arch::x86_64::*;

use super::body::{self, Codes, F32Vectors, I8Vectors};
use super::transform::{self, Forward, Inverse};
use super::{Activation, F32Kernel, F32Tile, I8Kernel, I8Tile, OFFSET, OFFSET_VALUE, Tiles};

/// 8 lanes.
pub struct Avx2;
/// 8 lanes, int8 by the 256-bit dot product.
pub struct AvxVnni;
/// 16 lanes.
pub struct Avx512;
/// 16 lanes, int8 by the 512-bit dot product.
pub struct Vnni;

/// All ones in the first `channels` of 8 lanes.
#[inline(always)]
unsafe fn mask8(channels: usize) -> __m256i {
    unsafe {
        let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        _mm256_cmpgt_epi32(_mm256_set1_epi32(channels.min(8) as i32), lane)
    }
}

/// Stores the first `channels` lanes: whole vectors without a mask, which would be slower.
#[inline(always)]
unsafe fn floats8(v: __m256, to: *mut f32, channels: usize) {
    unsafe {
        if channels >= 8 {
            _mm256_storeu_ps(to, v);
        } else {
            _mm256_maskstore_ps(to, mask8(channels), v);
        }
    }
}

/// Ones in the first `channels` of 16 lanes.
#[inline(always)]
fn mask16(channels: usize) -> __mmask16 {
    if channels >= 16 { !0 } else { (1 << channels) - 1 }
}

#[inline(always)]
pub unsafe fn activate8(v: __m256, slope: f32, max: f32) -> __m256 {
    unsafe {
        // The sign bit chooses: −0 · slope is −0 or 0, both right.
        let v = _mm256_blendv_ps(v, _mm256_mul_ps(v, _mm256_set1_ps(slope)), v);
        // In this order NaN stays NaN.
        _mm256_min_ps(_mm256_set1_ps(max), v)
    }
}

#[inline(always)]
pub unsafe fn activate16(v: __m512, slope: f32, max: f32) -> __m512 {
    unsafe {
        let negative = _mm512_movepi32_mask(_mm512_castps_si512(v));
        let v = _mm512_mask_mul_ps(v, negative, v, _mm512_set1_ps(slope));
        _mm512_min_ps(_mm512_set1_ps(max), v)
    }
}

impl F32Vectors for Avx2 {
    const LANES: usize = 8;
    type V = __m256;
    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn splat(from: *const f32) -> __m256 {
        unsafe { _mm256_set1_ps(*from) }
    }
    #[inline(always)]
    unsafe fn store(v: __m256, to: *mut f32) {
        unsafe { _mm256_storeu_ps(to, v) }
    }
    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn finish(v: __m256, activation: Activation, to: *mut f32, channels: usize) {
        unsafe {
            let v = activate8(v, activation.negative_slope, activation.max);
            floats8(v, to, channels);
        }
    }
}

impl F32Vectors for Avx512 {
    const LANES: usize = 16;
    type V = __m512;
    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn splat(from: *const f32) -> __m512 {
        unsafe { _mm512_set1_ps(*from) }
    }
    #[inline(always)]
    unsafe fn store(v: __m512, to: *mut f32) {
        unsafe { _mm512_storeu_ps(to, v) }
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn finish(v: __m512, activation: Activation, to: *mut f32, channels: usize) {
        unsafe {
            let v = activate16(v, activation.negative_slope, activation.max);
            floats16(v, to, channels);
        }
    }
}

/// What both 8-lane int8 levels share: everything but the dot product.
#[inline(always)]
unsafe fn value8<const LINEAR: bool>(sum: __m256i, t: &I8Tile, n: usize) -> __m256 {
    unsafe {
        let scale = _mm256_loadu_ps(t.scale.add(8 * n));
        let bias = _mm256_loadu_ps(t.bias.add(8 * n));
        let v = _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sum), scale), bias);
        if LINEAR {
            return _mm256_min_ps(_mm256_set1_ps(t.activation.max), v);
        }
        activate8(v, t.activation.negative_slope, t.activation.max)
    }
}

/// A vector's codes, which may be beyond a byte yet.
#[inline(always)]
pub unsafe fn code8<const LINEAR: bool>(
    sum: __m256i,
    t: &I8Tile,
    n: usize,
    codes: Codes,
) -> __m256i {
    unsafe {
        // In this order NaN becomes the lowest value; the activation bounds what is above.
        let v = _mm256_max_ps(value8::<LINEAR>(sum, t, n), _mm256_set1_ps(codes.lowest));
        _mm256_add_epi32(_mm256_cvtps_epi32(v), _mm256_set1_epi32(codes.zero))
    }
}

#[inline(always)]
unsafe fn bytes8(q: __m256i, to: *mut u8, channels: usize) {
    unsafe {
        let q16 = _mm_packs_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
        let q8 = _mm_xor_si128(_mm_packs_epi16(q16, q16), _mm_set1_epi8(OFFSET as i8));
        if channels >= 8 {
            _mm_storel_epi64(to.cast(), q8);
        } else {
            let bytes: [u8; 16] = std::mem::transmute(q8);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, channels);
        }
    }
}

macro_rules! eight_lanes {
    ($level:ident, $dot:expr) => {
        impl I8Vectors for $level {
            const LANES: usize = 8;
            type Sum = __m256i;
            type Weights = __m256i;
            type Bytes = __m256i;
            #[inline(always)]
            unsafe fn init(from: *const i32) -> __m256i {
                unsafe { _mm256_loadu_si256(from.cast()) }
            }
            #[inline(always)]
            unsafe fn weights(from: *const i8) -> __m256i {
                unsafe { _mm256_loadu_si256(from.cast()) }
            }
            #[inline(always)]
            unsafe fn splat(from: *const u8) -> __m256i {
                unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
            }
            #[inline(always)]
            unsafe fn dot(sum: __m256i, a: __m256i, w: __m256i) -> __m256i {
                unsafe { $dot(sum, a, w) }
            }
            #[inline(always)]
            unsafe fn finish_f32(s: __m256i, t: &I8Tile, n: usize, to: *mut f32, channels: usize) {
                unsafe { floats8(value8::<false>(s, t, n), to, channels) }
            }
            #[inline(always)]
            unsafe fn finish_stored<const LINEAR: bool>(
                s: __m256i,
                t: &I8Tile,
                n: usize,
                to: *mut u8,
                codes: Codes,
                channels: usize,
            ) {
                unsafe { bytes8(code8::<LINEAR>(s, t, n, codes), to, channels) }
            }
        }
    };
}

/// Through i16, even and odd bytes apart: `vpmaddubsw` would saturate.
#[inline(always)]
pub unsafe fn dot_avx2(sum: __m256i, a: __m256i, w: __m256i) -> __m256i {
    unsafe {
        let even = _mm256_and_si256(a, _mm256_set1_epi16(0xFF));
        let odd = _mm256_srli_epi16(a, 8);
        let even_w = _mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8);
        let odd_w = _mm256_srai_epi16(w, 8);
        let even = _mm256_madd_epi16(even, even_w);
        let odd = _mm256_madd_epi16(odd, odd_w);
        _mm256_add_epi32(sum, _mm256_add_epi32(even, odd))
    }
}

eight_lanes!(Avx2, dot_avx2);
eight_lanes!(AvxVnni, _mm256_dpbusd_avx_epi32);

#[inline(always)]
unsafe fn value16<const LINEAR: bool>(sum: __m512i, t: &I8Tile, n: usize) -> __m512 {
    unsafe {
        let scale = _mm512_loadu_ps(t.scale.add(16 * n));
        let bias = _mm512_loadu_ps(t.bias.add(16 * n));
        let v = _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale), bias);
        if LINEAR {
            return _mm512_min_ps(_mm512_set1_ps(t.activation.max), v);
        }
        activate16(v, t.activation.negative_slope, t.activation.max)
    }
}

/// As [`code8`].
#[inline(always)]
unsafe fn code16<const LINEAR: bool>(sum: __m512i, t: &I8Tile, n: usize, codes: Codes) -> __m512i {
    unsafe {
        let v = _mm512_max_ps(value16::<LINEAR>(sum, t, n), _mm512_set1_ps(codes.lowest));
        _mm512_add_epi32(_mm512_cvtps_epi32(v), _mm512_set1_epi32(codes.zero))
    }
}

/// A vector's rounded values: bounded above by the activation, and what is below i32 or no number
/// is its lowest.
#[inline(always)]
pub unsafe fn rounded16<const LINEAR: bool>(sum: __m512i, t: &I8Tile, n: usize) -> __m512i {
    unsafe { _mm512_cvtps_epi32(value16::<LINEAR>(sum, t, n)) }
}

/// Stored bytes of the rounded values of four vectors, which lie in each 16 bytes in turn. Rounding
/// keeps the order of values, so the zero point and the lowest code come in where more fit into a
/// register.
#[inline(always)]
pub unsafe fn pack16(values: [__m512i; 4], codes: Codes) -> __m512i {
    unsafe {
        let zero = _mm512_set1_epi16((codes.zero + OFFSET_VALUE) as i16);
        let two = |a, b| _mm512_adds_epi16(_mm512_packs_epi32(a, b), zero);
        let bytes = |[a, b, c, d]: [__m512i; 4]| _mm512_packus_epi16(two(a, b), two(c, d));
        let lowest = _mm512_cvtps_epi32(_mm512_set1_ps(codes.lowest));
        _mm512_max_epu8(bytes(values), bytes([lowest; 4]))
    }
}

/// Stores the first `channels` bytes.
#[inline(always)]
pub unsafe fn bytes64(bytes: __m512i, to: *mut u8, channels: usize) {
    unsafe {
        let low = _mm512_castsi512_si256(bytes);
        match channels {
            64.. => _mm512_storeu_si512(to.cast(), bytes),
            48 => {
                _mm256_storeu_si256(to.cast(), low);
                _mm_storeu_si128(to.add(32).cast(), _mm512_extracti32x4_epi32(bytes, 2));
            }
            32 => _mm256_storeu_si256(to.cast(), low),
            _ => _mm512_mask_storeu_epi8(to.cast(), (1 << channels) - 1, bytes),
        }
    }
}

/// As [`floats8`].
#[inline(always)]
unsafe fn floats16(v: __m512, to: *mut f32, channels: usize) {
    unsafe {
        if channels >= 16 {
            _mm512_storeu_ps(to, v);
        } else {
            _mm512_mask_storeu_ps(to, mask16(channels), v);
        }
    }
}

macro_rules! sixteen_lanes {
    ($level:ident, $dot:expr) => {
        impl I8Vectors for $level {
            const LANES: usize = 16;
            type Sum = __m512i;
            type Weights = __m512i;
            type Bytes = __m512i;
            #[inline(always)]
            unsafe fn init(from: *const i32) -> __m512i {
                unsafe { _mm512_loadu_si512(from.cast()) }
            }
            #[inline(always)]
            unsafe fn weights(from: *const i8) -> __m512i {
                unsafe { _mm512_loadu_si512(from.cast()) }
            }
            #[inline(always)]
            unsafe fn splat(from: *const u8) -> __m512i {
                unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
            }
            #[inline(always)]
            unsafe fn dot(sum: __m512i, a: __m512i, w: __m512i) -> __m512i {
                unsafe { $dot(sum, a, w) }
            }
            #[inline(always)]
            unsafe fn finish_f32(s: __m512i, t: &I8Tile, n: usize, to: *mut f32, channels: usize) {
                unsafe { floats16(value16::<false>(s, t, n), to, channels) }
            }
            #[inline(always)]
            unsafe fn finish_stored<const LINEAR: bool>(
                s: __m512i,
                t: &I8Tile,
                n: usize,
                to: *mut u8,
                codes: Codes,
                channels: usize,
            ) {
                unsafe {
                    let q = _mm512_cvtsepi32_epi8(code16::<LINEAR>(s, t, n, codes));
                    let q = _mm_xor_si128(q, _mm_set1_epi8(OFFSET as i8));
                    if channels >= 16 {
                        _mm_storeu_si128(to.cast(), q);
                    } else {
                        _mm_mask_storeu_epi8(to.cast(), mask16(channels), q);
                    }
                }
            }
            #[inline(always)]
            unsafe fn finish_position<const N: usize, const LINEAR: bool>(
                sums: [__m512i; N],
                t: &I8Tile,
                to: *mut u8,
                codes: Codes,
            ) {
                unsafe {
                    if N == 1 {
                        Self::finish_stored::<LINEAR>(sums[0], t, 0, to, codes, t.channels);
                        return;
                    }
                    // One store for all, N ≤ 4.
                    let mut q = [_mm512_setzero_si512(); 4];
                    for (n, sum) in sums.into_iter().enumerate() {
                        q[n] = rounded16::<LINEAR>(sum, t, n);
                    }
                    let order = [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15];
                    let order = _mm512_loadu_si512((&raw const order).cast::<[i32; 16]>().cast());
                    bytes64(_mm512_permutexvar_epi32(order, pack16(q, codes)), to, t.channels);
                }
            }
        }
    };
}

/// As [`dot_avx2`].
#[inline(always)]
pub unsafe fn dot_avx512(sum: __m512i, a: __m512i, w: __m512i) -> __m512i {
    unsafe {
        let even = _mm512_and_si512(a, _mm512_set1_epi16(0xFF));
        let odd = _mm512_srli_epi16(a, 8);
        let even_w = _mm512_srai_epi16(_mm512_slli_epi16(w, 8), 8);
        let odd_w = _mm512_srai_epi16(w, 8);
        let even = _mm512_madd_epi16(even, even_w);
        let odd = _mm512_madd_epi16(odd, odd_w);
        _mm512_add_epi32(sum, _mm512_add_epi32(even, odd))
    }
}

sixteen_lanes!(Avx512, dot_avx512);
sixteen_lanes!(Vnni, _mm512_dpbusd_epi32);

/// All shapes of f32 tiles, in wrappers that switch the instructions on.
macro_rules! f32_tiles {
    ($vectors:ident, $features:literal, $($n:literal: [$($m:literal)*]),*) => {{
        #[target_feature(enable = $features)]
        unsafe fn tile<const M: usize, const N: usize>(t: &F32Tile) {
            unsafe { body::f32_tile::<$vectors, M, N>(t) }
        }
        &[$(&[$(tile::<$m, $n> as F32Kernel),*]),*]
    }};
}

macro_rules! i8_tiles {
    ($vectors:ident, $features:literal, $($n:literal: [$($m:literal)*]),*) => {{
        #[target_feature(enable = $features)]
        unsafe fn tile<const M: usize, const N: usize>(t: &I8Tile) {
            unsafe { body::i8_tile::<$vectors, M, N>(t) }
        }
        &[$(&[$(tile::<$m, $n> as I8Kernel),*]),*]
    }};
}

/// The transforms of Winograd's convolution.
macro_rules! transforms {
    ($vectors:ident, $features:literal) => {{
        #[target_feature(enable = $features)]
        unsafe fn forward(t: &Forward) {
            unsafe { transform::forward::<$vectors>(t) }
        }
        #[target_feature(enable = $features)]
        unsafe fn inverse(t: &Inverse) {
            unsafe { transform::inverse::<$vectors>(t) }
        }
        (forward, inverse)
    }};
}

pub const AVX2: Tiles = Tiles {
    lanes: 8,
    f32: f32_tiles!(Avx2, "avx2,fma", 1: [1 2 3 4 5 6 7 8], 2: [1 2 3 4 5 6], 3: [1 2 3 4]),
    i8: i8_tiles!(Avx2, "avx2,fma", 1: [1 2 3 4 5 6 7 8], 2: [1 2 3 4 5 6], 3: [1 2 3 4]),
    transforms: transforms!(Avx2, "avx2,fma"),
};

pub const AVX_VNNI: Tiles = Tiles {
    i8: i8_tiles!(AvxVnni, "avx2,fma,avxvnni",
        1: [1 2 3 4 5 6 7 8], 2: [1 2 3 4 5 6], 3: [1 2 3 4]),
    ..AVX2
};

pub const AVX512: Tiles = Tiles {
    lanes: 16,
    f32: f32_tiles!(Avx512, "avx512f,avx512bw,avx512dq,avx512vl",
        1: [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16], 2: [1 2 3 4 5 6 7 8 9 10 11 12 13 14],
        3: [1 2 3 4 5 6 7 8 9], 4: [1 2 3 4 5 6]),
    // A product through i16 takes seven instructions: small tiles hide their latency, too.
    i8: i8_tiles!(Avx512, "avx512f,avx512bw,avx512dq,avx512vl",
        1: [1 2 3 4 5 6 7 8], 2: [1 2 3 4 5 6], 3: [1 2 3 4]),
    transforms: transforms!(Avx512, "avx512f,avx512bw,avx512dq,avx512vl"),
};

pub const VNNI: Tiles = Tiles {
    i8: i8_tiles!(Vnni, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni",
        1: [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16], 2: [1 2 3 4 5 6 7 8 9 10 11 12 13 14],
        3: [1 2 3 4 5 6 7 8 9], 4: [1 2 3 4 5 6]),
    ..AVX512
};
