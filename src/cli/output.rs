//! An output folder that gets all of its files or none.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::{Error, Result};

/// Files are written to a hidden folder inside the target and moved out of it at the end.
/// Dropped before [`commit`](Self::commit), nothing of it remains.
pub(super) struct Output {
    folder: PathBuf,
    /// Made by us, so ours to remove again when the work fails.
    created: bool,
    partial: Option<TempDir>,
}

impl Output {
    /// # Errors
    /// [`Error::Unwritable`] when the folder cannot be made or written to.
    pub fn create(folder: &Path) -> Result<Self> {
        let unwritable = |source| Error::Unwritable { path: folder.to_owned(), source };
        let created = !folder.exists();
        std::fs::create_dir_all(folder).map_err(unwritable)?;
        let partial = tempfile::Builder::new()
            .prefix(".intraop-partial-")
            .tempdir_in(folder)
            .map_err(unwritable)?;
        Ok(Output { folder: folder.to_owned(), created, partial: Some(partial) })
    }

    /// Where to write the file that will be `name` in the output folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.partial.as_ref().map_or(&*self.folder, TempDir::path).join(name)
    }

    /// Moves every file into place.
    ///
    /// # Errors
    /// [`Error::Unwritable`] naming the file.
    pub fn commit(mut self) -> Result<()> {
        let Some(partial) = self.partial.take() else { return Ok(()) };
        self.created = false;
        let failed = |path: &Path, source| Error::Unwritable { path: path.to_owned(), source };
        for entry in partial.path().read_dir().map_err(|e| failed(&self.folder, e))? {
            let entry = entry.map_err(|e| failed(&self.folder, e))?;
            let target = self.folder.join(entry.file_name());
            std::fs::rename(entry.path(), &target).map_err(|e| failed(&target, e))?;
        }
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.partial = None;
        if self.created {
            // Fails, as it should, when somebody else put something there.
            let _ = std::fs::remove_dir(&self.folder);
        }
    }
}
