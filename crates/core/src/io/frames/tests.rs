use std::io::Write;

use super::*;
use crate::image::Frame;
use crate::io::tests::mutated;

/// What Pillow 13 writes for `y, x = np.mgrid[:8, :16]; x * 10 + y * 5` (quality 60, optimize),
/// less its JFIF marker. Pillow reads it back as 3 first, 183 last, no more than 3 off.
const JPEG: &str = "ffd8ffdb0043000d090a0b0a080d0b0a0b0e0e0d0f13201513121213271c1e17202e2931302e29\
2d2c333a4a3e333646372c2d405741464c4e525352323e5a615a50604a51524fffc0000b080008001001011100ffc4001400\
0100000000000000000000000000000006ffc4001810000203000000000000000000000000000004052131ffda0008010100\
003f002316b650c62d6ca3ffd9";

pub(in crate::io) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().map(|b| (b as char).to_digit(16).unwrap() as u8).collect();
    digits.as_chunks().0.iter().map(|[a, b]| a << 4 | b).collect()
}

fn save(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn frames(path: &Path) -> Result<Vec<Pixels>> {
    open_frames(path)?.collect()
}

#[track_caller]
fn refused(path: &Path, parts: &[&str]) {
    let error = frames(path).unwrap_err().to_string();
    for part in parts.iter().chain([&path.file_name().unwrap().to_str().unwrap()]) {
        assert!(error.contains(part), "{part:?} is missing in: {error}");
    }
    assert!(!error.contains('\n'), "{error}");
}

fn png(width: u32, height: u32) -> Vec<u8> {
    let picture =
        image::GrayImage::from_fn(width, height, |x, y| image::Luma([(x * 10 + y * 5) as u8]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Another size in a PNG's header, with its check sum.
fn resized(mut png: Vec<u8>, size: [u32; 2]) -> Vec<u8> {
    png[16..20].copy_from_slice(&size[0].to_be_bytes());
    png[20..24].copy_from_slice(&size[1].to_be_bytes());
    let mut sum = flate2::Crc::new();
    sum.update(&png[12..29]);
    png[29..33].copy_from_slice(&sum.sum().to_be_bytes());
    png
}

fn sequence(dims: &str, kind: &str, more: &str, data: &[u8]) -> Vec<u8> {
    let axes = dims.split(' ').count();
    let header = format!(
        "NDims = {axes}\nDimSize = {dims}\nElementType = {kind}\n{more}ElementDataFile = LOCAL\n"
    );
    [header.as_bytes(), data].concat()
}

fn deflated(data: &[u8]) -> Vec<u8> {
    let mut deflate = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    deflate.write_all(data).unwrap();
    deflate.finish().unwrap()
}

#[test]
fn pictures_are_one_frame_without_a_pixel_size() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes, within) in
        [("a.png", png(16, 8), 0), ("a.jpg", hex(JPEG), 3), ("a", hex(JPEG), 3)]
    {
        let mut opened = open_frames(&save(folder.path(), name, &bytes)).unwrap();
        assert_eq!(opened.len(), 1);
        let Some(Ok(Pixels::Gray8(frame))) = opened.next() else { panic!("{name}: not gray") };
        assert_eq!((frame.size(), frame.spacing), ([16, 8], None));
        for (i, v) in frame.data.iter().enumerate() {
            let expected = (i % 16 * 10 + i / 16 * 5) as i32;
            assert!((i32::from(*v) - expected).abs() <= within, "{name}: {v} for {expected}");
        }
        assert!(opened.next().is_none());
    }
    let one = frames(&save(folder.path(), "one.png", &png(1, 1))).unwrap();
    assert_eq!(one, [Pixels::Gray8(Frame::new(1, 1, vec![0]))]);
}

#[test]
fn no_picture_is_read_in_part() {
    let folder = tempfile::tempdir().unwrap();
    let whole = hex(JPEG);
    for length in 0..whole.len() {
        let path = save(folder.path(), "cut.jpg", &whole[..length]);
        assert!(frames(&path).is_err(), "{length} of {} bytes are no picture", whole.len());
    }
    let whole = png(40, 30);
    // The last chunk, IEND, holds nothing.
    for length in 0..whole.len() - 12 {
        let path = save(folder.path(), "cut.png", &whole[..length]);
        assert!(frames(&path).is_err(), "{length} of {} bytes are no picture", whole.len());
    }
    let data: Vec<u8> = (0..200).collect();
    for (more, data) in [("", data.clone()), ("CompressedData = True\n", deflated(&data))] {
        let whole = sequence("10 4 5", "MET_UCHAR", more, &data);
        for length in 0..whole.len() {
            let path = save(folder.path(), "cut.mha", &whole[..length]);
            assert!(frames(&path).is_err(), "{length} of {} bytes are no clip", whole.len());
        }
        assert_eq!(frames(&save(folder.path(), "whole.mha", &whole)).unwrap().len(), 5);
    }
}

#[test]
fn sizes_that_no_file_holds_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |name: &str, bytes: &[u8], parts: &[&str]| {
        refused(&save(folder.path(), name, bytes), parts);
    };
    refused("empty.png", b"", &[]);
    refused("empty.jpg", b"", &[]);
    refused("empty", b"", &["PNG", "DICOM"]);
    refused("zero.png", &resized(png(8, 8), [0, 8]), &[]);
    refused("wide.png", &resized(png(8, 8), [1 << 30, 2]), &["reduce"]);
    refused("huge.png", &resized(png(8, 8), [1 << 15, 1 << 16]), &["too large"]);
    let mut tall = hex(JPEG);
    let start = tall.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    tall[start + 5..start + 9].fill(0xff);
    refused("huge.jpg", &tall, &["65535×65535"]);
    tall[start + 5..start + 9].fill(0);
    refused("zero.jpg", &tall, &[]);
    refused("huge.mha", &sequence("65536 32768 1", "MET_UCHAR", "", &[0; 99]), &["truncated"]);
    let vast =
        sequence("9999999999 9999999999 99", "MET_DOUBLE", "CompressedData = True\n", &[0; 99]);
    refused("vast.mha", &vast, &["too large"]);
    refused("zero.mha", &sequence("8 0 2", "MET_UCHAR", "", &[0; 99]), &["DimSize"]);
    refused("line.mha", &sequence("8", "MET_UCHAR", "", &[0; 99]), &["NDims"]);
    refused("five.mha", &sequence("2 2 2 2 2", "MET_UCHAR", "", &[0; 99]), &["DimSize", "frames"]);
}

#[test]
fn a_clip_longer_than_any_volume_comes_frame_by_frame() {
    // 2²⁹ pixels of zeros, of which two frames are unpacked here.
    let folder = tempfile::tempdir().unwrap();
    let mut deflate = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    let chunk = vec![0; 1 << 20];
    for _ in 0..512 {
        deflate.write_all(&chunk).unwrap();
    }
    let data = deflate.finish().unwrap();
    let whole = sequence("1024 512 1024", "MET_UCHAR", "CompressedData = True\n", &data);
    let mut opened = open_frames(&save(folder.path(), "long.mha", &whole)).unwrap();
    assert_eq!(opened.len(), 1024);
    for frame in opened.by_ref().take(2) {
        let Pixels::Gray8(frame) = frame.unwrap() else { panic!("not gray") };
        assert_eq!(frame.size(), [1024, 512]);
    }
    assert_eq!(opened.len(), 1022);
}

#[test]
fn kinds_of_sequences() {
    let folder = tempfile::tempdir().unwrap();
    let read = |dims: &str, kind: &str, more: &str, data: &[u8]| {
        frames(&save(folder.path(), "a.mha", &sequence(dims, kind, more, data)))
    };
    let words: Vec<u8> = [1u16, 2, 500, 65535].into_iter().flat_map(u16::to_be_bytes).collect();
    let msb = "BinaryDataByteOrderMSB = True\nElementSpacing = 0.1 0.2\n";
    let expected = Frame { spacing: Some([0.1, 0.2]), ..Frame::new(2, 2, vec![1, 2, 500, 65535]) };
    assert_eq!(read("2 2", "MET_USHORT", msb, &words).unwrap(), [Pixels::Gray16(expected)]);
    let negative: Vec<u8> = [-3i16, 7].into_iter().flat_map(i16::to_le_bytes).collect();
    let expected = Pixels::Float(Frame::new(2, 1, vec![-3.0, 7.0]));
    assert_eq!(read("2 1 1", "MET_SHORT", "", &negative).unwrap(), [expected]);
    let rgb = "ElementNumberOfChannels = 3\n";
    let expected = [[1, 2, 3], [4, 5, 6]].map(|c| Pixels::Rgb8(Frame::new(1, 1, vec![c])));
    assert_eq!(read("1 1 2", "MET_UCHAR", rgb, &[1, 2, 3, 4, 5, 6]).unwrap(), expected);
    let message = |result: Result<Vec<Pixels>>| result.unwrap_err().to_string();
    assert!(message(read("1 1", "MET_FLOAT", rgb, &[0; 12])).contains("3 of float32"));
    assert!(message(read("1 1", "MET_FLOAT", "", &f32::NAN.to_le_bytes())).contains("finite"));
    let turned = "UltrasoundImageOrientation = MU\n";
    assert!(message(read("1 1", "MET_UCHAR", turned, &[0])).contains("Orientation"));
    for spacing in ["1 1", "0 0.1", "0.1 nan", "0.0001 0.1", "60 60"] {
        let Pixels::Gray8(frame) =
            &read("1 1", "MET_UCHAR", &format!("ElementSpacing = {spacing}\n"), &[0]).unwrap()[0]
        else {
            panic!("not gray")
        };
        assert_eq!(frame.spacing, None, "{spacing}");
    }
}

#[test]
fn damaged_files_are_refused_or_read() {
    let folder = tempfile::tempdir().unwrap();
    let data: Vec<u8> = (0..200).collect();
    let packed = sequence("10 4 5", "MET_UCHAR", "CompressedData = True\n", &deflated(&data));
    for (name, good) in [
        ("a.png", png(16, 8)),
        ("a.jpg", hex(JPEG)),
        ("raw.mha", sequence("10 4 5", "MET_UCHAR", "", &data)),
        ("packed.mha", packed),
    ] {
        mutated(&good, |bytes| {
            let _ = frames(&save(folder.path(), name, bytes));
        });
    }
}
