//! One JPEG image in memory: baseline, progressive and lossless, as files and as DICOM carry it.

use jpeg_decoder::{ColorTransform, Decoder, PixelFormat};

use super::pixels::MAX_PIXELS;

/// YCbCr → RGB of 8-bit samples, full range (ITU-R BT.601, DICOM PS3.3 C.7.6.3.1.2).
pub(super) fn rgb([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    let (y, cb, cr) = (f32::from(y), f32::from(cb) - 128.0, f32::from(cr) - 128.0);
    // `as` saturates.
    [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb].map(|v| v.round() as u8)
}

/// What three channels mean.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Colors {
    /// What the stream's markers say (JFIF, Adobe); the result is RGB.
    AsMarked,
    /// YCbCr, whatever the markers say; the result is RGB.
    YCbCr,
    /// As stored.
    Stored,
}

pub(super) enum Samples {
    U8(Vec<u8>),
    U16(Vec<u16>),
}

impl Samples {
    pub fn words(self) -> Vec<u16> {
        match self {
            Samples::U8(samples) => samples.into_iter().map(u16::from).collect(),
            Samples::U16(samples) => samples,
        }
    }
}

pub(super) struct Decoded {
    /// Width and height.
    pub size: [usize; 2],
    /// 1 or 3, side by side.
    pub channels: usize,
    pub samples: Samples,
    /// A TIFF header and its tags.
    pub exif: Option<Vec<u8>>,
}

/// Huffman codes have at least one bit, and one stands for at most a block of 8×8 samples (in
/// progressive images, too, every block's first coefficient has a code). Four components share
/// the bits at worst, so more pixels per byte than this is a wrong header.
const MOST_PIXELS_PER_BYTE: u64 = 64 * 8 * 4;

/// An image has a scan per component and refinement, some ten; each costs a pass over all pixels,
/// and may take no more than a few bytes.
const MOST_SCANS: u64 = 100;
const MOST_SCANNED: u64 = 1 << 30;

/// What a stream's markers tell before anything is decoded (ITU-T T.81 annex B).
#[derive(Default)]
struct Outline {
    scans: u64,
    /// Adobe's marker says that the colors are YCbCr.
    adobe_ycbcr: bool,
    lossless: bool,
    precision: u8,
    components: u8,
    subsampled: bool,
    restarts: bool,
    point_transform: bool,
}

impl Outline {
    /// Finds the markers as the decoder does: what lies between segments is passed over.
    fn of(bytes: &[u8]) -> Outline {
        let mut outline = Outline::default();
        let mut at = 2;
        while let Some([first, marker]) = bytes.get(at..at + 2) {
            if *first != 0xff || matches!(marker, 0 | 0xd0..=0xd7 | 0xff) {
                at += 1;
                continue;
            }
            let length = bytes.get(at + 2..at + 4).map(|l| u16::from_be_bytes([l[0], l[1]]));
            let end = at + 2 + usize::from(length.unwrap_or_default());
            let Some(content) = bytes.get(at + 4..end) else { break };
            match marker {
                0xd9 => break,
                0xda => {
                    outline.scans += 1;
                    outline.point_transform |= content.last().is_some_and(|b| b & 15 != 0);
                }
                0xdd => outline.restarts |= content != [0, 0],
                0xee if content.starts_with(b"Adobe") => {
                    outline.adobe_ycbcr = content.get(11) == Some(&1);
                }
                0xc0..=0xc3 if content.len() > 5 => {
                    outline.lossless = *marker == 0xc3;
                    (outline.precision, outline.components) = (content[0], content[5]);
                    outline.subsampled =
                        content[6..].as_chunks().0.iter().any(|[_, s, _]| *s != 0x11);
                }
                _ => {}
            }
            at = end;
        }
        outline
    }

    /// What the decoder would take too long for, or decode wrongly.
    fn defect(&self, pixels: u64) -> Option<String> {
        if self.scans > MOST_SCANS || self.scans * pixels > MOST_SCANNED {
            return Some(format!(
                "{} scans of {pixels} pixels, more than any image has",
                self.scans
            ));
        }
        if !self.lossless {
            return None;
        }
        let colors = self.components > 1;
        let what = if self.restarts {
            "restart intervals".into()
        } else if self.point_transform {
            "a point transform".into()
        } else if colors && self.subsampled {
            "subsampled colors".into()
        } else if self.precision < 8 || colors && self.precision != 8 {
            format!("{} components of {} bits", self.components, self.precision)
        } else {
            return None;
        };
        Some(format!("lossless JPEG with {what}, which is not decoded"))
    }
}

/// Decodes a whole image, or says in a few words why not.
pub(super) fn decode(bytes: &[u8], colors: Colors) -> Result<Decoded, String> {
    let complete = |e: jpeg_decoder::Error| match e {
        jpeg_decoder::Error::Io(_) => "the end of the data before that of the image".to_owned(),
        other => other.to_string(),
    };
    let mut decoder = Decoder::new(bytes);
    decoder.read_info().map_err(complete)?;
    let info = decoder.info().ok_or("no image")?;
    let size = [usize::from(info.width), usize::from(info.height)];
    let pixels = u64::from(info.width) * u64::from(info.height);
    let outline = Outline::of(bytes);
    let most = match outline.lossless {
        // Every sample has a code of its own.
        true => bytes.len() as u64 * 8 / u64::from(outline.components.max(1)),
        false => bytes.len() as u64 * MOST_PIXELS_PER_BYTE,
    };
    let most = most.min(MAX_PIXELS);
    if pixels > most {
        return Err(format!("{}×{} pixels, where at most {most} are possible", size[0], size[1]));
    }
    if let Some(defect) = outline.defect(pixels) {
        return Err(defect);
    }
    let channels = match info.pixel_format {
        PixelFormat::L8 | PixelFormat::L16 => 1,
        PixelFormat::RGB24 => 3,
        PixelFormat::CMYK32 => return Err("CMYK".into()),
    };
    match colors {
        Colors::YCbCr if channels == 3 => decoder.set_color_transform(ColorTransform::YCbCr),
        // Not `None`, which leaves the channels of a row one after the other.
        Colors::Stored if channels == 3 => decoder.set_color_transform(ColorTransform::RGB),
        _ => {}
    }
    let mut decoded = decoder.decode().map_err(complete)?;
    // The decoder leaves lossless colors as they are stored.
    let ycbcr = match colors {
        Colors::AsMarked => outline.adobe_ycbcr,
        Colors::YCbCr => true,
        Colors::Stored => false,
    };
    if outline.lossless && channels == 3 && ycbcr {
        decoded.as_chunks_mut().0.iter_mut().for_each(|pixel| *pixel = rgb(*pixel));
    }
    let samples = match info.pixel_format {
        PixelFormat::L16 => {
            Samples::U16(decoded.as_chunks().0.iter().map(|b| u16::from_ne_bytes(*b)).collect())
        }
        _ => Samples::U8(decoded),
    };
    let count = match &samples {
        Samples::U8(samples) => samples.len(),
        Samples::U16(samples) => samples.len(),
    };
    if count as u64 != pixels * channels as u64 {
        return Err(format!("{count} samples for {}×{} pixels", size[0], size[1]));
    }
    Ok(Decoded { size, channels, samples, exif: decoder.exif_data().map(<[u8]>::to_vec) })
}
