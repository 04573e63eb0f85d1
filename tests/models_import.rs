//! `models import`: foreign networks whose answers are known in closed form become packages that
//! give these answers; what cannot be one is refused with a reason.

#![cfg(feature = "import")]

mod common;

use std::path::PathBuf;

use common::onnx::{conv, info, model, node};
use common::{dots, fails, files, intraop, limited, ok, run};
use intraop::engine::{Session, SessionOptions};
use intraop::onnx::tensor_proto::{DataLocation, DataType};
use intraop::onnx::tensor_shape_proto::dimension::Value::DimParam;
use intraop::onnx::{
    AttributeProto, GraphProto, ModelProto, StringStringEntryProto, TensorProto, type_proto,
};
use intraop::package::Package;
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

    fn import(&self, more: &[&str]) -> std::process::Output {
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
const FRAMES: [&str; 6] = ["--modality", "US", "--fit", "stretch", "--normalise", "window:0,255"];
const VOLUMES: [&str; 10] = [
    "--modality",
    "MR",
    "--fit",
    "stretch",
    "--normalise",
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

#[test]
fn a_network_of_landmarks_finds_them_as_a_package() {
    let room = Room::new(&dots::onnx());
    let said = room.inspect(&[]);
    assert_eq!(said["operators"]["Conv"], 4);
    assert_eq!(said["inputs"][0]["shape"], serde_json::json!([1, 1, 48, 64]));
    assert_eq!(said["plan"]["tract"], serde_json::json!({}));
    assert!(said["plan"]["warm_ms_median"].as_f64().unwrap() > 0.0);
    // Two numbers may be classes or a place; maps of the input's size may be masks or heatmaps.
    let missing: Vec<&str> =
        (said["missing"].as_array().unwrap().iter()).map(|q| q["flag"].as_str().unwrap()).collect();
    let flags = ["--head", "--head", "--modality", "--names", "--normalise", "--fit", "--license"];
    assert_eq!(missing, [&flags[..], &["--intended-use"]].concat());
    let parts = [&flags[1..], &["heatmaps=heatmaps|mask|none", "view=classes|coordinates|none"]];
    fails(&room.import(&[]), 2, &parts.concat());
    assert!(!room.path("out").exists());

    let heads = ["--head", "heatmaps=heatmaps", "--head", "view=classes", "--head", "mask=mask"];
    let names = ["--names", "heatmaps=ofd_a,ofd_b,bpd_a,bpd_b", "--names", "mask=skull"];
    let view = ["--names", "view=bright,dark", "--values", "view=logits"];
    let maps = ["--values", "heatmaps=probabilities"];
    let answers = [&TERMS[..], &FRAMES, &heads, &names, &view, &maps].concat();
    let made = room.import(&answers);
    assert!(ok(&made).contains("golden case: "));
    assert_eq!(
        files(&room.path("out")),
        ["README.md", "golden.json", "model.onnx", "package.toml"]
    );
    let package = room.path("out");
    let show = |what: &str| ok(&run(["models".as_ref(), what.as_ref(), package.as_os_str()]));
    assert!(show("verify").contains("are right"));
    assert!(show("show").contains("Landmarks"));

    let picture = dots::picture(true, &["ofd_a", "ofd_b", "bpd_a", "bpd_b"]);
    picture.save(room.path("picture.png")).unwrap();
    let mut command = intraop();
    command.arg("landmarks").arg(room.path("picture.png")).arg("--model").arg(&package);
    ok(&command.arg("--out").arg(room.path("found")).output().unwrap());
    let found = common::json(&room.path("found/landmarks.json"));
    let found = &found["images"][0]["landmarks"];
    for (landmark, end) in found.as_array().unwrap().iter().zip(dots::SKULL.ends()) {
        assert_eq!(landmark["found"], true);
        for (axis, expected) in ["x_px", "y_px"].iter().zip(end) {
            assert!((landmark[axis].as_f64().unwrap() - expected).abs() < 0.01, "{landmark}");
        }
    }
    // The model itself is not overwritten.
    let own = package.join("model.onnx");
    let mut command = intraop();
    command.args(["models", "import"]).arg(&own).arg("--out").arg(&package).args(&answers);
    let refused = command.output().unwrap();
    fails(&refused, 2, &["--out", "model.onnx", "would be overwritten"]);
    // It is replaced, but nothing else is.
    std::fs::create_dir(room.path("other")).unwrap();
    std::fs::write(room.path("other/file"), "").unwrap();
    let mut command = intraop();
    command.args(["models", "import"]).arg(room.path("net.onnx")).arg("--out");
    let refused = command.arg(room.path("other")).output().unwrap();
    fails(&refused, 2, &["--out", "a new or empty folder"]);
}

/// source, target → what a stage of 2³ voxels and 4 of x answers: source, target, their difference.
fn pair() -> ModelProto {
    let mut graph = GraphProto { name: "pair".into(), ..Default::default() };
    graph.input.extend(["source", "target"].map(|name| info(name, &[1, 1, 2, 3, 4])));
    graph.output.push(info("moved", &[1, 1, 2, 3, 4]));
    graph.output.push(info("flow", &[1, 3, 2, 3, 4]));
    let mut cat = node("Concat", &["source", "target"], "cat");
    cat.attribute.push(AttributeProto {
        name: "axis".into(),
        r#type: 2,
        i: 1,
        ..Default::default()
    });
    graph.node.push(cat);
    let weights = [vec![1.0, 0.0], vec![0.0, 1.0], vec![1.0, -1.0]];
    conv(&mut graph, 3, ["cat", "flow"], &weights, &[0.0; 3]);
    graph.node.push(node("Identity", &["source"], "moved"));
    model(graph)
}

#[test]
fn two_inputs_become_a_pair_and_units_become_voxels() {
    let room = Room::new(&pair());
    let fixed: Vec<f32> = (0..24).map(|i| i as f32).collect();
    let moving: Vec<f32> = (0..24).map(|i| 100.0 - i as f32).collect();
    let input = [fixed.clone(), moving.clone()].concat();
    let difference: Vec<f32> = moving.iter().zip(&fixed).map(|(m, f)| m - f).collect();
    // Sizes: z 2, y 3, x 4.
    let cases = [
        ("voxels", "z,y,x", [1.0, 1.0, 1.0]),
        ("normalised", "z,y,x", [1.0, 1.5, 2.0]),
        ("normalised", "x,y,z", [2.0, 1.5, 1.0]),
        ("normalised-corners", "z,y,x", [0.5, 1.0, 1.5]),
    ];
    for (units, axes, factors) in cases {
        let made =
            room.import(&[&TERMS[..], &VOLUMES, &["--units", units, "--axes", axes]].concat());
        let said = ok(&made);
        assert!(said.contains("target is taken as the fixed image"), "{said}");
        assert!(said.contains("moved [1, 1, 2, 3, 4] is left out"), "{said}");
        let planes = [&moving, &fixed, &difference].into_iter().zip(factors);
        let expected = planes.map(|(plane, f)| plane.iter().map(|v| v * f).collect::<Vec<_>>());
        near(&room.outputs(&input)[0], &expected.collect::<Vec<_>>().concat());
        let manifest = std::fs::read_to_string(room.path("out/package.toml")).unwrap();
        let channels: Vec<String> = axes.split(',').map(|a| format!("\"{a}\"")).collect();
        assert!(manifest.contains(&format!("channel_def = [{}]", channels.join(", "))));
    }
    // Spacing x 2, y 3, z 4 mm, and the other order, by its flag.
    let resample = ["--fit", "resample", "--spacing", "2,3,4", "--order", "fixed,moving"];
    let volumes = [&VOLUMES[..2], &VOLUMES[4..], &resample].concat();
    ok(&room.import(&[&TERMS[..], &volumes, &["--units", "mm", "--axes", "x,y,z"]].concat()));
    let expected: Vec<f32> = (fixed.iter().map(|v| v / 2.0))
        .chain(moving.iter().map(|v| v / 3.0))
        .chain(difference.iter().map(|v| -v / 4.0))
        .collect();
    near(&room.outputs(&input)[0], &expected);

    let mm = [&TERMS[..], &VOLUMES, &["--units", "mm", "--axes", "x,y,z"]].concat();
    fails(&room.import(&mm), 2, &["--units", "--fit resample"]);
    let twice = [&TERMS[..], &VOLUMES, &["--units", "voxels", "--axes", "x,x,z"]].concat();
    fails(&room.import(&twice), 2, &["--axes", "x,y,z|z,y,x", "x,x,z"]);
    let stranger = [&TERMS[..], &VOLUMES, &["--head", "floh=displacement"]].concat();
    fails(&room.import(&stranger), 2, &["--head", "moved, flow", "floh"]);
    let shape = [&TERMS[..], &VOLUMES, &["--head", "moved=displacement"]].concat();
    fails(&room.import(&shape), 2, &["an output that can be displacement", "moved"]);
}

/// `affine_grid` takes θ to places from −1 to 1 of the moving image; the package's affine head is
/// in voxels. Both must lead a voxel to the same place.
#[test]
fn theta_becomes_the_affine_head() {
    let size = [4.0, 6.0, 10.0]; // x, y, z
    let theta = [1.1, 0.2, -0.1, 0.3, 0.05, 0.9, 0.15, -0.2, -0.25, 0.1, 1.2, 0.4f32];
    let mut graph = GraphProto { name: "theta".into(), ..Default::default() };
    graph.input.push(info("pair", &[1, 2, 10, 6, 4]));
    graph.output.push(info("theta", &[1, 3, 4]));
    conv(&mut graph, 3, ["pair", "none"], &vec![vec![0.0; 2]; 12], &theta);
    graph.node.push(node("GlobalAveragePool", &["none"], "numbers"));
    graph.initializer.push(whole("shape", &[1, 3, 4]));
    graph.node.push(node("Reshape", &["numbers", "shape"], "theta"));
    let room = Room::new(&model(graph));
    for (form, corners) in [("theta", 0.0), ("theta-corners", 1.0)] {
        let more = ["--affine", form, "--order", "fixed,moving"];
        ok(&room.import(&[&TERMS[..], &VOLUMES, &more].concat()));
        let out = room.outputs(&[0.5; 480])[0].iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
        let voxel = [3.0, 1.0, 7.0];
        let centre = size.map(|n| (n - 1.0) / 2.0);
        let half = size.map(|n| (n - corners) / 2.0);
        let place = [0, 1, 2].map(|a| (voxel[a] - centre[a]) / half[a]);
        for row in 0..3 {
            let at = |i: usize| f64::from(theta[4 * row + i]);
            let q = at(0) * place[0] + at(1) * place[1] + at(2) * place[2] + at(3);
            let expected = centre[row] + half[row] * q;
            let turned: f64 = (0..3).map(|c| out[3 * row + c] * (voxel[c] - centre[c])).sum();
            let found = voxel[row] + turned + out[9 + row];
            assert!((found - expected).abs() < 1e-4, "{form} {row}: {found}, not {expected}");
        }
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
fn frame(outputs: usize, shape: &[i64], after: &[(&str, &[&str])]) -> ModelProto {
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

#[test]
fn probabilities_become_logits_and_logits_heatmaps() {
    let x: Vec<f32> = (0..24).map(|i| i as f32 / 24.0).collect();
    let line: Vec<f32> = x.iter().map(|v| 2.0 * v - 0.5).collect();
    let p = |v: &f32| 1.0 / (1.0 + (-v).exp());
    let names = ["--names", "skull"];
    // A Sigmoid at the end is cut off: the logit is exact.
    let room = Room::new(&frame(1, &[1, 1, 4, 6], &[("Sigmoid", &[])]));
    ok(&room.import(&[&TERMS[..], &FRAMES, &names].concat()));
    near(&room.outputs(&x)[0], &line);
    // Without one, a convolution's values are logits.
    let room = Room::new(&frame(1, &[1, 1, 4, 6], &[]));
    ok(&room.import(&[&TERMS[..], &FRAMES, &names].concat()));
    near(&room.outputs(&x)[0], &line);
    // A heatmap gets the Sigmoid that it has not.
    let more = ["--head", "y=heatmaps", "--values", "logits"];
    ok(&room.import(&[&TERMS[..], &FRAMES, &names, &more].concat()));
    near(&room.outputs(&x)[0], &line.iter().map(p).collect::<Vec<_>>());
    // What is something else after the Sigmoid is led back by the logarithm, within its margin.
    let room = Room::new(&frame(1, &[1, 1, 4, 6], &[("Sigmoid", &[]), ("Relu", &[])]));
    fails(&room.import(&[&TERMS[..], &FRAMES, &names].concat()), 2, &["--values probabilities"]);
    let values = ["--values", "y=probabilities"];
    ok(&room.import(&[&TERMS[..], &FRAMES, &names, &values].concat()));
    let margin = |v: &f32| {
        let inside = 0.001 + 0.998 * p(v);
        (inside / (1.0 - inside)).ln()
    };
    near(&room.outputs(&x)[0], &line.iter().map(margin).collect::<Vec<_>>());
}

#[test]
fn classes_are_what_one_softmax_makes_of_them() {
    let names = ["--names", "a,b,c"];
    let logits = [0.0, -0.25, -0.5f32];
    let sum: f32 = logits.iter().map(|v| v.exp()).sum();
    let after = |last: &'static [(&str, &[&str])]| {
        let pooled: [(&str, &[&str]); 2] = [("GlobalAveragePool", &[]), ("Flatten", &[])];
        Room::new(&frame(3, &[1, 3], &[&pooled[..], last].concat()))
    };
    // A Softmax at the end is cut off; one further in front is led back by the logarithm.
    let room = after(&[("Softmax", &[])]);
    ok(&room.import(&[&TERMS[..], &FRAMES, &names].concat()));
    near(&room.outputs(&[0.25; 24])[0], &logits);
    let room = after(&[("Softmax", &[]), ("Identity", &[])]);
    fails(&room.import(&[&TERMS[..], &FRAMES, &names].concat()), 2, &["--values probabilities"]);
    let values = ["--values", "probabilities"];
    ok(&room.import(&[&TERMS[..], &FRAMES, &names, &values].concat()));
    near(&room.outputs(&[0.25; 24])[0], &logits.map(|v| v - sum.ln()));
    // Labels that may all be true are something else.
    let room = after(&[("Sigmoid", &[])]);
    let found = room.import(&[&TERMS[..], &FRAMES, &names].concat());
    fails(&found, 2, &["classes of which one is true", "Sigmoid"]);
}

#[test]
fn coordinates_become_pixels_and_gray_becomes_colours() {
    // x and y of two landmarks, as rows of y, x from −1 to 1.
    let mut graph = frame(4, &[1, 2, 2], &[("GlobalAveragePool", &[]), ("Reshape", &["shape"])]);
    graph.graph.as_mut().unwrap().initializer.push(whole("shape", &[1, 2, 2]));
    let room = Room::new(&graph);
    let more = ["--names", "a,b", "--axes", "y,x", "--units", "normalised"];
    ok(&room.import(&[&TERMS[..], &FRAMES, &more].concat()));
    let mean = 0.25;
    let said = [2.0, 1.0, 0.0, -1.0].map(|w| w * mean - 0.5);
    let pixel = |v: f32, size: f32| ((v + 1.0) * size - 1.0) / 2.0;
    let expected =
        [pixel(said[1], 6.0), pixel(said[0], 4.0), pixel(said[3], 6.0), pixel(said[2], 4.0)];
    near(&room.outputs(&[mean; 24])[0], &expected);
    let mm = ["--names", "a,b", "--axes", "y,x", "--units", "mm"];
    let accepted = ["--units", "pixels|unit|normalised|normalised-corners", "mm"];
    fails(&room.import(&[&TERMS[..], &FRAMES, &mm].concat()), 2, &accepted);
    // All x, then all y, are not pairs.
    let mut apart = frame(6, &[1, 2, 3], &[("GlobalAveragePool", &[]), ("Reshape", &["shape"])]);
    apart.graph.as_mut().unwrap().initializer.push(whole("shape", &[1, 2, 3]));
    let head = ["--head", "y=coordinates"];
    let found = Room::new(&apart).import(&[&TERMS[..], &FRAMES, &head].concat());
    fails(&found, 2, &["an output that can be coordinates", "[1, 2, 3]"]);
    for typo in ["window:-100,2O0,240", "percentile:,,1,foo,99", "min_max:abc", "none:1x"] {
        let found = room.import(&[&TERMS[..], &["--normalise", typo]].concat());
        assert_eq!(found.status.code(), Some(2), "{typo}");
    }
    let few = ["--names", "a", "--axes", "y,x", "--units", "unit"];
    fails(&room.import(&[&TERMS[..], &FRAMES, &few].concat()), 2, &["2 names for y", "found 1"]);

    let mut graph = GraphProto { name: "colours".into(), ..Default::default() };
    graph.input.push(info("image", &[1, 3, 4, 6]));
    graph.output.push(info("image2", &[1, 1, 4, 6]));
    conv(&mut graph, 2, ["image", "image2"], &[vec![1.0, 10.0, 100.0]], &[0.0]);
    let room = Room::new(&model(graph));
    let more = ["--names", "a", "--mean", "0.5,0.25,0.1", "--sd", "0.5,0.25,2"];
    ok(&room.import(&[&TERMS[..], &FRAMES, &more].concat()));
    let x: Vec<f32> = (0..24).map(|i| i as f32 / 24.0).collect();
    let of = |v: &f32| (v - 0.5) / 0.5 + 10.0 * (v - 0.25) / 0.25 + 100.0 * (v - 0.1) / 2.0;
    near(&room.outputs(&x)[0], &x.iter().map(of).collect::<Vec<_>>());
    let two = ["--names", "a", "--mean", "0.5,0.25", "--sd", "1,1"];
    fails(&room.import(&[&TERMS[..], &FRAMES, &two].concat()), 2, &["--mean", "1 or 3 numbers"]);
}

/// As exporters write a network for any size: the size of the upsampled map is computed.
fn open_sizes() -> ModelProto {
    let mut proto = frame(1, &[1, 1, 4, 6], &[("MaxPool", &[]), ("Resize", &["", "", "sizes"])]);
    let graph = proto.graph.as_mut().unwrap();
    let ints = |name: &str, ints: &[i64]| AttributeProto {
        name: name.into(),
        r#type: 7,
        ints: ints.to_vec(),
        ..Default::default()
    };
    graph.node[1].attribute.extend([ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])]);
    let text = |name: &str, s: &str| AttributeProto {
        name: name.into(),
        r#type: 3,
        s: s.as_bytes().to_vec(),
        ..Default::default()
    };
    let modes = [("mode", "nearest"), ("nearest_mode", "floor")];
    let asymmetric = [("coordinate_transformation_mode", "asymmetric")];
    graph.node[2].attribute.extend(modes.into_iter().chain(asymmetric).map(|(n, v)| text(n, v)));
    let resize = graph.node.pop().unwrap();
    graph.node.push(node("Shape", &["x"], "sizes"));
    graph.node.push(resize);
    let shape = |graph: &mut GraphProto, output: bool| {
        let info = if output { &mut graph.output[0] } else { &mut graph.input[0] };
        let type_proto::Value::TensorType(tensor) =
            info.r#type.as_mut().unwrap().value.as_mut().unwrap();
        let names = ["batch", "1", "height", "width"];
        for (dim, name) in tensor.shape.as_mut().unwrap().dim.iter_mut().zip(names) {
            dim.value = if name == "1" { dim.value.take() } else { Some(DimParam(name.into())) };
        }
    };
    shape(graph, false);
    shape(graph, true);
    proto
}

#[test]
fn open_sizes_are_asked_for_and_folded() {
    let room = Room::new(&open_sizes());
    let said = room.inspect(&[]);
    assert_eq!(said["inputs"][0]["shape"], serde_json::json!(["batch", 1, "height", "width"]));
    assert_eq!(said["plan"], serde_json::Value::Null);
    assert_eq!(said["missing"][0]["flag"], "--input-shape");
    fails(&room.import(&[]), 2, &["--input-shape x=1,1,192,256", "--license"]);
    let size = ["--input-shape", "1,1,8,12"];
    // Neither the size nor what computes it is left to tract.
    let said = room.inspect(&size);
    assert_eq!(said["plan"]["tract"], serde_json::json!({}));
    assert_eq!(said["plan"]["output_shapes"]["y"], serde_json::json!([1, 1, 8, 12]));
    let more = ["--names", "a", "--values", "logits"];
    ok(&room.import(&[&TERMS[..], &FRAMES, &size, &more].concat()));
    let x: Vec<f32> = (0..96).map(|i| ((i * 37) % 96) as f32).collect();
    let pooled = |i: usize| {
        let (y, x0) = (i / 12 / 2 * 2, i % 12 / 2 * 2);
        [0, 1, 12, 13].map(|d| 2.0 * x[y * 12 + x0 + d] - 0.5).into_iter().fold(f32::MIN, f32::max)
    };
    near(&room.outputs(&x)[0], &(0..96).map(pooled).collect::<Vec<_>>());
    let odd = ["--input-shape", "1,1,8"];
    assert!(room.inspect(&odd)["problem"].is_string());
    fails(&room.import(&["--input-shape", "z=1,1,8,8"]), 2, &["--input-shape", "one of x"]);
}

/// Half floats, and weights in a file beside the model.
#[test]
fn weights_of_other_widths_and_in_other_files_are_taken_in() {
    let mut proto = frame(1, &[1, 1, 4, 6], &[]);
    let graph = proto.graph.as_mut().unwrap();
    let f16 = DataType::Float16 as i32;
    // 2 and −0.5 in binary16, the second number after 6 bytes of something else.
    for (weight, bits) in graph.initializer.iter_mut().zip([0x4000, 0xb800]) {
        weight.data_type = f16;
        weight.raw_data = vec![];
        weight.int32_data = vec![bits];
    }
    let entry =
        |key: &str, value: &str| StringStringEntryProto { key: key.into(), value: value.into() };
    let bias = &mut graph.initializer[1];
    bias.int32_data.clear();
    bias.data_location = Some(DataLocation::External as i32);
    bias.external_data =
        vec![entry("location", "net.data"), entry("offset", "6"), entry("length", "2")];
    for info in graph.input.iter_mut().chain(&mut graph.output) {
        let type_proto::Value::TensorType(tensor) =
            info.r#type.as_mut().unwrap().value.as_mut().unwrap();
        tensor.elem_type = f16;
    }
    let room = Room::new(&proto);
    let importing = |room: &Room| room.import(&[&TERMS[..], &FRAMES, &["--names", "a"]].concat());
    fails(&importing(&room), 2, &["external data of y.bias", "beside the model"]);
    std::fs::write(room.path("net.data"), [1, 2, 3, 4, 5, 6, 0x00, 0xb8]).unwrap();
    ok(&importing(&room));
    let x: Vec<f32> = (0..24).map(|i| i as f32).collect();
    near(&room.outputs(&x)[0], &x.iter().map(|v| 2.0 * v - 0.5).collect::<Vec<_>>());
    let notes = room.inspect(&[])["notes"].to_string();
    assert!(notes.contains("net.data") && notes.contains("float16 made float32"), "{notes}");

    // No other file can be named, and no bytes that it has not.
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::write(elsewhere.path().join("secret"), [0; 8]).unwrap();
    let secret = elsewhere.path().join("secret").display().to_string();
    std::os::unix::fs::symlink(&secret, room.path("link")).unwrap();
    let cases = [
        ("location", secret.as_str()),
        ("location", "../secret"),
        ("location", "link"),
        ("location", ""),
        ("location", "."),
        ("offset", "7"),
        ("offset", "-6"),
        ("length", "18446744073709551615"),
    ];
    for (key, value) in cases {
        let mut other = proto.clone();
        let bias = &mut other.graph.as_mut().unwrap().initializer[1];
        bias.external_data.iter_mut().filter(|e| e.key == key).for_each(|e| e.value = value.into());
        std::fs::write(room.path("net.onnx"), other.encode_to_vec()).unwrap();
        fails(&importing(&room), 2, &["net.onnx", "external data of y.bias", value]);
    }
}

/// Each is refused with a reason, in two GiB of address space.
#[test]
fn what_cannot_be_a_package_is_refused_with_a_reason() {
    let good = frame(1, &[1, 1, 4, 6], &[]);
    let changed = |change: &dyn Fn(&mut GraphProto)| {
        let mut proto = good.clone();
        change(proto.graph.as_mut().unwrap());
        proto.encode_to_vec()
    };
    let whole_input = changed(&|g| {
        let type_proto::Value::TensorType(tensor) =
            g.input[0].r#type.as_mut().unwrap().value.as_mut().unwrap();
        tensor.elem_type = DataType::Int64 as i32;
    });
    let mut old = good.clone();
    old.opset_import[0].version = 6;
    let channels_last = changed(&|g| {
        g.input[0] = info("x", &[1, 8, 6, 1]);
        g.node[0].input[0] = "first".into();
        let mut turn = node("Transpose", &["x"], "first");
        let perm = AttributeProto { name: "perm".into(), r#type: 7, ..Default::default() };
        turn.attribute.push(AttributeProto { ints: vec![0, 3, 1, 2], ..perm });
        g.node.insert(0, turn);
    });
    let mut cases: Vec<(Vec<u8>, Vec<&str>)> = vec![
        (b"".to_vec(), vec!["ONNX"]),
        (b"not a network at all".to_vec(), vec!["net.onnx"]),
        (whole_input, vec!["input x is int64, not float32"]),
        (old.encode_to_vec(), vec!["version 7 or newer, found 6"]),
        (changed(&|g| g.node[0].op_type = "Flux".into()), vec!["node y", "Flux"]),
        (changed(&|g| g.node[0].domain = "com.example".into()), vec!["Conv of com.example"]),
        (channels_last, vec!["channels first"]),
        (changed(&|g| g.input[0] = info("x", &[2, 1, 4, 6])), vec!["batch of 1"]),
        (changed(&|g| g.input[0] = info("x", &[1, 1, 1 << 40, 1 << 40])), vec!["values"]),
        (changed(&|g| g.input[0] = info("x", &[1, 1, 1 << 14, 1 << 17])), vec!["values"]),
        (changed(&|g| g.initializer[0].dims = vec![1 << 40, 1 << 40]), vec!["net.onnx"]),
        (changed(&|g| g.initializer[0].raw_data.truncate(2)), vec!["net.onnx"]),
        (changed(&|g| g.node[0].input[0] = "nowhere".into()), vec!["nowhere", "found none"]),
        (changed(&|g| g.output[0].name = "nowhere".into()), vec!["nowhere", "found none"]),
        (changed(&|g| g.node.clear()), vec!["with nodes and outputs"]),
    ];
    let bytes = good.encode_to_vec();
    for end in [10, bytes.len() / 3, bytes.len() / 2, bytes.len() - 1] {
        cases.push((bytes[..end].to_vec(), vec!["net.onnx"]));
    }
    let room = Room::new(&good);
    for (bytes, parts) in cases {
        std::fs::write(room.path("net.onnx"), bytes).unwrap();
        let run = |out: bool| {
            let mut command = limited();
            command.args(["models", "import"]).arg(room.path("net.onnx"));
            command.args(TERMS).args(FRAMES).args(["--names", "a", "--threads", "1"]);
            if out {
                command.arg("--out").arg(room.path("out"));
            }
            command.output().unwrap()
        };
        fails(&run(true), 2, &parts);
        assert!(!room.path("out").exists());
        let inspected = run(false);
        assert!(inspected.status.code().is_some_and(|c| c <= 2), "{inspected:?}");
        assert!(!String::from_utf8_lossy(&inspected.stderr).contains("panicked"));
    }
}
