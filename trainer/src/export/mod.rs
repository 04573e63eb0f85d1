//! From a training run to a package that has proved itself: every graph computed by tch, and by
//! the runtime from the finished files, with the same result.

mod card;
mod history;
mod landmarks;
mod registration;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use intraop_core::package::{
    Golden, GoldenCase, GoldenOutput, Graph, Head, Input, MANIFEST, Manifest, Measurement, Package,
    Precision, SCHEMA, Task, golden_input, sha256,
};
use intraop_core::phantom::FIRST_TRAINING_SEED;
use intraop_core::preprocess::{GridSpec, Step};
use intraop_core::session::{Session, SessionOptions};
use serde_json::Value;
use tch::{Tensor, no_grad};

use crate::checkpoint::{self, State};
use crate::recipe::Recipe;
use crate::recipe::landmarks::Landmarks;
use crate::recipe::registration::Registration;
use crate::recipe::run::{Student, Trainer};

/// Phantom of the golden case.
const SEED: u64 = 7;
/// Numbers kept of each output.
const SAMPLES: usize = 1000;
/// Largest difference between tch and the runtime, as a share of an output's largest value.
const TOLERANCE: f64 = 1e-4;
const ENGINE: &str = "libtorch 2.11.0 (tch 0.24.0)";
const GOLDEN: &str = "golden.json";
const LICENSE: &str = "LICENSE";

#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Folder of the training run
    #[arg(long)]
    run: PathBuf,
    /// Name of the package
    #[arg(long)]
    name: String,
    /// Folder to make
    #[arg(long)]
    out: PathBuf,
    /// Take the weights with the best validation, not the last
    #[arg(long)]
    best: bool,
    /// Version of the package
    #[arg(long, default_value = "0.1.0")]
    package_version: String,
    /// What it does, in a sentence
    #[arg(long)]
    description: Option<String>,
    /// Terms of the weights, as an SPDX expression
    #[arg(long, value_name = "SPDX")]
    license: String,
    /// Terms of the training data; those of the weights unless given
    #[arg(long, value_name = "SPDX")]
    data_license: Option<String>,
    /// Whom the data's terms ask to be named, and what was changed
    #[arg(long, default_value = "")]
    attribution: String,
    /// What was trained on: name, origin, split; needed unless that was phantoms
    #[arg(long)]
    data_source: Option<String>,
    /// Where the data can be had
    #[arg(long, value_name = "URL")]
    source_url: Option<String>,
    #[arg(long, default_value = "Research and engineering. Not a medical device.")]
    intended_use: String,
    /// As in DICOM: MR, CT, US; of frames US, else MR unless given
    #[arg(long)]
    modality: Option<String>,
    /// report.json of `intraop evaluate` with this model; without it the card has the figures
    /// of the subjects kept aside
    #[arg(long, value_name = "JSON", requires = "metrics_source")]
    metrics: Option<PathBuf>,
    /// What --metrics was measured on and how: split, number of pairs, command
    #[arg(long, value_name = "TEXT", requires = "metrics")]
    metrics_source: Option<String>,
}

/// One graph in every form.
struct Stage {
    graph: Graph,
    onnx: Vec<u8>,
    parameters: usize,
}

impl Stage {
    fn new(name: &str, onnx: Vec<u8>, parameters: usize, input: Input, heads: Vec<Head>) -> Self {
        let graph = Graph {
            name: name.into(),
            file: format!("{name}.onnx"),
            sha256: sha256(&onnx),
            inputs: vec![input],
            heads,
        };
        Stage { graph, onnx, parameters }
    }
}

/// What a recipe's student is as a package.
trait Exported: Student {
    const TASK: Task;
    /// As in DICOM, unless an option says another.
    const MODALITY: &'static str;

    fn grid(recipe: &Self::Recipe) -> Option<GridSpec>;

    fn preprocess(recipe: &Self::Recipe) -> Vec<Step>;

    /// What is measured in frames.
    fn measurements() -> Vec<Measurement> {
        Vec::new()
    }

    /// How many phantoms it was trained on, if on phantoms.
    fn phantoms(recipe: &Self::Recipe) -> Option<usize>;

    fn stages(&self, recipe: &Self::Recipe, modality: &str) -> Vec<Stage>;

    /// Every graph's heads for an input of the first graph's shape.
    fn answers(&self, input: &Tensor) -> Vec<Vec<Tensor>>;

    /// What the package does, in a sentence.
    fn description(modality: &str) -> String;

