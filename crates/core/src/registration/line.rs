//! Affine maps as loops over a row of voxels want them.

use nalgebra::Vector3;

use crate::image::Affine;

/// An affine map by its rows: the matrix's three entries, then the translation's.
#[derive(Clone, Copy)]
pub(super) struct Rows([[f64; 4]; 3]);

impl From<&Affine> for Rows {
    fn from(map: &Affine) -> Self {
        let row = |r: usize| {
            let m = map.matrix.row(r);
            [m[0], m[1], m[2], map.translation[r]]
        };
        Rows([row(0), row(1), row(2)])
    }
}

impl Rows {
    #[inline(always)]
    pub fn apply(&self, [x, y, z]: [f64; 3]) -> [f64; 3] {
        let along = |[a, b, c, d]: [f64; 4]| a * x + b * y + c * z + d;
        [along(self.0[0]), along(self.0[1]), along(self.0[2])]
    }
}

/// Where the voxels (0, y, z), (1, y, z), … of a row are led by an affine map.
#[derive(Clone, Copy)]
pub(super) struct Line {
    start: [f64; 3],
    step: [f64; 3],
}

impl Line {
    /// Row number `row` of a volume of `size`, counted along y, then z.
    pub fn new(map: &Affine, size: [usize; 3], row: usize) -> Self {
        let [y, z] = coordinates(size, row);
        Line {
            start: map.apply(Vector3::new(0.0, y, z)).into(),
            step: map.matrix.column(0).into_owned().into(),
        }
    }

    #[inline(always)]
    pub fn at(&self, x: f64) -> [f64; 3] {
        let along = |axis: usize| self.start[axis] + self.step[axis] * x;
        [along(0), along(1), along(2)]
    }
}

/// y and z of a volume's row.
pub(super) fn coordinates(size: [usize; 3], row: usize) -> [f64; 2] {
    [(row % size[1]) as f64, (row / size[1]) as f64]
}

/// The x of a block's voxel.
#[inline(always)]
pub(super) fn nth(x: usize, i: usize) -> f64 {
    x as f64 + f64::from(i as u32)
}
