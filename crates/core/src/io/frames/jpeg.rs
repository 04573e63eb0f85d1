//! JPEG: gray and color, upright by its EXIF orientation. JFIF's density is about paper, not
//! tissue: no pixel size is taken from it.

use std::io::Read;
use std::path::PathBuf;

use super::turn::Turn;
use super::{MAX_PIXELS, Opened, Reader, interleaved8, interleaved16};
use crate::image::Pixels;
use crate::io::jpeg::{Colors, Samples, decode};
use crate::{Error, Result};

struct Jpeg {
    path: PathBuf,
    bytes: Vec<u8>,
}

pub(super) fn open(opened: Opened) -> Result<Box<dyn Reader>> {
    let Opened { path, file, length } = opened;
    // An uncompressed picture of the largest size is no smaller than this.
    let limit = MAX_PIXELS * 3;
    if length > limit {
        return Err(Error::TooLarge { path: path.to_owned(), promised: length, limit });
    }
    let mut bytes = Vec::new();
    file.take(limit)
        .read_to_end(&mut bytes)
        .map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
    Ok(Box::new(Jpeg { path: path.to_owned(), bytes }))
}

impl Reader for Jpeg {
    fn next(&mut self) -> Result<Pixels> {
        let decoded = decode(&self.bytes, Colors::AsMarked).map_err(|found| {
            let advice = "copy or export the file again";
            Error::malformed(&self.path, "JPEG picture", "gray or RGB, complete", found, advice)
        })?;
        let turn = decoded.exif.map_or(Turn::default(), |exif| Turn::of_exif(&exif));
        Ok(turn.apply(match decoded.samples {
            Samples::U8(samples) => interleaved8(decoded.size, decoded.channels, samples),
            Samples::U16(samples) => interleaved16(decoded.size, decoded.channels, samples),
        }))
    }
}
