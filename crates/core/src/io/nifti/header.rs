use std::path::Path;

use nalgebra::{Matrix3, Quaternion, Rotation3, UnitQuaternion, Vector3};

use crate::image::Geometry;
use crate::io::ScalarType;
use crate::io::source::quoted;
use crate::{Error, Result};

/// Bytes of a NIfTI-1 header.
pub(super) const LENGTH: usize = 348;

/// RAS ↔ LPS: both turn x and y around.
const FLIP: Vector3<f64> = Vector3::new(-1.0, -1.0, 1.0);

/// NIfTI's datatype codes of the types that are handled.
const CODES: [(i16, ScalarType); 10] = [
    (2, ScalarType::U8),
    (4, ScalarType::I16),
    (8, ScalarType::I32),
    (16, ScalarType::F32),
    (64, ScalarType::F64),
    (256, ScalarType::I8),
    (512, ScalarType::U16),
    (768, ScalarType::U32),
    (1024, ScalarType::I64),
    (1280, ScalarType::U64),
];

/// What a header says, checked.
pub(super) struct Header {
    pub big_endian: bool,
    pub geometry: Geometry,
    pub frames: Vec<usize>,
    pub scalar: ScalarType,
    pub scaling: Option<(f64, f64)>,
    pub vox_offset: u64,
    pub intent: i16,
}

/// The raw bytes, read by offset.
struct Raw<'a> {
    path: &'a Path,
    bytes: &'a [u8; LENGTH],
    big_endian: bool,
}

impl Raw<'_> {
    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut field: [u8; N] = self.bytes[at..at + N].try_into().expect("length is N");
        if self.big_endian {
            field.reverse();
        }
        field
    }

    fn i16(&self, at: usize) -> i16 {
        i16::from_le_bytes(self.array(at))
    }

    fn f32(&self, at: usize) -> f64 {
        f32::from_le_bytes(self.array(at)).into()
    }

    fn vector(&self, at: usize) -> Vector3<f64> {
        Vector3::from_fn(|i, _| self.f32(at + 4 * i))
    }

    fn wrong(
        &self,
        what: impl Into<String>,
        expected: impl Into<String>,
        found: impl ToString,
    ) -> Error {
        let advice = "export the image again, or repair its header";
        Error::malformed(self.path, what, expected, found.to_string(), advice)
    }
}

impl Header {
    pub fn parse(path: &Path, bytes: &[u8; LENGTH]) -> Result<Header> {
        let length: [u8; 4] = bytes[..4].try_into().expect("length is 4");
        let big_endian = i32::from_be_bytes(length) == LENGTH as i32;
        let raw = Raw { path, bytes, big_endian };
        if !big_endian && i32::from_le_bytes(length) != LENGTH as i32 {
            let found = match [i32::from_le_bytes(length), i32::from_be_bytes(length)] {
                [540, _] | [_, 540] => "540 (a NIfTI-2 file)".to_owned(),
                [value, _] => value.to_string(),
            };
            return Err(raw.wrong("sizeof_hdr", "348 (a NIfTI-1 file)", found));
        }
        match &bytes[344..348] {
            b"n+1\0" => {}
            b"ni1\0" => {
                let found = "\"ni1\" (samples in a separate .img)";
                return Err(raw.wrong("magic", "\"n+1\" (one .nii file)", found));
            }
            other => {
                let found = quoted(&String::from_utf8_lossy(other));
                return Err(raw.wrong("magic", "\"n+1\"", found));
            }
        }
        let (size, frames) = raw.shape()?;
        let scalar = raw.scalar()?;
        Ok(Header {
            big_endian,
            geometry: raw.geometry(size)?,
            frames,
            scalar,
            scaling: raw.scaling(),
            vox_offset: raw.vox_offset()?,
            intent: raw.i16(68),
        })
    }
}

