//! Resampling the moving image, once, by the whole transform. 0 outside the moving image.

use nalgebra::Vector3;

use crate::image::{Affine, Field, Geometry, LabelMap, Volume, inside};

/// `warped(p) = moving(p + u(p))` on the grid `onto`, trilinear. Outside the field's own grid the
/// displacement is 0, as in ITK.
pub fn warp(moving: &Volume, field: &Field, onto: &Geometry) -> Volume {
    let index = moving.geometry.world_to_index();
    through_field(field, onto, |p| moving.sample(index.apply(p)).unwrap_or(0.0))
}

/// As [`warp`], each voxel taking the label of the nearest moving voxel.
pub fn warp_labels(moving: &LabelMap, field: &Field, onto: &Geometry) -> LabelMap {
    let index = moving.geometry.world_to_index();
    through_field(field, onto, |p| moving.nearest(index.apply(p)).unwrap_or(0))
}

/// `warped(p) = moving(A p)` on the grid `onto`, trilinear; A maps fixed → moving (world).
pub fn warp_affine(moving: &Volume, affine: &Affine, onto: &Geometry) -> Volume {
    let index = moving.geometry.world_to_index();
    through_affine(affine, onto, |p| moving.sample(index.apply(p)).unwrap_or(0.0))
}

/// As [`warp_affine`] for labels.
pub fn warp_labels_affine(moving: &LabelMap, affine: &Affine, onto: &Geometry) -> LabelMap {
    let index = moving.geometry.world_to_index();
    through_affine(affine, onto, |p| moving.nearest(index.apply(p)).unwrap_or(0))
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
    let index = moving.world_to_index();
    through_field(field, onto, |p| inside(moving.size, index.apply(p))).data
}

/// Which voxels of the fixed grid an affine map leads inside the moving image.
pub fn covered_affine(fixed: &Geometry, moving: &Geometry, affine: &Affine) -> Vec<bool> {
    let index = moving.world_to_index();
    through_affine(affine, fixed, |p| inside(moving.size, index.apply(p))).data
}

/// Share (0 to 1) of the fixed grid's voxels that an affine map leads inside the moving image.
pub fn coverage(fixed: &Geometry, moving: &Geometry, affine: &Affine) -> f64 {
    let mask = covered_affine(fixed, moving, affine);
    mask.iter().filter(|inside| **inside).count() as f64 / mask.len() as f64
}

fn through_affine<T: Copy + Default + Send>(
    affine: &Affine,
    onto: &Geometry,
    value: impl Fn(Vector3<f64>) -> T + Sync,
) -> Volume<T> {
    let to_moving = affine.after(&onto.index_to_world());
    Volume::from_fn(onto, |i| value(to_moving.apply(i)))
}

/// `value` at the moving world point of every voxel of `onto`.
fn through_field<T: Copy + Default + Send>(
    field: &Field,
    onto: &Geometry,
    value: impl Fn(Vector3<f64>) -> T + Sync,
) -> Volume<T> {
    let world = onto.index_to_world();
    let at = |i: Vector3<f64>, u: [f32; 3]| value(world.apply(i) + Vector3::from(u.map(f64::from)));
    if onto.same_grid(&field.geometry) {
        let [nx, ny, _] = onto.size;
        return Volume::from_fn(onto, |i| {
            let offset = (i.z as usize * ny + i.y as usize) * nx + i.x as usize;
            at(i, field.data[offset])
        });
    }
    let to_field = field.geometry.world_to_index().after(&world);
    Volume::from_fn(onto, |i| at(i, field.sample(to_field.apply(i)).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
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
}
