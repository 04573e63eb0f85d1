//! The oracle, in plain Rust.

use super::body::{self, Vectors};
use super::{Dots, F32Dot, I8Dot, POSITIONS};
use crate::engine::kernels::conv::{Activation, OFFSET};

/// Vectors of one element.
struct F32;
struct I8;

impl Vectors for F32 {
    type T = f32;
    type W = f32;
    type Sum = f32;
    type Input = f32;
    type Weights = f32;
    type Row = [f32; POSITIONS];
    const WIDTH: usize = 1;
    const MANY: bool = false;
    unsafe fn zero() -> f32 {
        0.0
    }
    unsafe fn input(from: *const f32) -> f32 {
        unsafe { *from }
    }
    unsafe fn part(from: *const f32, _: usize) -> f32 {
        unsafe { *from }
    }
    unsafe fn weights(from: *const f32) -> f32 {
        unsafe { *from }
    }
    unsafe fn add(sum: f32, a: f32, w: f32) -> f32 {
        sum + a * w
    }
    unsafe fn row(s: &[f32; POSITIONS], table: (i32, f32, f32), a: Activation) -> Self::Row {
        body::f32_row(*s, table, a)
    }
    fn array(row: Self::Row) -> [f32; POSITIONS] {
        row
    }
    unsafe fn store(row: Self::Row, to: *mut f32) {
        unsafe { to.cast::<Self::Row>().write_unaligned(row) }
    }
    unsafe fn store_mixed(a: Self::Row, b: Self::Row, to: *mut f32) {
        unsafe { body::store_mixed(a, b, to) }
    }
}

impl Vectors for I8 {
    type T = u8;
    type W = i8;
    type Sum = i32;
    type Input = i32;
    type Weights = i32;
    type Row = [f32; POSITIONS];
    const WIDTH: usize = 1;
    const MANY: bool = false;
    unsafe fn zero() -> i32 {
        0
    }
    unsafe fn input(from: *const u8) -> i32 {
        let byte = unsafe { *from };
        if OFFSET == 0 { i32::from(byte as i8) } else { i32::from(byte) }
    }
    unsafe fn part(from: *const u8, _: usize) -> i32 {
        unsafe { Self::input(from) }
    }
    unsafe fn weights(from: *const i8) -> i32 {
        unsafe { i32::from(*from) }
    }
    unsafe fn add(sum: i32, a: i32, w: i32) -> i32 {
        sum.wrapping_add(a * w)
    }
    unsafe fn row(s: &[i32; POSITIONS], table: (i32, f32, f32), a: Activation) -> Self::Row {
        body::i8_row(*s, table, a)
    }
    fn array(row: Self::Row) -> [f32; POSITIONS] {
        row
    }
    unsafe fn store(row: Self::Row, to: *mut f32) {
        unsafe { to.cast::<Self::Row>().write_unaligned(row) }
    }
    unsafe fn store_mixed(a: Self::Row, b: Self::Row, to: *mut f32) {
        unsafe { body::store_mixed(a, b, to) }
    }
}

unsafe fn f32_tile<const C: usize>(t: &F32Dot) {
    unsafe { body::tile::<F32, C>(t) }
}

unsafe fn i8_tile<const C: usize>(t: &I8Dot) {
    unsafe { body::tile::<I8, C>(t) }
}

pub const DOTS: Dots = Dots {
    f32_width: 1,
    i8_width: 1,
    f32: [f32_tile::<1>, f32_tile::<2>, f32_tile::<3>, f32_tile::<4>],
    i8: [i8_tile::<1>, i8_tile::<2>, i8_tile::<3>, i8_tile::<4>],
};
