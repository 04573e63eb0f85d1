//! From a heatmap to a place.

use crate::image::Frame;
use crate::package::{Peak, PeakMethod};

/// Where a heatmap says that its landmark is, in the map's pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Located {
    /// (x, y).
    pub at: [f64; 2],
    /// The height of the highest pixel.
    pub height: f32,
    /// Standard deviation along x and y, see [`locate`].
    pub sd: [f64; 2],
}

/// Pixels below this share of the peak are background: networks leave a little of it everywhere,
/// and far from the peak it would weigh most.
const FLOOR: f32 = 0.1;
/// What is left of the variance of a two-dimensional Gaussian when it is cut where it falls to
/// [`FLOOR`] = t: 1 − t ln(1/t) / (1 − t).
const CUT: f64 = 0.744_157_2;
/// Half a window's width without a known Gaussian.
const REACH: usize = 5;

/// Finds the peak of a heatmap; `None` where nothing reaches the threshold.
///
/// The standard deviation is that of the map around its peak. A network trained on the squared
/// error shows, of a landmark that it is not sure of, the mean of the Gaussians at all places where
/// it may be; its variance is the Gaussian's and that of the place. With `sigma` known, the
/// Gaussian's is taken out.
pub fn locate(map: &Frame<f32>, peak: &Peak) -> Option<Located> {
    // Of equals the first; NaN is below everything.
    let highest = (0..map.data.len()).fold(None, |best: Option<usize>, i| {
        let above = best.is_none_or(|best| map.data[i] > map.data[best]);
        if above && !map.data[i].is_nan() { Some(i) } else { best }
    })?;
    let height = map.data[highest];
    if height < peak.threshold || !height.is_finite() {
        return None;
    }
    let top = [highest % map.width, highest / map.width];
    let around = |reach: usize| Moments::new(map, top, reach, FLOOR * height);
    let own = peak.sigma.map_or(0.0, |s| s * s);
    // Twice as wide as a peak of its own: what is to be seen here is what is wider.
    let sd = around(2 * reach(peak)).variance.map(|v| (v / CUT - own).max(0.0).sqrt());
    let at = match peak.method {
        PeakMethod::Argmax => top.map(|i| i as f64),
        PeakMethod::SoftArgmax => around(reach(peak)).center,
        PeakMethod::Dark => dark(map, top, peak),
    };
    Some(Located { at, height, sd })
}

/// Three standard deviations hold 99 % of a Gaussian.
fn reach(peak: &Peak) -> usize {
    peak.sigma.map_or(REACH, |sigma| (3.0 * sigma).ceil() as usize)
}

/// Center and variance of the part of a map above a level, around a pixel. Where the map ends on one
/// side of it, the other side counts for both, or a peak at the border would be drawn inwards and
/// look narrow.
struct Moments {
    center: [f64; 2],
    variance: [f64; 2],
}

impl Moments {
    fn new(map: &Frame<f32>, top: [usize; 2], reach: usize, level: f32) -> Self {
        let size = map.size();
        let range = |i: usize| top[i].saturating_sub(reach)..(top[i] + reach + 1).min(size[i]);
        // What lies opposite of a place, as seen from the highest pixel.
        let mirrored =
            |i: usize, at: usize| (2 * top[i]).checked_sub(at).is_some_and(|m| m < size[i]);
        let [mut sum, mut first, mut second] = [0.0, 0.0, 0.0].map(|v| [v; 2]);
        for y in range(1) {
            for x in range(0) {
                let value = map.row(y)[x];
                if value < level || value.is_nan() {
                    continue;
                }
                for (i, at) in [x, y].into_iter().enumerate() {
                    let d = at as f64 - top[i] as f64;
                    let alone = !mirrored(i, at);
                    let weight = f64::from(value) * if alone { 2.0 } else { 1.0 };
                    sum[i] += weight;
                    first[i] += if alone { 0.0 } else { weight * d };
                    second[i] += weight * d * d;
                }
            }
        }
        let shift = [0, 1].map(|i| first[i] / sum[i]);
        Moments {
            center: [0, 1].map(|i| top[i] as f64 + shift[i]),
            variance: [0, 1].map(|i| second[i] / sum[i] - shift[i] * shift[i]),
        }
    }
}

/// m − H⁻¹ g: gradient g and Hessian H, by differences, of the logarithm of the map smoothed by its
/// own Gaussian. A step of more than one pixel comes from a map that is no Gaussian there; then, and
/// beside the border, the highest pixel is the answer.
fn dark(map: &Frame<f32>, [x, y]: [usize; 2], peak: &Peak) -> [f64; 2] {
    let top = [x as f64, y as f64];
    let inside = |i: usize, n: usize| i > 0 && i + 1 < n;
    if !inside(x, map.width) || !inside(y, map.height) {
        return top;
    }
    let sigma = peak.sigma.unwrap_or(1.0);
    // As far on all sides as the map reaches on the shortest: what is missing would draw the top.
    let room = x.min(y).min(map.width - 1 - x).min(map.height - 1 - y) - 1;
    let kernel: Vec<f64> = (0..=reach(peak).min(room))
        .map(|d| (-((d * d) as f64) / (2.0 * sigma * sigma)).exp())
        .collect();
    let log = |dx: isize, dy: isize| {
        let at = [x.wrapping_add_signed(dx), y.wrapping_add_signed(dy)];
        smoothed(map, at, &kernel).max(1e-10).ln()
    };
    let (here, left, right, up, down) = (log(0, 0), log(-1, 0), log(1, 0), log(0, -1), log(0, 1));
    let gradient = [(right - left) / 2.0, (down - up) / 2.0];
    let [xx, yy] = [left + right - 2.0 * here, up + down - 2.0 * here];
    let xy = (log(1, 1) - log(-1, 1) - log(1, -1) + log(-1, -1)) / 4.0;
    let determinant = xx * yy - xy * xy;
    let step = [
        (xy * gradient[1] - yy * gradient[0]) / determinant,
        (xy * gradient[0] - xx * gradient[1]) / determinant,
    ];
    let sound = determinant > 0.0 && xx < 0.0 && step.iter().all(|s| s.abs() <= 1.0);
    if sound { [top[0] + step[0], top[1] + step[1]] } else { top }
}

