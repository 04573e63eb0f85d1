use nalgebra::{Matrix3, Vector3};
use rayon::prelude::*;

use crate::image::Field;

/// How smooth and invertible φ(p) = p + u(p) is, over all voxels of the fixed grid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Regularity {
    /// Share of voxels whose Jacobian determinant is ≤ 0 (or not a number), in percent.
    pub folding_percent: f64,
    /// Population standard deviation of ln(determinant), with determinants clamped to
    /// between 1e-9 and 1e9 as in Learn2Reg. Unlike in Learn2Reg's published code, nothing is
    /// added to the determinant before, and no border is cut off.
    pub sd_log_jacobian: f64,
    pub min_jacobian: f64,
    pub mean_jacobian: f64,
}

/// The Jacobian determinant det(∂φ/∂p) of φ(p) = p + u(p) at every voxel, summed up.
///
/// Derivatives are with respect to world millimeters (spacing and direction count), by central
/// differences, one-sided at the borders; along an axis of length 1 the field counts as constant.
pub fn regularity(field: &Field) -> Regularity {
    let slices: Vec<Sums> =
        (0..field.geometry.size[2]).into_par_iter().map(|z| slice_sums(field, z)).collect();
    let sums = slices.into_iter().fold(Sums::NONE, Sums::plus);
    let n = field.data.len() as f64;
    let mean_log = sums.log / n;
    Regularity {
        folding_percent: 100.0 * sums.folded as f64 / n,
        // Rounding can leave a variance of zero just below it.
        sd_log_jacobian: (sums.log_squared / n - mean_log * mean_log).max(0.0).sqrt(),
        min_jacobian: sums.min,
        mean_jacobian: sums.determinant / n,
    }
}

/// The length of the longest displacement in millimeters.
pub fn max_displacement_mm(field: &Field) -> f64 {
    let squared = |u: &[f32; 3]| Vector3::from(*u).cast::<f64>().norm_squared();
    field.data.par_iter().map(squared).reduce(|| 0.0, f64::max).sqrt()
}

struct Sums {
    folded: usize,
    determinant: f64,
    log: f64,
    log_squared: f64,
    min: f64,
}

impl Sums {
    const NONE: Sums =
        Sums { folded: 0, determinant: 0.0, log: 0.0, log_squared: 0.0, min: f64::INFINITY };

    fn of(determinant: f64) -> Sums {
        let folded = determinant.is_nan() || determinant <= 0.0;
        let log = if folded { 1e-9f64 } else { determinant.clamp(1e-9, 1e9) }.ln();
        Sums {
            folded: usize::from(folded),
            determinant,
            log,
            log_squared: log * log,
            min: determinant,
        }
    }

    fn plus(self, other: Sums) -> Sums {
        Sums {
            folded: self.folded + other.folded,
            determinant: self.determinant + other.determinant,
            log: self.log + other.log,
            log_squared: self.log_squared + other.log_squared,
            min: self.min.min(other.min),
        }
    }
}

fn slice_sums(field: &Field, z: usize) -> Sums {
    let [nx, ny, nz] = field.geometry.size;
    // ∂φ/∂p = (W + ∂u/∂i) W⁻¹ where W = ∂p/∂i: a determinant of a sum, without an inverse.
    let world = field.geometry.index_to_world().matrix;
    let volume = world.determinant();
    let mut sums = Sums::NONE;
    for y in 0..ny {
        for x in 0..nx {
            let at = field.offset(x, y, z);
            let slopes = Matrix3::from_columns(&[
                slope(field, at, x, nx, 1),
                slope(field, at, y, ny, nx),
                slope(field, at, z, nz, nx * ny),
            ]);
            sums = sums.plus(Sums::of((world + slopes).determinant() / volume));
        }
    }
    sums
}

