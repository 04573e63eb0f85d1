use std::path::Path;

use ::image::codecs::png::PngEncoder;
use ::image::{ExtendedColorType, ImageEncoder};
use serde::Serialize;

use crate::landmarks::{Measured, Seen};
use crate::package::Manifest;
use crate::segmentation::MaskReport;
use crate::{Result, io};

use super::frames::{Frames, Shown, overlay_name};
use super::landmarks::line;

/// Find areas in frames: a mask per class and a picture per frame, report.json
///
/// Masks are PNGs of the frame's size, 255 inside. Millimetres are given only where the pixel size
/// is known: from the file, or --mm-per-px.
#[derive(clap::Args)]
pub(super) struct Segment {
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

impl Segment {
    pub fn run(&self) -> Result<()> {
        let files = |stem: &str, manifest: &Manifest| {
            let masks = manifest.masks().into_iter().map(|class| mask_name(stem, class));
            masks.chain([overlay_name(stem)]).collect()
        };
        self.frames.show("report.json", files, |shown, folder, manifest| {
            shown.write_overlay(folder, &manifest.measurements)?;
            write_masks(shown, folder)?;
            let found = shown.findings;
            let entry = Entry {
                image: shown.image.display().to_string(),
                name: shown.stem.into(),
                frame: shown.frame,
                mm_per_px: found.mm_per_px,
                view: found.view.clone(),
                masks: found.masks.iter().map(|m| m.report(found.mm_per_px)).collect(),
                measurements: found.measurements.clone(),
                warnings: found.warnings.clone(),
            };
            Ok((entry, line(shown)))
        })
    }
}

/// One PNG per class, black where it was not found.
pub(super) fn write_masks(shown: &Shown, folder: &Path) -> Result<()> {
    let size @ [width, height] = shown.pixels.size();
    for mask in &shown.findings.masks {
        let pixels: Vec<u8> = mask.pixels(size).data.iter().map(|inside| 255 * inside).collect();
        let path = folder.join(mask_name(shown.stem, &mask.name));
        io::write_atomically(&path, |w| {
            let png = PngEncoder::new(w);
            png.write_image(&pixels, width as u32, height as u32, ExtendedColorType::L8)
                .map_err(std::io::Error::other)
        })?;
    }
    Ok(())
}

fn mask_name(stem: &str, class: &str) -> String {
    format!("{stem}_{class}.png")
}
