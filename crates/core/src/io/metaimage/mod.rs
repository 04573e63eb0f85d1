//! MetaImage: `.mha` (samples after the header) and `.mhd` (samples in a file beside it), plain or
//! deflated. Format: <https://itk.org/Wiki/ITK/MetaIO/Documentation>.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use nalgebra::{Matrix3, Vector3};

use super::scalar::write_samples;
use super::source::{Packing, Source, data_file, open_file, quoted};
use super::{Data, Opened, Pending, ScalarType, write_atomically};
use crate::image::Geometry;
use crate::{Error, Result};

/// Sequences carry fields for every frame, so headers can be long; longer than this is no header.
const MAX_HEADER: u64 = 1 << 22;

/// Names of the types that are handled. MetaIO's LONG has 4 bytes everywhere.
const TYPES: [(&str, ScalarType); 12] = [
    ("MET_UCHAR", ScalarType::U8),
    ("MET_CHAR", ScalarType::I8),
    ("MET_USHORT", ScalarType::U16),
    ("MET_SHORT", ScalarType::I16),
    ("MET_UINT", ScalarType::U32),
    ("MET_INT", ScalarType::I32),
    ("MET_ULONG_LONG", ScalarType::U64),
    ("MET_LONG_LONG", ScalarType::I64),
    ("MET_FLOAT", ScalarType::F32),
    ("MET_DOUBLE", ScalarType::F64),
    ("MET_ULONG", ScalarType::U32),
    ("MET_LONG", ScalarType::I32),
];

/// A header's `key = value` lines, keys in lower case.
struct Header<'a> {
    path: &'a Path,
    fields: BTreeMap<String, String>,
}

