//! One JPEG image in memory: baseline, progressive and lossless, as files and as DICOM carry it.

use jpeg_decoder::{ColorTransform, Decoder, PixelFormat};

use super::frames::MAX_PIXELS;

/// What three channels mean.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Colours {
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

/// Decodes a whole image, or says in a few words why not.
pub(super) fn decode(bytes: &[u8], colours: Colours) -> Result<Decoded, String> {
    let complete = |e: jpeg_decoder::Error| match e {
        jpeg_decoder::Error::Io(_) => "the end of the data before that of the image".to_owned(),
        other => other.to_string(),
    };
    let mut decoder = Decoder::new(bytes);
    decoder.read_info().map_err(complete)?;
    let info = decoder.info().ok_or("no image")?;
    let size = [usize::from(info.width), usize::from(info.height)];
    let pixels = u64::from(info.width) * u64::from(info.height);
    let most = MAX_PIXELS.min(bytes.len() as u64 * MOST_PIXELS_PER_BYTE);
    if pixels > most {
        return Err(format!("{}×{} pixels, where at most {most} are possible", size[0], size[1]));
    }
    let channels = match info.pixel_format {
        PixelFormat::L8 | PixelFormat::L16 => 1,
        PixelFormat::RGB24 => 3,
        PixelFormat::CMYK32 => return Err("CMYK".into()),
    };
    match colours {
        Colours::YCbCr if channels == 3 => decoder.set_color_transform(ColorTransform::YCbCr),
        // Not `None`, which leaves the channels of a row one after the other.
        Colours::Stored if channels == 3 => decoder.set_color_transform(ColorTransform::RGB),
        _ => {}
    }
    let decoded = decoder.decode().map_err(complete)?;
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
