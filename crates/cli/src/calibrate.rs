use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};

use intraop::Probe;
use intraop::evaluate::frames::read_frame_cases;
use intraop::evaluate::registration::{CaseRow, read_cases};
use intraop::image::{Geometry, Pixels};
use intraop::package::GOLDEN_FRAME;
use intraop::quantize::{self, Range, Shown, Table};
use intraop::session::Session;
use intraop::{Result, io, phantom};

use crate::evaluate::OpenClip;
use crate::options::Run;
use crate::output::spare_files;
use crate::say::say;
use crate::watch::{Watch, check_interrupt};

/// Learn the ranges of a model's activations from pairs of volumes or from frames, for `quantize`
///
/// The table holds statistics only, no image. Use images of the training split: figures on images
/// that a model was calibrated with prove nothing.
#[derive(clap::Args)]
pub struct Calibrate {
    /// f32 model: a name (see `intraop models list`), a folder or a tar
    #[arg(long)]
    model: String,
    /// CSV as for `evaluate`, with the columns fixed and moving, or image; 16 to 32 are enough
    #[arg(long, required_unless_present = "phantoms", conflicts_with = "phantoms")]
    cases: Option<PathBuf>,
    /// Instead of --cases: N phantoms, of the seeds that the trainer trains on
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    phantoms: Option<u16>,
    /// Measure what int8 does to each layer on the first N only, which takes most of the time
    #[arg(long, value_name = "N", default_value_t = 4)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    trials: u16,
    /// The table to write, JSON
    #[arg(long, value_name = "TABLE.json")]
    out: PathBuf,
    #[command(flatten)]
    run: Run,
}

fn pair(row: &CaseRow) -> Result<Shown> {
    let pair = [io::read_volume(&row.fixed)?, io::read_volume(&row.moving)?];
    Ok(Shown::Pair(Box::new(pair)))
}

impl Calibrate {
    /// Of the cases in the CSV, or of phantoms.
    fn table(&self, session: &Session, bar: &mut Bar) -> Result<Table> {
        let trials = usize::from(self.trials);
        let frames = session.package().manifest.grid.is_none();
        match (self.cases.as_deref(), self.phantoms.unwrap_or_default()) {
            (Some(path), _) if frames => {
                let cases = read_frame_cases(path, &session.package().manifest, false)?;
                let mut files = OpenClip::default();
                let frames = cases.iter().map(|case| Ok(Shown::Frame(files.frame(case)?)));
                quantize::calibrate(session, frames, trials, bar)
            }
            (Some(path), _) => {
                let rows = read_cases(path)?;
                quantize::calibrate(session, rows.iter().map(pair), trials, bar)
            }
            (None, count) => {
                let shown = (0..count)
                    .map(|i| phantom(session, phantom::FIRST_TRAINING_SEED + u64::from(i)));
                quantize::calibrate(session, shown, trials, bar)
            }
        }
    }

    pub fn run(&self) -> Result<()> {
        spare_files(std::slice::from_ref(&self.out), self.cases.as_deref())?;
        // The work takes minutes: what cannot be written is said first.
        let file = io::Pending::create(&self.out)?;
        let session = self.run.session(&self.model, &mut Watch::new())?;
        let mut bar = Bar::new();
        let table = self.table(&session, &mut bar)?;
        check_interrupt()?;
        table.write(file)?;
        let mut lines =
            vec![format!("{:16} {}", "int8 error of", Range::ALL.map(Range::name).join("  "))];
        for (graph, statistics) in &table.graphs {
            let percent = |range: Range| format!("{:.2} %", 100.0 * statistics.errors[&range].all);
            lines.push(format!("{graph:16} {}", Range::ALL.map(percent).join("  ")));
        }
        say(&format!(
            "{}\n{} cases, table in {}",
            lines.join("\n"),
            table.cases,
            self.out.display()
        ))
    }
}

fn phantom(session: &Session, seed: u64) -> Result<Shown> {
    if session.package().manifest.grid.is_none() {
        return Ok(Shown::Frame(Pixels::Gray8(
            phantom::frame(seed, GOLDEN_FRAME[0], GOLDEN_FRAME[1]).0,
        )));
    }
    let (grid, size) = session.package().grid()?;
    let geometry = Geometry::new(size, grid.spacing_mm);
    let pair = phantom::pair(seed, &phantom::Options { geometry, ..Default::default() });
    Ok(Shown::Pair(Box::new([pair.fixed, pair.moving])))
}

/// A progress bar for long work.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::new(1000);
        let style = "{bar:40} {percent} %, {eta} left";
        bar.set_style(ProgressStyle::with_template(style).expect("a fixed template"));
        Bar(bar)
    }
}

impl Probe for Bar {
    fn progress(&mut self, share: f32) {
        self.0.set_position((1000.0 * share) as u64);
    }

    fn cancelled(&self) -> bool {
        check_interrupt().is_err()
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
