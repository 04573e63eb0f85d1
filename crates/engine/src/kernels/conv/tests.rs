//! Every level against the oracle, on random shapes.

use proptest::prelude::*;

use super::*;
use crate::Random;

/// A random tile's description: positions, vectors, step, segments, length.
fn shapes() -> impl Strategy<Value = (u64, usize, usize, usize, usize, usize)> {
    (any::<u64>(), 1..9usize, 0..7usize, 1..5usize, 1..14usize, 0..16usize)
}

proptest! {
    #[test]
    fn f32_tiles_agree_with_the_oracle((seed, step, extra, segments, length, cut) in shapes()) {
        for simd in Simd::all() {
            let tiles = Tiles::new(simd);
            for (n, kernels) in tiles.f32.iter().enumerate() {
                let width = (n + 1) * tiles.lanes;
                let mut random = Random::new(seed);
                let mut values = |n: usize| (0..n).map(|_| random.normal() as f32).collect::<Vec<_>>();
                let input = values(20 * step + segments * (length + extra));
                let weights = values(3 * segments * length * width);
                let bias = values(width);
                let taps = |s: usize| if n == 0 { 1 + s % 3 } else { 1 };
                let starts: Vec<Segment> = (0..segments)
                    .map(|s| Segment { start: (s * (length + extra)) as isize, taps: taps(s) })
                    .collect();
                let channels = width - cut.min(width - 1);
                for (m, kernel) in kernels.iter().enumerate() {
                    let mut found = vec![9.0; (m + 1) * (width + 1)];
                    let mut expected = found.clone();
                    let tile = |output: *mut f32| F32Tile {
                        input: input.as_ptr(), step, segments: &starts, length,
                        weights: weights.as_ptr(), bias: bias.as_ptr(), output,
                        output_step: width + 1, channels,
                        activation: Activation { negative_slope: 0.1, max: 3.0 },
                    };
                    // SAFETY: the vectors above are as large as the tile says.
                    unsafe {
                        kernel(&tile(found.as_mut_ptr()));
                        scalar::f32_positions(&tile(expected.as_mut_ptr()), m + 1, width);
                    }
                    for (a, b) in found.iter().zip(&expected) {
                        prop_assert!((a - b).abs() < 1e-5 * (segments * length) as f32,
                            "{simd} {} x {}: {a} {b}", m + 1, n + 1);
                    }
                }
            }
        }
    }

    #[test]
    fn int8_tiles_are_the_oracle_exactly((seed, step, extra, segments, length, cut) in shapes()) {
        for simd in Simd::all() {
            let tiles = Tiles::new(simd);
            for (n, kernels) in tiles.i8.iter().enumerate() {
                let width = (n + 1) * tiles.lanes;
                let mut random = Random::new(seed);
                // Extreme values most of the time.
                let mut byte = |low: i32| match random.next_u64() % 4 {
                    0 => low, 1 => 127, 2 => 0, _ => (random.next_u64() % 255) as i32 - 127,
                };
                let input: Vec<u8> = (0..20 * step + segments * (4 * length + extra))
                    .map(|_| byte(-128) as u8 ^ OFFSET).collect();
                let weights: Vec<i8> =
                    (0..3 * segments * length * width * 4).map(|_| byte(-127) as i8).collect();
                let init: Vec<i32> = (0..width).map(|_| byte(-128) * 1000).collect();
                let scale: Vec<f32> = (0..width).map(|i| 1e-4 * (i + 1) as f32).collect();
                let bias: Vec<f32> =
                    (0..width).map(|i| if i == 1 { f32::NAN } else { i as f32 * 0.5 }).collect();
                let taps = |s: usize| if n == 0 { 1 + s % 3 } else { 1 };
                let starts: Vec<Segment> = (0..segments)
                    .map(|s| Segment { start: (s * (4 * length + extra)) as isize, taps: taps(s) })
                    .collect();
                let channels = width - cut.min(width - 1);
                // As of a Relu, and of a LeakyRelu.
                let (negative_slope, lowest) =
                    if seed.is_multiple_of(2) { (1.0, 0.0) } else { (0.1, -LARGEST_SUM) };
                let stored = |data: *mut u8| I8Output::Stored { data, zero: -3, lowest };
                let tile = |output: I8Output| I8Tile {
                    input: input.as_ptr(), step, segments: &starts, length,
                    weights: weights.as_ptr(), init: init.as_ptr(), scale: scale.as_ptr(),
                    bias: bias.as_ptr(), output, output_step: width + 1, channels,
                    activation: Activation { negative_slope, max: 90.0 },
                };
                for (m, kernel) in kernels.iter().enumerate() {
                    let (mut bytes, mut floats) = (vec![7u8; (m + 1) * (width + 1)], vec![7.0f32; (m + 1) * (width + 1)]);
                    let (mut bytes2, mut floats2) = (bytes.clone(), floats.clone());
                    // SAFETY: the vectors above are as large as the tile says.
                    unsafe {
                        kernel(&tile(stored(bytes.as_mut_ptr())));
                        kernel(&tile(I8Output::F32(floats.as_mut_ptr())));
                        let oracle = tile(stored(bytes2.as_mut_ptr()));
                        scalar::i8_positions(&oracle, m + 1, width);
                        let oracle = tile(I8Output::F32(floats2.as_mut_ptr()));
                        scalar::i8_positions(&oracle, m + 1, width);
                    }
                    prop_assert_eq!(&bytes, &bytes2, "{} {} x {}", simd, m + 1, n + 1);
                    let same = |(a, b): (&f32, &f32)| a == b || a.is_nan() && b.is_nan();
                    prop_assert!(floats.iter().zip(&floats2).all(same), "{simd} {} x {}", m + 1, n + 1);
                }
            }
        }
    }
}
