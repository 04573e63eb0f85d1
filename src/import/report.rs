//! What a foreign model is, what would run where, and how fast.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::engine::onnx::ModelProto;
use crate::engine::onnx::tensor_proto::DataType;
use prost::Message;
use serde::Serialize;

use super::adapt::adapt;
use super::answers::{Answers, Question};
use super::fold::fold;
use super::read::{Foreign, Slot, unfit};
use super::spec;
use crate::engine::Network;
use crate::engine::threads::pool;
use crate::session::SessionOptions;
use crate::{Error, Result};

/// All that can be said of a model before it is a package.
#[derive(Debug, Clone, Serialize)]
pub struct Inspection {
    pub file: String,
    pub bytes: u64,
    pub producer: String,
    pub opset: i64,
    pub inputs: Vec<Slot>,
    pub outputs: Vec<Slot>,
    /// How often each operator stands in the file.
    pub operators: BTreeMap<String, usize>,
    /// Numbers in weights, by type; where there is a plan, of what it is of.
    pub weights: BTreeMap<String, usize>,
    pub notes: Vec<String>,
    /// What was guessed about it.
    pub guesses: Vec<String>,
    /// What an import would have to be told.
    pub missing: Vec<Question>,
    /// Why it does not run, or cannot become a package.
    pub problem: Option<String>,
    pub plan: Option<Planned>,
}

/// What a plan is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// What an import would make, but for the few last steps that open questions of values, units
    /// and axes may add.
    Package,
    /// All that the file's outputs need: it is not known what an import would make of it.
    WholeFile,
}

/// What would run where, and how fast on this machine.
#[derive(Debug, Clone, Serialize)]
pub struct Planned {
    pub of: Scope,
    /// Shapes that the figures are of, by input.
    pub input_shapes: BTreeMap<String, Vec<usize>>,
    pub output_shapes: BTreeMap<String, Vec<usize>>,
    /// How many steps of each operation run in our engine, and in tract.
    pub intraop: BTreeMap<String, usize>,
    pub tract: BTreeMap<String, usize>,
    /// Multiply-accumulates; `share` of them run in our engine.
    pub macs: usize,
    pub share: f64,
    pub threads: usize,
    pub simd: &'static str,
    pub load_ms: f64,
    pub first_ms: f64,
    pub warm_ms_median: f64,
    pub runs: usize,
}

/// Inspects a model: reads, plans and times it, as far as the answers let it.
///
/// # Errors
/// [`Error::Option`] for answers that do not fit it.
pub fn inspect(foreign: &Foreign, answers: &Answers, run: &SessionOptions) -> Result<Inspection> {
    let graph = foreign.graph();
    let producer = format!("{} {}", foreign.model.producer_name, foreign.model.producer_version);
    let mut report = Inspection {
        file: foreign.path.display().to_string(),
        bytes: foreign.bytes,
        producer: producer.trim().to_string(),
        opset: foreign.opset(),
        inputs: foreign.inputs(),
        outputs: foreign.outputs(),
        operators: count(graph.node.iter().map(|n| n.op_type.clone())),
        weights: weights(&foreign.model),
        notes: foreign.notes.clone(),
        guesses: vec![],
        missing: vec![],
        problem: None,
        plan: None,
    };
    match fill(&mut report, foreign, answers, run) {
        Err(e @ Error::Option { .. }) => return Err(e),
        Err(e) => report.problem = Some(unfit(e).to_string()),
        Ok(()) => {}
    }
    Ok(report)
}

