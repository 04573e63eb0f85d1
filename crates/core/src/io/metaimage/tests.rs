use std::fs;

use super::*;
use crate::image::LabelMap;
use crate::io::{read_geometry, read_labels, read_volume, write_labels};

/// The header that SimpleITK 2.5.7 wrote for an image of 5×4×3 samples:
/// ```python
/// t = sitk.Euler3DTransform(); t.SetRotation(.3, -.2, .9)
/// i = sitk.GetImageFromArray(np.zeros((3, 4, 5), np.uint8))
/// i.SetDirection(t.GetMatrix()); i.SetSpacing((1, 2, 3)); i.SetOrigin((7, 8, 9))
/// sitk.WriteImage(i, 'o.mha')
/// ```
const HEADER: &str = "ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = False
TransformMatrix = 0.65520890520760999 0.73121730407151841 0.18979606097868743 \
-0.74834077968113089 0.59384668469317581 0.29552020666133955 \
0.10337972723354531 -0.33565960332650135 0.93629336358419923
Offset = 7 8 9
CenterOfRotation = 0 0 0
AnatomicalOrientation = ALI
ElementSpacing = 1 2 3
DimSize = 5 4 3
ElementType = MET_UCHAR
ElementDataFile = LOCAL
";

fn sixty() -> Vec<u8> {
    (0..60).collect()
}

/// Saves `header` and `data` as one file.
fn save(folder: &Path, header: &str, data: &[u8]) -> PathBuf {
    let path = folder.join("image.mha");
    fs::write(&path, [header.as_bytes(), data].concat()).unwrap();
    path
}

#[test]
fn geometry_is_simpleitks() {
    let folder = tempfile::tempdir().unwrap();
    let path = save(folder.path(), HEADER, &sixty());
    let (geometry, scalar) = read_geometry(&path).unwrap();
    assert_eq!((geometry.size, scalar), ([5, 4, 3], ScalarType::U8));
    assert_eq!(geometry.origin, Vector3::new(7.0, 8.0, 9.0));
    // `i.GetDirection()`, row by row.
    let direction = Matrix3::new(
        0.65520890520761,
        -0.7483407796811309,
        0.10337972723354531,
        0.7312173040715184,
        0.5938466846931758,
        -0.33565960332650135,
        0.18979606097868743,
        0.29552020666133955,
        0.9362933635841992,
    );
    assert!((geometry.direction - direction).abs().max() < 1e-12);
    assert!((Vector3::from(geometry.spacing) - Vector3::new(1.0, 2.0, 3.0)).norm() < 1e-12);
    assert_eq!(read_labels(&path).unwrap().data, (0..60).collect::<Vec<i32>>());

    let synonyms = HEADER
        .replace("TransformMatrix", "Orientation")
        .replace("Offset", "Position")
        .replace("ElementSpacing", "ElementSize");
    assert_eq!(read_geometry(&save(folder.path(), &synonyms, &sixty())).unwrap().0, geometry);
    let four = "NDims = 4\nDimSize = 5 4 3 1\nElementSpacing = 1 2 3 1\nOffset = 7 8 9 0\n\
        ElementType = MET_UCHAR\nElementDataFile = LOCAL\n";
    let (four, _) = read_geometry(&save(folder.path(), four, &sixty())).unwrap();
    assert_eq!((four.size, four.spacing, four.origin.x), ([5, 4, 3], [1.0, 2.0, 3.0], 7.0));
    assert_eq!(four.direction, Matrix3::identity());
}

#[test]
fn byte_order_and_header_size_are_honored() {
    let folder = tempfile::tempdir().unwrap();
    let header = HEADER.replace("OrderMSB = False", "OrderMSB = True").replace("UCHAR", "SHORT");
    let data: Vec<u8> = (-30..30i16).flat_map(i16::to_be_bytes).collect();
    let expected: Vec<i32> = (-30..30).collect();
    assert_eq!(read_labels(&save(folder.path(), &header, &data)).unwrap().data, expected);

    let path = folder.path().join("a.mhd");
    let padded = [&[9; 77], &data[..]].concat();
    fs::write(folder.path().join("a.raw"), padded).unwrap();
    for size in ["77", "-1"] {
        let size = format!("HeaderSize = {size}\nElementDataFile = a.raw");
        fs::write(&path, header.replace("ElementDataFile = LOCAL", &size)).unwrap();
        assert_eq!(read_labels(&path).unwrap().data, expected);
    }
}

#[test]
fn samples_of_another_folder_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let secret = folder.path().join("secret.raw");
    fs::write(&secret, sixty()).unwrap();
    fs::write(inner.join("own.raw"), sixty()).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(&secret, inner.join("link.raw")).unwrap();
    let path = inner.join("a.mhd");
    let read = |name: &str| {
        fs::write(&path, HEADER.replace("LOCAL", name)).unwrap();
        read_volume(&path)
    };
    assert_eq!(read("own.raw").unwrap().data.len(), 60);
    assert_eq!(read("./own.raw").unwrap().data.len(), 60);
    let absolute = secret.to_string_lossy().into_owned();
    let mut refused =
        vec!["../secret.raw", "x/../../secret.raw", &absolute, "LIST", "i%03d.raw 1 9 1"];
    if cfg!(unix) {
        refused.push("link.raw");
    }
    for name in refused {
        let error = read(name).unwrap_err().to_string();
        assert!(error.contains("own folder") && error.contains("a.mhd"), "{name}: {error}");
    }
    let unfit = ["x".repeat(2000), "a\u{1b}[2J.raw".into()];
    for name in unfit {
        let error = read(&name).unwrap_err().to_string();
        assert!(error.contains("own folder") && !error.contains(&name), "{error}");
    }
    assert!(read("missing.raw").unwrap_err().to_string().contains("missing.raw"));
}

