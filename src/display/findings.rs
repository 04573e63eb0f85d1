//! What was found in a frame, drawn on it.

use std::f64::consts::TAU;

use embedded_graphics::mono_font::iso_8859_1::{FONT_8X13, FONT_8X13_BOLD, FONT_10X20};
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{Circle, Line, PrimitiveStyle};
use embedded_graphics::text::Alignment;

use super::canvas::Canvas;
use super::color;
use super::overlay::outlines;
use super::picture::{Picture, Rgb};
use super::plane::Window;
use crate::image::{Frame, Pixels};
use crate::landmarks::{Findings, Measured};
use crate::package::{Measurement, MeasurementKind};

/// Smaller frames are shown larger, so that the text does not hide them.
const NARROWEST: u32 = 480;
const MARGIN: i32 = 10;
const ROW: i32 = 22;
/// Half a landmark's cross.
const CROSS: i32 = 7;
const OUTLINE: f32 = 2.0;

/// Draws the frame with the outlines of masks, the landmarks (a ring of two standard deviations
/// where that is larger than the cross) and dashed lines where lengths and angles are taken; below
/// it the view, the measurements and what was withheld. `title` names the frame.
pub fn findings_overlay(
    pixels: &Pixels,
    findings: &Findings,
    wanted: &[Measurement],
    title: &str,
) -> Picture {
    let frame = to_rgb(pixels);
    // A thin frame must not become a picture of gigabytes.
    let room = (4 * NARROWEST / frame.height().max(1)).max(1);
    let times = NARROWEST.div_ceil(frame.width().max(1)).clamp(1, room);
    let (width, height) = (frame.width() * times, frame.height() * times);
    let mut panel = frame.resized(width, height);
    for (i, mask) in findings.masks.iter().enumerate().filter(|(_, mask)| mask.found) {
        let inside = mask.pixels(pixels.size());
        let labels = inside.with(inside.data.iter().map(|p| i32::from(*p)).collect());
        outlines(&mut panel, &labels, OUTLINE, |_| color::of_label(i as i32 + 1));
    }
    let wide = width.max(NARROWEST);
    let lines = wrapped(lines(findings), (wide - 2 * MARGIN as u32) as usize / 10);
    let strip = 2 * MARGIN as u32 + ROW as u32 * (lines.len() as u32 + 1);
    let mut canvas = Canvas::new(wide, height + strip, color::BACKGROUND);
    canvas.place(&panel, (0, 0));
    let mut view = View { canvas, times: f64::from(times) };
    view.calipers(findings, wanted);
    view.landmarks(findings);
    let mut at = (MARGIN, height as i32 + MARGIN);
    for (text, color) in lines {
        view.canvas.text(&text, at, Alignment::Left, &FONT_10X20, color);
        at.1 += ROW;
    }
    view.canvas.text(title, (at.0, at.1 + 3), Alignment::Left, &FONT_8X13, color::FAINT_TEXT);
    view.canvas.image
}

/// Colors as they are, gray levels of more than 8 bits between their percentiles.
fn to_rgb(pixels: &Pixels) -> Picture {
    fn image<T: Copy>(frame: &Frame<T>, of: impl Fn(T) -> [u8; 3]) -> Picture {
        let color = |x: u32, y: u32| Rgb(of(frame.row(y as usize)[x as usize]));
        Picture::from_fn(frame.width as u32, frame.height as u32, color)
    }
    fn windowed(frame: &Frame<f32>) -> Picture {
        let window = Window::of([frame]);
        image(frame, |v| color::gray(window.apply(v)).0)
    }
    let high = |v: u16| (v >> 8) as u8;
    match pixels {
        Pixels::Gray8(frame) => image(frame, |v| [v; 3]),
        Pixels::Gray16(frame) => {
            windowed(&frame.with(frame.data.iter().map(|v| f32::from(*v)).collect()))
        }
        Pixels::Rgb8(frame) => image(frame, |v| v),
        Pixels::Rgb16(frame) => image(frame, |v| v.map(high)),
        Pixels::Rgba8(frame) => image(frame, |[r, g, b, _]| [r, g, b]),
        Pixels::Rgba16(frame) => image(frame, |[r, g, b, _]| [r, g, b].map(high)),
        Pixels::Float(frame) => windowed(frame),
    }
}

/// The text below the frame.
fn lines(findings: &Findings) -> Vec<(String, Rgb)> {
    let mut lines = Vec::new();
    if let Some(view) = &findings.view {
        lines.push((format!("view {} ({:.2})", view.name, view.score), color::TEXT));
    }
    lines.extend(findings.measurements.iter().map(|m| (measured(m), color::TEXT)));
    if findings.mm_per_px.is_none() && findings.anything() {
        lines.push(("pixel size unknown: no millimeters".into(), color::WARNING));
    }
    if !findings.anything() {
        lines.push(("nothing found".into(), color::WARNING));
    }
    lines.extend(findings.warnings.iter().map(|w| (w.clone(), color::WARNING)));
    lines
}

