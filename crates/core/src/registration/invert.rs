//! The inverse of a field by fixed-point iteration, and by Newton's where that does not converge.

use nalgebra::{Matrix3, Vector3};
use rayon::prelude::*;

use crate::image::{Affine, Field, Geometry, Volume};

const ITERATIONS: usize = 60;
/// The iteration stops at this share of the fixed image's finest spacing.
const TOLERANCE: f64 = 1e-3;

/// A field from the moving image's grid back to the fixed image, and how exact it is.
#[derive(Debug, Clone)]
pub struct Inverse {
    /// On the moving grid: the displacement from a moving point to its fixed point, LPS mm.
    pub field: Field,
    /// |T(T⁻¹(q)) − q| over moving voxels whose fixed point lies in the fixed image; mm.
    pub residual_mean_mm: f64,
    pub residual_max_mm: f64,
}

impl Inverse {
    /// Mean |v(p + u(p)) + u(p)| in mm over the voxels p of the forward field where `inside`
    /// says that p + u(p) is in the moving image.
    pub fn consistency_mm(&self, forward: &Field, inside: &[bool]) -> f64 {
        let world = forward.geometry.index_to_world();
        let [nx, ny, _] = forward.geometry.size;
        let to_index = self.field.geometry.world_to_index();
        let rows: Vec<f64> = forward
            .data
            .par_chunks(nx)
            .enumerate()
            .map(|(row, line)| {
                let (y, z) = ((row % ny) as f64, (row / ny) as f64);
                let distance = |(x, u): (usize, &[f32; 3])| {
                    let u = Vector3::from(u.map(f64::from));
                    let q = world.apply(Vector3::new(x as f64, y, z)) + u;
                    let v = self.field.sample_clamped(to_index.apply(q));
                    (Vector3::from(v.map(f64::from)) + u).norm()
                };
                let voxels = line.iter().enumerate().filter(|(x, _)| inside[row * nx + x]);
                voxels.map(distance).sum()
            })
            .collect();
        let n = inside.iter().filter(|inside| **inside).count();
        rows.iter().sum::<f64>() / n.max(1) as f64
    }
}

/// A transform T(p) = p + u(p), split as A(p) + r(p) with a known affine part A, so that the
/// iteration has only the small r to undo, and T goes on sensibly outside u's grid, where r keeps
/// its border value.
struct Forward<'a> {
    field: &'a Field,
    affine: &'a Affine,
    to_index: Affine,
    from_index: Affine,
    inverse_matrix: Matrix3<f64>,
    inverse: Affine,
    tolerance: f64,
}

impl<'a> Forward<'a> {
    fn new(field: &'a Field, affine: &'a Affine) -> Option<Self> {
        let inverse = affine.inverse()?;
        let finest = field.geometry.spacing.iter().fold(f64::MAX, |m, s| m.min(*s));
        Some(Forward {
            field,
            affine,
            to_index: field.geometry.world_to_index(),
            from_index: field.geometry.index_to_world(),
            inverse_matrix: inverse.matrix,
            inverse,
            tolerance: TOLERANCE * finest,
        })
    }

    #[inline(always)]
    fn apply(&self, p: Vector3<f64>) -> Vector3<f64> {
        let index = self.to_index.apply(p);
        let size = self.field.geometry.size;
        let clamped = Vector3::from_fn(|axis, _| index[axis].clamp(0.0, (size[axis] - 1) as f64));
        let u = Vector3::from(self.field.sample_clamped(clamped).map(f64::from));
        if clamped == index {
            return p + u;
        }
        let border = self.from_index.apply(clamped);
        self.affine.apply(p) + border + u - self.affine.apply(border)
    }

