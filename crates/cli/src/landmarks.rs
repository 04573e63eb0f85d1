use crate::failure::Outcome;
use crate::frames::{Frames, Written};
use crate::names;
use crate::shown::Entry;

/// Find landmarks in frames and measure: landmarks.json, a picture and a .mrk.json per frame
///
/// Millimeters are given only where the pixel size is known: from the file, or --mm-per-px.
#[derive(clap::Args)]
pub struct Landmarks {
    #[command(flatten)]
    frames: Frames,
}

impl Landmarks {
    pub fn run(&self) -> Outcome {
        let (session, opened) = self.frames.open()?;
        let mut frames = self.frames.each(&session, opened)?;
        let measurements = &session.package().manifest.measurements;
        let mut written = Written::default();
        while let Some(shown) = frames.next() {
            let shown = shown?;
            frames.write(|folder| {
                shown.write_overlay(folder, measurements)?;
                shown.write_markups(folder)
            })?;
            let files = [names::overlay(&shown.stem), names::markups(&shown.stem)];
            written.add(files, Entry::of(&shown), shown.line());
        }
        frames.finish("landmarks.json", written)
    }
}
