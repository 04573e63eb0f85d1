//! A package of one's own, from nothing but this file: a network whose heatmap is 1 where the frame
//! is white, the manifest that says so, and a golden case. `cargo run --release --example own_package`
//!
//! A trained network comes from a file instead: `intraop models import NET.onnx --out PACKAGE`.

use std::path::Path;

use intraop::StageTimes;
use intraop::engine::onnx::GraphProto;
use intraop::engine::onnx::build::{f32_info, f32_tensor, model, node};
use intraop::image::{Frame, Pixels};
use intraop::landmarks::Finder;
use intraop::package::{GoldenCase, GoldenOutput, Manifest, Package, golden_input, sha256};
use intraop::session::{Session, SessionOptions};
use prost::Message;

const MANIFEST: &str = r#"
schema = 1
name = "bright-spot"
version = "1"
task = "landmarks"
description = "Finds the brightest spot of a frame"
license = "MIT"
intended_use = "an example"
precision = "f32"
preprocess = [
    { op = "resize", width = 64, height = 48, interpolation = "area" },
    { op = "normalize", method = "window", low = 0.0, high = 255.0 },
]

[[graphs]]
name = "spot"
file = "spot.onnx"
sha256 = "ONNX"

[[graphs.inputs]]
name = "image"
num_channels = 1
spatial_shape = [48, 64] # y, x
dtype = "float32"
channel_def = ["image"]
modality = ["US"]

[[graphs.heads]]
name = "heatmap"
kind = "heatmaps"
num_channels = 1
spatial_shape = [48, 64]
dtype = "float32"
channel_def = ["spot"]

[golden]
file = "golden.json"
sha256 = "GOLDEN"
"#;

/// One convolution of one pixel: 1 for white, −1 for black.
fn network() -> Vec<u8> {
    let mut graph = GraphProto { name: "spot".into(), ..Default::default() };
    graph.input.push(f32_info("image", &[1, 1, 48, 64]));
    graph.output.push(f32_info("heatmap", &[1, 1, 48, 64]));
    graph.initializer.push(f32_tensor("weight", &[1, 1, 1, 1], &[2.0]));
    graph.initializer.push(f32_tensor("bias", &[1], &[-1.0]));
    graph.node.push(node("Conv", &["image", "weight", "bias"], "heatmap"));
    model(graph).encode_to_vec()
}

/// What the network must answer to a seeded phantom: here by hand, else from the engine that trained
/// it. Every session can prove by it that this machine computes the same.
fn golden(manifest: &Manifest) -> intraop::Result<Vec<u8>> {
    let seed = 3;
    let expected: Vec<f32> = golden_input(manifest, seed)?.iter().map(|v| 2.0 * v - 1.0).collect();
    let heads = [("heatmap".to_string(), GoldenOutput::sample(&expected, 500))];
    let case = GoldenCase {
        phantom_seed: seed,
        engine: "by hand".into(),
        tolerance: 1e-4,
        outputs: [("spot".to_string(), heads.into())].into(),
    };
    Ok(serde_json::to_vec(&case).expect("numbers and texts"))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let onnx = network();
    let golden = golden(&toml::from_str(MANIFEST)?)?;
    let manifest = MANIFEST.replace("ONNX", &sha256(&onnx)).replace("GOLDEN", &sha256(&golden));
    // In a folder these files are a package for the command line, too.
    let files = [("spot.onnx".to_string(), onnx), ("golden.json".to_string(), golden)];
    let package = Package::from_files(Path::new("bright-spot"), manifest.as_bytes(), files.into())?;

    let session = Session::new(package, SessionOptions::with_threads(1))?;
    println!("golden case met within {:.1e}", session.verify()?);

    let mut frame = Frame::filled(320, 240, 20u8);
    for y in 97..104 {
        frame.data[y * 320 + 197..][..7].fill(255);
    }
    let mut finder = Finder::new(&session)?;
    let found =
        finder.find(&Pixels::Gray8(frame), None, "drawn frame", &mut StageTimes::default())?;
    println!("the spot around (200, 100) was found at {:?}", found.landmarks[0].place);
    Ok(())
}
