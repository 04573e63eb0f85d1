//! From an f32 package to an int8 one: [`calibrate`] learns the activations' ranges, [`quantize`]
//! writes standard QDQ graphs. docs/quantization.md explains the method.

mod calibrate;
mod card;
mod equalize;
mod histogram;
#[cfg(test)]
mod nets;
mod outcome;
mod package;
mod qdq;
mod range;
mod structure;
mod table;
mod weights;

pub use calibrate::{Shown, calibrate};
pub use histogram::Histogram;
pub use outcome::{LayerChoice, Options, Quantized};
pub use package::quantize;
pub use range::Range;
pub use table::{Errors, GraphTable, Table};
