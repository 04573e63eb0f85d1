use std::path::Path;

use super::*;
use crate::io::{read_geometry, read_labels, read_volume, write_volume};

/// A header of a 2×3×4 image, field by field, as the Python snippet below packs it.
#[derive(Clone)]
struct Raw {
    big_endian: bool,
    bytes: Vec<u8>,
}

impl Raw {
    fn new(big_endian: bool) -> Raw {
        let mut raw = Raw { big_endian, bytes: vec![0; 352] };
        raw.i32(0, 348);
        for (i, n) in [3, 2, 3, 4, 1, 1, 1, 1].into_iter().enumerate() {
            raw.i16(40 + 2 * i, n);
        }
        raw.i16(70, 2).i16(72, 8).f32s(76, &[1.0, 0.5, 1.5, 3.0]).f32s(108, &[352.0]);
        raw.bytes[123] = 2;
        raw.bytes[344..348].copy_from_slice(b"n+1\0");
        raw
    }

    fn put<const N: usize>(&mut self, at: usize, mut field: [u8; N]) -> &mut Raw {
        if self.big_endian {
            field.reverse();
        }
        self.bytes[at..at + N].copy_from_slice(&field);
        self
    }

    fn i16(&mut self, at: usize, value: i16) -> &mut Raw {
        self.put(at, value.to_le_bytes())
    }

    fn i32(&mut self, at: usize, value: i32) -> &mut Raw {
        self.put(at, value.to_le_bytes())
    }

    fn f32s(&mut self, at: usize, values: &[f32]) -> &mut Raw {
        for (i, v) in values.iter().enumerate() {
            self.put(at + 4 * i, v.to_le_bytes());
        }
        self
    }

    fn qform(&mut self) -> &mut Raw {
        self.i16(252, 1).f32s(256, &[0.1, -0.2, 0.3, 10.0, -20.0, 5.0])
    }

    /// Writes the header and `data` to a new file.
    fn save(&self, folder: &Path, data: &[u8]) -> std::path::PathBuf {
        let path = folder.join("image.nii");
        std::fs::write(&path, [&self.bytes[..], data].concat()).unwrap();
        path
    }

    /// The message of the error that reading this header with `data` gives.
    fn error(&self, data: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        read_volume(&self.save(folder.path(), data)).unwrap_err().to_string()
    }
}

fn bytes24() -> Vec<u8> {
    (0..24).collect()
}

