//! The oracle: vectors of one lane.

use super::body::{self, Turn, Vectors};
use super::{GROUPS, Planar, Strip, Table, Tile};
use crate::graph::Activation;
use crate::kernels::conv::OFFSET;

struct F32;
struct I8;

macro_rules! vectors {
    ($level:ident, $sum:ty, $add:expr, $value:expr) => {
        impl Vectors for $level {
            const LANES: usize = 1;
            type Input = u32;
            type Sum = $sum;
            unsafe fn load(from: *const u32) -> u32 {
                unsafe { *from }
            }
            unsafe fn splat(from: *const u32) -> u32 {
                unsafe { *from }
            }
            unsafe fn start(value: i32) -> $sum {
                value as $sum
            }
            unsafe fn add(sum: $sum, a: u32, w: u32) -> $sum {
                $add(sum, a, w)
            }
            unsafe fn store(sum: $sum, table: Table, activation: Activation, to: *mut f32) {
                unsafe { *to = $value(sum, table, activation) }
            }
            unsafe fn store_mixed(
                [first, second]: [$sum; 2],
                tables: [Table; 2],
                activation: Activation,
                to: *mut f32,
            ) {
                unsafe {
                    *to = $value(first, tables[0], activation);
                    *to.add(1) = $value(second, tables[1], activation);
                }
            }
        }
    };
}

fn add_f32(sum: f32, a: u32, w: u32) -> f32 {
    sum + f32::from_bits(a) * f32::from_bits(w)
}

fn value_f32(sum: f32, table: Table, activation: Activation) -> f32 {
    activation.apply(sum * table.factor + table.bias)
}

/// Stored bytes times weights.
fn add_i8(sum: i32, a: u32, w: u32) -> i32 {
    a.to_ne_bytes().into_iter().zip(w.to_ne_bytes()).fold(sum, |sum, (a, w)| {
        let a = if OFFSET == 0 { i32::from(a as i8) } else { i32::from(a) };
        sum.wrapping_add(a * i32::from(w as i8))
    })
}

fn value_i8(sum: i32, table: Table, activation: Activation) -> f32 {
    value_f32(sum as f32, table, activation)
}

vectors!(F32, f32, add_f32, value_f32);
vectors!(I8, i32, add_i8, value_i8);

impl Turn for F32 {
    const LANES: usize = 1;
    unsafe fn turn(from: *const u8, _: usize, to: *mut u32, pitch: usize) {
        for group in 0..GROUPS {
            unsafe { *to.add(group * pitch) = from.cast::<u32>().add(group).read_unaligned() }
        }
    }
}

unsafe fn turn(s: &Strip) {
    unsafe { body::turn::<F32>(s) }
}

unsafe fn f32_tile<const P: usize, const C: usize>(t: &Tile) {
    unsafe { body::tile::<F32, P, C, 1>(t) }
}

unsafe fn i8_tile<const P: usize, const C: usize>(t: &Tile) {
    unsafe { body::tile::<I8, P, C, 1>(t) }
}

pub const PLANAR: Planar = Planar {
    lanes: 1,
    turn,
    f32: [
        [&[f32_tile::<1, 1>], &[f32_tile::<1, 2>], &[f32_tile::<1, 3>], &[f32_tile::<1, 4>]],
        [&[f32_tile::<2, 1>], &[f32_tile::<2, 2>], &[f32_tile::<2, 3>], &[f32_tile::<2, 4>]],
    ],
    i8: [
        [&[i8_tile::<1, 1>], &[i8_tile::<1, 2>], &[i8_tile::<1, 3>], &[i8_tile::<1, 4>]],
        [&[i8_tile::<2, 1>], &[i8_tile::<2, 2>], &[i8_tile::<2, 3>], &[i8_tile::<2, 4>]],
    ],
};
