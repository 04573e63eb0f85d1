use nalgebra::{Matrix3, Vector3};

/// An affine map of points, `y = matrix · x + translation`. Vectors are (x, y, z); whether they
/// are millimeters (LPS) or voxels is said where one is used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Affine {
    pub matrix: Matrix3<f64>,
    pub translation: Vector3<f64>,
}

impl Affine {
    pub fn identity() -> Self {
        Affine { matrix: Matrix3::identity(), translation: Vector3::zeros() }
    }

    pub fn translation(by: Vector3<f64>) -> Self {
        Affine { matrix: Matrix3::identity(), translation: by }
    }

    #[inline]
    pub fn apply(&self, p: Vector3<f64>) -> Vector3<f64> {
        self.matrix * p + self.translation
    }

    /// `self ∘ first`: apply `first`, then `self`.
    pub fn after(&self, first: &Affine) -> Affine {
        Affine {
            matrix: self.matrix * first.matrix,
            translation: self.matrix * first.translation + self.translation,
        }
    }

    /// `None` when the matrix is singular.
    pub fn inverse(&self) -> Option<Affine> {
        let matrix = self.matrix.try_inverse()?;
        matrix
            .iter()
            .all(|v| v.is_finite())
            .then(|| Affine { matrix, translation: -(matrix * self.translation) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inverse_undoes_and_composition_is_in_order() {
        let a = Affine {
            matrix: Matrix3::new(1.1, 0.2, 0.0, -0.1, 0.9, 0.3, 0.0, 0.1, 1.3),
            translation: Vector3::new(1.0, -2.0, 3.0),
        };
        let b = Affine::translation(Vector3::new(5.0, 6.0, 7.0));
        let p = Vector3::new(0.3, 0.4, 0.5);
        assert!((a.after(&b).apply(p) - a.apply(b.apply(p))).norm() < 1e-12);
        assert!((a.inverse().unwrap().apply(a.apply(p)) - p).norm() < 1e-12);
        assert!(Affine { matrix: Matrix3::zeros(), ..a }.inverse().is_none());
    }
}
