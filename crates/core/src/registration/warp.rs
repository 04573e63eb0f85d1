//! Resampling the moving image, once, by the whole transform. 0 outside the moving image.

use rayon::prelude::*;

use super::kernels::{self, BLOCK, Lanes, Row, Source, load, store};
use super::line::{Line, Rows, nth};
use crate::image::{Affine, Field, Geometry, LabelMap, Volume, inside};
use intraop_engine::Simd;

/// `warped(p) = moving(p + u(p))` on the grid `onto`, trilinear. Outside the field's own grid the
/// displacement is 0, as in ITK.
pub fn warp(moving: &Volume, field: &Field, onto: &Geometry) -> Volume {
    Path::field(field, onto, &moving.geometry).interpolate(Simd::detect(), moving)
}

/// As [`warp`], each voxel taking the label of the nearest moving voxel.
pub fn warp_labels(moving: &LabelMap, field: &Field, onto: &Geometry) -> LabelMap {
    Path::field(field, onto, &moving.geometry).map(|p| moving.nearest(p.into()).unwrap_or(0))
}

/// `warped(p) = moving(A p)` on the grid `onto`, trilinear; A maps fixed → moving (world).
pub fn warp_affine(moving: &Volume, affine: &Affine, onto: &Geometry) -> Volume {
    Path::affine(affine, onto, &moving.geometry).interpolate(Simd::detect(), moving)
}

/// As [`warp_affine`] for labels.
pub fn warp_labels_affine(moving: &LabelMap, affine: &Affine, onto: &Geometry) -> LabelMap {
    Path::affine(affine, onto, &moving.geometry).map(|p| moving.nearest(p.into()).unwrap_or(0))
}

/// An affine map as displacements on a grid.
pub fn affine_field(affine: &Affine, onto: &Geometry) -> Field {
    let world = onto.index_to_world();
    Volume::from_fn(onto, |i| {
        let p = world.apply(i);
        let u = affine.apply(p) - p;
        [u.x as f32, u.y as f32, u.z as f32]
    })
}

/// Which voxels of the grid `onto` a field leads inside the moving image.
pub fn covered(field: &Field, onto: &Geometry, moving: &Geometry) -> Vec<bool> {
    Path::field(field, onto, moving).map(|p| inside(moving.size, p.into())).data
}

/// Which voxels of the fixed grid an affine map leads inside the moving image.
pub fn covered_affine(fixed: &Geometry, moving: &Geometry, affine: &Affine) -> Vec<bool> {
    Path::affine(affine, fixed, moving).map(|p| inside(moving.size, p.into())).data
}

/// Share (0 to 1) of the fixed grid's voxels that an affine map leads inside the moving image.
pub fn coverage(fixed: &Geometry, moving: &Geometry, affine: &Affine) -> f64 {
    let mask = covered_affine(fixed, moving, affine);
    mask.iter().filter(|inside| **inside).count() as f64 / mask.len() as f64
}

/// Does an affine map lead any voxel of the fixed grid inside the moving image?
pub(super) fn overlap(fixed: &Geometry, moving: &Geometry, affine: &Affine) -> bool {
    let to_moving = moving.world_to_index().after(affine).after(&fixed.index_to_world());
    let rows = (0..fixed.size[1] * fixed.size[2]).into_par_iter();
    rows.any(|row| {
        let line = Line::new(&to_moving, fixed.size, row);
        (0..fixed.size[0]).any(|x| inside(moving.size, line.at(x as f64).into()))
    })
}

/// From the voxels of a grid to continuous indices of the moving image.
struct Path<'a> {
    onto: &'a Geometry,
    /// Voxels of `onto` to the world, moved by what is affine in the transform.
    world: Affine,
    to_moving: Rows,
    /// What is left of the transform, if anything.
    field: Option<&'a Field>,
    /// `onto` is the field's own grid.
    on_field: bool,
}

impl<'a> Path<'a> {
    fn affine(affine: &Affine, onto: &'a Geometry, moving: &Geometry) -> Self {
        Path {
            onto,
            world: affine.after(&onto.index_to_world()),
            to_moving: Rows::from(&moving.world_to_index()),
            field: None,
            on_field: false,
        }
    }

