use embedded_graphics::mono_font::MonoFont;
use embedded_graphics::mono_font::iso_8859_1::{
    FONT_6X12, FONT_7X13, FONT_7X13_BOLD, FONT_8X13_BOLD, FONT_10X20,
};
use embedded_graphics::text::Alignment;

use super::canvas::Canvas;
use super::color;
use super::overlay::{Motion, outlines};
use super::picture::{CATMULL_ROM, Picture, Rgb, resized};
use super::plane::{Cut, Window, center, quantile};
use crate::image::{Affine, Field, Frame, LabelMap, Volume};
use crate::io;

/// What a preview of a registration shows. All images are on the fixed image's grid.
pub struct Preview<'a> {
    pub fixed: &'a Volume,
    /// The moving image resampled by `initial` alone, before any network.
    pub moving: &'a Volume,
    /// The moving image resampled by `field`.
    pub warped: &'a Volume,
    /// The whole map fixed → moving, `initial` included; LPS mm.
    pub field: &'a Field,
    /// The initial alignment, a map of points fixed → moving in LPS mm. It is taken out of the
    /// deformed grid, which so lies on `moving` as shown.
    pub initial: &'a Affine,
    pub fixed_labels: Option<&'a LabelMap>,
    pub warped_labels: Option<&'a LabelMap>,
    pub title: &'a str,
    /// Lines of text under the title: figures, warnings.
    pub lines: &'a [String],
}

/// The longest side of a panel, in pixels; all panels share one scale.
const LONGEST: f64 = 260.0;
/// The least width of a column: its title and legend must fit.
const NARROWEST: u32 = 190;
/// The least height of a row: its name must fit.
const LOWEST: u32 = 34;
const MARGIN: u32 = 16;
const GAP: u32 = 8;
/// Room for the rows' names on the left.
const GUTTER: u32 = 76;
const FOOTER: u32 = 44;
/// The least distance of grid lines, in pixels.
const GRID_STEP: f64 = 11.0;
/// Widths of outlines in pixels: the fixed labels' in white, and those in color.
const THIN: f32 = 0.8;
const THICK: f32 = 1.5;
const COLUMNS: [&str; 6] =
    ["fixed", "moving", "warped", "difference before", "difference after", "deformed grid"];

/// Draws a registration's result: one row per plane (axial, coronal, sagittal, through the middle
/// of the fixed labels or of the image), and the columns fixed, moving, warped, difference before
/// and after, deformed grid.
///
/// - Orientation: radiological, see the letters on the fixed image. An oblique volume is shown in
///   its own voxel planes. Millimeters are equally long in all panels and directions.
/// - Intensities: percentiles 1 to 99 of the planes shown, without the empty background. The fixed
///   image has its own window, moving and warped share one: modalities may differ.
/// - Differences: moving or warped minus fixed, each as a fraction of its window, on one scale for
///   both columns. They mean little where modalities differ.
/// - Outlines: fixed labels in color on the fixed image and in white on moving and warped; warped
///   labels in color.
/// - Deformed grid: a regular grid of the fixed image carried to the places on the moving image
///   that it is sampled from, the part within the plane. Red: the map folds (determinant of the
///   Jacobian ≤ 0).
///
/// # Panics
/// If the volumes differ in size.
pub fn registration_preview(view: &Preview) -> Picture {
    let geometry = &view.fixed.geometry;
    let labels = [view.fixed_labels, view.warped_labels];
    let sizes = [&view.moving.geometry, &view.warped.geometry, &view.field.geometry]
        .into_iter()
        .chain(labels.into_iter().flatten().map(|l| &l.geometry));
    for other in sizes {
        assert_eq!(other.size, geometry.size, "a preview's volumes share one grid");
    }

    let cuts = Cut::three(geometry, center(geometry, view.fixed_labels));
    let planes = cuts.each_ref().map(|cut| Planes::of(view, cut));
    let scale = Scale::of(&planes);
    let layout = Layout::new(planes.each_ref().map(|p| scale.panel(&p.fixed)), view.lines.len());
    let windows = [
        Window::of(planes.iter().map(|p| &p.fixed)),
        Window::of(planes.iter().flat_map(|p| [&p.moving, &p.warped])),
    ];
    let range = difference_range(&planes, windows);

    let mut canvas = Canvas::new(layout.width, layout.height, color::BACKGROUND);
    header(&mut canvas, &layout, view);
    for (row, (cut, planes)) in cuts.iter().zip(&planes).enumerate() {
        let panels = draw_row(view, cut, planes, windows, range, &scale);
        for (column, panel) in panels.iter().enumerate() {
            canvas.place(panel, layout.panel(row, column));
        }
        name_row(&mut canvas, &layout, row, cut, geometry.size);
    }
    footer(&mut canvas, &layout, view, &scale, range);
    canvas.image
}

