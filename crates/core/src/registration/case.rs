//! One pair from images in memory to everything `register` and `evaluate` deliver and measure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Inverse, Options, Registered, invert, invert_point, register, warp};
use crate::image::{Affine, Field, LabelMap, Volume};
use crate::package::Precision;
use crate::probe::{Probe, Stage, StageTimes, timed};
use crate::session::Session;
use crate::{Error, Result, Subject, memory, metrics};

/// A pair of images and what is known about it. Labels lie on their image's own grid; points
/// are world millimeters (LPS), the i-th fixed one matching the i-th moving one.
pub struct Case {
    pub fixed: Volume,
    pub moving: Volume,
    pub fixed_labels: Option<LabelMap>,
    pub moving_labels: Option<LabelMap>,
    pub fixed_points: Option<Vec<[f64; 3]>>,
    pub moving_points: Option<Vec<[f64; 3]>>,
}

/// What came out of one pair.
pub struct CaseResult {
    pub registered: Registered,
    /// The moving image after the initial alignment only, on the fixed grid.
    pub before: Volume,
    /// The moving image after registration, on the fixed grid.
    pub warped: Volume,
    pub inverse: Inverse,
    pub warped_labels: Option<LabelMap>,
    /// The moving points, carried to the fixed image.
    pub warped_points: Option<Vec<[f64; 3]>>,
    pub measures: Measures,
}

/// A figure before (after the initial alignment, before any network) and after registration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BeforeAfter<T> {
    pub before: T,
    pub after: T,
}

/// Dice per label, on the fixed image's grid, and its mean over labels present in either map.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Dice {
    pub before: BTreeMap<i32, f64>,
    pub after: BTreeMap<i32, f64>,
    /// `null` where there is no label at all.
    pub mean_before: Option<f64>,
    pub mean_after: Option<f64>,
}

/// What was measured on one pair.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measures {
    /// Over the voxels that map inside the moving image before and after; `null` where one of
    /// the images is constant there.
    pub ncc: BeforeAfter<Option<f64>>,
    /// Share of the fixed image's voxels that map inside the moving image.
    pub coverage_percent: f64,
    pub folding_percent: f64,
    pub sd_log_jacobian: f64,
    pub max_displacement_mm: f64,
    /// Mean |v(p + u(p)) + u(p)| over voxels that map inside the moving image; v the inverse.
    pub inverse_consistency_mm: f64,
    /// |T(T⁻¹(q)) − q| over moving voxels whose fixed point lies in the fixed image.
    pub inverse_residual_mean_mm: f64,
    pub inverse_residual_max_mm: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dice: Option<Dice>,
    /// Mean Jaccard index over the labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jaccard: Option<BeforeAfter<Option<f64>>>,
    /// 95th percentile of surface distances per label; `null` where a side lacks the label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hd95_mm: Option<BeforeAfter<BTreeMap<i32, Option<f64>>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tre_mm: Option<BeforeAfter<f64>>,
    pub warnings: Vec<String>,
}

/// `report.json` of `register`.
#[derive(Debug, Clone, Serialize)]
pub struct RegistrationReport {
    pub model: String,
    pub precision: Precision,
    pub simd: &'static str,
    pub threads: usize,
    pub stages_ms: BTreeMap<&'static str, f64>,
    /// `null` where the system does not tell.
    pub peak_rss_mib: Option<f64>,
    #[serde(flatten)]
    pub measures: Measures,
}

impl RegistrationReport {
    pub fn new(
        session: &Session,
        measures: Measures,
        times: &StageTimes,
        total: std::time::Duration,
    ) -> Self {
        let manifest = &session.package().manifest;
        RegistrationReport {
            model: manifest.name.clone(),
            precision: manifest.precision,
            simd: session.simd().level().name(),
            threads: session.threads(),
            stages_ms: times.in_ms(&Stage::OF_VOLUMES, total),
            peak_rss_mib: memory::peak_mib(),
            measures,
        }
    }
}

