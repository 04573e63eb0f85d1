//! x86-64: AVX2 and AVX-512.

use std::arch::x86_64::*;

/// The first samples, 32 at a time; tells of how many.
///
/// # Safety
/// The CPU must have AVX2; `to` must be as long as `from`.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn avx2(from: &[u8], table: &[u8; 256], to: &mut [u8]) -> usize {
    let blocks = from.len() / 32;
    for i in 0..blocks {
        // SAFETY: both have 32 samples there, and the table has 16 parts of 16.
        unsafe {
            let samples = _mm256_loadu_si256(from.as_ptr().add(32 * i).cast());
            let mut found = _mm256_setzero_si256();
            for part in 0..16 {
                let values = _mm_loadu_si128(table.as_ptr().add(16 * part).cast());
                let values = _mm256_broadcastsi128_si256(values);
                // Samples of other parts reach 128 by the sum, and the shuffle gives 0 for them.
                let place = _mm256_sub_epi8(samples, _mm256_set1_epi8((16 * part) as i8));
                let place = _mm256_adds_epu8(place, _mm256_set1_epi8(0x70));
                found = _mm256_or_si256(found, _mm256_shuffle_epi8(values, place));
            }
            _mm256_storeu_si256(to.as_mut_ptr().add(32 * i).cast(), found);
        }
    }
    32 * blocks
}

/// The first samples, 64 at a time; tells of how many.
///
/// # Safety
/// The CPU must have AVX-512 F, BW and VBMI; `to` must be as long as `from`.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(super) unsafe fn avx512_vbmi(from: &[u8], table: &[u8; 256], to: &mut [u8]) -> usize {
    // SAFETY: the table has four parts of 64.
    let [a, b, c, d] =
        [0, 1, 2, 3].map(|i| unsafe { _mm512_loadu_si512(table.as_ptr().add(64 * i).cast()) });
    let blocks = from.len() / 64;
    for i in 0..blocks {
        // SAFETY: both have 64 samples there.
        unsafe {
            let samples = _mm512_loadu_si512(from.as_ptr().add(64 * i).cast());
            let low = _mm512_permutex2var_epi8(a, samples, b);
            let high = _mm512_permutex2var_epi8(c, samples, d);
            let found = _mm512_mask_blend_epi8(_mm512_movepi8_mask(samples), low, high);
            _mm512_storeu_si512(to.as_mut_ptr().add(64 * i).cast(), found);
        }
    }
    64 * blocks
}
