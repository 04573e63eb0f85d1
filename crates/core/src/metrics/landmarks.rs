use nalgebra::SVector;

use crate::{Error, Result};

/// |a − b|.
fn distance<const D: usize>(a: &[f64; D], b: &[f64; D]) -> f64 {
    (SVector::from(*a) - SVector::from(*b)).norm()
}

/// The distance between where a landmark of a frame was found and where it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FrameError {
    pub px: f64,
    /// Where the pixel size is known.
    pub mm: Option<f64>,
    /// As a share of the frame's diagonal in pixels, so that frames of all sizes compare.
    pub normalized: f64,
}

/// The error of a landmark `found` at (x, y) that is at `truth`, both in pixels of a frame of
/// `size` (width, height), whose pixels have `mm_per_px` along x and y.
pub fn frame_error(
    found: [f64; 2],
    truth: [f64; 2],
    size: [usize; 2],
    mm_per_px: Option<[f64; 2]>,
) -> FrameError {
    let px = distance(&found, &truth);
    let mm = mm_per_px.map(|mm| {
        let scaled = |p: [f64; 2]| [p[0] * mm[0], p[1] * mm[1]];
        distance(&scaled(found), &scaled(truth))
    });
    let [width, height] = size.map(|n| n as f64);
    FrameError { px, mm, normalized: px / width.hypot(height) }
}

/// Distances of corresponding points.
#[derive(Debug, Clone, PartialEq)]
pub struct LandmarkErrors {
    /// In millimeters, in the order of the points.
    pub per_point: Vec<f64>,
    pub mean: f64,
}

/// Target registration error: the distance |aᵢ − bᵢ| of corresponding points in millimeters
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
    let per_point: Vec<f64> = a.iter().zip(b).map(|(p, q)| distance(p, q)).collect();
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
    fn errors_in_frames_are_in_pixels_millimeters_and_shares_of_the_diagonal() {
        // 3 and 4 pixels apart in a frame with a diagonal of 80; 1.5 and 0.8 mm.
        let error = frame_error([13.0, 6.0], [10.0, 10.0], [64, 48], Some([0.5, 0.2]));
        assert_eq!((error.px, error.normalized), (5.0, 0.0625));
        assert!((error.mm.unwrap() - 1.7).abs() < 1e-12);
        assert_eq!(frame_error([0.0; 2], [0.0; 2], [1, 1], None).mm, None);
    }

    #[test]
    fn lists_that_do_not_correspond_are_refused() {
        let message = landmark_errors(&[[0.0; 3]; 2], &[[0.0; 3]]).unwrap_err().to_string();
        assert!(message.contains("found 2 and 1"), "{message}");
        assert!(landmark_errors(&[], &[]).is_err());
    }
}
