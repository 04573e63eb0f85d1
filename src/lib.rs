//! A lean CPU runtime for image registration and landmark detection during a procedure.
//! Modules stand in the order data flows.

#![forbid(unsafe_op_in_unsafe_fn)]

pub mod engine;
mod error;
pub mod image;
pub mod io;
pub mod metrics;
pub mod package;
pub mod phantom;
pub mod preprocess;
mod probe;
pub mod registration;

pub use error::{Error, Result};
pub use probe::{Probe, Stage, StageTimes};
