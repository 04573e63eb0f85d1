//! NIfTI-1 in one file (`n+1`), plain or gzip, either byte order.
//! Format: <https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h>.

mod header;

use std::io::{self, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::scalar::write_samples;
use super::source::Source;
use super::{Data, Opened, ScalarType, write_atomically};
use crate::image::Geometry;
use crate::{Error, Result};
use header::{Header, LENGTH};

/// Reads the header, checks it, and stands at the first sample.
pub(super) fn open(path: &Path) -> Result<Opened> {
    let mut source = Source::open(path)?;
    let mut bytes = [0; LENGTH];
    let got = source.read(&mut bytes)?;
    if got < LENGTH {
        return Err(Error::malformed(
            path,
            "NIfTI header",
            format!("{LENGTH} bytes"),
            got.to_string(),
            "copy or export the file again",
        ));
    }
    let header = Header::parse(path, &bytes)?;
    let skip = header.vox_offset - LENGTH as u64;
    let per_voxel = header.frames.iter().fold(header.scalar.bytes(), |n, f| n.saturating_mul(*f));
    source.admit(header.geometry.size, per_voxel, skip)?;
    source.skip(skip)?;
    Ok(Opened {
        geometry: header.geometry,
        scalar: header.scalar,
        scaling: header.scaling,
        frames: header.frames,
        channels: 1,
        intent: header.intent,
        data: Data::Stream { source, scalar: header.scalar, big_endian: header.big_endian },
    })
}

/// Writes `values` in memory order; gzip where the name ends in `.gz`. `frames` are the lengths of
/// the axes after z.
pub(super) fn write(
    path: &Path,
    geometry: &Geometry,
    frames: &[usize],
    intent: i16,
    scalar: ScalarType,
    values: impl Iterator<Item = f64>,
) -> Result<()> {
    let largest = i16::MAX as usize;
    if geometry.size.iter().any(|n| *n > largest) {
        return Err(Error::unusable(
            path.display().to_string(),
            format!("{geometry} has an axis longer than NIfTI-1's {largest}"),
            "write .mha instead",
        ));
    }
    let header = header::encode(geometry, frames, intent, scalar);
    let body = |out: &mut dyn Write| -> io::Result<()> {
        out.write_all(&header)?;
        write_samples(scalar, values, out)
    };
    let packed = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gz"));
    write_atomically(path, |out| {
        if !packed {
            return body(out);
        }
        // The fastest level: a result that waits for its file is late, and floats pack badly.
        let mut gzip = GzEncoder::new(out, Compression::fast());
        body(&mut gzip)?;
        gzip.finish().map(drop)
    })
}

#[cfg(test)]
mod tests;
