use std::path::Path;

use super::{Evaluate, Reports, bytes, each, number};
use intraop::evaluate::registration::{
    CaseRow, Outcome, page, read_cases, summarize, write_per_case,
};
use intraop::io::{self, FieldConvention};
use intraop::registration::{Options, RegistrationReport, register_case, stages};
use intraop::session::Session;
use intraop::{Error, Result, Stage, timed};

use crate::output::Output;
use crate::results::{self, Files};
use crate::say::to_json;
use crate::watch::Watch;

impl Evaluate {
    pub fn pairs(&self, session: &Session) -> Result<(Output, Reports)> {
        self.refuse("failure", self.failure.is_some(), session)?;
        let options = self.registration.options()?;
        let rows = read_cases(&self.cases)?;
        // Wrong usage is not a failed case.
        stages(session, &options)?;
        let output = Output::create(&self.out)?;
        let folder = |number: usize, row: &CaseRow| {
            let name = format!("{number:04}_{}", row.names().join("_"));
            self.keep.then(|| output.path(&name))
        };
        let results = each(rows, |i, row| one(row, session, &options, folder(i, row).as_deref()))?;
        let outcome = |(row, result)| Outcome { row, result };
        let outcomes: Vec<Outcome> = results.into_iter().map(outcome).collect();
        let summary = summarize(&session.package().manifest.name, session, &outcomes);
        let words = format!(
            "{} pairs, Dice {} -> {}, folding {} %, {} failed",
            summary.n,
            number(summary.dice_before_mean),
            number(summary.dice_after_mean),
            number(summary.folding_percent_mean),
            summary.failed.len(),
        );
        let reports = Reports {
            summary: to_json(&summary),
            per_case: bytes(|w| write_per_case(w, &outcomes)),
            html: page(session, &summary, &outcomes),
            words,
            failed: summary.failed.into_iter().map(|f| f.error).collect(),
            of: outcomes.len(),
            inputs: outcomes.into_iter().flat_map(|o| [o.row.fixed, o.row.moving]).collect(),
        };
        Ok((output, reports))
    }
}

/// Registers one pair; writes its results to `folder` where there is one.
fn one(
    row: &CaseRow,
    session: &Session,
    options: &Options,
    folder: Option<&Path>,
) -> Result<RegistrationReport> {
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
    let report =
        RegistrationReport::new(session, result.measures, &watch.times, watch.start.elapsed());
    if let Some(folder) = folder {
        let path = folder.join("report.json");
        io::write_atomically(&path, |w| writeln!(w, "{}", to_json(&report)))?;
    }
    Ok(report)
}
