//! What `landmarks` and `segment` share: the options, the way through every frame, the report.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};

use serde::Serialize;

use intraop::image::is_pixel_size;
use intraop::landmarks::Finder;
use intraop::package::Precision;
use intraop::session::Session;
use intraop::{Error, Result, Stage, io, memory, timed};

use crate::failure::{Failure, Outcome, one_line};
use crate::names::{stem, unused};
use crate::options::Run;
use crate::output::Output;
use crate::say::{say, to_json};
use crate::shown::Shown;
use crate::watch::{Watch, check_interrupt};

/// Options of everything that looks at frames.
#[derive(clap::Args)]
pub struct Frames {
    /// Frames and clips (.png, .jpg, .mha, .mhd, .dcm)
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// Model: a name (see `intraop models list`), a folder or a tar
    #[arg(long)]
    model: String,
    /// Folder for the results
    #[arg(long)]
    out: PathBuf,
    /// Millimeters per pixel, one number or along x and y: instead of what the files say
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
    match is_pixel_size(size) {
        true => Ok(size),
        false => Err("expected 0.0001 to 100 mm".into()),
    }
}

/// What is there before the first frame.
pub struct Opened {
    watch: Watch,
    output: Output,
}

/// Every frame of every file with what the model finds in it, in order. A file or a frame that
/// cannot be shown is noted and passed over, unless it is the only picture; a full disk and Ctrl-C
/// end it.
pub struct EachFrame<'a> {
    options: &'a Frames,
    session: &'a Session,
    finder: Finder<'a>,
    watch: Watch,
    output: Output,
    files: VecDeque<&'a Path>,
    /// The file whose frames come now, and whether it is a clip.
    clip: Option<(io::Frames, &'a Path, bool)>,
    /// Of the clip's next frame.
    number: usize,
    stems: HashSet<String>,
    failed: Vec<Missed>,
}

/// What was written of all frames: the names of the files, and what the report and a person are
/// told of each frame.
pub struct Written<T> {
    files: Vec<String>,
    entries: Vec<T>,
    lines: Vec<String>,
}

impl<T> Default for Written<T> {
    fn default() -> Self {
        Written { files: Vec::new(), entries: Vec::new(), lines: Vec::new() }
    }
}

impl<T> Written<T> {
    pub fn add(&mut self, files: impl IntoIterator<Item = String>, entry: T, line: String) {
        self.files.extend(files);
        self.entries.push(entry);
        self.lines.push(line);
    }
}

/// `landmarks.json` and `report.json` of `segment`; `T` is what they say of each frame.
#[derive(Serialize)]
struct FramesReport<T> {
    model: String,
    precision: Precision,
    simd: &'static str,
    threads: usize,
    stages_ms: BTreeMap<&'static str, f64>,
    peak_rss_mib: Option<f64>,
    images: Vec<T>,
    failed: Vec<Missed>,
}

/// A file or a frame that could not be shown.
#[derive(Serialize)]
struct Missed {
    image: String,
    /// Of a clip.
    #[serde(skip_serializing_if = "Option::is_none")]
    frame: Option<usize>,
    error: String,
}

impl Frames {
    /// Opens the output folder, then the model.
    pub fn open(&self) -> Result<(Session, Opened)> {
        let mut watch = Watch::new();
        let output = Output::create(&self.out)?;
        let session = self.run.session(&self.model, &mut watch)?;
        Ok((session, Opened { watch, output }))
    }

    /// Every frame, shown to the model when it is asked for.
    pub fn each<'a>(&'a self, session: &'a Session, opened: Opened) -> Result<EachFrame<'a>> {
        Ok(EachFrame {
            options: self,
            session,
            finder: Finder::new(session)?,
            watch: opened.watch,
            output: opened.output,
            files: self.images.iter().map(PathBuf::as_path).collect(),
            clip: None,
            number: 0,
            stems: HashSet::new(),
            failed: Vec::new(),
        })
    }
}

