//! The pixel data, frame by frame: uncompressed, RLE (PS3.5 annex G) and JPEG, in fragments
//! (PS3.5 A.4).

use std::path::Path;

use super::color::Palette;
use super::dataset::{DataSet, shown, unsupported};
use super::layout::{Layout, Photometric};
use super::spacing::spacing;
use crate::image::{Frame, Pixels};
use crate::io::jpeg::{self, Colors, Samples, rgb};
use crate::io::pixels::{interleaved8, interleaved16, set_spacing};
use crate::{Error, Result};

#[derive(Clone, Copy, PartialEq)]
enum Coding {
    Native,
    Rle,
    Jpeg,
}

/// A file's frames, one after the other.
pub(in crate::io) struct Clip {
    set: DataSet,
    pub(super) layout: Layout,
    spacing: Option<[f64; 2]>,
    coding: Coding,
    palette: Option<Palette>,
    /// A fragment that was read already and belongs to the next frame.
    waiting: Option<Vec<u8>>,
}

impl Clip {
    pub fn open(path: &Path) -> Result<Clip> {
        Clip::new(DataSet::open(path)?)
    }

    pub(super) fn new(mut set: DataSet) -> Result<Clip> {
        let mut layout = Layout::of(&set)?;
        let coding = coding(&set)?;
        if coding == Coding::Jpeg {
            // A decoded sample is a number; only stored words have it in some of their bits.
            layout.lowest = 0;
        }
        let shares = layout.photometric == Photometric::YbrFull422;
        if coding == Coding::Native && shares && !layout.width.is_multiple_of(2) {
            let expected = "an even number, as two pixels share a color (YBR_FULL_422)";
            return Err(set.wrong("Columns", expected, layout.width));
        }
        let palette = match layout.photometric {
            Photometric::Palette => Some(Palette::of(&set, layout.signed)?),
            _ => None,
        };
        match (coding, set.length) {
            (Coding::Native, Some(length)) => {
                let promised = native_bytes(&layout) as u64 * layout.frames as u64;
                let path = set.path.clone();
                if u64::from(length) < promised {
                    return Err(Error::Truncated {
                        path,
                        expected: promised,
                        found: length.into(),
                    });
                }
                // A byte pads to an even length. More is of an image of another size.
                if u64::from(length) > promised + 1 {
                    let expected = format!("{promised} bytes for the frames of the header");
                    return Err(set.wrong("PixelData", expected, length));
                }
                set.source.holds(promised, 0)?;
            }
            (Coding::Rle | Coding::Jpeg, None) => {
                // The table of offsets may be empty, and is not needed: what begins a frame is told
                // by its content. Every frame has at least the 8 bytes of an item's head.
                set.fragment()?;
                set.source.holds(8 * layout.frames as u64, 0)?;
            }
            (Coding::Native, None) => return Err(set.wrong("PixelData", "a length", "fragments")),
            _ => return Err(set.wrong("PixelData", "fragments", "a length")),
        }
        let spacing = spacing(&set);
        Ok(Clip { set, layout, spacing, coding, palette, waiting: None })
    }

    pub fn frames(&self) -> usize {
        self.layout.frames
    }

    /// The next frame as it is shown: MONOCHROME1 inverted, colors as RGB. Signed and rescaled
    /// samples become values, in floating point.
    pub fn pixels(&mut self) -> Result<Pixels> {
        let samples = self.samples()?;
        let layout = &self.layout;
        let size = [layout.width, layout.height];
        let (low, high) = layout.range();
        let shown = |sample: u16| match layout.photometric {
            Photometric::Monochrome1 => low + high - layout.number(sample),
            _ => layout.number(sample),
        };
        let mut pixels = match (samples, &self.palette) {
            (samples, Some(palette)) => palette.apply(size, samples.words().into_iter().map(shown)),
            (samples, None) if layout.channels == 1 && !layout.plain() => {
                let value = |s: u16| (f64::from(shown(s)) * layout.slope + layout.intercept) as f32;
                let data = samples.words().into_iter().map(value).collect();
                Pixels::Float(Frame::new(size[0], size[1], data))
            }
            (Samples::U8(mut samples), None) => {
                samples.iter_mut().for_each(|s| *s = shown((*s).into()) as u8);
                interleaved8(size, layout.channels, samples)
            }
            (Samples::U16(mut samples), None) => {
                samples.iter_mut().for_each(|s| *s = shown(*s) as u16);
                interleaved16(size, layout.channels, samples)
            }
        };
        set_spacing(&mut pixels, self.spacing);
        Ok(pixels)
    }

