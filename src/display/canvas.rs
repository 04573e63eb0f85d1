use std::convert::Infallible;

use ::image::{Rgb, RgbImage, imageops};
use embedded_graphics::Pixel;
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::text::{Alignment, Baseline, Text, TextStyleBuilder};

/// An RGB image on which embedded-graphics draws; whatever falls outside is dropped.
pub(super) struct Canvas {
    pub image: RgbImage,
}

impl Canvas {
    pub fn new(width: u32, height: u32, background: Rgb<u8>) -> Self {
        Canvas { image: RgbImage::from_pixel(width, height, background) }
    }

    /// Writes one line of text with its top at `at.1`; `at.0` is its left, middle or right end
    /// after `alignment`. The built-in fonts hold Latin-1 only, so arrows become `->` and `<-`.
    pub fn text(
        &mut self,
        text: &str,
        at: (i32, i32),
        alignment: Alignment,
        font: &MonoFont,
        colour: Rgb<u8>,
    ) {
        let text = text.replace('→', "->").replace('←', "<-").replace(['–', '−'], "-");
        let [r, g, b] = colour.0;
        let style = MonoTextStyle::new(font, Rgb888::new(r, g, b));
        let layout = TextStyleBuilder::new().alignment(alignment).baseline(Baseline::Top).build();
        let Ok(_) = Text::with_text_style(&text, Point::new(at.0, at.1), style, layout).draw(self);
    }

    pub fn fill(&mut self, at: (i32, i32), size: (u32, u32), colour: impl Fn(u32) -> Rgb<u8>) {
        let strip = RgbImage::from_fn(size.0, size.1, |x, _| colour(x));
        self.place(&strip, at);
    }

    /// Copies `panel` with its top left corner at `at`.
    pub fn place(&mut self, panel: &RgbImage, at: (i32, i32)) {
        imageops::replace(&mut self.image, panel, i64::from(at.0), i64::from(at.1));
    }
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        Size::new(self.image.width(), self.image.height())
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(
        &mut self,
        pixels: I,
    ) -> Result<(), Infallible> {
        for Pixel(at, colour) in pixels {
            let (Ok(x), Ok(y)) = (u32::try_from(at.x), u32::try_from(at.y)) else { continue };
            if let Some(pixel) = self.image.get_pixel_mut_checked(x, y) {
                *pixel = Rgb([colour.r(), colour.g(), colour.b()]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_graphics::mono_font::iso_8859_1::FONT_6X10;

    fn drawn(text: &str, at: (i32, i32)) -> RgbImage {
        let mut canvas = Canvas::new(60, 14, Rgb([0; 3]));
        canvas.text(text, at, Alignment::Left, &FONT_6X10, Rgb([9, 8, 7]));
        canvas.image
    }

    #[test]
    fn an_arrow_is_spelt_and_text_outside_is_cut() {
        assert_eq!(drawn("1 → 2", (2, 1)), drawn("1 -> 2", (2, 1)));
        assert_ne!(drawn("1 → 2", (2, 1)), drawn("1 ? 2", (2, 1)));
        let cut = drawn("wide text over the edge", (-5, 8));
        assert_eq!(cut.dimensions(), (60, 14));
        assert!(cut.pixels().any(|p| p.0 == [9, 8, 7]));
    }
}
