use super::*;
use crate::image::Geometry;
use nalgebra::{Matrix3, Vector3};

/// A picture of volumes that need not be kept.
struct Case {
    fixed: Volume,
    moving: Volume,
    warped: Volume,
    field: Field,
    initial: Affine,
    labels: Option<LabelMap>,
}

impl Case {
    /// The same image three times and no displacement.
    fn still(image: Volume) -> Case {
        let field = Field::filled(image.geometry.clone(), [0.0; 3]);
        let (moving, warped) = (image.clone(), image.clone());
        Case { fixed: image, moving, warped, field, initial: Affine::identity(), labels: None }
    }

    fn draw(&self) -> Picture {
        registration_preview(&Preview {
            fixed: &self.fixed,
            moving: &self.moving,
            warped: &self.warped,
            field: &self.field,
            initial: &self.initial,
            fixed_labels: self.labels.as_ref(),
            warped_labels: self.labels.as_ref(),
            title: "NCC 0.71 → 0.93",
            lines: &[],
        })
    }

    fn layout(&self) -> Layout {
        let g = &self.fixed.geometry;
        let planes = Cut::three(g, center(g, None)).map(|c| c.of(&self.fixed));
        let longest = planes.iter().flat_map(sides_mm).fold(0.0, f64::max);
        let scale = Scale(LONGEST / longest);
        Layout::new(planes.map(|p| scale.panel(&p)), 0)
    }

    fn panel(&self, picture: &Picture, row: usize, column: usize) -> Picture {
        let layout = self.layout();
        let (x, y) = layout.panel(row, column);
        let [width, height] = layout.panels[row];
        let of = |column, row| picture.pixel(x as u32 + column, y as u32 + row).unwrap();
        Picture::from_fn(width, height, of)
    }
}

/// An ellipsoid with soft edges, brighter on its left front top side, given by world position.
fn body(p: Vector3<f64>) -> f32 {
    let r = Vector3::new(p.x / 8.0, p.y / 11.0, p.z / 13.0).norm();
    let shade = 1.0 + 0.02 * p.x - 0.015 * p.y + 0.01 * p.z;
    (shade / (1.0 + (12.0 * (r - 1.0)).exp())) as f32
}

fn sampled(geometry: Geometry, of: impl Fn(Vector3<f64>) -> f32) -> Volume {
    let to_world = geometry.index_to_world();
    let [nx, ny, _] = geometry.size;
    let index = |i: usize| Vector3::new(i % nx, i / nx % ny, i / (nx * ny)).map(|v| v as f64);
    let data = (0..geometry.voxels()).map(|i| of(to_world.apply(index(i)))).collect();
    Volume::new(geometry, data)
}

/// A grid with its middle at the world's origin.
fn centered(size: [usize; 3], spacing: [f64; 3], direction: Matrix3<f64>) -> Geometry {
    let mut g = Geometry { direction, ..Geometry::new(size, spacing) };
    g.origin = -g.center();
    g
}

#[test]
fn the_size_follows_millimeters_not_voxels() {
    // 20 × 30 × 40 mm at 260 / 40 = 6.5 pixels per mm: rows of 195, 260 and 260 pixels, columns as
    // wide as the widest panel, 195.
    let case =
        Case::still(sampled(centered([20, 30, 10], [1.0, 1.0, 4.0], Matrix3::identity()), body));
    let picture = case.draw();
    assert_eq!(case.layout().panels, [[130, 195], [130, 260], [195, 260]]);
    let width = MARGIN + GUTTER + 6 * 195 + 5 * GAP + MARGIN;
    assert_eq!(picture.width(), width);
    // The ellipsoid, 26 mm high and 16 mm wide, keeps its shape in the coronal panel.
    let panel = case.panel(&picture, 1, 1);
    let lit = |x, y| panel.pixel(x, y).unwrap().0[0] > 110;
    let across = (0..130).filter(|x| lit(*x, 130)).count() as f64;
    let down = (0..260).filter(|y| lit(65, *y)).count() as f64;
    assert!((down / across / (26.0 / 16.0) - 1.0).abs() < 0.06, "{down} by {across}");
}