/// Writes an image as PNG.
pub fn write_png(image: &Picture, to: impl std::io::Write) -> std::io::Result<()> {
    let size = [image.width() as usize, image.height() as usize];
    io::write_png(to, size, &image.samples())
}

/// The voxels of one cut through every image.
struct Planes {
    fixed: Frame,
    moving: Frame,
    warped: Frame,
    fixed_labels: Option<Frame<i32>>,
    warped_labels: Option<Frame<i32>>,
}

impl Planes {
    fn of(view: &Preview, cut: &Cut) -> Planes {
        Planes {
            fixed: cut.of(view.fixed),
            moving: cut.of(view.moving),
            warped: cut.of(view.warped),
            fixed_labels: view.fixed_labels.map(|l| cut.of(l)),
            warped_labels: view.warped_labels.map(|l| cut.of(l)),
        }
    }
}

/// Pixels per millimeter.
struct Scale(f64);

impl Scale {
    fn of(planes: &[Planes; 3]) -> Scale {
        let sides = planes.iter().flat_map(|p| sides_mm(&p.fixed));
        Scale(LONGEST / sides.fold(f64::MIN_POSITIVE, f64::max))
    }

    /// The panel's size in pixels.
    fn panel(&self, plane: &Frame) -> [u32; 2] {
        sides_mm(plane).map(|side| (side * self.0).round().max(1.0) as u32)
    }

    /// The distance of grid lines in mm: a round number.
    fn grid_mm(&self) -> f64 {
        round_up(GRID_STEP / self.0)
    }
}

fn sides_mm<T>(plane: &Frame<T>) -> [f64; 2] {
    let [sx, sy] = plane.spacing.expect("a cut knows its spacing");
    [plane.width as f64 * sx, plane.height as f64 * sy]
}

/// The smallest of 1, 2, 5, 10, 20, … (and 0.5, 0.2, …) that is not below `value`.
fn round_up(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    // The slack lets a number that is round already stay as it is.
    let step = [1.0, 2.0, 5.0].into_iter().find(|m| m * power >= value * (1.0 - 1e-9));
    step.unwrap_or(10.0) * power
}

/// Where everything goes, in pixels.
struct Layout {
    width: u32,
    height: u32,
    column: u32,
    titles: u32,
    tops: [u32; 3],
    panels: [[u32; 2]; 3],
}

impl Layout {
    fn new(panels: [[u32; 2]; 3], lines: usize) -> Layout {
        let column = panels.iter().fold(NARROWEST, |widest, p| widest.max(p[0]));
        let titles = MARGIN + 26 + 16 * lines as u32 + GAP;
        let mut y = titles + 20;
        let tops = panels.map(|[_, height]| {
            let top = y;
            y += height.max(LOWEST) + GAP;
            top
        });
        let columns = COLUMNS.len() as u32;
        let width = MARGIN + GUTTER + columns * (column + GAP) - GAP + MARGIN;
        Layout { width, height: y + FOOTER + MARGIN, column, titles, tops, panels }
    }

    fn left(&self, column: usize) -> i32 {
        (MARGIN + GUTTER + column as u32 * (self.column + GAP)) as i32
    }

    fn middle(&self, column: usize) -> i32 {
        self.left(column) + self.column as i32 / 2
    }

