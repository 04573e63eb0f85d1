//! The card of an imported package: what is known of it, and what nobody said.

use std::fmt::Write;

use super::answers::Answers;
use super::read::Foreign;
use crate::engine::reference::REFERENCE;
use crate::package::sha256;
use crate::session::Session;

/// The text of README.md.
pub(super) fn write(
    foreign: &Foreign,
    answers: &Answers,
    session: &Session,
    guesses: &[String],
    difference: f64,
) -> String {
    let manifest = &session.package().manifest;
    let file = foreign.path.file_name().unwrap_or_default().to_string_lossy();
    let known = |answer: &Option<String>| answer.clone().unwrap_or("unknown".into());
    let steps: Vec<_> = session.networks().iter().flat_map(|n| n.steps()).collect();
    let own = steps.iter().filter(|s| s.engine == "intraop").count();
    let mut text = format!(
        "# {}\n{}\n\n## What it does\nUnknown: write here what goes in and what comes out.\n\n\
         Intended use: {}\n\n## Data\nTrained on: {}\n\nFigures on data that it did not see: \
         unknown. `intraop evaluate` makes them.\n\n## License\nThe weights are under {}. Authors: \
         {}. Copyright: {}.\n\n## Origin\nMade by `intraop models import` from `{file}` ({} {}, \
         operators of version {}).\n\n- SHA-256 of the graph in this folder: `{}`\n",
        manifest.name,
        manifest.description,
        manifest.intended_use,
        known(&answers.data_source),
        manifest.license,
        known(&answers.authors),
        known(&answers.copyright),
        foreign.model.producer_name,
        foreign.model.producer_version,
        foreign.opset(),
        sha256(session.package().file(&manifest.graphs[0].file)),
    );
    for line in foreign.notes.iter().chain(guesses) {
        let _ = writeln!(text, "- {line}");
    }
    let _ = writeln!(
        text,
        "- {own} of {} steps run in our engine, the others in tract.\n\n## Golden case\nExpected \
         values: {REFERENCE}, of the graph as it was before constants were computed; met within \
         {difference:.1e} of the largest value. Steps that tract runs here, too, are not proved by \
         it: compare them with onnxruntime once (docs/import.md).",
        steps.len()
    );
    text
}
