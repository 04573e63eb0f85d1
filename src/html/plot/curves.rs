use plotters::prelude::*;

use super::{Area, Drawn, LINE, MAIN, Plot};

/// Beside [`MAIN`], told apart by people who do not see red or green, too.
const COLORS: [RGBColor; 6] = [
    RGBColor(222, 108, 44),
    RGBColor(32, 158, 122),
    RGBColor(170, 100, 190),
    RGBColor(196, 150, 30),
    RGBColor(90, 170, 220),
    RGBColor(200, 80, 120),
];

/// More lines than there are colors are all drawn faint and have no name; the last, the one to
/// look at, always has its own.
pub(super) fn color(index: usize, lines: usize) -> Option<RGBColor> {
    match index + 1 == lines {
        true => Some(MAIN),
        false if lines <= COLORS.len() + 1 => Some(COLORS[index]),
        false => None,
    }
}

pub(super) fn legend(lines: &[(String, Vec<[f64; 2]>)]) -> impl Iterator<Item = (&str, RGBColor)> {
    let named = lines.iter().enumerate();
    named.filter_map(|(i, (name, _))| Some((name.as_str(), color(i, lines.len())?)))
}

impl Plot {
    pub(super) fn curves(&self, area: &Area, lines: &[(String, Vec<[f64; 2]>)]) -> Drawn {
        let ends = lines.iter().filter_map(|(_, line)| Some(line.last()?[0]));
        let right = ends.fold(0.0, f64::max);
        let right = if right > 0.0 { right } else { 1.0 };
        let mut chart = self.axes(area, [0.0, right], [0.0, 1.02])?;
        for (i, (_, line)) in lines.iter().enumerate() {
            let width = if i + 1 == lines.len() { 3 } else { 2 };
            let style = match color(i, lines.len()) {
                Some(color) => color.mix(1.0).stroke_width(width),
                None => LINE.mix(0.35).stroke_width(1),
            };
            let points: Vec<(f64, f64)> = line.iter().map(|[x, y]| (*x, *y)).collect();
            chart.draw_series([PathElement::new(points, style)])?;
        }
        Ok(())
    }
}
