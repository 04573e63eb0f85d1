//! What the model card says of quantization.

use std::fmt::Write;

use super::Table;
use super::outcome::{Options, Quantized};
use crate::package::{Manifest, Package};

/// The model card's file.
pub(super) const NAME: &str = "README.md";

/// The old package's card with the new name and a section on quantization; `None` where there is
/// no card.
pub(super) fn renewed(
    old: &Package,
    new: &Manifest,
    table: &Table,
    options: &Options,
    result: &Quantized,
) -> Option<Vec<u8>> {
    let card = String::from_utf8_lossy(result.files.get(NAME)?).into_owned();
    let title = |name: &str| format!("# {name}\n");
    let card = card.replacen(&title(&old.manifest.name), &title(&new.name), 1);
    let section = section(old, new, table, options, result);
    Some(format!("{}\n\n{section}", card.trim_end()).into_bytes())
}

fn section(
    old: &Package,
    new: &Manifest,
    table: &Table,
    options: &Options,
    result: &Quantized,
) -> String {
    let kept: Vec<String> = (result.layers.iter())
        .filter(|l| !l.int8)
        .map(|l| format!("`{}` of {} ({:.1} % alone)", l.layer, l.graph, 100.0 * l.error))
        .collect();
    let kept = if kept.is_empty() { "none".into() } else { kept.join(", ") };
    let mut text = format!(
        "## Quantization\nMade from the f32 package {} by `intraop quantize --range {} --error {}` \
         (standard QDQ: symmetric int8, a scale for each output channel of the weights and one \
         for each activation; corrected biases). What this card says elsewhere of file sizes and \
         figures is of the f32 package.\n\n- Activations' ranges: {}, of {} calibration cases.\n\
         - Layers that stay f32: {kept}.\n- Golden case: the f32 values of another engine, met \
         within {:.3} of the largest value.\n\n| graph | change of its output | f32 bytes | bytes \
         |\n|---|---:|---:|---:|\n",
        old.manifest.name,
        options.range,
        options.largest_error,
        options.range,
        table.cases,
        result.golden_difference,
    );
    for graph in &new.graphs {
        let errors = &table.graphs[&graph.name].errors[&options.range];
        let before = old.file(&graph.file).len();
        let after = result.files[&graph.file].len();
        let percent = 100.0 * errors.all;
        let _ = writeln!(text, "| `{}` | {percent:.2} % | {before} | {after} |", graph.file);
    }
    let _ = writeln!(
        text,
        "\nThe change is the root mean square of what int8 in every layer changes, as a share of \
         the output's, measured on {} of them.",
        table.trials
    );
    text
}
