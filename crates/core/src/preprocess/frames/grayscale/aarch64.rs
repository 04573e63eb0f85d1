//! aarch64: NEON, which every such CPU has.

use std::arch::aarch64::*;

use super::{SHIFT, WEIGHTS};

/// Luma of the first pixels; tells of how many.
pub(super) fn neon<const C: usize>(colors: &[[u8; C]], gray: &mut [u8]) -> usize {
    let mut done = 0;
    for (colors, gray) in colors.chunks_exact(8).zip(gray.chunks_exact_mut(8)) {
        let at = colors.as_ptr().cast::<u8>();
        // SAFETY: 8 pixels of 3 or 4 channels; NEON is part of aarch64.
        unsafe {
            let [r, g, b] = if C == 3 {
                let uint8x8x3_t(r, g, b) = vld3_u8(at);
                [r, g, b]
            } else {
                let uint8x8x4_t(r, g, b, _) = vld4_u8(at);
                [r, g, b]
            }
            .map(|channel| vmovl_u8(channel));
            let low = vmull_n_u16(vget_low_u16(r), WEIGHTS[0]);
            let low = vmlal_n_u16(low, vget_low_u16(g), WEIGHTS[1]);
            let low = vmlal_n_u16(low, vget_low_u16(b), WEIGHTS[2]);
            let high = vmull_n_u16(vget_high_u16(r), WEIGHTS[0]);
            let high = vmlal_n_u16(high, vget_high_u16(g), WEIGHTS[1]);
            let high = vmlal_n_u16(high, vget_high_u16(b), WEIGHTS[2]);
            let words = vcombine_u16(
                vrshrn_n_u32::<{ SHIFT as i32 }>(low),
                vrshrn_n_u32::<{ SHIFT as i32 }>(high),
            );
            vst1_u8(gray.as_mut_ptr(), vmovn_u16(words));
        }
        done += 8;
    }
    done
}
