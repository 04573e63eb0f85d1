//! The pixel size, where the file states one that can be trusted: never a wrong millimetre.

use super::dataset::{DataSet, Values};
use crate::io::frames::plausible;

/// Regions agree where their pixel sizes differ by no more than this part.
const AGREE: f64 = 1e-3;

/// Millimetres per pixel along a row and down a column.
///
/// An ultrasound scanner calibrates regions of the picture (PS3.3 C.8.5.5): those with a 2-D
/// image (spatial format 1) and units of cm (3) count, and must agree. Only where there is none is
/// PixelSpacing taken, in which the distance of rows, so y, comes first (PS3.3 10.7.1.3).
/// ImagerPixelSpacing is not at the patient but at the detector, and never taken.
pub(super) fn spacing(set: &DataSet) -> Option<[f64; 2]> {
    let of_regions: Vec<_> = set.regions.iter().filter(|r| is_2d_in_cm(r)).map(of_region).collect();
    let (spacing, name) = match of_regions.as_slice() {
        [] => {
            let numbers = set.values.numbers(0x0028_0030);
            let text = set.values.text(0x0028_0030).unwrap_or_default();
            if text.is_empty() {
                return None;
            }
            let pair = numbers.as_deref().and_then(|n| <[f64; 2]>::try_from(n).ok());
            (pair.and_then(|[y, x]| plausible([x, y])), "PixelSpacing is")
        }
        [first, others @ ..] => {
            let same = |a: &[f64; 2], b: &[f64; 2]| {
                a.iter().zip(b).all(|(a, b)| (a - b).abs() <= AGREE * a.abs())
            };
            let agree = first.filter(|a| others.iter().all(|b| b.is_some_and(|b| same(a, &b))));
            (agree, "the ultrasound regions' pixel sizes differ or are")
        }
    };
    if spacing.is_none() {
        log::warn!("{}: no pixel size: {name} not plausible", set.path.display());
    }
    spacing
}

fn is_2d_in_cm(region: &Values) -> bool {
    let word = |tag| region.word(tag);
    word(0x0018_6012) == Some(1) && word(0x0018_6024) == Some(3) && word(0x0018_6026) == Some(3)
}

/// A delta is negative where the coordinate falls with the column or row.
fn of_region(region: &Values) -> Option<[f64; 2]> {
    let mm = |tag| region.double(tag).map(|cm| cm.abs() * 10.0);
    plausible([mm(0x0018_602c)?, mm(0x0018_602e)?])
}
