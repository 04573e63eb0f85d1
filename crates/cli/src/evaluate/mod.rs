mod clip;
mod frames;
mod registration;

pub use clip::OpenClip;

use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};

use intraop::package::Task;
use intraop::session::Session;
use intraop::{Error, Result, io};

use crate::failure::{Failure, Outcome, one_line};
use crate::options::{Registration, Run};
use crate::say::say;
use crate::watch::{Watch, check_interrupt};

/// Run a model on every case of a CSV and report: report.json, report.html, per_case.csv
///
/// A case that fails is reported and the others go on; the exit code is then 1.
#[derive(clap::Args)]
pub struct Evaluate {
    /// Model: a name (see `intraop models list`), a folder or a tar
    #[arg(long)]
    model: String,
    /// CSV with a header; relative paths start at the CSV. For registration the columns fixed,
    /// moving and optionally fixed_labels, moving_labels; for frames the columns image, mm_per_px
    /// and what is to be found (docs/evaluation.md)
    #[arg(long)]
    cases: PathBuf,
    /// Folder for the results
    #[arg(long)]
    out: PathBuf,
    /// Also write every case's result files, as `register`, `landmarks` and `segment` do, in a
    /// folder each
    #[arg(long)]
    keep: bool,
    /// Of frames: a landmark has failed where its error is more than this share of the frame's
    /// diagonal; the error curve ends there [default: 5]
    #[arg(long, value_name = "PERCENT")]
    failure: Option<f64>,
    #[command(flatten)]
    registration: Registration,
    #[command(flatten)]
    run: Run,
    /// Print report.json to stdout
    #[arg(long)]
    json: bool,
}

/// What a run hands over to be written and said.
pub struct Reports {
    /// report.json.
    summary: String,
    per_case: Vec<u8>,
    html: String,
    /// The summary in a line for people.
    words: String,
    /// The errors of the cases that failed.
    failed: Vec<String>,
    /// How many cases there were.
    of: usize,
    /// Every file that was read.
    inputs: Vec<PathBuf>,
}

impl Evaluate {
    pub fn run(&self) -> Outcome {
        let session = self.run.session(&self.model, &mut Watch::new())?;
        let (output, reports) = match session.package().manifest.task {
            Task::Registration => self.pairs(&session)?,
            _ => self.frames(&session)?,
        };
        let write = |name: &str, bytes: &[u8]| {
            io::write_atomically(&output.path(name), |w| w.write_all(bytes))
        };
        write("report.json", format!("{}\n", reports.summary).as_bytes())?;
        write("per_case.csv", &reports.per_case)?;
        write("report.html", reports.html.as_bytes())?;
        check_interrupt()?;
        output.spare_written(reports.inputs.iter().chain([&self.cases]).map(PathBuf::as_path))?;
        output.commit(&[])?;
        if self.json {
            say(&reports.summary)?;
        } else {
            say(&format!("{}\nresults in {}", reports.words, self.out.display()))?;
        }
        let failed = reports.failed.len();
        let first = reports.failed.into_iter().next();
        first.map_or(Ok(()), |first| Err(Failure::Cases { failed, of: reports.of, first }))
    }

    /// Refuses an option that says nothing to this model's task.
    fn refuse(&self, option: &str, given: bool, session: &Session) -> Result<()> {
        if !given {
            return Ok(());
        }
        let manifest = &session.package().manifest;
        let (expected, is) = match manifest.task {
            Task::Registration => ("frames", "registration"),
            _ => ("registration", "frames"),
        };
        Err(Error::Option {
            option: option.into(),
            expected: format!("a model for {expected}"),
            found: format!("{}, a model for {is}", manifest.name),
        })
    }
}

/// Does `one` for every case. What fails is a case's result and logged, but for Ctrl-C and a full
/// disk, which end the run.
fn each<C, T>(
    cases: Vec<C>,
    mut one: impl FnMut(usize, &C) -> Result<T>,
) -> Result<Vec<(C, Result<T, String>)>> {
    let bar = ProgressBar::new(cases.len() as u64);
    let style = "{bar:40} {pos}/{len} cases, {eta} left";
    bar.set_style(ProgressStyle::with_template(style).expect("a fixed template"));
    let mut results = Vec::new();
    for (number, case) in cases.into_iter().enumerate() {
        let result = match one(number, &case) {
            Err(error @ (Error::Cancelled | Error::Unwritable { .. })) => return Err(error),
            Err(error) => {
                bar.suspend(|| log::warn!("{}", one_line(&error.to_string())));
                Err(error.to_string())
            }
            Ok(result) => Ok(result),
        };
        results.push((case, result));
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(results)
}

/// The bytes that `write` writes; into memory it does not fail.
fn bytes(write: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes).expect("memory can be written");
    bytes
}

/// A figure in words.
fn number(value: Option<f64>) -> String {
    value.map_or("-".into(), |v| format!("{v:.3}"))
}