/// Lines of at most `most` letters, broken between words.
fn wrapped(lines: Vec<(String, Rgb)>, most: usize) -> Vec<(String, Rgb)> {
    let mut out: Vec<(String, Rgb)> = Vec::new();
    for (text, color) in lines {
        let mut line = String::new();
        for word in text.split(' ') {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > most {
                out.push((std::mem::take(&mut line), color));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        out.push((line, color));
    }
    out
}

/// "HC 178.2 ± 0.9 mm".
pub fn measured(m: &Measured) -> String {
    match (m.value, m.sd) {
        (None, _) => format!("{} –", m.name),
        (Some(value), None) => format!("{} {value:.1} {}", m.name, m.unit),
        (Some(value), Some(sd)) => format!("{} {value:.1} ± {sd:.1} {}", m.name, m.unit),
    }
}

/// A canvas with the frame on it, shown `times` as large.
struct View {
    canvas: Canvas,
    times: f64,
}

impl View {
    /// The middle of a pixel of the frame.
    fn point(&self, at: [f64; 2]) -> Point {
        let [x, y] = at.map(|v| ((v + 0.5) * self.times).round() as i32);
        Point::new(x, y)
    }

    fn stroke(&mut self, from: Point, to: Point, color: Rgb, width: u32) {
        let style = PrimitiveStyle::with_stroke(ink(color), width);
        let Ok(()) = Line::new(from, to).into_styled(style).draw(&mut self.canvas);
    }

    /// A line that can be told from anatomy.
    fn dashed(&mut self, from: [f64; 2], to: [f64; 2]) {
        let (from, to) = (self.point(from), self.point(to));
        let length = f64::from((to.x - from.x).pow(2) + (to.y - from.y).pow(2)).sqrt();
        let dashes = (length / 10.0).ceil().clamp(1.0, 1000.0);
        let along = |share: f64| {
            let between = |a: i32, b: i32| (f64::from(a) + share * f64::from(b - a)).round() as i32;
            Point::new(between(from.x, to.x), between(from.y, to.y))
        };
        for dash in 0..dashes as i32 {
            let start = f64::from(dash);
            let (a, b) = (along(start / dashes), along((start + 0.5) / dashes));
            self.stroke(a, b, color::FIXED_OUTLINE, 1);
        }
    }

    /// Where something is measured: axes of masks, lines between landmarks.
    fn calipers(&mut self, findings: &Findings, wanted: &[Measurement]) {
        let place = |name: &String| {
            findings.landmarks.iter().find(|l| l.name == *name).and_then(|l| l.place)
        };
        let axes = |m: &&Measurement| {
            matches!(m.kind, MeasurementKind::LongAxis | MeasurementKind::ShortAxis)
        };
        for m in wanted.iter().filter(axes) {
            let mask = findings.masks.iter().find(|mask| m.of == [mask.name.as_str()]);
            let Some(ends) = mask.and_then(|mask| mask.ellipse).map(|e| e.ends()) else { continue };
            let first = if m.kind == MeasurementKind::LongAxis { 0 } else { 2 };
            self.dashed(ends[first], ends[first + 1]);
        }
        for of in wanted.iter().map(|m| &m.of[..]) {
            let pairs: &[[usize; 2]] = match of.len() {
                2 => &[[0, 1]],
                3 => &[[0, 1], [1, 2]],
                4 => &[[0, 1], [2, 3]],
                _ => &[],
            };
            for [a, b] in pairs {
                if let (Some(a), Some(b)) = (place(&of[*a]), place(&of[*b])) {
                    self.dashed(a, b);
                }
            }
        }
    }

    fn landmarks(&mut self, findings: &Findings) {
        let found =
            || findings.landmarks.iter().enumerate().filter_map(|(i, l)| Some((i, l, l.place?)));
        let count = found().count().max(1) as f64;
        let middle = [0, 1].map(|axis| found().map(|(_, _, at)| at[axis]).sum::<f64>() / count);
        for (i, landmark, place) in found() {
            let (at, color) = (self.point(place), color::of_label(i as i32 + 2));
            for (width, color) in [(3, color::BACKGROUND), (1, color)] {
                for across in [Point::new(CROSS, 0), Point::new(0, CROSS)] {
                    self.stroke(at - across, at + across, color, width);
                }
            }
            let sd = landmark.sd.map_or(0.0, |[x, y]| x.hypot(y) / 2f64.sqrt());
            let ring = (2.0 * sd * self.times).round() as i32;
            if ring > CROSS {
                let style = PrimitiveStyle::with_stroke(ink(color), 1);
                let circle = Circle::with_center(at, 2 * ring as u32 + 1);
                let Ok(()) = circle.into_styled(style).draw(&mut self.canvas);
            }
            self.name(&landmark.name, at, place[0] >= middle[0], color);
        }
    }

    /// A landmark's name away from the others, with a dark rim, so that it reads on any anatomy.
    fn name(&mut self, name: &str, at: Point, right: bool, color: Rgb) {
        let width = 8 * name.chars().count() as i32;
        let [right_of, left_of] = [at.x + CROSS + 3, at.x - CROSS - 3 - width];
        let fits = |x: i32| x >= 0 && x + width <= self.canvas.image.width() as i32;
        let x = match right {
            true if fits(right_of) => right_of,
            false if fits(left_of) => left_of,
            _ => right_of.min(self.canvas.image.width() as i32 - width).max(0),
        };
        let y = (at.y - 16).max(1);
        let rim = (0..8).map(|i| {
            let (sin, cos) = (TAU * f64::from(i) / 8.0).sin_cos();
            (x + cos.round() as i32, y + sin.round() as i32)
        });
        for at in rim {
            self.canvas.text(name, at, Alignment::Left, &FONT_8X13_BOLD, color::BACKGROUND);
        }
        self.canvas.text(name, (x, y), Alignment::Left, &FONT_8X13_BOLD, color);
    }
}

fn ink(Rgb([r, g, b]): Rgb) -> Rgb888 {
    Rgb888::new(r, g, b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::FrameTransform;
    use crate::landmarks::Landmark;
    use crate::package::Region;
    use crate::segmentation::Mask;

    fn findings() -> Findings {
        let logits = (0..2400)
            .map(|i| 6.0 - f64::hypot(f64::from(i % 60) - 30.0, f64::from(i / 60) - 20.0) as f32);
        let logits = Frame::new(60, 40, logits.collect());
        let landmark = |name: &str, place| Landmark {
            name: name.into(),
            place: Some(place),
            confidence: Some(0.9),
            sd: Some([1.0; 2]),
        };
        Findings {
            size: [60, 40],
            mm_per_px: None,
            view: None,
            landmarks: vec![landmark("a", [10.0, 30.0]), landmark("b", [50.0, 10.0])],
            masks: vec![Mask::new("m", logits, &Region::default(), FrameTransform::IDENTITY)],
            measurements: vec![],
            warnings: vec![],
        }
    }

    #[test]
    fn marks_stand_where_things_were_found() {
        let frame = Pixels::Gray8(Frame::filled(60, 40, 100));
        let wanted = Measurement {
            name: "ab".into(),
            kind: MeasurementKind::Distance,
            of: vec!["a".into(), "b".into()],
            plausible: None,
        };
        let image = findings_overlay(&frame, &findings(), &[wanted], "frame");
        // 480 / 60: shown eight times as large, with text below.
        assert_eq!(image.width(), 480);
        assert!(image.height() > 320);
        let at =
            |x: f64, y: f64| image.pixel((8.0 * x + 4.0) as u32, (8.0 * y + 4.0) as u32).unwrap();
        assert_eq!(at(10.0, 30.0), color::of_label(2));
        assert_eq!(at(50.0, 10.0), color::of_label(3));
        // The outline of the disc of radius 6 around (30, 20), between pixels, and nothing inside it.
        assert_eq!(at(35.5, 20.0), color::of_label(1));
        assert_eq!(at(30.0, 23.0), Rgb([100; 3]));
        // A line of 8 · √(40² + 20²) = 358 pixels; nothing else is as white.
        let white = image.pixels().iter().filter(|p| p.0 == [255; 3]).count();
        assert!((120..260).contains(&white), "about half of a dashed line is drawn: {white}");
    }

    #[test]
    fn the_text_says_what_is_known() {
        let text = |f: &Findings| lines(f).into_iter().map(|(t, _)| t).collect::<Vec<_>>();
        assert_eq!(text(&findings()), ["pixel size unknown: no millimeters"]);
        let nothing = Findings { landmarks: vec![], masks: vec![], ..findings() };
        assert_eq!(text(&nothing), ["nothing found"]);
        let value = Measured { name: "HC".into(), value: Some(178.24), unit: "mm", sd: Some(0.91) };
        assert_eq!(measured(&value), "HC 178.2 ± 0.9 mm");
        assert_eq!(measured(&Measured { value: None, ..value }), "HC –");
        let line = |text: &str| (text.to_string(), color::TEXT);
        let broken = wrapped(vec![line("one two three"), line("four")], 8);
        assert_eq!(broken, [line("one two"), line("three"), line("four")]);
    }

    #[test]
    fn every_kind_of_pixels_can_be_shown() {
        let kinds = [
            Pixels::Gray16(Frame::new(2, 1, vec![0, 4000])),
            Pixels::Float(Frame::new(2, 1, vec![-1.0, f32::NAN])),
            Pixels::Rgb16(Frame::new(2, 1, vec![[0; 3], [0xffff; 3]])),
            Pixels::Rgba8(Frame::new(2, 1, vec![[0, 0, 0, 255], [9, 8, 7, 0]])),
        ];
        for pixels in kinds {
            let shown = to_rgb(&pixels);
            assert_eq!((shown.width(), shown.height()), (2, 1));
            findings_overlay(&pixels, &findings(), &[], "");
        }
        for size in [[1, 5000], [5000, 1], [1, 1]] {
            let thin = Pixels::Gray8(Frame::filled(size[0], size[1], 7));
            let shown = findings_overlay(&thin, &findings(), &[], "thin");
            assert!(shown.width() <= 5000 && shown.height() <= 5400, "{size:?}");
        }
    }
}
