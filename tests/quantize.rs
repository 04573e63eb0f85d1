//! From an f32 package to an int8 one with the real binary.

use std::path::{Path, PathBuf};

use crate::common::{fails, files, intraop, json, ok, run};
use intraop::package::Package;
use intraop::registration::{Options, register};
use intraop::session::{Session, SessionOptions};
use intraop::{StageTimes, phantom};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/demo-f32");
const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../calibration/demo.json");

fn quantize(model: &str, table: &str, out: &Path, more: &[&str]) -> std::process::Output {
    let mut command = intraop();
    command.args(["quantize", "--model", model, "--calibration", table, "--out"]);
    command.arg(out).args(more).output().unwrap()
}

fn made(more: &[&str]) -> (tempfile::TempDir, PathBuf, String) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("small");
    let said = ok(&quantize(MODEL, TABLE, &out, more));
    (folder, out, said)
}

#[test]
fn a_package_is_calibrated_and_quantized() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table.json");
    let mut command = intraop();
    command.args(["calibrate", "--model", MODEL, "--phantoms", "2", "--trials", "1", "--out"]);
    command.arg(&table);
    let said = ok(&command.output().unwrap());
    assert!(said.contains("flow1") && said.contains("2 cases"), "{said}");
    let content = json(&table);
    assert_eq!((&content["cases"], &content["model"]), (&2.into(), &"demo-f32".into()));
    assert_eq!(content["trials"], 1);
    let sums =
        |v: &serde_json::Value| v.as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum();
    let input = &content["graphs"]["flow1"]["histograms"]["pair"];
    let counted: u64 = sums(&input["counts"]);
    // Every voxel of both channels of both pairs.
    assert_eq!(counted + input["zeros"].as_u64().unwrap(), 2 * 2 * 64 * 64 * 64);
    // The folder holds the table, and is no package.
    let other = quantize(MODEL, table.to_str().unwrap(), folder.path(), &[]);
    fails(&other, 2, &["--out", "a new or empty folder"]);
    let out = folder.path().join("small");
    ok(&quantize(MODEL, table.to_str().unwrap(), &out, &[]));
    assert!(
        ok(&run(["models".as_ref(), "verify".as_ref(), out.as_os_str()])).contains("are right")
    );
}

#[test]
fn the_new_package_says_what_it_is() {
    let (_folder, out, said) = made(&["--range", "mse"]);
    assert_eq!(said.matches("int8  ").count(), 13, "{said}");
    assert_eq!(files(&out), files(Path::new(MODEL)));
    let shown = ok(&run(["models".as_ref(), "show".as_ref(), out.as_os_str(), "--json".as_ref()]));
    let manifest: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&manifest["name"], &manifest["precision"]), (&"small".into(), &"int8".into()));
    let golden = json(&out.join("golden.json"));
    assert!(golden["engine"].as_str().unwrap().contains("libtorch"));
    assert!(golden["tolerance"].as_f64().unwrap() <= 0.1);
    assert_eq!(golden["outputs"], json(&Path::new(MODEL).join("golden.json"))["outputs"]);
    let card = std::fs::read_to_string(out.join("README.md")).unwrap();
    assert!(card.starts_with("# small\n") && card.contains("--range mse"), "{card}");
    let bytes = |folder: &Path| std::fs::metadata(folder.join("flow1.onnx")).unwrap().len();
    assert!(bytes(&out) * 3 < bytes(Path::new(MODEL)));
}

#[test]
fn layers_beyond_the_limit_stay_f32_and_are_named() {
    let (_folder, out, said) = made(&["--error", "0.02"]);
    let kept: Vec<&str> = said.lines().filter(|l| l.starts_with("f32 ")).collect();
    assert!(!kept.is_empty() && kept.len() < 13, "{said}");
    let card = std::fs::read_to_string(out.join("README.md")).unwrap();
    for line in kept {
        let layer = line.split_whitespace().nth(2).unwrap();
        assert!(card.contains(&format!("`{layer}`")), "{layer} is not in the card");
    }
    ok(&run(["models".as_ref(), "verify".as_ref(), out.as_os_str()]));
}

