//! A folder with a CT or MR series, a file per slice, as a volume.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nalgebra::{Matrix3, Vector3};

use super::codec::Clip;
use super::dataset::{DataSet, PIXEL_DATA, Values, shown};
use crate::image::Geometry;
use crate::io::pixels::{is_dicom, plausible};
use crate::io::source::{MAX_VOXELS, open_file, quoted};
use crate::io::{Data, Opened, ScalarType};
use crate::{Error, Result};

/// Orientations and pixel sizes agree within this: headers round them to a few digits.
const SAME: f64 = 1e-3;

/// By how much of the spacing a slice may be out of place: positions are rounded, too.
const OUT_OF_PLACE: f64 = 0.1;

/// A file of a series whose header was found sound.
pub(in crate::io) struct Slice {
    path: PathBuf,
    size: [usize; 2],
    /// Of pixels, along a row and down a column.
    spacing: [f64; 2],
    /// The center of the first pixel.
    origin: Vector3<f64>,
    /// Unit vectors along a row and down a column.
    axes: [Vector3<f64>; 2],
    /// InstanceNumber, to name it by.
    number: String,
    /// The stored type, whether it holds the values as they are, and else their range and whether
    /// all are whole numbers.
    scalar: ScalarType,
    plain: bool,
    range: [f64; 2],
    whole: bool,
}

/// What tells one series from another, fit to be shown: no name, no date.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    uid: String,
    number: String,
    modality: String,
}

/// Reads all headers of a folder's one series and puts its slices in order.
pub(in crate::io) fn open_series(folder: &Path) -> Result<Opened> {
    let mut found: BTreeMap<Series, Vec<Result<Slice>>> = BTreeMap::new();
    // A file that is damaged may be a slice of the series, so nothing is read without it; but that
    // there are several series is said first.
    let mut damaged = None;
    for path in dicom_files(folder)? {
        let set = match DataSet::open(&path) {
            Ok(set) => set,
            Err(error) => {
                damaged.get_or_insert(error);
                continue;
            }
        };
        // Reports, and the index of a CD.
        if !set.values.has(PIXEL_DATA) {
            continue;
        }
        let text = |tag| set.values.text(tag).unwrap_or_default();
        let series = Series {
            uid: text(0x0020_000e),
            number: text(0x0020_0011),
            modality: text(0x0008_0060),
        };
        found.entry(series).or_default().push(Slice::of(set));
    }
    if found.len() > 1 {
        let advice = "put each series into a folder of its own";
        return Err(Error::malformed(folder, "folder", "one DICOM series", list(&found), advice));
    }
    if let Some(error) = damaged {
        return Err(error);
    }
    let Some((_, slices)) = found.pop_first() else {
        let advice = "give the folder with the files of one CT or MR series";
        let found = "no DICOM file with an image";
        return Err(Error::malformed(folder, "folder", "a DICOM series", found, advice));
    };
    let slices = slices.into_iter().collect::<Result<Vec<_>>>()?;
    let (slices, geometry) = arrange(folder, slices)?;
    let product = geometry.size.iter().fold(1u64, |n, s| n.saturating_mul(*s as u64));
    if product > MAX_VOXELS {
        let (promised, limit) = (product.saturating_mul(2), 2 * MAX_VOXELS);
        return Err(Error::TooLarge { path: folder.to_owned(), promised, limit });
    }
    let scalar = scalar_of(&slices);
    let data = Data::Slices(slices);
    Ok(Opened { geometry, scalar, scaling: None, frames: Vec::new(), channels: 1, intent: 0, data })
}

fn dicom_files(folder: &Path) -> Result<Vec<PathBuf>> {
    use std::io::Read;
    let unreadable = |source| Error::Unreadable { path: folder.to_owned(), source };
    let mut paths = Vec::new();
    for entry in folder.read_dir().map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if !path.is_file() {
            continue;
        }
        let mut start = Vec::new();
        let read = open_file(&path)?.0.take(132).read_to_end(&mut start);
        read.map_err(|source| Error::Unreadable { path: path.clone(), source })?;
        if is_dicom(&start) {
            paths.push(path);
        }
    }
    // The folder's own order is anybody's.
    paths.sort();
    Ok(paths)
}

