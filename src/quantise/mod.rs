//! From an f32 package to an int8 one: [`calibrate`] learns the activations' ranges, [`quantise`]
//! writes standard QDQ graphs. docs/quantisation.md explains the method.

mod calibrate;
mod card;
mod equalise;
mod histogram;
pub(crate) mod onnx;
mod package;
mod qdq;
mod range;
mod structure;
mod table;
mod weights;

pub use calibrate::{Shown, calibrate};
pub use histogram::Histogram;
pub use package::{LayerChoice, Options, Quantised, quantise};
pub use range::Range;
pub use table::{Errors, GraphTable, Table};
