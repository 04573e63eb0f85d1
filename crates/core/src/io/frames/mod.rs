//! The frames of a picture, a sequence or a clip, one at a time.
//!
//! | format | pixel size |
//! |---|---|
//! | PNG, JPEG | none: their densities are about paper, not tissue |
//! | MetaImage | `ElementSpacing`, unless it is 1 1, which a writer puts that knows none |
//! | DICOM | the ultrasound regions' calibration, else `PixelSpacing` |

mod dicom;
mod jpeg;
mod metaimage;
mod png;
mod turn;

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use super::pixels::{MAX_PIXELS, interleaved8, interleaved16, is_dicom, plausible, set_spacing};
use super::source::open_file;
use crate::image::Pixels;
use crate::{Error, Result};

/// What decodes the frames of one file, one after the other.
trait Reader: Send {
    /// The next frame. It is called once per frame.
    fn next(&mut self) -> Result<Pixels>;
}

/// The frames of a file, in order; [`open_frames`] makes it. Each is decoded when it is asked for,
/// and none is kept: the memory is that of one frame, however long the clip. `len()` is the
/// number of frames that are left.
pub struct Frames {
    path: PathBuf,
    left: usize,
    reader: Box<dyn Reader>,
}

impl Frames {
    /// The file they come from.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Iterator for Frames {
    type Item = Result<Pixels>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        Some(self.reader.next())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Frames {}

#[derive(Clone, Copy, PartialEq)]
enum Format {
    Png,
    Jpeg,
    MetaImage,
    Dicom,
}

/// The format by the name's ending or, where that says nothing, by the first bytes.
fn format_of(path: &Path, start: &[u8]) -> Result<Format> {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    match ending.as_str() {
        "png" => return Ok(Format::Png),
        "jpg" | "jpeg" => return Ok(Format::Jpeg),
        "mha" | "mhd" => return Ok(Format::MetaImage),
        "dcm" => return Ok(Format::Dicom),
        _ => {}
    }
    if start.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Ok(Format::Png);
    }
    if start.starts_with(&[0xff, 0xd8, 0xff]) {
        return Ok(Format::Jpeg);
    }
    if is_dicom(start) {
        return Ok(Format::Dicom);
    }
    Err(Error::malformed(
        path,
        "format of the frames",
        "PNG, JPEG, MetaImage (.mha, .mhd) or DICOM",
        "another file",
        "convert it, or rename it if it is one of these",
    ))
}

/// Opens a picture, a sequence or a clip and checks its header; the frames come from the iterator.
///
/// The ending chooses the format: `.png`, `.jpg`, `.jpeg`, `.mha`, `.mhd`, `.dcm`; a PNG, JPEG or
/// DICOM file with another name is told by its first bytes. A frame's [`spacing`](crate::image::Frame::spacing) is there only where the file states a
/// pixel size that can be trusted.
///
/// # Errors
/// An unreadable or malformed file, one in another format, and one that promises more than it can
/// hold or frames of more than [`MAX_PIXELS`]. What only the samples tell is the error of a frame.
pub fn open_frames(path: &Path) -> Result<Frames> {
    let unreadable = |source| Error::Unreadable { path: path.to_owned(), source };
    let (mut file, length) = open_file(path)?;
    let mut start = Vec::new();
    file.by_ref().take(132).read_to_end(&mut start).map_err(unreadable)?;
    file.rewind().map_err(unreadable)?;
    let opened = Opened { path, file, length };
    let (left, reader) = match format_of(path, &start)? {
        Format::Png => (1, png::open(opened)?),
        Format::Jpeg => (1, jpeg::open(opened)?),
        Format::MetaImage => metaimage::open(opened)?,
        Format::Dicom => dicom::open(opened)?,
    };
    Ok(Frames { path: path.to_owned(), left, reader })
}

/// A file that stands at its first byte.
struct Opened<'a> {
    path: &'a Path,
    file: BufReader<File>,
    length: u64,
}

/// Refuses frames without a pixel and those over [`MAX_PIXELS`] or over what `bytes` of file can
/// unpack to, before anything is allocated. A pixel takes `per_pixel` bytes.
fn admit(path: &Path, size: [usize; 2], per_pixel: usize, bytes: u64) -> Result<()> {
    let [width, height] = size.map(|n| n as u64);
    if width == 0 || height == 0 {
        return Err(Error::malformed(
            path,
            "size of the frame",
            "at least 1×1",
            format!("{width}×{height}"),
            "export the image again",
        ));
    }
    let pixels = width.saturating_mul(height);
    let promised = pixels.saturating_mul(per_pixel as u64);
    let limit = bytes.min(MAX_PIXELS * per_pixel as u64);
    match promised > limit {
        true => Err(Error::TooLarge { path: path.to_owned(), promised, limit }),
        false => Ok(()),
    }
}

#[cfg(test)]
pub(super) mod tests;
