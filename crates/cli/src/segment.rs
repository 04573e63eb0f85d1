use serde::Serialize;

use intraop::landmarks::{Measured, Seen};
use intraop::segmentation::MaskReport;

use crate::failure::Outcome;
use crate::frames::{Frames, Written};
use crate::names;
use crate::shown::Shown;

/// Find areas in frames: a mask per class and a picture per frame, report.json
///
/// Masks are PNGs of the frame's size, 255 inside. Millimeters are given only where the pixel size
/// is known: from the file, or --mm-per-px.
#[derive(clap::Args)]
pub struct Segment {
    #[command(flatten)]
    frames: Frames,
}

/// One frame's entry in report.json.
#[derive(Serialize)]
struct Entry {
    image: String,
    /// What its result files' names begin with.
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    frame: Option<usize>,
    mm_per_px: Option<[f64; 2]>,
    view: Option<Seen>,
    masks: Vec<MaskReport>,
    measurements: Vec<Measured>,
    warnings: Vec<String>,
}

impl Entry {
    fn of(shown: &Shown) -> Self {
        let found = &shown.findings;
        Entry {
            image: shown.image.display().to_string(),
            name: shown.stem.clone(),
            frame: shown.frame,
            mm_per_px: found.mm_per_px,
            view: found.view.clone(),
            masks: found.masks.iter().map(|m| m.report(found.mm_per_px)).collect(),
            measurements: found.measurements.clone(),
            warnings: found.warnings.clone(),
        }
    }
}

impl Segment {
    pub fn run(&self) -> Outcome {
        let (session, opened) = self.frames.open()?;
        let mut frames = self.frames.each(&session, opened)?;
        let manifest = &session.package().manifest;
        let mut written = Written::default();
        while let Some(shown) = frames.next() {
            let shown = shown?;
            frames.write(|folder| {
                shown.write_overlay(folder, &manifest.measurements)?;
                shown.write_masks(folder)
            })?;
            let masks = manifest.masks().into_iter().map(|class| names::mask(&shown.stem, class));
            let files = masks.chain([names::overlay(&shown.stem)]);
            written.add(files, Entry::of(&shown), shown.line());
        }
        frames.finish("report.json", written)
    }
}
