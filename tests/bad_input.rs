//! Bad input to the real binary: one line that names the file and says what to do, the right exit
//! code, and nothing left behind.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::common::{fails, files, intraop, limited, small};
use flate2::Compression;
use flate2::write::GzEncoder;
use intraop::image::{Geometry, Volume};
use intraop::io::{self, ScalarType};
use tempfile::TempDir;

/// A folder with a good image, `good.nii`, and a place for bad ones.
struct Room(TempDir);

impl Room {
    fn new() -> Self {
        let room = Room(tempfile::tempdir().unwrap());
        io::write_volume(&room.path("good.nii"), &small(), ScalarType::F32).unwrap();
        room
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    fn good(&self) -> Vec<u8> {
        std::fs::read(self.path("good.nii")).unwrap()
    }

    /// The header of `good.nii` with bytes replaced, and its data.
    fn patched(&self, name: &str, at: usize, bytes: &[u8]) -> PathBuf {
        let mut file = self.good();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        self.write(name, &file)
    }

    fn volume(&self, name: &str, volume: &Volume) -> PathBuf {
        io::write_volume(&self.path(name), volume, ScalarType::F32).unwrap();
        self.path(name)
    }

    fn register(&self, fixed: &Path, moving: &Path, more: &[&str]) -> Output {
        limited()
            .arg("register")
            .args([fixed, moving])
            .args(["--model", "demo", "--threads", "1", "--out"])
            .arg(self.path("out"))
            .args(more)
            .output()
            .unwrap()
    }

    /// Both as fixed and as moving image it is refused, and no output folder appears.
    #[track_caller]
    fn refused(&self, image: &Path, parts: &[&str]) {
        let name = image.file_name().unwrap().to_str().unwrap();
        let parts = [&[name], parts].concat();
        let good = self.path("good.nii");
        fails(&self.register(image, &good, &[]), 2, &parts);
        fails(&self.register(&good, image, &[]), 2, &parts);
        assert!(!self.path("out").exists(), "nothing is left behind");
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn missing_empty_and_truncated_files() {
    let room = Room::new();
    room.refused(&room.path("missing.nii.gz"), &["cannot be read", "check the path"]);
    room.refused(&room.write("empty.nii", b""), &["header", "348"]);
    room.refused(&room.write("empty.mha", b""), &["found"]);
    let good = room.good();
    room.refused(&room.write("header.nii", &good[..200]), &["348"]);
    let expected = 9 * 8 * 7 * 4;
    let half = room.write("half.nii", &good[..352 + 1000]);
    room.refused(&half, &["truncated", &format!("{expected}"), "1000"]);
    let zipped = gzip(&good);
    room.refused(&room.write("early.nii.gz", &zipped[..zipped.len() / 2]), &["truncated"]);
    room.refused(&room.write("image.jpg", &good), &[".nii", ".mha"]);
    room.refused(&room.write("text.nii", b"not an image at all".repeat(40).as_slice()), &["NIfTI"]);
}

#[test]
fn headers_that_lie() {
    let room = Room::new();
    // dim[1..4] are 16-bit, so three of 32767 promise 2^45 voxels.
    let most = 32767i16.to_le_bytes().repeat(3);
    room.refused(&room.patched("huge.nii", 42, &most), &["too large"]);
    let mut zipped = room.good();
    zipped[42..48].copy_from_slice(&most);
    room.refused(&room.write("huge.nii.gz", &gzip(&zipped)), &["too large"]);
    room.refused(&room.patched("negative.nii", 42, &(-5i16).to_le_bytes()), &["dim", "-5"]);
    room.refused(&room.patched("zero.nii", 44, &0i16.to_le_bytes()), &["dim", "0"]);
    let huge = "ObjectType = Image\nNDims = 3\nDimSize = 1048576 1024 1024\n\
                ElementType = MET_FLOAT\nElementSpacing = 1 1 1\nElementDataFile = LOCAL\n";
    room.refused(&room.write("huge.mha", huge.as_bytes()), &["too large"]);
    let negative = huge.replace("1048576 1024", "-4 1024");
    room.refused(&room.write("negative.mha", negative.as_bytes()), &["DimSize", "-4"]);
    let overflow = huge.replace("1048576 1024 1024", "4294967296 4294967296 4294967296");
    room.refused(&room.write("overflow.mha", overflow.as_bytes()), &["too large"]);
}

#[test]
fn a_gzip_bomb_is_read_only_as_far_as_its_header_goes() {
    let room = Room::new();
    // A good image, then 3 GiB of zeros: more than the address space allowed to the binary.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&room.good()).unwrap();
    let zeros = vec![0; 1 << 24];
    for _ in 0..192 {
        encoder.write_all(&zeros).unwrap();
    }
    let bomb = room.write("bomb.nii.gz", &encoder.finish().unwrap());
    let output = limited().args(["info".as_ref(), bomb.as_os_str()]).output().unwrap();
    assert!(crate::common::ok(&output).contains("9×8×7"));
}

#[test]
fn voxels_that_cannot_be_worked_on() {
    let room = Room::new();
    for (name, value) in [("nan.nii", f32::NAN), ("infinite.nii", f32::INFINITY)] {
        let mut volume = small();
        volume.data[17] = value;
        room.refused(&room.volume(name, &volume), &["finite", "replace"]);
    }
    let constant = Volume::filled(small().geometry, 4.0f32);
    room.refused(&room.volume("constant.nii", &constant), &["same value"]);
}

#[test]
fn wrong_dimensions_and_directions() {
    let room = Room::new();
    room.refused(&room.patched("flat.nii", 40, &2i16.to_le_bytes()), &["3-D"]);
    let mut four = room.good();
    four[40..42].copy_from_slice(&4i16.to_le_bytes());
    four[48..50].copy_from_slice(&2i16.to_le_bytes());
    four.extend_from_slice(&room.good()[352..]);
    room.refused(&room.write("four.nii", &four), &["3-D"]);
    let slice =
        Volume::new(Geometry::new([9, 8, 1], [1.0; 3]), (0..72).map(|i| i as f32).collect());
    room.refused(&room.volume("slice.nii", &slice), &["3-D", "9×8×1"]);
    // srow_x, y, z all zero.
    room.refused(&room.patched("singular.nii", 280, &[0; 48]), &["singular"]);
}

#[test]
fn a_mhd_cannot_reach_out_of_its_folder() {
    let room = Room::new();
    room.write("secret.raw", &[1; 4000]);
    std::fs::create_dir(room.path("inner")).unwrap();
    for (name, target) in [
        ("up.mhd", "../secret.raw".to_string()),
        ("absolute.mhd", room.path("secret.raw").display().to_string()),
        ("link.mhd", "link.raw".to_string()),
    ] {
        std::os::unix::fs::symlink("../secret.raw", room.path("inner/link.raw")).ok();
        let header = format!(
            "ObjectType = Image\nNDims = 3\nDimSize = 9 8 7\nElementType = MET_FLOAT\n\
             ElementSpacing = 1 1 1\nElementDataFile = {target}\n"
        );
        let path = room.write(&format!("inner/{name}"), header.as_bytes());
        room.refused(&path, &["ElementDataFile", "folder"]);
    }
}

#[test]
fn labels_points_and_transforms_that_do_not_fit() {
    let room = Room::new();
    let good = room.path("good.nii");
    let mut other = Geometry::new([9, 8, 7], [1.0; 3]);
    other.origin.x = 3.0;
    let labels = room.path("labels.nii");
    io::write_labels(&labels, &Volume::filled(other, 1)).unwrap();
    let labels = labels.to_str().unwrap();
    let wrong = room.register(&good, &good, &["--fixed-labels", labels]);
    fails(&wrong, 2, &["labels.nii", "grid", "apply --labels"]);
    let fraction = room.volume("fraction.nii", &small().map(|v| v / 2.0));
    let wrong = room.register(&good, &good, &["--moving-labels", fraction.to_str().unwrap()]);
    fails(&wrong, 2, &["fraction.nii", "whole number", "20.5"]);
    let text = room.write("points.csv", b"x,y,z\n1,2,three\n");
    let wrong = room.register(&good, &good, &["--moving-points", text.to_str().unwrap()]);
    fails(&wrong, 2, &["points.csv", "three"]);
    let transform = room.write("init.tfm", b"#Insight Transform File V1.0\nTransform: What\n");
    let wrong = room.register(&good, &good, &["--init", transform.to_str().unwrap()]);
    fails(&wrong, 2, &["init.tfm", "What"]);
    assert!(!room.path("out").exists());
}

#[test]
fn output_that_cannot_be_written() {
    let room = Room::new();
    let good = room.path("good.nii");
    room.write("file", b"in the way");
    let mut command = intraop();
    command.arg("register").args([&good, &good]).args(["--model", "demo", "--out"]);
    fails(&command.arg(room.path("file")).output().unwrap(), 2, &["file: cannot be written"]);
    let mut command = intraop();
    command.arg("apply").arg("--affine").arg(room.path("missing.tfm")).arg("--image").arg(&good);
    command.arg("--reference").arg(&good).arg("--out").arg(room.path("file/below.nii"));
    fails(&command.output().unwrap(), 2, &["missing.tfm"]);
    io::write_transform(&room.path("t.tfm"), &intraop::image::Affine::identity()).unwrap();
    let mut command = intraop();
    command.arg("apply").arg("--affine").arg(room.path("t.tfm")).arg("--image").arg(&good);
    command.arg("--reference").arg(&good).arg("--out").arg(room.path("file/below.nii"));
    fails(&command.output().unwrap(), 2, &["below.nii", "cannot be written"]);
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for arguments in [
        vec!["register"],
        vec!["register", "a.nii", "b.nii", "--out", "o"],
        vec!["register", "--demo", "--out", "o", "--no-such-option"],
        vec!["apply", "--out", "o.nii"],
        vec!["nonsense"],
    ] {
        let output = crate::common::run(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
    let room = Room::new();
    let good = room.path("good.nii");
    let missing = intraop()
        .arg("register")
        .args([&good, &good])
        .args(["--model", "no-such-model", "--out"])
        .arg(room.path("out"))
        .output();
    fails(&missing.unwrap(), 2, &["model no-such-model: not found in", "inside the binary"]);
    assert!(!room.path("out").exists());
}

#[test]
fn ctrl_c_leaves_nothing_behind() {
    let room = Room::new();
    let pair = crate::common::PairFiles::new(31, Geometry::new([40, 40, 40], [1.6; 3]));
    let line = format!(
        "{},{}\n",
        pair.path("fixed.nii.gz").display(),
        pair.path("moving.nii.gz").display()
    );
    let cases = room.write("cases.csv", format!("fixed,moving\n{}", line.repeat(500)).as_bytes());
    let mut child = intraop()
        .args(["evaluate", "--model", "demo", "--keep", "--cases"])
        .arg(&cases)
        .arg("--out")
        .arg(room.path("out"))
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // Work has begun once the first kept file is there.
    let begun = || {
        let partial = files(&room.path("out"));
        partial.first().is_some_and(|p| !files(&room.path("out").join(p)).is_empty())
    };
    while !begun() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it was interrupted");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.unwrap().success());
    fails(&child.wait_with_output().unwrap(), 1, &["interrupted"]);
    assert!(!room.path("out").exists(), "{:?}", files(&room.path("out")));
}

#[test]
fn a_closed_stdout_is_no_failure_and_a_full_one_is() {
    let room = Room::new();
    let good = room.path("good.nii");
    let piped = |command: &str| {
        Command::new("sh")
            .args(["-c", command, env!("CARGO_BIN_EXE_intraop")])
            .arg(&good)
            .output()
            .unwrap()
    };
    let closed = piped("{ \"$0\" info \"$1\"; echo $? >&2; } | true");
    assert_eq!(String::from_utf8_lossy(&closed.stderr).trim(), "0");
    fails(&piped("\"$0\" info \"$1\" > /dev/full"), 2, &["standard output", "cannot be written"]);
}

#[test]
fn files_that_block_are_refused() {
    let room = Room::new();
    let pipe = room.path("pipe.csv");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut command = intraop();
    command.args(["evaluate", "--model", "demo", "--cases"]).arg(&pipe);
    fails(&command.arg("--out").arg(room.path("out")).output().unwrap(), 2, &["pipe.csv"]);
    let folder = room.path("folder.csv");
    std::fs::create_dir(&folder).unwrap();
    let mut command = intraop();
    command.args(["evaluate", "--model", "demo", "--cases"]).arg(&folder);
    fails(&command.arg("--out").arg(room.path("out")).output().unwrap(), 2, &["folder.csv"]);
}
