//! What holds for every format.

use nalgebra::{Rotation3, Vector3};
use proptest::prelude::*;

use super::*;

const ENDINGS: [&str; 4] = ["nii", "nii.gz", "mha", "mhd"];

/// Oblique, anisotropic and left-handed.
pub(super) fn geometry() -> Geometry {
    let mut direction = *Rotation3::from_euler_angles(0.3, -0.2, 0.9).matrix();
    direction.column_mut(2).neg_mut();
    Geometry {
        size: [4, 3, 2],
        spacing: [0.5, 1.5, 3.25],
        origin: Vector3::new(-10.5, 20.25, 5.0),
        direction,
    }
}

fn close(a: &Geometry, b: &Geometry) -> bool {
    // NIfTI keeps its matrix as f32.
    let (a_map, b_map) = (a.index_to_world(), b.index_to_world());
    a.size == b.size
        && (a_map.matrix - b_map.matrix).abs().max() < 1e-6
        && (a_map.translation - b_map.translation).norm() < 1e-5
}

#[test]
fn every_type_comes_back_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    for ending in ENDINGS {
        for scalar in ScalarType::ALL {
            let path = folder.path().join(format!("{scalar}.{ending}"));
            let signed = !scalar.name().starts_with('u');
            let shift = if signed { 100.0 } else { 0.0 };
            let values = (0..24).map(|i| i as f32 * 5.0 - shift).collect();
            let volume = Volume::new(geometry(), values);
            write_volume(&path, &volume, scalar).unwrap();
            let back = read_volume(&path).unwrap();
            assert_eq!(back.data, volume.data, "{ending} {scalar}");
            assert!(close(&back.geometry, &geometry()), "{ending}: {:?}", back.geometry);
            let (grid, stored) = read_geometry(&path).unwrap();
            assert_eq!((grid, stored), (back.geometry, scalar));
        }
    }
}

#[test]
fn labels_are_exact_and_small() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        (0, 255, ScalarType::U8),
        (0, 256, ScalarType::I16),
        (-1, 32767, ScalarType::I16),
        (0, 32768, ScalarType::I32),
        (i32::MIN, i32::MAX, ScalarType::I32),
    ];
    for ending in ENDINGS {
        let path = folder.path().join(format!("l.{ending}"));
        for (low, high, scalar) in cases {
            let mut labels = LabelMap::filled(geometry(), 0);
            (labels.data[3], labels.data[20]) = (low, high);
            write_labels(&path, &labels).unwrap();
            assert_eq!(read_labels(&path).unwrap().data, labels.data);
            assert_eq!(read_geometry(&path).unwrap().1, scalar);
        }
    }
}

#[test]
fn labels_must_be_whole_and_fit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l.nii");
    for wrong in [0.5, 3e9, -3e9] {
        let mut volume = Volume::filled(geometry(), 7.0);
        volume.data[9] = wrong;
        write_volume(&path, &volume, ScalarType::F32).unwrap();
        let error = read_labels(&path).unwrap_err().to_string();
        assert!(error.contains("label at voxel (1, 2, 0)"), "{error}");
    }
}

#[test]
fn samples_that_are_not_finite_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    for (ending, scalar) in [("nii.gz", ScalarType::F32), ("mha", ScalarType::F64)] {
        let path = folder.path().join(format!("v.{ending}"));
        let mut volume = Volume::filled(geometry(), 1e30);
        (volume.data[17], volume.data[20]) = (f32::NAN, f32::INFINITY);
        volume.data[21] = -1.1e30;
        write_volume(&path, &volume, scalar).unwrap();
        let error = read_volume(&path).unwrap_err().to_string();
        assert!(error.contains("3 of 24 samples are not finite or beyond 1e30"), "{error}");
        assert!(error.contains("voxel (1, 1, 1)"), "{error}");
    }
}

