//! Reading with bounds: nothing is allocated because a header says so.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Component, Path, PathBuf};

use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use super::ScalarType;
use crate::{Error, Result};

/// No image with more voxels is read: 2²⁸ (a cube of 645), one gibibyte as f32.
pub const MAX_VOXELS: u64 = 1 << 28;

/// Deflate makes at most 1032 bytes of one; a header that needs more than this is wrong.
const MAX_EXPANSION: u64 = 1100;
const EXPANSION_SLACK: u64 = 1 << 16;

const CHUNK: usize = 1 << 16;

/// The most that `packed` bytes of deflate can become.
pub(super) fn most_unpacked(packed: u64) -> u64 {
    packed.saturating_mul(MAX_EXPANSION).saturating_add(EXPANSION_SLACK)
}

/// How the bytes of a file are packed.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Packing {
    Plain,
    /// As they are, unless they begin as a gzip stream does. The file's name is not asked.
    PlainOrGzip,
    /// A deflate stream with a zlib or gzip header.
    Deflate,
    /// A deflate stream without a header.
    #[cfg_attr(not(feature = "dicom"), expect(dead_code, reason = "DICOM's alone"))]
    BareDeflate,
}

/// A file's bytes, unpacked, and how many there can be at most.
pub(super) struct Source {
    path: PathBuf,
    reader: Box<dyn Read + Send>,
    packed: bool,
    /// Bytes that can still come out: exact for a plain file, an upper bound for a packed one.
    left: u64,
}

/// Opens a regular file. Folders, pipes and devices are refused, so that no read can block or go
/// on for ever.
///
/// # Errors
/// [`Error::Unreadable`] where there is no such file, or no permission.
pub fn open_regular(path: &Path) -> Result<File> {
    let unreadable = |source| Error::Unreadable { path: path.to_owned(), source };
    // Asked before it is opened: to open a pipe waits for its other end.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(unreadable(std::io::Error::other("not a regular file")));
    }
    File::open(path).map_err(unreadable)
}

/// [`open_regular`], and the file's length.
pub(super) fn open_file(path: &Path) -> Result<(BufReader<File>, u64)> {
    let file = open_regular(path)?;
    let meta = file.metadata();
    let meta = meta.map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
    Ok((BufReader::with_capacity(CHUNK, file), meta.len()))
}

/// Text out of a file as a message may show it: in quotes, with what is not printable escaped, and
/// cut, so that no file can fill the screen or steer the terminal.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut printable = text.chars().flat_map(char::escape_debug);
    let shown: String = printable.by_ref().take(LONGEST).collect();
    let cut = if printable.next().is_some() { "…" } else { "" };
    format!("\"{shown}{cut}\"")
}

