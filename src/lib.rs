//! A lean CPU runtime for image registration and landmark detection during a procedure.
//! Modules stand in the order data flows.

#![deny(unsafe_code)]
// On other CPUs there is the scalar level alone: what vectors need is there and not used.
#![cfg_attr(
    not(any(target_arch = "x86_64", target_arch = "aarch64")),
    allow(dead_code, unused_imports, unused_variables, unreachable_code)
)]

mod error;
mod probe;

pub mod memory;

pub mod image;
pub mod io;
pub mod preprocess;
pub mod package;
pub mod onnx;
pub mod engine;
pub mod registration;
pub mod segmentation;
pub mod landmarks;
pub mod quantise;
#[cfg(feature = "import")]
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