/// One pixel of the map smoothed by a symmetric kernel, whose first value is its middle and which
/// the map has room for.
fn smoothed(map: &Frame<f32>, [x, y]: [usize; 2], kernel: &[f64]) -> f64 {
    let range = |i: usize| i + 1 - kernel.len()..i + kernel.len();
    let row = |v: usize| -> f64 {
        range(x).map(|u| kernel[u.abs_diff(x)] * f64::from(map.row(v)[u])).sum()
    };
    range(y).map(|v| kernel[v.abs_diff(y)] * row(v)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaussian(size: [usize; 2], at: [f64; 2], sigma: [f64; 2], height: f64) -> Frame<f32> {
        let value = |i: usize| {
            let d = [(i % size[0]) as f64 - at[0], (i / size[0]) as f64 - at[1]];
            let e = d[0] * d[0] / (sigma[0] * sigma[0]) + d[1] * d[1] / (sigma[1] * sigma[1]);
            (height * (-e / 2.0).exp()) as f32
        };
        Frame::new(size[0], size[1], (0..size[0] * size[1]).map(value).collect())
    }

    fn peak(method: PeakMethod) -> Peak {
        Peak { method, threshold: 0.3, sigma: Some(2.0) }
    }

    #[test]
    fn sub_pixel_places_of_a_gaussian_are_found() {
        for at in [[20.0, 15.0], [20.3, 14.6], [31.49, 9.51], [12.5, 20.5]] {
            let map = gaussian([48, 40], at, [2.0, 2.0], 0.9);
            let error = |method| {
                let found = locate(&map, &peak(method)).unwrap().at;
                (found[0] - at[0]).hypot(found[1] - at[1])
            };
            assert!(error(PeakMethod::Argmax) < 0.75);
            assert!(error(PeakMethod::SoftArgmax) < 0.1, "{}", error(PeakMethod::SoftArgmax));
            assert!(error(PeakMethod::Dark) < 0.01, "{}", error(PeakMethod::Dark));
        }
    }

    #[test]
    fn peaks_near_a_border_are_neither_moved_nor_too_sure() {
        for x in [1.0, 1.3, 2.0, 3.4] {
            let map = gaussian([48, 40], [x, 20.0], [2.0, 2.0], 0.9);
            let at = locate(&map, &peak(PeakMethod::Dark)).unwrap().at;
            assert!((at[0] - x).abs() < 0.01 && (at[1] - 20.0).abs() < 0.01, "{x}: {at:?}");
        }
        for x in [0.0, 1.0, 3.0, 20.0] {
            // 4² = 2² + 3.46².
            let map = gaussian([48, 40], [x, 20.0], [4.0, 4.0], 0.9);
            let sd = locate(&map, &peak(PeakMethod::Argmax)).unwrap().sd[0];
            assert!((sd - 12f64.sqrt()).abs() < 0.45, "{x}: {sd}");
        }
    }

    #[test]
    fn the_spread_beyond_the_trained_gaussian_is_the_uncertainty() {
        // Variances add: 2² + 1.5² = 2.5², and 2² along y.
        let map = gaussian([64, 64], [30.0, 31.0], [2.5, 2.0], 0.8);
        let found = locate(&map, &peak(PeakMethod::Dark)).unwrap();
        assert!((found.sd[0] - 1.5).abs() < 0.2, "{:?}", found.sd);
        assert!(found.sd[1] < 0.4, "{:?}", found.sd);
        assert_eq!(found.height, 0.8);
        let unknown = Peak { sigma: None, ..peak(PeakMethod::Argmax) };
        let found = locate(&map, &unknown).unwrap();
        assert!((found.sd[0] - 2.5).abs() < 0.25, "{:?}", found.sd);
    }

    #[test]
    fn low_and_broken_maps_hold_nothing_and_borders_are_safe() {
        let any = peak(PeakMethod::Dark);
        assert_eq!(locate(&gaussian([16, 16], [8.0, 8.0], [2.0; 2], 0.29), &any), None);
        assert_eq!(locate(&Frame::filled(8, 8, f32::NAN), &any), None);
        assert_eq!(locate(&Frame::filled(8, 8, f32::INFINITY), &any), None);
        for method in [PeakMethod::Argmax, PeakMethod::SoftArgmax, PeakMethod::Dark] {
            let corner = gaussian([16, 12], [15.0, 11.0], [2.0; 2], 1.0);
            let found = locate(&corner, &peak(method)).unwrap();
            assert_eq!(found.at, [15.0, 11.0]);
            // A peak of its own width, seen by half.
            assert!(found.sd.iter().all(|sd| *sd < 0.5), "{:?}", found.sd);
            let single = Frame::filled(1, 1, 1.0);
            assert_eq!(locate(&single, &peak(method)).unwrap().at, [0.0, 0.0]);
            let mut holed = gaussian([17, 13], [8.0, 6.0], [2.0; 2], 1.0);
            holed.data[0] = f32::NAN;
            let at = locate(&holed, &peak(method)).unwrap().at;
            assert!((at[0] - 8.0).abs() < 1e-6 && (at[1] - 6.0).abs() < 1e-6, "{at:?}");
        }
    }
}
