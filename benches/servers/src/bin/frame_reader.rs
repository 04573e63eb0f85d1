//! The frames of a file as this library reads them, for Python to compare: arguments FILE OUT; a
//! line of JSON per frame on stdout, the samples of all frames in OUT, little endian.

use std::error::Error;
use std::io::Write;

use intraop_core::image::{Frame, Pixels};
use intraop_core::io;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [file, out] = arguments.as_slice() else { return Err("arguments: FILE OUT".into()) };
    let mut out = std::fs::File::create(out)?;
    for pixels in io::open_frames(file.as_ref())? {
        match pixels? {
            Pixels::Gray8(f) => tell(&mut out, "uint8", 1, &f, |v| vec![*v])?,
            Pixels::Gray16(f) => tell(&mut out, "uint16", 1, &f, |v| v.to_le_bytes().into())?,
            Pixels::Rgb8(f) => tell(&mut out, "uint8", 3, &f, |v| v.to_vec())?,
            Pixels::Rgba8(f) => tell(&mut out, "uint8", 4, &f, |v| v.to_vec())?,
            Pixels::Rgb16(f) => tell(&mut out, "uint16", 3, &f, |v| words(v))?,
            Pixels::Rgba16(f) => tell(&mut out, "uint16", 4, &f, |v| words(v))?,
            Pixels::Float(f) => tell(&mut out, "float32", 1, &f, |v| v.to_le_bytes().into())?,
        }
    }
    Ok(())
}

fn words(samples: &[u16]) -> Vec<u8> {
    samples.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn tell<T>(
    out: &mut impl Write,
    dtype: &str,
    channels: usize,
    frame: &Frame<T>,
    bytes: impl Fn(&T) -> Vec<u8>,
) -> std::io::Result<()> {
    let Frame { width, height, spacing, data } = frame;
    let shape = [*height, *width, channels];
    println!("{}", serde_json::json!({"dtype": dtype, "shape": shape, "spacing": spacing}));
    out.write_all(&data.iter().flat_map(bytes).collect::<Vec<u8>>())
}
