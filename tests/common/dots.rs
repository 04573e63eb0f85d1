//! A package for frames of 64×48 pixels whose answers are known in closed form: each landmark is
//! the pixel of a certain gray, the mask is what is brighter than half, and the view is `bright`
//! where the mean is above a tenth.

use std::path::Path;

use image::{GrayImage, Luma};
use intraop::engine::onnx::{GraphProto, ModelProto};
use intraop::image::Ellipse;
use intraop::package::{GoldenCase, GoldenOutput, Manifest, golden_input, sha256};
use prost::Message;

use super::onnx::{conv, info, model, node};

/// Width and height.
pub const SIZE: [usize; 2] = [64, 48];
/// The landmarks and their grays.
pub const DOTS: [(&str, u8); 4] = [("ofd_a", 32), ("ofd_b", 56), ("bpd_a", 80), ("bpd_b", 104)];
/// A gray so far off is another one.
const WIDTH: f32 = 8.0 / 255.0;

const SEED: u64 = 3;

const MANIFEST: &str = r#"
schema = 1
name = "dots"
version = "1"
task = "landmarks"
description = "test"
license = "MIT"
intended_use = "tests"
precision = "f32"
preprocess = [
    { op = "resize", width = 64, height = 48, interpolation = "area" },
    { op = "normalize", method = "window", low = 0.0, high = 255.0 },
]

[[graphs]]
name = "dots"
file = "dots.onnx"
sha256 = "ONNX"

[[graphs.inputs]]
name = "image"
num_channels = 1
spatial_shape = [48, 64]
dtype = "float32"
channel_def = ["image"]
modality = ["US"]

[[graphs.heads]]
name = "heatmaps"
kind = "heatmaps"
num_channels = 4
spatial_shape = [48, 64]
dtype = "float32"
channel_def = ["ofd_a", "ofd_b", "bpd_a", "bpd_b"]

[[graphs.heads]]
name = "mask"
kind = "mask"
num_channels = 1
spatial_shape = [48, 64]
dtype = "float32"
channel_def = ["skull"]

[[graphs.heads]]
name = "view"
kind = "classes"
num_channels = 2
dtype = "float32"
channel_def = ["bright", "dark"]

[[measurements]]
name = "HC"
kind = "circumference"
of = ["skull"]

[[measurements]]
name = "OFD"
kind = "long_axis"
of = ["ofd_a", "ofd_b", "bpd_a", "bpd_b"]

[[measurements]]
name = "width"
kind = "distance"
of = ["bpd_a", "bpd_b"]

[golden]
file = "golden.json"
sha256 = "GOLDEN"
"#;

/// Its ends are whole pixels: (12, 24), (52, 24), (32, 12), (32, 36).
pub const SKULL: Ellipse = Ellipse { center: [32.0, 24.0], semi_axes: [20.0, 12.0], angle: 0.0 };

/// A frame with the skull, if any, white on black, and some of the dots at its ends.
pub fn picture(skull: bool, dots: &[&str]) -> GrayImage {
    let mut image = GrayImage::new(SIZE[0] as u32, SIZE[1] as u32);
    for (x, y, pixel) in image.enumerate_pixels_mut() {
        let inside = SKULL.level([f64::from(x), f64::from(y)]) <= 1.0;
        *pixel = Luma([if skull && inside { 255 } else { 0 }]);
    }
    for ((name, gray), end) in DOTS.iter().zip(SKULL.ends()) {
        if dots.contains(name) {
            image.put_pixel(end[0] as u32, end[1] as u32, Luma([*gray]));
        }
    }
    image
}

/// Writes the package to `folder`.
pub fn write(folder: &Path) {
    let onnx = onnx().encode_to_vec();
    let manifest: Manifest = toml::from_str(MANIFEST).unwrap();
    let input = golden_input(&manifest, SEED).unwrap();
    let golden = serde_json::to_vec(&golden(&input)).unwrap();
    let manifest = MANIFEST
        .replace("\"ONNX\"", &format!("{:?}", sha256(&onnx)))
        .replace("GOLDEN", &sha256(&golden));
    std::fs::create_dir_all(folder).unwrap();
    for (name, bytes) in
        [("dots.onnx", onnx), ("golden.json", golden), ("package.toml", manifest.into_bytes())]
    {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
}

/// What the network answers, by its definition.
fn golden(input: &[f32]) -> GoldenCase {
    let heat = DOTS.iter().flat_map(|(_, gray)| {
        let level = f32::from(*gray) / 255.0;
        input.iter().map(move |v| 1.0 - (v - level).abs() / WIDTH)
    });
    let mask = input.iter().map(|v| 40.0 * (v - 0.5));
    let mean = input.iter().sum::<f32>() / input.len() as f32;
    let outputs = [
        ("heatmaps", heat.collect::<Vec<_>>()),
        ("mask", mask.collect()),
        ("view", vec![100.0 * mean, 10.0]),
    ];
    let sample =
        |(name, values): &(&str, Vec<f32>)| (name.to_string(), GoldenOutput::sample(values, 500));
    GoldenCase {
        phantom_seed: SEED,
        engine: "by hand".into(),
        tolerance: 1e-4,
        outputs: [("dots".to_string(), outputs.iter().map(sample).collect())].into(),
    }
}

pub fn onnx() -> ModelProto {
    let mut graph = GraphProto { name: "dots".into(), ..Default::default() };
    graph.input.push(info("image", &[1, 1, 48, 64]));
    graph.output.push(info("heatmaps", &[1, 4, 48, 64]));
    graph.output.push(info("mask", &[1, 1, 48, 64]));
    graph.output.push(info("view", &[1, 2]));
    // |v − level| as the sum of what is above and what is below, each cut at 0.
    let levels = DOTS.map(|(_, gray)| f32::from(gray) / 255.0 / WIDTH);
    let slopes: Vec<_> =
        (0..8).map(|i| vec![if i % 2 == 0 { 1.0 } else { -1.0 } / WIDTH]).collect();
    let both: Vec<f32> = levels.iter().flat_map(|level| [-level, *level]).collect();
    conv(&mut graph, 2, ["image", "sides"], &slopes, &both);
    graph.node.push(node("Relu", &["sides"], "cut"));
    let sum = |k: usize| (0..8).map(|i| if i / 2 == k { -1.0 } else { 0.0 }).collect();
    conv(&mut graph, 2, ["cut", "heatmaps"], &[0, 1, 2, 3].map(sum), &[1.0; 4]);
    conv(&mut graph, 2, ["image", "mask"], &[vec![40.0]], &[-20.0]);
    conv(&mut graph, 2, ["image", "shades"], &[vec![100.0], vec![0.0]], &[0.0, 10.0]);
    graph.node.push(node("GlobalAveragePool", &["shades"], "shade"));
    graph.node.push(node("Flatten", &["shade"], "view"));
    model(graph)
}
