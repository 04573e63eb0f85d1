//! What `landmarks` and `segment` share: the options, and the way through every frame.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::display::{self, findings_overlay};
use crate::engine::Session;
use crate::evaluate::frames::FrameCase;
use crate::image::Pixels;
use crate::landmarks::{Finder, Findings};
use crate::package::{Manifest, Measurement, Precision};
use crate::probe::{Stage, timed};
use crate::{Error, Result, io, memory};

use super::output::Output;
use super::{Run, Watch, check_interrupt, landmarks, one_line, say, segment, to_json};

/// Options of everything that looks at frames.
#[derive(clap::Args)]
pub(super) struct Frames {
    /// Frames and clips (.png, .jpg, .mha, .mhd, .dcm)
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// Model: a name (see `intraop models list`), a folder or a tar
    #[arg(long)]
    model: String,
    /// Folder for the results
    #[arg(long)]
    out: PathBuf,
    /// Millimetres per pixel, one number or along x and y: instead of what the files say
    #[arg(long, value_name = "X[,Y]", value_parser = pixel_size)]
    mm_per_px: Option<[f64; 2]>,
    #[command(flatten)]
    run: Run,
    /// Print the report to stdout
    #[arg(long)]
    json: bool,
}

fn pixel_size(text: &str) -> std::result::Result<[f64; 2], String> {
    let numbers: Vec<f64> = text.split(',').filter_map(|n| n.trim().parse().ok()).collect();
    let size = match numbers[..] {
        [both] if !text.contains(',') => [both; 2],
        [x, y] if text.matches(',').count() == 1 => [x, y],
        _ => return Err("expected one number, or two with a comma between them".into()),
    };
    match size.iter().all(|mm| (1e-4..=100.0).contains(mm)) {
        true => Ok(size),
        false => Err("expected 0.0001 to 100 mm".into()),
    }
}

/// One frame with what was found in it.
pub(super) struct Shown<'a> {
    /// The file, as it was given.
    pub image: &'a Path,
    /// Its number in a clip, from 0; `None` of a picture.
    pub frame: Option<usize>,
    /// What the names of its result files begin with.
    pub stem: &'a str,
    pub pixels: &'a Pixels,
    pub findings: &'a Findings,
}

impl Shown<'_> {
    /// The picture by which a person judges the findings.
    pub fn write_overlay(&self, folder: &Path, wanted: &[Measurement]) -> Result<()> {
        let title = self.image.file_name().unwrap_or_default().to_string_lossy();
        let title = match self.frame {
            None => title.into_owned(),
            Some(number) => format!("{title}, frame {number}"),
        };
        let image = findings_overlay(self.pixels, self.findings, wanted, &title);
        let path = folder.join(overlay_name(self.stem));
        io::write_atomically(&path, |w| display::write_png(&image, w))
    }

    /// All that `landmarks` and `segment` write of a frame, and its entry in landmarks.json.
    pub fn keep(&self, folder: &Path, wanted: &[Measurement]) -> Result<()> {
        let unwritable = |source| Error::Unwritable { path: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(unwritable)?;
        self.write_overlay(folder, wanted)?;
        landmarks::write_markups(self, folder)?;
        segment::write_masks(self, folder)?;
        let entry = to_json(&landmarks::entry(self));
        io::write_atomically(&folder.join("landmarks.json"), |w| writeln!(w, "{entry}"))
    }
}

/// Of a frame whose result files begin with `stem`.
pub(super) fn overlay_name(stem: &str) -> String {
    format!("{stem}_overlay.png")
}

/// `landmarks.json` and `report.json` of `segment`; `T` is what they say of each frame.
#[derive(Serialize)]
struct Report<T> {
    model: String,
    precision: Precision,
    simd: &'static str,
    threads: usize,
    stages_ms: std::collections::BTreeMap<&'static str, f64>,
    peak_rss_mib: Option<f64>,
    images: Vec<T>,
    failed: Vec<Failure>,
}

