//! The loops of [`lanes`] compiled for each vector level.

use super::{Row, Source, lanes};

/// # Safety
/// The CPU must have AVX2, and the source must suit vectors.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn avx2<const C: usize>(source: &Source<C>, len: usize, row: &mut impl Row<C>) {
    // SAFETY: by this function's contract.
    unsafe { lanes::resample(source, len, row) }
}

/// # Safety
/// The CPU must have these parts of AVX-512, and the source must suit vectors.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn avx512<const C: usize>(source: &Source<C>, len: usize, row: &mut impl Row<C>) {
    // SAFETY: by this function's contract.
    unsafe { lanes::resample(source, len, row) }
}

/// # Safety
/// The source must suit vectors.
#[cfg(target_arch = "aarch64")]
pub(super) unsafe fn neon<const C: usize>(source: &Source<C>, len: usize, row: &mut impl Row<C>) {
    // SAFETY: by this function's contract.
    unsafe { lanes::resample(source, len, row) }
}
