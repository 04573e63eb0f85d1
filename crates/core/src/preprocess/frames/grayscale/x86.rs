//! x86-64: AVX2 and AVX-512. Four pixels in each 128 bits; red and green of a pixel side by side
//! in 16 bits each, and blue beside a zero.

use std::arch::x86_64::*;

use super::{SHIFT, WEIGHTS};

/// In every 128 bits, from which bytes red and green of four pixels come, and then blue.
const fn places(channels: usize) -> [[u8; 16]; 2] {
    let mut places = [[0x80; 16]; 2];
    let mut pixel = 0;
    while pixel < 4 {
        let first = (pixel * channels) as u8;
        places[0][4 * pixel] = first;
        places[0][4 * pixel + 2] = first + 1;
        places[1][4 * pixel] = first + 2;
        pixel += 1;
    }
    places
}

/// Which 32 bits go to each 128 bits of pixels, so that they hold four.
const fn quads<const N: usize>(channels: usize) -> [i32; N] {
    let mut quads = [0; N];
    let mut i = 0;
    while i < N {
        quads[i] = (i / 4 * channels + i % 4) as i32;
        i += 1;
    }
    quads
}

/// Two weights, for 16 bits each.
const fn pair(low: u16, high: u16) -> i32 {
    low as i32 | (high as i32) << 16
}

const RED_GREEN: i32 = pair(WEIGHTS[0], WEIGHTS[1]);
const BLUE: i32 = pair(WEIGHTS[2], 0);
const HALF: i32 = 1 << (SHIFT - 1);

/// Luma of the first pixels; tells of how many.
///
/// # Safety
/// The CPU must have AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn avx2<const C: usize>(colors: &[[u8; C]], gray: &mut [u8]) -> usize {
    const PIXELS: usize = 32;
    let from = colors.as_flattened();
    // SAFETY: constants of the length that is loaded.
    let [red_green, blue, quads] = unsafe {
        let [red_green, blue] = const { places(C) }
            .map(|p| _mm256_broadcastsi128_si256(_mm_loadu_si128(p.as_ptr().cast())));
        let quads = const { quads::<8>(C) };
        [red_green, blue, _mm256_loadu_si256(quads.as_ptr().cast())]
    };
    // Of 8 pixels, 32 bits each.
    let luma = |at: *const u8| {
        // SAFETY: the caller gives a place with 32 bytes.
        let bytes = unsafe { _mm256_loadu_si256(at.cast()) };
        let bytes = _mm256_permutevar8x32_epi32(bytes, quads);
        let sum = _mm256_add_epi32(
            _mm256_madd_epi16(_mm256_shuffle_epi8(bytes, red_green), _mm256_set1_epi32(RED_GREEN)),
            _mm256_madd_epi16(_mm256_shuffle_epi8(bytes, blue), _mm256_set1_epi32(BLUE)),
        );
        _mm256_srli_epi32::<{ SHIFT as i32 }>(_mm256_add_epi32(sum, _mm256_set1_epi32(HALF)))
    };
    let mut done = 0;
    // The last load reaches 32 − 8 · C bytes beyond its pixels.
    while done + PIXELS <= gray.len() && (done + PIXELS - 8) * C + 32 <= from.len() {
        // SAFETY: by the condition.
        unsafe {
            let at = from.as_ptr().add(done * C);
            let [a, b, c, d] = [0, 8, 16, 24].map(|pixel| luma(at.add(pixel * C)));
            let words = [_mm256_packus_epi32(a, b), _mm256_packus_epi32(c, d)];
            let bytes = _mm256_packus_epi16(words[0], words[1]);
            // Packing works in each half: now every 32 bits are four pixels, in another order.
            let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            let bytes = _mm256_permutevar8x32_epi32(bytes, order);
            _mm256_storeu_si256(gray.as_mut_ptr().add(done).cast(), bytes);
        }
        done += PIXELS;
    }
    done
}

/// Luma of the first pixels; tells of how many.
///
/// # Safety
/// The CPU must have AVX-512 F and BW.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) unsafe fn avx512<const C: usize>(colors: &[[u8; C]], gray: &mut [u8]) -> usize {
    const PIXELS: usize = 64;
    let from = colors.as_flattened();
    // SAFETY: constants of the length that is loaded.
    let [red_green, blue, quads] = unsafe {
        let [red_green, blue] =
            const { places(C) }.map(|p| _mm512_broadcast_i32x4(_mm_loadu_si128(p.as_ptr().cast())));
        let quads = const { quads::<16>(C) };
        [red_green, blue, _mm512_loadu_si512(quads.as_ptr().cast())]
    };
    // Of 16 pixels, 32 bits each.
    let luma = |at: *const u8| {
        // SAFETY: the caller gives a place with 64 bytes.
        let bytes = unsafe { _mm512_loadu_si512(at.cast()) };
        let bytes = _mm512_permutexvar_epi32(quads, bytes);
        let sum = _mm512_add_epi32(
            _mm512_madd_epi16(_mm512_shuffle_epi8(bytes, red_green), _mm512_set1_epi32(RED_GREEN)),
            _mm512_madd_epi16(_mm512_shuffle_epi8(bytes, blue), _mm512_set1_epi32(BLUE)),
        );
        _mm512_srli_epi32::<SHIFT>(_mm512_add_epi32(sum, _mm512_set1_epi32(HALF)))
    };
    let mut done = 0;
    // The last load reaches 64 − 16 · C bytes beyond its pixels.
    while done + PIXELS <= gray.len() && (done + PIXELS - 16) * C + 64 <= from.len() {
        // SAFETY: by the condition.
        unsafe {
            let at = from.as_ptr().add(done * C);
            let [a, b, c, d] = [0, 16, 32, 48].map(|pixel| luma(at.add(pixel * C)));
            let words = [_mm512_packus_epi32(a, b), _mm512_packus_epi32(c, d)];
            let bytes = _mm512_packus_epi16(words[0], words[1]);
            // Packing works in each 128 bits: now every 32 bits are four pixels, in another order.
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            let bytes = _mm512_permutexvar_epi32(order, bytes);
            _mm512_storeu_si512(gray.as_mut_ptr().add(done).cast(), bytes);
        }
        done += PIXELS;
    }
    done
}
