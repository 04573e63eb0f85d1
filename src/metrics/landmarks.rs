use nalgebra::Vector3;

use crate::{Error, Result};

/// Distances of corresponding points.
#[derive(Debug, Clone, PartialEq)]
pub struct LandmarkErrors {
    /// In millimetres, in the order of the points.
    pub per_point: Vec<f64>,
    pub mean: f64,
}

/// Target registration error: the distance |aᵢ − bᵢ| of corresponding points in millimetres
/// (Fitzpatrick, West and Maurer, IEEE TMI 17, 1998). `a` and `b` are (x, y, z) in one space:
/// for a registration the fixed image's points, and the moving image's points carried there.
///
/// # Errors
/// [`Unusable`](Error::Unusable) if there are no points, or not as many in both.
pub fn landmark_errors(a: &[[f64; 3]], b: &[[f64; 3]]) -> Result<LandmarkErrors> {
    if a.is_empty() || a.len() != b.len() {
        let problem = format!(
            "expected as many points in both, at least one, found {} and {}",
            a.len(),
            b.len()
        );
        return Err(Error::unusable("points", problem, "give corresponding points in one order"));
    }
    let distance = |(p, q): (&[f64; 3], &[f64; 3])| (Vector3::from(*p) - Vector3::from(*q)).norm();
    let per_point: Vec<f64> = a.iter().zip(b).map(distance).collect();
    let mean = per_point.iter().sum::<f64>() / per_point.len() as f64;
    Ok(LandmarkErrors { per_point, mean })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_euclidean_and_in_order() {
        let a = [[0.0; 3], [1.0, 1.0, 1.0], [-5.0, 0.0, 2.0]];
        let b = [[3.0, 4.0, 0.0], [1.0, 1.0, 1.0], [-3.0, 3.0, 8.0]];
        let errors = landmark_errors(&a, &b).unwrap();
        assert_eq!(errors, LandmarkErrors { per_point: vec![5.0, 0.0, 7.0], mean: 4.0 });
    }

    #[test]
    fn lists_that_do_not_correspond_are_refused() {
        let message = landmark_errors(&[[0.0; 3]; 2], &[[0.0; 3]]).unwrap_err().to_string();
        assert!(message.contains("found 2 and 1"), "{message}");
        assert!(landmark_errors(&[], &[]).is_err());
    }
}
