//! Colours to gray.

use crate::engine::{Simd, vectorised};
use crate::image::Frame;

/// Luma by ITU-R BT.601, 0.299 R + 0.587 G + 0.114 B, in steps of 2⁻¹⁵: the pixels of OpenCV's
/// `cvtColor` (`COLOR_RGB2GRAY`, `COLOR_RGBA2GRAY`) for 8 and 16 bits, where its vector and scalar
/// code agree. Opacity is left out.
pub fn grayscale<T: Channel, const C: usize>(simd: Simd, frame: &Frame<[T; C]>) -> Frame<T> {
    let mut gray = vec![T::default(); frame.data.len()];
    luma(simd, &frame.data, &mut gray);
    frame.with(gray)
}

/// The weights of red, green and blue times 2¹⁵.
const WEIGHTS: [u32; 3] = [9798, 19235, 3735];
const SHIFT: u32 = 15;

/// A sample of a colour: `u8` or `u16`.
pub trait Channel: Copy + Default + Into<u32> {
    fn narrowed(value: u32) -> Self;
}

impl Channel for u8 {
    #[inline(always)]
    fn narrowed(value: u32) -> u8 {
        value as u8
    }
}

impl Channel for u16 {
    #[inline(always)]
    fn narrowed(value: u32) -> u16 {
        value as u16
    }
}

vectorised! {
    fn luma[T: Channel, const C: usize](colours: &[[T; C]], gray: &mut [T]) {
        for (gray, colour) in gray.iter_mut().zip(colours) {
            let [r, g, b] = [0, 1, 2].map(|c| WEIGHTS[c] * colour[c].into());
            *gray = T::narrowed((r + g + b + (1 << (SHIFT - 1))) >> SHIFT);
        }
    }
}
