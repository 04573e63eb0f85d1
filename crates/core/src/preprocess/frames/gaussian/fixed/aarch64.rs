//! aarch64: NEON, which every such CPU has.

use std::arch::aarch64::*;

/// Numbers that are computed together.
const LANES: usize = 8;

/// The first numbers; tells of how many.
///
/// # Safety
/// Every row must be as long as `to`.
pub(super) unsafe fn down(pairs: &[[&[u8]; 2]], weights: &[i16], to: &mut [i16]) -> usize {
    let blocks = to.len() / LANES;
    // Not `skip`, which is not always inlined.
    let (others, sides) = (&pairs[1..], &weights[1..]);
    for x in (0..blocks).map(|i| i * LANES) {
        // SAFETY: rows and `to` have as many numbers there; NEON is part of aarch64.
        unsafe {
            let load = |row: &[u8]| vreinterpretq_s16_u16(vmovl_u8(vld1_u8(row.as_ptr().add(x))));
            let center = vshlq_n_s16::<6>(load(pairs[0][0]));
            let mut sum = vqrdmulhq_n_s16(center, weights[0]);
            for ([above, below], weight) in others.iter().zip(sides) {
                let both = vshlq_n_s16::<6>(vaddq_s16(load(above), load(below)));
                sum = vaddq_s16(sum, vqrdmulhq_n_s16(both, *weight));
            }
            vst1q_s16(to.as_mut_ptr().add(x), sum);
        }
    }
    blocks * LANES
}

/// The first samples; tells of how many.
///
/// # Safety
/// `row` must be as long as `to` and the weights on both sides.
pub(super) unsafe fn across(row: &[i16], weights: &[i16], to: &mut [u8]) -> usize {
    let reach = weights.len() - 1;
    let blocks = to.len() / LANES;
    for x in (0..blocks).map(|i| i * LANES) {
        // SAFETY: by this function's contract; NEON is part of aarch64.
        unsafe {
            let load = |at: usize| vld1q_s16(row.as_ptr().add(at));
            let mut sum = vqrdmulhq_n_s16(load(x + reach), weights[0]);
            for (i, weight) in (1..).zip(&weights[1..]) {
                let both = vaddq_s16(load(x + reach - i), load(x + reach + i));
                sum = vaddq_s16(sum, vqrdmulhq_n_s16(both, *weight));
            }
            let words = vshrq_n_s16::<6>(vaddq_s16(sum, vdupq_n_s16(32)));
            vst1_u8(to.as_mut_ptr().add(x), vqmovun_s16(words));
        }
    }
    blocks * LANES
}