impl Raw<'_> {
    /// x, y, z, and the axes after them without 1s at the end.
    fn shape(&self) -> Result<([usize; 3], Vec<usize>)> {
        let axes = self.i16(40);
        if !(3..=7).contains(&axes) {
            return Err(self.wrong("dim[0] (number of axes)", "3 (a 3-D image)", axes));
        }
        let mut dims = Vec::new();
        for axis in 1..=axes as usize {
            match self.i16(40 + 2 * axis) {
                n @ 1.. => dims.push(n as usize),
                n => return Err(self.wrong(format!("dim[{axis}]"), "at least 1", n)),
            }
        }
        let mut frames = dims.split_off(3);
        while frames.last() == Some(&1) {
            frames.pop();
        }
        Ok(([dims[0], dims[1], dims[2]], frames))
    }

    fn scalar(&self) -> Result<ScalarType> {
        let (code, bits) = (self.i16(70), self.i16(72));
        let Some((_, scalar)) = CODES.iter().find(|(c, _)| *c == code) else {
            let name = match code {
                1 => " (binary)",
                32 | 1792 | 2048 => " (complex)",
                128 | 2304 => " (color)",
                1536 => " (128-bit float)",
                _ => "",
            };
            return Err(self.wrong("datatype", "an integer or a 32- or 64-bit float", {
                format!("{code}{name}")
            }));
        };
        if bits as usize != 8 * scalar.bytes() {
            let expected = format!("{} for datatype {scalar}", 8 * scalar.bytes());
            return Err(self.wrong("bitpix", expected, bits));
        }
        Ok(*scalar)
    }

    /// A slope of 0 or NaN means that samples are stored as they are.
    fn scaling(&self) -> Option<(f64, f64)> {
        let (slope, intercept) = (self.f32(112), self.f32(116));
        let scaled = slope.is_finite() && slope != 0.0 && intercept.is_finite();
        (scaled && (slope, intercept) != (1.0, 0.0)).then_some((slope, intercept))
    }

    fn vox_offset(&self) -> Result<u64> {
        let offset = self.f32(108);
        match offset {
            // Some writers leave it out: then the samples follow the header and its 4-byte tail.
            0.0 => Ok(352),
            _ if offset >= LENGTH as f64 && offset.is_finite() => Ok(offset as u64),
            _ => Err(self.wrong("vox_offset", "0, or at least 348", offset)),
        }
    }

    /// The sform if it has a code, else the qform, else spacing alone. ITK chooses the same,
    /// except that it drops an sform which is not orthonormal or which a qform contradicts.
    fn geometry(&self, size: [usize; 3]) -> Result<Geometry> {
        let unit = match self.bytes[123] & 7 {
            1 => 1000.0,
            3 => 0.001,
            // ITK too reads "unknown" as mm.
            _ => 1.0,
        };
        let (qform, sform) = (self.i16(252), self.i16(254));
        let (columns, origin) = if sform > 0 {
            let rows = [280, 296, 312].map(|at| self.vector(at).transpose());
            (Matrix3::from_rows(&rows), Vector3::new(self.f32(292), self.f32(308), self.f32(324)))
        } else {
            let spacing = self.pixdim()?;
            if qform <= 0 {
                return self.sound(Geometry::new(size, (spacing * unit).into()));
            }
            (self.rotation() * Matrix3::from_diagonal(&spacing), self.vector(268))
        };
        let columns = Matrix3::from_diagonal(&FLIP) * columns * unit;
        let spacing = columns.column_iter().map(|c| c.norm()).collect::<Vec<_>>();
        let direction =
            columns * Matrix3::from_diagonal(&Vector3::from_fn(|i, _| 1.0 / spacing[i]));
        self.sound(Geometry {
            size,
            spacing: [spacing[0], spacing[1], spacing[2]],
            origin: origin.component_mul(&FLIP) * unit,
            direction,
        })
    }

    fn pixdim(&self) -> Result<Vector3<f64>> {
        let spacing = self.vector(80);
        match spacing.iter().position(|s| !(*s > 0.0 && s.is_finite())) {
            None => Ok(spacing),
            Some(axis) => Err(self.wrong(
                format!("pixdim[{}]", axis + 1),
                "a positive spacing",
                spacing[axis],
            )),
        }
    }

    /// The qform's rotation, with z turned around where pixdim[0] (qfac) is negative; in RAS.
    fn rotation(&self) -> Matrix3<f64> {
        let v = self.vector(256);
        let rest = 1.0 - v.norm_squared();
        let quaternion = Quaternion::from_parts(rest.max(0.0).sqrt(), v);
        let mut matrix = *UnitQuaternion::from_quaternion(quaternion).to_rotation_matrix().matrix();
        if self.f32(76) < 0.0 {
            matrix.column_mut(2).neg_mut();
        }
        matrix
    }

    fn sound(&self, geometry: Geometry) -> Result<Geometry> {
        match geometry.defect() {
            None => Ok(geometry),
            Some(defect) => Err(self.wrong("orientation", "a grid with three directions", defect)),
        }
    }
}

