//! Another number of pixels, as OpenCV computes it.
//!
//! The pixels are those of `cv2.resize` of OpenCV 4 and 5 on x86-64 with its own code
//! (`cv2.ipp.setUseIPP(False)`), bit for bit. The released wheels call Intel's IPP for bicubic and
//! for 16-bit and f32 bilinear, which is closed, differs from CPU to CPU and is missing on ARM;
//! bilinear and area of 8 bits, and all area, are never IPP's.
//! Where OpenCV's vector and scalar code differ (bicubic: the order of the sum, and for 8 bits the
//! scalar code's fixed point), each pixel is computed as there: in whole vectors of SSE from the
//! left by the vector code, the rest of a row by the scalar code.

mod area;
mod fixed;
mod float;
mod rows;
mod taps;
mod windows;

use serde::{Deserialize, Serialize};

use super::Smoothed;
use crate::image::Frame;
use intraop_engine::Simd;

/// Another number of pixels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resize {
    pub width: usize,
    pub height: usize,
    pub interpolation: Interpolation,
    /// The frame keeps its ratio of width to height, and fills `width` or `height` only.
    #[serde(default)]
    pub keep_aspect: bool,
}

/// How a pixel between pixels is computed; by OpenCV's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// `INTER_LINEAR`, bilinear: for small changes of size.
    Linear,
    /// `INTER_CUBIC`, bicubic (a = −¾): for enlarging.
    Cubic,
    /// `INTER_AREA`, the mean of the area that a pixel covers: for shrinking.
    Area,
}

impl Resize {
    /// The width and height of the result for a frame of a width and height.
    pub fn size(&self, from: [usize; 2]) -> [usize; 2] {
        let [width, height] = from.map(|n| n as f64);
        if !self.keep_aspect {
            return [self.width, self.height];
        }
        let scale = (self.width as f64 / width).min(self.height as f64 / height);
        let whole = |n: f64, most: usize| ((n * scale).round() as usize).clamp(1, most);
        [whole(width, self.width), whole(height, self.height)]
    }

    /// The frame with [`size`](Self::size) pixels. What a pixel measures changes with it.
    ///
    /// # Panics
    /// If the frame or the result has no pixel.
    pub fn apply<T: Resizable>(&self, simd: Simd, frame: &Frame<T>) -> Frame<T> {
        let [width, height] = self.size(frame.size());
        let mut out = Frame::filled(width, height, T::default());
        out.spacing = frame.spacing.map(|[x, y]| {
            [x * frame.width as f64 / width as f64, y * frame.height as f64 / height as f64]
        });
        if frame.size() == [width, height] {
            out.data.copy_from_slice(&frame.data);
            return out;
        }
        let shrinks = width <= frame.width && height <= frame.height;
        let halves = [2 * width, 2 * height] == frame.size();
        match self.interpolation {
            // OpenCV does so, too.
            Interpolation::Linear if halves => area::resize(simd, frame, &mut out),
            Interpolation::Area if shrinks => area::resize(simd, frame, &mut out),
            Interpolation::Cubic => T::cubic(simd, frame, &mut out),
            _ => T::linear(simd, frame, &mut out, self.interpolation == Interpolation::Area),
        }
        out
    }
}

/// A sample of a frame that can be resized: `u8`, `u16` or `f32`.
pub trait Resizable: Smoothed + area::Summed {
    /// `covered`: by the area that a pixel covers, where that is less than a pixel of `from`.
    fn linear(simd: Simd, from: &Frame<Self>, to: &mut Frame<Self>, covered: bool);

    fn cubic(simd: Simd, from: &Frame<Self>, to: &mut Frame<Self>);
}

impl Resizable for u8 {
    fn linear(simd: Simd, from: &Frame<u8>, to: &mut Frame<u8>, covered: bool) {
        fixed::linear(simd, from, to, covered);
    }

    fn cubic(simd: Simd, from: &Frame<u8>, to: &mut Frame<u8>) {
        fixed::cubic(simd, from, to);
    }
}

impl Resizable for u16 {
    fn linear(simd: Simd, from: &Frame<u16>, to: &mut Frame<u16>, covered: bool) {
        float::linear(simd, from, to, covered);
    }

    fn cubic(simd: Simd, from: &Frame<u16>, to: &mut Frame<u16>) {
        float::cubic(simd, from, to, 8);
    }
}

impl Resizable for f32 {
    fn linear(simd: Simd, from: &Frame<f32>, to: &mut Frame<f32>, covered: bool) {
        float::linear(simd, from, to, covered);
    }

    fn cubic(simd: Simd, from: &Frame<f32>, to: &mut Frame<f32>) {
        float::cubic(simd, from, to, 4);
    }
}

#[cfg(test)]
mod tests;
