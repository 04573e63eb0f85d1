use std::path::PathBuf;

use super::*;
use crate::io::tests::mutated;
use crate::io::{read_geometry, read_labels, read_volume};

/// As SimpleITK 2.5.7 writes it, with another type, size and encoding.
const HEADER: &str = "NRRD0004
# Complete NRRD file format specification at:
# http://teem.sourceforge.net/nrrd/format.html
type: short
dimension: 3
space: left-posterior-superior
sizes: 5 4 3
space directions: (0.5,0,0) (0,0.6,0.1) (0,-0.2,2)
kinds: domain domain domain
endian: little
encoding: raw
space origin: (1,2,3)
";

fn data() -> Vec<u8> {
    (0..60i16).flat_map(i16::to_le_bytes).collect()
}

fn save(folder: &Path, header: &str, data: &[u8]) -> PathBuf {
    let path = folder.join("image.nrrd");
    std::fs::write(&path, [header.as_bytes(), b"\n", data].concat()).unwrap();
    path
}

#[test]
fn the_grid_is_in_lps() {
    let folder = tempfile::tempdir().unwrap();
    let read = |header: &str| read_geometry(&save(folder.path(), header, &data())).unwrap();
    let (lps, scalar) = read(HEADER);
    assert_eq!((lps.size, scalar), ([5, 4, 3], ScalarType::I16));
    assert_eq!(lps.origin, Vector3::new(1.0, 2.0, 3.0));
    let step = lps.index_to_world().matrix;
    assert!((step.column(1) - Vector3::new(0.0, 0.6, 0.1)).norm() < 1e-12);
    let (ras, _) = read(&HEADER.replace("left-posterior-superior", "RAS"));
    assert_eq!(ras.origin, Vector3::new(-1.0, -2.0, 3.0));
    let step = ras.index_to_world().matrix;
    assert!((step.column(1) - Vector3::new(0.0, -0.6, 0.1)).norm() < 1e-12);
    assert_eq!(ras.spacing, lps.spacing);
    let (las, _) = read(&HEADER.replace("left-posterior-superior", "left-anterior-superior"));
    assert_eq!(las.origin, Vector3::new(1.0, -2.0, 3.0));
    let labels = read_labels(&save(folder.path(), HEADER, &data())).unwrap();
    assert_eq!(labels.data, (0..60).collect::<Vec<i32>>());
}

#[test]
fn wrong_headers_are_refused_by_field() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |from: &str, to: &str, expected: &str| {
        assert!(HEADER.contains(from));
        let path = save(folder.path(), &HEADER.replace(from, to), &data());
        let error = read_volume(&path).unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains('\n'), "{expected}: {error}");
    };
    refused("NRRD0004", "NIFTI", "NRRD000");
    refused("type: short", "type: block", "type");
    refused("dimension: 3", "dimension: 4", "3-D");
    refused("sizes: 5 4 3", "sizes: 5 0 3", "sizes");
    refused("sizes: 5 4 3", "sizes: 5 4", "sizes");
    refused("sizes: 5 4 3", "sizes: 65536 32768 1", "too large");
    refused("sizes: 5 4 3", "sizes: 9999999999 9999999999 9999999999", "too large");
    refused("sizes: 5 4 3", "sizes: 5 4 4", "expected 160 bytes of image data, found 120");
    refused("domain domain domain", "vector domain domain", "kinds");
    refused("left-posterior-superior", "scanner-xyz", "space");
    refused("(0,-0.2,2)", "none", "spacedirections");
    refused("(0,-0.2,2)", "(0,0,0)", "three directions");
    refused("(0,-0.2,2)", "(0,nan,0)", "three directions");
    refused("encoding: raw", "encoding: bzip2", "raw or gzip");
    refused("encoding: raw", "encoding: gzip", "deflate");
    refused("endian: little\n", "", "endian");
    refused("kinds: ", "space units: \"cm\" \"cm\" \"cm\"\nkinds: ", "mm");
    refused("kinds: ", "byte skip: -2\nkinds: ", "byte skip");
    refused("kinds: ", "line skip: 1\nkinds: ", "line skip");
    refused("kinds: ", "kind Doe\nkinds: ", "expected field: value, found line 9;");
    refused("kinds: ", "sizes: 5 4 3\nkinds: ", "once");
    refused("kinds: ", "units: \"cm\" \"cm\" \"cm\"\nkinds: ", "mm");
    refused("kinds: ", "axis mins: 1 nan nan\nkinds: ", "axismins");
    refused("kinds: ", "axis maxs: nan nan 3\nkinds: ", "axismaxs");
    refused("kinds: ", "spacings: 1 1 1\nkinds: ", "spacings");
    refused("kinds: ", "data file: ../secret.raw\nkinds: ", "own folder");
    refused("kinds: ", "data file: LIST\nkinds: ", "lists");
    refused("kinds: ", "data file: i%03d.raw 1 9 1\nkinds: ", "lists");
    refused("kinds: ", "data file: missing.raw\nkinds: ", "missing.raw");
}

#[test]
fn skipped_bytes_come_before_the_samples() {
    let folder = tempfile::tempdir().unwrap();
    let padded = [&[9; 7], &data()[..]].concat();
    for skip in ["7", "-1"] {
        let header = HEADER.replace("kinds: ", &format!("byte skip: {skip}\nkinds: "));
        let labels = read_labels(&save(folder.path(), &header, &padded)).unwrap();
        assert_eq!(labels.data, (0..60).collect::<Vec<i32>>());
    }
}

#[test]
fn damaged_files_are_refused_or_read() {
    let folder = tempfile::tempdir().unwrap();
    let good = [HEADER.as_bytes(), b"\n", &data()].concat();
    let path = folder.path().join("image.nrrd");
    mutated(&good, |bytes| {
        std::fs::write(&path, bytes).unwrap();
        let _ = read_volume(&path);
    });
}
