use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::scale::bounds;
use super::{Area, BELOW, Drawn, FONT, LINE, MAIN, Plot, finite_pairs};

impl Plot {
    pub(super) fn agreement(
        &self,
        area: &Area,
        points: &[[f64; 2]],
        bias: f64,
        limits: Option<[f64; 2]>,
    ) -> Drawn {
        let (left, right) = bounds(finite_pairs(points).map(|[mean, _]| mean));
        let lines = limits.iter().flatten().copied().chain([bias, 0.0]);
        let heights = finite_pairs(points).map(|[_, difference]| difference);
        let (low, high) = bounds(heights.chain(lines).filter(|v| v.is_finite()));
        let mut chart = self.axes(area, [left, right], [low, high])?;
        let zero = vec![(left, 0.0), (right, 0.0)];
        chart.draw_series([PathElement::new(zero, LINE.stroke_width(1))])?;
        let radius = if points.len() > 100 { 3 } else { 4 };
        let dot = |[x, y]: [f64; 2]| Circle::new((x, y), radius, MAIN.mix(0.55).filled());
        chart.draw_series(finite_pairs(points).map(dot))?;
        let named = [("+1.96 sd", limits.map(|l| l[1])), ("−1.96 sd", limits.map(|l| l[0]))];
        for (name, height) in named.into_iter().chain([("mean", Some(bias))]) {
            let Some(height) = height.filter(|h| h.is_finite()) else { continue };
            let width = if name == "mean" { 2 } else { 1 };
            let line = vec![(left, height), (right, height)];
            chart.draw_series([PathElement::new(line, BELOW.stroke_width(width))])?;
            let (x, y) = chart.backend_coord(&(right, height));
            let style = FONT.into_font().color(&BELOW).pos(Pos::new(HPos::Right, VPos::Bottom));
            area.draw(&Text::new(format!("{name} {height:.2}"), (x - 4, y - 3), style))?;
        }
        Ok(())
    }
}
