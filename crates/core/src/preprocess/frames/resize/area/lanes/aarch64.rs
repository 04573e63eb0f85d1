//! aarch64: NEON, which every such CPU has.

use std::arch::aarch64::*;

use super::{BLOCK, Block, WINDOW};

/// # Safety
/// Windows must be in the row for every share, and there must be a sum for every result of a
/// block.
pub(super) unsafe fn neon(blocks: &[Block], row: &[u8], sums: &mut [f32]) {
    for (block, to) in blocks.iter().zip(sums.chunks_exact_mut(BLOCK)) {
        for (i, at) in block.windows.into_iter().enumerate() {
            // SAFETY: by this function's contract; a block has places, weights and room for four
            // windows of 4 results. NEON is part of aarch64.
            unsafe {
                let places = vld1q_u8(block.places.as_ptr().add(16 * i));
                let mut sum = vdupq_n_f32(0.0);
                for (share, weights) in block.weights.iter().enumerate() {
                    debug_assert!(at as usize + share + WINDOW <= row.len());
                    let samples = vld1q_u8(row.as_ptr().add(at as usize + share));
                    let placed = vreinterpretq_u32_u8(vqtbl1q_u8(samples, places));
                    let weights = vld1q_f32(weights.as_ptr().add(4 * i));
                    // Not fused, which would round otherwise.
                    sum = vaddq_f32(sum, vmulq_f32(vcvtq_f32_u32(placed), weights));
                }
                vst1q_f32(to.as_mut_ptr().add(4 * i), sum);
            }
        }
    }
}
