use std::f64::consts::PI;

use nalgebra::{Matrix2, Vector2};

use super::Frame;

/// An ellipse in a frame. Places are (x, y) in pixels, whole numbers the centers of pixels, unless
/// it was [mapped](Ellipse::mapped) to something else, such as millimeters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ellipse {
    pub center: [f64; 2],
    /// Half the long axis, half the short axis.
    pub semi_axes: [f64; 2],
    /// Of the long axis, in radians, from x towards y (down), from −π/2 to π/2.
    pub angle: f64,
}

impl Ellipse {
    /// The ellipse whose filled area has this center of mass and this covariance (second central
    /// moments by area): ρ²/4 along an axis of half length ρ. `None` where there is no such
    /// ellipse.
    pub fn from_moments(center: [f64; 2], covariance: [[f64; 2]; 2]) -> Option<Ellipse> {
        let [[xx, xy], [_, yy]] = covariance;
        let (mean, half) = ((xx + yy) / 2.0, (xx - yy) / 2.0);
        let spread = half.hypot(xy);
        let semi_axes = [2.0 * (mean + spread).sqrt(), 2.0 * (mean - spread).sqrt()];
        let angle = xy.atan2(half) / 2.0;
        let finite = center.iter().chain(&semi_axes).all(|v| v.is_finite());
        (finite && semi_axes[1] > 0.0).then_some(Ellipse { center, semi_axes, angle })
    }

    /// Ramanujan's second formula; its relative error is below 1e-5 down to an axis ratio of 0.3.
    pub fn circumference(&self) -> f64 {
        let [a, b] = self.semi_axes;
        let h = ((a - b) / (a + b)).powi(2);
        PI * (a + b) * (1.0 + 3.0 * h / (10.0 + (4.0 - 3.0 * h).sqrt()))
    }

    /// The ends of the long axis, the left one first, and of the short axis, the upper one first;
    /// of an upright long axis the upper end comes first, of a level short axis the left.
    pub fn ends(&self) -> [[f64; 2]; 4] {
        let [a, b] = self.semi_axes;
        let (sin, cos) = self.angle.sin_cos();
        let end = |along: f64, across: f64| {
            [
                self.center[0] + along * a * cos - across * b * sin,
                self.center[1] + along * a * sin + across * b * cos,
            ]
        };
        let mut ends = [end(-1.0, 0.0), end(1.0, 0.0), end(0.0, -1.0), end(0.0, 1.0)];
        let before = |first: [f64; 2], second: [f64; 2]| first < second;
        let swapped = |[x, y]: [f64; 2]| [y, x];
        if !before(ends[0], ends[1]) {
            ends.swap(0, 1);
        }
        if !before(swapped(ends[2]), swapped(ends[3])) {
            ends.swap(2, 3);
        }
        ends
    }

    /// 0 at the center, 1 on the outline, and linear along every ray from the center.
    pub fn level(&self, [x, y]: [f64; 2]) -> f64 {
        let (sin, cos) = self.angle.sin_cos();
        let [dx, dy] = [x - self.center[0], y - self.center[1]];
        let along = (dx * cos + dy * sin) / self.semi_axes[0];
        let across = (dy * cos - dx * sin) / self.semi_axes[1];
        along.hypot(across)
    }

    /// The ellipse with these [ends](Ellipse::ends): its center is their mean, its long axis lies
    /// along the first two. `None` where that is no ellipse.
    pub fn of_ends(ends: [[f64; 2]; 4]) -> Option<Ellipse> {
        let center = [0, 1].map(|i| ends.iter().map(|end| end[i]).sum::<f64>() / 4.0);
        let line = |i: usize| [ends[i + 1][0] - ends[i][0], ends[i + 1][1] - ends[i][1]];
        let [long, short] = [line(0), line(2)];
        let [a, b] = [long, short].map(|[x, y]| x.hypot(y) / 2.0);
        let upright = Ellipse { center: [0.0; 2], semi_axes: [a, b], angle: 0.0 };
        let (cos, sin) = (long[0] / (2.0 * a), long[1] / (2.0 * a));
        // The axes may come in the wrong order: the map puts them right.
        upright.mapped([[cos, -sin], [sin, cos]], center)
    }

    /// The pixels of a frame of `size` whose centers are inside as 1, all others 0.
    pub fn filled(&self, size: [usize; 2]) -> Frame<u8> {
        let inside = |i: usize| self.level([(i % size[0]) as f64, (i / size[0]) as f64]) <= 1.0;
        Frame::new(size[0], size[1], (0..size[0] * size[1]).map(|i| u8::from(inside(i))).collect())
    }

