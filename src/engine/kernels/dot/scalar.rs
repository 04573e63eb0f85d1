//! The oracle, in plain Rust.

use super::body::{self, Vectors};
use super::{Dots, F32Dot, I8Dot, POSITIONS};
use crate::engine::kernels::conv::OFFSET;

/// Vectors of one element.
struct F32;
struct I8;

impl Vectors for F32 {
    type T = f32;
    type W = f32;
    type Sum = f32;
    type Input = f32;
    type Weights = f32;
    type Total = f32;
    const WIDTH: usize = 1;
    const AT_ONCE: usize = 2;
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
    unsafe fn totals(sums: &[f32; POSITIONS]) -> [f32; POSITIONS] {
        *sums
    }
    fn value(total: f32, table: (i32, f32, f32)) -> f32 {
        total * table.1 + table.2
    }
}

impl Vectors for I8 {
    type T = u8;
    type W = i8;
    type Sum = i32;
    type Input = i32;
    type Weights = i32;
    type Total = i32;
    const WIDTH: usize = 1;
    const AT_ONCE: usize = 2;
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
    unsafe fn totals(sums: &[i32; POSITIONS]) -> [i32; POSITIONS] {
        *sums
    }
    fn value(total: i32, table: (i32, f32, f32)) -> f32 {
        i8_value(total, table)
    }
}

/// Of all int8 levels.
#[inline(always)]
pub fn i8_value(total: i32, (start, factor, bias): (i32, f32, f32)) -> f32 {
    start.wrapping_add(total) as f32 * factor + bias
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
