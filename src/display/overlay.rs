use nalgebra::{Matrix3, Vector3};

use super::color;
use super::picture::{Picture, Rgb};
use super::plane::{Axis, Cut};
use crate::image::{Affine, Field, Frame};

/// Width of a grid line in pixels.
const LINE: f32 = 1.2;

/// Draws the border of every label on `panel`, which shows the same plane at another scale, in a
/// line `thickness` pixels wide.
///
/// Between voxel centers a label's share is interpolated, and its border is where that share is
/// one half: a smooth curve at any magnification, where voxel edges would be stairs.
pub(super) fn outlines(
    panel: &mut Picture,
    labels: &Frame<i32>,
    thickness: f32,
    of: impl Fn(i32) -> Rgb,
) {
    let (width, height) = (panel.width(), panel.height());
    // More labels than pixels would let a border fall between two pixels and break the line.
    let columns = labels.width.min(width as usize);
    let rows = labels.height.min(height as usize);
    let label = |column: usize, row: usize| {
        labels.data[row * labels.height / rows * labels.width + column * labels.width / columns]
    };
    let scale = [width as f32 / columns as f32, height as f32 / rows as f32];
    for (i, pixel) in panel.pixels_mut().iter_mut().enumerate() {
        let (px, py) = (i as u32 % width, i as u32 / width);
        let (x0, x1, u) = neighbors((px as f32 + 0.5) / scale[0] - 0.5, columns);
        let (y0, y1, v) = neighbors((py as f32 + 0.5) / scale[1] - 0.5, rows);
        let corners = [label(x0, y0), label(x1, y0), label(x0, y1), label(x1, y1)];
        if corners[1..].iter().all(|l| *l == corners[0]) {
            continue;
        }
        for (i, &here) in corners.iter().enumerate() {
            if here == 0 || corners[..i].contains(&here) {
                continue;
            }
            let [a, b, c, d] = corners.map(|l| f32::from(u8::from(l == here)));
            let share = (a * (1.0 - u) + b * u) * (1.0 - v) + (c * (1.0 - u) + d * u) * v;
            let slope_x = ((b - a) * (1.0 - v) + (d - c) * v) / scale[0];
            let slope_y = ((c - a) * (1.0 - u) + (d - b) * u) / scale[1];
            let distance = (share - 0.5).abs() / slope_x.hypot(slope_y).max(1e-6);
            let alpha = (thickness / 2.0 + 0.5 - distance).clamp(0.0, 1.0);
            *pixel = color::mix(*pixel, of(here), alpha);
        }
    }
}

/// How far each voxel of a cut moves, in panel pixels (right, down), and where space folds.
pub(super) struct Motion {
    shift: Frame<[f32; 2]>,
    folded: Vec<bool>,
}

impl Motion {
    /// The motion of `cut`'s voxels under `field`, as seen on the fixed grid after `initial`
    /// (fixed → moving, world mm) is taken back; `scale` is panel pixels per voxel, right and down.
    ///
    /// A voxel folds where the determinant of the map's 3-D Jacobian, by central differences, is
    /// zero or less.
    pub fn of(field: &Field, initial: &Affine, cut: &Cut, scale: [f32; 2]) -> Motion {
        let geometry = &field.geometry;
        let to_world = geometry.index_to_world();
        // A singular start has no inverse: then show the field as it is.
        let undo = initial.inverse().unwrap_or_else(Affine::identity);
        let to_index = geometry.world_to_index().after(&undo);
        let mapped = |[x, y, z]: [usize; 3]| {
            let start = to_world.apply(Vector3::new(x, y, z).map(|v| v as f64));
            to_index.apply(start + Vector3::from(field.at(x, y, z).map(f64::from)))
        };
        let shift = cut.frame(geometry, |at| {
            let end = mapped(at);
            let along = |axis: Axis, scale: f32| {
                let moved = (end[axis.voxel] - at[axis.voxel] as f64) as f32 * scale;
                if axis.flipped { -moved } else { moved }
            };
            [along(cut.right, scale[0]), along(cut.down, scale[1])]
        });
        let folded = cut.frame(geometry, |at| {
            Matrix3::from_columns(&std::array::from_fn::<_, 3, _>(|axis| {
                let (mut below, mut above) = (at, at);
                below[axis] = at[axis].saturating_sub(1);
                above[axis] = (at[axis] + 1).min(geometry.size[axis] - 1);
                match above[axis] - below[axis] {
                    0 => Vector3::ith(axis, 1.0),
                    steps => (mapped(above) - mapped(below)) / steps as f64,
                }
            }))
            .determinant()
                <= 0.0
        });
        Motion { shift, folded: folded.data }
    }