    /// Passes the next frame's values, rescaled, to `sink`.
    pub(super) fn values(&mut self, mut sink: impl FnMut(f64)) -> Result<()> {
        let samples = self.samples()?;
        let layout = &self.layout;
        for sample in samples.words() {
            sink(f64::from(layout.number(sample)) * layout.slope + layout.intercept);
        }
        Ok(())
    }

    /// The next frame's samples, channels side by side, YCbCr made RGB.
    fn samples(&mut self) -> Result<Samples> {
        match self.coding {
            Coding::Native => self.native(),
            Coding::Rle => self.rle(),
            Coding::Jpeg => self.jpeg(),
        }
    }

    fn native(&mut self) -> Result<Samples> {
        let mut bytes = vec![0; native_bytes(&self.layout)];
        self.set.source.fill(&mut bytes)?;
        if self.layout.photometric == Photometric::YbrFull422 {
            let pairs = bytes.as_chunks().0.iter();
            let pixels = pairs.flat_map(|[y0, y1, cb, cr]| [[*y0, *cb, *cr], [*y1, *cb, *cr]]);
            return Ok(Samples::U8(pixels.flat_map(rgb).collect()));
        }
        self.assemble(bytes, self.layout.planar)
    }

    /// Little-endian bytes as samples side by side.
    fn assemble(&self, bytes: Vec<u8>, planar: bool) -> Result<Samples> {
        let layout = &self.layout;
        if layout.allocated == 16 {
            let words: Vec<u16> =
                bytes.as_chunks().0.iter().map(|b| u16::from_le_bytes(*b)).collect();
            return Ok(Samples::U16(if planar { side_by_side(&words) } else { words }));
        }
        let mut bytes = if planar { side_by_side(&bytes) } else { bytes };
        if matches!(layout.photometric, Photometric::YbrFull | Photometric::YbrFull422) {
            bytes.as_chunks_mut().0.iter_mut().for_each(|pixel| *pixel = rgb(*pixel));
        }
        Ok(Samples::U8(bytes))
    }

    fn rle(&mut self) -> Result<Samples> {
        let Some(fragment) = self.set.fragment()? else {
            return Err(self.set.wrong("PixelData", "a fragment per frame", "fewer"));
        };
        let layout = &self.layout;
        let (pixels, depth) = (layout.pixels(), (layout.allocated / 8) as usize);
        let mut bytes = vec![0; pixels * layout.channels * depth];
        let segments = layout.channels * depth;
        for segment in 0..segments {
            // The bytes of a sample come most significant first, each in a segment of its own.
            let (channel, byte) = (segment / depth, depth - 1 - segment % depth);
            let at = channel * depth + byte;
            let out = bytes[at..].iter_mut().step_by(segments);
            unpack(&fragment, segment, segments, out)
                .map_err(|found| self.set.wrong("RLE frame", "a whole picture", found))?;
        }
        self.assemble(bytes, false)
    }

    fn jpeg(&mut self) -> Result<Samples> {
        let stream = self.jpeg_stream()?;
        let wrong = |found: String| self.set.wrong("JPEG frame", "a whole picture", found);
        let marked = marked_colors(&stream);
        let colors = match self.layout.photometric {
            Photometric::YbrFull | Photometric::YbrFull422 if marked != Some(Marked::Adobe) => {
                Colors::YCbCr
            }
            Photometric::Rgb if marked.is_none() => Colors::Stored,
            _ => Colors::AsMarked,
        };
        let decoded = jpeg::decode(&stream, colors).map_err(wrong)?;
        let layout = &self.layout;
        let size = [layout.width, layout.height];
        if decoded.size != size || decoded.channels != layout.channels {
            let [w, h] = decoded.size;
            let channels = decoded.channels;
            return Err(wrong(format!("{w}×{h} pixels of {channels} channels, unlike the header")));
        }
        match decoded.samples {
            Samples::U16(_) if layout.allocated == 8 => Err(wrong("more than 8 bits".into())),
            samples => Ok(samples),
        }
    }

    /// The next frame's fragments. A frame begins with a new fragment, and its stream with SOI,
    /// which nothing within a stream looks like.
    fn jpeg_stream(&mut self) -> Result<Vec<u8>> {
        let begins = |fragment: &[u8]| fragment.starts_with(&[0xff, 0xd8]);
        let mut stream = self.waiting.take().unwrap_or_default();
        while let Some(fragment) = self.set.fragment()? {
            if !stream.is_empty() && begins(&fragment) {
                self.waiting = Some(fragment);
                break;
            }
            stream.extend(fragment);
        }
        if stream.is_empty() {
            return Err(self.set.wrong("PixelData", "a stream per frame", "fewer"));
        }
        Ok(stream)
    }
}

