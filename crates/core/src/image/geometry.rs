use nalgebra::{Matrix3, Vector3};

use super::Affine;

/// Where an image's voxels lie in the patient: world = origin + direction · diag(spacing) · index.
///
/// Everything is in (x, y, z) order, millimeters, LPS. `direction`'s **columns** are the unit
/// vectors along which x, y and z indices grow. Voxel memory runs x fastest, then y, then z.
#[derive(Debug, Clone, PartialEq)]
pub struct Geometry {
    pub size: [usize; 3],
    pub spacing: [f64; 3],
    pub origin: Vector3<f64>,
    pub direction: Matrix3<f64>,
}

impl Geometry {
    /// Axis-aligned with the origin at 0, 0, 0.
    pub fn new(size: [usize; 3], spacing: [f64; 3]) -> Self {
        Geometry { size, spacing, origin: Vector3::zeros(), direction: Matrix3::identity() }
    }

    /// What is wrong with this geometry, if anything: an empty axis, a spacing that is not a
    /// positive number, an origin that is not finite, a singular direction.
    pub fn defect(&self) -> Option<String> {
        if self.size.contains(&0) {
            return Some(format!("size {:?} has an empty axis", self.size));
        }
        if !self.spacing.iter().all(|s| s.is_finite() && *s > 0.0) {
            return Some(format!("spacing {:?} is not positive and finite", self.spacing));
        }
        if !self.origin.iter().all(|v| v.is_finite()) {
            return Some(format!("origin {:?} is not finite", self.origin.as_slice()));
        }
        let det = self.direction.determinant();
        // Columns are unit vectors, so the determinant is the sine of the worst skew.
        if !det.is_finite() || det.abs() < 1e-3 {
            return Some(format!("direction is singular (determinant {det:.3e})"));
        }
        None
    }

    /// Number of voxels.
    pub fn voxels(&self) -> usize {
        self.size.iter().product()
    }

    /// Continuous index (x, y, z) → world millimeters (LPS).
    pub fn index_to_world(&self) -> Affine {
        let scale = Matrix3::from_diagonal(&Vector3::from(self.spacing));
        Affine { matrix: self.direction * scale, translation: self.origin }
    }

    /// World millimeters (LPS) → continuous index (x, y, z).
    ///
    /// # Panics
    /// If the geometry has a [`defect`](Self::defect); readers refuse such files.
    pub fn world_to_index(&self) -> Affine {
        self.index_to_world().inverse().expect("geometry without defect is invertible")
    }

    /// The continuous index of the middle of the image.
    pub fn center_index(&self) -> Vector3<f64> {
        Vector3::from(self.size.map(|n| (n as f64 - 1.0) / 2.0))
    }

    /// The middle of the image in world millimeters.
    pub fn center(&self) -> Vector3<f64> {
        self.index_to_world().apply(self.center_index())
    }

    /// The same grid within a hundredth of a voxel everywhere.
    pub fn same_grid(&self, other: &Geometry) -> bool {
        if self.size != other.size {
            return false;
        }
        let (a, b) = (self.index_to_world(), other.index_to_world());
        let tolerance = 0.01 * self.spacing.iter().fold(f64::MAX, |m, s| m.min(*s));
        (0..8).all(|corner| {
            let pick = |axis: usize| match corner >> axis & 1 {
                0 => 0.0,
                _ => (self.size[axis] - 1) as f64,
            };
            let p = Vector3::new(pick(0), pick(1), pick(2));
            (a.apply(p) - b.apply(p)).norm() <= tolerance
        })
    }
}

impl std::fmt::Display for Geometry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ([nx, ny, nz], [sx, sy, sz]) = (self.size, self.spacing);
        write!(f, "{nx}×{ny}×{nz} voxels of {sx:.3}×{sy:.3}×{sz:.3} mm")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oblique() -> Geometry {
        let r = nalgebra::Rotation3::from_euler_angles(0.3, -0.2, 0.9);
        Geometry {
            size: [7, 5, 3],
            spacing: [0.5, 1.5, 3.0],
            origin: Vector3::new(-10.0, 20.0, 5.0),
            direction: *r.matrix(),
        }
    }

    #[test]
    fn world_and_index_undo_each_other() {
        let g = oblique();
        let p = Vector3::new(1.5, 2.25, -3.0);
        let back = g.world_to_index().apply(g.index_to_world().apply(p));
        assert!((back - p).norm() < 1e-12);
        assert!((g.index_to_world().apply(Vector3::zeros()) - g.origin).norm() < 1e-12);
    }

    #[test]
    fn grids_differ_by_a_fraction_of_a_voxel() {
        let g = oblique();
        let mut h = g.clone();
        h.origin.x += 0.004;
        assert!(g.same_grid(&h));
        h.origin.x += 0.01;
        assert!(!g.same_grid(&h));
    }

    #[test]
    fn defects_are_named() {
        let mut g = oblique();
        assert_eq!(g.defect(), None);
        g.direction.set_column(2, &Vector3::zeros());
        assert!(g.defect().unwrap().contains("singular"));
        g = oblique();
        g.spacing[1] = -1.0;
        assert!(g.defect().unwrap().contains("spacing"));
        g.size[0] = 0;
        assert!(g.defect().unwrap().contains("size"));
    }
}
