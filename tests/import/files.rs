//! What a file holds: sizes, widths, texts, and what is refused.

use intraop::engine::onnx::StringStringEntryProto;
use intraop::engine::onnx::tensor_proto::DataLocation;
use intraop::engine::onnx::tensor_shape_proto::dimension::Value::DimParam;
use intraop::engine::onnx::type_proto;

use super::*;
use crate::common::{ROOT, fails, limited, ok};

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
    let mut inspect = intraop();
    inspect.args(["models", "import"]).arg(room.path("net.onnx"));
    let found = inspect.args(["--input-shape", "1,1,8"]).output().unwrap();
    fails(&found, 2, &["--input-shape", "[1, 1, 8]"]);
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
        (changed(&|g| g.node.push(g.node[0].clone())), vec!["y: ", "one node", "found another"]),
        (changed(&|g| g.output.push(g.output[0].clone())), vec!["y: ", "found two"]),
        (
            changed(&|g| {
                g.node[0].input[0] = "later".into();
                g.node.push(node("Identity", &["x"], "later"));
            }),
            vec!["later: expected an earlier node"],
        ),
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

/// A matrix of all of them together would have 2³⁴ numbers.
#[test]
fn many_points_take_little_memory() {
    let mut proto = frame(1, &[1, 1 << 16, 2], &[("Reshape", &["shape"])]);
    let graph = proto.graph.as_mut().unwrap();
    graph.initializer.push(whole("shape", &[1, 1 << 16, 2]));
    graph.input[0] = info("x", &[1, 1, 256, 512]);
    let room = Room::new(&proto);
    let mut command = limited();
    command.args(["models", "import", "--axes", "y,x", "--units", "unit", "--threads", "1"]);
    let said = ok(&command.arg(room.path("net.onnx")).output().unwrap());
    assert!(said.contains("the names of the 65536 things that y finds"), "{said}");
}

/// They could be orders to a terminal, or lines of the card that nobody wrote.
#[test]
fn control_characters_are_shown_and_not_obeyed() {
    let mut proto = frame(1, &[1, 1, 4, 6], &[("Sigmoid", &[])]);
    proto.producer_name = "\u{1b}]0;title\u{7}".into();
    let graph = proto.graph.as_mut().unwrap();
    graph.input[0].name = "x\u{1b}[2J".into();
    graph.node[0].input[0] = "x\u{1b}[2J".into();
    graph.output[0].name = "y\n- proved".into();
    graph.node[1].output[0] = "y\n- proved".into();
    graph.node[1].doc_string = "in\n lines".into();
    let room = Room::new(&proto);
    let mut command = intraop();
    let inspected =
        ok(&command.args(["models", "import"]).arg(room.path("net.onnx")).output().unwrap());
    let imported = ok(&room.import(&[&TERMS[..], &FRAMES, &["--names", "a"]].concat()));
    let card = std::fs::read_to_string(room.path("out/README.md")).unwrap();
    for text in [&inspected, &imported, &card] {
        assert!(text.contains(r"y\u{a}- proved"), "{text}");
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    }
    assert!(inspected.contains(r"x\u{1b}[2J") && card.contains(r"\u{1b}]0;title\u{7}"));
    near(&room.outputs(&[0.5; 24])[0], &[0.5; 24]);
}

