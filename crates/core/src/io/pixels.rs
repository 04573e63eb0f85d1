//! What the readers of frames share: how large a frame may be, which pixel sizes can be, samples
//! that lie side by side as pixels.

use crate::image::{Frame, Pixels};

/// No frame with more pixels is read: 2²⁶, a square of 8192.
pub const MAX_PIXELS: u64 = 1 << 26;

/// Whether a file begins as DICOM files do.
pub(super) fn is_dicom(start: &[u8]) -> bool {
    start.get(128..132) == Some(b"DICM")
}

/// A pixel size in mm that can be one: from a micrometer to five centimeters.
pub(super) fn plausible(spacing: [f64; 2]) -> Option<[f64; 2]> {
    spacing.iter().all(|mm| (1e-3..=50.0).contains(mm)).then_some(spacing)
}

pub(super) fn set_spacing(pixels: &mut Pixels, spacing: Option<[f64; 2]>) {
    *match pixels {
        Pixels::Gray8(frame) => &mut frame.spacing,
        Pixels::Gray16(frame) => &mut frame.spacing,
        Pixels::Rgb8(frame) => &mut frame.spacing,
        Pixels::Rgb16(frame) => &mut frame.spacing,
        Pixels::Rgba8(frame) => &mut frame.spacing,
        Pixels::Rgba16(frame) => &mut frame.spacing,
        Pixels::Float(frame) => &mut frame.spacing,
    } = spacing;
}

/// Pixels of samples that lie side by side: 1 channel gray, 2 gray and opacity, 3 RGB, 4 RGBA.
/// Opacity that is complete everywhere says nothing about a gray picture and is dropped.
macro_rules! interleaved {
    ($name:ident, $sample:ty, $gray:ident, $rgb:ident, $rgba:ident) => {
        pub(super) fn $name(
            [width, height]: [usize; 2],
            channels: usize,
            data: Vec<$sample>,
        ) -> Pixels {
            match channels {
                1 => Pixels::$gray(Frame::new(width, height, data)),
                2 => {
                    let (pairs, _) = data.as_chunks::<2>();
                    if pairs.iter().all(|[_, opacity]| *opacity == <$sample>::MAX) {
                        let gray = pairs.iter().map(|[v, _]| *v).collect();
                        return Pixels::$gray(Frame::new(width, height, gray));
                    }
                    let rgba = pairs.iter().map(|[v, opacity]| [*v, *v, *v, *opacity]).collect();
                    Pixels::$rgba(Frame::new(width, height, rgba))
                }
                3 => Pixels::$rgb(Frame::new(width, height, data.as_chunks::<3>().0.to_vec())),
                _ => Pixels::$rgba(Frame::new(width, height, data.as_chunks::<4>().0.to_vec())),
            }
        }
    };
}
interleaved!(interleaved8, u8, Gray8, Rgb8, Rgba8);
interleaved!(interleaved16, u16, Gray16, Rgb16, Rgba16);
