//! aarch64: NEON, which every such CPU has.

use std::arch::aarch64::*;

use super::{BLOCK, Block, WINDOW};

/// What the sums of a block are kept as, [`super::Kept::kept`] of each.
pub trait Kept {
    /// # Safety
    /// `to` must have room for 4 numbers.
    unsafe fn keep4(sums: int32x4_t, to: *mut Self);
}

impl Kept for i16 {
    #[inline(always)]
    unsafe fn keep4(sums: int32x4_t, to: *mut i16) {
        // SAFETY: by this function's contract; NEON is part of aarch64.
        unsafe { vst1_s16(to, vmovn_s32(vshrq_n_s32::<4>(sums))) }
    }
}

impl Kept for f32 {
    #[inline(always)]
    unsafe fn keep4(sums: int32x4_t, to: *mut f32) {
        // SAFETY: by this function's contract; NEON is part of aarch64.
        unsafe { vst1q_f32(to, vcvtq_f32_s32(sums)) }
    }
}

/// # Safety
/// Windows must be in the row, and `to` must have room for every block.
pub(super) unsafe fn neon<const P: usize, K: Kept>(blocks: &[Block<P>], from: &[u8], to: &mut [K]) {
    for (block, to) in blocks.iter().zip(to.chunks_exact_mut(BLOCK)) {
        for (i, at) in block.windows.into_iter().enumerate() {
            debug_assert!(at as usize + WINDOW <= from.len());
            // SAFETY: by this function's contract; a block has places, weights and room for four
            // windows of 4 results. NEON is part of aarch64.
            unsafe {
                let samples = vld1q_u8(from.as_ptr().add(at as usize));
                let mut sums = vdupq_n_s32(0);
                for pair in &block.pairs {
                    let places = vld1q_u8(pair.places.as_ptr().add(16 * i));
                    let weights = pair.weights.as_ptr().add(8 * i);
                    let placed = vreinterpretq_s16_u8(vqtbl1q_u8(samples, places));
                    let low = vmull_s16(vget_low_s16(placed), vld1_s16(weights));
                    let high = vmull_s16(vget_high_s16(placed), vld1_s16(weights.add(4)));
                    sums = vaddq_s32(sums, vpaddq_s32(low, high));
                }
                K::keep4(sums, to.as_mut_ptr().add(4 * i));
            }
        }
    }
}
