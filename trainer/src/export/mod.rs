//! From a training run to a package that has proved itself: every graph computed by tch, and by
//! the runtime from the finished files, with the same result.

mod card;
mod history;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use intraop::engine::{Session, SessionOptions};
use intraop::package::{
    Dtype, GoldenCase, GoldenOutput, Graph, Head, HeadKind, Input, MANIFEST, Manifest, Package,
    Precision, SCHEMA, Task, Units, golden_pair, sha256,
};
use serde_json::Value;
use tch::{Device, Tensor, no_grad};

use crate::checkpoint::State;
use crate::data::FIRST_SEED;
use crate::nets::Student;
use crate::onnx;
use crate::recipe::registration::Trainer;

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
    /// As in DICOM: MR, CT, US
    #[arg(long, default_value = "MR")]
    modality: String,
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
    let mut trainer = Trainer::resume(&options.run, Device::Cpu)?;
    if options.best {
        let name = trainer.state.best_file().with_context(|| {
            format!("--best: {}: nothing was validated; leave it out", options.run.display())
        })?;
        let path = options.run.join(name);
        let tensors = Tensor::read_safetensors(&path)
            .with_context(|| format!("{}: cannot be read", path.display()))?;
        trainer.student.weights.fill(&tensors)?;
    }
    let size = trainer.state.recipe.grid;
    let stages = stages(&trainer.student, size, &options.modality);
    let mut manifest = manifest(options, &trainer.state, &stages)?;
    let pair = golden_pair(&manifest, size, SEED)?;
    let expected = no_grad(|| outputs(&trainer.student, size, &pair));
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
    write("training.csv", history::csv(&trainer.state.history).as_bytes())?;
    write("training.svg", history::svg(&trainer.state.history).as_bytes())?;
    let card = card::text(options, &trainer.state, &manifest, &stages);
    write("README.md", card.as_bytes())?;
    if let Some(notice) = card::notice(options, &manifest) {
        write(LICENSE, notice.as_bytes())?;
    }

    let worst = verify(folder.path(), &pair, &expected)?;
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

fn stages(student: &Student, size: [usize; 3], modality: &str) -> Vec<Stage> {
    let axes = size.map(|n| n as i64);
    let [x, y, z] = size;
    let stage = |name: &str, onnx: Vec<u8>, head: Head| {
        let input = Input {
            name: onnx::INPUT.into(),
            num_channels: 2,
            spatial_shape: vec![z, y, x],
            dtype: Dtype::Float32,
            channel_def: vec!["fixed".into(), "moving".into()],
            modality: vec![modality.into(); 2],
            value_range: Some([0.0, 1.0]),
        };
        let graph = Graph {
            name: name.into(),
            file: format!("{name}.onnx"),
            sha256: sha256(&onnx),
            inputs: vec![input],
            heads: vec![head],
        };
        let own = |(weight, _): &&(String, Tensor)| weight.starts_with(&format!("{name}."));
        let parameters = student.weights.0.iter().filter(own).map(|(_, t)| t.numel()).sum();
        Stage { graph, onnx, parameters }
    };
    let affine = student.affine.iter().map(|net| {
        let head = Head {
            name: onnx::AFFINE.into(),
            kind: HeadKind::Affine,
            num_channels: 12,
            spatial_shape: vec![],
            dtype: Dtype::Float32,
            channel_def: vec![],
            units: None,
        };
        stage("affine", onnx::affine(net, axes), head)
    });
    let flows = student.flows.iter().map(|net| {
        let head = Head {
            name: onnx::FLOW.into(),
            kind: HeadKind::Displacement,
            num_channels: 3,
            spatial_shape: vec![z, y, x],
            dtype: Dtype::Float32,
            channel_def: ["x", "y", "z"].map(String::from).into(),
            units: Some(Units::Voxels),
        };
        stage(&net.name, onnx::flow(net, axes), head)
    });
    affine.chain(flows).collect()
}

/// Every graph's whole output for one input, by tch.
fn outputs(student: &Student, [x, y, z]: [usize; 3], pair: &[f32]) -> Vec<Vec<f32>> {
    let pair = Tensor::from_slice(pair).reshape([1, 2, z as i64, y as i64, x as i64]);
    let affine = student.affine.iter().map(|net| net.forward(&pair));
    let flows = student.flows.iter().map(|net| net.forward(&pair));
    let flat = |t: Tensor| Vec::try_from(t.contiguous().view([-1])).expect("a float tensor");
    affine.chain(flows).map(flat).collect()
}

fn golden(stages: &[Stage], expected: &[Vec<f32>]) -> GoldenCase {
    let outputs = stages.iter().zip(expected).map(|(stage, values)| {
        let head = stage.graph.heads[0].name.clone();
        let output = GoldenOutput::sample(values, SAMPLES);
        (stage.graph.name.clone(), BTreeMap::from([(head, output)]))
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
fn verify(folder: &Path, pair: &[f32], expected: &[Vec<f32>]) -> Result<f64> {
    let session = Session::new(Package::load(folder)?, SessionOptions::with_threads(1))?;
    let (mut worst, mut found) = (session.verify()?, Vec::new());
    for (number, values) in expected.iter().enumerate() {
        session.run(number, pair, &mut found)?;
        let difference = GoldenOutput::sample(values, values.len()).difference(&found[0]);
        ensure!(
            difference <= TOLERANCE,
            "graph {}: the runtime differs from tch by {difference:.1e} of the largest output, \
             {TOLERANCE:.0e} accepted",
            session.package().manifest.graphs[number].name
        );
        worst = worst.max(difference);
    }
    Ok(worst)
}

fn manifest(options: &Options, state: &State, stages: &[Stage]) -> Result<Manifest> {
    let recipe = &state.recipe;
    let phantoms = recipe.phantoms.map(|pairs| {
        let last = FIRST_SEED + pairs as u64 - 1;
        format!("Seeded phantoms made by intraop: training seeds {FIRST_SEED} to {last}")
    });
    let data_source = options.data_source.clone().or(phantoms);
    let description = options.description.clone();
    Ok(Manifest {
        schema: SCHEMA,
        name: options.name.clone(),
        version: options.package_version.clone(),
        task: Task::Registration,
        description: description.unwrap_or_else(|| {
            format!("Registers {} volumes of one kind to each other", options.modality)
        }),
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
        grid: Some(recipe.grid_spec()),
        preprocess: recipe.preprocess(),
        graphs: stages.iter().map(|s| s.graph.clone()).collect(),
        golden: intraop::package::Golden { file: GOLDEN.into(), sha256: String::new() },
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
        }
    }
    Ok(figures)
}

/// The last, or the best, validation on the subjects kept aside.
fn held(state: &State, best: bool) -> BTreeMap<String, f64> {
    let Some((step, v)) = state.validated(best) else { return BTreeMap::new() };
    let mut figures = vec![
        ("holdout_step", step as f64),
        ("holdout_loss", v.loss),
        ("holdout_folding_percent", v.folding_percent),
    ];
    if !state.labels.is_empty() {
        figures.extend([("holdout_dice_before", v.dice_before), ("holdout_dice", v.dice_after)]);
    }
    figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests;