impl Case {
    /// # Errors
    /// [`Error::Unusable`] for labels on another grid than their image, or points that do not
    /// come in pairs.
    fn check(&self) -> Result<()> {
        for (labels, image, subject) in [
            (&self.fixed_labels, &self.fixed, Subject::FixedLabels),
            (&self.moving_labels, &self.moving, Subject::MovingLabels),
        ] {
            let Some(labels) = labels else { continue };
            if !labels.geometry.same_grid(&image.geometry) {
                let problem = format!(
                    "expected its image's grid ({}), found {} or another place",
                    image.geometry, labels.geometry
                );
                let advice = "resample the labels to that grid";
                return Err(Error::Unusable { subject, problem, advice: advice.into() });
            }
        }
        if let (Some(a), Some(b)) = (&self.fixed_points, &self.moving_points)
            && a.len() != b.len()
        {
            let problem =
                format!("expected as many as fixed points ({}), found {}", a.len(), b.len());
            let advice = "give corresponding points in the same order";
            let (subject, advice) = (Subject::MovingPoints, advice.into());
            return Err(Error::Unusable { subject, problem, advice });
        }
        Ok(())
    }
}

/// Registers a pair, warps what came with it and measures the result.
///
/// # Errors
/// Those of [`register`]; [`Error::Unusable`] for labels or points that do not fit.
pub fn register_case(
    session: &Session,
    case: &Case,
    options: &Options,
    probe: &mut dyn Probe,
) -> Result<CaseResult> {
    case.check()?;
    let registered = register(session, &case.fixed, &case.moving, options, probe)?;
    let onto = &case.fixed.geometry;
    let (field, affine) = (&registered.field, &registered.affine);
    let (before, warped, warped_labels) = timed(probe, Stage::Warp, || {
        Ok(session.install(|| {
            let before = warp::warp_affine(&case.moving, &registered.initial, onto);
            let labels = case.moving_labels.as_ref();
            let labels = labels.map(|labels| warp::warp_labels(labels, field, onto));
            (before, warp::warp(&case.moving, field, onto), labels)
        }))
    })?;
    let (inverse, warped_points) = timed(probe, Stage::Compose, || {
        let inverse = session.install(|| invert(field, affine, &case.moving.geometry));
        let singular = || {
            let (graph, problem) = ("affine stage".into(), "it returned a singular matrix".into());
            Error::Engine(intraop_engine::Error::Graph { graph, problem })
        };
        let carry = |p: &[f64; 3]| invert_point(field, affine, *p);
        let points = case.moving_points.as_ref().map(|points| points.iter().map(carry).collect());
        let points: Option<Option<Vec<_>>> = points;
        Ok((inverse.ok_or_else(singular)?, points.map(|p| p.ok_or_else(singular)).transpose()?))
    })?;
    timed(probe, Stage::Measure, || {
        session.install(|| {
            let covered = warp::covered(&registered.field, onto, &case.moving.geometry);
            let mut result = CaseResult {
                measures: Measures::of_field(&registered.field, &inverse, &covered),
                registered,
                before,
                warped,
                inverse,
                warped_labels,
                warped_points,
            };
            result.compare(case, session, &covered)?;
            Ok(result)
        })
    })
}

impl Measures {
    /// What the transform alone tells; `covered` says which voxels of the field's grid map inside
    /// the moving image.
    fn of_field(field: &Field, inverse: &Inverse, covered: &[bool]) -> Measures {
        let regularity = metrics::regularity(field);
        Measures {
            ncc: BeforeAfter { before: None, after: None },
            coverage_percent: percent(covered),
            folding_percent: regularity.folding_percent,
            sd_log_jacobian: regularity.sd_log_jacobian,
            max_displacement_mm: metrics::max_displacement_mm(field),
            inverse_consistency_mm: inverse.consistency_mm(field, covered),
            inverse_residual_mean_mm: inverse.residual_mean_mm,
            inverse_residual_max_mm: inverse.residual_max_mm,
            dice: None,
            jaccard: None,
            hd95_mm: None,
            tre_mm: None,
            warnings: Vec::new(),
        }
    }
}

/// Share of true values, in percent.
fn percent(mask: &[bool]) -> f64 {
    100.0 * mask.iter().filter(|inside| **inside).count() as f64 / mask.len() as f64
}

