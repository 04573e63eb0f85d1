//! Colors to gray.

#![allow(unsafe_code)]

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::image::Frame;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
use intraop_engine::SimdLevel;
use intraop_engine::{Simd, vectorized};

/// Luma by ITU-R BT.601, 0.299 R + 0.587 G + 0.114 B, in steps of 2⁻¹⁵: the pixels of OpenCV's
/// `cvtColor` (`COLOR_RGB2GRAY`, `COLOR_RGBA2GRAY`) for 8 and 16 bits, where its vector and scalar
/// code agree. Opacity is left out.
pub fn grayscale<T: Channel, const C: usize>(simd: Simd, frame: &Frame<[T; C]>) -> Frame<T> {
    let mut gray = vec![T::default(); frame.data.len()];
    let done = T::blocks(simd, &frame.data, &mut gray);
    luma(simd, &frame.data[done..], &mut gray[done..]);
    frame.with(gray)
}

/// The weights of red, green and blue times 2¹⁵.
const WEIGHTS: [u16; 3] = [9798, 19235, 3735];
const SHIFT: u32 = 15;

/// A sample of a color: `u8` or `u16`.
pub trait Channel: Copy + Default + Into<u32> {
    fn narrowed(value: u32) -> Self;

    /// Luma of the first pixels by instructions made for that; tells of how many.
    fn blocks<const C: usize>(_: Simd, _: &[[Self; C]], _: &mut [Self]) -> usize {
        0
    }
}

impl Channel for u8 {
    #[inline(always)]
    fn narrowed(value: u32) -> u8 {
        value as u8
    }

    fn blocks<const C: usize>(simd: Simd, colors: &[[u8; C]], gray: &mut [u8]) -> usize {
        match simd.level() {
            // SAFETY, of all: a `Simd` is given out only for a level that the CPU has.
            #[cfg(target_arch = "x86_64")]
            SimdLevel::Avx512 | SimdLevel::Vnni => unsafe { x86::avx512(colors, gray) },
            #[cfg(target_arch = "x86_64")]
            SimdLevel::Avx2 | SimdLevel::AvxVnni => unsafe { x86::avx2(colors, gray) },
            #[cfg(target_arch = "aarch64")]
            SimdLevel::Neon | SimdLevel::DotProd => aarch64::neon(colors, gray),
            _ => 0,
        }
    }
}

impl Channel for u16 {
    #[inline(always)]
    fn narrowed(value: u32) -> u16 {
        value as u16
    }
}

vectorized! {
    fn luma[T: Channel, const C: usize](colors: &[[T; C]], gray: &mut [T]) {
        for (gray, color) in gray.iter_mut().zip(colors) {
            let [r, g, b] = [0, 1, 2].map(|c| u32::from(WEIGHTS[c]) * color[c].into());
            *gray = T::narrowed((r + g + b + (1 << (SHIFT - 1))) >> SHIFT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grays_are_opencvs_at_every_level() {
        // 101 colors: whole blocks and a rest.
        let color = |i: usize| [i * 37, i * 59 + 11, i * i].map(|v| (v % 256) as u8);
        let rgb = Frame::new(101, 1, (0..101).map(color).collect());
        let rgba = rgb.with(rgb.data.iter().map(|[r, g, b]| [*r, *g, *b, 255]).collect());
        let gray = grayscale(Simd::SCALAR, &rgb);
        // OpenCV 5.0.0: cv2.cvtColor(…, cv2.COLOR_RGB2GRAY).
        assert_eq!(gray.data[..8], [6, 52, 98, 145, 191, 88, 134, 105]);
        assert_eq!(gray.data.iter().map(|v| u32::from(*v)).sum::<u32>(), 12379);
        for simd in Simd::all() {
            assert_eq!(grayscale(simd, &rgb), gray, "{simd}");
            assert_eq!(grayscale(simd, &rgba), gray, "{simd}");
        }
    }
}
