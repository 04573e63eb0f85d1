//! `evaluate` on frames, with a package whose answers are known in closed form.

use std::path::{Path, PathBuf};
use std::process::Output;

use crate::common::dots::{self, DOTS};
use crate::common::{fails, files, intraop, json, ok};
use serde_json::Value;

struct Work {
    folder: tempfile::TempDir,
}

impl Work {
    fn new() -> Self {
        let work = Work { folder: tempfile::tempdir().unwrap() };
        dots::write(&work.path("dots"));
        work.frame("ends.png", true, &DOTS.map(|(name, _)| name));
        work.frame("lost.png", true, &["ofd_a", "bpd_a", "bpd_b"]);
        work.frame("skull.png", true, &[]);
        work.frame("dots.png", false, &["ofd_a"]);
        work.frame("black.png", false, &[]);
        work
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn frame(&self, name: &str, skull: bool, dots: &[&str]) {
        dots::picture(skull, dots).save(self.path(name)).unwrap();
    }

    fn evaluate(&self, csv: &str, more: &[&str]) -> Output {
        std::fs::write(self.path("cases.csv"), csv).unwrap();
        let mut command = intraop();
        command.arg("evaluate").arg("--model").arg(self.path("dots"));
        command.arg("--cases").arg(self.path("cases.csv")).arg("--out").arg(self.out());
        command.args(more).output().unwrap()
    }

    fn out(&self) -> PathBuf {
        self.path("out")
    }

    fn report(&self, csv: &str, more: &[&str]) -> Value {
        ok(&self.evaluate(csv, more));
        json(&self.out().join("report.json"))
    }
}

/// The cells of a column of per_case.csv.
fn column(out: &Path, name: &str) -> Vec<String> {
    let mut rows = csv::Reader::from_path(out.join("per_case.csv")).unwrap();
    let at = rows.headers().unwrap().iter().position(|h| h == name).expect(name);
    rows.records().map(|row| row.unwrap()[at].to_owned()).collect()
}

#[track_caller]
fn close(found: &Value, expected: f64, within: f64) {
    let found = found.as_f64().unwrap_or(f64::NAN);
    assert!((found - expected).abs() <= within, "{found} instead of {expected}");
}

#[test]
fn a_perfect_answer_has_no_error() {
    let work = Work::new();
    // Millimeters are half pixels; the ellipse says everything.
    let csv = "image,mm_per_px,center_x_mm,center_y_mm,semi_a_mm,semi_b_mm,angle_rad,hc_mm,view\n\
               ends.png,0.5,16,12,10,6,0,,bright\n\
               ends.png,0.5;0.5,16,12,6,10,1.5707963267948966,,bright\n";
    let report = work.report(csv, &[]);
    assert_eq!((&report["task"], &report["model"]), (&"landmarks".into(), &"dots".into()));
    assert_eq!((&report["n"], &report["truths"]), (&2.into(), &8.into()));
    for (key, expected) in [
        ("error_px_mean", 0.0),
        ("error_mm_mean", 0.0),
        ("auc", 1.0),
        ("failure_rate", 0.0),
        ("found_fraction", 1.0),
        ("accuracy", 1.0),
    ] {
        close(&report[key], expected, 1e-9);
    }
    let measured = &report["measurements"];
    for (name, mm) in [("OFD", 20.0), ("width", 12.0)] {
        close(&measured[name]["mae"], 0.0, 1e-9);
        assert_eq!(measured[name]["unit"], "mm");
        let truth: f64 = column(&work.out(), &format!("{name}_truth"))[1].parse().unwrap();
        assert!((truth - mm).abs() < 1e-5, "{truth}");
    }
    // The mask is one of whole pixels, and lacks the four dots.
    close(&measured["HC"]["bias"], 0.0, 0.5);
    close(&report["dice_mean"], 1.0, 0.02);
    assert_eq!(files(&work.out()), ["per_case.csv", "report.html", "report.json"]);
    let html = std::fs::read_to_string(work.out().join("report.html")).unwrap();
    assert!(html.matches("<svg").count() >= 6);
    for outside in ["src=", "href=", "<script", "@import", "url("] {
        assert!(!html.contains(outside), "{outside}");
    }
}

#[test]
fn a_mask_is_compared_with_the_ellipse_inscribed_in_a_box() {
    let work = Work::new();
    let header = "image,skull_x_px,skull_y_px,skull_w_px,skull_h_px\n";
    let report = work.report(&format!("{header}skull.png,32,24,40,24\n"), &[]);
    close(&report["dice_mean"], 1.0, 0.0);
    close(&report["mask_dice_mean"], 1.0, 0.0);
    close(&report["hd95_px_mean"], 0.0, 0.0);
    assert!(report["hd95_mm_mean"].is_null() && report["auc"].is_null());
    // Without a pixel size everything is in pixels.
    assert_eq!(report["measurements"]["HC"]["unit"], "px");
    close(&report["measurements"]["HC"]["bias"], 0.0, 1.0);
    // Four pixels to the right: the outlines are four pixels apart.
    let report =
        work.report(&format!("{header}skull.png,36,24,40,24\nblack.png,32,24,40,24\n"), &[]);
    close(&report["hd95_px_mean"], 4.0, 0.5);
    close(&report["found_fraction"], 0.5, 0.0);
    let dice: Vec<f64> = column(&work.out(), "dice").iter().map(|v| v.parse().unwrap()).collect();
    // Two ellipses stretched to circles of radius 1, 0.2 apart: the overlap of two discs.
    let overlap = 2.0 * 0.1f64.acos() - 0.1 * (4.0 - 0.04f64).sqrt();
    assert!((dice[0] - overlap / std::f64::consts::PI).abs() < 0.01 && dice[1] == 0.0, "{dice:?}");
    close(&report["dice_mean"], dice[0] / 2.0, 1e-6);
}

#[test]
fn shifted_and_lost_landmarks_have_the_errors_of_geometry() {
    let work = Work::new();
    // The frame's diagonal is 80 pixels. (15, 28) is 3 and 4 pixels off; ofd_b is lost once.
    let csv = "Image,mm_per_px,ofd_a_x_px,ofd_a_y_px,ofd_b_x_px,ofd_b_y_px,OFD_mm,notes\n\
               ends.png,0.5,15,28,52,24,21,x\n\
               lost.png,\"0.5;1\",12,24,52,24,20,\n";
    let report = work.report(csv, &[]);
    let a = &report["landmarks"]["ofd_a"];
    close(&a["error_px_mean"], 2.5, 1e-9);
    close(&a["error_mm_mean"], 1.25, 1e-9);
    close(&a["error_normalized_mean"], 5.0 / 80.0 / 2.0, 1e-9);
    close(&a["auc"], 0.5, 1e-9);
    close(&a["failure_rate"], 0.5, 1e-9);
    let b = &report["landmarks"]["ofd_b"];
    close(&b["error_px_mean"], 0.0, 1e-9);
    close(&b["failure_rate"], 0.5, 1e-9);
    close(&report["failure_rate"], 0.5, 1e-9);
    close(&report["found_fraction"], 0.75, 1e-9);
    close(&report["failure_percent"], 5.0, 1e-9);
    // 20 mm measured; the truth that is told wins over the one that follows from landmarks.
    close(&report["measurements"]["OFD"]["bias"], -1.0, 1e-9);
    assert_eq!(report["measurements"]["OFD"]["missing"], 1);
    assert!(report["measurements"]["OFD"]["sd"].is_null());
    assert_eq!(column(&work.out(), "ofd_b_error_px"), ["0.000000", ""]);
    let report = work.report(csv, &["--failure", "10"]);
    close(&report["landmarks"]["ofd_a"]["auc"], (1.0 + 0.375) / 2.0, 1e-9);
    close(&report["failure_rate"], 0.25, 1e-9);
}

#[test]
fn frames_with_nothing_to_be_found_are_counted_apart() {
    let work = Work::new();
    let csv = "image,mm_per_px,ofd_a_x_px,ofd_a_y_px,view\n\
               ends.png,,12,24,dark\nblack.png,,,,\ndots.png,,,,\ndots.png,,,,dark\n";
    let report = work.report(csv, &[]);
    assert_eq!((&report["n"], &report["nothing_n"]), (&2.into(), &2.into()));
    close(&report["nothing_found_fraction"], 0.5, 0.0);
    close(&report["nothing_measured_fraction"], 1.0, 0.0);
    close(&report["error_px_mean"], 0.0, 1e-9);
    assert!(report["error_mm_mean"].is_null());
    // True dark: once seen as bright, once right.
    assert_eq!(report["confusion"]["counts"][1], serde_json::json!([1, 1, 0]));
    close(&report["accuracy"], 0.5, 0.0);
    assert_eq!(column(&work.out(), "expected"), ["1", "0", "0", "1"]);
    assert_eq!(column(&work.out(), "found"), ["1", "0", "1", "1"]);
}

#[test]
fn what_was_found_is_kept_where_that_is_wanted() {
    let work = Work::new();
    let csv = "image,mm_per_px,ofd_a_x_px,ofd_a_y_px\nends.png,1,12,24\nskull.png,,,\n";
    work.report(csv, &["--keep"]);
    let names = files(&work.out());
    assert_eq!(names[..2], ["001_ends", "002_skull"]);
    let kept = files(&work.out().join("001_ends"));
    for part in ["landmarks.json", "overlay.png", "skull"] {
        assert!(kept.iter().any(|name| name.contains(part)), "{part} is missing in {kept:?}");
    }
    let found = json(&work.out().join("001_ends/landmarks.json"));
    assert_eq!(found["landmarks"][0]["x_px"], 12.0);
}

#[test]
fn a_frame_that_fails_is_listed_and_the_others_go_on() {
    let work = Work::new();
    std::fs::write(work.path("broken.png"), "no picture").unwrap();
    let csv = "image,frame,mm_per_px,ofd_a_x_px,ofd_a_y_px\n\
               broken.png,,1,1,1\nends.png,0,1,12,24\nends.png,1,1,12,24\n";
    fails(&work.evaluate(csv, &[]), 1, &["2 of 3 cases failed", "broken.png"]);
    let report = json(&work.out().join("report.json"));
    assert_eq!(report["n"], 1);
    assert!(report["failed"][0]["image"].as_str().unwrap().ends_with("broken.png"));
    assert!(report["failed"][1]["error"].as_str().unwrap().contains("frame 1 of 1"));
    assert!(column(&work.out(), "error")[2].contains("frame 1 of 1"));
    // An ellipse in millimeters says nothing without a pixel size.
    let csv =
        "image,center_x_mm,center_y_mm,semi_a_mm,semi_b_mm,angle_rad\nends.png,16,12,10,6,0\n";
    fails(&work.evaluate(csv, &[]), 1, &["ends.png", "pixel size is not known", "mm_per_px"]);
}

#[test]
fn wrong_use_is_refused_before_any_work() {
    let work = Work::new();
    let csv = "image,ofd_a_x_px,ofd_a_y_px\nends.png,12,24\n";
    for (more, part) in [
        (&["--affine-only"][..], "--affine-only: expected a model for registration"),
        (&["--cascades", "1"], "--cascades"),
        (&["--init", "header"], "--init"),
        (&["--failure", "0"], "--failure: expected a percentage"),
    ] {
        fails(&work.evaluate(csv, more), 2, &[part]);
    }
    for (csv, parts) in [
        ("image,ofd_c_x_px\nends.png,1\n", &["line 1", "ofd_c_x_px", "ofd_a"][..]),
        ("image,ofd_a_x_px,ofd_a_y_px\nends.png,12,24\nends.png,12,x\n", &["line 3", "ofd_a_y_px"]),
        ("image,ofd_a_x_px,ofd_a_y_px\nno.png,12,24\n", &["line 2, image", "no.png"]),
    ] {
        fails(&work.evaluate(csv, &[]), 2, &[&["cases.csv"], parts].concat());
    }
    assert!(!work.out().exists());
    let mut command = intraop();
    command.args(["evaluate", "--model", "demo", "--failure", "3", "--cases"]);
    command.arg(work.path("cases.csv")).arg("--out").arg(work.out());
    fails(&command.output().unwrap(), 2, &["--failure: expected a model for frames"]);
}