    /// Where panel position (x, y) goes; bilinear between voxel centers.
    fn moved(&self, scale: [f32; 2], x: f32, y: f32) -> [f32; 2] {
        let (x0, x1, u) = neighbors(x / scale[0] - 0.5, self.shift.width);
        let (y0, y1, v) = neighbors(y / scale[1] - 0.5, self.shift.height);
        let at = |x: usize, y: usize| self.shift.data[y * self.shift.width + x];
        let (a, b, c, d) = (at(x0, y0), at(x1, y0), at(x0, y1), at(x1, y1));
        let along = |k: usize| {
            (a[k] * (1.0 - u) + b[k] * u) * (1.0 - v) + (c[k] * (1.0 - u) + d[k] * u) * v
        };
        [x + along(0), y + along(1)]
    }

    /// Draws a regular grid with lines every `step` pixels as the motion bends it, over the places
    /// where folded voxels end up, in red.
    pub fn draw(&self, panel: &mut Picture, scale: [f32; 2], step: f32) {
        let mut folds = Coverage::new(panel);
        for (i, _) in self.folded.iter().enumerate().filter(|(_, folded)| **folded) {
            let x = ((i % self.shift.width) as f32 + 0.5) * scale[0];
            let y = ((i / self.shift.width) as f32 + 0.5) * scale[1];
            folds.block(self.moved(scale, x, y), [scale[0].max(2.0), scale[1].max(2.0)]);
        }
        folds.lay_on(panel, color::FOLD, 0.6);

        let (width, height) = (panel.width() as f32, panel.height() as f32);
        let mut lines = Coverage::new(panel);
        for x in grid_lines(width, step) {
            lines.curve(height, |y| self.moved(scale, x, y));
        }
        for y in grid_lines(height, step) {
            lines.curve(width, |x| self.moved(scale, x, y));
        }
        lines.lay_on(panel, color::GRID, 0.85);
    }
}

/// Lines `step` apart across `length`, one of them in the middle.
fn grid_lines(length: f32, step: f32) -> impl Iterator<Item = f32> {
    let half = (length / 2.0 / step).floor();
    (0..=2 * half as usize).map(move |i| length / 2.0 + (i as f32 - half) * step)
}

/// The two samples around `at` on an axis of `n`, and how far `at` is from the first to the second.
fn neighbors(at: f32, n: usize) -> (usize, usize, f32) {
    let at = at.clamp(0.0, (n - 1) as f32);
    let low = at.floor() as usize;
    (low, (low + 1).min(n - 1), at - low as f32)
}

/// How much of each pixel a drawing covers. Gathered before anything is painted, so that strokes
/// that meet or overlap do not show as darker beads.
struct Coverage {
    width: usize,
    height: usize,
    covered: Vec<f32>,
}

impl Coverage {
    fn new(panel: &Picture) -> Self {
        let (width, height) = (panel.width() as usize, panel.height() as usize);
        Coverage { width, height, covered: vec![0.0; width * height] }
    }

    /// Raises the coverage of the pixels within `reach` of `center` to what `shape` gives for the
    /// distances right and down.
    fn raise(&mut self, center: [f32; 2], reach: [f32; 2], shape: impl Fn(f32, f32) -> f32) {
        // Saturating casts keep wild and undefined positions harmless.
        let range = |c: f32, reach: f32, n: usize| {
            ((c - reach).max(0.0) as usize)..((c + reach).ceil().max(0.0) as usize).min(n)
        };
        for y in range(center[1], reach[1], self.height) {
            for x in range(center[0], reach[0], self.width) {
                let value = shape(x as f32 + 0.5 - center[0], y as f32 + 0.5 - center[1]);
                let pixel = &mut self.covered[y * self.width + x];
                *pixel = pixel.max(value);
            }
        }
    }

    fn block(&mut self, center: [f32; 2], size: [f32; 2]) {
        let half = size.map(|s| s / 2.0);
        self.raise(center, half.map(|h| h + 1.0), |x, y| {
            let inside = (half[0] + 0.5 - x.abs()).min(half[1] + 0.5 - y.abs());
            inside.clamp(0.0, 1.0)
        });
    }

    /// A line through `point(0)` to `point(length)`.
    fn curve(&mut self, length: f32, point: impl Fn(f32) -> [f32; 2]) {
        let pieces = (length / 2.0).ceil().max(1.0);
        // A longer piece belongs to a torn field, and would only cross out the picture.
        let longest = (self.width + self.height) as f32 / 2.0;
        let mut from = point(0.0);
        for i in 1..=pieces as usize {
            let to = point(length * i as f32 / pieces);
            let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
            let along = dx.hypot(dy);
            if along.is_finite() && along <= longest {
                // Dots closer than half a pixel are, to the eye, a line.
                let dots = (along / 0.4).ceil().max(1.0);
                for k in 0..dots as usize {
                    let t = k as f32 / dots;
                    self.raise([from[0] + t * dx, from[1] + t * dy], [LINE + 0.5; 2], |x, y| {
                        (LINE / 2.0 + 0.5 - x.hypot(y)).clamp(0.0, 1.0)
                    });
                }
            }
            from = to;
        }
    }

