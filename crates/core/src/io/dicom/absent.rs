//! In place of DICOM, where it was not built in.

use std::path::Path;

use super::Opened;
use crate::image::Pixels;
use crate::{Error, Result};

/// There is none.
pub(super) enum Clip {}

impl Clip {
    pub fn open(path: &Path) -> Result<Clip> {
        Err(not_built(path))
    }

    pub fn frames(&self) -> usize {
        match *self {}
    }

    pub fn pixels(&mut self) -> Result<Pixels> {
        match *self {}
    }
}

/// There is none.
pub(super) enum Slice {}

impl Slice {
    pub fn samples(&self, _: impl FnMut(f64)) -> Result<()> {
        match *self {}
    }
}

pub(super) fn open_series(folder: &Path) -> Result<Opened> {
    Err(not_built(folder))
}

fn not_built(path: &Path) -> Error {
    let advice = "convert it, or use a program built with the feature `dicom`";
    Error::malformed(path, "image", "another format than DICOM", "DICOM, or a folder", advice)
}