/// ∂u/∂i along one axis in millimeters per voxel, at position `at` in the data, which is the
/// `index`th of `size` voxels that lie `stride` apart.
fn slope(field: &Field, at: usize, index: usize, size: usize, stride: usize) -> Vector3<f64> {
    let down = at - if index > 0 { stride } else { 0 };
    let up = at + if index + 1 < size { stride } else { 0 };
    let (low, high) = (field.data[down], field.data[up]);
    let per_step = if up - down > stride { 0.5 } else { 1.0 };
    Vector3::from_fn(|i, _| (f64::from(high[i]) - f64::from(low[i])) * per_step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Geometry;

    fn oblique() -> Geometry {
        Geometry {
            origin: Vector3::new(-10.0, 20.0, 5.0),
            direction: *nalgebra::Rotation3::from_euler_angles(0.3, -0.2, 0.9).matrix(),
            ..Geometry::new([7, 6, 5], [0.5, 1.5, 3.0])
        }
    }

    /// A field from a function of the index (x, y, z).
    fn field(geometry: Geometry, u: impl Fn(Vector3<f64>) -> Vector3<f64>) -> Field {
        let [nx, ny, nz] = geometry.size;
        let index = |i: usize| Vector3::new(i % nx, i / nx % ny, i / (nx * ny)).cast::<f64>();
        let data = (0..nx * ny * nz).map(|i| u(index(i)).cast::<f32>().into()).collect();
        Field::new(geometry, data)
    }

    fn close(found: f64, expected: f64, tolerance: f64) {
        assert!((found - expected).abs() < tolerance, "{found} instead of {expected}");
    }

    #[test]
    fn affine_fields_have_their_matrix_determinant() {
        let matrix = Matrix3::new(0.2, 0.1, 0.0, -0.1, -0.1, 0.3, 0.05, 0.1, 0.3);
        let determinant = (Matrix3::identity() + matrix).determinant();
        for geometry in [oblique(), Geometry::new([7, 6, 5], [0.5, 1.5, 3.0])] {
            let world = geometry.index_to_world();
            let r = regularity(&field(geometry, |i| matrix * world.apply(i)));
            close(r.min_jacobian, determinant, 1e-4);
            close(r.mean_jacobian, determinant, 1e-5);
            close(r.sd_log_jacobian, 0.0, 1e-4);
            assert_eq!(r.folding_percent, 0.0);
        }
    }

    #[test]
    fn a_mirrored_space_folds_everywhere_and_a_shifted_one_nowhere() {
        let world = oblique().index_to_world();
        let mirror = regularity(&field(oblique(), |i| {
            let x = world.apply(i).x;
            Vector3::new(-2.0 * x, 0.0, 0.0)
        }));
        assert_eq!(mirror.folding_percent, 100.0);
        close(mirror.mean_jacobian, -1.0, 1e-4);
        let shift = regularity(&field(oblique(), |_| Vector3::new(3.0, -4.0, 12.0)));
        let expected = Regularity {
            folding_percent: 0.0,
            sd_log_jacobian: 0.0,
            min_jacobian: 1.0,
            mean_jacobian: 1.0,
        };
        assert_eq!(shift, expected);
    }

    #[test]
    fn agrees_with_numpy() {
        // z, y, x = np.mgrid[:7, :8, :9].astype(float)
        // u = np.stack([x*y/32 + z*z/8, (x-4)**2/16 - y*z/32, x*y*z/128 - 2*z*(z > 4)], -1)
        // g = [np.gradient(u, s, axis=i) for i, s in [(2, 0.8), (1, 1.5), (0, 3.0)]]
        // j = np.linalg.det(np.eye(3) + np.stack(g, -1))
        // 100*(j <= 0).mean(), np.log(j.clip(1e-9, 1e9)).std(), j.min(), j.mean()
        // np.linalg.norm(u, axis=-1).max()
        let folding = field(Geometry::new([9, 8, 7], [0.8, 1.5, 3.0]), |i| {
            let (x, y, z) = (i.x, i.y, i.z);
            let jump = if z > 4.0 { 2.0 * z } else { 0.0 };
            Vector3::new(
                x * y / 32.0 + z * z / 8.0,
                (x - 4.0).powi(2) / 16.0 - y * z / 32.0,
                x * y * z / 128.0 - jump,
            )
        });
        let r = regularity(&folding);
        close(r.folding_percent, 28.57142857142857, 1e-12);
        close(r.sd_log_jacobian, 9.30001816732048, 1e-9);
        close(r.min_jacobian, -1.2683681911892362, 1e-12);
        close(r.mean_jacobian, 0.43893242891503387, 1e-12);
        close(max_displacement_mm(&folding), 12.854960132182441, 1e-12);
    }

    #[test]
    fn a_single_slice_has_the_determinant_of_its_plane() {
        let flat = Geometry::new([4, 4, 1], [2.0, 1.0, 5.0]);
        let r = regularity(&field(flat, |i| Vector3::new(0.5 * 2.0 * i.x, i.y, 0.0)));
        assert_eq!((r.min_jacobian, r.mean_jacobian), (3.0, 3.0));
    }

    #[test]
    fn what_is_not_a_number_counts_as_folded() {
        let mut broken = field(oblique(), |_| Vector3::zeros());
        broken.data[0] = [f32::NAN; 3];
        // The corner itself and its three neighbors.
        let share = 100.0 * 4.0 / broken.data.len() as f64;
        close(regularity(&broken).folding_percent, share, 1e-12);
    }
}
