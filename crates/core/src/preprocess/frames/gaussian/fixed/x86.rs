//! x86-64: AVX2 and AVX-512.

use std::arch::x86_64::*;

/// Functions of the same shape for both widths.
macro_rules! smoothing {
    (
        $features:literal, $lanes:literal, $down:ident, $across:ident,
        widen: $widen:expr, load: $load:expr, store: $store:expr, narrow: $narrow:expr,
        set: $set:ident, add: $add:ident, mul: $mul:ident, left: $left:ident, right: $right:ident
    ) => {
        /// The first numbers; tells of how many.
        ///
        /// # Safety
        /// The CPU must have the features; every row must be as long as `to`.
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $down(pairs: &[[&[u8]; 2]], weights: &[i16], to: &mut [i16]) -> usize {
            let blocks = to.len() / $lanes;
            // Not `skip`, which is not inlined here.
            let (others, sides) = (&pairs[1..], &weights[1..]);
            for x in (0..blocks).map(|i| i * $lanes) {
                // SAFETY: rows and `to` have as many numbers there.
                unsafe {
                    let load = |row: &[u8]| $widen(row.as_ptr().add(x));
                    let mut sum = $mul($left::<6>(load(pairs[0][0])), $set(weights[0]));
                    for ([above, below], weight) in others.iter().zip(sides) {
                        let both = $left::<6>($add(load(above), load(below)));
                        sum = $add(sum, $mul(both, $set(*weight)));
                    }
                    $store(to.as_mut_ptr().add(x).cast(), sum);
                }
            }
            blocks * $lanes
        }

        /// The first samples; tells of how many.
        ///
        /// # Safety
        /// The CPU must have the features; `row` must be as long as `to` and the weights on both
        /// sides.
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $across(row: &[i16], weights: &[i16], to: &mut [u8]) -> usize {
            let reach = weights.len() - 1;
            let blocks = to.len() / $lanes;
            let sides = &weights[1..];
            for x in (0..blocks).map(|i| i * $lanes) {
                // SAFETY: by this function's contract.
                unsafe {
                    let load = |at: usize| $load(row.as_ptr().add(at).cast());
                    let mut sum = $mul(load(x + reach), $set(weights[0]));
                    for (i, weight) in sides.iter().enumerate() {
                        let both = $add(load(x + reach - 1 - i), load(x + reach + 1 + i));
                        sum = $add(sum, $mul(both, $set(*weight)));
                    }
                    $narrow(to.as_mut_ptr().add(x), $right::<6>($add(sum, $set(32))));
                }
            }
            blocks * $lanes
        }
    };
}

smoothing!(
    "avx2", 16, down_avx2, across_avx2,
    widen: |at: *const u8| _mm256_cvtepu8_epi16(_mm_loadu_si128(at.cast())),
    load: |at| _mm256_loadu_si256(at),
    store: |at, sum| _mm256_storeu_si256(at, sum),
    narrow: |at: *mut u8, words| {
        let packed = _mm256_permute4x64_epi64::<0b1000>(_mm256_packus_epi16(words, words));
        _mm_storeu_si128(at.cast(), _mm256_castsi256_si128(packed))
    },
    set: _mm256_set1_epi16, add: _mm256_add_epi16, mul: _mm256_mulhrs_epi16,
    left: _mm256_slli_epi16, right: _mm256_srai_epi16
);

smoothing!(
    "avx512f,avx512bw", 32, down_avx512, across_avx512,
    widen: |at: *const u8| _mm512_cvtepu8_epi16(_mm256_loadu_si256(at.cast())),
    load: |at| _mm512_loadu_si512(at),
    store: |at, sum| _mm512_storeu_si512(at, sum),
    narrow: |at: *mut u8, words| {
        let words = _mm512_max_epi16(words, _mm512_setzero_si512());
        _mm256_storeu_si256(at.cast(), _mm512_cvtusepi16_epi8(words))
    },
    set: _mm512_set1_epi16, add: _mm512_add_epi16, mul: _mm512_mulhrs_epi16,
    left: _mm512_slli_epi16, right: _mm512_srai_epi16
);
