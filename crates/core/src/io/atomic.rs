use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::{Error, Result};

/// A file being written beside its place: it appears there, whole, at [`commit`](Self::commit),
/// and leaves nothing behind when dropped before.
pub struct Pending {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
}

impl Pending {
    /// # Errors
    /// [`Error::Unwritable`] where the folder does not exist or cannot be written, or where a
    /// folder or a device is already there.
    pub fn create(path: &Path) -> Result<Pending> {
        let unwritable = |source| Error::Unwritable { path: path.to_owned(), source };
        // The rename at the end would fail for a folder, and replace a device.
        if path.metadata().is_ok_and(|there| !there.is_file()) {
            return Err(unwritable(io::Error::other("not a regular file")));
        }
        // The same folder, because a rename is whole only within one file system.
        let folder = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(".intraop-");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // As any new file: what the umask allows. A temporary file is private otherwise.
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        // The error would name the temporary file.
        let file = builder.tempfile_in(folder).map_err(|e| match e.kind() {
            kind @ io::ErrorKind::NotFound => {
                unwritable(io::Error::new(kind, "its folder does not exist"))
            }
            kind => unwritable(kind.into()),
        })?;
        Ok(Pending { path: path.to_owned(), file: BufWriter::with_capacity(1 << 16, file) })
    }

    /// Writes the content and puts the file in its place.
    ///
    /// # Errors
    /// [`Error::Unwritable`] where the disk or `write` fails.
    pub fn fill(mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
        write(&mut self).map_err(|source| Error::Unwritable { path: self.path.clone(), source })?;
        self.commit()
    }

    /// Puts the file in its place, over one that is there.
    pub fn commit(self) -> Result<()> {
        let Pending { path, file } = self;
        let unwritable = |source| Error::Unwritable { path: path.clone(), source };
        let file = file.into_inner().map_err(|e| unwritable(e.into_error()))?;
        file.persist(&path).map_err(|e| unwritable(e.error))?;
        Ok(())
    }
}

impl Write for Pending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes a whole file or none: a temporary file in the same folder, then a rename.
///
/// # Errors
/// [`Error::Unwritable`] where the folder, the disk or `write` fails.
pub fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    Pending::create(path)?.fill(write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        write_atomically(&path, |w| w.write_all(b"old")).unwrap();
        let failed = write_atomically(&path, |w| {
            w.write_all(b"new")?;
            Err(io::Error::other("disk full"))
        });
        assert!(failed.unwrap_err().to_string().contains("report.json"));
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let missing = folder.path().join("no/such/file");
        assert!(matches!(write_atomically(&missing, |_| Ok(())), Err(Error::Unwritable { .. })));
        // Known before the work that would make the content.
        for there in [folder.path(), Path::new("/dev/null")] {
            assert!(matches!(Pending::create(there), Err(Error::Unwritable { .. })));
        }
    }
}
