use std::collections::BTreeMap;

use super::expected::{Expected, Region};
use crate::Result;
use crate::image::{Ellipse, Frame, LabelMap};
use crate::landmarks::Findings;
use crate::metrics::{FrameError, dice, frame_error, hd95};

/// How well one frame's findings match its truth.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// Of the landmarks that have a truth, by name.
    pub landmarks: BTreeMap<String, LandmarkScore>,
    /// Of every measurement that was taken or has a truth, by name.
    pub measurements: BTreeMap<String, MeasurementScore>,
    pub region: Option<RegionScore>,
    pub view: ViewScore,
    /// Whether anything was found: a landmark or a mask.
    pub anything: bool,
    /// Whether the frame has a truth; without it there is nothing to be found.
    pub expected: bool,
    pub warnings: Vec<String>,
    pub stages_ms: BTreeMap<&'static str, f64>,
}

/// `None` where it was not found.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LandmarkScore {
    pub error: Option<FrameError>,
    /// The standard deviation that was told, along x and y, in pixels.
    pub sd_px: Option<[f64; 2]>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct MeasurementScore {
    pub value: Option<f64>,
    /// As it was told.
    pub sd: Option<f64>,
    pub unit: &'static str,
    /// In that unit; `None` where it is not known.
    pub truth: Option<f64>,
}

impl MeasurementScore {
    /// Measured − true.
    pub fn difference(&self) -> Option<f64> {
        Some(self.value? - self.truth?)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RegionScore {
    pub found: bool,
    /// Of the ellipse where the truth is one in millimeters, else of the mask; 0 where nothing was
    /// found.
    pub dice: f64,
    /// Of the mask's own pixels; `None` without a mask.
    pub mask_dice: Option<f64>,
    /// Between the outlines of what `dice` compares; in millimeters where `mm`, else in pixels.
    pub hd95: Option<f64>,
    pub mm: bool,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct ViewScore {
    pub truth: Option<String>,
    /// The likeliest class, whether its view counts or not.
    pub seen: Option<String>,
}

impl Scores {
    /// Mean over the landmarks that were found.
    pub fn mean_error(&self, figure: impl Fn(&FrameError) -> Option<f64>) -> Option<f64> {
        let errors = self.landmarks.values().filter_map(|l| figure(&l.error?));
        crate::metrics::statistics::mean(&errors.collect::<Vec<_>>())
    }
}

/// Compares the findings in a frame of `size` (width, height) with what is `expected`; `None` where
/// there is nothing to be found.
///
/// # Errors
/// None in practice: those of metrics of maps on different grids.
pub fn score(findings: &Findings, expected: Option<&Expected>, size: [usize; 2]) -> Result<Scores> {
    let seen = findings.view.as_ref().map(|view| view.name.clone());
    let mut scores = Scores {
        landmarks: BTreeMap::new(),
        measurements: measured(findings),
        region: None,
        view: ViewScore { seen, truth: None },
        anything: findings.anything(),
        expected: expected.is_some(),
        warnings: findings.warnings.clone(),
        stages_ms: BTreeMap::new(),
    };
    let Some(expected) = expected else { return Ok(scores) };
    for (name, truth) in &expected.landmarks {
        let found = findings.landmarks.iter().find(|l| l.name == *name && l.place.is_some());
        let place = found.and_then(|l| l.place);
        let error = place.map(|at| frame_error(at, *truth, size, findings.mm_per_px));
        let sd_px = found.and_then(|l| l.sd);
        scores.landmarks.insert(name.clone(), LandmarkScore { error, sd_px });
    }
    for (name, (truth, unit)) in &expected.measurements {
        let missing = MeasurementScore { value: None, sd: None, unit, truth: None };
        let score = scores.measurements.entry(name.clone()).or_insert(missing);
        // Without a pixel size, millimeters have nothing to be compared with.
        score.truth = (score.unit == *unit).then_some(*truth);
    }
    scores.region = expected.region.as_ref().map(|r| region(findings, r, size)).transpose()?;
    scores.view.truth = expected.view.clone();
    Ok(scores)
}

fn measured(findings: &Findings) -> BTreeMap<String, MeasurementScore> {
    let score = |m: &crate::landmarks::Measured| {
        let score = MeasurementScore { value: m.value, sd: m.sd, unit: m.unit, truth: None };
        (m.name.clone(), score)
    };
    findings.measurements.iter().map(score).collect()
}

fn region(findings: &Findings, truth: &Region, size: [usize; 2]) -> Result<RegionScore> {
    let map = |pixels: Frame<u8>| LabelMap::from(&Frame { spacing: findings.mm_per_px, ..pixels });
    let expected = map(truth.ellipse.filled(size));
    let overlap = |found: &LabelMap| -> Result<f64> {
        Ok(dice(found, &expected)?.get(&1).copied().unwrap_or(0.0))
    };
    let mask = truth.mask.as_ref().map(|name| findings.masks.iter().find(|m| m.name == *name));
    let pixels = mask.map(|mask| match mask {
        Some(mask) => map(mask.pixels(size)),
        None => map(Frame::filled(size[0], size[1], 0)),
    });
    let ellipse = match mask {
        Some(mask) => mask.and_then(|mask| mask.ellipse),
        None => of_ends(findings, truth),
    };
    let mask_dice = pixels.as_ref().map(overlap).transpose()?;
    let found = if truth.as_ellipse { ellipse.map(|e| map(e.filled(size))) } else { pixels };
    let (mut dice, mut distance) = (0.0, None);
    if let Some(found) = &found {
        dice = overlap(found)?;
        distance = hd95(found, &expected)?.get(&1).copied().flatten();
    }
    let mm = findings.mm_per_px.is_some();
    Ok(RegionScore { found: ellipse.is_some(), dice, mask_dice, hd95: distance, mm })
}

/// The ellipse of the landmarks at the ends of its axes, where all were found.
fn of_ends(findings: &Findings, truth: &Region) -> Option<Ellipse> {
    let place = |name: &String| findings.landmarks.iter().find(|l| l.name == *name)?.place;
    let [a, b, c, d] = truth.ends.as_ref()?.each_ref().map(place);
    Ellipse::of_ends([a?, b?, c?, d?])
}
