//! DICOM: `crate::io::dicom` does the work.

use super::{Opened, Reader};
use crate::Result;
use crate::image::Pixels;
use crate::io::dicom::Clip;

pub(super) fn open(opened: Opened) -> Result<(usize, Box<dyn Reader>)> {
    let clip = Clip::open(opened.path)?;
    Ok((clip.frames(), Box::new(clip)))
}

impl Reader for Clip {
    fn next(&mut self) -> Result<Pixels> {
        self.pixels()
    }
}
