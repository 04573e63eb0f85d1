//! From an ONNX file that somebody else made to a package. docs/import.md.
//!
//! `read` takes the file in, `fix` settles its inputs' shapes, `spec` and `heads` find out what the
//! package will be, `adapt` and `fold` change the graph, and here it is proved against tract alone.

mod adapt;
mod answers;
mod card;
mod fix;
mod fold;
mod heads;
mod read;
mod report;
mod spec;
mod text;
mod unread;

use std::collections::BTreeMap;

use prost::Message;

use answers::Open;
pub use answers::{Answers, Question};
use read::unfit;
pub use read::{Foreign, Side, Slot};
pub use report::{Inspection, Planned, Scope, inspect};

use crate::Result;
use crate::engine::reference::{self, REFERENCE};
use crate::package::{
    Golden, GoldenCase, GoldenOutput, Graph, MANIFEST, Manifest, Package, Precision, SCHEMA,
    golden_input, sha256,
};
use crate::session::{Session, SessionOptions};
use spec::Spec;

/// The new package.
#[derive(Debug, Clone)]
pub struct Imported {
    /// Every file of its folder.
    pub files: BTreeMap<String, Vec<u8>>,
    /// What was not asked, for people.
    pub guesses: Vec<String>,
    /// How far our engine is from tract alone, as a share of the output's largest value.
    pub golden_difference: f64,
}

const GRAPH: &str = "model";
const FILE: &str = "model.onnx";
const GOLDEN: &str = "golden.json";
const SEED: u64 = 7;

/// Values of each output that the golden case keeps.
const KEPT: usize = 1000;

/// What must be known of the model before it can be a package and is not, all that can be asked
/// at once.
///
/// # Errors
/// Those of [`import`] for a model that no answer makes a package.
pub fn questions(foreign: &Foreign, answers: &Answers) -> Result<Vec<Question>> {
    let name = foreign.path.display().to_string();
    match foreign.fix(answers)? {
        Ok(fixed) => Ok(spec::resolve(&name, &fixed, answers)?.1.questions),
        Err(shapes) => Ok(before_shapes(shapes, answers)),
    }
}

/// The questions of a model whose inputs' shapes are open, and what can be asked without them.
fn before_shapes(shapes: Vec<Question>, answers: &Answers) -> Vec<Question> {
    let mut open = Open { questions: shapes };
    spec::general(answers, &mut open);
    open.questions
}

/// Makes a package called `name` of a model.
///
/// # Errors
/// [`crate::Error::Unusable`] naming what must be answered, and for models that no task here takes
/// or no engine runs; [`crate::Error::Option`] for answers that do not fit;
/// [`crate::Error::Check`] where our engine differs from tract alone; [`crate::Error::Package`].
pub fn import(
    foreign: &Foreign,
    answers: &Answers,
    name: &str,
    run: &SessionOptions,
) -> Result<Imported> {
    let file = foreign.path.display().to_string();
    let unanswered = |open: &[Question]| report::unanswered(&file, open);
    let fixed = foreign.fix(answers)?;
    let fixed = fixed.map_err(|shapes| unanswered(&before_shapes(shapes, answers)))?;
    let (spec, open) = spec::resolve(&file, &fixed, answers)?;
    if !open.questions.is_empty() {
        return Err(unanswered(&open.questions));
    }
    let plain = adapt::adapt(&fixed.model, &fixed.inputs, &spec);
    let folded = fold::fold(&file, &plain).map_err(unfit)?;
    let mut manifest = manifest(foreign, answers, &spec, name);
    let mut nodes = folded.graph.iter().flat_map(|g| &g.node);
    if nodes.any(|n| n.op_type == "DequantizeLinear") {
        manifest.precision = Precision::Int8;
    }
    let onnx = folded.encode_to_vec();
    manifest.graphs[0].sha256 = sha256(&onnx);
    let input = golden_input(&manifest, SEED)?;
    let stated = &spec.input;
    let shape = [&[1, stated.num_channels], stated.spatial_shape.as_slice()].concat();
    let outputs = reference::outputs(&file, &plain, &[(&shape, &input)]);
    let outputs = outputs.map_err(unfit)?;
    let mut guesses = spec.guesses;
    for (info, values) in &outputs {
        if values.iter().all(|v| *v == values[0]) && values.len() > 1 {
            guesses.push(format!(
                "output {} is the same everywhere: the golden case proves little",
                info.name
            ));
        }
    }
    let golden = serde_json::to_vec(&case(&manifest, &outputs))
        .expect("a golden case holds only numbers and texts");
    manifest.golden.sha256 = sha256(&golden);
    let text = toml::to_string(&manifest).expect("a manifest can be written");
    let files = [(FILE, onnx), (GOLDEN, golden), (MANIFEST, text.into_bytes())];
    let mut files: BTreeMap<String, Vec<u8>> =
        files.into_iter().map(|(name, bytes)| (name.to_string(), bytes)).collect();
    let package = Package::from_files(name.as_ref(), &files[MANIFEST], files.clone())?;
    let session = Session::new(package, run.clone()).map_err(unfit)?;
    let golden_difference = session.verify()?;
    let card = card::write(foreign, answers, &session, &guesses, golden_difference);
    files.insert("README.md".into(), card.into_bytes());
    Ok(Imported { files, guesses, golden_difference })
}

fn manifest(foreign: &Foreign, answers: &Answers, spec: &Spec, name: &str) -> Manifest {
    let file = foreign.path.file_name().unwrap_or_default().to_string_lossy();
    let description =
        answers.description.clone().unwrap_or_else(|| format!("Imported from {file}"));
    let text = |answer: &Option<String>| answer.clone().unwrap_or_default();
    Manifest {
        schema: SCHEMA,
        name: name.into(),
        version: "0.1.0".into(),
        task: spec.task,
        description,
        authors: text(&answers.authors),
        copyright: text(&answers.copyright),
        license: spec.license.clone(),
        intended_use: spec.intended_use.clone(),
        data_source: text(&answers.data_source),
        precision: Precision::F32,
        eval_metrics: BTreeMap::new(),
        grid: spec.grid.clone(),
        preprocess: spec.preprocess.clone(),
        graphs: vec![Graph {
            name: GRAPH.into(),
            file: FILE.into(),
            sha256: String::new(),
            inputs: vec![spec.input.clone()],
            heads: spec.heads.iter().map(|h| h.head.clone()).collect(),
        }],
        views: vec![],
        measurements: vec![],
        golden: Golden { file: GOLDEN.into(), sha256: String::new() },
    }
}

/// The golden case of what tract computed. In f32 two engines differ by rounding; int8 is rounded
/// at every layer, and tract computes it in f32.
fn case(manifest: &Manifest, outputs: &[(crate::engine::TensorInfo, Vec<f32>)]) -> GoldenCase {
    let heads = outputs.iter().map(|(info, v)| (info.name.clone(), GoldenOutput::sample(v, KEPT)));
    GoldenCase {
        phantom_seed: SEED,
        engine: REFERENCE.into(),
        tolerance: if manifest.precision == Precision::Int8 { 0.05 } else { 1e-4 },
        outputs: [(GRAPH.to_string(), heads.collect())].into(),
    }
}