impl Iterator for EachFrame<'_> {
    type Item = Result<Shown>;

    fn next(&mut self) -> Option<Result<Shown>> {
        loop {
            let Some((frames, image, many)) = &mut self.clip else {
                let image = self.files.pop_front()?;
                match io::open_frames(image) {
                    Ok(frames) => {
                        let many = frames.len() > 1;
                        (self.clip, self.number) = (Some((frames, image, many)), 0);
                    }
                    Err(error) => {
                        if let Err(error) = self.miss(image, None, error) {
                            return Some(Err(error));
                        }
                    }
                }
                continue;
            };
            if frames.len() == 0 {
                self.clip = None;
                continue;
            }
            let (image, frame) = (*image, many.then_some(self.number));
            self.number += 1;
            match self.show(image, frame) {
                Ok(shown) => return Some(Ok(shown)),
                Err(error) => {
                    if let Err(error) = self.miss(image, frame, error) {
                        return Some(Err(error));
                    }
                }
            }
        }
    }
}

impl EachFrame<'_> {
    /// Shows the model the clip's next frame.
    fn show(&mut self, image: &Path, frame: Option<usize>) -> Result<Shown> {
        let of_clip = frame.map_or(String::new(), |number| format!("_{number:04}"));
        let stem = unused(stem(image) + &of_clip, &mut self.stems);
        let (frames, ..) = self.clip.as_mut().expect("a file is open");
        let pixels =
            timed(&mut self.watch, Stage::Read, || frames.next().expect("a frame is left"))?;
        let title = match frame {
            Some(number) => format!("{}, frame {number}", image.display()),
            None => image.display().to_string(),
        };
        let mm_per_px = self.options.mm_per_px.or(pixels.spacing());
        let findings = self.finder.find(&pixels, mm_per_px, &title, &mut self.watch)?;
        Ok(Shown { image: image.to_owned(), frame, stem, pixels, findings })
    }

    /// Notes what could not be shown.
    ///
    /// # Errors
    /// The same, where nothing goes on after it.
    fn miss(&mut self, image: &Path, frame: Option<usize>, error: Error) -> Result<()> {
        match error {
            Error::Cancelled | Error::Unwritable { .. } => Err(error),
            _ if self.options.images.len() == 1 && frame.is_none() => Err(error),
            _ => {
                let error = one_line(&error.to_string());
                log::error!("{error}");
                self.failed.push(Missed { image: image.display().to_string(), frame, error });
                Ok(())
            }
        }
    }

    /// Writes a frame's files into the folder that is given.
    pub fn write(&mut self, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let folder = self.output.path("");
        timed(&mut self.watch, Stage::Write, || write(&folder))
    }

    /// Writes the report `name` and puts all files in place.
    ///
    /// # Errors
    /// [`Failure::Cases`] where some frames could not be shown; the report lists them.
    pub fn finish<T: Serialize>(self, name: &str, mut written: Written<T>) -> Outcome {
        let EachFrame { options, session, watch, output, failed, .. } = self;
        let manifest = &session.package().manifest;
        let report = FramesReport {
            model: manifest.name.clone(),
            precision: manifest.precision,
            simd: session.simd().level().name(),
            threads: session.threads(),
            stages_ms: watch.times.in_ms(&Stage::OF_FRAMES, watch.start.elapsed()),
            peak_rss_mib: memory::peak_mib(),
            images: written.entries,
            failed,
        };
        io::write_atomically(&output.path(name), |w| writeln!(w, "{}", to_json(&report)))?;
        check_interrupt()?;
        output.spare_written(options.images.iter().map(PathBuf::as_path))?;
        // Of an earlier run, but never an input.
        let inputs: Vec<_> = options.images.iter().filter_map(|i| i.canonicalize().ok()).collect();
        let is_input = |name: &String| {
            options.out.join(name).canonicalize().is_ok_and(|real| inputs.contains(&real))
        };
        written.files.push(name.into());
        written.files.retain(|name| !is_input(name));
        output.commit(&written.files.iter().map(String::as_str).collect::<Vec<_>>())?;
        written.lines.push(format!("results in {}", options.out.display()));
        say(&if options.json { to_json(&report) } else { written.lines.join("\n") })?;
        let (failed, of) = (report.failed.len(), report.failed.len() + report.images.len());
        let first = report.failed.into_iter().next();
        first.map_or(Ok(()), |first| Err(Failure::Cases { failed, of, first: first.error }))
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
}
