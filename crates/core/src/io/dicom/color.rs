//! From stored samples to pixels: colors to RGB exactly once, palettes looked up.

use super::dataset::DataSet;
use crate::Result;
use crate::image::{Frame, Pixels};

/// The three tables of PALETTE COLOR (PS3.3 C.7.6.3.1.5).
pub(super) struct Palette {
    /// The number that takes the first entry; smaller ones take it too.
    first: i32,
    colors: Vec<[u16; 3]>,
    /// 8 or 16 bits of an entry count.
    bits: u16,
}

impl Palette {
    pub fn of(set: &DataSet, signed: bool) -> Result<Palette> {
        let wrong = |found: String| set.wrong("palette", "three tables of one size", found);
        if set.values.has(0x0028_1221) {
            return Err(wrong("segmented tables".into()));
        }
        let mut descriptors = [0x0028_1101, 0x0028_1102, 0x0028_1103].map(|t| set.values.words(t));
        let Some([count, first, bits]) =
            descriptors[0].take().and_then(|d| <[u16; 3]>::try_from(d).ok())
        else {
            return Err(wrong("no descriptor of three numbers".into()));
        };
        // Of 65536 entries only 16 bits are left to say so.
        let count = if count == 0 { 1 << 16 } else { usize::from(count) };
        let mut colors = vec![[0; 3]; count];
        for (channel, tag) in [0x0028_1201, 0x0028_1202, 0x0028_1203].into_iter().enumerate() {
            let bytes = set.values.bytes(tag).unwrap_or_default();
            // Entries of 8 bits are a word each, or two in one.
            let entries: Vec<u16> = match (bits, bytes.len()) {
                (8 | 16, n) if n >= 2 * count => {
                    bytes.as_chunks().0.iter().map(|b| u16::from_le_bytes(*b)).collect()
                }
                (8, n) if n >= count => bytes.iter().map(|b| u16::from(*b)).collect(),
                (_, n) => {
                    return Err(wrong(format!("{n} bytes for {count} entries of {bits} bits")));
                }
            };
            for (color, entry) in colors.iter_mut().zip(entries) {
                color[channel] = entry;
            }
        }
        let first = if signed { i32::from(first as i16) } else { i32::from(first) };
        Ok(Palette { first, colors, bits })
    }

    /// Looks up every number.
    pub fn apply(&self, [width, height]: [usize; 2], numbers: impl Iterator<Item = i32>) -> Pixels {
        let last = self.colors.len() as i64 - 1;
        let colors = numbers
            .map(|n| self.colors[(i64::from(n) - i64::from(self.first)).clamp(0, last) as usize]);
        match self.bits {
            8 => {
                let data = colors.map(|c| c.map(|v| v as u8)).collect();
                Pixels::Rgb8(Frame::new(width, height, data))
            }
            _ => Pixels::Rgb16(Frame::new(width, height, colors.collect())),
        }
    }
}