#[test]
fn wrong_headers_are_refused_by_field() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |from: &str, to: &str, expected: &str| {
        assert!(HEADER.contains(from));
        let path = save(folder.path(), &HEADER.replace(from, to), &sixty());
        let error = read_volume(&path).unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains('\n'), "{expected}: {error}");
    };
    refused("NDims = 3", "NDims = 2", "3 (a 3-D image)");
    refused("DimSize = 5 4 3", "DimSize = 5 -4 3", "DimSize");
    refused("DimSize = 5 4 3", "DimSize = 5 4", "DimSize");
    refused("DimSize = 5 4 3", "", "DimSize");
    refused("DimSize = 5 4 3", "DimSize = 99999999999 4 3", "too large");
    refused("DimSize = 5 4 3", "DimSize = 1048576 1048576 1048576", "too large");
    refused("DimSize = 5 4 3", "DimSize = 50 4 3", "expected 600 bytes of image data, found 60");
    refused("MET_UCHAR", "MET_STRING", "ElementType");
    refused("ElementSpacing = 1 2 3", "ElementSpacing = 1 0 3", "spacing");
    refused("Offset = 7 8 9", "Offset = 7 nan 9", "origin");
    let column = "-0.74834077968113089 0.59384668469317581 0.29552020666133955";
    refused(column, "0 0 0", "direction");
    refused("BinaryData = True", "BinaryData = False", "text");
    refused("ElementType", "ElementToIntensityFunctionSlope = 2\nElementType", "slope 2");
    refused("ElementType", "ElementNumberOfChannels = 3\nElementType", "expected 180 bytes");
    refused("CompressedData = False", "CompressedData = True", "deflate");
    refused("NDims = 3", "\u{1}", "header line");
    let endless = HEADER.replace("ElementDataFile = LOCAL\n", "");
    let error = read_volume(&save(folder.path(), &endless, &[])).unwrap_err().to_string();
    assert!(error.contains("this key to end the header"), "{error}");
}

#[test]
fn local_is_local_in_any_case() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["Local", "local"] {
        let path = save(folder.path(), &HEADER.replace("LOCAL", name), &sixty());
        assert_eq!(read_labels(&path).unwrap().data, (0..60).collect::<Vec<i32>>());
    }
}

#[test]
fn any_name_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let labels = LabelMap::filled(Geometry::new([4, 3, 2], [1.0; 3]), 7);
    let mut names = vec!["50% ü.mhd", "50%d.mhd", " a b.MHD"];
    if cfg!(unix) {
        names.push("a\nDimSize = 1 1 1.mhd");
    }
    for name in names {
        let path = folder.path().join(name);
        write_labels(&path, &labels).unwrap();
        assert_eq!(read_labels(&path).unwrap(), labels, "{name}");
        write_labels(&path, &labels).unwrap();
    }
    // Only a `%` with digits and a `d` makes a pattern.
    fs::write(folder.path().join("50% ü.raw"), sixty()).unwrap();
    let path = folder.path().join("image.mhd");
    fs::write(&path, HEADER.replace("LOCAL", "50% ü.raw")).unwrap();
    assert_eq!(read_labels(&path).unwrap().data, (0..60).collect::<Vec<i32>>());
}

#[test]
fn data_of_others_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let (path, raw) = (folder.path().join("a.mhd"), folder.path().join("a.raw"));
    let labels = LabelMap::filled(Geometry::new([4, 3, 2], [1.0; 3]), 7);
    fs::write(&raw, "precious").unwrap();
    let refused = || {
        let error = write_labels(&path, &labels).unwrap_err();
        assert!(error.to_string().contains("a.raw"), "{error}");
        let Error::Unwritable { source, .. } = error else { panic!("{error}") };
        assert_eq!(source.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&raw).unwrap(), b"precious");
    };
    refused();
    assert!(!path.exists());
    fs::write(&path, HEADER.replace("LOCAL", "b.raw")).unwrap();
    refused();
    fs::write(&path, HEADER.replace("LOCAL", "a.raw")).unwrap();
    write_labels(&path, &labels).unwrap();
    assert_eq!(read_labels(&path).unwrap(), labels);
}

#[test]
fn channels_are_no_image() {
    let folder = tempfile::tempdir().unwrap();
    let header = HEADER.replace("ElementType", "ElementNumberOfChannels = 2\nElementType");
    let path = save(folder.path(), &header, &[0; 120]);
    assert!(read_volume(&path).unwrap_err().to_string().contains("channels: expected 1"));
}

#[test]
fn deflated_samples_end_as_promised() {
    let folder = tempfile::tempdir().unwrap();
    let header = HEADER.replace("CompressedData = False", "CompressedData = True");
    let mut deflate = ZlibEncoder::new(Vec::new(), Compression::best());
    deflate.write_all(&sixty()).unwrap();
    let packed = deflate.finish().unwrap();
    let path = save(folder.path(), &header, &packed);
    assert_eq!(read_labels(&path).unwrap().data, (0..60).collect::<Vec<i32>>());

    let path = save(folder.path(), &header, &packed[..30]);
    assert!(matches!(read_volume(&path), Err(Error::Truncated { expected: 60, found: 1.., .. })));
    let larger = header.replace("DimSize = 5 4 3", "DimSize = 5 4 4");
    let path = save(folder.path(), &larger, &packed);
    assert!(matches!(read_volume(&path), Err(Error::Truncated { expected: 80, found: 60, .. })));
    let vast = header.replace("DimSize = 5 4 3", "DimSize = 500 500 500");
    let path = save(folder.path(), &vast, &packed);
    assert!(matches!(read_volume(&path), Err(Error::TooLarge { promised: 125000000, .. })));
}
