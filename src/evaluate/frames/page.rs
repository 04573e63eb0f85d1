//! What `report.html` of an evaluation on frames says.

use super::summary::error_curve;
use super::{LandmarkScore, MeasurementSummary, Outcome, Scores, Summary};
use crate::evaluate::facts;
use crate::html::{Cell, Column, Marks, Page, Plot, Table, Worst};
use crate::session::Session;

/// The page of a run: figures, plots, every frame, worst first.
pub fn page(session: &Session, summary: &Summary, outcomes: &[Outcome]) -> String {
    let scores = |o: &'_ Outcome| Some((o.case.name(), o.result.as_ref().ok()?.clone()));
    let all: Vec<(String, Scores)> = outcomes.iter().filter_map(scores).collect();
    let page = Page {
        title: format!("Frames with {}", summary.model),
        lead: format!(
            "{} frames with something to be found, {} with nothing, {} failed. What was not found \
             counts in the curves, in the failure rate and, as 0, in Dice; errors, distances and \
             differences are of what was found.",
            summary.n,
            summary.nothing_n,
            summary.failed.len()
        ),
        warnings: warnings(&all),
        figures: figures(summary),
        plots: plots(summary, &all),
        table: table(summary, &all),
        failures: summary.failed.iter().map(|f| (f.image.clone(), f.error.clone())).collect(),
        facts: facts(session),
    };
    page.to_html()
}

/// Those of frames with something to be found (that others are withheld is as it should be), as
/// many as can be read.
fn warnings(all: &[(String, Scores)]) -> Vec<String> {
    const MOST: usize = 20;
    let expected = all.iter().filter(|(_, scores)| scores.expected);
    let mut told: Vec<String> = expected
        .flat_map(|(name, scores)| scores.warnings.iter().map(move |w| format!("{name}: {w}")))
        .collect();
    let rest = told.len().saturating_sub(MOST);
    told.truncate(MOST);
    told.extend((rest > 0).then(|| format!("and {rest} more")));
    told
}

fn figures(s: &Summary) -> Vec<(String, String)> {
    let mut figures = Vec::new();
    let mut add = |name: &str, value: Option<f64>, digits: usize, unit: &str| {
        figures.extend(value.map(|v| (name.to_owned(), format!("{v:.digits$}{unit}"))));
    };
    let percent = |share: Option<f64>| share.map(|s| 100.0 * s);
    for (name, m) in &s.measurements {
        let unit = format!(" {}", m.unit);
        add(&format!("{name}: mean absolute difference"), m.mae, 2, &unit);
        add(&format!("{name}: bias"), m.bias, 2, &unit);
        add(&format!("{name}: SD of differences"), m.sd, 2, &unit);
        let missing = (m.missing > 0).then_some(m.missing as f64);
        add(&format!("{name}: not measured"), missing, 0, " frames");
    }
    add("Mean Dice", s.dice_mean, 4, "");
    add("Mean Dice of the mask", s.mask_dice_mean, 4, "");
    add("HD95", s.hd95_mm_mean, 2, " mm");
    add("HD95", s.hd95_px_mean, 2, " px");
    add("Landmark error, mean", s.errors.error_px_mean, 2, " px");
    add("Landmark error, mean", s.errors.error_mm_mean, 2, " mm");
    add("Area under the error curve", s.errors.auc, 3, "");
    add("Landmarks failed", percent(s.errors.failure_rate), 1, " %");
    add("Error over told SD", s.errors.sd_calibration, 2, "");
    add("View right", percent(s.accuracy), 1, " %");
    add("Found", percent(s.found_fraction), 1, " %");
    add("Nothing found where nothing is", percent(s.nothing_found_fraction), 1, " %");
    add("Nothing measured where nothing is", percent(s.nothing_measured_fraction), 1, " %");
    add("Networks, median", s.infer_ms_median, 1, " ms");
    add("End to end, median", s.total_ms_median, 1, " ms");
    figures
}

