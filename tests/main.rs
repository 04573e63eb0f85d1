//! The real program on real files, one module per subject.

mod bad_input;
mod bench;
mod common;
mod doctor;
mod evaluate;
mod evaluate_frames;
#[cfg(feature = "full")]
mod import;
mod landmarks;
mod library;
mod models;
mod quantize;
mod register;
