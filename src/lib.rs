//! A lean CPU runtime for image registration and landmark detection during a procedure.
//!
//! What a program needs to run packages on images comes from `intraop-core`; here are the tools
//! around it: a benchmark, evaluation against the truth, quantization, the import of foreign
//! networks, a look at the device, pictures and pages. Modules stand in the order data flows.

pub use intraop_core::{
    Error, Probe, Result, Stage, StageTimes, Subject, image, io, landmarks, memory, metrics,
    package, phantom, preprocess, registration, segmentation, session, timed,
};
pub use intraop_engine as engine;

pub mod device;
pub mod doctor;
pub mod quantize;
#[cfg(feature = "import")]
pub mod import;
pub mod html;
pub mod evaluate;
pub mod bench;
#[cfg(feature = "display")]
pub mod display;

/// The documents' code compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../docs/landmarks.md")]
struct LandmarksPage;
