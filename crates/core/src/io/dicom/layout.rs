//! What the header says of the pixels: PS3.3 C.7.6.3.

use super::dataset::{DataSet, PIXEL_DATA, shown};
use crate::io::pixels::MAX_PIXELS;
use crate::{Error, Result};

/// `PhotometricInterpretation`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Photometric {
    /// The lowest value is white.
    Monochrome1,
    Monochrome2,
    Rgb,
    YbrFull,
    /// In uncompressed data, two pixels in a row share their color: Y Y Cb Cr.
    YbrFull422,
    Palette,
}

pub(super) struct Layout {
    pub width: usize,
    pub height: usize,
    pub frames: usize,
    pub photometric: Photometric,
    /// 1 or 3.
    pub channels: usize,
    /// All of a channel's samples lie together.
    pub planar: bool,
    /// 8 or 16.
    pub allocated: u32,
    /// The bits of a sample that count, and the lowest of them.
    pub stored: u32,
    pub lowest: u32,
    pub signed: bool,
    /// Stored value → value.
    pub slope: f64,
    pub intercept: f64,
}

impl Layout {
    /// Checks it, and that a frame is no larger than [`MAX_PIXELS`].
    pub fn of(set: &DataSet) -> Result<Layout> {
        let values = &set.values;
        if values.has(0x7fe0_0008) || values.has(0x7fe0_0009) {
            return Err(set.wrong("PixelData", "whole numbers", "floating point"));
        }
        if !values.has(PIXEL_DATA) {
            return Err(set.wrong("PixelData", "an image", "none"));
        }
        let word = |tag, name: &str| {
            values.word(tag).map(u32::from).ok_or_else(|| set.wrong(name, "a number", "none"))
        };
        let rows = word(0x0028_0010, "Rows")?;
        let columns = word(0x0028_0011, "Columns")?;
        let pixels = u64::from(rows) * u64::from(columns);
        if pixels == 0 || pixels > MAX_PIXELS {
            let found = format!("{columns}×{rows}");
            return Err(set.wrong("size of the frame", format!("1 to {MAX_PIXELS} pixels"), found));
        }
        let (photometric, channels) = photometric(set)?;
        let found = word(0x0028_0002, "SamplesPerPixel").unwrap_or(1);
        if found as usize != channels {
            return Err(set.wrong("SamplesPerPixel", channels.to_string(), found));
        }
        let allocated = word(0x0028_0100, "BitsAllocated")?;
        if !matches!(allocated, 8 | 16) {
            return Err(set.wrong("BitsAllocated", "8 or 16", allocated));
        }
        if matches!(photometric, Photometric::YbrFull | Photometric::YbrFull422) && allocated != 8 {
            return Err(set.wrong("BitsAllocated", "8 for YBR_FULL and YBR_FULL_422", allocated));
        }
        let stored = word(0x0028_0101, "BitsStored").unwrap_or(allocated);
        let high = word(0x0028_0102, "HighBit").unwrap_or(stored.saturating_sub(1));
        if stored == 0 || high >= allocated || stored > high + 1 {
            let found = format!("{stored}, the highest {high}");
            return Err(set.wrong("BitsStored", format!("1 to {allocated}"), found));
        }
        let frames = values.numbers(0x0028_0008).and_then(|n| n.first().copied()).unwrap_or(1.0);
        if !(1.0..=f64::from(i32::MAX)).contains(&frames) {
            return Err(set.wrong("NumberOfFrames", "at least 1", format!("{frames:?}")));
        }
        let [slope, intercept] = rescale(set)?;
        Ok(Layout {
            width: columns as usize,
            height: rows as usize,
            frames: frames as usize,
            photometric,
            channels,
            planar: channels == 3 && values.word(0x0028_0006) == Some(1),
            allocated,
            stored,
            lowest: high + 1 - stored,
            signed: values.word(0x0028_0103) == Some(1),
            slope,
            intercept,
        })
    }

    pub fn pixels(&self) -> usize {
        self.width * self.height
    }

    /// The number that a stored sample stands for, before any scaling.
    pub fn number(&self, sample: u16) -> i32 {
        let bits = i32::from(sample >> self.lowest) & ((1 << self.stored) - 1);
        match self.signed && bits >> (self.stored - 1) == 1 {
            true => bits - (1 << self.stored),
            false => bits,
        }
    }

    /// The least and the largest number.
    pub fn range(&self) -> (i32, i32) {
        match self.signed {
            true => (-(1 << (self.stored - 1)), (1 << (self.stored - 1)) - 1),
            false => (0, (1 << self.stored) - 1),
        }
    }

    /// Whether numbers and values are the same and not negative, so that they fit a pixel as it is.
    pub fn plain(&self) -> bool {
        !self.signed && (self.slope, self.intercept) == (1.0, 0.0)
    }
}

fn photometric(set: &DataSet) -> Result<(Photometric, usize)> {
    let text = set.values.text(0x0028_0004).unwrap_or_default();
    Ok(match text.as_str() {
        "MONOCHROME1" => (Photometric::Monochrome1, 1),
        "MONOCHROME2" => (Photometric::Monochrome2, 1),
        "PALETTE COLOR" => (Photometric::Palette, 1),
        "RGB" => (Photometric::Rgb, 3),
        "YBR_FULL" => (Photometric::YbrFull, 3),
        "YBR_FULL_422" => (Photometric::YbrFull422, 3),
        _ => {
            let expected = "MONOCHROME1 or 2, RGB, YBR_FULL, YBR_FULL_422 or PALETTE COLOR";
            return Err(set.wrong("PhotometricInterpretation", expected, shown(&text)));
        }
    })
}

/// Rescale slope and intercept.
fn rescale(set: &DataSet) -> Result<[f64; 2]> {
    if set.values.has(0x0028_3000) {
        let advice = "export the image with a rescale slope and intercept";
        let what = "ModalityLUTSequence";
        return Err(Error::malformed(&set.path, what, "none", "a table of values", advice));
    }
    let number = |tag, default: f64| match set.values.numbers(tag).as_deref() {
        None | Some([]) => Some(default).filter(|_| set.values.text(tag).unwrap_or_default() == ""),
        Some([v, ..]) => Some(*v).filter(|v| v.is_finite() && v.abs() <= 1e20),
    };
    match (number(0x0028_1053, 1.0), number(0x0028_1052, 0.0)) {
        (Some(slope), Some(intercept)) if slope != 0.0 => Ok([slope, intercept]),
        _ => Err(set.wrong("RescaleSlope and RescaleIntercept", "finite, not 0", "others")),
    }
}
