use std::path::Path;

use crate::image::{Frame, Pixels};
use crate::io::jpeg::{Colors, Samples, decode};
use crate::io::tests::mutated;
use crate::io::{open_frames, read_volume};
use crate::{Error, Result};

/// An element in explicit VR, little endian; `length` where it is not that of the value.
fn element(tag: u32, vr: &str, value: &[u8], length: Option<u32>) -> Vec<u8> {
    let mut bytes = ((tag >> 16) as u16).to_le_bytes().to_vec();
    bytes.extend((tag as u16).to_le_bytes());
    let length = length.unwrap_or(value.len() as u32);
    match vr {
        "" => bytes.extend(length.to_le_bytes()),
        "OB" | "OW" | "SQ" | "UN" => {
            bytes.extend(vr.bytes().chain([0, 0]));
            bytes.extend(length.to_le_bytes());
        }
        _ => {
            bytes.extend(vr.bytes());
            bytes.extend((length as u16).to_le_bytes());
        }
    }
    bytes.extend(value);
    bytes
}

fn word(tag: u32, value: u16) -> Vec<u8> {
    element(tag, "US", &value.to_le_bytes(), None)
}

/// A file of pixels of a byte, 3 in a row; `more` elements come before them and replace others.
fn file(syntax: &str, rows: u16, more: &[Vec<u8>], pixels: Vec<u8>) -> Vec<u8> {
    let mut bytes = vec![0; 128];
    bytes.extend(b"DICM");
    bytes.extend(element(0x0002_0010, "UI", syntax.as_bytes(), None));
    bytes.extend(element(0x0010_0010, "PN", b"Doe^Jane", None));
    let mut elements = vec![
        word(0x0028_0002, 1),
        element(0x0028_0004, "CS", b"MONOCHROME2 ", None),
        word(0x0028_0010, rows),
        word(0x0028_0011, 3),
        word(0x0028_0100, 8),
        word(0x0028_0101, 8),
        word(0x0028_0102, 7),
    ];
    elements.extend_from_slice(more);
    bytes.extend(elements.concat());
    bytes.extend(pixels);
    bytes
}

const EXPLICIT: &str = "1.2.840.10008.1.2.1\0";
const RLE: &str = "1.2.840.10008.1.2.5\0";
const SIX: [u8; 6] = [10, 20, 30, 40, 50, 60];

fn native() -> Vec<u8> {
    element(PIXELS, "OB", &SIX, None)
}

const PIXELS: u32 = 0x7fe0_0010;

fn fragments(fragments: &[&[u8]]) -> Vec<u8> {
    let mut bytes = element(PIXELS, "OB", &[], Some(u32::MAX));
    bytes.extend(element(0xfffe_e000, "", &[], None));
    for fragment in fragments {
        bytes.extend(element(0xfffe_e000, "", fragment, None));
    }
    bytes.extend(element(0xfffe_e0dd, "", &[], None));
    bytes
}

fn read(bytes: &[u8]) -> Result<Vec<Pixels>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.dcm");
    std::fs::write(&path, bytes).unwrap();
    open_frames(&path)?.collect()
}

#[track_caller]
fn refused(bytes: &[u8], parts: &[&str]) {
    let error = read(bytes).unwrap_err().to_string();
    for part in parts {
        assert!(error.contains(part), "{part:?} is missing in: {error}");
    }
    assert!(!error.contains("Doe") && !error.contains('\n'), "{error}");
}

