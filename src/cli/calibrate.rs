use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};

use crate::evaluate::{CaseRow, read_cases};
use crate::image::{Geometry, Volume};
use crate::probe::Probe;
use crate::quantise::{self, Range};
use crate::{Result, io, phantom};

use super::{Run, Watch, check_interrupt, say};

/// Learn the ranges of a model's activations from pairs of images, for `quantize`
///
/// The table holds statistics only, no image. Use pairs of the training split: figures on pairs
/// that a model was calibrated with prove nothing.
#[derive(clap::Args)]
pub(super) struct Calibrate {
    /// f32 model: a name (see `intraop models list`), a folder or a tar
    #[arg(long)]
    model: String,
    /// CSV with the columns fixed and moving, as for `evaluate`; 16 to 32 pairs are enough
    #[arg(long, required_unless_present = "phantoms", conflicts_with = "phantoms")]
    cases: Option<PathBuf>,
    /// Instead of --cases: N phantom pairs, of the seeds that the trainer trains on
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    phantoms: Option<u16>,
    /// Measure what int8 does to each layer on the first N pairs only, which takes most of the time
    #[arg(long, value_name = "N", default_value_t = 4)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    trials: u16,
    /// The table to write, JSON
    #[arg(long, value_name = "TABLE.json")]
    out: PathBuf,
    #[command(flatten)]
    run: Run,
}

/// Of the trainer's phantoms.
const FIRST_SEED: u64 = 1000;

fn read(row: &CaseRow) -> Result<[Volume; 2]> {
    Ok([io::read_volume(&row.fixed)?, io::read_volume(&row.moving)?])
}

impl Calibrate {
    pub fn run(&self) -> Result<()> {
        let rows = self.cases.as_deref().map(read_cases).transpose()?.unwrap_or_default();
        // The work takes minutes: what cannot be written is said first.
        let file = io::Pending::create(&self.out)?;
        let session = self.run.session(&self.model, &mut Watch::new())?;
        let mut bar = Bar::new();
        let trials = usize::from(self.trials);
        let table = match self.phantoms {
            None => quantise::calibrate(&session, rows.iter().map(read), trials, &mut bar)?,
            Some(count) => {
                let (grid, size) = session.package().grid()?;
                let geometry = Geometry::new(size, grid.spacing_mm);
                let options = phantom::Options { geometry, ..Default::default() };
                let pairs = (0..count).map(|i| {
                    let pair = phantom::pair(FIRST_SEED + u64::from(i), &options);
                    Ok([pair.fixed, pair.moving])
                });
                quantise::calibrate(&session, pairs, trials, &mut bar)?
            }
        };
        check_interrupt()?;
        table.write(file)?;
        let mut lines =
            vec![format!("{:16} {}", "int8 error of", Range::ALL.map(Range::name).join("  "))];
        for (graph, statistics) in &table.graphs {
            let percent = |range: Range| format!("{:.2} %", 100.0 * statistics.errors[&range].all);
            lines.push(format!("{graph:16} {}", Range::ALL.map(percent).join("  ")));
        }
        say(&format!(
            "{}\n{} pairs, table in {}",
            lines.join("\n"),
            table.cases,
            self.out.display()
        ))
    }
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