/// On phantoms that neither the network nor the calibration has seen.
#[test]
fn int8_registers_as_f32_does() {
    let (_folder, out, _) = made(&[]);
    let session = |path: &Path| {
        Session::new(Package::load(path).unwrap(), SessionOptions::with_threads(2)).unwrap()
    };
    let (f32, int8) = (session(Path::new(MODEL)), session(&out));
    let (mut change, mut whole) = (0.0, 0.0);
    for seed in 70..73 {
        let pair = phantom::pair(seed, &phantom::Options::default());
        let field = |session: &Session| {
            let mut times = StageTimes::default();
            let found =
                register(session, &pair.fixed, &pair.moving, &Options::default(), &mut times);
            found.unwrap().field
        };
        for (a, b) in field(&f32).data.iter().zip(&field(&int8).data) {
            for axis in 0..3 {
                change += f64::from(a[axis] - b[axis]).powi(2);
                whole += f64::from(a[axis]).powi(2);
            }
        }
    }
    let share = (change / whole).sqrt();
    assert!(share > 0.0 && share < 0.05, "int8 changes the field by {share:.3} of its size");
}

#[test]
fn wrong_tables_and_models_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("small");
    // A table of the same model, of which a network has changed since.
    let mut table = json(Path::new(TABLE));
    table["graphs"]["flow1"]["sha256"] = "0".into();
    let path = folder.path().join("other.json");
    std::fs::write(&path, table.to_string()).unwrap();
    let other = path.to_str().unwrap();
    fails(&quantize(MODEL, other, &out, &[]), 2, &["calibration table", "flow1.onnx"]);
    table["graphs"]["flow1"]["histograms"]["pair"]["counts"] = serde_json::json!([1, 2]);
    std::fs::write(&path, table.to_string()).unwrap();
    fails(&quantize(MODEL, other, &out, &[]), 2, &["other.json: calibration", "pair of flow1"]);
    std::fs::write(&path, "{}").unwrap();
    fails(&quantize(MODEL, other, &out, &[]), 2, &["other.json: calibration", "missing field"]);
    assert!(!out.exists());
    let range = quantize(MODEL, TABLE, &out, &["--range", "guess"]);
    assert_eq!(range.status.code(), Some(2));
    fails(&quantize(MODEL, TABLE, Path::new(MODEL), &[]), 2, &["--out", "another folder"]);
    ok(&quantize(MODEL, TABLE, &out, &[]));
    let again = folder.path().join("again");
    fails(&quantize(out.to_str().unwrap(), TABLE, &again, &[]), 2, &["--model", "f32", "Int8"]);
}

#[test]
fn an_error_is_a_share() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("small");
    for value in ["NaN", "-0.1", "inf"] {
        let error = format!("--error={value}");
        fails(&quantize(MODEL, TABLE, &out, &[&error]), 2, &["--error", "a share"]);
    }
    fails(&quantize(MODEL, TABLE, &out, &["--error=0"]), 2, &["no layer", "a larger error"]);
    assert!(!out.exists());
}

#[test]
fn a_table_that_cannot_be_written_is_said_before_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing/table.json");
    for (out, reason) in
        [(folder.path(), "not a regular file"), (&missing, "its folder does not exist")]
    {
        let mut command = intraop();
        // More work than any test waits for.
        command.args(["calibrate", "--model", MODEL, "--phantoms", "1000", "--out"]).arg(out);
        fails(&command.output().unwrap(), 2, &["cannot be written", reason, "--out"]);
    }
    assert_eq!(files(folder.path()), [""; 0]);
}

#[test]
fn an_interrupted_calibration_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = intraop();
    command.args(["calibrate", "--model", MODEL, "--phantoms", "1000", "--out"]);
    command.arg(folder.path().join("table.json")).stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    // The file that is being written shows that the work has begun.
    while files(folder.path()).is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.unwrap().success());
    fails(&child.wait_with_output().unwrap(), 1, &["interrupted"]);
    assert_eq!(files(folder.path()), [""; 0]);
}
