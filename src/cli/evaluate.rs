use std::path::{Path, PathBuf};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use crate::engine::Session;
use crate::evaluate::{CaseRow, Outcome, page::page, read_cases, summarise, write_per_case};
use crate::io::{self, FieldConvention};
use crate::probe::{Stage, timed};
use crate::registration::{Case, CaseResult, Options, Report, register_case};
use crate::{Error, Result};

use super::output::Output;
use super::{Registration, Run, Watch, print_json, to_json};

/// Register every pair of a CSV and report: report.json, report.html, per_case.csv
///
/// A pair that fails is reported and the others go on; the exit code is then 1.
#[derive(clap::Args)]
pub(super) struct Evaluate {
    /// Model: a name (see `intraop models list`), a folder or a tar
    #[arg(long)]
    model: String,
    /// CSV with the columns fixed, moving and optionally fixed_labels, moving_labels; relative
    /// paths start at the CSV
    #[arg(long)]
    cases: PathBuf,
    /// Folder for the results
    #[arg(long)]
    out: PathBuf,
    /// Also write every pair's warped image, warped labels and field
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    registration: Registration,
    #[command(flatten)]
    run: Run,
    /// Print report.json to stdout
    #[arg(long)]
    json: bool,
}

impl Evaluate {
    pub fn run(&self) -> Result<()> {
        let options = self.registration.options()?;
        let rows = read_cases(&self.cases)?;
        let output = Output::create(&self.out)?;
        let session = self.run.session(&self.model, &mut Watch::new())?;
        let outcomes = self.outcomes(rows, &session, &options, &output)?;
        let model = &session.package().manifest.name;
        let summary = summarise(model, session.threads(), &outcomes);
        io::write_atomically(&output.path("report.json"), |w| {
            writeln!(w, "{}", to_json(&summary))
        })?;
        io::write_atomically(&output.path("per_case.csv"), |w| write_per_case(w, &outcomes))?;
        let html = page(&session, &summary, &outcomes);
        io::write_atomically(&output.path("report.html"), |w| w.write_all(html.as_bytes()))?;
        super::check_interrupt()?;
        output.commit()?;
        if self.json {
            print_json(&summary);
        } else {
            let number = |v: Option<f64>| v.map_or("-".into(), |v| format!("{v:.3}"));
            println!(
                "{} pairs, Dice {} -> {}, folding {} %, {} failed\nresults in {}",
                summary.n,
                number(summary.dice_before_mean),
                number(summary.dice_after_mean),
                number(summary.folding_percent_mean),
                summary.failed.len(),
                self.out.display()
            );
        }
        match summary.failed.first() {
            None => Ok(()),
            Some(first) => Err(Error::Failed {
                failed: summary.failed.len(),
                of: outcomes.len(),
                first: first.error.clone(),
            }),
        }
    }

    fn outcomes(
        &self,
        rows: Vec<CaseRow>,
        session: &Session,
        options: &Options,
        output: &Output,
    ) -> Result<Vec<Outcome>> {
        let bar = ProgressBar::new(rows.len() as u64);
        let style = "{bar:40} {pos}/{len} pairs, {eta} left";
        bar.set_style(ProgressStyle::with_template(style).expect("a fixed template"));
        let mut outcomes = Vec::new();
        for (number, row) in rows.into_iter().enumerate() {
            let result = match self.one(&row, session, options) {
                Ok((report, result)) => {
                    if self.keep {
                        keep(output, number, &row, &result)?;
                    }
                    Ok(report)
                }
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                Err(error) => {
                    bar.suspend(|| log::warn!("{error}"));
                    Err(error.to_string())
                }
            };
            outcomes.push(Outcome { row, result });
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(outcomes)
    }

    fn one(
        &self,
        row: &CaseRow,
        session: &Session,
        options: &Options,
    ) -> Result<(Report, CaseResult)> {
        let mut watch = Watch::new();
        let labels = |path: &Option<PathBuf>| path.as_deref().map(io::read_labels).transpose();
        let case = timed(&mut watch, Stage::Read, || {
            Ok(Case {
                fixed: io::read_volume(&row.fixed)?,
                moving: io::read_volume(&row.moving)?,
                fixed_labels: labels(&row.fixed_labels)?,
                moving_labels: labels(&row.moving_labels)?,
                fixed_points: None,
                moving_points: None,
            })
        })?;
        let start = Instant::now();
        let result = register_case(session, &case, options, &mut watch)?;
        log::info!("{} in {:?}", row.fixed.display(), start.elapsed());
        let total = watch.start.elapsed();
        Ok((Report::new(session, result.measures.clone(), &watch.times, total), result))
    }
}

/// Writes one pair's images to the output folder under its number and the images' names.
fn keep(output: &Output, number: usize, row: &CaseRow, result: &CaseResult) -> Result<()> {
    let stem = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.split('.').next().unwrap_or_default().to_string()
    };
    let prefix = format!("{number:04}_{}_{}", stem(&row.fixed), stem(&row.moving));
    let path = |what: &str| output.path(&format!("{prefix}_{what}.nii.gz"));
    io::write_volume(&path("warped"), &result.warped, io::ScalarType::F32)?;
    io::write_field(&path("field"), &result.registered.field, FieldConvention::Itk)?;
    if let Some(labels) = &result.warped_labels {
        io::write_labels(&path("warped_labels"), labels)?;
    }
    Ok(())
}
