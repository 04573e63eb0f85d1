//! The course of a training: a table and a plot.

use std::fmt::Write;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::checkpoint::{Record, Validation};

const WIDTH: u32 = 760;
const HEIGHT: u32 = 560;
const FONT: (&str, u32) = ("sans-serif", 16);
// Of middle lightness: legible on white and on black.
const GREY: RGBColor = RGBColor(128, 134, 145);
const BLUE: RGBColor = RGBColor(42, 125, 212);
const GREEN: RGBColor = RGBColor(32, 158, 122);

/// One line per record; the validation's columns are empty where there was none.
pub fn csv(history: &[Record]) -> String {
    let mut text = String::from(
        "step,loss,similarity,smoothness,dice_loss,folding_loss,affine_loss,gradient,rate,\
         holdout_loss,holdout_dice_before,holdout_dice,holdout_folding_percent\n",
    );
    for r in history {
        let terms = [r.loss, r.similarity, r.smoothness, r.dice_loss, r.folding_loss];
        let rest = [r.affine_loss, r.gradient, r.rate];
        let held = r.validation.as_ref().map_or([None; 4], |v| {
            [v.loss, v.dice_before, v.dice_after, v.folding_percent].map(Some)
        });
        text.push_str(&r.step.to_string());
        for value in terms.into_iter().chain(rest).map(Some).chain(held) {
            text.push(',');
            if let Some(value) = value {
                write!(text, "{value}").expect("a string takes everything");
            }
        }
        text.push('\n');
    }
    text
}

/// Loss over steps, and below it the Dice on the subjects kept aside, where there are labels.
pub fn svg(history: &[Record]) -> String {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT)).into_drawing_area();
        draw(&area, history)
            .and_then(|()| area.present())
            .expect("drawing into a string does not fail");
    }
    svg
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;
type Line = (&'static str, RGBColor, Vec<(f64, f64)>);

fn draw(area: &Area, history: &[Record]) -> Drawn {
    let held = |value: fn(&Validation) -> f64| {
        let at = |r: &Record| Some((r.step as f64, value(r.validation.as_ref()?)));
        history.iter().filter_map(at).collect::<Vec<_>>()
    };
    let loss = history.iter().map(|r| (r.step as f64, r.loss)).collect();
    let losses = [("training", GREY, loss), ("subjects kept aside", BLUE, held(|v| v.loss))];
    let overlap = [
        ("before registration", GREY, held(|v| v.dice_before)),
        ("after registration", GREEN, held(|v| v.dice_after)),
    ];
    let last = history.last().map_or(1.0, |r| r.step as f64);
    // Without labels every Dice is 0.
    if overlap[1].2.iter().all(|(_, dice)| *dice == 0.0) {
        return panel(area, "Loss", last, &losses);
    }
    let (upper, lower) = area.split_vertically(HEIGHT / 2);
    panel(&upper, "Loss", last, &losses)?;
    panel(&lower, "Dice of labels, subjects kept aside", last, &overlap)
}

fn panel(area: &Area, title: &str, last: f64, lines: &[Line]) -> Drawn {
    let points = || lines.iter().flat_map(|(_, _, points)| points);
    let low = points().map(|p| p.1).fold(f64::MAX, f64::min).min(1.0);
    let high = points().map(|p| p.1).fold(low, f64::max);
    let margin = 0.05 * (high - low).max(1e-3);
    let mut chart = ChartBuilder::on(area)
        .caption(title, FONT.into_font().color(&GREY))
        .margin(8)
        .margin_right(24)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..last, low - margin..high + margin)?;
    chart
        .configure_mesh()
        .axis_style(GREY)
        .label_style(FONT.into_font().color(&GREY))
        .light_line_style(TRANSPARENT)
        .bold_line_style(GREY.mix(0.25))
        .x_desc("step")
        .x_label_formatter(&|v| format!("{v:.0}"))
        .y_label_formatter(&|v| format!("{v:.2}"))
        .draw()?;
    for (name, colour, points) in lines {
        let style = colour.stroke_width(2);
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style).point_size(2))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    chart
        .configure_series_labels()
        .label_font(FONT.into_font().color(&GREY))
        .border_style(TRANSPARENT)
        .draw()
}
