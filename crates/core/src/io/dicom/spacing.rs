//! The pixel size, where the file states one that can be trusted: never a wrong millimeter.

use super::dataset::{DataSet, Values};
use crate::io::pixels::plausible;

/// Regions agree where their pixel sizes differ by no more than this part.
const AGREE: f64 = 1e-3;

/// Millimeters per pixel along a row and down a column.
///
/// An ultrasound scanner calibrates regions of the picture (PS3.3 C.8.5.5): those with a 2-D
/// image (spatial format 1) count. Each must lie in the frame, for a frame of another size was
/// scaled and its regions were not, be in cm (units 3), and all must agree. Only where there is no
/// region of any kind is PixelSpacing taken, in which the distance of rows, so y, comes first
/// (PS3.3 10.7.1.3). ImagerPixelSpacing is not at the patient but at the detector: it is never
/// taken, nor is its copy in PixelSpacing.
pub(super) fn spacing(set: &DataSet) -> Option<[f64; 2]> {
    let spacing = match set.regions.is_empty() {
        true => of_pixels(&set.values),
        false => of_regions(set),
    };
    match spacing {
        Ok(spacing) => spacing,
        Err(why) => {
            log::warn!("{}: no pixel size: {why}", set.path.display());
            None
        }
    }
}

/// Of PixelSpacing, or why it cannot be trusted.
fn of_pixels(values: &Values) -> Result<Option<[f64; 2]>, &'static str> {
    let text = values.text(0x0028_0030).unwrap_or_default();
    if text.is_empty() {
        return Ok(None);
    }
    let pair = values.numbers(0x0028_0030).and_then(|n| <[f64; 2]>::try_from(n).ok());
    let spacing = pair.and_then(|[y, x]| plausible([x, y]));
    let calibrated = !values.text(0x0028_0a02).unwrap_or_default().is_empty();
    if values.numbers(0x0018_1164).is_some_and(|n| pair.is_some_and(|p| n == p)) && !calibrated {
        return Err("PixelSpacing is the detector's (ImagerPixelSpacing), not the patient's");
    }
    spacing.map(Some).ok_or("PixelSpacing is not plausible")
}

/// Of the regions with a 2-D image, or why they cannot be trusted.
fn of_regions(set: &DataSet) -> Result<Option<[f64; 2]>, &'static str> {
    let is_2d = |r: &&Values| r.word(0x0018_6012) == Some(1);
    let regions: Vec<_> = set.regions.iter().filter(is_2d).collect();
    if regions.iter().any(|r| !is_in_cm(r)) {
        return Err("an ultrasound region's units are not cm");
    }
    if !regions.iter().all(|r| fits(r, &set.values)) {
        return Err("an ultrasound region does not lie in the frame, which may have been scaled");
    }
    let sizes: Vec<_> = regions.iter().map(|r| of_region(r)).collect();
    let Some((first, others)) = sizes.split_first() else {
        return match set.values.has(0x0028_0030) {
            true => Err("PixelSpacing stands beside ultrasound regions without a 2-D image"),
            false => Ok(None),
        };
    };
    let same =
        |a: &[f64; 2], b: &[f64; 2]| a.iter().zip(b).all(|(a, b)| (a - b).abs() <= AGREE * a.abs());
    let agree = first.filter(|a| others.iter().all(|b| b.is_some_and(|b| same(a, &b))));
    agree.map(Some).ok_or("the ultrasound regions' pixel sizes differ or are not plausible")
}

fn is_in_cm(region: &Values) -> bool {
    [0x0018_6024, 0x0018_6026].iter().all(|tag| region.word(*tag) == Some(3))
}

/// Whether a region lies in the frame. Its last column and row may be counted from 0 or 1; places
/// that are not stated say nothing.
fn fits(region: &Values, frame: &Values) -> bool {
    let within = |low, high, size| {
        let size = frame.word(size).map_or(0, u32::from);
        let (low, high) = (region.long(low), region.long(high));
        low.unwrap_or(0) < high.unwrap_or(size) && high.unwrap_or(0) <= size
    };
    within(0x0018_6018, 0x0018_601c, 0x0028_0011) && within(0x0018_601a, 0x0018_601e, 0x0028_0010)
}

/// A delta is negative where the coordinate falls with the column or row.
fn of_region(region: &Values) -> Option<[f64; 2]> {
    let mm = |tag| region.double(tag).map(|cm| cm.abs() * 10.0);
    plausible([mm(0x0018_602c)?, mm(0x0018_602e)?])
}
