use plotters::prelude::*;

use super::curves::color;
use super::scale::bounds;
use super::{Area, Drawn, MAIN, Plot, finite_pairs};

/// More dots than this stand for themselves: a line through them would be a smear.
const LINE_UP_TO: usize = 120;

impl Plot {
    pub(super) fn series(&self, area: &Area, series: &[(String, Vec<[f64; 2]>)]) -> Drawn {
        let all = || series.iter().flat_map(|(_, points)| finite_pairs(points));
        let (left, right) = bounds(all().map(|[x, _]| x));
        // From zero: a ripple must not look like a cliff.
        let (low, high) = bounds(all().map(|[_, y]| y).chain([0.0]));
        let mut chart = self.axes(area, [left, right], [low, high])?;
        for (i, (_, points)) in series.iter().enumerate() {
            let color = color(i, series.len()).unwrap_or(MAIN);
            let points: Vec<(f64, f64)> = finite_pairs(points).map(|[x, y]| (x, y)).collect();
            let few = points.len() <= LINE_UP_TO;
            let (radius, opacity) = if few { (3, 0.9) } else { (2, 0.4) };
            let dot = |at: &(f64, f64)| Circle::new(*at, radius, color.mix(opacity).filled());
            chart.draw_series(points.iter().map(dot))?;
            if few {
                chart.draw_series([PathElement::new(points, color.mix(0.6).stroke_width(2))])?;
            }
        }
        Ok(())
    }
}