/// SimpleITK 2.5.7 on the same bytes:
/// ```python
/// import struct, numpy as np, SimpleITK as sitk
/// def show(end='<', code=2, bits=8, data=bytes(range(24)), slope=0., inter=0.,
///          pixdim=(1, .5, 1.5, 3), units=2, q=None, s=None):
///     h = bytearray(352)
///     p = lambda f, at, *v: struct.pack_into(end + f, h, at, *v)
///     p('i', 0, 348); p('8h', 40, 3, 2, 3, 4, 1, 1, 1, 1); p('2h', 70, code, bits)
///     p('4f', 76, *pixdim); p('3f', 108, 352, slope, inter); p('B', 123, units)
///     if q: p('h', 252, 1); p('6f', 256, *q)
///     if s: p('h', 254, 1); p('12f', 280, *s)
///     h[344:348] = b'n+1\0'
///     open('i.nii', 'wb').write(h + data)
///     i = sitk.ReadImage('i.nii')
///     print(i.GetSpacing(), i.GetOrigin(), i.GetDirection(), sitk.GetArrayFromImage(i).ravel())
/// q = (.1, -.2, .3, 10, -20, 5)
/// show(s=(.327604, -1.122511, -.310139, 10, .365609, .89077, 1.006979, -20, .094898, .44328,
///         -2.80888, 5))
/// show(pixdim=(-1, .5, 1.5, 3), q=q)
/// show(q=q, units=1)
/// show(pixdim=(1, 500, 1500, 3000), q=q, units=3)
/// show()
/// ```
#[test]
fn geometry_is_simpleitks() {
    let oblique = [
        0.327604, -1.122511, -0.310139, 10.0, 0.365609, 0.89077, 1.006979, -20.0, 0.094898,
        0.44328, -2.80888, 5.0,
    ];
    let turned = [
        -0.740000001,
        0.596417113,
        0.310944742,
        -0.516417115,
        -0.799999998,
        0.305472371,
        0.430944733,
        0.065472366,
        0.899999999,
    ];
    let mut flipped = turned;
    for z in [2, 5, 8] {
        flipped[z] *= -1.0;
    }
    let mm = [0.5, 1.5, 3.0];
    type Case = (Raw, [f64; 3], [f64; 3], [f64; 9]);
    let cases: [Case; 5] = [
        (
            Raw::new(false).i16(254, 1).f32s(280, &oblique).clone(),
            mm,
            [-10.0, 20.0, 5.0],
            [
                -0.655208067,
                0.748340785,
                0.103379665,
                -0.731218065,
                -0.593846757,
                -0.335659658,
                0.189796023,
                0.295520047,
                -0.936293351,
            ],
        ),
        (Raw::new(false).qform().f32s(76, &[-1.0]).clone(), mm, [-10.0, 20.0, 5.0], flipped),
        (
            {
                let mut raw = Raw::new(true);
                raw.qform().bytes[123] = 1;
                raw
            },
            [500.0, 1500.0, 3000.0],
            [-10000.0, 20000.0, 5000.0],
            turned,
        ),
        (
            {
                let mut raw = Raw::new(false);
                raw.qform().f32s(80, &[500.0, 1500.0, 3000.0]).bytes[123] = 3;
                raw
            },
            mm,
            [-0.01, 0.02, 0.005],
            turned,
        ),
        (Raw::new(false), mm, [0.0; 3], [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (case, (raw, spacing, origin, direction)) in cases.into_iter().enumerate() {
        let (geometry, scalar) = read_geometry(&raw.save(folder.path(), &bytes24())).unwrap();
        assert_eq!((geometry.size, scalar), ([2, 3, 4], ScalarType::U8));
        for i in 0..3 {
            assert!((geometry.spacing[i] / spacing[i] - 1.0).abs() < 2e-6, "case {case}");
            assert!((geometry.origin[i] - origin[i]).abs() < 1e-5, "case {case}");
        }
        let row_by_row = geometry.direction.transpose();
        for (ours, theirs) in row_by_row.iter().zip(direction) {
            assert!((ours - theirs).abs() < 1e-6, "case {case}: {ours} {theirs}");
        }
    }
}

#[test]
fn big_endian_int16_is_scaled() {
    let folder = tempfile::tempdir().unwrap();
    let data: Vec<u8> = (-3..21i16).flat_map(i16::to_be_bytes).collect();
    let mut raw = Raw::new(true);
    raw.i16(70, 4).i16(72, 16).f32s(112, &[0.5, 10.0]);
    let path = raw.save(folder.path(), &data);
    assert_eq!(read_volume(&path).unwrap().data[..4], [8.5, 9.0, 9.5, 10.0]);
    assert_eq!(read_geometry(&path).unwrap().1, ScalarType::F32);
    assert!(read_labels(&path).unwrap_err().to_string().contains("voxel (0, 0, 0)"));
    // NaN, as nibabel writes it, and 0 mean "not scaled".
    for slope in [f32::NAN, 0.0] {
        let path = raw.f32s(112, &[slope, 10.0]).save(folder.path(), &data);
        assert_eq!(read_volume(&path).unwrap().data[..2], [-3.0, -2.0]);
        assert_eq!(read_labels(&path).unwrap().data[..2], [-3, -2]);
    }
}

#[test]
fn samples_start_at_vox_offset() {
    let folder = tempfile::tempdir().unwrap();
    let mut data = vec![99; 16];
    data.extend(bytes24());
    let path = Raw::new(false).f32s(108, &[368.0]).save(folder.path(), &data);
    assert_eq!(read_labels(&path).unwrap().data, (0..24).collect::<Vec<i32>>());
    let error = Raw::new(false).f32s(108, &[369.0]).error(&data);
    assert!(error.contains("truncated: expected 24 bytes of image data, found 23"), "{error}");
    for offset in [f32::NAN, -352.0, 100.0, f32::INFINITY] {
        assert!(Raw::new(false).f32s(108, &[offset]).error(&data).contains("vox_offset"));
    }
}

#[test]
fn axes_of_one_at_the_end_are_no_axes() {
    let folder = tempfile::tempdir().unwrap();
    let path = Raw::new(false).i16(40, 5).save(folder.path(), &bytes24());
    assert_eq!(read_labels(&path).unwrap().geometry.size, [2, 3, 4]);
}

#[test]
fn wrong_headers_are_refused_by_field() {
    let data = bytes24();
    let wrong = |field: &str, change: &dyn Fn(&mut Raw)| {
        let mut raw = Raw::new(false);
        change(&mut raw);
        let error = raw.error(&data);
        assert!(error.contains(field) && !error.contains('\n'), "{field}: {error}");
    };
    wrong("dim[2]", &|r| _ = r.i16(44, -3));
    wrong("dim[3]", &|r| _ = r.i16(46, 0));
    for axes in [-1, 0, 1, 2, 8] {
        wrong("dim[0] (number of axes): expected 3 (a 3-D image)", &|r| _ = r.i16(40, axes));
    }
    wrong("3-D, found further axes of [2]", &|r| _ = r.i16(40, 4).i16(46, 2).i16(48, 2));
    wrong("color", &|r| _ = r.i16(70, 128).i16(72, 24));
    wrong("complex", &|r| _ = r.i16(70, 32).i16(72, 64));
    wrong("128-bit float", &|r| _ = r.i16(70, 1536));
    wrong("bitpix", &|r| _ = r.i16(72, 16));
    wrong("NIfTI-2", &|r| _ = r.i32(0, 540));
    wrong("sizeof_hdr", &|r| _ = r.i32(0, 0));
    wrong("separate .img", &|r| r.bytes[344..348].copy_from_slice(b"ni1\0"));
    wrong("magic", &|r| r.bytes[344] = 0);
    wrong("pixdim[2]", &|r| _ = r.f32s(84, &[-1.5]));
    wrong("pixdim[1]", &|r| _ = r.f32s(80, &[f32::NAN]));
    wrong("singular", &|r| {
        r.i16(254, 1).f32s(280, &[1., 0., 1., 0., 0., 1., 0., 0., 1., 0., 1., 0.]);
    });
    wrong("orientation", &|r| _ = r.i16(254, 1));
    wrong("origin", &|r| _ = r.qform().f32s(268, &[f32::INFINITY]));
}

#[test]
fn promises_are_checked_before_reading() {
    let mut raw = Raw::new(false);
    raw.i16(42, 32000).i16(44, 32000).i16(46, 32000);
    let error = raw.error(&bytes24());
    assert!(error.contains("too large: the header promises 32768000000000"), "{error}");

    // 16 MiB that 400 bytes cannot hold: refused for a plain file and for a packed one.
    raw.i16(42, 256).i16(44, 256).i16(46, 256);
    let error = raw.error(&bytes24());
    assert!(
        error.contains("truncated: expected 16777216 bytes of image data, found 24"),
        "{error}"
    );
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(&raw.bytes).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.nii.gz");
    std::fs::write(&path, gzip.finish().unwrap()).unwrap();
    assert!(matches!(read_volume(&path), Err(Error::TooLarge { promised: 16777216, .. })));
}

#[test]
fn broken_gzip_is_told_from_a_whole_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.nii.gz");
    let noise: Vec<f32> = (0..4096u32).map(|i| (i.wrapping_mul(2654435761) >> 8) as f32).collect();
    let volume = crate::image::Volume::new(Geometry::new([16, 16, 16], [1.0; 3]), noise);
    write_volume(&path, &volume, ScalarType::F32).unwrap();
    let whole = std::fs::read(&path).unwrap();

    // The content decides, not the name.
    let renamed = folder.path().join("b.nii");
    std::fs::write(&renamed, &whole).unwrap();
    assert_eq!(read_volume(&renamed).unwrap(), volume);

    let cases = [
        (whole[..whole.len() / 2].to_vec(), "truncated: expected 16384 bytes of image data"),
        (whole[..whole.len() - 6].to_vec(), "check sum"),
        (whole[..5].to_vec(), "NIfTI header: expected 348 bytes, found 0"),
        (vec![], "NIfTI header: expected 348 bytes, found 0"),
        (
            {
                let mut bytes = whole.clone();
                let sum = bytes.len() - 8;
                bytes[sum] ^= 1;
                bytes
            },
            "compressed data",
        ),
    ];
    for (bytes, expected) in cases {
        std::fs::write(&path, bytes).unwrap();
        let error = read_volume(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn nothing_past_the_image_is_unpacked() {
    // 16 MiB of zeros behind a small image: they are still there when the image has been read.
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(&Raw::new(false).bytes).unwrap();
    gzip.write_all(&bytes24()).unwrap();
    gzip.write_all(&vec![0; 1 << 24]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bomb.nii.gz");
    std::fs::write(&path, gzip.finish().unwrap()).unwrap();
    let mut opened = open(&path).unwrap();
    let mut count = 0;
    opened.samples(24, |_| count += 1).unwrap();
    assert_eq!(count, 24);
    let crate::io::Data::Stream { mut source, .. } = opened.data else { panic!("no stream") };
    assert!(source.read(&mut vec![0; 1 << 25]).unwrap() > (1 << 24) - 2);
}

#[test]
fn longest_axis_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let volume = crate::image::Volume::filled(Geometry::new([40000, 1, 1], [1.0; 3]), 0f32);
    let error = write_volume(&folder.path().join("a.nii"), &volume, ScalarType::U8).unwrap_err();
    assert!(error.to_string().contains(".mha"), "{error}");
    write_volume(&folder.path().join("a.mha"), &volume, ScalarType::U8).unwrap();
}
