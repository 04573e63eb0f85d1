//! DICOM: frames of ultrasound and other pictures, and folders with a CT or MR series.
//!
//! Only what the image needs is read ([`dataset`]); nothing that names a patient is, so none can
//! come into a message.

mod codec;
mod color;
mod dataset;
mod layout;
mod series;
mod spacing;

pub(super) use codec::Clip;
pub(super) use series::{Slice, open_series};

#[cfg(test)]
mod tests;
