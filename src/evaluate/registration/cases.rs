use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{Error, Result};

/// One line of a cases CSV for registration. Paths are ready to open.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct CaseRow {
    pub fixed: PathBuf,
    pub moving: PathBuf,
    #[serde(default)]
    pub fixed_labels: Option<PathBuf>,
    #[serde(default)]
    pub moving_labels: Option<PathBuf>,
}

impl CaseRow {
    /// The images' names without endings: fixed and moving.
    pub fn names(&self) -> [String; 2] {
        [&self.fixed, &self.moving].map(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name.split('.').next().unwrap_or_default().to_string()
        })
    }
}

/// Reads `fixed, moving[, fixed_labels, moving_labels]`; relative paths start at the CSV's
/// folder.
///
/// # Errors
/// [`Error::Unreadable`]; [`Error::Malformed`] naming the line.
pub fn read_cases(path: &Path) -> Result<Vec<CaseRow>> {
    let malformed = |e: csv::Error| {
        let line = e.position().map_or(1, csv::Position::line);
        Error::malformed(
            path,
            format!("line {line}"),
            "a CSV with a header and the columns fixed, moving, fixed_labels, moving_labels",
            e.to_string(),
            "the two label columns are optional",
        )
    };
    let file = crate::io::open_regular(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut rows = Vec::new();
    for row in csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(file).deserialize() {
        let row: CaseRow = row.map_err(malformed)?;
        let labels = |path: Option<PathBuf>| {
            path.filter(|p| !p.as_os_str().is_empty()).map(|p| folder.join(p))
        };
        rows.push(CaseRow {
            fixed: folder.join(row.fixed),
            moving: folder.join(row.moving),
            fixed_labels: labels(row.fixed_labels),
            moving_labels: labels(row.moving_labels),
        });
    }
    if rows.is_empty() {
        let advice = "add a line per pair";
        return Err(Error::malformed(path, "cases", "at least one pair", "none", advice));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cases.csv");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn paths_start_at_the_csv_and_labels_may_be_missing() {
        let (folder, path) =
            write("moving, fixed, fixed_labels\nb.nii, a.nii, l.nii\n/abs/b.nii, a.nii,\n");
        let rows = read_cases(&path).unwrap();
        assert_eq!(rows[0].fixed, folder.path().join("a.nii"));
        assert_eq!(rows[0].fixed_labels, Some(folder.path().join("l.nii")));
        assert_eq!(rows[1].moving, PathBuf::from("/abs/b.nii"));
        assert_eq!((&rows[1].fixed_labels, &rows[1].moving_labels), (&None, &None));
    }

    #[test]
    fn errors_name_the_line() {
        let (_folder, path) = write("fixed,moving\na.nii,b.nii\nonly one\n");
        let error = read_cases(&path).unwrap_err().to_string();
        assert!(error.contains("cases.csv: line 3"), "{error}");
        let (_folder, path) = write("fixed,moving\n");
        assert!(read_cases(&path).unwrap_err().to_string().contains("at least one pair"));
    }
}
