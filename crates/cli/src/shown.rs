//! A frame with what was found in it, and the files that `landmarks`, `segment` and `evaluate` write
//! of it.

use std::path::{Path, PathBuf};

use serde::Serialize;

use intraop::display::{findings_overlay, measured, write_png};
use intraop::image::Pixels;
use intraop::io::{self, Point};
use intraop::landmarks::{Findings, Landmark, Measured, Seen};
use intraop::package::Measurement;
use intraop::{Error, Result};

use crate::names;
use crate::say::to_json;

/// One frame with what was found in it.
pub struct Shown {
    /// The file, as it was given.
    pub image: PathBuf,
    /// Its number in a clip, from 0; `None` of a picture.
    pub frame: Option<usize>,
    /// What the names of its result files begin with.
    pub stem: String,
    pub pixels: Pixels,
    pub findings: Findings,
}

impl Shown {
    /// The picture by which a person judges the findings.
    pub fn write_overlay(&self, folder: &Path, wanted: &[Measurement]) -> Result<()> {
        let title = self.image.file_name().unwrap_or_default().to_string_lossy();
        let title = match self.frame {
            None => title.into_owned(),
            Some(number) => format!("{title}, frame {number}"),
        };
        let image = findings_overlay(&self.pixels, &self.findings, wanted, &title);
        let path = folder.join(names::overlay(&self.stem));
        io::write_atomically(&path, |w| write_png(&image, w))
    }

    /// Landmarks for 3D Slicer, in the plane z = 0; only in millimeters, which is all that it knows.
    pub fn write_markups(&self, folder: &Path) -> Result<()> {
        let findings = &self.findings;
        let Some([mm_x, mm_y]) = findings.mm_per_px else { return Ok(()) };
        let placed = findings.landmarks.iter().filter_map(|l| Some((&l.name, l.place?)));
        let points = placed.map(|(name, [x, y])| Point {
            name: Some(name.clone()),
            position: [x * mm_x, y * mm_y, 0.0],
        });
        let points: Vec<Point> = points.collect();
        let path = folder.join(names::markups(&self.stem));
        if points.is_empty() { Ok(()) } else { io::write_points(&path, &points) }
    }

    /// One PNG per class, black where it was not found.
    pub fn write_masks(&self, folder: &Path) -> Result<()> {
        let size = self.pixels.size();
        for mask in &self.findings.masks {
            let pixels: Vec<u8> =
                mask.pixels(size).data.iter().map(|inside| 255 * inside).collect();
            let path = folder.join(names::mask(&self.stem, &mask.name));
            io::write_atomically(&path, |w| io::write_png(w, size, &pixels))?;
        }
        Ok(())
    }

    /// All that `landmarks` and `segment` write of a frame, and its entry in landmarks.json.
    pub fn keep(&self, folder: &Path, wanted: &[Measurement]) -> Result<()> {
        let unwritable = |source| Error::Unwritable { path: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(unwritable)?;
        self.write_overlay(folder, wanted)?;
        self.write_markups(folder)?;
        self.write_masks(folder)?;
        let entry = to_json(&Entry::of(self));
        io::write_atomically(&folder.join("landmarks.json"), |w| writeln!(w, "{entry}"))
    }

    /// What a person reads of one frame.
    pub fn line(&self) -> String {
        let found = &self.findings;
        let image = self.image.display();
        let frame = self.frame.map_or(String::new(), |number| format!(", frame {number}"));
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
}

/// One frame's entry in landmarks.json.
#[derive(Serialize)]
pub struct Entry {
    image: String,
    /// What its result files' names begin with.
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    frame: Option<usize>,
    mm_per_px: Option<[f64; 2]>,
    view: Option<Seen>,
    landmarks: Vec<Position>,
    measurements: Vec<Measured>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Position {
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

impl Position {
    fn new(landmark: &Landmark, mm_per_px: Option<[f64; 2]>) -> Self {
        let px = |axis: usize| landmark.place.map(|at| at[axis]);
        let mm = |axis: usize| px(axis).zip(mm_per_px).map(|(px, mm)| px * mm[axis]);
        Position {
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

impl Entry {
    pub fn of(shown: &Shown) -> Self {
        let found = &shown.findings;
        Entry {
            image: shown.image.display().to_string(),
            name: shown.stem.clone(),
            frame: shown.frame,
            mm_per_px: found.mm_per_px,
            view: found.view.clone(),
            landmarks: found.landmarks.iter().map(|l| Position::new(l, found.mm_per_px)).collect(),
            measurements: found.measurements.clone(),
            warnings: found.warnings.clone(),
        }
    }
}