fn plots(summary: &Summary, all: &[(String, Scores)]) -> Vec<Plot> {
    let mut plots = Vec::new();
    for (name, measured) in &summary.measurements {
        plots.extend(agreement(name, measured, all));
    }
    if !summary.landmarks.is_empty() {
        plots.extend([curves(summary, all), errors(summary, all)]);
    }
    let dice: Vec<f64> = all.iter().filter_map(|(_, s)| Some(s.region?.dice)).collect();
    if !dice.is_empty() {
        plots.push(Plot {
            title: "Dice".into(),
            how_to_read: "Overlap with the truth per frame; 1 is best, 0 is not found.".into(),
            x: "Dice".into(),
            y: "frames".into(),
            marks: Marks::Histogram(dice),
        });
    }
    plots.extend(summary.confusion.as_ref().map(|confusion| {
        let none = "none".to_owned();
        Plot {
            title: "Views".into(),
            how_to_read: "Frames of each true view by the view that was seen; the diagonal is \
                          right. Darker is a larger share of the row."
                .into(),
            x: "seen".into(),
            y: "true".into(),
            marks: Marks::Matrix {
                rows: confusion.classes.clone(),
                columns: confusion.classes.iter().cloned().chain([none]).collect(),
                counts: confusion.counts.clone(),
            },
        }
    }));
    let stage = |name: &'static str| {
        let times = all.iter().filter_map(|(_, s)| s.stages_ms.get(name).copied()).collect();
        (name.to_string(), vec![times])
    };
    plots.push(Plot {
        title: "Time".into(),
        how_to_read: "One dot per frame; \"total\" is from the file to the findings.".into(),
        x: "ms".into(),
        y: String::new(),
        marks: Marks::Strips {
            series: vec![String::new()],
            groups: ["read", "preprocess", "infer", "decode", "total"].map(stage).into(),
        },
    });
    plots
}

fn agreement(name: &str, m: &MeasurementSummary, all: &[(String, Scores)]) -> Option<Plot> {
    let point = |(_, scores): &(String, Scores)| {
        let score = scores.measurements.get(name).filter(|s| s.unit == m.unit)?;
        Some([(score.value? + score.truth?) / 2.0, score.difference()?])
    };
    Some(Plot {
        title: format!("{name}: measured against true"),
        how_to_read:
            "Bland and Altman's plot, one dot per frame; between the outer lines lie 95 % \
                      of the differences, were they normal."
                .into(),
        x: format!("mean of measured and true ({})", m.unit),
        y: format!("measured − true ({})", m.unit),
        marks: Marks::Agreement {
            points: all.iter().filter_map(point).collect(),
            bias: m.bias?,
            limits: m.limits,
        },
    })
}

fn of_landmark<'a>(all: &'a [(String, Scores)], name: &str) -> Vec<&'a LandmarkScore> {
    all.iter().filter_map(|(_, s)| s.landmarks.get(name)).collect()
}

fn curves(summary: &Summary, all: &[(String, Scores)]) -> Plot {
    let limit = summary.failure_percent.unwrap_or_default();
    let line = |scores: &[&LandmarkScore]| {
        let curve = error_curve(scores, limit / 100.0);
        let steps = curve.map(|curve| curve.steps()).unwrap_or_default();
        steps.into_iter().map(|[error, share]| [100.0 * error, share]).collect::<Vec<_>>()
    };
    let each = summary.landmarks.keys().map(|name| (name.clone(), line(&of_landmark(all, name))));
    let every: Vec<&LandmarkScore> = all.iter().flat_map(|(_, s)| s.landmarks.values()).collect();
    Plot {
        title: "Cumulative error".into(),
        how_to_read: "Share of the landmarks whose error is at most so much; steep and high is \
                      good. What is missing to 1 at the right end has failed."
            .into(),
        x: "error in % of the frame's diagonal".into(),
        y: "share of the truths".into(),
        marks: Marks::Curves(each.chain([("all".to_owned(), line(&every))]).collect()),
    }
}

