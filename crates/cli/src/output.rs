//! An output folder that gets all of its files or none.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use intraop::{Error, Result};

/// How the names of hidden folders start.
const PARTIAL: &str = ".intraop-partial-";

/// Files are written to a hidden folder inside the target and moved out of it at the end.
/// Dropped before [`commit`](Self::commit), nothing of it remains.
pub struct Output {
    folder: PathBuf,
    /// The folders made for it, the outermost first: ours to remove again when the work fails.
    created: Vec<PathBuf>,
    partial: Option<TempDir>,
}

impl Output {
    /// # Errors
    /// [`Error::Unwritable`] when the folder cannot be made or written to.
    pub fn create(folder: &Path) -> Result<Self> {
        let unwritable = |source| Error::Unwritable { path: folder.to_owned(), source };
        let missing = folder.ancestors().take_while(|f| !f.as_os_str().is_empty() && !f.exists());
        let mut created: Vec<PathBuf> = missing.map(Path::to_owned).collect();
        created.reverse();
        std::fs::create_dir_all(folder).map_err(unwritable)?;
        let partial =
            tempfile::Builder::new().prefix(PARTIAL).tempdir_in(folder).map_err(unwritable)?;
        Ok(Output { folder: folder.to_owned(), created, partial: Some(partial) })
    }

    /// The folder of a new package, and its name. Nothing may be there: people complete a package's
    /// card and manifest by hand.
    ///
    /// # Errors
    /// Those of [`Output::create`], and [`Error::Option`].
    pub fn package(folder: &Path) -> Result<(Self, String)> {
        let wrong = |expected: &str| Error::Option {
            option: "out".into(),
            expected: expected.into(),
            found: folder.display().to_string(),
        };
        // What a run left that was killed is nobody's work.
        let own =
            |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with(PARTIAL);
        let mut files = folder.read_dir().into_iter().flatten().flatten();
        if files.any(|entry| !own(&entry)) {
            return Err(wrong("a new or empty folder (remove an old package first)"));
        }
        let name = folder.file_name().ok_or_else(|| wrong("a folder with a name"))?;
        Ok((Self::create(folder)?, name.to_string_lossy().into_owned()))
    }

    /// Where to write the file that will be `name` in the output folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.partial.as_ref().map_or(&*self.folder, TempDir::path).join(name)
    }

    /// Refuses to overwrite an input by one of the files `names`.
    ///
    /// # Errors
    /// [`Error::Option`] naming the input.
    pub fn spare<'a>(
        &self,
        names: &[&str],
        inputs: impl IntoIterator<Item = &'a Path>,
    ) -> Result<()> {
        let targets: Vec<PathBuf> = names.iter().map(|name| self.folder.join(name)).collect();
        spare_files(&targets, inputs)
    }

    /// Refuses to overwrite an input by anything that was written so far.
    ///
    /// # Errors
    /// [`Error::Option`] naming the input.
    pub fn spare_written<'a>(&self, inputs: impl IntoIterator<Item = &'a Path>) -> Result<()> {
        let mut moves = Vec::new();
        if let Some(partial) = &self.partial {
            plan(partial.path(), &self.folder, &mut moves)?;
        }
        let targets: Vec<PathBuf> = moves.into_iter().map(|(_, target)| target).collect();
        spare_files(&targets, inputs)
    }

    /// Moves every file into place, `report.json` last. Of the names in `known`, those that this
    /// run did not write are removed, so that a folder never mixes two runs.
    ///
    /// # Errors
    /// [`Error::Unwritable`] naming the file; found out before anything is moved where possible.
    pub fn commit(mut self, known: &[&str]) -> Result<()> {
        let Some(partial) = self.partial.take() else { return Ok(()) };
        let mut moves = Vec::new();
        plan(partial.path(), &self.folder, &mut moves)?;
        moves.sort_by_key(|(_, target)| target.ends_with("report.json"));
        self.created.clear();
        for (from, target) in &moves {
            let failed = |source| Error::Unwritable { path: target.clone(), source };
            let parent = target.parent().unwrap_or(&self.folder);
            std::fs::create_dir_all(parent).map_err(failed)?;
            std::fs::rename(from, target).map_err(failed)?;
        }
        for stale in known.iter().map(|name| self.folder.join(name)) {
            if !moves.iter().any(|(_, target)| *target == stale) && stale.is_file() {
                std::fs::remove_file(&stale)
                    .map_err(|source| Error::Unwritable { path: stale.clone(), source })?;
            }
        }
        Ok(())
    }
}

/// Refuses to overwrite an input by one of the files `targets`.
///
/// # Errors
/// [`Error::Option`] naming the input.
pub fn spare_files<'a>(
    targets: &[PathBuf],
    inputs: impl IntoIterator<Item = &'a Path>,
) -> Result<()> {
    let targets: Vec<PathBuf> = targets.iter().filter_map(|t| t.canonicalize().ok()).collect();
    for input in inputs {
        if input.canonicalize().is_ok_and(|real| targets.contains(&real)) {
            return Err(Error::Option {
                option: "out".into(),
                expected: "a place where no result has the name of an input".into(),
                found: format!("{}, which would be overwritten", input.display()),
            });
        }
    }
    Ok(())
}

/// Every file below `from` with its place below `to`.
fn plan(from: &Path, to: &Path, moves: &mut Vec<(PathBuf, PathBuf)>) -> Result<()> {
    let failed = |source| Error::Unwritable { path: to.to_owned(), source };
    for entry in from.read_dir().map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            plan(&entry.path(), &target, moves)?;
        } else if target.is_dir() {
            let source = std::io::ErrorKind::IsADirectory.into();
            return Err(Error::Unwritable { path: target, source });
        } else {
            moves.push((entry.path(), target));
        }
    }
    Ok(())
}

impl Drop for Output {
    fn drop(&mut self) {
        self.partial = None;
        for folder in self.created.iter().rev() {
            // Fails, as it should, when somebody else put something there.
            let _ = std::fs::remove_dir(folder);
        }
    }
}
