//! x86-64: AVX2 and AVX-512.

use std::arch::x86_64::*;

use super::{BLOCK, Block, WINDOW};

/// What the sums of a block are kept as, [`super::Kept::kept`] of each.
pub trait Kept {
    /// # Safety
    /// The CPU must have AVX2, and `to` room for 8 numbers.
    unsafe fn keep8(sums: __m256i, to: *mut Self);

    /// # Safety
    /// The CPU must have AVX-512 F, and `to` room for 16 numbers.
    unsafe fn keep16(sums: __m512i, to: *mut Self);
}

impl Kept for i16 {
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn keep8(sums: __m256i, to: *mut i16) {
        let shifted = _mm256_srai_epi32::<4>(sums);
        // Packs each half by itself: the first quarter and the third belong together.
        let packed = _mm256_permute4x64_epi64::<0b1000>(_mm256_packs_epi32(shifted, shifted));
        // SAFETY: by this function's contract.
        unsafe { _mm_storeu_si128(to.cast(), _mm256_castsi256_si128(packed)) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn keep16(sums: __m512i, to: *mut i16) {
        let packed = _mm512_cvtepi32_epi16(_mm512_srai_epi32::<4>(sums));
        // SAFETY: by this function's contract.
        unsafe { _mm256_storeu_si256(to.cast(), packed) }
    }
}

impl Kept for f32 {
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn keep8(sums: __m256i, to: *mut f32) {
        // SAFETY: by this function's contract.
        unsafe { _mm256_storeu_ps(to, _mm256_cvtepi32_ps(sums)) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn keep16(sums: __m512i, to: *mut f32) {
        // SAFETY: by this function's contract.
        unsafe { _mm512_storeu_ps(to, _mm512_cvtepi32_ps(sums)) }
    }
}

/// The 16 samples from `at` on.
///
/// # Safety
/// They must be in the row.
#[inline(always)]
unsafe fn window(from: &[u8], at: u32) -> __m128i {
    debug_assert!(at as usize + WINDOW <= from.len());
    // SAFETY: by this function's contract; SSE2 is part of x86-64.
    unsafe { _mm_loadu_si128(from.as_ptr().add(at as usize).cast()) }
}

/// # Safety
/// The CPU must have AVX2, windows must be in the row, and `to` must have room for every block.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn avx2<const P: usize, K: Kept>(blocks: &[Block<P>], from: &[u8], to: &mut [K]) {
    for (block, to) in blocks.iter().zip(to.chunks_exact_mut(BLOCK)) {
        for half in 0..2 {
            // SAFETY: by this function's contract; a block has places, weights and room for two
            // halves of 8 results.
            unsafe {
                let [low, high] = [0, 1].map(|i| window(from, block.windows[2 * half + i]));
                let samples = _mm256_set_m128i(high, low);
                let mut sums = _mm256_setzero_si256();
                for pair in &block.pairs {
                    let places =
                        _mm256_loadu_si256(pair.places.as_ptr().cast::<__m256i>().add(half));
                    let weights =
                        _mm256_loadu_si256(pair.weights.as_ptr().cast::<__m256i>().add(half));
                    let placed = _mm256_shuffle_epi8(samples, places);
                    sums = _mm256_add_epi32(sums, _mm256_madd_epi16(placed, weights));
                }
                K::keep8(sums, to.as_mut_ptr().add(8 * half));
            }
        }
    }
}

/// # Safety
/// The CPU must have these parts of AVX-512, windows must be in the row, and `to` must have room
/// for every block.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) unsafe fn avx512<const P: usize, K: Kept>(
    blocks: &[Block<P>],
    from: &[u8],
    to: &mut [K],
) {
    for (block, to) in blocks.iter().zip(to.chunks_exact_mut(BLOCK)) {
        // SAFETY: by this function's contract.
        unsafe {
            let [a, b, c, d] = block.windows.map(|at| window(from, at));
            let low = _mm256_set_m128i(b, a);
            let high = _mm256_set_m128i(d, c);
            let samples = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high);
            let mut sums = _mm512_setzero_si512();
            for pair in &block.pairs {
                let places = _mm512_loadu_si512(pair.places.as_ptr().cast());
                let weights = _mm512_loadu_si512(pair.weights.as_ptr().cast());
                let placed = _mm512_shuffle_epi8(samples, places);
                sums = _mm512_add_epi32(sums, _mm512_madd_epi16(placed, weights));
            }
            K::keep16(sums, to.as_mut_ptr());
        }
    }
}
