//! A lean CPU runtime for image registration and landmark detection during a procedure.
//! Modules stand in the order data flows.

#![forbid(unsafe_op_in_unsafe_fn)]

pub mod display;
mod error;
pub mod evaluate;
pub mod image;
pub mod io;
pub mod metrics;
pub mod phantom;

pub use error::{Error, Result};