fn list(found: &BTreeMap<Series, Vec<Result<Slice>>>) -> String {
    const SHOWN: usize = 5;
    let one = |(series, slices): (&Series, &Vec<Result<Slice>>)| {
        let Series { uid, number, modality } = series;
        let [uid, number, modality] = [uid, number, modality].map(|text| shown(text));
        format!("{modality} series {number} with {} slices ({uid})", slices.len())
    };
    let mut text: Vec<String> = found.iter().take(SHOWN).map(one).collect();
    if found.len() > SHOWN {
        text.push(format!("{} more", found.len() - SHOWN));
    }
    text.join("; ")
}

impl Slice {
    fn of(set: DataSet) -> Result<Slice> {
        let spacing = pair(&set.values, 0x0028_0030).and_then(|[y, x]| plausible([x, y]));
        let spacing = spacing.ok_or_else(|| set.wrong("PixelSpacing", "two lengths", "none"));
        let place = numbers(&set.values, 0x0020_0032).map(Vector3::from);
        let place = place.ok_or_else(|| set.wrong("ImagePositionPatient", "three numbers", "none"));
        let axes = numbers(&set.values, 0x0020_0037).and_then(|[a, b, c, d, e, f]: [f64; 6]| {
            let [row, column] = [Vector3::new(a, b, c), Vector3::new(d, e, f)];
            let unit = |v: &Vector3<f64>| (v.norm() - 1.0).abs() <= SAME;
            let right = unit(&row) && unit(&column) && row.dot(&column).abs() <= SAME;
            // What the header's digits left over would be a shear.
            let row = row.normalize();
            right.then(|| [row, (column - row * row.dot(&column)).normalize()])
        });
        let axes = axes.ok_or_else(|| {
            set.wrong("ImageOrientationPatient", "two unit vectors at a right angle", "others")
        });
        let number = set.values.text(0x0020_0013).unwrap_or_default();
        let path = set.path.clone();
        let frames = set.values.numbers(0x0028_0008).is_some_and(|n| n != [1.0]);
        if frames || set.values.has(0x5200_9230) {
            let advice = "convert it to a volume first, for example with dcm2niix";
            let found = "a multi-frame (enhanced) image";
            return Err(Error::malformed(&path, "series", "a file per slice", found, advice));
        }
        let (spacing, origin, axes) = (spacing?, place?, axes?);
        let layout = Clip::new(set)?.layout;
        if layout.channels != 1 {
            let advice = "give a CT or MR series";
            return Err(Error::malformed(&path, "series", "gray slices", "colors", advice));
        }
        let (low, high) = layout.range();
        let value = |n: i32| f64::from(n) * layout.slope + layout.intercept;
        let [a, b] = [value(low), value(high)];
        Ok(Slice {
            path,
            size: [layout.width, layout.height],
            spacing,
            origin,
            axes,
            number,
            scalar: match (layout.allocated, layout.signed) {
                (8, false) => ScalarType::U8,
                (8, true) => ScalarType::I8,
                (_, false) => ScalarType::U16,
                (_, true) => ScalarType::I16,
            },
            plain: (layout.slope, layout.intercept) == (1.0, 0.0),
            range: [a.min(b), a.max(b)],
            whole: layout.slope.fract() == 0.0 && layout.intercept.fract() == 0.0,
        })
    }

    /// Passes all values to `sink`.
    pub fn samples(&self, sink: impl FnMut(f64)) -> Result<()> {
        Clip::open(&self.path)?.values(sink)
    }

    fn normal(&self) -> Vector3<f64> {
        self.axes[0].cross(&self.axes[1])
    }

    /// What tells it from `first`, if anything but the place.
    fn differs(&self, first: &Slice) -> Option<&'static str> {
        let apart = |a: f64, b: f64| (a - b).abs() > SAME * b.abs();
        if self.size != first.size {
            Some("size")
        } else if (0..2).any(|i| apart(self.spacing[i], first.spacing[i])) {
            Some("PixelSpacing")
        } else if (0..2).any(|i| (self.axes[i] - first.axes[i]).norm() > SAME) {
            Some("ImageOrientationPatient")
        } else {
            None
        }
    }
}

fn numbers<const N: usize>(values: &Values, tag: u32) -> Option<[f64; N]> {
    let numbers = <[f64; N]>::try_from(values.numbers(tag)?).ok()?;
    numbers.iter().all(|n| n.is_finite()).then_some(numbers)
}

