//! aarch64: NEON, which every such CPU has.

use std::arch::aarch64::*;

/// The first samples, 16 at a time; tells of how many.
pub(super) fn neon(from: &[u8], table: &[u8; 256], to: &mut [u8]) -> usize {
    let mut done = 0;
    for (from, to) in from.chunks_exact(16).zip(to.chunks_exact_mut(16)) {
        // SAFETY: both have 16 samples, and the table has four parts of 64. NEON is part of
        // aarch64.
        unsafe {
            let samples = vld1q_u8(from.as_ptr());
            let mut found = vdupq_n_u8(0);
            for part in 0..4 {
                let values = vld1q_u8_x4(table.as_ptr().add(64 * part));
                // Beyond the part the result stays as it was.
                let place = vsubq_u8(samples, vdupq_n_u8((64 * part) as u8));
                found = vqtbx4q_u8(found, values, place);
            }
            vst1q_u8(to.as_mut_ptr(), found);
        }
        done += 16;
    }
    done
}