    /// What the card says of this recipe only.
    fn words(state: &State<Self::Recipe>) -> card::Words;

    /// The panels of the training's plot below the loss: title and lines, by name and figure.
    fn panels() -> &'static [history::Panel];
}

/// Makes the package; nothing is left where anything fails.
///
/// # Errors
/// Names the option, the file or the graph that is wrong.
pub fn export(options: &Options) -> Result<()> {
    let out = &options.out;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    ensure!(
        options.name.chars().all(plain) && options.name.starts_with(char::is_alphanumeric),
        "--name: expected letters, digits, - and _, found {:?}",
        options.name
    );
    ensure!(!out.exists(), "{}: there already; remove it, or choose another --out", out.display());
    match &checkpoint::command(&options.run)?[..] {
        "landmarks" => export_as::<Landmarks>(options),
        _ => export_as::<Registration>(options),
    }
}

fn export_as<S: Exported>(options: &Options) -> Result<()> {
    let out = &options.out;
    let trainer = Trainer::<S>::load(&options.run, options.best)?;
    let state = &trainer.state;
    let modality = options.modality.as_deref().unwrap_or(S::MODALITY);
    let stages = trainer.student.stages(&state.recipe, modality);
    let mut manifest = manifest::<S>(options, state, modality, &stages)?;
    let input = golden_input(&manifest, SEED)?;
    let expected = outputs(&trainer.student, &stages, &input);
    let golden = serde_json::to_string(&golden(&stages, &expected))?;
    manifest.golden.sha256 = sha256(golden.as_bytes());

    let folder = partial(out)?;
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).with_context(|| format!("{}: not written", path.display()))
    };
    for stage in &stages {
        write(&stage.graph.file, &stage.onnx)?;
    }
    write(GOLDEN, golden.as_bytes())?;
    write(MANIFEST, toml::to_string(&manifest)?.as_bytes())?;
    write("training.csv", history::csv(&state.history).as_bytes())?;
    write("training.svg", history::svg(&state.history, S::panels()).as_bytes())?;
    let card = card::text(options, state, &manifest, &stages, &S::words(state));
    write("README.md", card.as_bytes())?;
    if let Some(notice) = card::notice(options, &manifest) {
        write(LICENSE, notice.as_bytes())?;
    }

    let worst = verify(folder.path(), &input, &expected)?;
    // The folder is no longer where its guard looks for it, so the guard removes nothing.
    std::fs::rename(folder.path(), out).with_context(|| format!("{}: not made", out.display()))?;
    let bytes: usize = stages.iter().map(|s| s.onnx.len()).sum();
    log::info!(
        "{}: {} graphs, {bytes} bytes of ONNX; tch and the runtime differ by {worst:.1e} at most",
        out.display(),
        stages.len()
    );
    Ok(())
}

/// A folder beside `out`, gone when dropped.
fn partial(out: &Path) -> Result<tempfile::TempDir> {
    let parent = out.parent().filter(|p| *p != Path::new("")).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".intraop-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As any new folder: what the umask allows. A temporary folder is private otherwise.
        builder.permissions(std::fs::Permissions::from_mode(0o777));
    }
    builder.tempdir_in(parent).with_context(|| format!("{}: not writable", parent.display()))
}

/// Every graph's and head's whole output for one input, by tch.
fn outputs<S: Exported>(student: &S, stages: &[Stage], input: &[f32]) -> Vec<Vec<Vec<f32>>> {
    let of = &stages[0].graph.inputs[0];
    let shape = [&[1, of.num_channels], &of.spatial_shape[..]].concat();
    let shape: Vec<i64> = shape.iter().map(|n| *n as i64).collect();
    let answers = no_grad(|| student.answers(&Tensor::from_slice(input).reshape(shape)));
    let flat = |t: Tensor| Vec::try_from(t.contiguous().view([-1])).expect("a float tensor");
    answers.into_iter().map(|heads| heads.into_iter().map(flat).collect()).collect()
}

fn golden(stages: &[Stage], expected: &[Vec<Vec<f32>>]) -> GoldenCase {
    let outputs = stages.iter().zip(expected).map(|(stage, outputs)| {
        let heads = stage.graph.heads.iter().zip(outputs);
        let sampled = heads.map(|(head, o)| (head.name.clone(), GoldenOutput::sample(o, SAMPLES)));
        (stage.graph.name.clone(), sampled.collect())
    });
    GoldenCase {
        phantom_seed: SEED,
        engine: ENGINE.into(),
        tolerance: TOLERANCE,
        outputs: outputs.collect(),
    }
}