    fn field(field: &'a Field, onto: &'a Geometry, moving: &Geometry) -> Self {
        let path = Path::affine(&Affine::identity(), onto, moving);
        Path { field: Some(field), on_field: onto.same_grid(&field.geometry), ..path }
    }

    fn row(&self, row: usize) -> PathRow<'_> {
        PathRow { path: self, row, world: Line::new(&self.world, self.onto.size, row) }
    }

    /// The moving image where the path leads, 0 outside.
    fn interpolate(&self, simd: Simd, moving: &Volume) -> Volume {
        let source = Source::new(moving.geometry.size, [moving.data.as_slice()]);
        let size = moving.geometry.size;
        self.rows(|row, out| {
            let (len, path) = (out.len(), self.row(row));
            let mut row = DeliveredRow { path, size, inside: [false; BLOCK], out };
            kernels::resample(simd, &source, len, &mut row);
        })
    }

    /// A volume from a function of the moving image's index.
    fn map<T: Copy + Default + Send>(&self, value: impl Fn([f64; 3]) -> T + Sync) -> Volume<T> {
        self.rows(|row, out| {
            let path = self.row(row);
            let mut indices = [[0.0; BLOCK]; 3];
            for (block, out) in out.chunks_mut(BLOCK).enumerate() {
                path.indices(block * BLOCK, &mut indices);
                for (i, out) in out.iter_mut().enumerate() {
                    *out = value([indices[0][i], indices[1][i], indices[2][i]]);
                }
            }
        })
    }

    fn rows<T: Copy + Default + Send>(&self, fill: impl Fn(usize, &mut [T]) + Sync) -> Volume<T> {
        let mut volume = Volume::filled(self.onto.clone(), T::default());
        let rows = volume.data.par_chunks_mut(self.onto.size[0]).enumerate();
        rows.for_each(|(row, out)| fill(row, out));
        volume
    }
}

/// A row of a [`Path`].
struct PathRow<'a> {
    path: &'a Path<'a>,
    row: usize,
    world: Line,
}

impl PathRow<'_> {
    /// Where the voxels of a block are led to.
    #[inline(always)]
    fn indices(&self, x: usize, indices: &mut [Lanes<f64>; 3]) {
        let u = self.displacements(x);
        for i in 0..BLOCK {
            let p = self.world.at(nth(x, i));
            let u = [f64::from(u[i][0]), f64::from(u[i][1]), f64::from(u[i][2])];
            let p = self.path.to_moving.apply([p[0] + u[0], p[1] + u[1], p[2] + u[2]]);
            [indices[0][i], indices[1][i], indices[2][i]] = p;
        }
    }

    /// The field at the voxels of a block; past the row's end anything.
    #[inline(always)]
    fn displacements(&self, x: usize) -> Lanes<[f32; 3]> {
        let nx = self.path.onto.size[0];
        match self.path.field {
            None => [[0.0; 3]; BLOCK],
            Some(field) if self.path.on_field => load(&field.data[self.row * nx..][..nx], x),
            Some(field) => self.interpolated(field, x),
        }
    }

    #[inline(never)]
    fn interpolated(&self, field: &Field, x: usize) -> Lanes<[f32; 3]> {
        let to_field = field.geometry.world_to_index().after(&self.path.world);
        let line = Line::new(&to_field, self.path.onto.size, self.row);
        let mut block = [[0.0; 3]; BLOCK];
        for (i, u) in block.iter_mut().enumerate() {
            *u = field.sample(line.at(nth(x, i)).into()).unwrap_or_default();
        }
        block
    }
}

/// A row of the delivered image.
struct DeliveredRow<'a> {
    path: PathRow<'a>,
    size: [usize; 3],
    /// Which voxels of the block are led inside the moving image.
    inside: Lanes<bool>,
    out: &'a mut [f32],
}

impl Row<1> for DeliveredRow<'_> {
    #[inline(always)]
    fn at(&mut self, x: usize, indices: &mut [Lanes<f64>; 3]) {
        self.path.indices(x, indices);
        let [ix, iy, iz] = indices;
        for i in 0..BLOCK {
            self.inside[i] = inside(self.size, [ix[i], iy[i], iz[i]].into());
        }
    }

    #[inline(always)]
    fn put(&mut self, x: usize, [values]: &[Lanes<f32>; 1]) {
        let mut block = [0.0; BLOCK];
        for i in 0..BLOCK {
            block[i] = if self.inside[i] { values[i] } else { 0.0 };
        }
        store(self.out, x, &block);
    }
}