#[derive(Serialize)]
struct Failure {
    image: String,
    /// Of a clip.
    #[serde(skip_serializing_if = "Option::is_none")]
    frame: Option<usize>,
    error: String,
}

impl Frames {
    /// Shows every frame of every file to the model. `tell` writes a frame's result files to a
    /// folder, knowing the model, and says what its entry in the report `name` is and its line for
    /// people; `files` are the names that it may write.
    ///
    /// # Errors
    /// Of a single picture its own. Of several, and of a clip's frames, those that fail are listed in
    /// the report, and [`Error::Failed`] says so at the end.
    pub fn show<T: Serialize>(
        &self,
        name: &str,
        files: impl Fn(&str, &Manifest) -> Vec<String>,
        mut tell: impl FnMut(&Shown, &Path, &Manifest) -> Result<(T, String)>,
    ) -> Result<()> {
        let mut watch = Watch::new();
        let output = Output::create(&self.out)?;
        let session = self.run.session(&self.model, &mut watch)?;
        let manifest = &session.package().manifest;
        let (mut images, mut lines) = (Vec::new(), Vec::new());
        let (mut known, folder) = (vec![name.to_string()], output.path(""));
        let failed = self.each_frame(&session, &mut watch, &mut |shown| {
            known.extend(files(shown.stem, manifest));
            let (entry, line) = tell(shown, &folder, manifest)?;
            images.push(entry);
            lines.push(line);
            Ok(())
        })?;
        let report = Report {
            model: manifest.name.clone(),
            precision: manifest.precision,
            simd: session.simd().level().name(),
            threads: session.threads(),
            stages_ms: watch.times.in_ms(&Stage::OF_FRAMES, watch.start.elapsed()),
            peak_rss_mib: memory::peak_mib(),
            images,
            failed,
        };
        io::write_atomically(&output.path(name), |w| writeln!(w, "{}", to_json(&report)))?;
        check_interrupt()?;
        output.spare_written(self.images.iter().map(PathBuf::as_path))?;
        // Of an earlier run, but never an input.
        let inputs: Vec<_> = self.images.iter().filter_map(|i| i.canonicalize().ok()).collect();
        let input = |name: &String| {
            self.out.join(name).canonicalize().is_ok_and(|real| inputs.contains(&real))
        };
        known.retain(|name| !input(name));
        output.commit(&known.iter().map(String::as_str).collect::<Vec<_>>())?;
        lines.push(format!("results in {}", self.out.display()));
        say(&if self.json { to_json(&report) } else { lines.join("\n") })?;
        let (failed, of) = (report.failed.len(), report.failed.len() + report.images.len());
        let first = report.failed.into_iter().next();
        first.map_or(Ok(()), |first| Err(Error::Failed { failed, of, first: first.error }))
    }

    /// Gives what failed.
    fn each_frame(
        &self,
        session: &Session,
        watch: &mut Watch,
        tell: &mut dyn FnMut(&Shown) -> Result<()>,
    ) -> Result<Vec<Failure>> {
        let mut finder = Finder::new(session)?;
        let (mut failed, mut stems) = (Vec::new(), HashSet::new());
        for image in &self.images {
            let mut fail = |frame: Option<usize>, error: Error| match error {
                Error::Cancelled | Error::Unwritable { .. } => Err(error),
                _ if self.images.len() == 1 && frame.is_none() => Err(error),
                _ => {
                    let error = one_line(&error.to_string());
                    log::error!("{error}");
                    failed.push(Failure { image: image.display().to_string(), frame, error });
                    Ok(())
                }
            };
            let mut frames = match io::open_frames(image) {
                Ok(frames) => frames,
                Err(error) => {
                    fail(None, error)?;
                    continue;
                }
            };
            let clip = frames.len() > 1;
            for number in 0..frames.len() {
                let frame = clip.then_some(number);
                let of_clip = frame.map_or(String::new(), |number| format!("_{number:04}"));
                let stem = unused(stem(image) + &of_clip, &mut stems);
                let told = self.one(image, frame, &stem, &mut frames, &mut finder, watch, tell);
                if let Err(error) = told {
                    fail(frame, error)?;
                }
            }
        }
        Ok(failed)
    }

