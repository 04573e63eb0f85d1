//! A package in int8.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;

use super::outcome::{LayerChoice, Options, Quantized};
use super::qdq::Recipe;
use super::structure::Structure;
use super::{Errors, GraphTable, Range, Table, card, equalize};
use crate::engine::Network;
use crate::package::{GoldenCase, Graph, MANIFEST, Manifest, Package, Precision, sha256};
use crate::session::{Session, SessionOptions};
use crate::{Error, Probe, Result};

/// A golden case tells a broken machine from rounding; with a package further from f32 than this
/// it could not.
const LARGEST_GOLDEN_DIFFERENCE: f64 = 0.2;

/// Quantizes a package into a new one called `name`, whose golden case is the old one with a
/// tolerance for int8.
///
/// # Errors
/// [`Error::Option`] for a package that is not f32, or an error that is no share;
/// [`Error::Unusable`] for a table of another model, or when no layer would be int8;
/// [`Error::Check`] when the result is far from the golden case; those of [`Session::new`];
/// [`Error::Cancelled`].
pub fn quantize(
    package: &Package,
    table: &Table,
    options: &Options,
    name: &str,
    run: &SessionOptions,
    probe: &mut dyn Probe,
) -> Result<Quantized> {
    let mut manifest = package.manifest.clone();
    if manifest.precision != Precision::F32 {
        return Err(Error::Option {
            option: "model".into(),
            expected: "an f32 package".into(),
            found: format!("{}, which is {:?}", manifest.name, manifest.precision),
        });
    }
    if !(options.largest_error >= 0.0 && options.largest_error.is_finite()) {
        return Err(Error::Option {
            option: "error".into(),
            expected: "a share from 0 on".into(),
            found: options.largest_error.to_string(),
        });
    }
    let mut files = package.other_files()?;
    let mut layers = Vec::new();
    let steps = manifest.graphs.len() as f32 + 1.0;
    for (done, graph) in manifest.graphs.iter_mut().enumerate() {
        if probe.cancelled() {
            return Err(Error::Cancelled);
        }
        let onnx = quantize_graph(package, graph, table, options, &mut layers)?;
        graph.sha256 = sha256(&onnx);
        files.insert(graph.file.clone(), onnx);
        probe.progress((done + 1) as f32 / steps);
    }
    if !layers.iter().any(|layer| layer.int8) {
        let problem = format!("no layer is within an error of {} in int8", options.largest_error);
        return Err(Error::unusable(&manifest.name, problem, "allow a larger error"));
    }
    manifest.precision = Precision::Int8;
    manifest.name = name.into();
    let mut case = package.golden()?;
    // Any difference will do: how large it is, is asked here.
    case.tolerance = f64::MAX;
    insert(&case, &mut manifest, &mut files);
    let made = Package::from_files(&package.path, &files[MANIFEST], files.clone())?;
    let golden_difference = Session::new(made, run.clone())?.verify()?;
    if golden_difference > LARGEST_GOLDEN_DIFFERENCE {
        let problem = format!(
            "int8 differs from the golden case by {golden_difference:.2}, more than \
             {LARGEST_GOLDEN_DIFFERENCE}; allow a smaller error"
        );
        return Err(Error::Check { name: name.into(), problem });
    }
    case.tolerance = tolerance(golden_difference);
    case.engine = format!("{} in f32", case.engine);
    insert(&case, &mut manifest, &mut files);
    let result = Quantized { files, layers, golden_difference };
    let card = card::renewed(package, &manifest, table, options, &result);
    let mut files = result.files;
    files.extend(card.map(|card| (card::NAME.to_string(), card)));
    probe.progress(1.0);
    Ok(Quantized { files, ..result })
}

/// What a golden case accepts where this difference was found. Half as much again: on other
/// machines the f32 layers round otherwise.
fn tolerance(golden_difference: f64) -> f64 {
    (150.0 * golden_difference).ceil().max(1.0) / 100.0
}

