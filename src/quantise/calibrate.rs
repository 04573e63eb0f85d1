//! Runs registrations and counts what passes through the networks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tract_onnx::pb::{ModelProto, ValueInfoProto};

use super::qdq::Recipe;
use super::structure::Structure;
use super::table::SCHEMA;
use super::{Errors, GraphTable, Histogram, Range, Table};
use crate::engine::{Network, Session};
use crate::image::Volume;
use crate::package::{Graph, HeadKind, Precision};
use crate::probe::{Probe, Stage};
use crate::registration::{Options, register};
use crate::{Error, Result};

/// The errors are measured on the first cases; their inputs are kept in memory for it.
const TRIALS: usize = 4;

/// Registers the pairs (fixed, moving) and gives the statistics of every stage's activations, with
/// the errors that each kind of range causes, layer by layer.
///
/// # Errors
/// [`Error::Option`] for a package that is not f32 or without pairs; those of the pairs, of
/// [`register`] and of [`Network::new`]; [`Error::Cancelled`].
pub fn calibrate(
    session: &Session,
    pairs: impl ExactSizeIterator<Item = Result<[Volume; 2]>>,
    probe: &mut dyn Probe,
) -> Result<Table> {
    let manifest = &session.package().manifest;
    if manifest.precision != Precision::F32 || pairs.len() == 0 {
        let found =
            format!("{}, {:?}, and {} pairs", manifest.name, manifest.precision, pairs.len());
        let expected = "an f32 package and at least one pair".into();
        return Err(Error::Option { option: "calibration".into(), expected, found });
    }
    let graphs = manifest.graphs.iter().map(|graph| Observed::new(session, graph));
    let mut graphs = graphs.collect::<Result<Vec<_>>>()?;
    let cases = pairs.len();
    for (case, pair) in pairs.enumerate() {
        let [fixed, moving] = pair?;
        let mut capture = Capture { outer: probe, inputs: Vec::new() };
        register(session, &fixed, &moving, &Options::default(), &mut capture)?;
        for (graph, input) in capture.inputs {
            session.install(|| graphs[graph].see(input, case < TRIALS))?;
        }
        probe.progress(0.5 * (case + 1) as f32 / cases as f32);
    }
    let (count, mut tables) = (graphs.len() as f32, BTreeMap::new());
    for (done, observed) in graphs.into_iter().enumerate() {
        let mut progress = |share: f32| {
            probe.progress(0.5 + 0.5 * (done as f32 + share) / count);
            if probe.cancelled() { Err(Error::Cancelled) } else { Ok(()) }
        };
        let name = observed.graph.name.clone();
        tables.insert(name, observed.into_table(session, &mut progress)?);
    }
    let model = manifest.name.clone();
    Ok(Table { schema: SCHEMA, model, cases, trials: cases.min(TRIALS), graphs: tables })
}

/// Keeps the networks' inputs of one registration.
struct Capture<'a> {
    outer: &'a mut dyn Probe,
    inputs: Vec<(usize, Vec<f32>)>,
}

impl Probe for Capture<'_> {
    fn stage(&mut self, stage: Stage, took: Duration) {
        self.outer.stage(stage, took);
    }

    fn network_input(&mut self, graph: usize, input: &[f32]) {
        self.inputs.push((graph, input.to_vec()));
    }

    fn cancelled(&self) -> bool {
        self.outer.cancelled()
    }
}

/// One graph whose activations are outputs too.
struct Observed<'a> {
    graph: &'a Graph,
    model: ModelProto,
    structure: Structure,
    network: Network,
    histograms: BTreeMap<String, Histogram>,
    /// Sum and count of each channel.
    sums: BTreeMap<String, (Vec<f64>, usize)>,
    trials: Vec<Trial>,
    outputs: Vec<Vec<f32>>,
}

/// An input and what the f32 graph's heads make of it.
struct Trial {
    input: Vec<f32>,
    heads: Vec<Vec<f32>>,
}

impl<'a> Observed<'a> {
    fn new(session: &Session, graph: &'a Graph) -> Result<Self> {
        let package = session.package();
        let name = format!("{} of {}", graph.file, package.path.display());
        let model = Network::parse(&name, package.file(&graph.file))?;
        let proto = model.graph.clone().unwrap_or_default();
        let structure = Structure::of(&proto);
        let layers = structure.layers.iter().map(|l| &l.input);
        let watched: BTreeSet<&String> = structure.scale_of.keys().chain(layers).collect();
        let known: Vec<&String> = graph
            .inputs
            .iter()
            .map(|i| &i.name)
            .chain(graph.heads.iter().map(|h| &h.name))
            .collect();
        let mut open = model.clone();
        let outputs = watched.into_iter().filter(|t| !known.contains(t));
        let outputs = outputs.map(|t| ValueInfoProto { name: t.clone(), ..Default::default() });
        open.graph.get_or_insert_default().output.extend(outputs);
        Ok(Observed {
            network: Network::new(&name, &open, session.simd())?,
            graph,
            model,
            structure,
            histograms: BTreeMap::new(),
            sums: BTreeMap::new(),
            trials: Vec::new(),
            outputs: Vec::new(),
        })
    }

