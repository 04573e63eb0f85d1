//! Many pairs of volumes from a CSV: the cases, what came out of each, and the sum.

mod cases;
mod page;

use std::collections::BTreeMap;

use serde::Serialize;

pub use cases::{CaseRow, read_cases};
pub use page::page;

use crate::metrics::statistics::{mean, median, sd};
use crate::registration::RegistrationReport;
use crate::session::Session;

/// One row of `per_case.csv`: a pair's report, or why there is none.
pub struct Outcome {
    pub row: CaseRow,
    pub result: Result<RegistrationReport, String>,
}

/// `report.json` of `evaluate`, registration. Means are over the cases that have the figure.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    pub task: &'static str,
    pub model: String,
    /// Cases that were registered; those that failed are in `failed`.
    pub n: usize,
    pub dice_before_mean: Option<f64>,
    pub dice_after_mean: Option<f64>,
    /// Sample standard deviation over cases.
    pub dice_after_sd: Option<f64>,
    /// Mean Dice per label after registration.
    pub dice_after_per_label: BTreeMap<i32, f64>,
    pub jaccard_after_mean: Option<f64>,
    pub hd95_after_mm_mean: Option<f64>,
    pub folding_percent_mean: Option<f64>,
    pub sd_log_jacobian_mean: Option<f64>,
    pub ncc_before_mean: Option<f64>,
    pub ncc_after_mean: Option<f64>,
    pub infer_ms_median: Option<f64>,
    pub total_ms_median: Option<f64>,
    pub threads: usize,
    pub simd: &'static str,
    pub failed: Vec<Failure>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    pub fixed: String,
    pub moving: String,
    pub error: String,
}

/// Sums up the outcomes of a run.
pub fn summarize(model: &str, session: &Session, outcomes: &[Outcome]) -> Summary {
    let reports: Vec<&RegistrationReport> =
        outcomes.iter().filter_map(|o| o.result.as_ref().ok()).collect();
    let each = |figure: &dyn Fn(&RegistrationReport) -> Option<f64>| -> Vec<f64> {
        reports.iter().filter_map(|r| figure(r)).collect()
    };
    let dice = each(&|r| r.measures.dice.as_ref()?.mean_after);
    let mut per_label: BTreeMap<i32, Vec<f64>> = BTreeMap::new();
    for dice in reports.iter().filter_map(|r| r.measures.dice.as_ref()) {
        for (label, value) in &dice.after {
            per_label.entry(*label).or_default().push(*value);
        }
    }
    Summary {
        task: "registration",
        model: model.to_string(),
        n: reports.len(),
        dice_before_mean: mean(&each(&|r| r.measures.dice.as_ref()?.mean_before)),
        dice_after_mean: mean(&dice),
        dice_after_sd: sd(&dice),
        dice_after_per_label: per_label
            .into_iter()
            .filter_map(|(label, values)| Some((label, mean(&values)?)))
            .collect(),
        jaccard_after_mean: mean(&each(&|r| r.measures.jaccard.as_ref()?.after)),
        hd95_after_mm_mean: mean(&each(&mean_hd95)),
        folding_percent_mean: mean(&each(&|r| Some(r.measures.folding_percent))),
        sd_log_jacobian_mean: mean(&each(&|r| Some(r.measures.sd_log_jacobian))),
        ncc_before_mean: mean(&each(&|r| r.measures.ncc.before)),
        ncc_after_mean: mean(&each(&|r| r.measures.ncc.after)),
        infer_ms_median: median(each(&|r| r.stages_ms.get("infer").copied())),
        total_ms_median: median(each(&|r| r.stages_ms.get("total").copied())),
        threads: session.threads(),
        simd: session.simd().level().name(),
        failed: outcomes.iter().filter_map(failure).collect(),
    }
}

fn failure(outcome: &Outcome) -> Option<Failure> {
    let error = outcome.result.as_ref().err()?.clone();
    let text = |path: &std::path::Path| path.display().to_string();
    Some(Failure { fixed: text(&outcome.row.fixed), moving: text(&outcome.row.moving), error })
}

/// Mean over the labels that both sides have.
fn mean_hd95(report: &RegistrationReport) -> Option<f64> {
    let per_label = &report.measures.hd95_mm.as_ref()?.after;
    mean(&per_label.values().copied().flatten().collect::<Vec<_>>())
}

/// `per_case.csv`, one line per case in the order given.
///
/// # Errors
/// Those of the writer.
pub fn write_per_case(
    writer: &mut dyn std::io::Write,
    outcomes: &[Outcome],
) -> std::io::Result<()> {
    let mut csv = csv::Writer::from_writer(writer);
    csv.write_record([
        "fixed",
        "moving",
        "dice_before",
        "dice_after",
        "hd95_after_mm",
        "folding_percent",
        "sd_log_jacobian",
        "ncc_before",
        "ncc_after",
        "coverage_percent",
        "max_displacement_mm",
        "inverse_consistency_mm",
        "infer_ms",
        "total_ms",
        "error",
    ])?;
    let text = |v: Option<f64>| v.map_or(String::new(), |v| format!("{v:.6}"));
    for outcome in outcomes {
        let report = outcome.result.as_ref().ok();
        let figure = |f: &dyn Fn(&RegistrationReport) -> Option<f64>| text(report.and_then(f));
        csv.write_record([
            outcome.row.fixed.display().to_string(),
            outcome.row.moving.display().to_string(),
            figure(&|r| r.measures.dice.as_ref()?.mean_before),
            figure(&|r| r.measures.dice.as_ref()?.mean_after),
            figure(&mean_hd95),
            figure(&|r| Some(r.measures.folding_percent)),
            figure(&|r| Some(r.measures.sd_log_jacobian)),
            figure(&|r| r.measures.ncc.before),
            figure(&|r| r.measures.ncc.after),
            figure(&|r| Some(r.measures.coverage_percent)),
            figure(&|r| Some(r.measures.max_displacement_mm)),
            figure(&|r| Some(r.measures.inverse_consistency_mm)),
            figure(&|r| r.stages_ms.get("infer").copied()),
            figure(&|r| r.stages_ms.get("total").copied()),
            outcome.result.as_ref().err().cloned().unwrap_or_default(),
        ])?;
    }
    csv.flush()
}
