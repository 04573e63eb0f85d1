//! Smoothing of 8-bit samples: weights in steps of 2⁻¹⁵, and between the axes samples in steps of
//! 1/64, products rounded to that. Exact: every level gives the oracle's numbers.

#![allow(unsafe_code)]

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86;

use intraop_engine::Simd;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
use intraop_engine::SimdLevel;

/// Half a kernel in steps of 2⁻¹⁵, the center first. The center makes both sides add up to 1.
pub(super) fn weights(half: &[f32]) -> Vec<i16> {
    let sides: Vec<i16> = half[1..].iter().map(|w| (w * 32768.0).round() as i16).collect();
    let sum: i32 = sides.iter().map(|w| 2 * i32::from(*w)).sum();
    let center = (32768 - sum).clamp(0, i32::from(i16::MAX)) as i16;
    [vec![center], sides].concat()
}

/// A product in steps of 2⁻¹⁵, rounded, halves up.
fn product(a: i16, weight: i16) -> i16 {
    ((i32::from(a) * i32::from(weight) + (1 << 14)) >> 15) as i16
}

/// Sums of the rows at each distance, above and below, in steps of 1/64.
pub(super) fn down(simd: Simd, pairs: &[[&[u8]; 2]], weights: &[i16], to: &mut [i16]) {
    assert!(pairs.iter().flatten().all(|row| row.len() == to.len()), "rows of one length");
    let done = match simd.level() {
        // SAFETY, of all: a `Simd` is given out only for a level that the CPU has; rows are as
        // long as `to`.
        #[cfg(target_arch = "x86_64")]
        SimdLevel::Avx2 | SimdLevel::AvxVnni => unsafe { x86::down_avx2(pairs, weights, to) },
        #[cfg(target_arch = "x86_64")]
        SimdLevel::Avx512 | SimdLevel::Vnni => unsafe { x86::down_avx512(pairs, weights, to) },
        #[cfg(target_arch = "aarch64")]
        SimdLevel::Neon | SimdLevel::DotProd => unsafe { aarch64::down(pairs, weights, to) },
        _ => 0,
    };
    for (x, to) in to.iter_mut().enumerate().skip(done) {
        let center = product(i16::from(pairs[0][0][x]) << 6, weights[0]);
        let products = pairs.iter().zip(weights).skip(1).map(|([above, below], weight)| {
            product((i16::from(above[x]) + i16::from(below[x])) << 6, *weight)
        });
        *to = products.fold(center, i16::wrapping_add);
    }
}

/// Sums along a row that reaches beyond both ends of `to` as far as the weights.
pub(super) fn across(simd: Simd, row: &[i16], weights: &[i16], to: &mut [u8]) {
    let reach = weights.len() - 1;
    assert!(row.len() >= to.len() + 2 * reach, "a row with both ends");
    let done = match simd.level() {
        // SAFETY, of all: a `Simd` is given out only for a level that the CPU has; the row reaches
        // as far beyond `to` as the weights.
        #[cfg(target_arch = "x86_64")]
        SimdLevel::Avx2 | SimdLevel::AvxVnni => unsafe { x86::across_avx2(row, weights, to) },
        #[cfg(target_arch = "x86_64")]
        SimdLevel::Avx512 | SimdLevel::Vnni => unsafe { x86::across_avx512(row, weights, to) },
        #[cfg(target_arch = "aarch64")]
        SimdLevel::Neon | SimdLevel::DotProd => unsafe { aarch64::across(row, weights, to) },
        _ => 0,
    };
    for (x, to) in to.iter_mut().enumerate().skip(done) {
        let at = x + reach;
        let products = weights
            .iter()
            .enumerate()
            .skip(1)
            .map(|(i, weight)| product(row[at - i].wrapping_add(row[at + i]), *weight));
        let sum = products.fold(product(row[at], weights[0]), i16::wrapping_add);
        *to = (sum.wrapping_add(32) >> 6).clamp(0, 255) as u8;
    }
}
