//! The course of a training: a table and a plot.

use std::fmt::Write;

use plotters::coord::Shift;
use plotters::prelude::*;

use std::collections::BTreeSet;

use crate::checkpoint::Record;
use crate::recipe::Figures;

const WIDTH: u32 = 760;
/// Of each panel.
const HEIGHT: u32 = 280;
const FONT: (&str, u32) = ("sans-serif", 16);
// Of middle lightness: legible on white and on black.
const GRAY: RGBColor = RGBColor(128, 134, 145);
const BLUE: RGBColor = RGBColor(42, 125, 212);
const GREEN: RGBColor = RGBColor(32, 158, 122);

/// One line per record; the validation's columns are empty where there was none.
pub fn csv(history: &[Record]) -> String {
    let names = |of: &dyn Fn(&Record) -> Option<&Figures>| -> BTreeSet<String> {
        history.iter().filter_map(of).flat_map(|figures| figures.keys().cloned()).collect()
    };
    let (terms, held) = (names(&|r| Some(&r.terms)), names(&|r| r.validation.as_ref()));
    let mut text = String::from("step,loss");
    for name in &terms {
        write!(text, ",{name}").expect(WRITES);
    }
    text.push_str(",gradient,rate");
    for name in &held {
        write!(text, ",holdout_{name}").expect(WRITES);
    }
    text.push('\n');
    for r in history {
        let terms = terms.iter().map(|name| r.terms.get(name).copied());
        let held = held.iter().map(|name| r.validation.as_ref()?.get(name).copied());
        let values = [Some(r.loss)].into_iter().chain(terms);
        let values = values.chain([Some(r.gradient), Some(r.rate)]).chain(held);
        text.push_str(&r.step.to_string());
        for value in values {
            text.push(',');
            if let Some(value) = value {
                write!(text, "{value}").expect(WRITES);
            }
        }
        text.push('\n');
    }
    text
}

/// A panel of figures on what is kept aside.
pub struct Panel {
    pub title: &'static str,
    /// What each line is called, and its figure.
    pub lines: &'static [(&'static str, &'static str)],
}

/// Loss over steps, and below it those panels for which there are figures.
pub fn svg(history: &[Record], panels: &[Panel]) -> String {
    let held = |name: &str| -> Vec<(f64, f64)> {
        let at = |r: &Record| Some((r.step as f64, *r.validation.as_ref()?.get(name)?));
        history.iter().filter_map(at).collect()
    };
    let loss = history.iter().map(|r| (r.step as f64, r.loss)).collect();
    let losses = vec![("training", GRAY, loss), ("kept aside", BLUE, held("loss"))];
    let mut all = vec![("Loss", losses)];
    for panel in panels.iter().filter(|p| !held(p.lines[0].1).is_empty()) {
        let colors = if panel.lines.len() == 1 { &[GREEN][..] } else { &[GRAY, GREEN] };
        let lines = panel.lines.iter().zip(colors);
        let lines = lines.map(|((label, name), color)| (*label, *color, held(name)));
        all.push((panel.title, lines.collect()));
    }
    let last = history.last().map_or(1.0, |r| r.step as f64);
    let mut svg = String::new();
    {
        let size = (WIDTH, HEIGHT * all.len() as u32);
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        let parts = area.split_evenly((all.len(), 1));
        let drawn = parts
            .iter()
            .zip(&all)
            .try_for_each(|(part, (title, lines))| panel(part, title, last, lines));
        drawn.and_then(|()| area.present()).expect("drawing into a string does not fail");
    }
    svg
}

const WRITES: &str = "a string takes everything";

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;
type Line = (&'static str, RGBColor, Vec<(f64, f64)>);

fn panel(area: &Area, title: &str, last: f64, lines: &[Line]) -> Drawn {
    let points = || lines.iter().flat_map(|(_, _, points)| points);
    let low = points().map(|p| p.1).fold(f64::MAX, f64::min).min(1.0);
    let high = points().map(|p| p.1).fold(low, f64::max);
    let margin = 0.05 * (high - low).max(1e-3);
    let mut chart = ChartBuilder::on(area)
        .caption(title, FONT.into_font().color(&GRAY))
        .margin(8)
        .margin_right(24)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..last, low - margin..high + margin)?;
    chart
        .configure_mesh()
        .axis_style(GRAY)
        .label_style(FONT.into_font().color(&GRAY))
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRAY.mix(0.25))
        .x_desc("step")
        .x_label_formatter(&|v| format!("{v:.0}"))
        .y_label_formatter(&|v| format!("{v:.2}"))
        .draw()?;
    for (name, color, points) in lines {
        let style = color.stroke_width(2);
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style).point_size(2))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    chart
        .configure_series_labels()
        .label_font(FONT.into_font().color(&GRAY))
        .border_style(TRANSPARENT)
        .draw()
}