impl<'a> Header<'a> {
    /// Reads up to and including the line `ElementDataFile`, where the header ends.
    fn read(path: &'a Path, file: &mut BufReader<File>) -> Result<Header<'a>> {
        let mut header = Header { path, fields: BTreeMap::new() };
        let mut lines = file.take(MAX_HEADER);
        let mut line = Vec::new();
        let mut number = 0;
        loop {
            number += 1;
            line.clear();
            lines
                .read_until(b'\n', &mut line)
                .map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
            if line.is_empty() {
                return Err(header.wrong("ElementDataFile", "this key to end the header", "none"));
            }
            let text = String::from_utf8_lossy(&line);
            let text = text.trim();
            let Some((key, value)) = text.split_once('=') else {
                if text.is_empty() {
                    continue;
                }
                let found = format!("line {number}");
                return Err(header.wrong("header line", "key = value", found));
            };
            let key = key.trim().to_lowercase();
            let last = key == "elementdatafile";
            header.fields.insert(key, value.trim().to_owned());
            if last {
                return Ok(header);
            }
        }
    }

    fn wrong(&self, what: &str, expected: impl Into<String>, found: impl ToString) -> Error {
        let advice = "export the image again, or repair its header";
        Error::malformed(self.path, what, expected, found.to_string(), advice)
    }

    /// The value of the first of `keys` (synonyms) that is there, with its key.
    fn get<'k>(&self, keys: &[&'k str]) -> Option<(&'k str, &str)> {
        keys.iter().find_map(|k| self.fields.get(&k.to_lowercase()).map(|v| (*k, v.as_str())))
    }

    fn required(&self, key: &str) -> Result<&str> {
        self.get(&[key]).map(|(_, v)| v).ok_or_else(|| self.wrong(key, "a value", "none"))
    }

    fn flag(&self, keys: &[&str]) -> bool {
        self.get(keys).is_some_and(|(_, v)| v.starts_with(['T', 't', '1']))
    }

    /// `count` numbers; `None` where the key is absent.
    fn numbers<T: FromStr>(&self, keys: &[&str], count: usize) -> Result<Option<Vec<T>>> {
        let Some((key, text)) = self.get(keys) else { return Ok(None) };
        let numbers: Option<Vec<T>> = text.split_whitespace().map(|n| n.parse().ok()).collect();
        match numbers {
            Some(numbers) if numbers.len() == count => Ok(Some(numbers)),
            _ => Err(self.wrong(key, format!("{count} numbers"), quoted(text))),
        }
    }

    fn number<T: FromStr + Copy>(&self, key: &str, default: T) -> Result<T> {
        Ok(self.numbers(&[key], 1)?.map_or(default, |n| n[0]))
    }

    fn big_endian(&self) -> bool {
        self.flag(&["BinaryDataByteOrderMSB", "ElementByteOrderMSB"])
    }

    /// Lengths of all axes, x first, of which there must be `least`.
    fn dims(&self, least: usize) -> Result<Vec<usize>> {
        let axes: usize = self.number("NDims", 0)?;
        if !(least..=7).contains(&axes) {
            let expected = if least == 3 { "3 (a 3-D image)" } else { "2 or 3" };
            return Err(self.wrong("NDims", expected, axes));
        }
        let dims: Vec<i64> = self
            .numbers(&["DimSize"], axes)?
            .ok_or_else(|| self.wrong("DimSize", "sizes", "none"))?;
        let dims: Option<Vec<usize>> =
            dims.iter().map(|n| usize::try_from(*n).ok().filter(|n| *n > 0)).collect();
        dims.ok_or_else(|| {
            let found = quoted(&self.fields["dimsize"]);
            self.wrong("DimSize", "at least 1 on every axis", found)
        })
    }

    fn scalar(&self) -> Result<ScalarType> {
        let text = self.required("ElementType")?;
        let name = text.strip_suffix("_ARRAY").unwrap_or(text);
        let found = TYPES.iter().find(|(n, _)| *n == name);
        found.map(|(_, s)| *s).ok_or_else(|| {
            self.wrong("ElementType", "an integer, MET_FLOAT or MET_DOUBLE", quoted(text))
        })
    }

    fn spacing(&self, axes: usize) -> Result<Vec<f64>> {
        let spacing = self.numbers(&["ElementSpacing"], axes)?;
        Ok(spacing.or(self.numbers(&["ElementSize"], axes)?).unwrap_or(vec![1.0; axes]))
    }

    /// `TransformMatrix` lists one axis after the other: the columns of the direction.
    fn geometry(&self, dims: &[usize]) -> Result<Geometry> {
        let n = dims.len();
        let spacing = self.spacing(n)?;
        let origin = self.numbers(&["Offset", "Position", "Origin"], n)?.unwrap_or(vec![0.0; n]);
        let matrix: Option<Vec<f64>> =
            self.numbers(&["TransformMatrix", "Rotation", "Orientation"], n * n)?;
        let axes = match matrix {
            Some(m) => Matrix3::from_fn(|row, axis| m[axis * n + row]),
            None => Matrix3::identity(),
        };
        // A matrix may scale: what counts is the place it gives to every voxel. But the last
        // digits of a unit vector are no scale, and the spacing stays as the file has it.
        let norms: [f64; 3] = std::array::from_fn(|axis| match axes.column(axis).norm() {
            norm if (norm - 1.0).abs() < 1e-6 => 1.0,
            norm => norm,
        });
        let geometry = Geometry {
            size: [dims[0], dims[1], dims[2]],
            spacing: std::array::from_fn(|axis| spacing[axis] * norms[axis]),
            origin: Vector3::from_fn(|row, _| origin[row]),
            direction: Matrix3::from_fn(|row, axis| axes[(row, axis)] / norms[axis]),
        };
        match geometry.defect() {
            None => Ok(geometry),
            Some(defect) => Err(self.wrong("orientation", "a grid with three directions", defect)),
        }
    }

    /// Refuses what would change the samples and is not handled.
    fn check_encoding(&self) -> Result<()> {
        if self.get(&["BinaryData"]).is_some() && !self.flag(&["BinaryData"]) {
            return Err(self.wrong("BinaryData", "True", "False (text)"));
        }
        let slope: f64 = self.number("ElementToIntensityFunctionSlope", 1.0)?;
        let offset: f64 = self.number("ElementToIntensityFunctionOffset", 0.0)?;
        if (slope, offset) != (1.0, 0.0) {
            let found = format!("slope {slope:?}, offset {offset:?}");
            return Err(self.wrong("ElementToIntensityFunction", "slope 1, offset 0", found));
        }
        Ok(())
    }

    /// The file that holds the samples.
    fn data_path(&self) -> Result<PathBuf> {
        let name = self.required("ElementDataFile")?;
        let wrong = |found| {
            self.wrong("ElementDataFile", "LOCAL or one file in the header's own folder", found)
        };
        if name.split_whitespace().next() == Some("LIST") || is_pattern(name) {
            let found = quoted(name);
            return Err(wrong(format!("{found} (lists and patterns of files are not supported)")));
        }
        data_file(self.path, name, wrong)
    }

    /// Stands at the first of `promised` bytes of samples: in `file`, which stands behind the
    /// header, or in the file beside it.
    fn source(&self, mut file: BufReader<File>, mut length: u64, promised: u64) -> Result<Source> {
        let mut path = self.path.to_owned();
        if !self.required("ElementDataFile")?.eq_ignore_ascii_case("LOCAL") {
            path = self.data_path()?;
            (file, length) = open_file(&path)?;
        }
        let unreadable = |source| Error::Unreadable { path: path.clone(), source };
        let packed = self.flag(&["CompressedData"]);
        let start = match self.number("HeaderSize", 0i64)? {
            0 => file.stream_position().map_err(unreadable)?,
            -1 if !packed => length.saturating_sub(promised),
            skip @ 1.. => skip as u64,
            other => {
                return Err(self.wrong("HeaderSize", "a size, or -1 if not compressed", other));
            }
        };
        file.seek(SeekFrom::Start(start)).map_err(unreadable)?;
        let packing = if packed { Packing::Deflate } else { Packing::Plain };
        Source::new(&path, file, length.saturating_sub(start), packing)
    }
}

