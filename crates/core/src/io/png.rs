//! Pictures as PNG files.

use std::io::Write;

use png::{BitDepth, ColorType, Compression, Encoder, Filter};

/// Writes 8-bit samples, row by row: one per pixel of a gray picture, three of RGB.
///
/// # Errors
/// Those of writing to `to`.
///
/// # Panics
/// If there are not 1 or 3 samples for each of `size` (width, height) pixels.
pub fn write_png(to: impl Write, size: [usize; 2], samples: &[u8]) -> std::io::Result<()> {
    let pixels: usize = size.iter().product();
    let color = match samples.len() / pixels.max(1) {
        1 => ColorType::Grayscale,
        3 => ColorType::Rgb,
        n => panic!("1 or 3 samples per pixel, not {n}"),
    };
    let mut encoder = Encoder::new(to, size[0] as u32, size[1] as u32);
    encoder.set_color(color);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::Fast);
    encoder.set_filter(Filter::Adaptive);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(samples)?;
    Ok(writer.finish()?)
}
