//! The files of a data set.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The files of a folder, in the order of their names.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("{}: expected a folder of images", folder.display()))?;
    let mut paths =
        entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, std::io::Error>>()?;
    // The order of a folder is not the same everywhere; the draw of subjects must be.
    paths.sort();
    Ok(paths)
}
