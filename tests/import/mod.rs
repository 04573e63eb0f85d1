//! `models import`: foreign networks whose answers are known in closed form become packages that
//! give these answers; what cannot be one is refused with a reason.

mod answers;
mod files;
mod heads;

use std::path::PathBuf;

use crate::common::onnx::{conv, info, model, node};
use crate::common::{intraop, ok};
use intraop::engine::onnx::tensor_proto::DataType;
use intraop::engine::onnx::{AttributeProto, GraphProto, ModelProto, TensorProto};
use intraop::package::Package;
use intraop::session::{Session, SessionOptions};
use prost::Message;
use tempfile::TempDir;

/// A folder with a model in it, and a place for its package.
struct Room(TempDir);

impl Room {
    fn new(model: &ModelProto) -> Self {
        let room = Room(tempfile::tempdir().unwrap());
        std::fs::write(room.path("net.onnx"), model.encode_to_vec()).unwrap();
        room
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Into a new folder.
    fn import(&self, more: &[&str]) -> std::process::Output {
        let _ = std::fs::remove_dir_all(self.path("out"));
        self.import_again(more)
    }

    fn import_again(&self, more: &[&str]) -> std::process::Output {
        let mut command = intraop();
        command.args(["models", "import"]).arg(self.path("net.onnx"));
        command.arg("--out").arg(self.path("out")).args(more).output().unwrap()
    }

    fn inspect(&self, more: &[&str]) -> serde_json::Value {
        let mut command = intraop();
        command.args(["models", "import", "--json"]).arg(self.path("net.onnx")).args(more);
        serde_json::from_str(&ok(&command.output().unwrap())).unwrap()
    }

    /// What the package's graph makes of an input.
    fn outputs(&self, input: &[f32]) -> Vec<Vec<f32>> {
        let package = Package::load(&self.path("out")).unwrap();
        let session = Session::new(package, SessionOptions::with_threads(1)).unwrap();
        let mut outputs = Vec::new();
        session.run(0, input, &mut outputs).unwrap();
        outputs
    }
}

const TERMS: [&str; 4] = ["--license", "MIT", "--intended-use", "tests"];
const FRAMES: [&str; 6] = ["--modality", "US", "--fit", "stretch", "--normalize", "window:0,255"];
const VOLUMES: [&str; 10] = [
    "--modality",
    "MR",
    "--fit",
    "stretch",
    "--normalize",
    "min_max",
    "--orientation",
    "RAS",
    "--initial",
    "header",
];

fn near(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(1.0f32, |m, v| m.max(v.abs()));
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= 1e-5 * scale, "{i}: {a} instead of {b}");
    }
}

fn whole(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: vec![values.len() as i64],
        data_type: DataType::Int64 as i32,
        int64_data: values.to_vec(),
        ..Default::default()
    }
}

/// A frame of 4×6 with one convolution, and something after it.
fn frame(outputs: usize, shape: &[usize], after: &[(&str, &[&str])]) -> ModelProto {
    let mut graph = GraphProto { name: "frame".into(), ..Default::default() };
    graph.input.push(info("x", &[1, 1, 4, 6]));
    graph.output.push(info("y", shape));
    let last = if after.is_empty() { "y" } else { "t0" };
    let weights: Vec<Vec<f32>> = (0..outputs).map(|i| vec![2.0 - i as f32]).collect();
    conv(&mut graph, 2, ["x", last], &weights, &vec![-0.5; outputs]);
    for (i, (op, more)) in after.iter().enumerate() {
        let to = if i + 1 == after.len() { "y".into() } else { format!("t{}", i + 1) };
        let from = format!("t{i}");
        graph.node.push(node(op, &[&[from.as_str()], *more].concat(), &to));
    }
    model(graph)
}

fn whole_number(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: 2, i, ..Default::default() }
}

/// source, target → what a stage of 2³ voxels and 4 of x answers: source, target, their difference.
fn pair() -> ModelProto {
    let mut graph = GraphProto { name: "pair".into(), ..Default::default() };
    graph.input.extend(["source", "target"].map(|name| info(name, &[1, 1, 2, 3, 4])));
    graph.output.push(info("moved", &[1, 1, 2, 3, 4]));
    graph.output.push(info("flow", &[1, 3, 2, 3, 4]));
    let mut cat = node("Concat", &["source", "target"], "cat");
    cat.attribute.push(whole_number("axis", 1));
    graph.node.push(cat);
    let weights = [vec![1.0, 0.0], vec![0.0, 1.0], vec![1.0, -1.0]];
    conv(&mut graph, 3, ["cat", "flow"], &weights, &[0.0; 3]);
    graph.node.push(node("Identity", &["source"], "moved"));
    model(graph)
}

/// Golden cases of imports name the other engine: it is the version that is pinned.
#[test]
fn the_reference_is_the_pinned_version() {
    let manifest = std::path::Path::new(crate::common::ROOT).join("crates/engine/Cargo.toml");
    let manifest = std::fs::read_to_string(manifest).unwrap();
    let version = intraop::engine::reference::REFERENCE.split(' ').nth(1).unwrap();
    assert!(manifest.contains(&format!("tract-onnx = {{ version = \"={version}\"")));
}
