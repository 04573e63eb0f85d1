//! `landmarks` and `segment` as a user runs them, with a package whose answers are known in closed
//! form (tests/common/dots.rs), on good frames and on bad ones.

use std::path::PathBuf;
use std::process::Output;

use crate::common::dots::{self, DOTS, SKULL};
use crate::common::{data, fails, files, intraop, json, ok};
use image::{DynamicImage, GrayImage, ImageBuffer, Luma, Rgba, RgbaImage};
use intraop::image::Ellipse;
use serde_json::Value;

struct Work {
    folder: tempfile::TempDir,
}

impl Work {
    fn new() -> Self {
        let work = Work { folder: tempfile::tempdir().unwrap() };
        dots::write(&work.path("dots"));
        work
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn save(&self, name: &str, image: impl Into<DynamicImage>) {
        image.into().save(self.path(name)).unwrap();
    }

    fn run(&self, command: &str, images: &[&str], more: &[&str]) -> Output {
        let mut run = intraop();
        run.arg(command).args(images.iter().map(|name| self.path(name)));
        run.arg("--model").arg(self.path("dots")).arg("--out").arg(self.path("out")).args(more);
        run.output().unwrap()
    }

    fn report(&self, name: &str) -> Value {
        json(&self.path("out").join(name))
    }
}

/// The skull with every landmark at its place.
fn head() -> GrayImage {
    dots::picture(true, &DOTS.map(|(name, _)| name))
}

#[track_caller]
fn close(found: &Value, expected: f64, within: f64) {
    let found = found.as_f64().unwrap_or(f64::NAN);
    assert!((found - expected).abs() <= within, "{found} instead of {expected}");
}

#[test]
fn landmarks_and_measurements_are_those_of_the_picture() {
    let work = Work::new();
    work.save("head.png", head());
    ok(&work.run("landmarks", &["head.png"], &["--mm-per-px", "0.5,0.25"]));
    assert_eq!(files(&work.path("out")), ["head.mrk.json", "head_overlay.png", "landmarks.json"]);
    let report = work.report("landmarks.json");
    let entry = &report["images"][0];
    assert_eq!(entry["mm_per_px"], serde_json::json!([0.5, 0.25]));
    for (landmark, end) in entry["landmarks"].as_array().unwrap().iter().zip(SKULL.ends()) {
        assert_eq!(landmark["found"], true);
        close(&landmark["x_px"], end[0], 1e-9);
        close(&landmark["y_mm"], end[1] * 0.25, 1e-9);
    }
    // Between (32, 12) and (32, 36), 0.25 mm per row.
    let width = &entry["measurements"][2];
    assert_eq!((&width["name"], &width["unit"]), (&"width".into(), &"mm".into()));
    close(&width["value"], 6.0, 1e-9);
    // 20 · 0.5 and 12 · 0.25 mm.
    let around = Ellipse { semi_axes: [10.0, 3.0], ..SKULL }.circumference();
    close(&entry["measurements"][0]["value"], around, 0.03 * around);
    assert_eq!(entry["view"]["name"], "bright");
    let markups = json(&work.path("out").join("head.mrk.json"));
    assert_eq!(markups["markups"][0]["coordinateSystem"], "LPS");
    close(&markups["markups"][0]["controlPoints"][1]["position"][0], 26.0, 1e-9);
    close(&markups["markups"][0]["controlPoints"][1]["position"][1], 6.0, 1e-9);
}

#[test]
fn without_a_pixel_size_there_are_no_millimeters() {
    let work = Work::new();
    work.save("head.png", head());
    let said = ok(&work.run("landmarks", &["head.png"], &["--json"]));
    let report: Value = serde_json::from_str(&said).unwrap();
    let entry = &report["images"][0];
    assert!(entry["mm_per_px"].is_null() && entry["landmarks"][0]["x_mm"].is_null());
    assert!(!said.contains("\"mm\"") && entry["measurements"][0]["unit"] == "px");
    // Slicer knows millimeters only.
    assert_eq!(files(&work.path("out")), ["head_overlay.png", "landmarks.json"]);
}

#[test]
fn a_mask_is_a_picture_of_the_frame_s_size() {
    let work = Work::new();
    work.save("head.png", head());
    ok(&work.run("segment", &["head.png"], &["--mm-per-px", "0.5"]));
    assert_eq!(files(&work.path("out")), ["head_overlay.png", "head_skull.png", "report.json"]);
    let mask = image::open(work.path("out").join("head_skull.png")).unwrap().into_luma8();
    assert_eq!(mask.dimensions(), (64, 48));
    for (x, y, pixel) in mask.enumerate_pixels() {
        let level = SKULL.level([f64::from(x), f64::from(y)]);
        // The dots on its outline are darker.
        if !(0.93..=1.05).contains(&level) {
            assert_eq!(pixel.0[0], if level < 1.0 { 255 } else { 0 }, "({x}, {y})");
        }
    }
    let mask = &work.report("report.json")["images"][0]["masks"][0];
    assert_eq!(mask["found"], true);
    let area = std::f64::consts::PI * 20.0 * 12.0;
    close(&mask["area_px"], area, 0.03 * area);
    close(&mask["area_mm2"], mask["area_px"].as_f64().unwrap() / 4.0, 1e-6);
}

#[test]
fn the_view_decides_what_counts() {
    let work = Work::new();
    work.save("head.png", head());
    work.save("black.png", GrayImage::new(64, 48));
    let manifest = work.path("dots/package.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let view = |threshold: &str| {
        format!(
            "[[views]]\nname = \"bright\"\nthreshold = {threshold}\n\
             landmarks = [\"bpd_a\", \"bpd_b\"]\nmeasurements = [\"width\"]\n\n[golden]"
        )
    };
    let entry = |image: &str, threshold: &str| {
        std::fs::write(&manifest, text.replace("[golden]", &view(threshold))).unwrap();
        ok(&work.run("landmarks", &[image], &["--mm-per-px", "1"]));
        work.report("landmarks.json")["images"][0].clone()
    };
    let names = |entry: &Value, list: &str| -> Vec<String> {
        let list = entry[list].as_array().unwrap();
        list.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    let seen = entry("head.png", "0.9");
    assert_eq!(names(&seen, "landmarks"), ["bpd_a", "bpd_b"]);
    assert_eq!(names(&seen, "measurements"), ["width"]);
    close(&seen["measurements"][0]["value"], 24.0, 1e-9);
    // The other class, and one that is not sure enough: 1 / (1 + e^(10 − 100 · mean)) < 1.
    for (image, threshold) in [("black.png", "0.5"), ("head.png", "1.0")] {
        let seen = entry(image, threshold);
        assert_eq!(seen["landmarks"], serde_json::json!([]), "{image}");
        assert_eq!(seen["measurements"], serde_json::json!([]));
        assert!(seen["warnings"][0].as_str().unwrap().contains("no view"), "{seen}");
    }
    let stranger = text.replace("[golden]", &view("0.5").replace("bright", "sagittal"));
    std::fs::write(&manifest, stranger).unwrap();
    let output = work.run("landmarks", &["head.png"], &[]);
    fails(&output, 2, &["views.sagittal.name", "[\"bright\", \"dark\"]"]);
}

#[test]
fn coordinates_are_places_in_the_frame_that_was_given() {
    let work = Work::new();
    // Twice as large as what the network sees.
    let large = image::imageops::resize(&head(), 128, 96, image::imageops::FilterType::Nearest);
    work.save("head.png", large);
    work.save("white.png", GrayImage::from_pixel(64, 48, Luma([255])));
    let manifest = work.path("dots/package.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let head_of = |kind: &str| text.replace("kind = \"classes\"", kind);
    let spot = "kind = \"coordinates\"\nunits = \"pixels\"";
    std::fs::write(&manifest, head_of(spot)).unwrap();
    // Two channels are one place.
    fails(&work.run("landmarks", &["head.png"], &[]), 2, &["channel_def"]);
    let text = head_of(spot).replace("[\"bright\", \"dark\"]", "[\"spot\"]");
    std::fs::write(&manifest, text).unwrap();
    let spot = |image: &str| {
        ok(&work.run("landmarks", &[image], &[]));
        work.report("landmarks.json")["images"][0]["landmarks"][4].clone()
    };
    // x is 100 · mean, y is 10: (2 x + ½, 2 y + ½) in the larger frame.
    let found = spot("head.png");
    let mean = head().pixels().map(|p| f64::from(p.0[0])).sum::<f64>() / (64.0 * 48.0 * 255.0);
    close(&found["x_px"], 200.0 * mean + 0.5, 0.01);
    close(&found["y_px"], 20.5, 1e-4);
    assert!(found["confidence"].is_null() && found["found"] == true);
    // At x = 100 there is no pixel.
    assert_eq!(spot("white.png")["found"], false);
}

#[test]
fn several_images_of_one_name_are_kept_apart_and_a_bad_one_is_told() {
    let work = Work::new();
    std::fs::create_dir(work.path("other")).unwrap();
    work.save("head.png", head());
    work.save("other/head.png", GrayImage::new(64, 48));
    std::fs::write(work.path("text.png"), "no picture").unwrap();
    let output = work.run("landmarks", &["head.png", "other/head.png", "text.png"], &[]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("1 of 3 cases failed") && stderr.contains("text.png"), "{stderr}");
    let names = ["head-2_overlay.png", "head_overlay.png", "landmarks.json"];
    assert_eq!(files(&work.path("out")), names);
    let report = work.report("landmarks.json");
    assert_eq!(report["failed"].as_array().unwrap().len(), 1);
    assert_eq!(report["images"].as_array().unwrap().len(), 2);
}

#[test]
fn inputs_stay_and_nothing_of_an_earlier_run_does() {
    let work = Work::new();
    work.save("head.png", head());
    ok(&work.run("landmarks", &["head.png"], &["--mm-per-px", "0.5"]));
    ok(&work.run("landmarks", &["head.png"], &[]));
    assert_eq!(files(&work.path("out")), ["head_overlay.png", "landmarks.json"]);
    for name in ["out/a.png", "out/a_overlay.png", "out/a_skull.png"] {
        work.save(name, head());
    }
    for (command, other) in [("landmarks", "out/a_overlay.png"), ("segment", "out/a_skull.png")] {
        let before = std::fs::read(work.path(other)).unwrap();
        let output = work.run(command, &["out/a.png", other], &[]);
        fails(&output, 2, &["--out", "would be overwritten"]);
        assert_eq!(std::fs::read(work.path(other)).unwrap(), before, "{command}");
    }
}

#[test]
fn a_frame_of_a_clip_that_fails_loses_only_itself() {
    let work = Work::new();
    let mut clip = b"ObjectType = Image\nNDims = 3\nDimSize = 64 48 3\nElementSpacing = 1 1 1\n\
        ElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
        .to_vec();
    for frame in [head(), GrayImage::new(64, 48), head()] {
        clip.extend(frame.into_raw());
    }
    std::fs::write(work.path("clip.mha"), clip).unwrap();
    let mut run = intraop();
    run.arg("landmarks").arg(work.path("clip.mha")).args(["--model", "models/fetal-head"]);
    let output = run.arg("--out").arg(work.path("out")).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("1 of 3 cases failed"), "{stderr}");
    let report = work.report("landmarks.json");
    assert_eq!(report["failed"][0]["frame"], 1);
    let frames: Vec<_> = report["images"].as_array().unwrap().iter().map(|i| &i["frame"]).collect();
    assert_eq!(frames, [0, 2]);
    assert_eq!(report["images"][1]["name"], "clip_0002");
}

#[test]
fn a_head_that_the_edge_cuts_is_told() {
    let work = Work::new();
    let moved = Ellipse { center: [10.0, 24.0], ..SKULL };
    let cut = |x: u32, y: u32| {
        Luma([if moved.level([f64::from(x), f64::from(y)]) <= 1.0 { 255 } else { 0 }])
    };
    work.save("cut.png", GrayImage::from_fn(64, 48, cut));
    ok(&work.run("landmarks", &["cut.png"], &["--mm-per-px", "1"]));
    let entry = &work.report("landmarks.json")["images"][0];
    assert!(entry["warnings"][0].as_str().unwrap().contains("reaches the frame's edge"), "{entry}");
    let around = &entry["measurements"][0];
    assert!(around["value"].is_number() && around["sd"].is_null(), "{around}");
}

/// Frames on which nothing can be found: an error, or "not found", and never a measurement.
#[test]
fn bad_frames_give_an_error_or_nothing() {
    let work = Work::new();
    work.save("black.png", GrayImage::new(64, 48));
    work.save("one.png", GrayImage::new(1, 1));
    work.save("deep.png", ImageBuffer::<Luma<u16>, _>::new(64, 48));
    for name in ["black.png", "one.png", "deep.png"] {
        ok(&work.run("landmarks", &[name], &["--mm-per-px", "0.1"]));
        let entry = &work.report("landmarks.json")["images"][0];
        for landmark in entry["landmarks"].as_array().unwrap() {
            assert!(landmark["found"] == false && landmark["x_px"].is_null(), "{name}");
        }
        for measured in entry["measurements"].as_array().unwrap() {
            assert!(measured["value"].is_null(), "{name}: {measured}");
        }
    }
    let mut png = Vec::new();
    head().write_to(&mut std::io::Cursor::new(&mut png), image::ImageFormat::Png).unwrap();
    std::fs::write(work.path("cut.png"), &png[..png.len() / 2]).unwrap();
    let mut none = png.clone();
    none[16..24].fill(0);
    std::fs::write(work.path("none.png"), none).unwrap();
    std::fs::write(work.path("empty.dcm"), "").unwrap();
    for name in ["cut.png", "none.png", "empty.dcm", "missing.png"] {
        fails(&work.run("landmarks", &[name], &[]), 2, &[name]);
    }
    // This package takes gray frames only, and says so.
    work.save("color.png", RgbaImage::from_pixel(64, 48, Rgba([9, 200, 30, 255])));
    fails(&work.run("landmarks", &["color.png"], &[]), 2, &["color.png", "grayscale"]);
    for wrong in ["0", "-1", "nan", "1,2,3", "1e9"] {
        let output = work.run("landmarks", &["black.png"], &[&format!("--mm-per-px={wrong}")]);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
    }
    fails(
        &crate::common::run(["landmarks", "x.png", "--model", "demo", "--out", "never"]),
        2,
        &["--model", "a package for frames", "demo"],
    );
}

/// The shipped model on real frames: what is measured is near the truth, and extreme frames hold
/// nothing.
#[test]
fn the_fetal_head_model_measures_real_heads_and_nothing_else() {
    let Some(data) = data() else { return };
    let work = Work::new();
    let folder = data.join("fetal_head");
    let mut table = csv::Reader::from_path(folder.join("ellipses.csv")).unwrap();
    let rows = table.records().map(Result::unwrap).filter(|row| &row[0] == "val");
    let mut differences = Vec::new();
    let run = |image: &std::path::Path, mm: &str| {
        let mut run = intraop();
        run.arg("landmarks").arg(image).args(["--model", "models/fetal-head", "--mm-per-px", mm]);
        ok(&run.arg("--out").arg(work.path("out")).output().unwrap());
        work.report("landmarks.json")["images"][0]["measurements"][0]["value"].as_f64()
    };
    for row in rows.take(6) {
        let found = run(&folder.join("images").join(&row[1]), &row[2]).expect("a head");
        differences.push((found - row[3].parse::<f64>().unwrap()).abs());
    }
    let mean = differences.iter().sum::<f64>() / 6.0;
    assert!(mean < 5.0, "{differences:?}");
    work.save("white.png", GrayImage::from_pixel(800, 540, Luma([255])));
    work.save("black.png", GrayImage::new(800, 540));
    let run = |name: &str| {
        let mut run = intraop();
        run.arg("landmarks").arg(work.path(name)).args(["--model", "models/fetal-head"]);
        run.args(["--mm-per-px", "0.1", "--out"]).arg(work.path("out")).output().unwrap()
    };
    fails(&run("black.png"), 2, &["black.png", "same value"]);
    // White within the black that makes it as wide as the network's input.
    ok(&run("white.png"));
    let entry = &work.report("landmarks.json")["images"][0];
    let found = entry["landmarks"].as_array().unwrap().iter().filter(|l| l["found"] == true);
    let measured = entry["measurements"].as_array().unwrap().iter();
    assert!(found.count() == 0 && measured.clone().all(|m| m["value"].is_null()), "{entry}");
}