/// Whether a name stands for a series of files, as `slice%03d.raw` does.
fn is_pattern(name: &str) -> bool {
    let digit = |c: char| c.is_ascii_digit();
    name.split('%').skip(1).any(|rest| rest.trim_start_matches(digit).starts_with('d'))
}

/// Reads the header, checks it, and stands at the first sample.
pub(super) fn open(path: &Path) -> Result<Opened> {
    let (mut file, length) = open_file(path)?;
    let header = Header::read(path, &mut file)?;
    header.check_encoding()?;
    let dims = header.dims(3)?;
    let scalar = header.scalar()?;
    let geometry = header.geometry(&dims)?;
    let channels: usize = header.number("ElementNumberOfChannels", 1)?;
    let mut frames = dims[3..].to_vec();
    while frames.last() == Some(&1) {
        frames.pop();
    }
    let per_voxel =
        frames.iter().chain([&channels]).fold(scalar.bytes(), |n, f| n.saturating_mul(*f));
    let promised = geometry.size.iter().fold(per_voxel, |n, s| n.saturating_mul(*s));
    let source = header.source(file, length, promised as u64)?;
    source.admit(geometry.size, per_voxel, 0)?;
    let big_endian = header.big_endian();
    let data = Data::Stream { source, scalar, big_endian };
    Ok(Opened { geometry, scalar, scaling: None, frames, channels, intent: 0, data })
}

/// A 2-D image or a sequence of them, as PLUS writes it: the third axis (or, where that has length
/// 1, the fourth) counts frames. `source` stands at the first.
pub(super) struct Sequence {
    pub size: [usize; 2],
    pub frames: usize,
    pub channels: usize,
    pub scalar: ScalarType,
    pub big_endian: bool,
    /// `ElementSpacing` of x and y.
    pub spacing: [f64; 2],
    /// PLUS's `UltrasoundImageOrientation`.
    pub orientation: Option<String>,
    pub source: Source,
}

/// [`open`] for frames. Only one frame's size is left to the caller to bound.
pub(super) fn open_sequence(path: &Path) -> Result<Sequence> {
    let (mut file, length) = open_file(path)?;
    let header = Header::read(path, &mut file)?;
    header.check_encoding()?;
    let dims = header.dims(2)?;
    let frames = match &dims[2..] {
        [] => 1,
        [frames] | [1, frames] | [frames, 1] => *frames,
        more => {
            let found = format!("further axes of {more:?}");
            return Err(header.wrong("DimSize", "width, height and a number of frames", found));
        }
    };
    let scalar = header.scalar()?;
    let channels: usize = header.number("ElementNumberOfChannels", 1)?;
    let spacing: Vec<f64> = header.spacing(dims.len())?;
    let bytes = dims.iter().chain([&channels]).fold(scalar.bytes(), |n, d| n.saturating_mul(*d));
    let source = header.source(file, length, bytes as u64)?;
    source.holds(bytes as u64, 0)?;
    Ok(Sequence {
        size: [dims[0], dims[1]],
        frames,
        channels,
        scalar,
        big_endian: header.big_endian(),
        spacing: [spacing[0], spacing[1]],
        orientation: header.get(&["UltrasoundImageOrientation"]).map(|(_, v)| v.to_owned()),
        source,
    })
}

