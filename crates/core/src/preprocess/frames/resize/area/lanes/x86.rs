//! x86-64: AVX2 and AVX-512.

use std::arch::x86_64::*;

use super::{BLOCK, Block, WINDOW};

/// The 16 samples from `at` on.
///
/// # Safety
/// They must be in the row.
#[inline(always)]
unsafe fn window(row: &[u8], at: usize) -> __m128i {
    debug_assert!(at + WINDOW <= row.len());
    // SAFETY: by this function's contract; SSE2 is part of x86-64.
    unsafe { _mm_loadu_si128(row.as_ptr().add(at).cast()) }
}

/// # Safety
/// The CPU must have AVX2, windows must be in the row for every share, and there must be a sum
/// for every result of a block.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn avx2(blocks: &[Block], row: &[u8], sums: &mut [f32]) {
    for (block, to) in blocks.iter().zip(sums.chunks_exact_mut(BLOCK)) {
        for half in 0..2 {
            let [low, high] = [0, 1].map(|i| block.windows[2 * half + i] as usize);
            // SAFETY: by this function's contract; a block has places, weights and room for two
            // halves of 8 results.
            unsafe {
                let places = _mm256_loadu_si256(block.places.as_ptr().cast::<__m256i>().add(half));
                let mut sum = _mm256_setzero_ps();
                for (share, weights) in block.weights.iter().enumerate() {
                    let samples =
                        _mm256_set_m128i(window(row, high + share), window(row, low + share));
                    let placed = _mm256_cvtepi32_ps(_mm256_shuffle_epi8(samples, places));
                    let weights = _mm256_loadu_ps(weights.as_ptr().add(8 * half));
                    sum = _mm256_add_ps(sum, _mm256_mul_ps(placed, weights));
                }
                _mm256_storeu_ps(to.as_mut_ptr().add(8 * half), sum);
            }
        }
    }
}

/// # Safety
/// As of [`avx2`], but with these parts of AVX-512.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) unsafe fn avx512(blocks: &[Block], row: &[u8], sums: &mut [f32]) {
    for (block, to) in blocks.iter().zip(sums.chunks_exact_mut(BLOCK)) {
        let windows = block.windows.map(|at| at as usize);
        // SAFETY: by this function's contract.
        unsafe {
            let places = _mm512_loadu_si512(block.places.as_ptr().cast());
            let mut sum = _mm512_setzero_ps();
            for (share, weights) in block.weights.iter().enumerate() {
                let [a, b, c, d] = windows.map(|at| window(row, at + share));
                let low = _mm512_castsi256_si512(_mm256_set_m128i(b, a));
                let samples = _mm512_inserti64x4::<1>(low, _mm256_set_m128i(d, c));
                let placed = _mm512_cvtepi32_ps(_mm512_shuffle_epi8(samples, places));
                let weights = _mm512_loadu_ps(weights.as_ptr());
                sum = _mm512_add_ps(sum, _mm512_mul_ps(placed, weights));
            }
            _mm512_storeu_ps(to.as_mut_ptr(), sum);
        }
    }
}
