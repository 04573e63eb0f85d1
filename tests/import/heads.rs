//! What outputs become, and what is appended to the graph for it.

use super::*;
use crate::common::onnx::{conv, info, model, node};
use crate::common::{dots, fails, files, intraop, ok, run};

#[test]
fn a_network_of_landmarks_finds_them_as_a_package() {
    let room = Room::new(&dots::onnx());
    let said = room.inspect(&[]);
    assert_eq!(said["operators"]["Conv"], 4);
    assert_eq!(said["inputs"][0]["shape"], serde_json::json!([1, 1, 48, 64]));
    assert_eq!(said["plan"]["tract"], serde_json::json!({}));
    assert_eq!(said["plan"]["of"], "whole_file");
    assert!(said["plan"]["warm_ms_median"].as_f64().unwrap() > 0.0);
    // Two numbers may be classes or a place; maps of the input's size may be masks or heatmaps.
    let missing: Vec<&str> =
        (said["missing"].as_array().unwrap().iter()).map(|q| q["flag"].as_str().unwrap()).collect();
    let flags = ["--head", "--head", "--modality", "--names", "--normalize", "--fit", "--license"];
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
    let found = crate::common::json(&room.path("found/landmarks.json"));
    let found = &found["images"][0]["landmarks"];
    for (landmark, end) in found.as_array().unwrap().iter().zip(dots::SKULL.ends()) {
        assert_eq!(landmark["found"], true);
        for (axis, expected) in ["x_px", "y_px"].iter().zip(end) {
            assert!((landmark[axis].as_f64().unwrap() - expected).abs() < 0.01, "{landmark}");
        }
    }
    // A card that somebody completed is not overwritten.
    std::fs::write(package.join("README.md"), "mine").unwrap();
    fails(&room.import_again(&answers), 2, &["--out", "a new or empty folder"]);
    assert_eq!(std::fs::read_to_string(package.join("README.md")).unwrap(), "mine");
}