    /// p with T(p) ≈ q, and |T(p) − q|, from a first guess of p on: p ← p + A⁻¹ (q − T(p)) as long
    /// as that halves the error. Where the field is too steep for that, Newton's step with T's
    /// own Jacobian, shortened until it helps.
    fn undo(&self, q: Vector3<f64>, mut p: Vector3<f64>) -> (Vector3<f64>, f64) {
        let mut error = q - self.apply(p);
        for _ in 0..ITERATIONS {
            if error.norm() <= self.tolerance {
                break;
            }
            let attempt = |step: Vector3<f64>| {
                let next = p + step;
                (next, q - self.apply(next))
            };
            let mut next = attempt(self.inverse_matrix * error);
            if next.1.norm() > 0.5 * error.norm() {
                let Some(newton) = self.jacobian(p).try_inverse() else { break };
                let shortened = (0..6).map(|halvings| newton * error * 0.5f64.powi(halvings));
                let better = |(_, e): &(Vector3<f64>, Vector3<f64>)| e.norm() < error.norm();
                let Some(found) = shortened.map(attempt).find(better) else { break };
                next = found;
            }
            (p, error) = next;
        }
        (p, error.norm())
    }

    /// As [`undo`](Self::undo) for a row of points from their guesses: one step for all of them,
    /// then the next, so that the CPU need not wait for one point's sample to begin with another.
    /// Puts what is left of the errors into `residuals`.
    fn undo_row(&self, qs: &[Vector3<f64>], ps: &mut [Vector3<f64>], residuals: &mut [f64]) {
        let first = |(i, (q, p)): (usize, (&Vector3<f64>, &Vector3<f64>))| (i, q - self.apply(*p));
        let mut open: Vec<_> = qs.iter().zip(&*ps).enumerate().map(first).collect();
        while !open.is_empty() {
            open.retain_mut(|(i, error)| {
                let squared = error.norm_squared();
                if squared <= self.tolerance * self.tolerance {
                    residuals[*i] = squared.sqrt();
                    return false;
                }
                let next = ps[*i] + self.inverse_matrix * *error;
                let next_error = qs[*i] - self.apply(next);
                let converges = next_error.norm_squared() <= 0.25 * squared;
                if converges {
                    (ps[*i], *error) = (next, next_error);
                } else {
                    (ps[*i], residuals[*i]) = self.undo(qs[*i], ps[*i]);
                }
                converges
            });
        }
    }

    /// dT/dp by central differences over a tenth of a voxel.
    fn jacobian(&self, p: Vector3<f64>) -> Matrix3<f64> {
        let h = 0.05 * self.from_index.matrix;
        let along = |axis: usize| self.apply(p + h.column(axis)) - self.apply(p - h.column(axis));
        let differences = Matrix3::from_columns(&[along(0), along(1), along(2)]);
        // T's change per index step, then per millimeter.
        differences * 10.0 * self.to_index.matrix
    }
}

/// Inverts `field` onto the grid `onto` (the moving image's). `affine` is its affine part,
/// fixed → moving, or the identity where none is known. `None` if `affine` is singular.
pub fn invert(field: &Field, affine: &Affine, onto: &Geometry) -> Option<Inverse> {
    let forward = Forward::new(field, affine)?;
    let world = onto.index_to_world();
    let [nx, ny, _] = onto.size;
    let mut data = vec![[0.0; 3]; onto.voxels()];
    let slice = |(z, out): (usize, &mut [[f32; 3]])| {
        let (mut sum, mut max, mut n) = (0.0, 0.0f64, 0);
        // What the row before was moved by, beside A⁻¹: most of what this one will be.
        let mut shifts = vec![Vector3::zeros(); nx];
        let (mut qs, mut ps) = (shifts.clone(), shifts.clone());
        let mut residuals = vec![0.0; nx];
        for (y, out) in out.chunks_mut(nx).enumerate() {
            for x in 0..nx {
                qs[x] = world.apply(Vector3::new(x as f64, y as f64, z as f64));
                ps[x] = forward.inverse.apply(qs[x]) + shifts[x];
            }
            forward.undo_row(&qs, &mut ps, &mut residuals);
            for (x, out) in out.iter_mut().enumerate() {
                let (p, residual) = (ps[x], residuals[x]);
                let found = residual <= forward.tolerance;
                shifts[x] = if found { p - forward.inverse.apply(qs[x]) } else { Vector3::zeros() };
                let v = p - qs[x];
                *out = [v.x as f32, v.y as f32, v.z as f32];
                if crate::image::inside(field.geometry.size, forward.to_index.apply(p)) {
                    (sum, max, n) = (sum + residual, max.max(residual), n + 1);
                }
            }
        }
        (sum, max, n)
    };
    let slices: Vec<(f64, f64, usize)> =
        data.par_chunks_mut(nx * ny).enumerate().map(slice).collect();
    // Added in slice order, so that the figure does not depend on the number of threads.
    let (sum, max, n) =
        slices.into_iter().fold((0.0, 0.0f64, 0), |a, b| (a.0 + b.0, a.1.max(b.1), a.2 + b.2));
    Some(Inverse {
        field: Volume::new(onto.clone(), data),
        residual_mean_mm: sum / n.max(1) as f64,
        residual_max_mm: max,
    })
}