    fn lay_on(&self, panel: &mut Picture, over: Rgb, opacity: f32) {
        for (pixel, covered) in panel.pixels_mut().iter_mut().zip(&self.covered) {
            *pixel = color::mix(*pixel, over, covered * opacity);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Geometry;

    const WHITE: Rgb = Rgb([255; 3]);

    fn painted(panel: &Picture) -> impl Iterator<Item = (f32, f32)> {
        let lit = panel.pixels().iter().enumerate().filter(|(_, p)| p.0[0] > 127);
        let width = panel.width() as usize;
        lit.map(move |(i, _)| ((i % width) as f32 + 0.5, (i / width) as f32 + 0.5))
    }

    /// A disc in the middle of a plane of 40 × 40 voxels.
    fn disc(radius: f32) -> Frame<i32> {
        let inside = |i: usize| {
            let (x, y) = ((i % 40) as f32 - 19.5, (i / 40) as f32 - 19.5);
            i32::from(x.hypot(y) <= radius)
        };
        Frame { width: 40, height: 40, spacing: None, data: (0..1600).map(inside).collect() }
    }

    #[test]
    fn an_outline_runs_along_the_border_at_any_scale() {
        for side in [13, 40, 200] {
            let mut panel = Picture::filled(side, side, Rgb([0; 3]));
            outlines(&mut panel, &disc(12.0), 1.5, |_| WHITE);
            let scale = side as f32 / 40.0;
            let off = |(x, y): (f32, f32)| {
                let middle = side as f32 / 2.0;
                ((x - middle).hypot(y - middle) - 12.0 * scale).abs()
            };
            let worst = painted(&panel).map(off).fold(0.0, f32::max);
            // A voxel's half diagonal on either side, and the line's own width.
            assert!(worst < 0.8 * scale.max(1.0) + 1.0, "{side}: {worst}");
            let length = painted(&panel).count() as f32;
            assert!(length > 2.0 * 12.0 * scale * 3.0, "{side}: outline has gaps: {length}");
        }
    }

    #[test]
    fn a_plane_of_one_label_has_no_outline() {
        let labels = Frame { width: 3, height: 1, spacing: None, data: vec![2; 3] };
        let mut panel = Picture::filled(30, 10, Rgb([0; 3]));
        outlines(&mut panel, &labels, 1.5, |_| WHITE);
        assert_eq!(painted(&panel).count(), 0);
    }

    fn motion(displacement: impl Fn(f32) -> f32) -> Motion {
        let g = Geometry::new([20, 20, 5], [1.0; 3]);
        let vector = |i: usize| [displacement((i % 20) as f32 - 9.5), 0.0, 0.0];
        let field = Field::new(g.clone(), (0..g.voxels()).map(vector).collect());
        let [axial, ..] = Cut::three(&g, [10, 10, 2]);
        Motion::of(&field, &Affine::identity(), &axial, [5.0; 2])
    }

    #[test]
    fn positions_move_with_the_field_and_folds_are_found() {
        let stretch = motion(|x| 0.5 * x);
        let [x, y] = stretch.moved([5.0; 2], 50.0 + 20.0, 30.0);
        assert!((x - (50.0 + 30.0)).abs() < 1e-3 && (y - 30.0).abs() < 1e-3, "{x} {y}");
        assert!(stretch.folded.iter().all(|f| !f));
        // x → x - 2·sin(x) turns back where its derivative 1 - 2·cos(x) is negative; central
        // differences see sin(1)·cos(x) for cos(x).
        let wave = motion(|x| -2.0 * x.sin());
        for (i, folded) in
            wave.folded.iter().enumerate().filter(|(i, _)| (1..19).contains(&(i % 20)))
        {
            let x = (i % 20) as f32 - 9.5;
            assert_eq!(*folded, 1.0 - 2.0 * 1f32.sin() * x.cos() <= 0.0, "{x}");
        }
    }

    #[test]
    fn wild_and_undefined_vectors_draw_nothing_and_end() {
        for wild in [f32::NAN, f32::INFINITY, 1e30] {
            let torn = motion(|x| if x > 0.0 { wild } else { -wild });
            torn.draw(&mut Picture::filled(100, 100, Rgb([0; 3])), [5.0; 2], 11.0);
        }
    }
}
