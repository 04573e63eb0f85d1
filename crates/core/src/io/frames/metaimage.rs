//! MetaImage: one frame, or a sequence as PLUS writes it, unpacked frame by frame.

use std::path::{Path, PathBuf};

use super::turn::Turn;
use super::{Opened, Reader, admit, interleaved8, interleaved16, plausible, set_spacing};
use crate::image::{Frame, Pixels};
use crate::io::metaimage::{Sequence, open_sequence};
use crate::io::source::quoted;
use crate::io::{LARGEST, ScalarType, usable};
use crate::{Error, Result};

struct MetaImage {
    path: PathBuf,
    sequence: Sequence,
    spacing: Option<[f64; 2]>,
    turn: Turn,
    /// Frames after the next one.
    left: usize,
}

pub(super) fn open(opened: Opened) -> Result<(usize, Box<dyn Reader>)> {
    let path = opened.path;
    let sequence = open_sequence(path)?;
    let color = matches!(sequence.scalar, ScalarType::U8 | ScalarType::U16);
    if !matches!((sequence.channels, color), (1, _) | (3 | 4, true)) {
        return Err(Error::malformed(
            path,
            "channels",
            "1, or 3 or 4 of uint8 or uint16",
            format!("{} of {}", sequence.channels, sequence.scalar),
            "export gray or color frames",
        ));
    }
    let per_pixel = sequence.channels * sequence.scalar.bytes();
    admit(path, sequence.size, per_pixel, u64::MAX)?;
    let turn = turn_of(path, sequence.orientation.as_deref())?;
    let frames = sequence.frames;
    let spacing = known(path, sequence.spacing);
    let reader = MetaImage { path: path.to_owned(), sequence, spacing, turn, left: frames };
    Ok((frames, Box::new(reader)))
}

/// What brings a frame to PLUS's orientation MF, as it is on the scanner's screen: columns towards
/// the transducer's marked side, rows away from it. The first letter says where x leads (Marked
/// or Unmarked side, Far from or Near the transducer), the second where y leads; a third is about
/// the order of frames. `US_IMAGE_ORIENTATION` in IGSIO's `igsioCommon.h`.
fn turn_of(path: &Path, orientation: Option<&str>) -> Result<Turn> {
    let text = orientation.unwrap_or("XX");
    let axes = match text.as_bytes() {
        [x, y] | [x, y, b'A' | b'D'] => [*x, *y],
        _ => [0; 2],
    };
    let (transpose, [x, y]) = match axes {
        // Nobody said.
        [b'X', b'X'] => return Ok(Turn::default()),
        [b'M' | b'U', b'F' | b'N'] => (false, axes),
        [y @ (b'F' | b'N'), x @ (b'M' | b'U')] => (true, [x, y]),
        _ => {
            let expected = "two of the letters M, U and F, N, as MF";
            let found = quoted(text);
            let advice = "export the sequence as MF";
            let what = "UltrasoundImageOrientation";
            return Err(Error::malformed(path, what, expected, found, advice));
        }
    };
    Ok(Turn { transpose, flip_x: x == b'U', flip_y: y == b'N' })
}

impl Reader for MetaImage {
    fn next(&mut self) -> Result<Pixels> {
        let sequence = &mut self.sequence;
        let [width, height] = sequence.size;
        let samples = width * height * sequence.channels;
        let mut bytes = vec![0; samples * sequence.scalar.bytes()];
        sequence.source.fill(&mut bytes)?;
        self.left -= 1;
        if self.left == 0 {
            sequence.source.check_sum()?;
        }
        let mut pixels = match sequence.scalar {
            ScalarType::U8 => interleaved8(sequence.size, sequence.channels, bytes),
            ScalarType::U16 => {
                let of = if sequence.big_endian { u16::from_be_bytes } else { u16::from_le_bytes };
                let words = bytes.as_chunks().0.iter().map(|b| of(*b)).collect();
                interleaved16(sequence.size, sequence.channels, words)
            }
            scalar => {
                let mut data = Vec::with_capacity(samples);
                scalar.decode(&bytes, sequence.big_endian, |v| data.push(v as f32));
                if !data.iter().all(|v| usable(*v)) {
                    return Err(Error::unusable(
                        self.path.display().to_string(),
                        format!("a frame has samples that are not finite or beyond {LARGEST:e}"),
                        "replace them with finite values, for example 0",
                    ));
                }
                Pixels::Float(Frame::new(width, height, data))
            }
        };
        set_spacing(&mut pixels, self.spacing);
        Ok(self.turn.apply(pixels))
    }
}

/// 1 1 is what a writer puts that knows no size. PLUS always does: its scale is in the transform
/// ImageToProbe, which is not in the file.
fn known(path: &Path, spacing: [f64; 2]) -> Option<[f64; 2]> {
    if spacing == [1.0; 2] {
        return None;
    }
    let spacing = plausible(spacing);
    if spacing.is_none() {
        log::warn!("{}: no pixel size: ElementSpacing is not plausible", path.display());
    }
    spacing
}