/// Carries points of the moving image to the fixed image. `None` if `affine` is singular.
pub fn invert_point(field: &Field, affine: &Affine, point: [f64; 3]) -> Option<[f64; 3]> {
    let forward = Forward::new(field, affine)?;
    let (q, straight) = (point.into(), forward.inverse.apply(point.into()));
    Some(forward.undo(q, straight).0.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn affine() -> Affine {
        Affine {
            matrix: Matrix3::new(1.1, 0.1, 0.0, -0.05, 0.9, 0.1, 0.0, 0.0, 1.2),
            translation: Vector3::new(3.0, -4.0, 2.0),
        }
    }

    /// An affine map plus smooth waves, on an anisotropic grid.
    fn field() -> Field {
        let geometry = Geometry::new([24, 20, 16], [1.0, 1.5, 2.0]);
        let world = geometry.index_to_world();
        let mut data = Vec::new();
        for i in 0..geometry.voxels() {
            let index = Vector3::new((i % 24) as f64, (i / 24 % 20) as f64, (i / 480) as f64);
            let p = world.apply(index);
            let wave = Vector3::new((p.y / 5.0).sin(), (p.z / 6.0).cos(), (p.x / 4.0).sin());
            let u = affine().apply(p) - p + 1.5 * wave;
            data.push([u.x as f32, u.y as f32, u.z as f32]);
        }
        Volume::new(geometry, data)
    }

    #[test]
    fn forward_then_inverse_is_the_identity() {
        let field = field();
        let mut onto = Geometry::new([20, 20, 30], [1.0; 3]);
        onto.origin = Vector3::new(6.0, 2.0, 6.0);
        let inverse = invert(&field, &affine(), &onto).unwrap();
        assert!(inverse.residual_max_mm <= TOLERANCE, "{}", inverse.residual_max_mm);
        for p in [[5.0, 9.0, 12.0], [11.5, 20.25, 17.0]] {
            let q = crate::registration::forward_point(&field, p).unwrap();
            let back = invert_point(&field, &affine(), q).unwrap();
            assert!((Vector3::from(back) - Vector3::from(p)).norm() < 2e-3);
            // The field on the moving grid is interpolated, hence a little less exact.
            let back = crate::registration::forward_point(&inverse.field, q).unwrap();
            assert!((Vector3::from(back) - Vector3::from(p)).norm() < 0.05, "{back:?} {p:?}");
        }
    }

    /// x ↦ x + a·sin(x/s): with a/s close to 1 the plain iteration crawls or swings, yet nothing
    /// folds.
    #[test]
    fn steep_fields_are_inverted_too() {
        for a in [3.6, -3.6] {
            let geometry = Geometry::new([60, 4, 4], [1.0; 3]);
            let field = Field::from_fn(&geometry, |p| [(a * (p.x / 4.0).sin()) as f32, 0.0, 0.0]);
            let inverse = invert(&field, &Affine::identity(), &geometry).unwrap();
            assert!(inverse.residual_max_mm <= TOLERANCE, "{a}: {}", inverse.residual_max_mm);
        }
    }

    #[test]
    fn outside_the_grid_the_affine_part_goes_on() {
        let geometry = Geometry::new([4, 4, 4], [1.0; 3]);
        let field = crate::registration::affine_field(&affine(), &geometry);
        let p = [40.0, -30.0, 10.0];
        let q: [f64; 3] = affine().apply(p.into()).into();
        let back = invert_point(&field, &affine(), q).unwrap();
        assert!((Vector3::from(back) - Vector3::from(p)).norm() < 1e-2);
        let singular = Affine { matrix: Matrix3::zeros(), ..affine() };
        assert!(invert_point(&field, &singular, q).is_none());
    }
}
