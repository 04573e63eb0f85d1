//! A frame of whole numbers, and what becomes of each of them.

use std::borrow::Cow;

use super::values::Mapped;
use super::{Counted, Gamma};
use crate::image::Frame;
use crate::preprocess::frames::Sample;
use crate::preprocess::normalize::{Normalize, Scaling};
use intraop_engine::{Simd, vectorized};

/// A frame of 8 or 16 bits with steps that handle each pixel by itself, not yet applied: what each
/// value becomes is known, and never falls where the value rises.
pub(super) struct Listed<'a, T: Counted> {
    frame: Cow<'a, Frame<T>>,
    table: Table<T>,
}

enum Table<T> {
    Same,
    Whole(Vec<T>),
    Scaled(Scaling),
    Real(Vec<f32>),
}

impl<'a, T: Counted> From<Cow<'a, Frame<T>>> for Listed<'a, T> {
    fn from(frame: Cow<'a, Frame<T>>) -> Self {
        Listed { frame, table: Table::Same }
    }
}

impl<'a, T: Counted> Listed<'a, T> {
    /// Without what is not yet applied.
    pub fn frame(&self) -> &Frame<T> {
        &self.frame
    }

    fn value(&self, v: usize) -> f32 {
        match &self.table {
            Table::Same => v as f32,
            Table::Whole(table) => table[v].real(),
            Table::Scaled(scaling) => scaling.of(v as f32),
            Table::Real(table) => table[v],
        }
    }

    /// `table`: what the step makes of whole numbers.
    pub fn gamma(self, gamma: &Gamma, table: &[T]) -> Self {
        let table = match self.table {
            Table::Same => Table::Whole(table.to_vec()),
            Table::Whole(before) => {
                Table::Whole(before.into_iter().map(|v| table[v.into()]).collect())
            }
            _ => {
                let values = 0..T::VALUES;
                Table::Real(values.map(|v| gamma.of_real(self.value(v))).collect())
            }
        };
        Listed { table, ..self }
    }

    /// `None` for a constant frame.
    pub fn normalize(self, simd: Simd, method: &Normalize) -> Option<Self> {
        let value = |v| self.value(v);
        let scaling = method.scaling(|| Mapped { simd, frame: &self.frame, value })?;
        let table = match self.table {
            Table::Same => Table::Scaled(scaling),
            _ => Table::Real((0..T::VALUES).map(|v| scaling.of(self.value(v))).collect()),
        };
        Some(Listed { table, ..self })
    }

    /// The frame with everything applied, where that leaves whole numbers.
    pub fn whole(self, simd: Simd) -> Result<Cow<'a, Frame<T>>, Self> {
        match self.table {
            Table::Same => Ok(self.frame),
            Table::Whole(table) => {
                let data = T::look_up(simd, &self.frame.data, &table);
                Ok(Cow::Owned(self.frame.with(data)))
            }
            _ => Err(self),
        }
    }

    /// The frame with everything applied.
    pub fn reals(self, simd: Simd) -> Frame<f32> {
        let from = &self.frame.data;
        let data = match &self.table {
            Table::Same => convert(simd, from),
            Table::Scaled(scaling) => scale(simd, from, *scaling),
            Table::Whole(table) => convert(simd, &T::look_up(simd, from, table)),
            Table::Real(table) => look_up(simd, from, table),
        };
        self.frame.with(data)
    }
}

vectorized! {
    fn look_up[T: Counted](from: &[T], table: &[f32]) -> Vec<f32> {
        let table = &table[..T::VALUES];
        from.iter().map(|v| table[(*v).into()]).collect()
    }

    fn convert[T: Sample](from: &[T]) -> Vec<f32> {
        from.iter().map(|v| v.real()).collect()
    }

    fn scale[T: Sample](from: &[T], scaling: Scaling) -> Vec<f32> {
        from.iter().map(|v| scaling.of(v.real())).collect()
    }
}
