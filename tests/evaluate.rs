//! `evaluate` on phantoms, and on real images where they are present.

use crate::common::{PairFiles, data, fails, files, intraop, json, ok};
use intraop::image::Geometry;

#[test]
fn a_csv_of_pairs_becomes_three_reports() {
    let files_a = PairFiles::new(41, Geometry::new([64; 3], [1.0; 3]));
    let files_b = PairFiles::new(42, Geometry::new([48, 56, 40], [1.3, 1.2, 1.5]));
    let at = |f: &PairFiles, name: &str| f.path(name).display().to_string();
    let line = |f: &PairFiles| {
        ["fixed.nii.gz", "moving.nii.gz", "fixed_labels.nii.gz", "moving_labels.nii.gz"]
            .map(|name| at(f, name))
            .join(",")
    };
    let header = "fixed,moving,fixed_labels,moving_labels";
    // The first pair by paths relative to the CSV.
    let relative = "fixed.nii.gz,moving.nii.gz,fixed_labels.nii.gz,moving_labels.nii.gz";
    let csv = files_a.path("cases.csv");
    std::fs::write(&csv, format!("{header}\n{relative}\n{}\n", line(&files_b))).unwrap();
    let out = files_a.path("results");
    let evaluate = |more: &[&str]| {
        let mut command = intraop();
        command.args(["evaluate", "--model", "demo", "--cases"]).arg(&csv);
        command.arg("--out").arg(&out).args(more).output().unwrap()
    };
    ok(&evaluate(&["--keep"]));
    let names = files(&out);
    assert_eq!(names.len(), 3 + 2, "{names:?}");
    let kept = files(&out.join("0000_fixed_moving"));
    for name in
        ["warped.nii.gz", "inverse_field.nii.gz", "affine.tfm", "preview.png", "report.json"]
    {
        assert!(kept.contains(&name.into()), "{name} is missing in {kept:?}");
    }
    let report = json(&out.join("report.json"));
    let keys = "task model n dice_before_mean dice_after_mean dice_after_sd \
                folding_percent_mean ncc_before_mean ncc_after_mean infer_ms_median \
                total_ms_median";
    for key in keys.split_whitespace() {
        assert!(!report[key].is_null(), "{key} is missing");
    }
    assert_eq!(report["n"], 2);
    let mut rows = csv::Reader::from_path(out.join("per_case.csv")).unwrap();
    let column = rows.headers().unwrap().iter().position(|h| h == "dice_after").unwrap();
    let dice: Vec<f64> = rows.records().map(|r| r.unwrap()[column].parse().unwrap()).collect();
    let mean = report["dice_after_mean"].as_f64().unwrap();
    assert!((mean - (dice[0] + dice[1]) / 2.0).abs() < 1e-5);
    assert!(mean > report["dice_before_mean"].as_f64().unwrap() + 0.1);
    let html = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(html.contains("<svg"));
    for outside in ["src=", "href=", "<script", "@import", "url("] {
        assert!(!html.contains(outside), "{outside}");
    }

    let wrong = evaluate(&["--cascades", "9"]);
    fails(&wrong, 2, &["--cascades: expected 1 to 1"]);

    // A case that fails is reported; the others go on.
    std::fs::write(&csv, format!("{header}\n{relative}\nno.nii,moving.nii.gz,,\n")).unwrap();
    fails(&evaluate(&[]), 1, &["1 of 2 cases failed", "no.nii"]);
    let report = json(&out.join("report.json"));
    assert_eq!(report["n"], 1);
    assert!(report["failed"][0]["error"].as_str().unwrap().contains("no.nii"));
}

#[test]
fn a_wrong_csv_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let csv = folder.path().join("cases.csv");
    std::fs::write(&csv, "fixed,something\na,b\n").unwrap();
    let out = folder.path().join("out");
    let mut command = intraop();
    command.args(["evaluate", "--model", "demo", "--cases"]).arg(&csv).arg("--out").arg(&out);
    fails(&command.output().unwrap(), 2, &["cases.csv: line", "moving"]);
    assert!(!out.exists());
}

/// The shipped hippocampus model on subjects it never saw: a few pairs, for speed; its card has
/// the figures over all of them.
#[test]
fn the_hippocampus_model_registers_real_images() {
    let Some(data) = data() else { return };
    let val = data.join("hippocampus/val");
    let names = files(&val.join("images"));
    let folder = tempfile::tempdir().unwrap();
    let mut csv = String::from("fixed,moving,fixed_labels,moving_labels\n");
    for pair in names.windows(2).step_by(7).take(6) {
        let path = |kind: &str, name: &str| val.join(kind).join(name).display().to_string();
        csv += &format!(
            "{},{},{},{}\n",
            path("images", &pair[0]),
            path("images", &pair[1]),
            path("labels", &pair[0]),
            path("labels", &pair[1])
        );
    }
    let cases = folder.path().join("cases.csv");
    std::fs::write(&cases, csv).unwrap();
    let out = folder.path().join("out");
    let mut command = intraop();
    command.args(["evaluate", "--model", "hippocampus", "--cases"]).arg(&cases);
    ok(&command.arg("--out").arg(&out).output().unwrap());
    let report = json(&out.join("report.json"));
    assert_eq!(report["n"], 6);
    assert!(report["dice_after_mean"].as_f64().unwrap() > 0.78, "{report}");
    assert!(report["folding_percent_mean"].as_f64().unwrap() < 0.5, "{report}");
}
