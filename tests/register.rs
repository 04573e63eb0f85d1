//! `register` and `apply` on phantom pairs, with the demo's trained package.

use crate::common::{PairFiles, fails, files, json, mean_dice, ok, run};
use intraop::image::Geometry;
use intraop::io::{self, FieldConvention};

fn geometry() -> Geometry {
    Geometry::new([64, 64, 64], [1.0; 3])
}

#[test]
fn the_demo_writes_every_file_and_key_and_registers_well() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("demo/results");
    let stdout = ok(&run(["register", "--demo", "--json", "--out", out.to_str().unwrap()]));
    assert_eq!(
        files(&out),
        [
            "affine.tfm",
            "field.nii.gz",
            "inverse_field.nii.gz",
            "preview.png",
            "report.json",
            "warped.nii.gz",
            "warped_labels.nii.gz",
            "warped_points.csv"
        ]
    );
    let report = json(&out.join("report.json"));
    assert_eq!(report, serde_json::from_str::<serde_json::Value>(&stdout).unwrap());
    let keys = "model precision simd threads stages_ms peak_rss_mib ncc coverage_percent \
                folding_percent max_displacement_mm inverse_consistency_mm dice tre_mm warnings";
    for key in keys.split_whitespace() {
        assert!(!report[key].is_null(), "{key} is missing");
    }
    for stage in ["read", "preprocess", "infer", "compose", "warp", "write", "total"] {
        assert!(report["stages_ms"][stage].is_f64(), "{stage} is missing");
    }
    let figure = |a: &str, b: &str| report[a][b].as_f64().unwrap();
    assert!(figure("dice", "mean_before") < 0.6);
    assert!(figure("dice", "mean_after") > 0.75, "{}", report["dice"]);
    assert!(figure("ncc", "after") > figure("ncc", "before"));
    assert!(figure("tre_mm", "after") < 0.6 * figure("tre_mm", "before"));
    assert!(report["folding_percent"].as_f64().unwrap() < 0.5);
    assert!(report["inverse_consistency_mm"].as_f64().unwrap() < 0.2);
    assert_eq!(report["warnings"], serde_json::json!([]));
}

#[test]
fn what_is_reported_is_what_was_written() {
    let files = PairFiles::new(21, geometry());
    let labels = |side: &str| files.path(&format!("{side}_labels.nii.gz"));
    let (fixed_labels, moving_labels) = (labels("fixed"), labels("moving"));
    ok(&files.register(&[
        "--fixed-labels",
        fixed_labels.to_str().unwrap(),
        "--moving-labels",
        moving_labels.to_str().unwrap(),
    ]));
    let report = json(&files.path("out/report.json"));
    let warped = io::read_labels(&files.path("out/warped_labels.nii.gz")).unwrap();
    let dice = report["dice"]["mean_after"].as_f64().unwrap();
    assert!((dice - mean_dice(&files.pair.fixed_labels, &warped)).abs() < 1e-9);
}