fn gray(bytes: &[u8]) -> Frame<u8> {
    match read(bytes).unwrap().as_slice() {
        [Pixels::Gray8(frame)] => frame.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn sequences_of_every_kind_are_passed_over() {
    let open = Some(u32::MAX);
    let item_end = element(0xfffe_e00d, "", &[], None);
    let end = element(0xfffe_e0dd, "", &[], None);
    // An item, and in it a sequence of stated length whose item has another number of rows.
    let inner = element(0xfffe_e000, "", &word(0x0028_0010, 99), None);
    let inner = element(0x0040_0275, "SQ", &inner, None);
    let item = element(0xfffe_e000, "", &[inner, item_end.clone()].concat(), open);
    let stated = element(0x0040_9096, "SQ", &[], Some(0));
    let sequence = element(0x0008_1140, "SQ", &[item, end.clone()].concat(), open);
    // A private one, which somebody wrote without knowing it: its content is in implicit VR.
    let implicit = [&0x0010_0029u32.to_le_bytes()[..], &2u32.to_le_bytes(), &[7, 7]].concat();
    let item = element(0xfffe_e000, "", &implicit, None);
    let unknown = element(0x0029_1010, "UN", &[item, end].concat(), open);
    let frame = gray(&file(EXPLICIT, 2, &[sequence, stated, unknown], native()));
    assert_eq!((frame.size(), frame.data.as_slice()), ([3, 2], &SIX[..]));
}

#[test]
fn lengths_that_lie_allocate_nothing() {
    let good = file(EXPLICIT, 2, &[], native());
    refused(&good[..good.len() - native().len()], &["PixelData"]);
    refused(&good[..200], &["truncated"]);
    refused(&good[..good.len() - 1], &["truncated"]);
    let most = Some(u32::MAX - 1);
    refused(&file(EXPLICIT, 2, &[element(0x0009_1001, "UN", b"", most)], native()), &["truncated"]);
    refused(&file(EXPLICIT, 2, &[element(0x0028_1201, "OW", b"", most)], native()), &["truncated"]);
    refused(&file(EXPLICIT, 2, &[], element(PIXELS, "OB", b"", most)), &["6 bytes"]);
    let frames = element(0x0028_0008, "IS", b"2147483647", None);
    refused(&file(EXPLICIT, 2, std::slice::from_ref(&frames), native()), &["truncated"]);
    refused(&file(RLE, 2, &[frames], fragments(&[&[0; 64]])), &["truncated"]);
    refused(&file(EXPLICIT, 65535, &[word(0x0028_0011, 65535)], native()), &["65535×65535"]);
    refused(&file(EXPLICIT, 0, &[], native()), &["3×0"]);
    refused(&file(EXPLICIT, 2, &[word(0x0028_0101, 9)], native()), &["BitsStored"]);
    refused(&file(EXPLICIT, 2, &[word(0x0028_0100, 32)], native()), &["BitsAllocated"]);
    let long = element(0xfffe_e000, "", &[], most);
    let pixels = [element(PIXELS, "OB", &[], Some(u32::MAX)), long].concat();
    refused(&file(RLE, 2, &[], pixels), &["truncated"]);
    let deep =
        element(0x0008_1140, "SQ", &element(0xfffe_e000, "", &[], Some(u32::MAX)), Some(u32::MAX));
    refused(&file(EXPLICIT, 2, &[deep.repeat(1000)], native()), &["deep"]);
}

#[test]
fn rle_is_unpacked_or_refused() {
    let header = |segments: u32, first: u32| {
        let mut bytes = segments.to_le_bytes().to_vec();
        bytes.extend(first.to_le_bytes());
        bytes.resize(64, 0);
        bytes
    };
    let frame = |packed: &[u8]| file(RLE, 2, &[], fragments(&[&[&header(1, 64), packed].concat()]));
    // Two literals, nothing, then four of a kind.
    assert_eq!(gray(&frame(&[1, 5, 6, 0x80, 0xfd, 7])).data, [5, 6, 7, 7, 7, 7]);
    refused(&frame(&[1, 5, 6, 0xfe, 7]), &["1 bytes too few"]);
    refused(&frame(&[5, 5, 6]), &["4 bytes too few"]);
    let odd = |header: Vec<u8>| file(RLE, 2, &[], fragments(&[&header]));
    refused(&odd(header(u32::MAX, 64)), &["segments"]);
    refused(&odd(header(1, u32::MAX)), &["outside"]);
    refused(&odd(vec![1]), &["shorter"]);
    refused(&file(RLE, 2, &[], fragments(&[])), &["fewer"]);
    refused(&file(RLE, 2, &[], native()), &["fragments"]);
    refused(&file(EXPLICIT, 2, &[], fragments(&[&SIX])), &["a length"]);
}

/// Streams that imagecodecs' `ljpeg_encode` made of `x * 30 + y` and `x * 3000 + y * 7`, 7×6.
const LOSSLESS: [(&str, u16, u16); 2] = [
    (
        "ffd8ffc400160001010100000000000000000000000000010508ffc3000b080006000701001100ffda000801000006\
      0000cff7af5ebd7af2aaaaaaaaaaaaaaaaa0ffd9",
        30,
        1,
    ),
    (
        "ffd8ffc400160001010100000000000000000000000000030c10ffc3000b100006000701001100ffda000801000006\
      0000d5dc57715dc57715dc5770e888888e888888e888888e888888e8888880ffd9",
        3000,
        7,
    ),
];

#[test]
fn lossless_jpeg_comes_back_exactly() {
    for (stream, across, down) in LOSSLESS {
        let stream = crate::io::frames::tests::hex(&stream.replace(' ', ""));
        let decoded = decode(&stream, Colors::AsMarked).unwrap();
        assert_eq!((decoded.size, decoded.channels), ([7, 6], 1));
        assert_eq!(across == 30, matches!(decoded.samples, Samples::U8(_)));
        let expected: Vec<u16> =
            (0..42).map(|i| (i % 7 * across).wrapping_add(i / 7 * down)).collect();
        assert_eq!(decoded.samples.words(), expected);
    }
}

#[test]
fn damaged_files_are_refused_or_read() {
    let header = [&1u32.to_le_bytes()[..], &64u32.to_le_bytes(), &[0; 56]].concat();
    let rle = file(RLE, 2, &[], fragments(&[&[&header[..], &[1, 5, 6, 0xfd, 7]].concat()]));
    let jpeg = crate::io::frames::tests::hex(&LOSSLESS[0].0.replace(' ', ""));
    let syntax = "1.2.840.10008.1.2.4.70";
    let lossless = file(syntax, 6, &[word(0x0028_0011, 7)], fragments(&[&jpeg]));
    assert_eq!(gray(&lossless).size(), [7, 6]);
    for good in [file(EXPLICIT, 2, &[], native()), rle, lossless] {
        // The preamble says nothing.
        mutated(&good[128..], |bytes| drop(read(&[&good[..128], bytes].concat())));
    }
}

#[test]
fn folders_without_a_series_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let message = |path: &Path| read_volume(path).unwrap_err().to_string();
    assert!(message(folder.path()).contains("no DICOM file"));
    std::fs::write(folder.path().join("a"), file(EXPLICIT, 2, &[], native())).unwrap();
    assert!(message(folder.path()).contains("PixelSpacing"));
    assert!(matches!(read_volume(&folder.path().join("a.dcm")), Err(Error::Malformed { .. })));
}

#[test]
fn slices_lie_above_one_another_in_one_series() {
    let folder = tempfile::tempdir().unwrap();
    let slice = |i: u8, x: &str, uid: &[u8]| {
        let text = |tag, text: &[u8]| element(tag, "DS", text, None);
        let more = [
            element(0x0020_000e, "UI", uid, None),
            text(0x0028_0030, b"1\\1"),
            text(0x0020_0032, format!("{x}\\0\\{}", 2 * i).as_bytes()),
            text(0x0020_0037, b"1\\0\\0\\0.0009\\1\\0"),
        ];
        std::fs::write(folder.path().join(i.to_string()), file(EXPLICIT, 2, &more, native()))
            .unwrap();
    };
    let message = || read_volume(folder.path()).unwrap_err().to_string();
    (0..5).for_each(|i| slice(i, "0", b"1.2"));
    let grid = read_volume(folder.path()).unwrap().geometry;
    let direction = grid.direction;
    assert!((direction.transpose() * direction - nalgebra::Matrix3::identity()).norm() < 1e-12);
    slice(2, "1.5", b"1.2");
    assert!(message().contains("1.500 mm"), "{}", message());
    slice(2, "0", b"1.2");
    std::fs::write(folder.path().join("odd"), [&[0; 128], &b"DICMjunk"[..]].concat()).unwrap();
    assert!(message().contains("odd"), "{}", message());
    slice(9, "none", b"1.3");
    assert!(message().contains("with 5 slices") && message().contains("1.3"), "{}", message());
}

/// An ultrasound region's elements: format, units, the last column, and 0.05 cm by 0.04 cm.
fn region(format: u16, units: u16, last: u32) -> Vec<u8> {
    let mut bytes =
        [word(0x0018_6012, format), word(0x0018_6024, units), word(0x0018_6026, units)].concat();
    bytes.extend(element(0x0018_601c, "UL", &last.to_le_bytes(), None));
    bytes.extend(element(0x0018_602c, "FD", &0.05f64.to_le_bytes(), None));
    bytes.extend(element(0x0018_602e, "FD", &0.04f64.to_le_bytes(), None));
    bytes
}

fn spacing(more: &[Vec<u8>]) -> Option<[f64; 2]> {
    gray(&file(EXPLICIT, 2, more, native())).spacing
}

#[test]
fn pixel_sizes_are_those_of_regions_in_the_frame() {
    let regions = |regions: &[Vec<u8>]| {
        let items: Vec<_> = regions.iter().map(|r| element(0xfffe_e000, "", r, None)).collect();
        element(0x0018_6011, "SQ", &items.concat(), None)
    };
    let pixels = element(0x0028_0030, "DS", b"0.4\\0.5 ", None);
    let known = Some([0.5, 0.4]);
    assert_eq!(spacing(&[regions(&[region(1, 3, 3), region(2, 4, 99)])]), known);
    assert_eq!(spacing(&[regions(&[region(1, 3, 4)])]), None);
    assert_eq!(spacing(&[regions(&[region(1, 3, 0)])]), None);
    assert_eq!(spacing(&[regions(&[region(1, 3, 3), region(1, 0, 3)])]), None);
    assert_eq!(spacing(&[regions(&[region(2, 4, 3)]), pixels.clone()]), None);
    let detector = element(0x0018_1164, "DS", b"0.4\\0.5 ", None);
    assert_eq!(spacing(std::slice::from_ref(&pixels)), known);
    assert_eq!(spacing(&[pixels.clone(), detector.clone()]), None);
    let calibrated = element(0x0028_0a02, "CS", b"FIDUCIAL", None);
    assert_eq!(spacing(&[pixels, detector, calibrated]), known);
}

#[test]
fn regions_passed_on_as_unknown_are_read() {
    // Implicit VR, in a sequence of stated length that calls itself UN.
    let plain = |tag: u32, value: &[u8]| {
        let tag = [((tag >> 16) as u16).to_le_bytes(), (tag as u16).to_le_bytes()].concat();
        [&tag, &(value.len() as u32).to_le_bytes()[..], value].concat()
    };
    let mut item = Vec::new();
    for (tag, value) in [(0x0018_6012, 1u16), (0x0018_6024, 3), (0x0018_6026, 3)] {
        item.extend(plain(tag, &value.to_le_bytes()));
    }
    item.extend(plain(0x0018_602c, &0.05f64.to_le_bytes()));
    item.extend(plain(0x0018_602e, &0.04f64.to_le_bytes()));
    let unknown = element(0x0018_6011, "UN", &plain(0xfffe_e000, &item), None);
    assert_eq!(spacing(&[unknown]), Some([0.5, 0.4]));
    // Explicit VR does not fit in: not read past the item.
    let wrong = element(0xfffe_e000, "", &region(1, 3, 3), None);
    refused(&file(EXPLICIT, 2, &[element(0x0018_6011, "UN", &wrong, None)], native()), &[]);
}

#[test]
fn pixel_data_is_as_long_as_the_header_says() {
    let pixels = |count: usize| element(PIXELS, "OB", &vec![1; count], None);
    assert_eq!(gray(&file(EXPLICIT, 2, &[], pixels(7))).data, [1; 6]);
    refused(&file(EXPLICIT, 2, &[], pixels(8)), &["6 bytes", "found 8"]);
    refused(&file(EXPLICIT, 2, &[], pixels(5)), &["6 bytes", "found 5"]);
    let ybr = element(0x0028_0004, "CS", b"YBR_FULL_422", None);
    let colors = [word(0x0028_0002, 3), ybr];
    refused(&file(EXPLICIT, 3, &colors, pixels(18)), &["Columns", "even"]);
    let deep = [word(0x0028_0100, 16), word(0x0028_0101, 16), word(0x0028_0102, 15)];
    refused(&file(EXPLICIT, 2, &[&colors[..], &deep].concat(), pixels(24)), &["BitsAllocated"]);
    // An icon's compressed pixels.
    let icon = element(0xfffe_e000, "", &fragments(&[&[1, 2]]), None);
    let icon = element(0x0088_0200, "SQ", &icon, None);
    assert_eq!(gray(&file(EXPLICIT, 2, &[icon], native())).data, SIX);
}

#[test]
fn jpeg_that_would_be_decoded_wrongly_is_refused() {
    let hex = crate::io::frames::tests::hex;
    let refused = |stream: &[u8], part: &str| {
        let error = decode(stream, Colors::AsMarked).err().unwrap();
        assert!(error.contains(part), "{part}: {error}");
    };
    let good = hex(&LOSSLESS[0].0.replace(' ', ""));
    let find = |marker: u8| good.windows(2).position(|b| b == [0xff, marker]).unwrap();
    refused(&[&good[..2], &hex("ffdd00040007"), &good[2..]].concat(), "restart intervals");
    let changed = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    refused(&changed(find(0xda) + 9, 2), "point transform");
    // 256 samples more than the bits can hold.
    refused(&changed(find(0xc3) + 5, 1), "are possible");
    let scan = "ffda0008010100000000".to_owned() + "00";
    let scans =
        |count: usize| hex(&format!("ffd8ffc2000b080008000801011100{}", scan.repeat(count)));
    refused(&scans(101), "101 scans");
    assert!(!decode(&scans(100), Colors::AsMarked).err().unwrap().contains("scans of"));
    // A bit in front of HighBit is no bit of what was decoded.
    let words = [word(0x0028_0100, 16), word(0x0028_0101, 8), word(0x0028_0102, 15)];
    let more = [&words[..], &[word(0x0028_0011, 7)]].concat();
    let frame = gray(&file("1.2.840.10008.1.2.4.70", 6, &more, fragments(&[&good])));
    assert_eq!(frame.data[..3], [0, 30, 60]);
}

#[test]
fn lossless_colors_become_rgb_once() {
    // One pixel, 129 144 112: differences from 128 in the code of LOSSLESS.
    let stream = |precision: &str, sampling: &str| {
        let table = "ffc4001600010101000000000000000000000000000105 08";
        let frame = format!("ffc30011{precision}0001000103 01{sampling}00 021100 031100");
        let text = format!("ffd8 {table} {frame} ffda000c03010002000300010000 684f ffd9");
        crate::io::frames::tests::hex(&text.replace(' ', ""))
    };
    let pixel = |colors| decode(&stream("08", "11"), colors).map(|d| d.samples.words());
    assert_eq!(pixel(Colors::Stored).unwrap(), [129, 144, 112]);
    assert_eq!(pixel(Colors::AsMarked).unwrap(), [129, 144, 112]);
    assert_eq!(pixel(Colors::YCbCr).unwrap(), [107, 135, 157]);
    for (precision, sampling, part) in [("08", "22", "subsampled"), ("10", "11", "16 bits")] {
        let error = decode(&stream(precision, sampling), Colors::Stored).err().unwrap();
        assert!(error.contains(part), "{error}");
    }
}