/// Bytes of an uncompressed frame.
fn native_bytes(layout: &Layout) -> usize {
    let per_pixel = match layout.photometric {
        Photometric::YbrFull422 => 2,
        _ => layout.channels,
    };
    layout.pixels() * per_pixel * (layout.allocated / 8) as usize
}

fn coding(set: &DataSet) -> Result<Coding> {
    // PS3.6 annex A.
    let name = match set.syntax.as_str() {
        "1.2.840.10008.1.2" | "1.2.840.10008.1.2.1" | "1.2.840.10008.1.2.1.99" => {
            return Ok(Coding::Native);
        }
        "1.2.840.10008.1.2.5" => return Ok(Coding::Rle),
        // Baseline, extended, lossless in two kinds; the decoder refuses extended with 12 bits.
        "1.2.840.10008.1.2.4.50"
        | "1.2.840.10008.1.2.4.51"
        | "1.2.840.10008.1.2.4.57"
        | "1.2.840.10008.1.2.4.70" => return Ok(Coding::Jpeg),
        "1.2.840.10008.1.2.4.80" | "1.2.840.10008.1.2.4.81" => "JPEG-LS",
        "1.2.840.10008.1.2.4.90" | "1.2.840.10008.1.2.4.91" => "JPEG 2000",
        "1.2.840.10008.1.2.4.201" | "1.2.840.10008.1.2.4.202" | "1.2.840.10008.1.2.4.203" => {
            "High-Throughput JPEG 2000"
        }
        "1.2.840.10008.1.2.4.110" | "1.2.840.10008.1.2.4.111" | "1.2.840.10008.1.2.4.112" => {
            "JPEG XL"
        }
        uid => match uid.strip_prefix("1.2.840.10008.1.2.4.10") {
            Some(rest) if rest.starts_with(['0', '1']) => "MPEG-2 video",
            Some(rest) if rest.starts_with(['7', '8']) => "HEVC video",
            Some(_) => "MPEG-4 video",
            None => "another",
        },
    };
    let uid = shown(&set.syntax);
    Err(unsupported(&set.path, format!("{name} ({uid})")))
}

/// Planes as channels side by side.
fn side_by_side<T: Copy>(planes: &[T]) -> Vec<T> {
    let pixels = planes.len() / 3;
    (0..pixels).flat_map(|i| [planes[i], planes[pixels + i], planes[2 * pixels + i]]).collect()
}

/// Unpacks one RLE segment into `out`, or says what is wrong with it.
fn unpack<'a>(
    fragment: &[u8],
    segment: usize,
    segments: usize,
    mut out: impl ExactSizeIterator<Item = &'a mut u8>,
) -> Result<(), String> {
    let long = |i: usize| {
        let bytes = fragment.get(4 * i..4 * i + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
    };
    let header = |i| long(i).ok_or("a fragment shorter than its header");
    let count = header(0)?;
    if count != segments {
        return Err(format!("{count} segments instead of {segments}"));
    }
    let start = header(segment + 1)?;
    let end = if segment + 1 < segments { header(segment + 2)? } else { fragment.len() };
    let packed = fragment.get(start..end).ok_or("a segment outside its fragment")?;
    let mut packed = packed.iter();
    while out.len() > 0 {
        let short = || format!("{} bytes too few", out.len());
        match *packed.next().ok_or_else(short)? as i8 {
            i8::MIN => {}
            n @ ..0 => {
                let value = *packed.next().ok_or_else(short)?;
                out.by_ref().take(1 + usize::from(n.unsigned_abs())).for_each(|o| *o = value);
            }
            n => {
                for _ in 0..=n {
                    let value =
                        *packed.next().ok_or_else(|| format!("{} bytes too few", out.len()))?;
                    if let Some(o) = out.next() {
                        *o = value;
                    }
                }
            }
        }
    }
    Ok(())
}

#[derive(PartialEq)]
enum Marked {
    /// JFIF, which is always YCbCr.
    Jfif,
    /// Adobe's marker says which of RGB and YCbCr.
    Adobe,
}

/// Who marked the colors of a JPEG stream. The header's PhotometricInterpretation is often wrong
/// about streams that were put into DICOM as they came; their own marker is not.
fn marked_colors(stream: &[u8]) -> Option<Marked> {
    let mut at = 2;
    let mut jfif = None;
    while let Some([0xff, marker, high, low]) = stream.get(at..at + 4) {
        let content = &stream[at + 4..];
        match marker {
            0xda => break,
            0xe0 if content.starts_with(b"JFIF\0") => jfif = Some(Marked::Jfif),
            0xee if content.starts_with(b"Adobe") => return Some(Marked::Adobe),
            _ => {}
        }
        at += 2 + usize::from(u16::from_be_bytes([*high, *low]));
    }
    jfif
}
