//! NIfTI-1 in one file (`n+1`), plain or gzip, either byte order.
//! Format: <https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h>.

mod header;

use std::path::Path;

use super::Opened;
use super::source::Source;
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
        big_endian: header.big_endian,
        scaling: header.scaling,
        frames: header.frames,
        channels: 1,
        intent: header.intent,
        source,
    })
}