/// What is quantized in the file is in int8 in the package, and gives the same bits.
#[test]
fn int8_stays_int8() {
    let model = std::path::Path::new(ROOT).join("models/fetal-head");
    let ours = std::fs::read(model.join("unet.onnx")).unwrap();
    let proto = ModelProto::decode(&ours[..]).unwrap();
    let room = Room::new(&proto);
    let names = ["--names", "heatmaps=a,b,c,d", "--names", "mask=head"];
    let values = ["--values", "heatmaps=probabilities"];
    let answers = [&TERMS[..], &FRAMES, &names, &values].concat();
    ok(&room.import(&answers));
    let count = |proto: &ModelProto| {
        let graph = proto.graph.as_ref().unwrap();
        let int8 = graph.initializer.iter().filter(|t| t.data_type == DataType::Int8 as i32);
        let quantized = graph.node.iter().filter(|n| n.op_type.ends_with("quantizeLinear"));
        (int8.map(|t| t.raw_data.len()).sum::<usize>(), quantized.count())
    };
    let bytes = std::fs::read(room.path("out/model.onnx")).unwrap();
    assert_eq!(count(&ModelProto::decode(&bytes[..]).unwrap()), count(&proto));
    assert!(count(&proto).0 > 2_000_000);
    let manifest = std::fs::read_to_string(room.path("out/package.toml")).unwrap();
    assert!(manifest.contains("precision = \"int8\""), "{manifest}");

    let package = Package::load(&model).unwrap();
    let session = Session::new(package, SessionOptions::with_threads(1)).unwrap();
    let input = &session.package().manifest.graphs[0].inputs[0];
    let x: Vec<f32> =
        (0..input.spatial_shape.iter().product()).map(|i| ((i * 37) % 96) as f32 / 96.0).collect();
    let mut expected = Vec::new();
    session.run(0, &x, &mut expected).unwrap();
    assert_eq!(room.outputs(&x), expected);
}

/// What a run that was killed left is in nobody's way; what somebody wrote is.
#[test]
fn a_folder_must_be_new_or_empty() {
    let room = Room::new(&frame(1, &[1, 1, 4, 6], &[]));
    let answers = [&TERMS[..], &FRAMES, &["--names", "a"]].concat();
    std::fs::create_dir_all(room.path("out/.intraop-partial-1")).unwrap();
    ok(&room.import_again(&answers));
    fails(&room.import_again(&answers), 2, &["--out", "a new or empty folder"]);
}

/// Nodes that no output needs do not make a package int8, whose golden case would prove less.
#[test]
fn dead_nodes_say_nothing_of_the_precision() {
    let mut proto = frame(1, &[1, 1, 4, 6], &[]);
    let graph = proto.graph.as_mut().unwrap();
    let scale = TensorProto {
        name: "scale".into(),
        data_type: 1,
        float_data: vec![1.0],
        ..Default::default()
    };
    graph.initializer.push(scale);
    graph.node.push(node("QuantizeLinear", &["x", "scale"], "small"));
    graph.node.push(node("DequantizeLinear", &["small", "scale"], "dead"));
    let room = Room::new(&proto);
    ok(&room.import(&[&TERMS[..], &FRAMES, &["--names", "a"]].concat()));
    let manifest = std::fs::read_to_string(room.path("out/package.toml")).unwrap();
    assert!(manifest.contains("precision = \"f32\""), "{manifest}");
    assert_eq!(crate::common::json(&room.path("out/golden.json"))["tolerance"], 1e-4);
}

/// Values that differ by less than their own rounding: what two engines find of them is noise.
#[test]
fn engines_that_differ_make_no_package() {
    let mut graph = GraphProto { name: "noise".into(), ..Default::default() };
    graph.input.push(info("x", &[1, 1, 32, 48]));
    graph.output.push(info("y", &[1, 1, 32, 48]));
    conv(&mut graph, 2, ["x", "flat"], &[vec![0.01]], &[1e5]);
    for (name, value) in [("scale", 1.0), ("shift", 0.0)] {
        let (name, float_data) = (name.into(), vec![value]);
        let tensor =
            TensorProto { name, dims: vec![1], data_type: 1, float_data, ..Default::default() };
        graph.initializer.push(tensor);
    }
    graph.node.push(node("InstanceNormalization", &["flat", "scale", "shift"], "y"));
    let room = Room::new(&model(graph));
    let found =
        room.import(&[&TERMS[..], &FRAMES, &["--names", "a"], &["--values", "logits"]].concat());
    fails(&found, 3, &["check not met"]);
    assert!(!room.path("out").exists());
}
