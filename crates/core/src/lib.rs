//! Images, packages, and what a package does with images: registration, landmarks and areas, on a
//! CPU, during a procedure. Modules stand in the order data flows; none uses one below it.

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
pub mod phantom;
pub mod package;
pub mod session;
pub mod metrics;
pub mod segmentation;
pub mod landmarks;
pub mod registration;

pub use error::{Error, Result, Subject};
pub use probe::{Probe, Stage, StageTimes, timed};
