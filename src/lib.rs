//! A lean CPU runtime for image registration and landmark detection during a procedure.
//! Modules stand in the order data flows.

#![deny(unsafe_code)]

mod error;
mod probe;

pub mod memory;

pub mod image;
pub mod io;
pub mod preprocess;
pub mod package;
pub mod engine;
pub mod registration;
pub mod segmentation;
pub mod landmarks;
pub mod quantise;
pub mod import;
pub mod metrics;
pub mod evaluate;
pub mod bench;
pub mod phantom;
pub mod display;
pub mod html;
pub mod cli;

pub use error::{Error, Result};
pub use probe::{Probe, Stage, StageTimes};

/// The documents' code compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../docs/landmarks.md")]
struct LandmarksPage;