#[test]
fn apply_repeats_what_register_did() {
    let files = PairFiles::new(22, geometry());
    ok(&files.register(&[]));
    let fixed = files.path("fixed.nii.gz");
    let apply = |transform: [&str; 2], what: &str, input: &str, out: &str| {
        let mut command = crate::common::intraop();
        command.arg("apply").arg(transform[0]).arg(files.path(transform[1]));
        command.arg(what).arg(files.path(input)).arg("--reference").arg(&fixed);
        ok(&command.arg("--out").arg(files.path(out)).output().unwrap());
    };
    apply(["--field", "out/field.nii.gz"], "--image", "moving.nii.gz", "again.nii.gz");
    let read = |name: &str| io::read_volume(&files.path(name)).unwrap();
    assert_eq!(read("again.nii.gz"), read("out/warped.nii.gz"));
    apply(["--field", "out/field.nii.gz"], "--labels", "moving_labels.nii.gz", "labels.nii.gz");
    let labels = io::read_labels(&files.path("labels.nii.gz")).unwrap();
    assert!(mean_dice(&files.pair.fixed_labels, &labels) > 0.7);
    // A label map treated as an image and by the affine alone differs from both.
    apply(["--affine", "out/affine.tfm"], "--labels", "moving_labels.nii.gz", "affine.nii.gz");
    let affine = io::read_labels(&files.path("affine.nii.gz")).unwrap();
    assert_ne!(affine.data, labels.data);
    // Fixed points forward, then back through the inverse field.
    let points: Vec<io::Point> = files.pair.fixed_points[..5]
        .iter()
        .map(|p| io::Point { name: None, position: *p })
        .collect();
    io::write_points(&files.path("p.csv"), &points).unwrap();
    apply(["--field", "out/field.nii.gz"], "--points", "p.csv", "q.csv");
    apply(["--field", "out/inverse_field.nii.gz"], "--points", "q.csv", "back.csv");
    let back = io::read_points(&files.path("back.csv")).unwrap();
    for (a, b) in points.iter().zip(&back) {
        let d: f64 = (0..3).map(|i| (a.position[i] - b.position[i]).powi(2)).sum();
        assert!(d.sqrt() < 0.3, "{a:?} {b:?}");
    }
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() {
    let files = PairFiles::new(23, geometry());
    let field = |threads: &str| {
        ok(&files.register(&["--threads", threads]));
        std::fs::read(files.path("out/field.nii.gz")).unwrap()
    };
    let one = field("1");
    assert_eq!(one, field("2"));
    assert_eq!(one, field("3"));
}

#[test]
fn storage_order_size_and_spacing_do_not_matter() {
    // The same anatomy, stored along other axes, off-size and anisotropic.
    let turned = nalgebra::Matrix3::new(0.0, -1.0, 0.0, 0.0, 0.0, 1.0, -1.0, 0.0, 0.0);
    let odd = Geometry {
        size: [53, 67, 41],
        spacing: [1.2, 0.95, 1.55],
        origin: nalgebra::Vector3::new(-20.0, 35.0, 7.0),
        direction: turned,
    };
    let files = PairFiles::new(24, odd);
    ok(&files.register(&[]));
    let field =
        io::read_field(&files.path("out/field.nii.gz"), FieldConvention::Itk, None).unwrap();
    assert!(field.geometry.same_grid(&files.pair.fixed.geometry));
    let warped =
        intraop::registration::warp_labels(&files.pair.moving_labels, &field, &field.geometry);
    let before = mean_dice(&files.pair.fixed_labels, &files.pair.moving_labels);
    let after = mean_dice(&files.pair.fixed_labels, &warped);
    assert!(after > before + 0.1, "{before} {after}");
}

#[test]
fn every_field_convention_leads_back_to_the_same_field() {
    let files = PairFiles::new(25, geometry());
    ok(&files.register(&[]));
    let itk = io::read_field(&files.path("out/field.nii.gz"), FieldConvention::Itk, None).unwrap();
    for (name, file) in [
        ("ants", "field.nii.gz"),
        ("metaimage", "field.mha"),
        ("voxelmorph", "field.nii.gz"),
        ("learn2reg", "field.nii.gz"),
    ] {
        ok(&files.register(&["--field-convention", name]));
        let path = files.path("out").join(file);
        let found = io::read_field(&path, name.parse().unwrap(), None).unwrap();
        assert!(found.geometry.same_grid(&itk.geometry), "{name}");
        let worst = itk.data.iter().flatten().zip(found.data.iter().flatten());
        let worst = worst.fold(0.0f32, |w, (a, b)| w.max((a - b).abs()));
        assert!(worst < 1e-4, "{name}: {worst}");
    }
}

#[test]
fn stages_can_be_left_out() {
    let files = PairFiles::new(26, geometry());
    ok(&files.register(&["--affine-only"]));
    let affine = io::read_transform(&files.path("out/affine.tfm")).unwrap();
    let field =
        io::read_field(&files.path("out/field.nii.gz"), FieldConvention::Itk, None).unwrap();
    let expected = intraop::registration::affine_field(&affine, &field.geometry);
    let worst = field.data.iter().flatten().zip(expected.data.iter().flatten());
    assert!(worst.fold(0.0f32, |w, (a, b)| w.max((a - b).abs())) < 1e-4);
    for wrong in ["0", "9"] {
        fails(&files.register(&["--cascades", wrong]), 2, &["--cascades: expected 1 to 1"]);
    }
    let none = files.register(&["--threads", "0"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&none.stderr).contains("--threads"));
    ok(&files.register(&["--init", "centers"]));
    let field = std::fs::read(files.path("out/field.nii.gz")).unwrap();
    ok(&files.register(&["--init", "centres"]));
    assert_eq!(std::fs::read(files.path("out/field.nii.gz")).unwrap(), field);
    fails(&files.register(&["--init", "middle"]), 2, &["header, centers, mass", "middle"]);
}

#[test]
fn the_initial_alignment_is_part_of_the_field() {
    let mut files = PairFiles::new(27, geometry());
    // The moving image's header is 500 mm off.
    files.pair.moving.geometry.origin.x += 500.0;
    let moving = files.path("moving.nii.gz");
    io::write_volume(&moving, &files.pair.moving, io::ScalarType::F32).unwrap();
    let apart = files.register(&[]);
    fails(&apart, 2, &["fixed.nii.gz and", "do not overlap", "--init centers"]);
    assert!(!files.path("out").exists(), "nothing is left behind");
    ok(&files.register(&["--init", "centers"]));
    let centers = json(&files.path("out/report.json"));
    assert!(centers["max_displacement_mm"].as_f64().unwrap() > 450.0);
    let shift = intraop::image::Affine::translation(nalgebra::Vector3::new(500.0, 0.0, 0.0));
    let tfm = files.path("init.tfm");
    io::write_transform(&tfm, &shift).unwrap();
    ok(&files.register(&["--init", tfm.to_str().unwrap()]));
    let given = json(&files.path("out/report.json"));
    let ncc = |r: &serde_json::Value| r["ncc"]["after"].as_f64().unwrap();
    assert!((ncc(&centers) - ncc(&given)).abs() < 1e-6);
}

#[test]
fn a_folder_never_mixes_two_runs_or_loses_an_input() {
    let files = PairFiles::new(28, geometry());
    let labels = files.path("moving_labels.nii.gz");
    ok(&files.register(&["--moving-labels", labels.to_str().unwrap()]));
    std::fs::write(files.path("out/notes.txt"), "mine").unwrap();
    ok(&files.register(&["--field-convention", "metaimage"]));
    let names = crate::common::files(&files.path("out"));
    assert!(names.contains(&"field.mha".into()) && names.contains(&"notes.txt".into()));
    assert!(!names.contains(&"field.nii.gz".into()), "left by the run before: {names:?}");
    assert!(!names.contains(&"warped_labels.nii.gz".into()), "{names:?}");
    // Registering a result once more must not destroy it.
    let warped = files.path("out/warped.nii.gz");
    let before = std::fs::read(&warped).unwrap();
    let mut command = crate::common::intraop();
    command.arg("register").arg(files.path("fixed.nii.gz")).arg(&warped);
    command.args(["--model", "demo", "--out"]).arg(files.path("out"));
    fails(&command.output().unwrap(), 2, &["--out", "warped.nii.gz", "overwritten"]);
    assert_eq!(std::fs::read(&warped).unwrap(), before);
    // A folder in a result's place is found out before anything is replaced.
    std::fs::remove_file(files.path("out/affine.tfm")).unwrap();
    std::fs::create_dir(files.path("out/affine.tfm")).unwrap();
    fails(&files.register(&[]), 2, &["affine.tfm", "cannot be written"]);
    assert!(files.path("out/field.mha").exists());
    assert_eq!(std::fs::read(&warped).unwrap(), before);
}

#[test]
fn apply_refuses_what_does_not_overlap() {
    let files = PairFiles::new(29, geometry());
    let far = intraop::image::Affine::translation(nalgebra::Vector3::new(1e6, 0.0, 0.0));
    io::write_transform(&files.path("far.tfm"), &far).unwrap();
    let mut elsewhere = geometry();
    elsewhere.origin.x = 1e4;
    let field = intraop::image::Field::filled(elsewhere, [0.0; 3]);
    io::write_field(&files.path("field.nii.gz"), &field, FieldConvention::Itk).unwrap();
    for transform in [["--affine", "far.tfm"], ["--field", "field.nii.gz"]] {
        let mut command = crate::common::intraop();
        command.arg("apply").arg(transform[0]).arg(files.path(transform[1]));
        command.arg("--image").arg(files.path("moving.nii.gz"));
        command.arg("--reference").arg(files.path("fixed.nii.gz"));
        command.arg("--out").arg(files.path("black.nii.gz"));
        fails(&command.output().unwrap(), 2, &["do not overlap"]);
        assert!(!files.path("black.nii.gz").exists());
    }
}