fn fill(
    report: &mut Inspection,
    foreign: &Foreign,
    answers: &Answers,
    run: &SessionOptions,
) -> Result<()> {
    let fixed = match foreign.fix(answers)? {
        Ok(fixed) => fixed,
        Err(shapes) => {
            report.missing = super::before_shapes(shapes, answers);
            return Ok(());
        }
    };
    let resolved = spec::resolve(&report.file, &fixed, answers);
    if let Ok((_, open)) = &resolved {
        report.missing.clone_from(&open.questions);
    }
    let (of, model) = match &resolved {
        Ok((spec, open)) if !open.asks("head") => {
            (Scope::Package, adapt(&fixed.model, &fixed.inputs, spec))
        }
        _ => (Scope::WholeFile, fixed.model),
    };
    let folded = fold(&report.file, &model)?;
    // Also weights that the file computes.
    report.weights = weights(&folded);
    report.plan = Some(planned(&report.file, &folded, of, run)?);
    report.guesses = resolved?.0.guesses;
    Ok(())
}

fn count(names: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    names.for_each(|name| *counts.entry(name).or_insert(0) += 1);
    counts
}

fn weights(model: &ModelProto) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    let numbers = [DataType::Float, DataType::Int8, DataType::Uint8, DataType::Int32];
    for tensor in model.graph.iter().flat_map(|g| &g.initializer) {
        if numbers.iter().any(|kind| *kind as i32 == tensor.data_type) {
            let side = |d: &i64| usize::try_from(*d).ok();
            let size = tensor.dims.iter().try_fold(1usize, |n, d| n.checked_mul(side(d)?));
            let sum: &mut usize = counts.entry(super::read::dtype(tensor.data_type)).or_default();
            *sum = sum.saturating_add(size.unwrap_or(0));
        }
    }
    counts
}

/// Runs are repeated for this long, after the first at least twice.
const SECONDS: f64 = 0.5;

fn planned(name: &str, model: &ModelProto, of: Scope, run: &SessionOptions) -> Result<Planned> {
    let bytes = model.encode_to_vec();
    let pool = pool(run.threads, &run.cores)?;
    pool.install(|| {
        let start = Instant::now();
        let network = Network::new(name, &Network::parse(name, &bytes)?, run.simd)?;
        let load_ms = start.elapsed().as_secs_f64() * 1e3;
        let inputs: Vec<Vec<f32>> = network.inputs().iter().map(|i| noise(&i.shape)).collect();
        let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let (mut outputs, mut times) = (Vec::new(), Vec::new());
        let first = Instant::now();
        while times.len() < 3 || first.elapsed().as_secs_f64() < SECONDS {
            let start = Instant::now();
            network.run(&inputs, &mut outputs)?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        let first_ms = times.remove(0);
        times.sort_by(f64::total_cmp);
        let steps = network.steps();
        let (own, others): (Vec<_>, Vec<_>) = steps.iter().partition(|s| s.engine == "intraop");
        let sum = |steps: &[&crate::engine::StepInfo]| steps.iter().map(|s| s.macs).sum::<usize>();
        let macs = sum(&own) + sum(&others);
        let shapes = |tensors: &[crate::engine::TensorInfo]| {
            tensors.iter().map(|t| (t.name.clone(), t.shape.clone())).collect()
        };
        Ok(Planned {
            of,
            input_shapes: shapes(network.inputs()),
            output_shapes: shapes(network.outputs()),
            intraop: count(own.iter().map(|s| s.op.clone())),
            tract: count(others.iter().map(|s| s.op.clone())),
            macs,
            share: if macs == 0 { 0.0 } else { sum(&own) as f64 / macs as f64 },
            threads: run.threads,
            simd: run.simd.level().name(),
            load_ms,
            first_ms,
            warm_ms_median: times[times.len() / 2],
            runs: times.len(),
        })
    })
}

/// Values from 0 to 1, the same every time.
fn noise(shape: &[usize]) -> Vec<f32> {
    let mut random = crate::engine::Random::new(1);
    (0..shape.iter().product()).map(|_| random.range(0.0, 1.0) as f32).collect()
}

/// Why a model is no package yet.
pub(super) fn unanswered(name: &str, questions: &[Question]) -> Error {
    let one = |q: &Question| format!("{} {}", q.answer, q.choices);
    let list: Vec<String> = questions.iter().map(one).collect();
    let problem = format!("the file does not say: {}", list.join("; "));
    Error::unusable(name, problem, "say it")
}