    #[allow(clippy::too_many_arguments)]
    fn one(
        &self,
        image: &Path,
        frame: Option<usize>,
        stem: &str,
        frames: &mut io::Frames,
        finder: &mut Finder,
        watch: &mut Watch,
        tell: &mut dyn FnMut(&Shown) -> Result<()>,
    ) -> Result<()> {
        let Some(pixels) = timed(watch, Stage::Read, || frames.next().transpose())? else {
            return Ok(());
        };
        let title = match frame {
            Some(number) => format!("{}, frame {number}", image.display()),
            None => image.display().to_string(),
        };
        let mm_per_px = self.mm_per_px.or(pixels.spacing());
        let findings = finder.find(&pixels, mm_per_px, &title, watch)?;
        let shown = Shown { image, frame, stem, pixels: &pixels, findings: &findings };
        timed(watch, Stage::Write, || tell(&shown))
    }
}

/// A file's name without its endings; the whole name where it has none, as of a DICOM file that is
/// called by its UID.
pub(super) fn stem(image: &Path) -> String {
    const ENDINGS: [&str; 8] =
        [".igs.mha", ".igs.mhd", ".mha", ".mhd", ".png", ".jpg", ".jpeg", ".dcm"];
    let name = image.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let lower = name.to_ascii_lowercase();
    let ending = ENDINGS.iter().find(|e| lower.ends_with(*e) && lower.len() > e.len());
    name[..name.len() - ending.map_or(0, |e| e.len())].to_string()
}

/// The name itself, or with a number where another image has it already.
fn unused(stem: String, used: &mut HashSet<String>) -> String {
    let numbered = (2..).map(|i| format!("{stem}-{i}"));
    let name = std::iter::once(stem.clone()).chain(numbered).find(|name| !used.contains(name));
    let name = name.unwrap_or(stem);
    used.insert(name.clone());
    name
}

/// Frames of cases. The file that was read last stays open, so that a clip's frames in a row are decoded once.
#[derive(Default)]
pub(super) struct Files {
    open: Option<(PathBuf, io::Frames)>,
    /// The number of the open file's next frame.
    next: usize,
}

impl Files {
    pub fn frame(&mut self, case: &FrameCase) -> Result<Pixels> {
        let goes_on = |(path, _): &(PathBuf, io::Frames)| *path == case.image;
        let mut frames = match self.open.take().filter(goes_on) {
            Some((_, frames)) if self.next <= case.frame => frames,
            _ => {
                self.next = 0;
                io::open_frames(&case.image)?
            }
        };
        let count = self.next + frames.len();
        while let Some(pixels) = frames.next() {
            let pixels = pixels?;
            self.next += 1;
            if self.next > case.frame {
                self.open = Some((case.image.clone(), frames));
                return Ok(pixels);
            }
        }
        let problem = format!("frame {} of {count} (the first is 0)", case.frame);
        Err(Error::unusable(case.image.display().to_string(), problem, "correct the CSV"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixel_sizes_are_one_or_two_numbers() {
        assert_eq!(pixel_size("0.2"), Ok([0.2, 0.2]));
        assert_eq!(pixel_size("0.2, 0.1"), Ok([0.2, 0.1]));
        for wrong in ["", "a", "0.1,", "1,2,3", "0", "-1", "NaN", "inf", "0.1,x"] {
            assert!(pixel_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn two_files_of_one_name_get_two_results() {
        let mut used = HashSet::new();
        let names = ["a/x.png", "b/x.png", "x.igs.mha", "1.2.840.5"]
            .map(|p| unused(stem(Path::new(p)), &mut used));
        assert_eq!(names, ["x", "x-2", "x-3", "1.2.840.5"]);
    }
}
