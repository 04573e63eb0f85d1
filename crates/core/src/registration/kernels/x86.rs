//! x86-64: how voxels are fetched.

use std::arch::x86_64::{
    _mm_add_ps, _mm_castpd_ps, _mm_mul_ps, _mm_set1_ps, _mm_setr_pd, _mm_storeu_ps, _mm_sub_ps,
};

/// A pair of voxels along x and the pair `step_y` further, each interpolated to what lies
/// `step_z` further.
///
/// # Safety
/// All four pairs must be readable.
#[inline(always)]
pub(super) unsafe fn columns(low: *const f32, step_y: usize, step_z: usize, t: f32) -> [f32; 4] {
    let mut out = [0.0; 4];
    // SAFETY: by this function's contract; no alignment is needed, and SSE2 is part of x86-64.
    unsafe {
        let pair = |at: *const f32| at.cast::<f64>().read_unaligned();
        let pairs = |at: *const f32| _mm_castpd_ps(_mm_setr_pd(pair(at), pair(at.add(step_y))));
        let (near, far) = (pairs(low), pairs(low.add(step_z)));
        let between = _mm_mul_ps(_mm_set1_ps(t), _mm_sub_ps(far, near));
        _mm_storeu_ps(out.as_mut_ptr(), _mm_add_ps(near, between));
    }
    out
}
