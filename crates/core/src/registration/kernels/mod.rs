//! Trilinear resampling of a row of voxels: the one inner loop of the cascade's warps, of
//! composition, of the field and of the delivered image.
//!
//! **Exactness.** Where samples are finite, every level gives the numbers of the oracle
//! ([`Trilinear`](crate::image::Trilinear)), bit for bit but for the sign of zeros: indices are f64, so
//! that the fraction between two voxels is as exact at voxel 500 as at voxel 0, and no
//! multiplication is fused with an addition, which would round otherwise on other CPUs. The
//! oracle itself is within 2⁻¹⁹ of the exact trilinear value, as a share of the largest sample:
//! three interpolations, of at most 7 roundings of 2⁻²⁴ each.

#![allow(unsafe_code)]

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
mod lanes;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
mod levels;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod x86;

use intraop_engine::{Simd, SimdLevel};

/// Voxels of a row that are handled together.
pub(super) const BLOCK: usize = 32;

/// One number for each voxel of a block.
pub(super) type Lanes<T> = [T; BLOCK];

/// `C` images of one size, sampled together at the same places.
pub(super) struct Source<'a, const C: usize> {
    size: [usize; 3],
    planes: [&'a [f32]; C],
}

impl<'a, const C: usize> Source<'a, C> {
    /// # Panics
    /// If a plane has not one sample per voxel of `size` (x, y, z), which is at least 1.
    pub fn new(size: [usize; 3], planes: [&'a [f32]; C]) -> Self {
        let voxels: usize = size.iter().product();
        assert!(voxels > 0 && planes.iter().all(|p| p.len() == voxels), "one sample per voxel");
        Source { size, planes }
    }

    /// The vector kernels read two voxels along x at once and count voxels in 32 bits.
    fn suits_vectors(&self) -> bool {
        self.size[0] >= 2 && i32::try_from(self.planes[0].len()).is_ok()
    }
}

/// A row of voxels that are looked up in a source. (Methods and not closures, because only what
/// is surely inlined is compiled for the level's instructions.)
pub(super) trait Row<const C: usize> {
    /// At which continuous indices (x, y, z) of the source the voxels x, x + 1, … of a block look.
    fn at(&mut self, x: usize, indices: &mut [Lanes<f64>; 3]);

    /// Takes the values of the block last asked for; those past the row's end mean nothing.
    fn put(&mut self, x: usize, values: &[Lanes<f32>; C]);
}

/// Looks up a row of `len` voxels, block after block. Outside the source the nearest border
/// point counts, as in [`sample_clamped`](crate::image::Volume::sample_clamped); NaN counts as 0.
pub(super) fn resample<const C: usize>(
    simd: Simd,
    source: &Source<C>,
    len: usize,
    row: &mut impl Row<C>,
) {
    let level = if source.suits_vectors() { simd.level() } else { SimdLevel::Scalar };
    match level {
        // SAFETY: a `Simd` is given out only for a level that the CPU has; for a source that does
        // not suit vectors the level is `Scalar`.
        #[cfg(target_arch = "x86_64")]
        SimdLevel::Avx2 | SimdLevel::AvxVnni => unsafe { levels::avx2(source, len, row) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        SimdLevel::Avx512 | SimdLevel::Vnni => unsafe { levels::avx512(source, len, row) },
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        SimdLevel::Neon | SimdLevel::DotProd => unsafe { levels::neon(source, len, row) },
        _ => scalar::resample(source, len, row),
    }
}

/// The block of a row from `x` on; past its end `T::default()`.
#[inline(always)]
pub(super) fn load<T: Copy + Default>(row: &[T], x: usize) -> Lanes<T> {
    match row[x..].first_chunk() {
        Some(block) => *block,
        None => {
            let mut block = [T::default(); BLOCK];
            block[..row.len() - x].copy_from_slice(&row[x..]);
            block
        }
    }
}

/// Writes a block to a row from `x` on, as far as the row goes.
#[inline(always)]
pub(super) fn store<T: Copy>(row: &mut [T], x: usize, block: &Lanes<T>) {
    match row[x..].first_chunk_mut() {
        Some(out) => *out = *block,
        None => {
            let rest = row.len() - x;
            row[x..].copy_from_slice(&block[..rest]);
        }
    }
}

#[cfg(test)]
mod tests;
