use std::path::Path;

use serde::Serialize;

use crate::Result;
use crate::display::measured;
use crate::io::{self, Point};
use crate::landmarks::{Landmark, Measured, Seen};
use crate::package::Manifest;

use super::frames::{Frames, Shown, overlay_name};

/// Find landmarks in frames and measure: landmarks.json, a picture and a .mrk.json per frame
///
/// Millimetres are given only where the pixel size is known: from the file, or --mm-per-px.
#[derive(clap::Args)]
pub(super) struct Landmarks {
    #[command(flatten)]
    frames: Frames,
}

/// One frame's entry in landmarks.json.
#[derive(Serialize)]
pub(super) struct Entry {
    image: String,
    /// What its result files' names begin with.
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    frame: Option<usize>,
    mm_per_px: Option<[f64; 2]>,
    view: Option<Seen>,
    landmarks: Vec<Place>,
    measurements: Vec<Measured>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Place {
    name: String,
    found: bool,
    x_px: Option<f64>,
    y_px: Option<f64>,
    x_mm: Option<f64>,
    y_mm: Option<f64>,
    confidence: Option<f64>,
    /// Root mean square of those along x and y.
    sd_px: Option<f64>,
}

impl Place {
    fn new(landmark: &Landmark, mm_per_px: Option<[f64; 2]>) -> Self {
        let px = |axis: usize| landmark.place.map(|at| at[axis]);
        let mm = |axis: usize| px(axis).zip(mm_per_px).map(|(px, mm)| px * mm[axis]);
        Place {
            name: landmark.name.clone(),
            found: landmark.place.is_some(),
            x_px: px(0),
            y_px: px(1),
            x_mm: mm(0),
            y_mm: mm(1),
            confidence: landmark.confidence,
            sd_px: landmark.sd.map(|[x, y]| x.hypot(y) / 2f64.sqrt()),
        }
    }
}

impl Landmarks {
    pub fn run(&self) -> Result<()> {
        let files = |stem: &str, _: &Manifest| vec![overlay_name(stem), markups_name(stem)];
        self.frames.show("landmarks.json", files, |shown, folder, manifest| {
            shown.write_overlay(folder, &manifest.measurements)?;
            write_markups(shown, folder)?;
            Ok((entry(shown), line(shown)))
        })
    }
}

pub(super) fn entry(shown: &Shown) -> Entry {
    let found = shown.findings;
    Entry {
        image: shown.image.display().to_string(),
        name: shown.stem.into(),
        frame: shown.frame,
        mm_per_px: found.mm_per_px,
        view: found.view.clone(),
        landmarks: found.landmarks.iter().map(|l| Place::new(l, found.mm_per_px)).collect(),
        measurements: found.measurements.clone(),
        warnings: found.warnings.clone(),
    }
}

/// Landmarks for 3D Slicer, in the plane z = 0; only in millimetres, which is all that it knows.
pub(super) fn write_markups(shown: &Shown, folder: &Path) -> Result<()> {
    let findings = shown.findings;
    let Some([mm_x, mm_y]) = findings.mm_per_px else { return Ok(()) };
    let placed = findings.landmarks.iter().filter_map(|l| Some((&l.name, l.place?)));
    let points = placed.map(|(name, [x, y])| Point {
        name: Some(name.clone()),
        position: [x * mm_x, y * mm_y, 0.0],
    });
    let points: Vec<Point> = points.collect();
    let path = folder.join(markups_name(shown.stem));
    if points.is_empty() { Ok(()) } else { io::write_points(&path, &points) }
}

fn markups_name(stem: &str) -> String {
    format!("{stem}.mrk.json")
}

/// What a person reads of one frame.
pub(super) fn line(shown: &Shown) -> String {
    let found = shown.findings;
    let image = shown.image.display();
    let frame = shown.frame.map_or(String::new(), |number| format!(", frame {number}"));
    let mut parts = Vec::new();
    if let Some(view) = &found.view {
        parts.push(format!("view {} ({:.2})", view.name, view.score));
    }
    let placed = found.landmarks.iter().filter(|l| l.place.is_some()).count();
    match found.anything() {
        false => parts.push("nothing found".into()),
        true if found.landmarks.is_empty() => {}
        true => parts.push(format!("{placed} of {} landmarks", found.landmarks.len())),
    }
    parts.extend(found.measurements.iter().filter(|m| m.value.is_some()).map(measured));
    parts.extend(found.warnings.iter().cloned());
    format!("{image}{frame}: {}", parts.join(", "))
}
