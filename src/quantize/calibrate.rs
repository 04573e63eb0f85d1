//! Runs registrations and counts what passes through the networks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::engine::onnx::{ModelProto, ValueInfoProto};

use super::equalize::{self, Exponents};
use super::qdq::Recipe;
use super::structure::Structure;
use super::table::SCHEMA;
use super::{Errors, GraphTable, Histogram, Range, Table};
use crate::engine::{Network, TensorInfo};
use crate::image::{Pixels, Volume};
use crate::landmarks::Finder;
use crate::package::{Graph, HeadKind, Precision};
use crate::registration::{Options, register};
use crate::session::Session;
use crate::{Error, Probe, Result, Stage};

/// What a package is shown to learn its ranges.
pub enum Shown {
    /// Fixed and moving.
    Pair(Box<[Volume; 2]>),
    Frame(Pixels),
}

/// Registers pairs, or looks at frames, and gives the statistics of every graph's activations, with
/// the errors that each kind of range causes, layer by layer.
///
/// The errors are measured on the first `trials` cases (at least one): their inputs are kept in
/// memory, and every graph runs on each 4 · (1 + its layers) times.
///
/// # Errors
/// [`Error::Option`] for a package that is not f32, without cases, or for the other kind of image;
/// those of the cases, of [`register`], [`Finder`] and [`Network::new`]; [`Error::Cancelled`].
pub fn calibrate(
    session: &Session,
    cases: impl ExactSizeIterator<Item = Result<Shown>>,
    trials: usize,
    probe: &mut dyn Probe,
) -> Result<Table> {
    let manifest = &session.package().manifest;
    let count = cases.len();
    if manifest.precision != Precision::F32 || count == 0 {
        let found = format!("{}, {:?}, and {count} cases", manifest.name, manifest.precision);
        let expected = "an f32 package and at least one case".into();
        return Err(Error::Option { option: "calibration".into(), expected, found });
    }
    let trials = trials.clamp(1, count);
    let mut first = vec![Vec::new(); manifest.graphs.len()];
    let mut graphs = Vec::new();
    for (case, shown) in cases.enumerate() {
        let mut capture = Capture { outer: probe, inputs: Vec::new() };
        match shown? {
            Shown::Pair(pair) => {
                let [fixed, moving] = &*pair;
                register(session, fixed, moving, &Options::default(), &mut capture)?;
            }
            Shown::Frame(pixels) => {
                let name = format!("calibration frame {}", case + 1);
                Finder::new(session)?.run(&pixels, &name, &mut capture)?;
            }
        }
        for (graph, input) in capture.inputs {
            let observed: Option<&mut Observed> = graphs.get_mut(graph);
            match observed {
                None => first[graph].push(input),
                Some(observed) => session.install(|| observed.count(&input))?,
            }
        }
        if case + 1 == trials {
            let known = manifest.graphs.iter().zip(std::mem::take(&mut first));
            let known = known.map(|(graph, inputs)| Observed::new(session, graph, inputs));
            graphs = session.install(|| known.collect::<Result<Vec<_>>>())?;
        }
        probe.progress(0.5 * (case + 1) as f32 / count as f32);
    }
    let (networks, mut tables) = (graphs.len() as f32, BTreeMap::new());
    for (done, observed) in graphs.into_iter().enumerate() {
        let mut progress = |share: f32| {
            probe.progress(0.5 + 0.5 * (done as f32 + share) / networks);
            if probe.cancelled() { Err(Error::Cancelled) } else { Ok(()) }
        };
        let name = observed.graph.name.clone();
        tables.insert(name, observed.into_table(session, &mut progress)?);
    }
    let model = manifest.name.clone();
    Ok(Table { schema: SCHEMA, model, cases: count, trials, graphs: tables })
}

/// Keeps the networks' inputs of one case.
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

/// One graph, its channels brought to one magnitude.
struct Observed<'a> {
    graph: &'a Graph,
    structure: Structure,
    exponents: Exponents,
    model: ModelProto,
    /// The model with the activations that matter as outputs, after its heads.
    open: Network,
    trials: Vec<Trial>,
    histograms: BTreeMap<String, Histogram>,
    /// Of every layer's input.
    channels: BTreeMap<String, Channels>,
}

/// An input and what the f32 graph's heads make of it.
struct Trial {
    input: Vec<f32>,
    heads: Vec<Vec<f32>>,
}

/// What is known of the values of each channel.
#[derive(Default)]
struct Channels {
    sums: Vec<f64>,
    /// Largest magnitudes.
    peaks: Vec<f32>,
    /// Values in one channel.
    count: usize,
}

impl Channels {
    fn add(&mut self, shape: &[usize], tensor: &[f32]) {
        let channels = shape.get(1).map_or(1, |c| (*c).max(1));
        self.sums.resize(channels, 0.0);
        self.peaks.resize(channels, 0.0);
        let per_channel = tensor.len() / channels;
        for (c, values) in tensor.chunks_exact(per_channel.max(1)).enumerate() {
            self.sums[c] += values.iter().copied().map(f64::from).sum::<f64>();
            self.peaks[c] = values.iter().fold(self.peaks[c], |m, v| m.max(v.abs()));
        }
        self.count += per_channel;
    }

    fn means(&self) -> Vec<f32> {
        self.sums.iter().map(|sum| (sum / self.count as f64) as f32).collect()
    }
}

