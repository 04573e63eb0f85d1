//! Files in and out, one format per module. Everything that is read is checked first against what
//! the file can hold; everything that is written appears whole or not at all.

mod atomic;
#[cfg(feature = "dicom")]
mod dicom;
#[cfg(not(feature = "dicom"))]
#[path = "dicom/absent.rs"]
mod dicom;
mod field;
mod frames;
#[cfg_attr(not(feature = "dicom"), allow(dead_code, reason = "what only DICOM asks of it"))]
mod jpeg;
mod metaimage;
mod nifti;
mod nrrd;
mod pixels;
mod png;
mod points;
mod scalar;
mod source;
mod transform;

use std::path::Path;

pub use atomic::{Pending, write_atomically};
pub use field::{FieldConvention, field_file_name, read_field, write_field};
pub use frames::{Frames, open_frames};
pub use pixels::MAX_PIXELS;
pub use png::write_png;
pub use points::{Point, read_points, write_points};
pub use scalar::ScalarType;
pub use source::{MAX_VOXELS, open_regular};
pub use transform::{read_transform, write_transform};

use crate::image::{Geometry, LabelMap, Volume};
use crate::{Error, Result};
pub use source::read_text;
use source::{Source, quoted};

/// The largest magnitude of a sample: to interpolate among larger ones can overflow f32.
const LARGEST: f32 = 1e30;

/// Whether a sample is finite and no larger than [`LARGEST`].
fn usable(value: f32) -> bool {
    value.abs() <= LARGEST
}

/// An image whose header was read and found sound.
struct Opened {
    geometry: Geometry,
    scalar: ScalarType,
    /// Stored value → value: (slope, intercept).
    scaling: Option<(f64, f64)>,
    /// Lengths of the axes after z, without 1s at the end.
    frames: Vec<usize>,
    /// Samples per voxel, side by side in memory.
    channels: usize,
    /// NIfTI's `intent_code`; 0 in other formats.
    intent: i16,
    data: Data,
}

/// Where an image's samples come from.
enum Data {
    /// It stands at the first sample.
    Stream { source: Source, scalar: ScalarType, big_endian: bool },
    /// A file per slice, in the order of z; their samples are scaled already.
    #[cfg_attr(not(feature = "dicom"), expect(dead_code, reason = "no other format has them"))]
    Slices(Vec<dicom::Slice>),
}

#[derive(Clone, Copy, PartialEq)]
enum Format {
    Nifti,
    MetaImage,
    Nrrd,
}

fn format_of(path: &Path) -> Result<Format> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let ends = |endings: &[&str]| endings.iter().any(|e| name.ends_with(e));
    if ends(&[".nii", ".nii.gz"]) {
        Ok(Format::Nifti)
    } else if ends(&[".mha", ".mhd"]) {
        Ok(Format::MetaImage)
    } else if ends(&[".nrrd", ".nhdr"]) {
        Ok(Format::Nrrd)
    } else {
        Err(Error::malformed(
            path,
            "name of an image",
            "an ending .nii, .nii.gz, .mha, .mhd, .nrrd or .nhdr, or a folder with a DICOM series",
            format!("{name:?}"),
            "convert the image, or rename it if it is one of these",
        ))
    }
}

fn open(path: &Path) -> Result<Opened> {
    if path.is_dir() {
        return dicom::open_series(path);
    }
    match format_of(path)? {
        Format::Nifti => nifti::open(path),
        Format::MetaImage => metaimage::open(path),
        Format::Nrrd => nrrd::open(path),
    }
}

/// Opens an image with one sample per voxel.
fn open_scalar(path: &Path) -> Result<Opened> {
    let opened = open(path)?;
    let advice = "extract one 3-D image from it";
    if !opened.frames.is_empty() {
        let found = format!("further axes of {:?}", opened.frames);
        return Err(Error::malformed(path, "image", "3-D", found, advice));
    }
    if opened.channels != 1 {
        let found = opened.channels.to_string();
        return Err(Error::malformed(path, "channels", "1 (3-D, scalar)", found, advice));
    }
    Ok(opened)
}

impl Opened {
    /// Passes all `count` samples, scaled, to `sink`.
    fn samples(&mut self, count: usize, mut sink: impl FnMut(f64)) -> Result<()> {
        let (slope, intercept) = self.scaling.unwrap_or((1.0, 0.0));
        let scale = |v: f64| if self.scaling.is_some() { v * slope + intercept } else { v };
        match &mut self.data {
            Data::Stream { source, scalar, big_endian } => {
                source.samples(*scalar, *big_endian, count, |v| sink(scale(v)))
            }
            Data::Slices(slices) => slices.iter().try_for_each(|slice| slice.samples(&mut sink)),
        }
    }
}

/// "voxel (x, y, z)" of a position in memory.
fn voxel(geometry: &Geometry, position: usize) -> String {
    let [nx, ny, _] = geometry.size;
    format!("voxel ({}, {}, {})", position % nx, position / nx % ny, position / (nx * ny))
}

/// Where an image lies and the type that holds its values, from the header alone: the stored type,
/// or F32 where the file scales its samples (as ITK reports it), so that a result written in this
/// type keeps its fractions.
///
/// # Errors
/// As [`read_volume`], except for what only the samples tell.
pub fn read_geometry(path: &Path) -> Result<(Geometry, ScalarType)> {
    let opened = open_scalar(path)?;
    let scalar = match opened.scaling {
        None => opened.scalar,
        Some(_) => ScalarType::F32,
    };
    Ok((opened.geometry, scalar))
}

