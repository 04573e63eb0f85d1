//! The oracle, in plain Rust.

use super::{Depthwise, FOUR};
use crate::kernels::conv::scalar::{quantized, stored_value};
use crate::kernels::conv::{F32Kernel, F32Tile, I8Kernel, I8Output, I8Tile};

/// As few as make a lane's channel its number.
const LANES: usize = 4;

pub const DEPTHWISE: Depthwise =
    Depthwise { lanes: LANES, f32: &[f32_tile as F32Kernel], i8: &[i8_tile as I8Kernel] };

/// # Safety
/// Every element that the tile names lies inside memory that the caller owns.
unsafe fn f32_tile(t: &F32Tile) {
    for c in 0..t.channels {
        // SAFETY: see above.
        unsafe {
            let (mut sum, mut weights) = (0.0f32, t.weights);
            for row in t.segments {
                for tap in 0..row.taps {
                    sum += *t.input.offset(row.start).add(tap * t.step + c) * *weights.add(c);
                    weights = weights.add(LANES);
                }
            }
            *t.output.add(c) = t.activation.apply(sum + *t.bias.add(c));
        }
    }
}

/// # Safety
/// As [`f32_tile`].
unsafe fn i8_tile(t: &I8Tile) {
    for c in 0..t.channels {
        // SAFETY: see above.
        let v = unsafe {
            let mut sum = *t.init.add(c);
            let mut weights = t.weights;
            for rows in t.segments.as_chunks::<FOUR>().0 {
                for tap in 0..rows[0].taps {
                    for (k, row) in rows.iter().enumerate() {
                        let a = stored_value(*t.input.offset(row.start).add(tap * t.step + c));
                        sum = sum.wrapping_add(a * i32::from(*weights.add(c * FOUR + k)));
                    }
                    weights = weights.add(FOUR * LANES * FOUR);
                }
            }
            t.activation.apply(sum as f32 * *t.scale.add(c) + *t.bias.add(c))
        };
        // SAFETY: c < channels.
        unsafe {
            match t.output {
                I8Output::F32(data) => *data.add(c) = v,
                I8Output::Stored { data, zero, lowest } => {
                    *data.add(c) = quantized(v.max(lowest), zero);
                }
            }
        }
    }
}