fn pair(values: &Values, tag: u32) -> Option<[f64; 2]> {
    numbers(values, tag)
}

/// The slices along their normal, and the grid they make, which is the one ITK's
/// `ImageSeriesReader` makes: the direction is that of the slices and their normal, the spacing
/// the distance of the first and last position, over the number of steps.
fn arrange(folder: &Path, mut slices: Vec<Slice>) -> Result<(Vec<Slice>, Geometry)> {
    let wrong = |expected: &str, found: String| {
        let advice = "give one complete series of parallel slices, or convert it with dcm2niix";
        Err(Error::malformed(folder, "slices of the series", expected, found, advice))
    };
    if let Some((slice, what)) =
        slices.iter().find_map(|s| s.differs(&slices[0]).map(|what| (s, what)))
    {
        let name = slice.path.file_name().unwrap_or_default().to_string_lossy();
        return wrong("alike", format!("another {what} in {}", quoted(&name)));
    }
    let normal = slices[0].normal();
    let along = |slice: &Slice| normal.dot(&slice.origin);
    slices.sort_by(|a, b| along(a).total_cmp(&along(b)));
    let [first, .., last] = slices.as_slice() else {
        return wrong("at least 2", format!("{}", slices.len()));
    };
    let path = last.origin - first.origin;
    let step = path / (slices.len() - 1) as f64;
    let spacing = step.norm();
    let places: Vec<f64> = slices.iter().map(along).collect();
    let mut gaps: Vec<f64> = places.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let name = |i: usize| shown(&slices[i].number);
    if let Some(i) = gaps.iter().position(|gap| *gap < SAME) {
        return wrong("each in its own place", format!("{} where {} is", name(i + 1), name(i)));
    }
    let sheared = (step - normal * normal.dot(&step)).norm();
    if sheared > SAME * spacing * 10.0 {
        let degrees = (sheared / normal.dot(&step)).atan().to_degrees();
        return wrong("stacked at a right angle", format!("a tilt of {degrees:.1} degrees"));
    }
    let in_order = gaps.clone();
    gaps.sort_by(f64::total_cmp);
    let usual = gaps[gaps.len() / 2];
    if let Some((i, gap)) = in_order.iter().enumerate().find(|(_, gap)| **gap > 1.5 * usual) {
        let found = format!(
            "a gap of {gap:.3} mm between instances {} and {}, {usual:.3} mm elsewhere",
            name(i),
            name(i + 1)
        );
        return wrong("none missing", found);
    }
    let off = |(i, s): (usize, &Slice)| s.origin - first.origin - normal * (i as f64 * spacing);
    let off: Vec<Vector3<f64>> = slices.iter().enumerate().map(off).collect();
    let most = OUT_OF_PLACE * spacing;
    if off.iter().any(|off| off.dot(&normal).abs() > most) {
        let [least, most] = [gaps[0], gaps[gaps.len() - 1]];
        return wrong("equally far apart", format!("distances of {least:.3} to {most:.3} mm"));
    }
    let furthest = off.iter().map(Vector3::norm).fold(0.0, f64::max);
    if furthest > most {
        let found = format!("one {furthest:.3} mm away from its place");
        return wrong("one above the other", found);
    }
    let geometry = Geometry {
        size: [first.size[0], first.size[1], slices.len()],
        spacing: [first.spacing[0], first.spacing[1], spacing],
        origin: first.origin,
        direction: Matrix3::from_columns(&[first.axes[0], first.axes[1], normal]),
    };
    match geometry.defect() {
        Some(defect) => wrong("a grid with three directions", defect),
        None => Ok((slices, geometry)),
    }
}

/// The type that holds the values of all slices: the stored one where nothing is rescaled.
fn scalar_of(slices: &[Slice]) -> ScalarType {
    if slices.iter().all(|s| s.plain && s.scalar == slices[0].scalar) {
        return slices[0].scalar;
    }
    if !slices.iter().all(|s| s.whole) {
        return ScalarType::F32;
    }
    let low = slices.iter().map(|s| s.range[0]).fold(0.0, f64::min);
    let high = slices.iter().map(|s| s.range[1]).fold(0.0, f64::max);
    match (low, high) {
        (0.0.., ..=65535.0) => ScalarType::U16,
        (-32768.0.., ..=32767.0) => ScalarType::I16,
        _ => ScalarType::I32,
    }
}