#[test]
fn names_that_are_no_image_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let volume = Volume::filled(geometry(), 1.0);
    for name in ["a.png", "nii", "a.nii.bz2", "a.hdr"] {
        let path = folder.path().join(name);
        let error = write_volume(&path, &volume, ScalarType::U8).unwrap_err().to_string();
        assert!(error.contains(".nii.gz, .mha or .mhd"), "{error}");
    }
    let upper = folder.path().join("A.NII.GZ");
    write_volume(&upper, &volume, ScalarType::U8).unwrap();
    assert_eq!(std::fs::read(&upper).unwrap()[..2], [0x1f, 0x8b]);
    assert_eq!(read_volume(&upper).unwrap().data, volume.data);
    let missing = read_volume(&folder.path().join("missing.mha"));
    assert!(matches!(missing, Err(Error::Unreadable { .. })));
    // A folder is a series, whatever its name.
    let path = folder.path().join("folder.nii");
    std::fs::create_dir(&path).unwrap();
    assert!(read_volume(&path).unwrap_err().to_string().contains("DICOM series"));
}

#[test]
fn volumes_that_do_not_fit_their_geometry_are_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut short = Volume::filled(geometry(), 1.0);
    short.data.pop();
    let mut flat = Volume::filled(geometry(), 1.0);
    flat.geometry.spacing[1] = 0.0;
    for volume in [short, flat] {
        assert!(write_volume(&folder.path().join("a.mha"), &volume, ScalarType::U8).is_err());
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Reads `bytes` as every kind of file there is; whatever comes back, it must come back.
fn read_all(folder: &Path, bytes: &[u8]) {
    for ending in ENDINGS {
        let path = folder.join(format!("fuzz.{ending}"));
        std::fs::write(&path, bytes).unwrap();
        _ = (read_volume(&path), read_labels(&path), read_geometry(&path));
        for convention in FieldConvention::ALL {
            _ = read_field(&path, convention, None);
        }
    }
    for ending in ["tfm", "csv", "fcsv", "json"] {
        let path = folder.join(format!("fuzz.{ending}"));
        std::fs::write(&path, bytes).unwrap();
        _ = (read_transform(&path), read_points(&path));
    }
}

/// One valid file of every kind.
fn valid_files(folder: &Path) -> Vec<Vec<u8>> {
    let volume = Volume::filled(geometry(), 3.0);
    let mut files = Vec::new();
    let mut keep = |name: &str, write: &dyn Fn(&Path) -> Result<()>| {
        let path = folder.join(name);
        write(&path).unwrap();
        files.push(std::fs::read(path).unwrap());
    };
    for ending in ENDINGS {
        keep(&format!("v.{ending}"), &|p| write_volume(p, &volume, ScalarType::I16));
    }
    let field = volume.map(|v| [v, -v, 0.0]);
    for convention in FieldConvention::ALL {
        let name = field_file_name(convention, "f");
        keep(&name, &|p| write_field(p, &field, convention));
    }
    keep("t.tfm", &|p| write_transform(p, &geometry().index_to_world()));
    keep("p.csv", &|p| write_points(p, &[Point { name: Some("a".into()), position: [1.0; 3] }]));
    files
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_bytes_make_a_reader_panic(
        which in 0usize..10,
        cut in 0.0f64..=1.0,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        noise in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = valid_files(folder.path()).swap_remove(which);
        bytes.truncate((bytes.len() as f64 * cut) as usize);
        if !bytes.is_empty() {
            for (index, value) in changes {
                let at = index.index(bytes.len());
                bytes[at] = value;
            }
        }
        read_all(folder.path(), &bytes);
        read_all(folder.path(), &noise);
    }
}

/// Passes a few hundred damaged copies of a good file to `read`, which must neither panic nor hang:
/// bytes replaced, most of them in the header, and every fourth copy cut.
pub(super) fn mutated(good: &[u8], mut read: impl FnMut(&[u8])) {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    // xorshift64
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for round in 0..400 {
        let mut bytes = good.to_vec();
        if round % 4 == 0 {
            bytes.truncate(1 + random(good.len()));
        }
        for _ in 0..=random(8) {
            let within = if random(2) == 0 { bytes.len().min(500) } else { bytes.len() };
            let at = random(within);
            bytes[at] = [0, 0xff, random(256) as u8, random(256) as u8][random(4)];
        }
        read(&bytes);
    }
}