/// A whole text file of at most `limit` bytes; what is not UTF-8 is replaced.
pub fn read_text(path: &Path, limit: u64) -> Result<String> {
    let (mut file, length) = open_file(path)?;
    if length > limit {
        return Err(Error::malformed(
            path,
            "size of the file",
            format!("at most {limit} bytes of text"),
            length.to_string(),
            "check that it is the file you mean",
        ));
    }
    let mut bytes = Vec::new();
    file.by_ref()
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Longest name of a data file in a header, in bytes.
const LONGEST_NAME: usize = 1024;

/// The file beside `header` that it names as that of its samples; it must lie in the header's own
/// folder, so that a header from elsewhere cannot make us read any other file. `wrong` makes the
/// error out of what was found.
pub(super) fn data_file(
    header: &Path,
    name: &str,
    wrong: impl Fn(String) -> Error,
) -> Result<PathBuf> {
    let relative = Path::new(name);
    let plain = |c: Component| matches!(c, Component::Normal(_) | Component::CurDir);
    // Messages show the path of a missing file as it is, so it must be fit to be shown.
    let shown = name.len() <= LONGEST_NAME && !name.contains(char::is_control);
    if name.is_empty() || !shown || !relative.components().all(plain) {
        return Err(wrong(quoted(name)));
    }
    let folder = match header.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let target = folder.join(relative);
    let resolved = |path: &Path| {
        path.canonicalize().map_err(|source| Error::Unreadable { path: path.to_owned(), source })
    };
    if !resolved(&target)?.starts_with(resolved(folder)?) {
        return Err(wrong(format!("{} (a link that leads out of it)", quoted(name))));
    }
    Ok(target)
}

impl Source {
    /// `path` from its first byte.
    pub fn open(path: &Path) -> Result<Source> {
        let (file, length) = open_file(path)?;
        Source::new(path, file, length, Packing::PlainOrGzip)
    }

    /// What follows in `file`, of which `left` bytes are there.
    pub fn new(
        path: &Path,
        mut file: BufReader<File>,
        left: u64,
        packing: Packing,
    ) -> Result<Source> {
        let start = file
            .fill_buf()
            .map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
        let may_be_gzip = matches!(packing, Packing::PlainOrGzip | Packing::Deflate);
        let gzip = may_be_gzip && start.starts_with(&[0x1f, 0x8b]);
        let reader: Box<dyn Read + Send> = match packing {
            _ if gzip => Box::new(MultiGzDecoder::new(file)),
            Packing::Deflate => Box::new(ZlibDecoder::new(file)),
            Packing::BareDeflate => Box::new(DeflateDecoder::new(file)),
            Packing::Plain | Packing::PlainOrGzip => Box::new(file),
        };
        let packed = gzip || matches!(packing, Packing::Deflate | Packing::BareDeflate);
        let left = match packed {
            true => most_unpacked(left),
            false => left,
        };
        Ok(Source { path: path.to_owned(), reader, packed, left })
    }

    /// Fills `buffer` and tells how much of it was there.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut got = 0;
        while got < buffer.len() {
            match self.reader.read(&mut buffer[got..]) {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if self.packed && e.kind() == ErrorKind::UnexpectedEof => break,
                Err(e) => return Err(self.failure(e)),
            }
        }
        self.left = self.left.saturating_sub(got as u64);
        Ok(got)
    }

    fn failure(&self, e: std::io::Error) -> Error {
        match e.kind() {
            ErrorKind::InvalidData | ErrorKind::InvalidInput => Error::malformed(
                &self.path,
                "compressed data",
                "an intact deflate stream",
                e.to_string(),
                "copy or export the file again",
            ),
            _ => Error::Unreadable { path: self.path.clone(), source: e },
        }
    }

    /// Passes over `count` bytes; fewer there is no error yet.
    pub fn skip(&mut self, mut count: u64) -> Result<()> {
        let mut buffer = vec![0; CHUNK];
        while count > 0 {
            let want = count.min(CHUNK as u64) as usize;
            let got = self.read(&mut buffer[..want])?;
            if got < want {
                break;
            }
            count -= got as u64;
        }
        Ok(())
    }

    /// Refuses, before anything is read or allocated, an image of `size` that is over
    /// [`MAX_VOXELS`] or that this file cannot hold. `skipped` bytes come before its data.
    pub fn admit(&self, size: [usize; 3], bytes_per_voxel: usize, skipped: u64) -> Result<()> {
        let product = size.iter().fold(1u64, |n, s| n.saturating_mul(*s as u64));
        let promised = product.saturating_mul(bytes_per_voxel as u64);
        if product > MAX_VOXELS {
            let limit = MAX_VOXELS.saturating_mul(bytes_per_voxel as u64);
            return Err(Error::TooLarge { path: self.path.clone(), promised, limit });
        }
        self.holds(promised, skipped)
    }

    /// Refuses `promised` bytes, `skipped` bytes from here, where the file cannot hold them.
    pub fn holds(&self, promised: u64, skipped: u64) -> Result<()> {
        let path = self.path.clone();
        match self.left.saturating_sub(skipped) {
            there if promised <= there => Ok(()),
            limit if self.packed => Err(Error::TooLarge { path, promised, limit }),
            found => Err(Error::Truncated { path, expected: promised, found }),
        }
    }

    /// Fills `buffer`, or says how much of it was missing.
    pub fn fill(&mut self, buffer: &mut [u8]) -> Result<()> {
        let (expected, found) = (buffer.len() as u64, self.read(buffer)? as u64);
        match found < expected {
            true => Err(Error::Truncated { path: self.path.clone(), expected, found }),
            false => Ok(()),
        }
    }

    /// Passes `count` samples to `sink`. Nothing beyond them is unpacked, except for one byte
    /// that makes a packed stream check its own sum.
    pub fn samples(
        &mut self,
        scalar: ScalarType,
        big_endian: bool,
        count: usize,
        mut sink: impl FnMut(f64),
    ) -> Result<()> {
        let expected = (count * scalar.bytes()) as u64;
        let mut found = 0;
        let mut buffer = vec![0; CHUNK];
        while found < expected {
            let want = (expected - found).min(CHUNK as u64) as usize;
            let got = self.read(&mut buffer[..want])?;
            found += got as u64;
            if got < want {
                return Err(Error::Truncated { path: self.path.clone(), expected, found });
            }
            scalar.decode(&buffer[..got], big_endian, &mut sink);
        }
        self.check_sum()
    }

    /// Where everything promised was read: reads on, so that a packed stream checks its sum.
    pub fn check_sum(&mut self) -> Result<()> {
        if !self.packed {
            return Ok(());
        }
        loop {
            match self.reader.read(&mut [0]) {
                Ok(_) => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::UnexpectedEof => {
                    return Err(Error::malformed(
                        &self.path,
                        "compressed data",
                        "a check sum after the image",
                        "the end of the file",
                        "copy or export the file again",
                    ));
                }
                Err(e) => return Err(self.failure(e)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        assert!(matches!(open_regular(&path), Err(Error::Unreadable { .. })));
        std::fs::write(&path, "text").unwrap();
        assert_eq!(open_regular(&path).unwrap().metadata().unwrap().len(), 4);
        let mut refused = vec![folder.path()];
        if cfg!(unix) {
            refused.push(Path::new("/dev/zero"));
        }
        for path in refused {
            let error = open_regular(path).unwrap_err().to_string();
            assert!(error.contains("not a regular file"), "{error}");
        }
    }

    #[test]
    fn text_of_files_is_cut_and_cannot_steer_a_terminal() {
        assert_eq!(quoted("50% ü"), "\"50% ü\"");
        assert_eq!(quoted("\u{1b}[2J\n\u{202e}"), r#""\u{1b}[2J\n\u{202e}""#);
        assert_eq!(quoted(&"x".repeat(60)), format!("\"{}\"", "x".repeat(60)));
        assert_eq!(quoted(&"x".repeat(61)), format!("\"{}…\"", "x".repeat(60)));
    }
}
