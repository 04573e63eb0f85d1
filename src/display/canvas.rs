use std::convert::Infallible;

use embedded_graphics::Pixel;
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::text::{Alignment, Baseline, Text, TextStyleBuilder};

use super::picture::{Picture, Rgb};

/// An RGB image on which embedded-graphics draws; whatever falls outside is dropped.
pub(super) struct Canvas {
    pub image: Picture,
}

impl Canvas {
    pub fn new(width: u32, height: u32, background: Rgb) -> Self {
        Canvas { image: Picture::filled(width, height, background) }
    }

    /// Writes one line of text with its top at `at.1`; `at.0` is its left, middle or right end
    /// after `alignment`. The built-in fonts hold Latin-1 only, so arrows become `->` and `<-`.
    pub fn text(
        &mut self,
        text: &str,
        at: (i32, i32),
        alignment: Alignment,
        font: &MonoFont,
        color: Rgb,
    ) {
        let text = text.replace('→', "->").replace('←', "<-").replace(['–', '−'], "-");
        let [r, g, b] = color.0;
        let style = MonoTextStyle::new(font, Rgb888::new(r, g, b));
        let layout = TextStyleBuilder::new().alignment(alignment).baseline(Baseline::Top).build();
        let Ok(_) = Text::with_text_style(&text, Point::new(at.0, at.1), style, layout).draw(self);
    }

    pub fn fill(&mut self, at: (i32, i32), size: (u32, u32), color: impl Fn(u32) -> Rgb) {
        let strip = Picture::from_fn(size.0, size.1, |x, _| color(x));
        self.place(&strip, at);
    }

    /// Copies `panel` with its top left corner at `at`.
    pub fn place(&mut self, panel: &Picture, at: (i32, i32)) {
        self.image.place(panel, at);
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
        for Pixel(at, color) in pixels {
            let (Ok(x), Ok(y)) = (u32::try_from(at.x), u32::try_from(at.y)) else { continue };
            if let Some(pixel) = self.image.pixel_mut(x, y) {
                *pixel = Rgb([color.r(), color.g(), color.b()]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_graphics::mono_font::iso_8859_1::FONT_6X10;

    fn drawn(text: &str, at: (i32, i32)) -> Picture {
        let mut canvas = Canvas::new(60, 14, Rgb([0; 3]));
        canvas.text(text, at, Alignment::Left, &FONT_6X10, Rgb([9, 8, 7]));
        canvas.image
    }

    #[test]
    fn an_arrow_is_spelt_and_text_outside_is_cut() {
        assert_eq!(drawn("1 → 2", (2, 1)), drawn("1 -> 2", (2, 1)));
        assert_ne!(drawn("1 → 2", (2, 1)), drawn("1 ? 2", (2, 1)));
        let cut = drawn("wide text over the edge", (-5, 8));
        assert_eq!((cut.width(), cut.height()), (60, 14));
        assert!(cut.pixels().iter().any(|p| p.0 == [9, 8, 7]));
    }
}
