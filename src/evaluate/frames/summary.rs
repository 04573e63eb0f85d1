use std::collections::BTreeMap;

use serde::Serialize;

use super::{LandmarkScore, Outcome, RegionScore, Scores};
use crate::metrics::statistics::{mean, median, sd};
use crate::metrics::{Confusion, ErrorCurve, FrameError, agreement};
use crate::package::Task;
use crate::session::Session;

/// `report.json` of `evaluate`, frames: what applies. docs/evaluation.md defines each figure.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    pub task: Task,
    pub model: String,
    /// Frames with something to be found that gave a result; those that failed are in `failed`.
    pub n: usize,
    /// Of all landmarks and outlines that have a truth, the share that was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found_fraction: Option<f64>,
    /// Frames with nothing to be found.
    pub nothing_n: usize,
    /// Of them, the share in which nothing was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nothing_found_fraction: Option<f64>,
    /// Of them, the share without a value of any measurement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nothing_measured_fraction: Option<f64>,
    /// Over all landmarks of all frames.
    #[serde(flatten)]
    pub errors: LandmarkSummary,
    /// The error, in percent of the frame's diagonal, beyond which a landmark has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_percent: Option<f64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub landmarks: BTreeMap<String, LandmarkSummary>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub measurements: BTreeMap<String, MeasurementSummary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dice_mean: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dice_sd: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask_dice_mean: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hd95_mm_mean: Option<f64>,
    /// Of frames without a pixel size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hd95_px_mean: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confusion: Option<Confusion>,
    pub infer_ms_median: Option<f64>,
    pub total_ms_median: Option<f64>,
    pub threads: usize,
    pub simd: &'static str,
    pub failed: Vec<Failure>,
}

/// Of the truths of one landmark, or of all.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct LandmarkSummary {
    /// Truths.
    #[serde(skip_serializing_if = "is_zero")]
    pub truths: usize,
    /// Of those that were found, as the two below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_px_mean: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_px_median: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_mm_mean: Option<f64>,
    /// As a share of the frame's diagonal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_normalized_mean: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auc: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_rate: Option<f64>,
    /// Root mean square of the errors over that of the standard deviations that were told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sd_calibration: Option<f64>,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MeasurementSummary {
    /// Frames with a value and a truth.
    pub n: usize,
    /// Frames with a truth and no value.
    pub missing: usize,
    pub mae: Option<f64>,
    pub bias: Option<f64>,
    /// Sample standard deviation of the differences.
    pub sd: Option<f64>,
    /// bias ± 1.96 sd.
    pub limits: Option<[f64; 2]>,
    pub unit: &'static str,
    /// Root mean square of the differences over that of the standard deviations that were told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sd_calibration: Option<f64>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    pub image: String,
    pub frame: usize,
    pub error: String,
}

/// Sums up the outcomes of a run. A landmark has failed where its error is beyond `limit`, a share
/// of the frame's diagonal.
pub fn summarize(session: &Session, outcomes: &[Outcome], limit: f64) -> Summary {
    let manifest = &session.package().manifest;
    let all: Vec<&Scores> = outcomes.iter().filter_map(|o| o.result.as_ref().ok()).collect();
    let with: Vec<&Scores> = all.iter().copied().filter(|s| s.expected).collect();
    let without: Vec<&Scores> = all.iter().copied().filter(|s| !s.expected).collect();
    let share = |counts: &dyn Fn(&Scores) -> bool| {
        mean(&without.iter().map(|s| f64::from(u8::from(counts(s)))).collect::<Vec<_>>())
    };
    let scores = |name: &str| -> Vec<&LandmarkScore> {
        with.iter().filter_map(|s| s.landmarks.get(name)).collect()
    };
    let landmarks = manifest.landmarks().into_iter().filter(|name| !scores(name).is_empty());
    let landmarks: BTreeMap<_, _> =
        landmarks.map(|name| (name.to_owned(), of_landmarks(&scores(name), limit))).collect();
    let every: Vec<&LandmarkScore> = with.iter().flat_map(|s| s.landmarks.values()).collect();
    let measured = manifest.measurements.iter().map(|m| &m.name);
    let regions: Vec<RegionScore> = with.iter().filter_map(|s| s.region).collect();
    let each = |figure: &dyn Fn(&RegionScore) -> Option<f64>| -> Vec<f64> {
        regions.iter().filter_map(figure).collect()
    };
    let dice = each(&|r| Some(r.dice));
    let ms =
        |stage: &str| median(all.iter().filter_map(|s| s.stages_ms.get(stage).copied()).collect());
    let confusion = confusion(&manifest.classes(), &with);
    Summary {
        task: manifest.task,
        model: manifest.name.clone(),
        n: with.len(),
        found_fraction: found_fraction(&every, &regions),
        nothing_n: without.len(),
        nothing_found_fraction: share(&|s| !s.anything),
        nothing_measured_fraction: (!manifest.measurements.is_empty())
            .then(|| share(&|s| s.measurements.values().all(|m| m.value.is_none())))
            .flatten(),
        failure_percent: (!every.is_empty()).then_some(100.0 * limit),
        errors: of_landmarks(&every, limit),
        landmarks,
        measurements: measured
            .filter_map(|m| Some((m.clone(), of_measurement(m, &with)?)))
            .collect(),
        dice_mean: mean(&dice),
        dice_sd: sd(&dice),
        mask_dice_mean: mean(&each(&|r| r.mask_dice)),
        hd95_mm_mean: mean(&each(&|r| r.hd95.filter(|_| r.mm))),
        hd95_px_mean: mean(&each(&|r| r.hd95.filter(|_| !r.mm))),
        accuracy: confusion.as_ref().and_then(Confusion::accuracy),
        confusion,
        infer_ms_median: ms("infer"),
        total_ms_median: ms("total"),
        threads: session.threads(),
        simd: session.simd().level().name(),
        failed: outcomes.iter().filter_map(failure).collect(),
    }
}