#[test]
fn two_inputs_become_a_pair_and_units_become_voxels() {
    let room = Room::new(&pair());
    let fixed: Vec<f32> = (0..24).map(|i| i as f32).collect();
    let moving: Vec<f32> = (0..24).map(|i| 100.0 - i as f32).collect();
    let input = [fixed.clone(), moving.clone()].concat();
    // The moved image is left out, and so is what makes it.
    let said = room.inspect(&[]);
    assert_eq!(said["plan"]["of"], "package");
    assert_eq!(said["plan"]["input_shapes"], serde_json::json!({"pair": [1, 2, 2, 3, 4]}));
    assert_eq!(said["plan"]["output_shapes"], serde_json::json!({"flow": [1, 3, 2, 3, 4]}));
    let difference: Vec<f32> = moving.iter().zip(&fixed).map(|(m, f)| m - f).collect();
    // Sizes: z 2, y 3, x 4.
    let cases = [
        ("voxels", "z,y,x", [1.0, 1.0, 1.0]),
        ("normalized", "z,y,x", [1.0, 1.5, 2.0]),
        ("normalized", "x,y,z", [2.0, 1.5, 1.0]),
        ("normalized-corners", "z,y,x", [0.5, 1.0, 1.5]),
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
    fails(&room.import(&mm), 2, &["--units", "fit is resample"]);
    let twice = [&TERMS[..], &VOLUMES, &["--units", "voxels", "--axes", "x,x,z"]].concat();
    fails(&room.import(&twice), 2, &["--axes", "x,y,z|z,y,x", "x,x,z"]);
    let stranger = [&TERMS[..], &VOLUMES, &["--head", "floh=displacement"]].concat();
    fails(&room.import(&stranger), 2, &["--head", "moved, flow", "floh"]);
    let shape = [&TERMS[..], &VOLUMES, &["--head", "moved=displacement"]].concat();
    fails(&room.import(&shape), 2, &["an output that can be displacement", "moved"]);

    let mut two = pair();
    let graph = two.graph.as_mut().unwrap();
    graph.output[0] = info("back", &[1, 3, 2, 3, 4]);
    graph.node[2] = node("Neg", &["flow"], "back");
    let heads = ["--head", "back=displacement", "--head", "flow=displacement"];
    let more = ["--units", "voxels", "--axes", "x,y,z"];
    let found = Room::new(&two).import(&[&TERMS[..], &VOLUMES, &heads, &more].concat());
    fails(&found, 2, &["one stage in a file", "back displacement, flow displacement"]);
}

/// `affine_grid` takes θ to places from −1 to 1 of the moving image; the package's affine head is
/// in voxels. Both must lead a voxel to the same place.
#[test]
fn theta_becomes_the_affine_head() {
    let size = [4.0, 6.0, 10.0]; // x, y, z
    let theta = [1.1, 0.2, -0.1, 0.3, 0.05, 0.9, 0.15, -0.2, -0.25, 0.1, 1.2, 0.4f32];
    let room = |shape: &[usize]| {
        let mut graph = GraphProto { name: "theta".into(), ..Default::default() };
        graph.input.push(info("pair", &[1, 2, 10, 6, 4]));
        graph.output.push(info("theta", shape));
        conv(&mut graph, 3, ["pair", "none"], &vec![vec![0.0; 2]; 12], &theta);
        graph.node.push(node("GlobalAveragePool", &["none"], "numbers"));
        graph
            .initializer
            .push(whole("shape", &shape.iter().map(|n| *n as i64).collect::<Vec<_>>()));
        graph.node.push(node("Reshape", &["numbers", "shape"], "theta"));
        Room::new(&model(graph))
    };
    let cases: [(&str, f64, &[usize]); 4] = [
        ("theta", 0.0, &[1, 3, 4]),
        ("theta-corners", 1.0, &[1, 3, 4]),
        ("theta", 0.0, &[3, 4]),
        ("theta", 0.0, &[12]),
    ];
    for (form, corners, shape) in cases {
        let room = room(shape);
        let more = ["--affine", form, "--order", "fixed,moving"];
        ok(&room.import(&[&TERMS[..], &VOLUMES, &more].concat()));
        let out = room.outputs(&[0.5; 480])[0].iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
        let voxel = [3.0, 1.0, 7.0];
        let center = size.map(|n| (n - 1.0) / 2.0);
        let half = size.map(|n| (n - corners) / 2.0);
        let place = [0, 1, 2].map(|a| (voxel[a] - center[a]) / half[a]);
        for row in 0..3 {
            let at = |i: usize| f64::from(theta[4 * row + i]);
            let q = at(0) * place[0] + at(1) * place[1] + at(2) * place[2] + at(3);
            let expected = center[row] + half[row] * q;
            let turned: f64 = (0..3).map(|c| out[3 * row + c] * (voxel[c] - center[c])).sum();
            let found = voxel[row] + turned + out[9 + row];
            assert!((found - expected).abs() < 1e-4, "{form} {row}: {found}, not {expected}");
        }
    }
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
    fails(&room.import(&[&TERMS[..], &FRAMES, &names].concat()), 2, &["--values y=probabilities"]);
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
    fails(&room.import(&[&TERMS[..], &FRAMES, &names].concat()), 2, &["--values y=probabilities"]);
    let values = ["--values", "probabilities"];
    ok(&room.import(&[&TERMS[..], &FRAMES, &names, &values].concat()));
    near(&room.outputs(&[0.25; 24])[0], &logits.map(|v| v - sum.ln()));
    // One alone is always the likeliest.
    let last: [(&str, &[&str]); 2] = [("GlobalAveragePool", &[]), ("Flatten", &[])];
    for (shape, nodes) in [(&[1, 1][..], &last[..]), (&[1, 1, 1, 1], &last[..1])] {
        let room = Room::new(&frame(1, shape, nodes));
        let left_out = format!("a task here reads, found y {shape:?}");
        fails(&room.import(&[&TERMS[..], &FRAMES].concat()), 2, &[&left_out]);
        let found = room.import(&[&TERMS[..], &FRAMES, &["--head", "y=classes"]].concat());
        fails(&found, 2, &["an output that can be classes", "y"]);
    }
    // Labels that may all be true are something else.
    let room = after(&[("Sigmoid", &[])]);
    let found = room.import(&[&TERMS[..], &FRAMES, &names].concat());
    fails(&found, 2, &["classes of which one is true", "Sigmoid"]);
}

#[test]
fn coordinates_become_pixels_and_gray_becomes_colors() {
    // x and y of two landmarks, as rows of y, x from −1 to 1.
    let mut graph = frame(4, &[1, 2, 2], &[("GlobalAveragePool", &[]), ("Reshape", &["shape"])]);
    graph.graph.as_mut().unwrap().initializer.push(whole("shape", &[1, 2, 2]));
    let room = Room::new(&graph);
    let more = ["--names", "a,b", "--axes", "y,x", "--units", "normalized"];
    ok(&room.import(&[&TERMS[..], &FRAMES, &more].concat()));
    let mean = 0.25;
    let said = [2.0, 1.0, 0.0, -1.0].map(|w| w * mean - 0.5);
    let pixel = |v: f32, size: f32| ((v + 1.0) * size - 1.0) / 2.0;
    let expected =
        [pixel(said[1], 6.0), pixel(said[0], 4.0), pixel(said[3], 6.0), pixel(said[2], 4.0)];
    near(&room.outputs(&[mean; 24])[0], &expected);
    let mm = ["--names", "a,b", "--axes", "y,x", "--units", "mm"];
    let accepted = ["--units", "pixels|unit|normalized|normalized-corners", "mm"];
    fails(&room.import(&[&TERMS[..], &FRAMES, &mm].concat()), 2, &accepted);
    // All x, then all y, are not pairs.
    let mut apart = frame(6, &[1, 2, 3], &[("GlobalAveragePool", &[]), ("Reshape", &["shape"])]);
    apart.graph.as_mut().unwrap().initializer.push(whole("shape", &[1, 2, 3]));
    let head = ["--head", "y=coordinates"];
    let found = Room::new(&apart).import(&[&TERMS[..], &FRAMES, &head].concat());
    fails(&found, 2, &["an output that can be coordinates", "[1, 2, 3]"]);
    for typo in ["window:-100,2O0,240", "percentile:,,1,foo,99", "min_max:abc", "none:1x"] {
        let found = room.import(&[&TERMS[..], &["--normalize", typo]].concat());
        assert_eq!(found.status.code(), Some(2), "{typo}");
    }
    let few = ["--names", "a", "--axes", "y,x", "--units", "unit"];
    fails(&room.import(&[&TERMS[..], &FRAMES, &few].concat()), 2, &["2 names for y", "found 1"]);

    let mut graph = GraphProto { name: "colors".into(), ..Default::default() };
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
    fails(
        &room.import(&[&TERMS[..], &FRAMES, &two].concat()),
        2,
        &["--mean", "each of 3 channels"],
    );
    for gap in ["a,", ",", ""] {
        assert_eq!(room.import(&["--names", gap]).status.code(), Some(2));
    }
    assert_eq!(room.import(&["--license", ""]).status.code(), Some(2));
}

/// A tensor may be a head, and what another head is made of when its last operator is cut off.
#[test]
fn heads_of_one_source_are_each_their_own() {
    let x: Vec<f32> = (0..24).map(|i| i as f32 / 24.0).collect();
    let line: Vec<f32> = x.iter().map(|v| 2.0 * v - 0.5).collect();
    let maps: Vec<f32> = line.iter().map(|v| 1.0 / (1.0 + (-v).exp())).collect();
    let orders: [[&str; 3]; 3] =
        [["line", "one", "two"], ["one", "line", "two"], ["two", "one", "line"]];
    let heads = ["--head", "line=heatmaps", "--head", "one=mask", "--head", "two=mask"];
    let more = ["--values", "line=logits", "--names", "two=b", "--names", "a"];
    for order in orders {
        let mut proto = frame(1, &[1, 1, 4, 6], &[]);
        let graph = proto.graph.as_mut().unwrap();
        graph.node[0].output[0] = "line".into();
        graph.node.extend(["one", "two"].map(|name| node("Sigmoid", &["line"], name)));
        graph.output = order.map(|name| info(name, &[1, 1, 4, 6])).into();
        let room = Room::new(&proto);
        ok(&room.import(&[&TERMS[..], &FRAMES, &heads, &more].concat()));
        for (name, found) in order.iter().zip(room.outputs(&x)) {
            near(&found, if *name == "line" { &maps } else { &line });
        }
    }
}

/// What is left when the only operator is cut off is the input.
#[test]
fn an_input_may_be_a_head_but_is_no_output_by_itself() {
    let mut graph = GraphProto { name: "input".into(), ..Default::default() };
    graph.input.push(info("x", &[1, 1, 4, 6]));
    graph.output.extend(["x", "y"].map(|name| info(name, &[1, 1, 4, 6])));
    graph.node.push(node("Sigmoid", &["x"], "y"));
    let room = Room::new(&model(graph));
    let answers = [&TERMS[..], &FRAMES, &["--names", "a"]].concat();
    ok(&room.import(&answers));
    let x: Vec<f32> = (0..24).map(|i| i as f32 / 24.0).collect();
    near(&room.outputs(&x)[0], &x);
    let found = room.import(&[&answers[..], &["--head", "x=mask"]].concat());
    fails(&found, 2, &["--head", "one of y, found x"]);
}

#[test]
fn a_softmax_makes_a_mask_only_along_the_channels() {
    let asked = |axis: Option<i64>, version: i64| {
        let mut proto = frame(3, &[1, 3, 4, 6], &[("Softmax", &[])]);
        proto.opset_import[0].version = version;
        let softmax = &mut proto.graph.as_mut().unwrap().node[1];
        softmax.attribute.extend(axis.map(|axis| whole_number("axis", axis)));
        let said = Room::new(&proto).inspect(&[]);
        said["missing"].as_array().unwrap().iter().any(|q| q["flag"] == "--head")
    };
    assert!(!asked(Some(1), 17) && !asked(Some(-3), 17));
    // Along x by default; before version 13 of all values together.
    assert!(asked(None, 17) && asked(Some(2), 17) && asked(Some(1), 11));
}

/// Of several masks each may stand for itself or one be true: nobody can tell by the file.
#[test]
fn masks_of_which_one_is_true_become_logits_of_each_alone() {
    let x: Vec<f32> = (0..24).map(|i| i as f32 / 24.0).collect();
    let logits = |channel: usize, v: f32| (2.0 - channel as f32) * v - 0.5;
    let shares = |channel: usize, v: f32| {
        let sum: f32 = (0..3).map(|c| logits(c, v).exp()).sum();
        let inside = 0.001 + 0.998 * logits(channel, v).exp() / sum;
        (inside / (1.0 - inside)).ln()
    };
    let all = |of: &dyn Fn(usize, f32) -> f32| -> Vec<f32> {
        (0..3).flat_map(|c| x.iter().map(move |v| of(c, *v))).collect()
    };
    let answers = [&TERMS[..], &FRAMES, &["--names", "a,b,c", "--head", "y=mask"]].concat();
    let room = Room::new(&frame(3, &[1, 3, 4, 6], &[]));
    let choices = "--values y=probabilities|logits|softmax-logits";
    fails(&room.import(&answers), 2, &[choices]);
    ok(&room.import(&[&answers[..], &["--values", "logits"]].concat()));
    near(&room.outputs(&x)[0], &all(&logits));
    ok(&room.import(&[&answers[..], &["--values", "softmax-logits"]].concat()));
    near(&room.outputs(&x)[0], &all(&shares));
    let heatmaps = [&TERMS[..], &FRAMES, &["--names", "a,b,c", "--head", "y=heatmaps"]].concat();
    let found = room.import(&[&heatmaps[..], &["--values", "softmax-logits"]].concat());
    fails(&found, 2, &["--values", "of heatmaps"]);
    // The last operator tells.
    for last in ["Softmax", "LogSoftmax"] {
        let mut proto = frame(3, &[1, 3, 4, 6], &[(last, &[])]);
        proto.graph.as_mut().unwrap().node[1].attribute.push(whole_number("axis", 1));
        let room = Room::new(&proto);
        ok(&room.import(&answers));
        near(&room.outputs(&x)[0], &all(&shares));
    }
    let mut old = frame(3, &[1, 3, 4, 6], &[]);
    old.opset_import[0].version = 11;
    let found = Room::new(&old).import(&[&answers[..], &["--values", "softmax-logits"]].concat());
    fails(&found, 2, &["--values", "version 13 or newer"]);
}
