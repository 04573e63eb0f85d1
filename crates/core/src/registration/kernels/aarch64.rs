//! aarch64: how voxels are fetched, with NEON, which every such CPU has.

use std::arch::aarch64::{
    vaddq_f32, vcombine_f32, vdupq_n_f32, vld1_f32, vmulq_f32, vst1q_f32, vsubq_f32,
};

/// A pair of voxels along x and the pair `step_y` further, each interpolated to what lies
/// `step_z` further.
///
/// # Safety
/// All four pairs must be readable.
#[inline(always)]
pub(super) unsafe fn columns(low: *const f32, step_y: usize, step_z: usize, t: f32) -> [f32; 4] {
    let mut out = [0.0; 4];
    // SAFETY: by this function's contract; NEON is part of aarch64.
    unsafe {
        let pairs = |at: *const f32| vcombine_f32(vld1_f32(at), vld1_f32(at.add(step_y)));
        let (near, far) = (pairs(low), pairs(low.add(step_z)));
        let between = vmulq_f32(vdupq_n_f32(t), vsubq_f32(far, near));
        vst1q_f32(out.as_mut_ptr(), vaddq_f32(near, between));
    }
    out
}