    /// A panel's top left corner: in the middle of its column and row.
    fn panel(&self, row: usize, column: usize) -> (i32, i32) {
        let [width, height] = self.panels[row].map(|side| side as i32);
        let spare = (LOWEST as i32 - height).max(0);
        (self.middle(column) - width / 2, self.tops[row] as i32 + spare / 2)
    }

    fn footer(&self) -> i32 {
        (self.height - MARGIN - FOOTER) as i32 + 6
    }
}

/// The difference, as a fraction of the window, at which the colors saturate: what two in a
/// hundred of the differing voxels exceed, before or after, rounded up to a tenth.
fn difference_range(planes: &[Planes; 3], [fixed, moving]: [Window; 2]) -> f32 {
    let exceeded = |other: fn(&Planes) -> &Frame| {
        let mut all: Vec<f32> = planes
            .iter()
            .flat_map(|p| other(p).data.iter().zip(&p.fixed.data))
            .map(|(m, f)| (moving.apply(*m) - fixed.apply(*f)).abs())
            .filter(|d| *d > 0.0)
            .collect();
        quantile(&mut all, 0.98).unwrap_or(0.0)
    };
    let range = exceeded(|p| &p.moving).max(exceeded(|p| &p.warped));
    (range * 10.0).ceil().max(1.0) / 10.0
}

/// The six panels of one row, in the order of [`COLUMNS`].
fn draw_row(
    view: &Preview,
    cut: &Cut,
    planes: &Planes,
    [fixed_window, moving_window]: [Window; 2],
    range: f32,
    scale: &Scale,
) -> [Picture; 6] {
    let size = scale.panel(&planes.fixed);
    let fixed = magnify(&planes.fixed, fixed_window, size);
    let moving = magnify(&planes.moving, moving_window, size);
    let warped = magnify(&planes.warped, moving_window, size);

    let mut panels = [
        paint(&fixed, color::gray),
        paint(&moving, color::gray),
        paint(&warped, color::gray),
        difference(&moving, &fixed, range),
        difference(&warped, &fixed, range),
        paint(&moving, |v| color::gray(v * 0.55)),
    ];
    if let Some(labels) = &planes.fixed_labels {
        outlines(&mut panels[0], labels, THICK, color::of_label);
        outlines(&mut panels[1], labels, THIN, |_| color::FIXED_OUTLINE);
        outlines(&mut panels[2], labels, THIN, |_| color::FIXED_OUTLINE);
    }
    if let Some(labels) = &planes.warped_labels {
        outlines(&mut panels[2], labels, THICK, color::of_label);
    }
    let per_voxel =
        [size[0] as f32 / planes.fixed.width as f32, size[1] as f32 / planes.fixed.height as f32];
    Motion::of(view.field, view.initial, cut, per_voxel).draw(
        &mut panels[5],
        per_voxel,
        (scale.grid_mm() * scale.0) as f32,
    );
    panels
}

/// A plane's windowed intensities at panel size.
fn magnify(plane: &Frame, window: Window, [width, height]: [u32; 2]) -> Frame {
    let voxels = plane.with(plane.data.iter().map(|v| window.apply(*v)).collect());
    let mut panel = resized(&voxels, [width as usize, height as usize], CATMULL_ROM);
    panel.data.iter_mut().for_each(|v| *v = v.clamp(0.0, 1.0));
    panel
}

fn paint(panel: &Frame, color: impl Fn(f32) -> Rgb) -> Picture {
    let of = |x: u32, y: u32| color(panel.row(y as usize)[x as usize]);
    Picture::from_fn(panel.width as u32, panel.height as u32, of)
}

fn difference(of: &Frame, from: &Frame, range: f32) -> Picture {
    let differences = of.data.iter().zip(&from.data).map(|(a, b)| (a - b) / range);
    paint(&of.with(differences.collect()), color::diverging)
}