/// Puts the golden case and the manifest that names it into the package.
fn insert(case: &GoldenCase, manifest: &mut Manifest, files: &mut BTreeMap<String, Vec<u8>>) {
    let golden = serde_json::to_vec(case).expect("a golden case holds only numbers and texts");
    manifest.golden.sha256 = sha256(&golden);
    files.insert(manifest.golden.file.clone(), golden);
    let text = toml::to_string(manifest).expect("a manifest that was read can be written");
    files.insert(MANIFEST.into(), text.into());
}

/// The new ONNX file of a graph; appends what became of its layers.
fn quantize_graph(
    package: &Package,
    graph: &Graph,
    table: &Table,
    options: &Options,
    layers: &mut Vec<LayerChoice>,
) -> Result<Vec<u8>> {
    let name = format!("{} of {}", graph.file, package.path.display());
    let model = Network::parse(&name, package.file(&graph.file))?;
    let opset = model.opset_import.iter().find(|o| o.domain.is_empty() || o.domain == "ai.onnx");
    if opset.is_none_or(|o| o.version < 13) {
        let problem = "its operators are older than opset 13, which has scales for each channel";
        return Err(Error::unusable(name, problem, "export it with opset 13 or newer"));
    }
    let structure = Structure::of(&model.graph.clone().unwrap_or_default());
    let statistics = table.graphs.get(&graph.name).filter(|t| t.sha256 == graph.sha256);
    let statistics = statistics.filter(|t| fits(t, &structure, options.range));
    let statistics = statistics.ok_or_else(|| {
        let problem = format!("it is of another model than {name}");
        Error::unusable("calibration table", problem, "calibrate this package")
    })?;
    let errors = &statistics.errors[&options.range];
    let int8 = chosen(errors, options.largest_error);
    layers.extend(structure.layers.iter().map(|layer| LayerChoice {
        graph: graph.name.clone(),
        layer: layer.name.clone(),
        error: errors.alone[&layer.name],
        int8: int8.contains(layer.name.as_str()),
    }));
    let scales = (statistics.histograms.iter())
        .map(|(tensors, histogram)| (tensors.clone(), options.range.scale(histogram)));
    let recipe =
        Recipe { structure: &structure, scales: scales.collect(), means: &statistics.means };
    let model = equalize::apply(&model, &structure, &statistics.exponents);
    Ok(recipe.apply(&model, |layer| int8.contains(layer)).encode_to_vec())
}

/// Does the table know all that the graph needs?
fn fits(table: &GraphTable, structure: &Structure, range: Range) -> bool {
    let errors = table.errors.get(&range);
    structure.scale_of.values().all(|name| table.histograms.contains_key(name))
        && structure.layers.iter().all(|layer| {
            table.means.get(&layer.input).is_some_and(|m| m.len() == layer.channels)
                && errors.is_some_and(|e| e.alone.contains_key(&layer.name))
        })
}

/// The layers to run in int8: the most harmless, as long as their errors add up (as independent
/// ones do, by their squares) to no more than `largest`.
fn chosen(errors: &Errors, largest: f64) -> BTreeSet<&str> {
    let mut layers: Vec<(&str, f64)> = errors.alone.iter().map(|(l, e)| (l.as_str(), *e)).collect();
    layers.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut sum = 0.0;
    let within = layers.into_iter().take_while(|(_, error)| {
        sum += error * error;
        sum <= largest * largest
    });
    within.map(|(layer, _)| layer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_golden_case_accepts_half_as_much_again_and_never_nothing() {
        assert_eq!([0.0, 0.001, 0.05].map(tolerance), [0.01, 0.01, 0.08]);
    }

    #[test]
    fn the_worst_layers_stay_until_the_rest_is_within_the_limit() {
        let alone = [("a", 0.03), ("b", 0.5), ("c", 0.04), ("d", f64::NAN)];
        let alone = alone.map(|(layer, error)| (layer.to_string(), error)).into();
        let errors = Errors { all: 0.5, alone };
        let layers = |largest| chosen(&errors, largest).into_iter().collect::<Vec<_>>();
        assert_eq!(layers(0.051), ["a", "c"]);
        assert_eq!(layers(0.049), ["a"]);
        assert_eq!(layers(0.6), ["a", "b", "c"]);
        assert!(layers(0.0).is_empty());
    }
}