#[test]
fn the_same_body_looks_the_same_however_its_voxels_are_stored() {
    let straight =
        Case::still(sampled(centered([21, 27, 31], [1.0, 1.0, 1.0], Matrix3::identity()), body));
    // x to superior, y to right, z to anterior.
    let direction = Matrix3::new(0.0, -1.0, 0.0, 0.0, 0.0, -1.0, 1.0, 0.0, 0.0);
    let turned = Case::still(sampled(centered([31, 21, 27], [1.0, 1.0, 1.0], direction), body));
    let (a, b) = (straight.draw(), turned.draw());
    for (row, column) in (0..3).flat_map(|row| (0..6).map(move |column| (row, column))) {
        let (a, b) = (straight.panel(&a, row, column), turned.panel(&b, row, column));
        assert_eq!(a, b, "row {row}, column {column}");
    }
    // Brighter at the patient's left, which is on the right, and in front, which is up.
    let axial = straight.panel(&a, 0, 1);
    let [width, height] = [axial.width(), axial.height()];
    let at = |x: f64, y: f64| {
        axial.pixel((f64::from(width) * x) as u32, (f64::from(height) * y) as u32).unwrap().0[0]
    };
    assert!(at(0.6, 0.5) > at(0.4, 0.5) && at(0.5, 0.4) > at(0.5, 0.6));
}

#[test]
fn equal_images_differ_nowhere_and_others_do() {
    let mut case =
        Case::still(sampled(centered([20, 24, 16], [1.0, 1.0, 2.0], Matrix3::identity()), body));
    let picture = case.draw();
    let neutral = color::diverging(0.0);
    for (row, column) in [(0, 3), (0, 4), (1, 3), (1, 4), (2, 3), (2, 4)] {
        assert!(case.panel(&picture, row, column).pixels().iter().all(|p| *p == neutral));
    }
    case.moving = sampled(case.fixed.geometry.clone(), |p| body(p + Vector3::new(2.0, 0.0, 0.0)));
    let picture = case.draw();
    // Shifted to the right: there is more of it on the right of the patient, which is on the left,
    // and less on the other side.
    let before = case.panel(&picture, 0, 3);
    let sign = |x: u32| {
        let Rgb([r, _, b]) = before.pixel(x, before.height() / 2).unwrap();
        i32::from(r) - i32::from(b)
    };
    let row: Vec<i32> = (0..before.width()).map(sign).collect();
    let (left, right) = row.split_at(row.len() / 2);
    assert!(*left.iter().max().unwrap() > 60 && *right.iter().min().unwrap() < -60);
}

#[test]
fn the_grid_is_drawn_relative_to_the_initial_alignment() {
    let image = sampled(centered([20, 24, 16], [1.0; 3], Matrix3::identity()), body);
    let still = Case::still(image);
    let shift = Vector3::new(30.0, -12.5, 4.0);
    let shifted = Case {
        field: Field::filled(still.fixed.geometry.clone(), [30.0, -12.5, 4.0]),
        initial: Affine::translation(shift),
        ..Case::still(still.fixed.clone())
    };
    assert_eq!(still.draw(), shifted.draw());
    assert_ne!(still.draw(), Case { initial: Affine::identity(), ..shifted }.draw());
}

#[test]
fn labels_are_outlined_where_they_are() {
    let mut case =
        Case::still(sampled(centered([20, 24, 16], [1.0; 3], Matrix3::identity()), body));
    let plain = case.draw();
    case.labels = Some(case.fixed.map(|v| i32::from(v > 0.5)));
    let picture = case.draw();
    for (column, changed) in [true, true, true, false, false, false].into_iter().enumerate() {
        let differ = case.panel(&plain, 0, column) != case.panel(&picture, 0, column);
        assert_eq!(differ, changed, "{}", COLUMNS[column]);
    }
    let red = |p: &Picture| p.pixels().iter().filter(|p| **p == color::of_label(1)).count();
    assert!(red(&case.panel(&picture, 0, 0)) > 100);
}

#[test]
fn flat_constant_and_undefined_volumes_are_drawn() {
    for size in [[1, 1, 1], [1, 24, 16], [40, 1, 1], [300, 2, 1], [9, 9, 1]] {
        for value in [0.0, -3.5, f32::NAN, f32::INFINITY] {
            let g = Geometry::new(size, [1.0, 0.5, 8.0]);
            let mut case = Case::still(Volume::filled(g.clone(), value));
            case.labels = Some(LabelMap::filled(g, 3));
            case.field.data[0] = [f32::NAN; 3];
            assert_eq!(case.draw(), case.draw());
        }
    }
}

#[test]
fn the_png_holds_the_picture() {
    let case = Case::still(sampled(Geometry::new([12, 10, 8], [1.0; 3]), body));
    let mut png = Vec::new();
    write_png(&case.draw(), &mut png).unwrap();
    let read = ::image::load_from_memory(&png).unwrap().to_rgb8();
    assert_eq!(read.into_raw(), case.draw().samples());
}

#[test]
fn round_numbers() {
    let pairs = [(0.03, 0.05), (0.2, 0.2), (0.21, 0.5), (1.0, 1.0), (3.2, 5.0), (51.0, 100.0)];
    for (value, up) in pairs {
        assert!((round_up(value) - up).abs() < 1e-9, "{value}: {}", round_up(value));
    }
}
