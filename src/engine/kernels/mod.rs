//! The inner loops of the networks. Activations lie channels-last, so that the inputs of a
//! kernel row are contiguous; see `engine/plan` for who lays them out.
//!
//! The only part of the engine with `unsafe` code: kernels take pointers into the arena, whose
//! bounds the plan has checked, and use vector instructions, whose presence [`super::Simd`]
//! proves.

#![allow(unsafe_code)]

pub mod conv;