fn found_fraction(landmarks: &[&LandmarkScore], regions: &[RegionScore]) -> Option<f64> {
    let found = landmarks.iter().map(|l| l.error.is_some()).chain(regions.iter().map(|r| r.found));
    mean(&found.map(|found| f64::from(u8::from(found))).collect::<Vec<_>>())
}

fn of_landmarks(scores: &[&LandmarkScore], limit: f64) -> LandmarkSummary {
    let each = |figure: &dyn Fn(FrameError) -> Option<f64>| -> Vec<f64> {
        scores.iter().filter_map(|s| figure(s.error?)).collect()
    };
    let curve = error_curve(scores, limit);
    let calibration = scores.iter().filter_map(|s| {
        let [x, y] = s.sd_px?;
        Some((s.error?.px, x.hypot(y)))
    });
    LandmarkSummary {
        truths: scores.len(),
        error_px_mean: mean(&each(&|e| Some(e.px))),
        error_px_median: median(each(&|e| Some(e.px))),
        error_mm_mean: mean(&each(&|e| e.mm)),
        error_normalized_mean: mean(&each(&|e| Some(e.normalized))),
        auc: curve.as_ref().map(ErrorCurve::auc),
        failure_rate: curve.as_ref().map(ErrorCurve::failure_rate),
        sd_calibration: ratio(calibration),
    }
}

/// Over shares of the frames' diagonals, up to `limit`.
pub(super) fn error_curve(scores: &[&LandmarkScore], limit: f64) -> Option<ErrorCurve> {
    let error = |s: &&LandmarkScore| s.error.map_or(f64::INFINITY, |e| e.normalized);
    ErrorCurve::new(scores.iter().map(error), limit)
}

/// Root mean square of the first over that of the second.
fn ratio(pairs: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let sums = pairs.fold([0.0, 0.0], |[a, b], (error, sd)| [a + error * error, b + sd * sd]);
    (sums[1] > 0.0).then(|| (sums[0] / sums[1]).sqrt())
}

fn of_measurement(name: &str, scores: &[&Scores]) -> Option<MeasurementSummary> {
    let with_truth = || {
        let of_name = scores.iter().filter_map(|s| s.measurements.get(name));
        of_name.filter(|m| m.truth.is_some())
    };
    // Where some frames have a pixel size, the others, in pixels, do not count.
    let in_pixels = with_truth().all(|m| m.unit.starts_with("px"));
    let counted = || with_truth().filter(|m| m.unit.starts_with("px") == in_pixels);
    let unit = counted().next()?.unit;
    let differences: Vec<f64> = counted().filter_map(|m| m.difference()).collect();
    let found = agreement(&differences);
    Some(MeasurementSummary {
        n: differences.len(),
        missing: counted().count() - differences.len(),
        mae: found.map(|a| a.mae),
        bias: found.map(|a| a.bias),
        sd: found.and_then(|a| a.sd),
        limits: found.and_then(|a| a.limits),
        unit,
        sd_calibration: ratio(counted().filter_map(|m| Some((m.difference()?, m.sd?)))),
    })
}

fn confusion(classes: &[&str], scores: &[&Scores]) -> Option<Confusion> {
    let names: Vec<String> = classes.iter().map(ToString::to_string).collect();
    let mut confusion = Confusion::new(&names);
    let mut views = scores.iter().map(|s| &s.view).filter(|view| view.truth.is_some()).peekable();
    views.peek()?;
    for view in views {
        confusion.add(view.truth.as_deref()?, view.seen.as_deref());
    }
    Some(confusion)
}

fn failure(outcome: &Outcome) -> Option<Failure> {
    let error = outcome.result.as_ref().err()?.clone();
    let case = &outcome.case;
    Some(Failure { image: case.image.display().to_string(), frame: case.frame, error })
}