/// A header (with the four bytes after it) for samples that follow at once: little-endian, mm,
/// sform and, where the directions are orthonormal, qform; both with code 1 (scanner).
pub(super) fn encode(
    geometry: &Geometry,
    frames: &[usize],
    intent: i16,
    scalar: ScalarType,
) -> [u8; LENGTH + 4] {
    let mut bytes = [0; LENGTH + 4];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(0, &(LENGTH as i32).to_le_bytes());
    put(40, &(3 + frames.len() as i16).to_le_bytes());
    let mut dims = geometry.size.iter().chain(frames).copied();
    for axis in 1..8 {
        let length = dims.next().unwrap_or(1) as i16;
        put(40 + 2 * axis, &length.to_le_bytes());
        let spacing = geometry.spacing.get(axis - 1).map_or(1.0, |s| *s as f32);
        put(76 + 4 * axis, &spacing.to_le_bytes());
    }
    put(68, &intent.to_le_bytes());
    let code = CODES.iter().find(|(_, s)| *s == scalar).map(|(code, _)| *code);
    put(70, &code.expect("every type has a code").to_le_bytes());
    put(72, &(8 * scalar.bytes() as i16).to_le_bytes());
    put(108, &352f32.to_le_bytes());
    put(112, &1f32.to_le_bytes());
    put(123, &[2]);
    put(254, &1i16.to_le_bytes());
    let map = geometry.index_to_world();
    let columns = Matrix3::from_diagonal(&FLIP) * map.matrix;
    let origin = map.translation.component_mul(&FLIP);
    for row in 0..3 {
        for column in 0..3 {
            let value = columns[(row, column)] as f32;
            put(280 + 16 * row + 4 * column, &value.to_le_bytes());
        }
        put(292 + 16 * row, &(origin[row] as f32).to_le_bytes());
        put(268 + 4 * row, &(origin[row] as f32).to_le_bytes());
    }
    let (qform, qfac, quaternion) = match quaternion(geometry) {
        Some((qfac, quaternion)) => (1i16, qfac, quaternion),
        None => (0, 1.0, Vector3::zeros()),
    };
    put(252, &qform.to_le_bytes());
    put(76, &(qfac as f32).to_le_bytes());
    for (i, part) in quaternion.iter().enumerate() {
        put(256 + 4 * i, &(*part as f32).to_le_bytes());
    }
    put(344, b"n+1\0");
    bytes
}

/// qfac and (b, c, d) of a geometry's directions in RAS; `None` where they are not orthonormal.
fn quaternion(geometry: &Geometry) -> Option<(f64, Vector3<f64>)> {
    let mut matrix = Matrix3::from_diagonal(&FLIP) * geometry.direction;
    let skew = (matrix.transpose() * matrix - Matrix3::identity()).abs().max();
    if skew > 1e-4 {
        return None;
    }
    let qfac = matrix.determinant().signum();
    matrix.column_mut(2).scale_mut(qfac);
    let q = UnitQuaternion::from_rotation_matrix(&Rotation3::from_matrix_unchecked(matrix));
    // (a, b, c, d) and its opposite are one rotation; the file holds the one with a ≥ 0.
    let sign = if q.w < 0.0 { -1.0 } else { 1.0 };
    Some((qfac, q.imag() * sign))
}