fn header(canvas: &mut Canvas, layout: &Layout, view: &Preview) {
    let left = MARGIN as i32;
    canvas.text(view.title, (left, left), Alignment::Left, &FONT_10X20, color::TEXT);
    for (i, line) in view.lines.iter().enumerate() {
        let y = left + 24 + 16 * i as i32;
        canvas.text(line, (left, y), Alignment::Left, &FONT_7X13, color::FAINT_TEXT);
    }
    for (column, title) in COLUMNS.iter().enumerate() {
        let at = (layout.middle(column), layout.titles as i32);
        canvas.text(title, at, Alignment::Center, &FONT_8X13_BOLD, color::TEXT);
    }
}

/// The row's name and slice on the left, and the letters of orientation on its fixed image.
fn name_row(canvas: &mut Canvas, layout: &Layout, row: usize, cut: &Cut, size: [usize; 3]) {
    let (left, top) = layout.panel(row, 0);
    let [width, height] = layout.panels[row].map(|side| side as i32);
    let middle = top + height / 2;
    let margin = MARGIN as i32;
    let faint = color::FAINT_TEXT;
    canvas.text(cut.name, (margin, middle - 14), Alignment::Left, &FONT_8X13_BOLD, color::TEXT);
    let slice = format!("{} of {}", cut.index + 1, size[cut.normal]);
    canvas.text(&slice, (margin, middle + 2), Alignment::Left, &FONT_6X12, faint);

    // Letters on a sliver of a panel would cover it.
    if width.min(height) < 60 {
        return;
    }
    let [l, r, a, b] = cut.letters;
    let center = left + width / 2;
    let mut letter = |text, x, y| {
        // A dark rim keeps it legible on white.
        for (dx, dy) in [(-1, 0), (1, 0), (0, -1), (0, 1)] {
            let at = (x + dx, y + dy);
            canvas.text(text, at, Alignment::Center, &FONT_7X13_BOLD, color::BACKGROUND);
        }
        canvas.text(text, (x, y), Alignment::Center, &FONT_7X13_BOLD, color::TEXT);
    };
    letter(l, left + 7, middle - 6);
    letter(r, left + width - 7, middle - 6);
    letter(a, center, top + 1);
    letter(b, center, top + height - 14);
}

fn footer(canvas: &mut Canvas, layout: &Layout, view: &Preview, scale: &Scale, range: f32) {
    let y = layout.footer();
    let font: &MonoFont = &FONT_6X12;
    let note = |canvas: &mut Canvas, column: usize, line: i32, text: &str, color| {
        canvas.text(text, (layout.middle(column), y + 14 * line), Alignment::Center, font, color);
    };

    let bar_mm = round_up(24.0 / scale.0);
    let bar = (bar_mm * scale.0).round() as u32;
    canvas.fill((layout.middle(0) - bar as i32 / 2, y + 2), (bar, 3), |_| color::TEXT);
    note(canvas, 0, 1, &format!("{bar_mm} mm"), color::FAINT_TEXT);

    if view.fixed_labels.is_some() {
        note(canvas, 1, 0, "white: fixed labels", color::FAINT_TEXT);
        note(canvas, 2, 0, "white: fixed labels", color::FAINT_TEXT);
    }
    if view.warped_labels.is_some() {
        note(canvas, 2, 1, "colors: warped labels", color::FAINT_TEXT);
    }

    let percent = (range * 100.0).round();
    for (column, name) in [(3, "moving - fixed"), (4, "warped - fixed")] {
        let width = layout.column * 3 / 5;
        let left = layout.middle(column) - width as i32 / 2;
        let steps = (width - 1) as f32 / 2.0;
        canvas.fill((left, y), (width, 8), |x| color::diverging(x as f32 / steps - 1.0));
        let faint = color::FAINT_TEXT;
        canvas.text(&format!("-{percent} %"), (left, y + 11), Alignment::Left, font, faint);
        let right = left + width as i32;
        canvas.text(&format!("+{percent} %"), (right, y + 11), Alignment::Right, font, faint);
        note(canvas, column, 2, &format!("{name}, of window"), faint);
    }

    note(canvas, 5, 0, &format!("grid of {} mm", scale.grid_mm()), color::GRID);
    note(canvas, 5, 1, "red: folding", color::FOLD);
}

#[cfg(test)]
mod tests;
