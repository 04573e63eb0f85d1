//! What `report.html` of a registration evaluation says.

use super::{Outcome, Summary, mean_hd95};
use crate::evaluate::facts;
use crate::html::{Cell, Column, Marks, Page, Plot, Table, Worst};
use crate::registration::RegistrationReport;
use crate::session::Session;

/// The page of a run: figures, plots, every case, worst first.
pub fn page(session: &Session, summary: &Summary, outcomes: &[Outcome]) -> String {
    let reports: Vec<(String, &RegistrationReport)> = outcomes
        .iter()
        .filter_map(|o| Some((o.row.names().join(" ← "), o.result.as_ref().ok()?)))
        .collect();
    let page = Page {
        title: format!("Registration with {}", summary.model),
        lead: format!(
            "{} pairs registered, {} failed. \"Before\" is after the initial alignment and \
             before any network; Dice is measured on each fixed image's own grid.",
            summary.n,
            summary.failed.len()
        ),
        warnings: warnings(&reports),
        figures: figures(summary),
        plots: plots(&reports),
        table: table(&reports),
        failures: summary
            .failed
            .iter()
            .map(|f| (format!("{} ← {}", f.fixed, f.moving), f.error.clone()))
            .collect(),
        facts: facts(session),
    };
    page.to_html()
}

fn warnings(reports: &[(String, &RegistrationReport)]) -> Vec<String> {
    let of_case = |(name, report): &(String, &RegistrationReport)| {
        report.measures.warnings.iter().map(|w| format!("{name}: {w}")).collect::<Vec<_>>()
    };
    reports.iter().flat_map(of_case).collect()
}

fn figures(s: &Summary) -> Vec<(String, String)> {
    let number = |v: Option<f64>, digits: usize, unit: &str| {
        v.map_or("–".to_string(), |v| format!("{v:.digits$}{unit}"))
    };
    let mut figures = vec![
        ("Mean Dice before".to_string(), number(s.dice_before_mean, 3, "")),
        ("Mean Dice after".to_string(), number(s.dice_after_mean, 3, "")),
        ("SD of Dice after".to_string(), number(s.dice_after_sd, 3, "")),
    ];
    for (label, dice) in &s.dice_after_per_label {
        figures.push((format!("Dice of label {label}"), format!("{dice:.3}")));
    }
    figures.extend([
        ("Mean Jaccard after".to_string(), number(s.jaccard_after_mean, 3, "")),
        ("HD95 after".to_string(), number(s.hd95_after_mm_mean, 2, " mm")),
        ("Folding".to_string(), number(s.folding_percent_mean, 3, " %")),
        ("SD of log Jacobian".to_string(), number(s.sd_log_jacobian_mean, 3, "")),
        ("NCC before".to_string(), number(s.ncc_before_mean, 3, "")),
        ("NCC after".to_string(), number(s.ncc_after_mean, 3, "")),
        ("Networks, median".to_string(), number(s.infer_ms_median, 0, " ms")),
        ("End to end, median".to_string(), number(s.total_ms_median, 0, " ms")),
    ]);
    figures
}

fn plots(reports: &[(String, &RegistrationReport)]) -> Vec<Plot> {
    let each = |figure: &dyn Fn(&RegistrationReport) -> Option<f64>| -> Vec<f64> {
        reports.iter().filter_map(|(_, r)| figure(r)).collect()
    };
    let mut plots = Vec::new();
    let dice: Vec<_> = reports.iter().filter_map(|(_, r)| r.measures.dice.as_ref()).collect();
    if !dice.is_empty() {
        let pairs = dice.iter().filter_map(|d| Some([d.mean_before?, d.mean_after?])).collect();
        plots.push(Plot {
            title: "Dice before and after".into(),
            how_to_read: "One dot per pair; above the diagonal registration helped.".into(),
            x: "mean Dice before".into(),
            y: "mean Dice after".into(),
            marks: Marks::PairedScatter(pairs),
        });
        let mut labels: Vec<i32> = dice.iter().flat_map(|d| d.after.keys().copied()).collect();
        labels.sort_unstable();
        labels.dedup();
        let values = |label: i32| {
            let before = dice.iter().filter_map(|d| d.before.get(&label).copied()).collect();
            vec![before, dice.iter().filter_map(|d| d.after.get(&label).copied()).collect()]
        };
        plots.push(Plot {
            title: "Dice per label".into(),
            how_to_read: "One dot per pair; the box holds the middle half, its line is the median."
                .into(),
            x: "Dice".into(),
            y: String::new(),
            marks: Marks::Strips {
                series: vec!["before".into(), "after".into()],
                groups: labels.iter().map(|l| (format!("label {l}"), values(*l))).collect(),
            },
        });
    }
    plots.push(Plot {
        title: "Folding".into(),
        how_to_read: "Share of voxels where space is turned inside out; 0 is best.".into(),
        x: "folding in % of voxels".into(),
        y: "pairs".into(),
        marks: Marks::Histogram(each(&|r| Some(r.measures.folding_percent))),
    });
    let stage = |name: &'static str| each(&|r| r.stages_ms.get(name).copied());
    plots.push(Plot {
        title: "Time".into(),
        how_to_read: "One dot per pair; \"total\" includes reading and measuring.".into(),
        x: "ms".into(),
        y: String::new(),
        marks: Marks::Strips {
            series: vec![String::new()],
            groups: ["read", "preprocess", "infer", "compose", "warp", "total"]
                .map(|name| (name.to_string(), vec![stage(name)]))
                .into(),
        },
    });
    plots
}

fn table(reports: &[(String, &RegistrationReport)]) -> Table {
    const COLUMNS: [(&str, usize); 8] = [
        ("pair", 0),
        ("Dice before", 3),
        ("Dice after", 3),
        ("HD95 mm", 2),
        ("folding %", 3),
        ("NCC before", 3),
        ("NCC after", 3),
        ("total ms", 0),
    ];
    let row = |(name, r): &(String, &RegistrationReport)| {
        let m = &r.measures;
        let dice = m.dice.as_ref();
        let numbers = [
            dice.and_then(|d| d.mean_before),
            dice.and_then(|d| d.mean_after),
            mean_hd95(r),
            Some(m.folding_percent),
            m.ncc.before,
            m.ncc.after,
            r.stages_ms.get("total").copied(),
        ];
        let numbers = numbers.map(|v| Cell::Number(v.unwrap_or(f64::NAN)));
        [Cell::Text(name.clone())].into_iter().chain(numbers).collect()
    };
    let labeled = reports.iter().any(|(_, r)| r.measures.dice.is_some());
    Table {
        title: "Cases".into(),
        columns: COLUMNS.map(|(name, decimals)| Column { name: name.into(), decimals }).into(),
        rows: reports.iter().map(row).collect(),
        worst: Some(Worst::Lowest(if labeled { 2 } else { 6 })),
    }
}
