//! The plots as SVG.

mod agreement;
mod curves;
mod matrix;
mod scale;
mod series;

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Marks, Plot, escape};
use scale::{Bins, bounds, number, quantile};

type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Axes<'a, 'b> = Result<
    ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>,
    DrawingAreaErrorKind<std::io::Error>,
>;

// Colors of middle lightness: legible on white and on black.
const LINE: RGBColor = RGBColor(128, 134, 145);
const SERIES: [RGBColor; 3] =
    [RGBColor(143, 152, 168), RGBColor(42, 125, 212), RGBColor(32, 158, 122)];
const MAIN: RGBColor = SERIES[1];
const BELOW: RGBColor = RGBColor(222, 108, 44);

const WIDTH: u32 = 560;
/// The SVG backend divides this by 1.24.
const FONT: (&str, u32) = ("sans-serif", 16);
/// A group's name is cut after so many characters.
const NAME: usize = 24;

impl Plot {
    /// Names and colors of what is drawn; empty where there is nothing to tell apart.
    pub(super) fn legend(&self) -> Vec<(String, String)> {
        let css = |c: RGBColor| format!("#{:02x}{:02x}{:02x}", c.0, c.1, c.2);
        match &self.marks {
            Marks::PairedScatter(points) => {
                let below = finite_pairs(points).filter(|[x, y]| y < x).count();
                let rest = finite_pairs(points).count() - below;
                vec![
                    (format!("on or above the diagonal: {rest}"), css(MAIN)),
                    (format!("below: {below}"), css(BELOW)),
                ]
            }
            Marks::Strips { series, .. } if series.len() > 1 => series
                .iter()
                .enumerate()
                .map(|(i, name)| (name.clone(), css(series_color(i, series.len()))))
                .collect(),
            Marks::Series(lines) if lines.len() > 1 => {
                curves::legend(lines).map(|(name, color)| (name.to_owned(), css(color))).collect()
            }
            Marks::Curves(lines) => {
                curves::legend(lines).map(|(name, color)| (name.to_owned(), css(color))).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The plot as an `<svg>` element that scales with the page.
    pub(super) fn to_svg(&self) -> String {
        let height = match &self.marks {
            Marks::PairedScatter(_) => 440,
            Marks::Histogram(_) | Marks::Curves(_) | Marks::Series(_) | Marks::Agreement { .. } => {
                340
            }
            Marks::Matrix { rows, .. } => matrix::height(rows.len()),
            Marks::Strips { series, groups } => {
                let group = 22 * series.len().max(1) + 12;
                (76 + group * groups.len()).max(140) as u32
            }
        };
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
            match &self.marks {
                Marks::PairedScatter(points) => self.scatter(&area, points),
                Marks::Strips { series, groups } => self.strips(&area, series.len(), groups),
                Marks::Histogram(values) => self.histogram(&area, values),
                Marks::Curves(lines) => self.curves(&area, lines),
                Marks::Series(series) => self.series(&area, series),
                Marks::Agreement { points, bias, limits } => {
                    self.agreement(&area, points, *bias, *limits)
                }
                Marks::Matrix { rows, columns, counts } => {
                    self.matrix(&area, rows, columns, counts)
                }
            }
            .and_then(|()| area.present())
            .expect("drawing into a string does not fail");
        }
        // A fixed size would not shrink with a small window.
        let sized = format!("<svg width=\"{WIDTH}\" height=\"{height}\"");
        let named = format!("<svg role=\"img\" aria-label=\"{}\"", escape(&self.title));
        svg.replacen(&sized, &named, 1)
    }

    /// Two axes of numbers with their lines and words.
    fn axes<'a, 'b>(&self, area: &'a Area<'b>, x: [f64; 2], y: [f64; 2]) -> Axes<'a, 'b> {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .margin_right(16)
            .x_label_area_size(48)
            .y_label_area_size(62)
            .build_cartesian_2d(x[0]..x[1], y[0]..y[1])?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(LINE.mix(0.3))
            .axis_style(LINE)
            .label_style(FONT)
            .x_labels(6)
            .y_labels(6)
            .x_label_formatter(&|v| number(*v, x[1] - x[0]))
            .y_label_formatter(&|v| number(*v, y[1] - y[0]))
            .x_desc(&self.x)
            .y_desc(&self.y)
            .draw()?;
        Ok(chart)
    }

    fn scatter(&self, area: &Area, points: &[[f64; 2]]) -> Drawn {
        let (low, high) = bounds(finite_pairs(points).flatten());
        let mut chart = self.axes(area, [low, high], [low, high])?;
        let diagonal = vec![(low, low), (high, high)];
        chart.draw_series([PathElement::new(diagonal, LINE.stroke_width(1))])?;
        let radius = if points.len() > 100 { 3 } else { 4 };
        chart.draw_series(finite_pairs(points).map(|[x, y]| {
            let color = if y < x { BELOW } else { MAIN };
            Circle::new((x, y), radius, color.mix(0.7).filled())
        }))?;
        Ok(())
    }

    fn histogram(&self, area: &Area, values: &[f64]) -> Drawn {
        let bins = Bins::of(values);
        let top = bins.counts.iter().copied().max().unwrap_or(0).max(1);
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .margin_right(16)
            .x_label_area_size(48)
            .y_label_area_size(62)
            .build_cartesian_2d(bins.start..bins.end(), 0..top + top.div_ceil(12))?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(LINE.mix(0.3))
            .axis_style(LINE)
            .label_style(FONT)
            .x_labels(8)
            .y_labels(5)
            .x_label_formatter(&|v| number(*v, bins.end() - bins.start))
            .x_desc(&self.x)
            .y_desc(&self.y)
            .draw()?;
        let filled = bins.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        chart.draw_series(filled.map(|(i, &count)| {
            let left = bins.start + i as f64 * bins.width;
            let corners = [(left, 0), (left + bins.width, count)];
            let mut bar = Rectangle::new(corners, MAIN.mix(0.8).filled());
            bar.set_margin(0, 0, 1, 1);
            bar
        }))?;
        Ok(())
    }

    fn strips(&self, area: &Area, series: usize, groups: &[(String, Vec<Vec<f64>>)]) -> Drawn {
        let all = groups.iter().flat_map(|(_, values)| values.iter().flatten().copied());
        let (low, high) = bounds(all.filter(|v| v.is_finite()));
        let count = groups.len().max(1) as f64;
        let names: Vec<String> = groups.iter().map(|(name, _)| shortened(name, NAME)).collect();
        let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .margin_right(16)
            .x_label_area_size(48)
            .y_label_area_size(16 + 8 * longest as u32)
            .build_cartesian_2d(low..high, 0.0..count)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(LINE.mix(0.3))
            .axis_style(LINE)
            .label_style(FONT)
            .x_labels(6)
            .y_labels(0)
            .x_label_formatter(&|v| number(*v, high - low))
            .x_desc(&self.x)
            .draw()?;
        let right_aligned = Pos::new(HPos::Right, VPos::Center);
        let style = TextStyle::from(FONT.into_font()).pos(right_aligned);
        for (g, ((_, values), name)) in groups.iter().zip(&names).enumerate() {
            let top = count - g as f64;
            if g > 0 {
                let edge = vec![(low, top), (high, top)];
                chart.draw_series([PathElement::new(edge, LINE.mix(0.3))])?;
            }
            let (x, y) = chart.backend_coord(&(low, top - 0.5));
            area.draw(&Text::new(name.as_str(), (x - 10, y), style.clone()))?;
            let lane = 0.8 / series.max(1) as f64;
            for (s, values) in values.iter().take(series.max(1)).enumerate() {
                let middle = top - 0.1 - lane * (s as f64 + 0.5);
                let color = series_color(s, series);
                let mut sorted: Vec<f64> =
                    values.iter().copied().filter(|v| v.is_finite()).collect();
                sorted.sort_by(f64::total_cmp);
                chart.draw_series(dots(&sorted, middle, lane, color))?;
                chart.draw_series(quartile_box(&sorted, middle, lane, color))?;
            }
        }
        Ok(())
    }
}

/// The last series is the one to look at: it has the main color where there are two or fewer.
fn series_color(index: usize, series: usize) -> RGBColor {
    if series <= 1 { MAIN } else { SERIES[index % SERIES.len()] }
}

/// Dots spread over the lane so that equal values stay apart; the golden ratio keeps neighbors
/// in value far from each other without a random number.
fn dots(
    sorted: &[f64],
    middle: f64,
    lane: f64,
    color: RGBColor,
) -> impl Iterator<Item = Circle<(f64, f64), i32>> {
    let (radius, opacity) = if sorted.len() > 60 { (2, 0.3) } else { (3, 0.4) };
    sorted.iter().enumerate().map(move |(i, value)| {
        let spread = (i as f64 * 0.618_034).fract() - 0.5;
        Circle::new((*value, middle + spread * lane * 0.55), radius, color.mix(opacity).filled())
    })
}

/// The box between the quartiles and a thick line at the median, of five values or more: fewer
/// are seen better as dots alone.
fn quartile_box(
    sorted: &[f64],
    middle: f64,
    lane: f64,
    color: RGBColor,
) -> Vec<PathElement<(f64, f64)>> {
    if sorted.len() < 5 {
        return Vec::new();
    }
    let [q1, q2, q3] = [0.25, 0.5, 0.75].map(|q| quantile(sorted, q));
    let (low, high) = (middle - lane * 0.36, middle + lane * 0.36);
    let outline = vec![(q1, low), (q1, high), (q3, high), (q3, low), (q1, low)];
    vec![
        PathElement::new(outline, color.stroke_width(2)),
        PathElement::new(vec![(q2, low), (q2, high)], color.stroke_width(4)),
    ]
}

fn finite_pairs(points: &[[f64; 2]]) -> impl Iterator<Item = [f64; 2]> {
    points.iter().copied().filter(|pair| pair.iter().all(|v| v.is_finite()))
}

fn shortened(name: &str, most: usize) -> String {
    if name.chars().count() <= most {
        return name.to_owned();
    }
    name.chars().take(most - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut() {
        assert_eq!(
            shortened("a name far too long for the margin", NAME),
            "a name far too long for…"
        );
        assert_eq!(shortened("short", 5), "short");
    }
}
