use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};

use crate::engine::Session;
use crate::evaluate::{
    CaseRow, Outcome, Summary, page::page, read_cases, summarise, write_per_case,
};
use crate::io::{self, FieldConvention};
use crate::probe::{Stage, timed};
use crate::registration::{Options, Report, register_case, stages};
use crate::{Error, Result};

use super::output::Output;
use super::results::{self, Files};
use super::{Registration, Run, Watch, say, to_json};

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
    /// Also write every pair's results, as `register` does, in a folder each
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
        // Wrong usage is not a failed case.
        stages(&session, &options)?;
        let outcomes = self.outcomes(rows, &session, &options, &output)?;
        let model = &session.package().manifest.name;
        let summary = summarise(model, &session, &outcomes);
        io::write_atomically(&output.path("report.json"), |w| {
            writeln!(w, "{}", to_json(&summary))
        })?;
        io::write_atomically(&output.path("per_case.csv"), |w| write_per_case(w, &outcomes))?;
        let html = page(&session, &summary, &outcomes);
        io::write_atomically(&output.path("report.html"), |w| w.write_all(html.as_bytes()))?;
        super::check_interrupt()?;
        output.commit(&[])?;
        if self.json {
            say(&to_json(&summary))?;
        } else {
            say(&self.in_words(&summary))?;
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

    fn in_words(&self, summary: &Summary) -> String {
        let number = |v: Option<f64>| v.map_or("-".into(), |v| format!("{v:.3}"));
        format!(
            "{} pairs, Dice {} -> {}, folding {} %, {} failed\nresults in {}",
            summary.n,
            number(summary.dice_before_mean),
            number(summary.dice_after_mean),
            number(summary.folding_percent_mean),
            summary.failed.len(),
            self.out.display()
        )
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
            let folder =
                self.keep.then(|| output.path(&format!("{number:04}_{}", row.names().join("_"))));
            let result = match one(&row, session, options, folder.as_deref()) {
                Ok(report) => Ok(report),
                Err(error @ (Error::Cancelled | Error::Unwritable { .. })) => return Err(error),
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
}

/// Registers one pair; writes its results to `folder` where there is one.
fn one(
    row: &CaseRow,
    session: &Session,
    options: &Options,
    folder: Option<&Path>,
) -> Result<Report> {
    let mut watch = Watch::new();
    let files = Files {
        fixed: Some(row.fixed.clone()),
        moving: Some(row.moving.clone()),
        fixed_labels: row.fixed_labels.clone(),
        moving_labels: row.moving_labels.clone(),
        ..Files::default()
    };
    let input = timed(&mut watch, Stage::Read, || results::read(&files))?;
    let result =
        register_case(session, &input.case, options, &mut watch).map_err(|e| files.name(e))?;
    if let Some(folder) = folder {
        let unwritable = |source| Error::Unwritable { path: folder.to_owned(), source };
        std::fs::create_dir(folder).map_err(unwritable)?;
        let (title, itk) = (files.title(), FieldConvention::Itk);
        results::write(folder, &title, &input, &result, itk, &mut watch)?;
    }
    let report = Report::new(session, result.measures, &watch.times, watch.start.elapsed());
    if let Some(folder) = folder {
        let path = folder.join("report.json");
        io::write_atomically(&path, |w| writeln!(w, "{}", to_json(&report)))?;
    }
    Ok(report)
}
