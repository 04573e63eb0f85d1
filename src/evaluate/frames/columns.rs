//! The names of the columns of a cases CSV for frames.

use std::collections::HashMap;
use std::path::Path;

use csv::StringRecord;

use crate::landmarks::unit;
use crate::package::{Manifest, Measurement};
use crate::{Error, Result};

pub(super) const IMAGE: &str = "image";
pub(super) const FRAME: &str = "frame";
pub(super) const PIXEL: &str = "mm_per_px";
pub(super) const VIEW: &str = "view";
pub(super) const ELLIPSE: [&str; 5] =
    ["center_x_mm", "center_y_mm", "semi_a_mm", "semi_b_mm", "angle_rad"];
/// The circumference that goes with it; the truth of the measurement HC, where there is one.
const AROUND: &str = "hc_mm";
/// What follows a box's name: its center, width and height.
pub(super) const BOX: [&str; 4] = ["_x_px", "_y_px", "_w_px", "_h_px"];

/// Endings that say that a column is a truth.
const UNITS: [&str; 5] = ["_px", "_mm", "_mm2", "_rad", "_deg"];

/// The column of a measurement's truth: its name and its unit.
pub(super) fn of_measurement(wanted: &Measurement) -> String {
    let ending = unit(wanted.kind, true).replace('²', "2");
    format!("{}_{ending}", wanted.name).to_lowercase()
}

/// The names of boxes.
pub(super) fn boxes(columns: &HashMap<String, usize>) -> impl Iterator<Item = &str> {
    columns.keys().filter_map(|name| name.strip_suffix(BOX[2]))
}

/// Those of the columns that say what is to be found.
pub(super) fn of_truth(columns: &HashMap<String, usize>) -> impl Iterator<Item = &str> {
    let truth = |name: &&str| *name == VIEW || (*name != PIXEL && has_unit(name));
    columns.keys().map(String::as_str).filter(truth)
}

fn has_unit(name: &str) -> bool {
    UNITS.iter().any(|ending| name.ends_with(ending))
}

/// Where each column stands, by its name in lower case.
///
/// # Errors
/// [`Error::Malformed`] without the column `image` or, where it is needed, any truth, for a column that is there twice,
/// and for one that is a truth of nothing in the package or looks like a typing mistake.
pub(super) fn check(
    path: &Path,
    header: &StringRecord,
    manifest: &Manifest,
    need_truth: bool,
) -> Result<HashMap<String, usize>> {
    let wrong = |expected: &str, found: String, advice: &str| {
        Err(Error::malformed(path, "line 1", expected, found, advice))
    };
    let mut columns = HashMap::new();
    for (at, name) in header.iter().enumerate() {
        if columns.insert(name.to_lowercase(), at).is_some() && !name.is_empty() {
            return wrong("each column once", format!("{name:?} twice"), "remove one");
        }
    }
    let landmarks = manifest.landmarks();
    let places = landmarks.iter().flat_map(|n| BOX[..2].iter().map(move |e| format!("{n}{e}")));
    let sides = boxes(&columns).flat_map(|n| BOX.iter().map(move |e| format!("{n}{e}")));
    let values = manifest.measurements.iter().map(of_measurement);
    let fixed = [IMAGE, PIXEL, FRAME, VIEW, AROUND].into_iter().chain(ELLIPSE).map(String::from);
    let known: Vec<String> =
        fixed.chain(values).chain(places).chain(sides).map(|name| name.to_lowercase()).collect();
    for name in header.iter().map(str::to_lowercase).filter(|name| !known.contains(name)) {
        let missing = |meant: &&str| !columns.contains_key(*meant) && alike(&name, meant);
        if let Some(meant) = [IMAGE, PIXEL, FRAME, VIEW].iter().find(|meant| missing(meant)) {
            return wrong(&format!("{meant:?}"), format!("{name:?}"), "correct the column's name");
        }
        if has_unit(&name) {
            let expected = format!(
                "truth of what {} finds: landmarks {landmarks:?}, masks {:?}, measurements {:?}",
                manifest.name,
                manifest.masks(),
                manifest.measurements.iter().map(of_measurement).collect::<Vec<_>>()
            );
            return wrong(&expected, format!("{name:?}"), "correct or remove the column");
        }
    }
    if !columns.contains_key(IMAGE) {
        return wrong("a column \"image\"", format!("{header:?}"), "name the columns");
    }
    if need_truth && of_truth(&columns).next().is_none() {
        let advice = "add one, blank where there is nothing to be found; see docs/evaluation.md";
        return wrong("at least one column of truth", "none".into(), advice);
    }
    Ok(columns)
}

/// Whether one is the other but for a typing mistake, or a third of its letters: the distance of
/// Damerau and Levenshtein where no part is changed twice.
fn alike(name: &str, meant: &str) -> bool {
    let (a, b) = (name.as_bytes(), meant.as_bytes());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = changed.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()] <= (b.len() / 3).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_mistakes_are_told_from_other_words() {
        for (name, meant) in
            [("imgae", IMAGE), ("frames", FRAME), ("mm_per_pixel", PIXEL), ("veiw", VIEW)]
        {
            assert!(alike(name, meant), "{name}");
        }
        for (name, meant) in [("split", IMAGE), ("name", FRAME), ("note", VIEW), ("", VIEW)] {
            assert!(!alike(name, meant), "{name}");
        }
    }
}
