//! Networks of volumes and frames, from ONNX, on a CPU: convolution kernels in f32 and int8 written
//! for AVX2, AVX-512, VNNI and NEON, one plan with one arena of memory per network, and, with the
//! feature `full`, tract for the operators that are not here.
//!
//! ```no_run
//! use intraop_engine::{Network, Simd, threads};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let model = Network::parse("student", &std::fs::read("student.onnx")?)?;
//! let network = Network::new("student", &model, Simd::detect())?;
//! let input = vec![0.0; network.inputs()[0].shape.iter().product()]; // [1, channels, z, y, x]
//! let mut outputs = Vec::new();
//! threads::pool(2, &[])?.install(|| network.run(&[&input], &mut outputs))?;
//! # Ok(())
//! # }
//! ```
//!
//! This crate knows no image, no package and no task: `intraop-core` does.

#![deny(unsafe_code)]
// On other CPUs there is the scalar level alone: what vectors need is there and not used.
#![cfg_attr(
    not(any(target_arch = "x86_64", target_arch = "aarch64")),
    allow(dead_code, unused_imports, unused_variables, unreachable_code)
)]

mod error;
mod random;
mod simd;
pub mod threads;

pub mod onnx;

mod graph;
mod kernels;
mod plan;
#[cfg(feature = "full")]
mod tract;
#[cfg(not(feature = "full"))]
#[path = "tract/absent.rs"]
mod tract;
mod network;

pub use error::{Error, Result};
pub use graph::TensorInfo;
pub use kernels::Arenas;
pub use network::{LARGEST_GRAPH, Network};
pub use plan::StepInfo;
pub use random::Random;
pub use simd::{Simd, SimdLevel};
#[cfg(feature = "full")]
pub use tract::reference;
