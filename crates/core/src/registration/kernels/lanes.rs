//! What every vector level does, as loops over a block that the compiler turns into the
//! instructions of the function they are inlined into. Only the fetching of voxels, which it
//! would not find by itself, is written out per architecture ([`columns`]).
//!
//! CPUs gather no faster than they load, so voxels are loaded one pair at a time; the
//! interpolation along z happens in the same registers, and halves what has to be turned from
//! one voxel per vector to one corner per vector.

#[cfg(target_arch = "aarch64")]
use super::aarch64::columns;
#[cfg(target_arch = "x86_64")]
use super::x86::columns;
use super::{BLOCK, Lanes, Row, Source};

/// [`Trilinear`](crate::image::Trilinear) of every voxel of a block.
struct Places {
    /// The lower of the pair of voxels along x; at the border the pair ends there.
    low: Lanes<u32>,
    /// 1 where only the upper voxel of the pair counts, else 0.
    border: Lanes<u32>,
    step_y: Lanes<u32>,
    step_z: Lanes<u32>,
    t: [Lanes<f32>; 3],
}

/// As [`super::resample`].
///
/// # Safety
/// The source must suit vectors.
#[inline(always)]
pub(super) unsafe fn resample<const C: usize>(
    source: &Source<C>,
    len: usize,
    row: &mut impl Row<C>,
) {
    let mut indices = [[0.0; BLOCK]; 3];
    let zero = [0; BLOCK];
    let mut places =
        Places { low: zero, border: zero, step_y: zero, step_z: zero, t: [[0.0; BLOCK]; 3] };
    let mut corners = [[[0.0; 4]; BLOCK]; C];
    let mut values = [[0.0; BLOCK]; C];
    for x in (0..len).step_by(BLOCK) {
        row.at(x, &mut indices);
        // SAFETY: by this function's contract the source has at least 2 voxels along x, and an
        // i32 counts all of them. `find` then leaves places that are in its planes.
        unsafe {
            find(source.size, &indices, &mut places);
            if places.t.as_flattened().iter().all(|t| *t == 0.0) {
                copy(&places, source, &mut values);
            } else {
                fetch(&places, source, &mut corners);
                interpolate(&places, &corners, &mut values);
            }
        }
        row.put(x, &values);
    }
}

/// Along z: the four columns around every voxel.
///
/// # Safety
/// The places must be in the source.
#[inline(always)]
unsafe fn fetch<const C: usize>(
    places: &Places,
    source: &Source<C>,
    corners: &mut [Lanes<[f32; 4]>; C],
) {
    for i in 0..BLOCK {
        let low = places.low[i] as usize;
        let (step_y, step_z) = (places.step_y[i] as usize, places.step_z[i] as usize);
        for (corners, plane) in corners.iter_mut().zip(source.planes) {
            // SAFETY: low, low + 1 and both a step further along y, z and both are in the plane.
            corners[i] =
                unsafe { columns(plane.as_ptr().add(low), step_y, step_z, places.t[2][i]) };
        }
    }
}

/// Along y, then x.
#[inline(always)]
fn interpolate<const C: usize>(
    places: &Places,
    corners: &[Lanes<[f32; 4]>; C],
    values: &mut [Lanes<f32>; C],
) {
    for (values, corners) in values.iter_mut().zip(corners) {
        for i in 0..BLOCK {
            let [a, b, c, d] = corners[i];
            let lower = lerp(a, c, places.t[1][i]);
            let upper = lerp(b, d, places.t[1][i]);
            let lower = if places.border[i] == 0 { lower } else { upper };
            values[i] = lerp(lower, upper, places.t[0][i]);
        }
    }
}

/// Where a whole block looks at voxels' centers, as for a field on the package's own grid: what
/// is left of the three interpolations.
///
/// # Safety
/// The places must be in the source.
#[inline(always)]
unsafe fn copy<const C: usize>(places: &Places, source: &Source<C>, values: &mut [Lanes<f32>; C]) {
    for (values, plane) in values.iter_mut().zip(source.planes) {
        for (i, value) in values.iter_mut().enumerate() {
            let at = (places.low[i] + places.border[i]) as usize;
            // SAFETY: the upper voxel of a pair at the border, else the lower one.
            *value = unsafe { *plane.get_unchecked(at) };
        }
    }
}

#[inline(always)]
fn lerp(a: f32, b: f32, t: f32) -> f32 {
    a + t * (b - a)
}

/// # Safety
/// All axes must be at least 1, x at least 2, and all voxels countable in an i32.
#[inline(always)]
unsafe fn find(size: [usize; 3], indices: &[Lanes<f64>; 3], places: &mut Places) {
    let mut whole = [[0i32; BLOCK]; 3];
    for axis in 0..3 {
        let last = (size[axis] - 1) as f64;
        for i in 0..BLOCK {
            // Not `max` and `min`, whose rule for NaN costs more than this one, which gives 0.
            let v = indices[axis][i];
            let v = if v > 0.0 { v } else { 0.0 };
            let v = if v < last { v } else { last };
            // SAFETY: 0 ≤ v ≤ last, an i32.
            let floor = unsafe { v.to_int_unchecked::<i32>() };
            whole[axis][i] = floor;
            places.t[axis][i] = (v - f64::from(floor)) as f32;
        }
    }
    let [nx, ny, nz] = size.map(|n| n as u32);
    let [xs, ys, zs] = whole;
    for i in 0..BLOCK {
        let [x, y, z] = [xs[i] as u32, ys[i] as u32, zs[i] as u32];
        let border = u32::from(x == nx - 1);
        places.border[i] = border;
        places.low[i] = (z * ny + y) * nx + x - border;
        places.step_y[i] = if y < ny - 1 { nx } else { 0 };
        places.step_z[i] = if z < nz - 1 { nx * ny } else { 0 };
    }
}
