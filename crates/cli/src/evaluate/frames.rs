use std::path::Path;

use super::{Evaluate, Reports, bytes, each, number};
use intraop::evaluate::frames::{
    FrameCase, Outcome, Rules, Scores, Summary, page, read_frame_cases, score, summarize,
    write_per_case,
};
use intraop::landmarks::Finder;
use intraop::session::Session;
use intraop::{Error, Result, Stage, timed};

use super::clip::OpenClip;
use crate::names::stem;
use crate::output::Output;
use crate::say::to_json;
use crate::shown::Shown;
use crate::watch::Watch;

/// An error beyond this share of the frame's diagonal, in percent, is a failure.
const FAILURE: f64 = 5.0;

impl Evaluate {
    pub fn frames(&self, session: &Session) -> Result<(Output, Reports)> {
        let registration = &self.registration;
        self.refuse("init", registration.init.is_some(), session)?;
        self.refuse("affine-only", registration.affine_only, session)?;
        self.refuse("cascades", registration.cascades.is_some(), session)?;
        let failure = self.failure.unwrap_or(FAILURE);
        if !(failure > 0.0 && failure <= 100.0) {
            return Err(Error::Option {
                option: "failure".into(),
                expected: "a percentage above 0, at most 100".into(),
                found: failure.to_string(),
            });
        }
        let manifest = &session.package().manifest;
        let cases = read_frame_cases(&self.cases, manifest, true)?;
        let rules = Rules::new(manifest, &cases)?;
        let mut finder = Finder::new(session)?;
        let output = Output::create(&self.out)?;
        let mut clip = OpenClip::default();
        let results = each(cases, |number, case| {
            let folder = output.path(&format!("{:03}_{}", number + 1, stem(&case.image)));
            let keep = self.keep.then_some(&*folder);
            one(case, &rules, &mut finder, &mut clip, keep)
        })?;
        let outcome = |(case, result)| Outcome { case, result };
        let outcomes: Vec<Outcome> = results.into_iter().map(outcome).collect();
        let summary = summarize(session, &outcomes, failure / 100.0);
        let reports = Reports {
            summary: to_json(&summary),
            per_case: bytes(|w| write_per_case(w, manifest, &outcomes)),
            html: page(session, &summary, &outcomes),
            words: in_words(&summary),
            failed: summary.failed.into_iter().map(|f| f.error).collect(),
            of: outcomes.len(),
            inputs: outcomes.into_iter().map(|o| o.case.image).collect(),
        };
        Ok((output, reports))
    }
}

fn in_words(s: &Summary) -> String {
    let mut words = vec![format!("{} frames", s.n)];
    for (name, m) in &s.measurements {
        words.push(format!("{name} off by {} {}", number(m.mae), m.unit));
    }
    let figures = [
        ("Dice", s.dice_mean),
        ("AUC", s.errors.auc),
        ("landmarks failed", s.errors.failure_rate),
        ("accuracy", s.accuracy),
        ("found", s.found_fraction),
        ("nothing found where nothing is", s.nothing_found_fraction),
    ];
    let told = figures.iter().filter(|(_, value)| value.is_some());
    words.extend(told.map(|(name, value)| format!("{name} {}", number(*value))));
    words.push(format!("{} failed", s.failed.len()));
    words.join(", ")
}

/// Shows one frame to the model and compares what it finds with the truth. The files of
/// `landmarks` and `segment` go to the folder `keep`.
fn one(
    case: &FrameCase,
    rules: &Rules,
    finder: &mut Finder,
    clip: &mut OpenClip,
    keep: Option<&Path>,
) -> Result<Scores> {
    let mut watch = Watch::new();
    let name = case.image.display().to_string();
    let pixels = timed(&mut watch, Stage::Read, || clip.frame(case))?;
    let mm_per_px = case.mm_per_px.or(pixels.spacing());
    let findings = finder.find(&pixels, mm_per_px, &name, &mut watch)?;
    let stages_ms = watch.times.in_ms(&Stage::OF_FRAMES, watch.start.elapsed());
    let shown = Shown {
        image: case.image.clone(),
        frame: (case.frame > 0).then_some(case.frame),
        stem: stem(&case.image),
        pixels,
        findings,
    };
    if let Some(folder) = keep {
        shown.keep(folder, &finder.manifest().measurements)?;
    }
    let expected = case.truth.as_ref().map(|truth| rules.expected(truth, mm_per_px, &name));
    let size = shown.pixels.size();
    let scores = score(&shown.findings, expected.transpose()?.as_ref(), size)?;
    Ok(Scores { stages_ms, ..scores })
}