/// Loads the package as any user would, and compares every number of every output; gives the
/// largest difference as a share of its output's largest value.
fn verify(folder: &Path, input: &[f32], expected: &[Vec<Vec<f32>>]) -> Result<f64> {
    let session = Session::new(Package::load(folder)?, SessionOptions::with_threads(1))?;
    let (mut worst, mut found) = (session.verify()?, Vec::new());
    for ((number, outputs), graph) in
        expected.iter().enumerate().zip(&session.package().manifest.graphs)
    {
        session.run(number, input, &mut found)?;
        for ((values, found), head) in outputs.iter().zip(&found).zip(&graph.heads) {
            let difference = GoldenOutput::sample(values, values.len()).difference(found);
            ensure!(
                difference <= TOLERANCE,
                "graph {} head {}: the runtime differs from tch by {difference:.1e} of the \
                 largest output, {TOLERANCE:.0e} accepted",
                graph.name,
                head.name
            );
            worst = worst.max(difference);
        }
    }
    Ok(worst)
}

fn manifest<S: Exported>(
    options: &Options,
    state: &State<S::Recipe>,
    modality: &str,
    stages: &[Stage],
) -> Result<Manifest> {
    let recipe = &state.recipe;
    let phantoms = S::phantoms(recipe).map(|count| {
        let last = FIRST_TRAINING_SEED + count as u64 - 1;
        format!("Seeded phantoms made by intraop: training seeds {FIRST_TRAINING_SEED} to {last}")
    });
    let data_source = options.data_source.clone().or(phantoms);
    let description = options.description.clone();
    Ok(Manifest {
        schema: SCHEMA,
        name: options.name.clone(),
        version: options.package_version.clone(),
        task: S::TASK,
        description: description.unwrap_or_else(|| S::description(modality)),
        authors: String::new(),
        copyright: options.attribution.clone(),
        license: options.license.clone(),
        intended_use: options.intended_use.clone(),
        data_source: data_source.context("--data-source: say what the model was trained on")?,
        precision: Precision::F32,
        eval_metrics: match &options.metrics {
            Some(path) => reported(path, &options.name)?,
            None => held(state, options.best),
        },
        grid: S::grid(recipe),
        preprocess: S::preprocess(recipe),
        graphs: stages.iter().map(|s| s.graph.clone()).collect(),
        views: Vec::new(),
        measurements: S::measurements(),
        golden: Golden { file: GOLDEN.into(), sha256: String::new() },
    })
}

/// The figures of `intraop evaluate`'s report.
fn reported(path: &Path, name: &str) -> Result<BTreeMap<String, f64>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{}: cannot be read", path.display()))?;
    let report: BTreeMap<String, Value> = serde_json::from_str(&text)
        .with_context(|| format!("{}: not a report.json of evaluate", path.display()))?;
    let model = report.get("model").and_then(Value::as_str).unwrap_or_default();
    ensure!(
        model == name,
        "{}: expected a report of the model {name}, found one of {model:?}",
        path.display()
    );
    let failed = report.get("failed").and_then(Value::as_array);
    ensure!(
        failed.is_some_and(Vec::is_empty),
        "{}: expected a report without failed pairs; see its \"failed\", and evaluate again",
        path.display()
    );
    // Times and threads tell of the machine, not of the model.
    let of_model = |name: &str| name != "threads" && !name.contains("_ms");
    let mut figures = BTreeMap::new();
    for (name, value) in report.iter().filter(|(name, _)| of_model(name)) {
        figures.extend(value.as_f64().map(|v| (name.clone(), v)));
        for (label, value) in value.as_object().into_iter().flatten() {
            figures.extend(value.as_f64().map(|v| (format!("{name}_{label}"), v)));
            // Of each measurement the mean absolute difference, the bias and the deviation.
            for figure in ["mae", "bias", "sd"].iter().filter(|_| *name == "measurements") {
                let value = value[*figure].as_f64();
                figures.extend(value.map(|v| (format!("{label}_{figure}"), v)));
            }
        }
    }
    Ok(figures)
}

/// The last, or the best, validation on what was kept aside.
fn held<R: Recipe>(state: &State<R>, best: bool) -> BTreeMap<String, f64> {
    let Some((step, figures)) = state.validated(best) else { return BTreeMap::new() };
    let named = figures.iter().map(|(name, value)| (format!("holdout_{name}"), *value));
    named.chain([("holdout_step".to_owned(), step as f64)]).collect()
}

#[cfg(test)]
mod tests;