#[cfg(test)]
mod tests {
    use nalgebra::Vector3;

    use super::*;

    fn ramp() -> Volume {
        let mut geometry = Geometry::new([8, 6, 4], [2.0, 1.0, 1.5]);
        geometry.origin = Vector3::new(5.0, -3.0, 2.0);
        let data = (0..geometry.voxels()).map(|i| i as f32).collect();
        Volume::new(geometry, data)
    }

    #[test]
    fn a_field_of_one_voxel_shifts_by_one_voxel() {
        let v = ramp();
        let field = Field::filled(v.geometry.clone(), [2.0, 0.0, 0.0]);
        let warped = warp(&v, &field, &v.geometry);
        assert_eq!(warped.at(3, 2, 1), v.at(4, 2, 1));
        assert_eq!(warped.at(7, 2, 1), 0.0, "outside the moving image");
        let same = warp_affine(&v, &Affine::translation(Vector3::x() * 2.0), &v.geometry);
        assert_eq!(same.data, warped.data);
        assert_eq!(coverage(&v.geometry, &v.geometry, &Affine::identity()), 1.0);
        assert_eq!(covered(&field, &v.geometry, &v.geometry).iter().filter(|c| !**c).count(), 24);
    }

    #[test]
    fn a_coarser_field_is_interpolated_and_zero_outside() {
        let v = ramp();
        let mut coarse = Geometry::new([2, 6, 4], [8.0, 1.0, 1.5]);
        coarse.origin = v.geometry.origin;
        let field = Volume::new(
            coarse.clone(),
            (0..coarse.voxels()).map(|i| [(i % 2) as f32 * 4.0, 0.0, 0.0]).collect(),
        );
        let warped = warp(&v, &field, &v.geometry);
        // At x = 2 the field is half-way: 2 mm, one voxel.
        assert_eq!(warped.at(2, 0, 0), v.at(3, 0, 0));
        // x = 7 is 14 mm from the origin, past the field's last voxel and its half.
        assert_eq!(warped.at(7, 0, 0), v.at(7, 0, 0));
    }

    #[test]
    fn labels_are_never_mixed() {
        let labels = ramp().map(|v| if v < 90.0 { 3 } else { 7 });
        let half = Field::filled(labels.geometry.clone(), [0.0, 0.4, 0.3]);
        let warped = warp_labels(&labels, &half, &labels.geometry);
        assert_eq!(warped.labels(), vec![3, 7]);
    }

    #[test]
    fn every_voxel_is_what_a_sample_of_the_moving_image_gives() {
        let moving = ramp();
        let mut onto = Geometry::new([45, 5, 3], [0.4, 1.3, 1.7]);
        onto.origin = Vector3::new(4.0, -3.5, 1.0);
        onto.direction = *nalgebra::Rotation3::from_euler_angles(0.1, -0.2, 0.3).matrix();
        let wave = |p: Vector3<f64>| [(p.x * 0.9).sin() as f32, p.y as f32 * 0.1, 0.3];
        let (to_world, to_moving) = (onto.index_to_world(), moving.geometry.world_to_index());
        for grid in [&onto, &moving.geometry] {
            let field = Field::from_fn(grid, wave);
            let expected = Volume::from_fn(&onto, |i| {
                let p = to_world.apply(i);
                let u = field.sample(grid.world_to_index().apply(p)).unwrap_or_default();
                moving.sample(to_moving.apply(p + Vector3::from(u.map(f64::from)))).unwrap_or(0.0)
            });
            assert!(expected.data.contains(&0.0) && expected.range().1 > 100.0);
            for simd in Simd::all() {
                let path = Path::field(&field, &onto, &moving.geometry);
                let found = path.interpolate(simd, &moving);
                for (found, expected) in found.data.iter().zip(&expected.data) {
                    assert!((found - expected).abs() < 1e-3, "{simd}: {found} {expected}");
                }
            }
        }
    }
}