    /// Counts the activations of one input.
    fn see(&mut self, input: Vec<f32>, keep: bool) -> Result<()> {
        self.network.run(&[&input], &mut self.outputs)?;
        let tensors = self.network.inputs().iter().zip([&input]);
        for (info, values) in tensors.chain(self.network.outputs().iter().zip(&self.outputs)) {
            let Some(scale) = self.structure.scale_of.get(&info.name) else { continue };
            // What is only moved was counted where it came from.
            if self.structure.copied_from(&info.name).is_empty() {
                self.histograms.entry(scale.clone()).or_default().add(values);
            }
            if self.structure.layers.iter().any(|l| l.input == info.name) {
                let channels = info.shape.get(1).map_or(1, |c| (*c).max(1));
                let (sums, count) = (self.sums.entry(info.name.clone()))
                    .or_insert_with(|| (vec![0.0; channels], 0));
                let per_channel = values.len() / channels;
                for (sum, values) in sums.iter_mut().zip(values.chunks_exact(per_channel)) {
                    *sum += values.iter().copied().map(f64::from).sum::<f64>();
                }
                *count += per_channel;
            }
        }
        if keep {
            let heads = self.outputs[..self.graph.heads.len()].to_vec();
            self.trials.push(Trial { input, heads });
        }
        Ok(())
    }

    fn into_table(
        self,
        session: &Session,
        progress: &mut dyn FnMut(f32) -> Result<()>,
    ) -> Result<GraphTable> {
        let means = self.sums.iter().map(|(name, (sums, count))| {
            (name.clone(), sums.iter().map(|s| (s / *count as f64) as f32).collect())
        });
        let means = means.collect();
        let (mut errors, mut done) = (BTreeMap::new(), 0);
        let steps = Range::ALL.len() * (self.structure.layers.len() + 1);
        for range in Range::ALL {
            let scales = self.histograms.iter().map(|(name, h)| (name.clone(), range.scale(h)));
            let recipe =
                Recipe { structure: &self.structure, scales: scales.collect(), means: &means };
            let mut error = |int8: &dyn Fn(&str) -> bool| {
                done += 1;
                progress(done as f32 / steps as f32)?;
                self.error(session, &recipe.apply(&self.model, int8))
            };
            let all = error(&|_| true)?;
            let alone = self.structure.layers.iter();
            let alone = alone.map(|l| Ok((l.name.clone(), error(&|name| name == l.name)?)));
            let alone = alone.collect::<Result<_>>()?;
            errors.insert(range, Errors { all, alone });
        }
        let sha256 = self.graph.sha256.clone();
        Ok(GraphTable { sha256, histograms: self.histograms, means, errors })
    }

    /// How far a quantised model's heads are from the f32 ones, see [`Errors`].
    fn error(&self, session: &Session, model: &ModelProto) -> Result<f64> {
        let name = format!("int8 of {}", self.graph.file);
        let network = Network::new(&name, model, session.simd())?;
        let (mut change, mut whole, mut outputs) = (0.0, 0.0, Vec::new());
        for trial in &self.trials {
            session.install(|| network.run(&[&trial.input], &mut outputs))?;
            for ((head, exact), rounded) in self.graph.heads.iter().zip(&trial.heads).zip(&outputs)
            {
                for (i, (exact, rounded)) in exact.iter().zip(rounded).enumerate() {
                    let weight = match head.kind {
                        HeadKind::Affine => reach(&self.graph.inputs[0].spatial_shape, i),
                        _ => 1.0,
                    };
                    change += weight * f64::from(exact - rounded).powi(2);
                    whole += weight * f64::from(*exact).powi(2);
                }
            }
        }
        Ok(if whole > 0.0 { (change / whole).sqrt() } else { change.sqrt() })
    }
}

/// Mean square over the grid's voxels of what number `i` of an affine head is multiplied with:
/// the distance along its axis from the centre, or 1 for a shift. The grid's shape is z, y, x.
fn reach(shape: &[usize], i: usize) -> f64 {
    match shape.len().checked_sub(1 + i % 3).and_then(|axis| shape.get(axis)) {
        Some(n) if i < 9 => ((n * n) as f64 - 1.0) / 12.0,
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn affine_numbers_count_by_how_far_they_move_voxels() {
        // Mean of (x − c)² over 5 voxels: (4 + 1 + 0 + 1 + 4) / 5 = 2; over 3: 2/3; over 2: 1/4.
        let shape = [2, 3, 5];
        let weights: Vec<f64> = (0..12).map(|i| reach(&shape, i)).collect();
        let row = [2.0, 2.0 / 3.0, 0.25];
        assert_eq!(weights, [row, row, row, [1.0; 3]].concat());
    }
}
