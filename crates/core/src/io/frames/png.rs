//! PNG of every color type and depth: palettes and fewer than 8 bits are expanded, 16 bits and
//! opacity are kept, and the picture is upright by its EXIF orientation. `pHYs` is about paper or
//! screen, not tissue: no pixel size is taken from it.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use png::{BitDepth, Decoder, DecodingError, Limits, Transformations};

use super::turn::Turn;
use super::{Opened, Reader, admit};
use crate::image::Pixels;
use crate::io::pixels::{MAX_PIXELS, interleaved8, interleaved16};
use crate::io::source::most_unpacked;
use crate::{Error, Result};

struct Png {
    path: PathBuf,
    turn: Turn,
    size: [usize; 2],
    reader: png::Reader<BufReader<File>>,
}

pub(super) fn open(opened: Opened) -> Result<Box<dyn Reader>> {
    let Opened { path, file, length } = opened;
    // Bounds what the decoder keeps beside the picture: a row, a palette, a color profile.
    let limits = Limits { bytes: MAX_PIXELS as usize };
    let mut decoder = Decoder::new_with_limits(file, limits);
    decoder.set_transformations(Transformations::EXPAND);
    let reader = decoder.read_info().map_err(|e| wrong(path, e))?;
    let (width, height) = reader.info().size();
    let size = [width as usize, height as usize];
    let (color, depth) = reader.output_color_type();
    let per_pixel = color.samples() * if depth == BitDepth::Sixteen { 2 } else { 1 };
    // A pixel of one bit or of a palette is unpacked to at most 4 bytes.
    let most = most_unpacked(length).saturating_mul(8 * 4);
    admit(path, size, per_pixel, most)?;
    let exif = reader.info().exif_metadata.as_deref();
    let turn = exif.map_or(Turn::default(), Turn::of_exif);
    Ok(Box::new(Png { path: path.to_owned(), turn, size, reader }))
}

impl Reader for Png {
    fn next(&mut self) -> Result<Pixels> {
        let (color, depth) = self.reader.output_color_type();
        let channels = color.samples();
        let bytes_per_sample = if depth == BitDepth::Sixteen { 2 } else { 1 };
        let mut bytes = vec![0; self.size[0] * self.size[1] * channels * bytes_per_sample];
        self.reader.next_frame(&mut bytes).map_err(|e| wrong(&self.path, e))?;
        Ok(self.turn.apply(match depth {
            BitDepth::Sixteen => {
                let samples = bytes.as_chunks().0.iter().map(|b| u16::from_be_bytes(*b));
                interleaved16(self.size, channels, samples.collect())
            }
            _ => interleaved8(self.size, channels, bytes),
        }))
    }
}

fn wrong(path: &Path, error: DecodingError) -> Error {
    let (expected, advice) = match error {
        DecodingError::LimitsExceeded => ("one of a size that can be read", "crop or reduce it"),
        _ => ("an intact file", "copy or export the file again"),
    };
    Error::malformed(path, "PNG picture", expected, error.to_string(), advice)
}
