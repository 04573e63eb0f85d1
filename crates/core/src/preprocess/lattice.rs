//! A grid laid voxel on voxel of an image: the package's own grid, however it is stored.

use nalgebra::{Matrix3, Vector3};

use crate::image::{Affine, Volume};

/// Indices so near to a voxel's center mean that voxel: rounding must not turn a copy into an
/// interpolation.
const NEAR: f64 = 1e-6;

/// The index of the voxel center where one is near.
#[inline(always)]
pub(crate) fn on_voxel(index: f64) -> f64 {
    let nearest = index.round_ties_even();
    if (index - nearest).abs() < NEAR { nearest } else { index }
}

/// A map from voxels of a grid to voxels of an image.
pub(super) struct Lattice {
    matrix: Matrix3<i64>,
    translation: Vector3<i64>,
}

impl Lattice {
    /// The map of grid indices to image indices that `index` is near on all of a grid of `size`,
    /// if there is one.
    pub fn of(index: &Affine, size: [usize; 3]) -> Option<Self> {
        // So that no sum of four products overflows an i64.
        const LARGEST: f64 = 1e9;
        let whole = Affine {
            matrix: index.matrix.map(f64::round),
            translation: index.translation.map(f64::round),
        };
        // Of values that are not numbers none is small.
        let small = |v: &f64| v.abs() < LARGEST;
        if !whole.matrix.iter().chain(&whole.translation).all(small) {
            return None;
        }
        let off = Affine {
            matrix: index.matrix - whole.matrix,
            translation: index.translation - whole.translation,
        };
        let near = (0..8).all(|corner| {
            let end = |axis: usize| (size[axis] - 1) as f64 * f64::from(corner >> axis & 1);
            off.apply(Vector3::new(end(0), end(1), end(2))).amax() < NEAR
        });
        near.then(|| Lattice {
            matrix: whole.matrix.map(|v| v as i64),
            translation: whole.translation.map(|v| v as i64),
        })
    }

    /// The grid's row at `[y, z]` from the voxels of `image`, 0 outside.
    pub fn copy_row(&self, image: &Volume, [y, z]: [usize; 2], out: &mut [f32]) {
        let start = self.matrix * Vector3::new(0, y as i64, z as i64) + self.translation;
        let step = self.matrix.column(0);
        let size = Vector3::from(image.geometry.size.map(|n| n as i64));
        let (mut first, mut end) = (0, out.len() as i64);
        for axis in 0..3 {
            let (a, b) = within(start[axis], step[axis], size[axis]);
            (first, end) = (first.max(a), end.min(b));
        }
        out.fill(0.0);
        if first >= end {
            return;
        }
        let strides = Vector3::new(1, size.x, size.x * size.y);
        let (mut at, step) = ((start + step * first).dot(&strides), step.dot(&strides));
        for out in &mut out[first as usize..end as usize] {
            *out = image.data[at as usize];
            at += step;
        }
    }
}

/// From which x on, and up to which, `start + step · x` is an index of `n` voxels.
fn within(start: i64, step: i64, n: i64) -> (i64, i64) {
    match step {
        0 if (0..n).contains(&start) => (0, i64::MAX),
        0 => (0, 0),
        // Mirrored, so that one case is left.
        _ if step < 0 => within(n - 1 - start, -step, n),
        _ => (-start.div_euclid(step), (n - 1 - start).div_euclid(step) + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_a_search() {
        for start in -7..8 {
            for step in -3..4 {
                let (first, end) = within(start, step, 5);
                for x in 0..9 {
                    let inside = (0..5).contains(&(start + step * x));
                    assert_eq!((first..end).contains(&x), inside, "{start} {step} {x}");
                }
            }
        }
    }

    #[test]
    fn only_maps_that_are_near_everywhere_count() {
        let mut index = Affine::translation(Vector3::new(-3.0, 2.0 + 4e-7, 0.0));
        index.matrix[(0, 0)] = -1.0;
        assert!(Lattice::of(&index, [9, 9, 9]).is_some());
        index.matrix[(1, 2)] = 1e-7;
        assert!(Lattice::of(&index, [9, 9, 9]).is_none(), "1.2e-6 off at the far corner");
        assert!(Lattice::of(&index, [9, 9, 6]).is_some());
        index.translation.x = f64::NAN;
        assert!(Lattice::of(&index, [9, 9, 6]).is_none());
        index.translation.x = 1e300;
        assert!(Lattice::of(&index, [9, 9, 6]).is_none());
    }
}
