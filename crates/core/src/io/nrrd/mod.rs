//! NRRD: `.nrrd` (samples after the header) and `.nhdr` (samples in a file beside it), raw or
//! gzip, of one 3-D image. Format: <https://teem.sourceforge.net/nrrd/format.html>.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use nalgebra::{Matrix3, Vector3};

use super::source::{Packing, Source, data_file, open_file, quoted};
use super::{Data, Opened, ScalarType};
use crate::image::Geometry;
use crate::{Error, Result};

const MAX_HEADER: u64 = 1 << 20;

/// The fields of a header, keys in lower case.
struct Header<'a> {
    path: &'a Path,
    fields: BTreeMap<String, String>,
}

impl<'a> Header<'a> {
    /// Reads to the empty line that ends the header, or to the file's end.
    fn read(path: &'a Path, file: &mut BufReader<File>) -> Result<Header<'a>> {
        let mut header = Header { path, fields: BTreeMap::new() };
        let mut lines = file.take(MAX_HEADER);
        let mut line = Vec::new();
        for number in 0.. {
            line.clear();
            lines
                .read_until(b'\n', &mut line)
                .map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end_matches(['\n', '\r']);
            if number == 0 {
                if !text.starts_with("NRRD000") {
                    return Err(header.wrong("first line", "NRRD000 and a digit", quoted(text)));
                }
                continue;
            }
            if text.is_empty() {
                if lines.limit() == 0 {
                    let expected = format!("at most {MAX_HEADER} bytes");
                    return Err(header.wrong("header", expected, "more"));
                }
                break;
            }
            // A comment, or a pair of the writer's own.
            if text.starts_with('#') || text.contains(":=") {
                continue;
            }
            let Some((key, value)) = text.split_once(": ") else {
                return Err(header.wrong(
                    "header line",
                    "field: value",
                    format!("line {}", number + 1),
                ));
            };
            // Some fields are written with and without spaces.
            let key = key.to_lowercase().replace(' ', "");
            if header.fields.insert(key, value.trim().to_owned()).is_some() {
                let found = format!("line {}", number + 1);
                return Err(header.wrong("header line", "each field once", found));
            }
        }
        Ok(header)
    }

    fn wrong(&self, what: &str, expected: impl Into<String>, found: impl ToString) -> Error {
        let advice = "export the image again, or repair its header";
        Error::malformed(self.path, what, expected, found.to_string(), advice)
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.fields.get(key).map(String::as_str)
    }

    fn required(&self, key: &str) -> Result<&str> {
        self.get(key).ok_or_else(|| self.wrong(key, "a value", "none"))
    }

    fn number(&self, key: &str) -> Result<i64> {
        let Some(text) = self.get(key) else { return Ok(0) };
        text.parse().map_err(|_| self.wrong(key, "a whole number", quoted(text)))
    }

    fn scalar(&self) -> Result<ScalarType> {
        let text = self.required("type")?;
        Ok(match text {
            "uchar" | "unsigned char" | "uint8" | "uint8_t" => ScalarType::U8,
            "signed char" | "int8" | "int8_t" => ScalarType::I8,
            "ushort" | "unsigned short" | "unsigned short int" | "uint16" | "uint16_t" => {
                ScalarType::U16
            }
            "short" | "short int" | "signed short" | "signed short int" | "int16" | "int16_t" => {
                ScalarType::I16
            }
            "uint" | "unsigned int" | "uint32" | "uint32_t" => ScalarType::U32,
            "int" | "signed int" | "int32" | "int32_t" => ScalarType::I32,
            "ulonglong"
            | "unsigned long long"
            | "unsigned long long int"
            | "uint64"
            | "uint64_t" => ScalarType::U64,
            "longlong"
            | "long long"
            | "long long int"
            | "signed long long"
            | "signed long long int"
            | "int64"
            | "int64_t" => ScalarType::I64,
            "float" => ScalarType::F32,
            "double" => ScalarType::F64,
            _ => return Err(self.wrong("type", "an integer type, float or double", quoted(text))),
        })
    }

    fn size(&self) -> Result<[usize; 3]> {
        let text = self.required("dimension")?;
        if text != "3" {
            return Err(self.wrong("dimension", "3 (a 3-D image, scalar)", quoted(text)));
        }
        let text = self.required("sizes")?;
        let sizes: Option<Vec<usize>> =
            text.split_whitespace().map(|n| n.parse().ok().filter(|n| *n > 0)).collect();
        let sizes = sizes.and_then(|s| <[usize; 3]>::try_from(s).ok());
        let sizes =
            sizes.ok_or_else(|| self.wrong("sizes", "three of at least 1", quoted(text)))?;
        let kinds = self.get("kinds").unwrap_or_default();
        if kinds.split_whitespace().any(|k| !matches!(k, "domain" | "space" | "none" | "???")) {
            return Err(self.wrong("kinds", "three of domain or space", quoted(kinds)));
        }
        Ok(sizes)
    }

    /// What turns the header's world into LPS: the signs of x, y and z.
    fn signs(&self) -> Result<Vector3<f64>> {
        let text = self.get("space").unwrap_or("lps").to_lowercase();
        match text.as_str() {
            // Without a name ITK and Slicer take it for LPS.
            "left-posterior-superior" | "lps" => Ok(Vector3::new(1.0, 1.0, 1.0)),
            "right-anterior-superior" | "ras" => Ok(Vector3::new(-1.0, -1.0, 1.0)),
            "left-anterior-superior" | "las" => Ok(Vector3::new(1.0, -1.0, 1.0)),
            _ => Err(self.wrong("space", "LPS, RAS or LAS by name", quoted(&text))),
        }
    }

    /// The vectors in parentheses of a field.
    fn vectors<const N: usize>(&self, key: &str) -> Result<Option<[Vector3<f64>; N]>> {
        let Some(text) = self.get(key) else { return Ok(None) };
        let vector = |part: &str| {
            let inner = part.trim().strip_prefix('(')?;
            let numbers: Option<Vec<f64>> =
                inner.split(',').map(|n| n.trim().parse().ok()).collect();
            <[f64; 3]>::try_from(numbers?).ok().map(Vector3::from)
        };
        let parts: Option<Vec<_>> =
            text.split(')').filter(|p| !p.trim().is_empty()).map(vector).collect();
        match parts.and_then(|v| <[Vector3<f64>; N]>::try_from(v).ok()) {
            Some(vectors) => Ok(Some(vectors)),
            None => Err(self.wrong(key, format!("{N} × (x,y,z)"), quoted(text))),
        }
    }

    fn geometry(&self, size: [usize; 3]) -> Result<Geometry> {
        for key in ["spaceunits", "units"] {
            let units = self.get(key).unwrap_or_default();
            if units.split_whitespace().any(|u| !matches!(u, "\"mm\"" | "\"\"")) {
                return Err(self.wrong(key, "\"mm\"", quoted(units)));
            }
        }
        // Places along an axis, which mean other things to other readers.
        let mut unread = vec!["axismins", "axismaxs"];
        if ["space", "spacedimension", "spacedirections"].iter().any(|k| self.get(k).is_some()) {
            // A space's directions have the lengths.
            unread.push("spacings");
        }
        for key in unread {
            let text = self.get(key).unwrap_or_default();
            if text.split_whitespace().any(|n| !n.eq_ignore_ascii_case("nan")) {
                let expected = "none; space directions and space origin tell the grid";
                return Err(self.wrong(key, expected, quoted(text)));
            }
        }
        let signs = self.signs()?;
        let axes = match self.vectors::<3>("spacedirections")? {
            Some(axes) => axes.map(|axis| axis.component_mul(&signs)),
            None => self.spacings()?,
        };
        let [origin] = self.vectors("spaceorigin")?.unwrap_or([Vector3::zeros()]);
        let spacing = axes.map(|axis| axis.norm());
        let directions: [_; 3] = std::array::from_fn(|i| axes[i] / spacing[i]);
        let geometry = Geometry {
            size,
            spacing,
            origin: origin.component_mul(&signs),
            direction: Matrix3::from_columns(&directions),
        };
        match geometry.defect() {
            None => Ok(geometry),
            Some(defect) => {
                Err(self.wrong("space directions", "a grid with three directions", defect))
            }
        }
    }

    /// Axes along those of the world, where no directions are given.
    fn spacings(&self) -> Result<[Vector3<f64>; 3]> {
        let text = self.get("spacings").unwrap_or("1 1 1");
        let numbers: Option<Vec<f64>> = text.split_whitespace().map(|n| n.parse().ok()).collect();
        match numbers.and_then(|n| <[f64; 3]>::try_from(n).ok()) {
            Some([x, y, z]) => Ok([Vector3::x() * x, Vector3::y() * y, Vector3::z() * z]),
            None => Err(self.wrong("spacings", "three lengths", quoted(text))),
        }
    }

    /// Stands at the first of `promised` bytes of samples.
    fn source(&self, mut file: BufReader<File>, mut length: u64, promised: u64) -> Result<Source> {
        let encoding = self.required("encoding")?.to_lowercase();
        let packing = match encoding.as_str() {
            "raw" => Packing::Plain,
            "gzip" | "gz" => Packing::Deflate,
            _ => return Err(self.wrong("encoding", "raw or gzip", quoted(&encoding))),
        };
        let mut path = self.path.to_owned();
        if let Some(name) = self.get("datafile") {
            let wrong =
                |found| self.wrong("data file", "one file in the header's own folder", found);
            if name.starts_with("LIST") || name.contains('%') {
                return Err(wrong(format!("{} (lists are not supported)", quoted(name))));
            }
            path = data_file(self.path, name, wrong)?;
            (file, length) = open_file(&path)?;
        }
        let unreadable = |source| Error::Unreadable { path: path.clone(), source };
        let lines = self.number("lineskip")?;
        if lines != 0 {
            return Err(self.wrong("line skip", "0", lines));
        }
        let at = file.stream_position().map_err(unreadable)?;
        let start = match self.number("byteskip")? {
            skip @ 0.. if packing == Packing::Plain || skip == 0 => at.saturating_add(skip as u64),
            -1 if packing == Packing::Plain => length.saturating_sub(promised).max(at),
            other => {
                return Err(self.wrong("byte skip", "at least 0 or -1, and 0 with gzip", other));
            }
        };
        file.seek(SeekFrom::Start(start)).map_err(unreadable)?;
        Source::new(&path, file, length.saturating_sub(start), packing)
    }
}

/// Reads the header, checks it, and stands at the first sample.
pub(super) fn open(path: &Path) -> Result<Opened> {
    let (mut file, length) = open_file(path)?;
    let header = Header::read(path, &mut file)?;
    let size = header.size()?;
    let scalar = header.scalar()?;
    let geometry = header.geometry(size)?;
    let big_endian = match header.get("endian") {
        Some("big") => true,
        Some("little") => false,
        None if scalar.bytes() == 1 => false,
        other => {
            let found = quoted(other.unwrap_or_default());
            return Err(header.wrong("endian", "little or big", found));
        }
    };
    let promised = size.iter().fold(scalar.bytes(), |n, s| n.saturating_mul(*s));
    let source = header.source(file, length, promised as u64)?;
    source.admit(size, scalar.bytes(), 0)?;
    let data = Data::Stream { source, scalar, big_endian };
    Ok(Opened { geometry, scalar, scaling: None, frames: Vec::new(), channels: 1, intent: 0, data })
}

#[cfg(test)]
mod tests;
