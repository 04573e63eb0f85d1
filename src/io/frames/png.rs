//! PNG of every colour type and depth: palettes and fewer than 8 bits are expanded, 16 bits and
//! opacity are kept, and the picture is upright by its EXIF orientation. `pHYs` is about paper or screen, not tissue: no pixel size is taken from it.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use image::codecs::png::PngDecoder;
use image::{ColorType, ImageDecoder, ImageError, Limits};

use super::turn::Turn;
use super::{MAX_PIXELS, Opened, Reader, admit, interleaved8, interleaved16};
use crate::image::Pixels;
use crate::io::source::most_unpacked;
use crate::{Error, Result};

struct Png {
    path: PathBuf,
    turn: Turn,
    decoder: Option<PngDecoder<BufReader<File>>>,
}

pub(super) fn open(opened: Opened) -> Result<Box<dyn Reader>> {
    let Opened { path, file, length } = opened;
    // Bounds what the decoder keeps beside the picture: a row, a palette, a colour profile.
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_PIXELS);
    let mut decoder = PngDecoder::with_limits(file, limits).map_err(|e| wrong(path, e))?;
    let (width, height) = decoder.dimensions();
    let per_pixel = usize::from(decoder.color_type().bytes_per_pixel());
    // A pixel of one bit or of a palette is unpacked to at most 4 bytes.
    let most = most_unpacked(length).saturating_mul(8 * 4);
    admit(path, [width as usize, height as usize], per_pixel, most)?;
    let exif = decoder.exif_metadata().map_err(|e| wrong(path, e))?;
    let turn = exif.map_or(Turn::default(), |exif| Turn::of_exif(&exif));
    Ok(Box::new(Png { path: path.to_owned(), turn, decoder: Some(decoder) }))
}

impl Reader for Png {
    fn next(&mut self) -> Result<Pixels> {
        let decoder = self.decoder.take().expect("a picture has one frame");
        let (width, height) = decoder.dimensions();
        let size = [width as usize, height as usize];
        let colour = decoder.color_type();
        let mut bytes = vec![0; size[0] * size[1] * usize::from(colour.bytes_per_pixel())];
        decoder.read_image(&mut bytes).map_err(|e| wrong(&self.path, e))?;
        let channels = usize::from(colour.channel_count());
        Ok(self.turn.apply(match colour {
            ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16 => {
                let samples = bytes.as_chunks().0.iter().map(|b| u16::from_ne_bytes(*b));
                interleaved16(size, channels, samples.collect())
            }
            _ => interleaved8(size, channels, bytes),
        }))
    }
}

fn wrong(path: &Path, error: ImageError) -> Error {
    let (expected, advice) = match error {
        ImageError::Limits(_) => ("one of a size that can be read", "crop or reduce it"),
        _ => ("an intact file", "copy or export the file again"),
    };
    Error::malformed(path, "PNG picture", expected, error.to_string(), advice)
}