impl CaseResult {
    /// Fills in what needs the images, labels and points.
    fn compare(&mut self, case: &Case, session: &Session, covered: &[bool]) -> Result<()> {
        let onto = &case.fixed.geometry;
        let moving = &case.moving.geometry;
        let covered_before = warp::covered_affine(onto, moving, &self.registered.initial);
        let both: Vec<bool> = covered_before.iter().zip(covered).map(|(a, b)| *a && *b).collect();
        let ncc = |image: &Volume| metrics::ncc(&case.fixed.data, &image.data, Some(&both));
        self.measures.ncc = BeforeAfter { before: ncc(&self.before), after: ncc(&self.warped) };
        self.compare_labels(case)?;
        self.compare_points(case)?;
        self.warn(session, percent(&covered_before));
        Ok(())
    }

    fn compare_labels(&mut self, case: &Case) -> Result<()> {
        let (Some(fixed), Some(moving), Some(after)) =
            (&case.fixed_labels, &case.moving_labels, &self.warped_labels)
        else {
            return Ok(());
        };
        let before =
            &warp::warp_labels_affine(moving, &self.registered.initial, &case.fixed.geometry);
        let jaccard = |labels: &LabelMap| {
            metrics::jaccard(fixed, labels).map(|per_label| metrics::mean(&per_label))
        };
        let (dice_before, dice_after) =
            (metrics::dice(fixed, before)?, metrics::dice(fixed, after)?);
        let measures = &mut self.measures;
        measures.jaccard = Some(BeforeAfter { before: jaccard(before)?, after: jaccard(after)? });
        measures.hd95_mm = Some(BeforeAfter {
            before: metrics::hd95(fixed, before)?,
            after: metrics::hd95(fixed, after)?,
        });
        measures.dice = Some(Dice {
            mean_before: metrics::mean(&dice_before),
            mean_after: metrics::mean(&dice_after),
            before: dice_before,
            after: dice_after,
        });
        Ok(())
    }

    fn compare_points(&mut self, case: &Case) -> Result<()> {
        let (Some(fixed), Some(moving), Some(carried)) =
            (&case.fixed_points, &case.moving_points, &self.warped_points)
        else {
            return Ok(());
        };
        // `register` refuses a singular --init, so the initial alignment has an inverse.
        let back = self.registered.initial.inverse().unwrap_or(Affine::identity());
        let aligned: Vec<[f64; 3]> =
            moving.iter().map(|p| back.apply((*p).into()).into()).collect();
        self.measures.tre_mm = Some(BeforeAfter {
            before: metrics::landmark_errors(fixed, &aligned)?.mean,
            after: metrics::landmark_errors(fixed, carried)?.mean,
        });
        Ok(())
    }

    /// Says what a user must know before using the result.
    fn warn(&mut self, session: &Session, coverage_before: f64) {
        let graphs = &session.package().manifest.graphs;
        let same_modality =
            graphs.iter().all(|g| g.inputs[0].modality.windows(2).all(|pair| pair[0] == pair[1]));
        let m = &mut self.measures;
        let mut warn = |text: String| m.warnings.push(text);
        let worse =
            |before: Option<f64>, after: Option<f64>| before.zip(after).filter(|(b, a)| a < b);
        let look = "look at preview.png before using this result";
        if let Some((before, after)) = worse(m.ncc.before, m.ncc.after).filter(|_| same_modality) {
            warn(format!(
                "the images agree less after registration than before (NCC {before:.3} to \
                 {after:.3}): {look}"
            ));
        }
        if let Some(dice) = &m.dice {
            if let Some((before, after)) = worse(dice.mean_before, dice.mean_after) {
                warn(format!("Dice fell from {before:.3} to {after:.3}: {look}"));
            }
            if dice.mean_after.is_none() {
                warn("the label maps hold no label but 0".into());
            }
        }
        if let Some(tre) = m.tre_mm.as_ref().filter(|tre| tre.after > tre.before) {
            warn(format!(
                "the landmark error grew from {:.2} to {:.2} mm: {look}",
                tre.before, tre.after
            ));
        }
        let coverage = m.coverage_percent;
        if coverage < 25.0 || coverage < 0.8 * coverage_before {
            warn(format!(
                "{coverage:.1} % of the fixed image maps inside the moving image, \
                 {coverage_before:.1} % before registration: check the alignment, or align \
                 their centers"
            ));
        }
        if m.folding_percent > 1.0 {
            warn(format!(
                "the field folds in {:.2} % of the voxels: its inverse is not reliable there",
                m.folding_percent
            ));
        }
    }
}