fn errors(summary: &Summary, all: &[(String, Scores)]) -> Plot {
    let mm = summary.errors.error_mm_mean.is_some();
    let error = |score: &&LandmarkScore| if mm { score.error?.mm } else { Some(score.error?.px) };
    let group = |(name, of): (&String, &super::LandmarkSummary)| {
        let values: Vec<f64> = of_landmark(all, name).iter().filter_map(error).collect();
        let lost = of.truths - of_landmark(all, name).iter().filter(|s| s.error.is_some()).count();
        let name = if lost == 0 { name.clone() } else { format!("{name} ({lost} lost)") };
        (name, vec![values])
    };
    Plot {
        title: "Error per landmark".into(),
        how_to_read: "One dot per frame where it was found; the box holds the middle half, its \
                      line is the median."
            .into(),
        x: format!("error ({})", if mm { "mm" } else { "px" }),
        y: String::new(),
        marks: Marks::Strips {
            series: vec![String::new()],
            groups: summary.landmarks.iter().map(group).collect(),
        },
    }
}

/// Columns that no frame has anything in are left out.
fn table(summary: &Summary, all: &[(String, Scores)]) -> Table {
    let mut columns = vec![Column { name: "frame".into(), decimals: 0 }];
    let mut rows: Vec<Vec<Cell>> =
        all.iter().map(|(name, _)| vec![Cell::Text(name.clone())]).collect();
    // What to sort by: Dice, else the landmarks, else a measurement.
    let (mut by_dice, mut by_error, mut by_difference) = (None, None, None);
    let mut add = |name: &str, decimals: usize, value: &dyn Fn(&Scores) -> f64| {
        columns.push(Column { name: name.into(), decimals });
        for (row, (_, scores)) in rows.iter_mut().zip(all) {
            row.push(Cell::Number(value(scores)));
        }
        columns.len() - 1
    };
    let or_nan = |v: Option<f64>| v.unwrap_or(f64::NAN);
    for (name, m) in &summary.measurements {
        let score = |s: &Scores| s.measurements.get(name).filter(|x| x.unit == m.unit).cloned();
        add(&format!("{name} {}", m.unit), 1, &|s| or_nan(score(s).and_then(|x| x.value)));
        add(&format!("{name} true"), 1, &|s| or_nan(score(s).and_then(|x| x.truth)));
        // Not measured is worst.
        let off =
            add(&format!("{name} off by"), 2, &|s| match score(s).filter(|x| x.truth.is_some()) {
                Some(x) => x.difference().map_or(f64::INFINITY, f64::abs),
                None => f64::NAN,
            });
        by_difference = by_difference.or(Some(Worst::Highest(off)));
    }
    if summary.dice_mean.is_some() {
        let dice = add("Dice", 4, &|s| or_nan(s.region.map(|r| r.dice)));
        by_dice = Some(Worst::Lowest(dice));
        let unit = if summary.hd95_mm_mean.is_some() { "mm" } else { "px" };
        let distance = |s: &Scores| s.region.filter(|r| r.mm == (unit == "mm"))?.hd95;
        add(&format!("HD95 {unit}"), 2, &|s| or_nan(distance(s)));
    }
    if summary.errors.truths > 0 {
        let lost = |s: &Scores| s.landmarks.values().filter(|l| l.error.is_none()).count() as f64;
        add("landmarks lost", 0, &lost);
        let mm = summary.errors.error_mm_mean.is_some();
        let name = if mm { "mean error mm" } else { "mean error px" };
        let error = |s: &Scores| match s.mean_error(|e| if mm { e.mm } else { Some(e.px) }) {
            None if !s.landmarks.is_empty() => f64::INFINITY,
            error => or_nan(error),
        };
        let error = add(name, 2, &error);
        by_error = Some(Worst::Highest(error));
    }
    if summary.nothing_n > 0 {
        add("found where nothing is", 0, &|s| {
            if s.expected { f64::NAN } else { f64::from(u8::from(s.anything)) }
        });
    }
    add("total ms", 1, &|s| or_nan(s.stages_ms.get("total").copied()));
    if summary.confusion.is_some() {
        for name in ["true view", "seen view"] {
            columns.push(Column { name: name.into(), decimals: 0 });
        }
        for (row, (_, scores)) in rows.iter_mut().zip(all) {
            let text = |view: &Option<String>| Cell::Text(view.clone().unwrap_or("–".into()));
            row.extend([text(&scores.view.truth), text(&scores.view.seen)]);
        }
    }
    Table { title: "Cases".into(), columns, rows, worst: by_dice.or(by_error).or(by_difference) }
}