/// Reads a 3-D image as f32, with the file's scaling applied.
///
/// The ending chooses the format: `.nii`, `.nii.gz` (gzip is told by its first bytes, not by the
/// name), `.mha`, `.mhd`, `.nrrd`, `.nhdr`; a folder is read as a DICOM CT or MR series. Axes of
/// length 1 after the third are accepted.
///
/// # Errors
/// An unreadable, truncated or malformed file, one that promises more than it can hold or more
/// than [`MAX_VOXELS`], one that is not 3-D, and one with a sample that is not finite or beyond
/// ±1e30.
pub fn read_volume(path: &Path) -> Result<Volume> {
    let mut opened = open_scalar(path)?;
    let mut data = Vec::new();
    let (mut bad, mut first_bad) = (0usize, 0);
    opened.samples(opened.geometry.voxels(), |v| {
        let v = v as f32;
        if !usable(v) {
            if bad == 0 {
                first_bad = data.len();
            }
            bad += 1;
        }
        data.push(v);
    })?;
    data.shrink_to_fit();
    if bad > 0 {
        let at = voxel(&opened.geometry, first_bad);
        return Err(Error::unusable(
            path.display().to_string(),
            format!(
                "{bad} of {} samples are not finite or beyond {LARGEST:e}, the first at {at}",
                data.len()
            ),
            "replace them with finite values, for example 0",
        ));
    }
    Ok(Volume::new(opened.geometry, data))
}

/// Reads a map of labels exactly. Floating-point files are accepted as long as they hold whole
/// numbers.
///
/// # Errors
/// As [`read_volume`], and a sample that is not a whole number or not in i32's range.
pub fn read_labels(path: &Path) -> Result<LabelMap> {
    let mut opened = open_scalar(path)?;
    let mut data = Vec::new();
    let mut bad = None;
    opened.samples(opened.geometry.voxels(), |v| {
        // `as` saturates and takes NaN to 0, so only a label survives the way there and back.
        let label = v as i32;
        if f64::from(label) != v && bad.is_none() {
            bad = Some((data.len(), v));
        }
        data.push(label);
    })?;
    data.shrink_to_fit();
    if let Some((position, value)) = bad {
        return Err(Error::malformed(
            path,
            format!("label at {}", voxel(&opened.geometry, position)),
            "a whole number of at most 32 bits",
            // Unlike `Display`, this does not write 1e300 as 301 digits.
            format!("{value:?}"),
            "give a label map, not an image or a probability map",
        ));
    }
    Ok(Volume::new(opened.geometry, data))
}

/// Writes a 3-D image. Integer types take the nearest value they hold. The ending chooses the
/// format: `.nii`, `.nii.gz`, `.mha` (deflated) or `.mhd` (with a `.raw` beside it).
///
/// # Errors
/// A place that cannot be written, another ending, a geometry with a defect.
pub fn write_volume(path: &Path, volume: &Volume, scalar: ScalarType) -> Result<()> {
    write_scalar(path, volume, scalar)
}

/// Writes a map of labels in the smallest of uint8, int16 and int32 that holds them all.
///
/// # Errors
/// As [`write_volume`].
pub fn write_labels(path: &Path, labels: &LabelMap) -> Result<()> {
    let range = labels.data.iter().fold((0, 0), |(lo, hi), v| (*v.min(&lo), *v.max(&hi)));
    let scalar = match range {
        (0.., ..=255) => ScalarType::U8,
        (-32768.., ..=32767) => ScalarType::I16,
        _ => ScalarType::I32,
    };
    write_scalar(path, labels, scalar)
}

fn write_scalar<T: Copy + Into<f64>>(
    path: &Path,
    volume: &Volume<T>,
    scalar: ScalarType,
) -> Result<()> {
    let format = format_of(path).map_err(|_| not_written(path))?;
    check_writable(path, volume)?;
    let values = volume.data.iter().map(|v| (*v).into());
    match format {
        Format::Nifti => nifti::write(path, &volume.geometry, &[], 0, scalar, values),
        Format::MetaImage => metaimage::write(path, &volume.geometry, 1, scalar, values),
        Format::Nrrd => Err(not_written(path)),
    }
}

/// The error of a name that no result can have. NRRD is read for what others wrote; one more format
/// to write helps nobody.
fn not_written(path: &Path) -> Error {
    let found = quoted(&path.file_name().unwrap_or_default().to_string_lossy());
    let expected = "an ending .nii, .nii.gz, .mha or .mhd";
    Error::malformed(path, "name of a result", expected, found, "choose one of these")
}

/// Refuses a volume that would make a file nobody can read.
fn check_writable<T>(path: &Path, volume: &Volume<T>) -> Result<()> {
    let (samples, voxels) = (volume.data.len(), volume.geometry.voxels());
    let defect = volume
        .geometry
        .defect()
        .or_else(|| (samples != voxels).then(|| format!("{samples} samples for {voxels} voxels")));
    match defect {
        None => Ok(()),
        Some(defect) => Err(Error::unusable(
            path.display().to_string(),
            format!("not written: {defect}"),
            "give the image a geometry that fits it",
        )),
    }
}

#[cfg(test)]
mod tests;