/// Writes `values` in memory order (channels innermost): `.mha` deflated, `.mhd` with a plain
/// `.raw` beside it that any tool can map.
pub(super) fn write(
    path: &Path,
    geometry: &Geometry,
    channels: usize,
    scalar: ScalarType,
    values: impl Iterator<Item = f64>,
) -> Result<()> {
    let unwritable = |source| Error::Unwritable { path: path.to_owned(), source };
    let separate = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("mhd"));
    if separate {
        let name = data_name(path);
        let data_path = path.with_file_name(&name);
        check_own(path, &data_path, &name)?;
        let mut raw = Pending::create(&data_path)?;
        write_samples(scalar, values, &mut raw).map_err(unwritable)?;
        let mut header = Pending::create(path)?;
        let text = header_text(geometry, channels, scalar, None, &name);
        header.write_all(text.as_bytes()).map_err(unwritable)?;
        // Both are complete now; the header, which makes the pair an image, comes last.
        raw.commit()?;
        return header.commit();
    }
    // The header states the packed size, so the samples are packed first. Fastest level, as .nii.gz.
    let mut deflate = ZlibEncoder::new(Vec::new(), Compression::fast());
    write_samples(scalar, values, &mut deflate).map_err(unwritable)?;
    let packed = deflate.finish().map_err(unwritable)?;
    let text = header_text(geometry, channels, scalar, Some(packed.len()), "LOCAL");
    write_atomically(path, |out| {
        out.write_all(text.as_bytes())?;
        out.write_all(&packed)
    })
}

/// The name of the data file for a header at `path`: its stem with the ending `.raw`. ITK takes
/// every name with a `%` for a pattern, and a line cannot hold all that a path can.
fn data_name(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let unfit = |c: char| c == '%' || c.is_control();
    format!("{}.raw", stem.trim_start().replace(unfit, "_"))
}

/// Refuses to write over a data file, unless the header that stands at `path` names it as its own.
fn check_own(path: &Path, data_path: &Path, name: &str) -> Result<()> {
    let named = || {
        let (mut file, _) = open_file(path).ok()?;
        let header = Header::read(path, &mut file).ok()?;
        Some(header.required("ElementDataFile").ok()? == name)
    };
    if data_path.symlink_metadata().is_err() || named() == Some(true) {
        return Ok(());
    }
    let header = path.file_name().unwrap_or_default().to_string_lossy();
    let problem = format!("it exists, and no {header} names it as its data");
    let source = io::Error::new(io::ErrorKind::AlreadyExists, problem);
    Err(Error::Unwritable { path: data_path.to_owned(), source })
}

fn header_text(
    geometry: &Geometry,
    channels: usize,
    scalar: ScalarType,
    packed: Option<usize>,
    data_file: &str,
) -> String {
    let list = |values: &[f64]| values.iter().map(f64::to_string).collect::<Vec<_>>().join(" ");
    let size = geometry.size.map(|n| n.to_string()).join(" ");
    let name = TYPES.iter().find(|(_, s)| *s == scalar).map(|(name, _)| *name);
    let mut text = String::from("ObjectType = Image\nNDims = 3\nBinaryData = True\n");
    let mut line = |key: &str, value: &str| {
        writeln!(text, "{key} = {value}").expect("a String takes any text");
    };
    line("BinaryDataByteOrderMSB", "False");
    line("CompressedData", if packed.is_some() { "True" } else { "False" });
    if let Some(bytes) = packed {
        line("CompressedDataSize", &bytes.to_string());
    }
    // nalgebra keeps matrices column by column, which is the order of this field.
    line("TransformMatrix", &list(geometry.direction.as_slice()));
    line("Offset", &list(geometry.origin.as_slice()));
    line("ElementSpacing", &list(&geometry.spacing));
    line("DimSize", &size);
    if channels > 1 {
        line("ElementNumberOfChannels", &channels.to_string());
    }
    line("ElementType", name.expect("every type has a name"));
    line("ElementDataFile", data_file);
    text
}

#[cfg(test)]
mod tests;