impl<'a> Observed<'a> {
    /// Learns the channels' magnitudes from the first inputs, which it counts, too.
    fn new(session: &Session, graph: &'a Graph, inputs: Vec<Vec<f32>>) -> Result<Self> {
        let package = session.package();
        let name = format!("{} of {}", graph.file, package.path.display());
        let model = Network::parse(&name, package.file(&graph.file))?;
        let proto = model.graph.clone().unwrap_or_default();
        let structure = Structure::of(&proto);
        let mut open = open(&name, &model, &structure, session)?;
        let (mut channels, mut trials) = (BTreeMap::new(), Vec::new());
        for input in inputs {
            let mut heads = each_tensor(&open, &input, |info, values| {
                let channels: &mut Channels = channels.entry(info.name.clone()).or_default();
                channels.add(&info.shape, values);
            })?;
            heads.truncate(graph.heads.len());
            trials.push(Trial { input, heads });
        }
        let peaks = channels.into_iter().map(|(tensor, channels)| (tensor, channels.peaks));
        let exponents = equalize::exponents(&proto, &structure, &peaks.collect());
        let model = equalize::apply(&model, &structure, &exponents);
        open = self::open(&name, &model, &structure, session)?;
        let (histograms, channels) = Default::default();
        let mut observed =
            Observed { graph, structure, exponents, model, open, trials, histograms, channels };
        for trial in std::mem::take(&mut observed.trials) {
            observed.count(&trial.input)?;
            observed.trials.push(trial);
        }
        Ok(observed)
    }

    /// Counts the activations of one input.
    fn count(&mut self, input: &[f32]) -> Result<()> {
        let Observed { structure, histograms, channels, .. } = self;
        each_tensor(&self.open, input, |info, values| {
            let Some(scale) = structure.scale_of.get(&info.name) else { return };
            // What is only moved was counted where it came from.
            if structure.copied_from(&info.name).is_empty() {
                histograms.entry(scale.clone()).or_default().add(values);
            }
            if structure.layers.iter().any(|l| l.input == info.name) {
                channels.entry(info.name.clone()).or_default().add(&info.shape, values);
            }
        })?;
        Ok(())
    }

    fn into_table(
        self,
        session: &Session,
        progress: &mut dyn FnMut(f32) -> Result<()>,
    ) -> Result<GraphTable> {
        let means = self.channels.iter().map(|(tensor, c)| (tensor.clone(), c.means()));
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
        let (exponents, histograms) = (self.exponents, self.histograms);
        Ok(GraphTable { sha256, exponents, histograms, means, errors })
    }

    /// How far a quantized model's heads are from the f32 ones, see [`Errors`].
    fn error(&self, session: &Session, model: &ModelProto) -> Result<f64> {
        let name = format!("int8 of {}", self.graph.file);
        let network = Network::new(&name, model, session.simd())?;
        // Per head: sums of squares of the change and of the whole.
        let (mut sums, mut outputs) = (vec![[0.0; 2]; self.graph.heads.len()], Vec::new());
        for trial in &self.trials {
            session.install(|| network.run(&[&trial.input], &mut outputs))?;
            let heads = self.graph.heads.iter().zip(&trial.heads).zip(&outputs);
            for (((head, exact), rounded), [change, whole]) in heads.zip(&mut sums) {
                for (i, (exact, rounded)) in exact.iter().zip(rounded).enumerate() {
                    let weight = match head.kind {
                        HeadKind::Affine => reach(&self.graph.inputs[0].spatial_shape, i),
                        _ => 1.0,
                    };
                    *change += weight * f64::from(exact - rounded).powi(2);
                    *whole += weight * f64::from(*exact).powi(2);
                }
            }
        }
        let share =
            |[change, whole]: &[f64; 2]| if *whole > 0.0 { change / whole } else { *change };
        let heads = sums.len() as f64;
        Ok((sums.iter().map(share).sum::<f64>() / heads).sqrt())
    }
}

/// Compiles a model with every tensor that may be quantized as an output, after its heads.
fn open(
    name: &str,
    model: &ModelProto,
    structure: &Structure,
    session: &Session,
) -> Result<Network> {
    let mut model = model.clone();
    let graph = model.graph.get_or_insert_default();
    let known: BTreeSet<&String> =
        graph.input.iter().chain(&graph.output).map(|info| &info.name).collect();
    let watched = structure.scale_of.keys().filter(|tensor| !known.contains(tensor));
    let watched = watched.map(|t| ValueInfoProto { name: t.clone(), ..Default::default() });
    let watched: Vec<_> = watched.collect();
    graph.output.extend(watched);
    Ok(Network::new(name, &model, session.simd())?)
}

/// Runs a network and shows its input and every output; gives the outputs.
fn each_tensor(
    network: &Network,
    input: &[f32],
    mut see: impl FnMut(&TensorInfo, &[f32]),
) -> Result<Vec<Vec<f32>>> {
    let mut outputs = Vec::new();
    network.run(&[input], &mut outputs)?;
    network.inputs().iter().for_each(|info| see(info, input));
    network.outputs().iter().zip(&outputs).for_each(|(info, values)| see(info, values));
    Ok(outputs)
}

/// Mean square over the grid's voxels of what number `i` of an affine head is multiplied with:
/// the distance along its axis from the center, or 1 for a shift. The grid's shape is z, y, x.
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
