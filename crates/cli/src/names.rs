//! How the result files of a frame are called.

use std::collections::HashSet;
use std::path::Path;

/// The picture to judge by.
pub fn overlay(stem: &str) -> String {
    format!("{stem}_overlay.png")
}

/// The landmarks for 3D Slicer.
pub fn markups(stem: &str) -> String {
    format!("{stem}.mrk.json")
}

/// The pixels of a class.
pub fn mask(stem: &str, class: &str) -> String {
    format!("{stem}_{class}.png")
}

/// A file's name without its endings; the whole name where it has none, as of a DICOM file that is
/// called by its UID.
pub fn stem(image: &Path) -> String {
    const ENDINGS: [&str; 8] =
        [".igs.mha", ".igs.mhd", ".mha", ".mhd", ".png", ".jpg", ".jpeg", ".dcm"];
    let name = image.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let lower = name.to_ascii_lowercase();
    let ending = ENDINGS.iter().find(|e| lower.ends_with(*e) && lower.len() > e.len());
    name[..name.len() - ending.map_or(0, |e| e.len())].to_string()
}

/// The name itself, or with a number where another image has it already.
pub fn unused(stem: String, used: &mut HashSet<String>) -> String {
    let numbered = (2..).map(|i| format!("{stem}-{i}"));
    let name = std::iter::once(stem.clone()).chain(numbered).find(|name| !used.contains(name));
    let name = name.unwrap_or(stem);
    used.insert(name.clone());
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_files_of_one_name_get_two_results() {
        let mut used = HashSet::new();
        let names = ["a/x.png", "b/x.png", "x.igs.mha", "1.2.840.5"]
            .map(|p| unused(stem(Path::new(p)), &mut used));
        assert_eq!(names, ["x", "x-2", "x-3", "1.2.840.5"]);
    }
}