    /// What a linear map and then a shift make of it; `linear` row by row. `None` where that is
    /// no ellipse.
    pub fn mapped(&self, linear: [[f64; 2]; 2], shift: [f64; 2]) -> Option<Ellipse> {
        let linear = Matrix2::from(linear).transpose();
        let center = linear * Vector2::from(self.center) + Vector2::from(shift);
        let (sin, cos) = self.angle.sin_cos();
        let [a, b] = self.semi_axes.map(|half| half * half / 4.0);
        let xy = (a - b) * sin * cos;
        let own =
            Matrix2::new(a * cos * cos + b * sin * sin, xy, xy, a * sin * sin + b * cos * cos);
        let covariance = linear * own * linear.transpose();
        let row = |i| [covariance[(i, 0)], covariance[(i, 1)]];
        Ellipse::from_moments(center.into(), [row(0), row(1)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: &Ellipse, b: &Ellipse, within: f64) {
        let worst = a
            .ends()
            .iter()
            .zip(b.ends())
            .fold(0.0f64, |worst, (p, q)| worst.max((p[0] - q[0]).hypot(p[1] - q[1])));
        assert!(worst < within, "{a:?} {b:?}: {worst}");
    }

    #[test]
    fn circumferences_are_those_of_the_integral() {
        for ratio in [0.3, 0.6, 0.78, 1.0] {
            let ellipse = Ellipse { center: [0.0; 2], semi_axes: [50.0, 50.0 * ratio], angle: 0.4 };
            let steps = 100_000;
            let point = |i: usize| {
                let (sin, cos) = (f64::from(i as u32) / steps as f64 * 2.0 * PI).sin_cos();
                [50.0 * cos, 50.0 * ratio * sin]
            };
            let length: f64 = (0..steps)
                .map(|i| {
                    let ([a, b], [c, d]) = (point(i), point(i + 1));
                    (a - c).hypot(b - d)
                })
                .sum();
            assert!((ellipse.circumference() / length - 1.0).abs() < 1e-5, "{ratio}");
        }
    }

    #[test]
    fn ends_keep_their_order_and_move_with_the_map() {
        let ellipse = Ellipse { center: [10.0, 20.0], semi_axes: [5.0, 3.0], angle: 0.5 };
        for quarter in 0..4 {
            let turned = Ellipse { angle: 0.5 + PI * f64::from(quarter), ..ellipse };
            close(&turned, &ellipse, 1e-9);
        }
        let [left, right, upper, lower] = ellipse.ends();
        assert!(left[0] < right[0] && upper[1] < lower[1]);
        assert!((ellipse.level(left) - 1.0).abs() < 1e-12 && ellipse.level([10.0, 20.0]) == 0.0);
        let upright = Ellipse { angle: PI / 2.0, ..ellipse }.ends();
        assert!(upright[0][1] < upright[1][1] && upright[2][0] < upright[3][0]);
        // A mirror swaps left and right; the first is still the left one.
        let mirrored = ellipse.mapped([[-2.0, 0.0], [0.0, 2.0]], [1.0, 0.0]).unwrap();
        let [first, second, ..] = mirrored.ends();
        assert!((first[0] - (1.0 - 2.0 * right[0])).abs() < 1e-9 && first[0] < second[0]);
        assert!((second[1] - 2.0 * left[1]).abs() < 1e-9);
        // A circle becomes an ellipse where x and y are scaled differently.
        let circle = Ellipse { center: [1.0, 1.0], semi_axes: [2.0, 2.0], angle: 0.0 };
        let flat = circle.mapped([[1.0, 0.0], [0.0, 3.0]], [0.0; 2]).unwrap();
        let expected = Ellipse { center: [1.0, 3.0], semi_axes: [6.0, 2.0], angle: PI / 2.0 };
        close(&flat, &expected, 1e-9);
        assert_eq!(circle.mapped([[0.0; 2]; 2], [0.0; 2]), None);
    }

    #[test]
    fn ends_and_pixels_make_the_ellipse_again() {
        for angle in [-1.5, -0.4, 0.0, 0.9, 1.5] {
            let ellipse = Ellipse { center: [40.2, 31.7], semi_axes: [25.0, 17.0], angle };
            close(&Ellipse::of_ends(ellipse.ends()).unwrap(), &ellipse, 1e-9);
            // The short axis given as the long one.
            let [a, b, c, d] = ellipse.ends();
            close(&Ellipse::of_ends([c, d, a, b]).unwrap(), &ellipse, 1e-9);
            let pixels = ellipse.filled([90, 70]);
            let count = pixels.data.iter().map(|p| f64::from(*p)).sum::<f64>();
            assert!((count / (PI * 25.0 * 17.0) - 1.0).abs() < 0.01, "{count}");
            assert_eq!((pixels.row(32)[40], pixels.row(2)[3]), (1, 0));
        }
        assert_eq!(Ellipse::of_ends([[3.0; 2]; 4]), None);
    }
}
