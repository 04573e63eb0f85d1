//! What the tests of the real binary share.

pub mod dots;
pub mod onnx;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use intraop::image::{Geometry, LabelMap, Volume};
use intraop::{io, phantom};

/// The folder of the project.
pub const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The binary under test.
pub fn intraop() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_intraop"));
    command.env_remove("INTRAOP_MODELS").current_dir(ROOT);
    command
}

/// Runs it with these arguments.
pub fn run<I: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = I>) -> Output {
    intraop().args(arguments).output().expect("the binary starts")
}

/// The binary with 2 GiB of address space: what a lying header promises does not fit.
pub fn limited() -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -v 2097152; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_intraop")])
        .current_dir(ROOT)
        .env_remove("INTRAOP_MODELS");
    command
}

/// What it must print and return when it worked; gives its stdout.
pub fn ok(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What it must return and print when it failed: one line that holds every one of `parts`.
#[track_caller]
pub fn fails(output: &Output, code: i32, parts: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    let errors: Vec<&str> = stderr.lines().filter(|l| !l.starts_with("[WARN")).collect();
    assert_eq!(errors.len(), 1, "one line: {stderr}");
    assert!(errors[0].starts_with("intraop: "), "{stderr}");
    for part in parts {
        assert!(errors[0].contains(part), "{part:?} is missing in: {}", errors[0]);
    }
}

/// The folder of real images, or `None` with a line that says so.
pub fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("INTRAOP_DATA").map(PathBuf::from).filter(|p| p.is_dir());
    if folder.is_none() {
        // Past the test runner's capture, which hides what passing tests print.
        use std::io::Write;
        let _ = writeln!(std::io::stderr().lock(), "skipped: data not present");
    }
    folder
}

/// Names of the files in a folder, sorted, hidden ones too.
pub fn files(folder: &Path) -> Vec<String> {
    let Ok(entries) = folder.read_dir() else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

pub fn json(path: &Path) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A phantom pair as files: fixed, moving and their labels, `.nii.gz`.
pub struct PairFiles {
    pub folder: tempfile::TempDir,
    pub pair: phantom::Pair,
}

impl PairFiles {
    pub fn new(seed: u64, geometry: Geometry) -> Self {
        let pair = phantom::pair(seed, &phantom::Options { geometry, ..Default::default() });
        let files = PairFiles { folder: tempfile::tempdir().unwrap(), pair };
        let (pair, at) = (&files.pair, |name: &str| files.path(name));
        io::write_volume(&at("fixed.nii.gz"), &pair.fixed, io::ScalarType::F32).unwrap();
        io::write_volume(&at("moving.nii.gz"), &pair.moving, io::ScalarType::F32).unwrap();
        io::write_labels(&at("fixed_labels.nii.gz"), &pair.fixed_labels).unwrap();
        io::write_labels(&at("moving_labels.nii.gz"), &pair.moving_labels).unwrap();
        files
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `register fixed moving --model demo --out out` and more arguments.
    pub fn register(&self, more: &[&str]) -> Output {
        let out = self.path("out");
        intraop()
            .arg("register")
            .args([self.path("fixed.nii.gz"), self.path("moving.nii.gz")])
            .args(["--model", "demo", "--out"])
            .arg(out)
            .args(more)
            .output()
            .unwrap()
    }
}

/// A small volume with contrast.
pub fn small() -> Volume {
    let geometry = Geometry::new([9, 8, 7], [1.0; 3]);
    let data = (0..geometry.voxels()).map(|i| ((i * 7919) % 101) as f32).collect();
    Volume::new(geometry, data)
}

/// Mean Dice of two label maps on one grid, written here once more so that it does not depend on
/// the library's.
pub fn mean_dice(a: &LabelMap, b: &LabelMap) -> f64 {
    let labels = a.labels();
    let of = |label: i32| {
        let count = |m: &LabelMap| m.data.iter().filter(|v| **v == label).count();
        let both = a.data.iter().zip(&b.data).filter(|(a, b)| **a == label && a == b).count();
        2.0 * both as f64 / (count(a) + count(b)) as f64
    };
    labels.iter().map(|l| of(*l)).sum::<f64>() / labels.len() as f64
}
