//! Every level against the oracle, on random shapes.

use proptest::prelude::*;

use super::*;
use crate::phantom::Random;

const NONE: Activation = Activation::NONE;

proptest! {
    #[test]
    fn tiles_agree_with_the_oracle(
        seed in any::<u64>(), step in 1..9usize, segments in 1..4usize, length in 1..90usize,
        phases in 1..3usize, positions in 1..9usize, apart in 1..3usize,
    ) {
        for (simd, c) in Simd::all().into_iter().flat_map(|s| (1..=CHANNELS).map(move |c| (s, c))) {
            let (dots, oracle) = (Dots::new(simd), Dots::new(Simd::SCALAR));
            let mut random = Random::new(seed);
            let n = 9 * step + segments * length + 64;
            let f32_input: Vec<f32> = (0..n).map(|_| random.normal() as f32).collect();
            let i8_input: Vec<u8> = (0..n).map(|_| random.next_u64() as u8).collect();
            let raw: Vec<i8> = (0..phases * segments * c * length)
                .map(|_| (random.next_u64() % 255) as i8).map(|w| w.max(-127)).collect();
            let starts: Vec<isize> = (0..segments).map(|s| (s * length) as isize).collect();
            let tables = [[(-7, 1e-3, 0.5); CHANNELS], [(900, 2e-3, -0.5); CHANNELS]];
            let size = (c + 1) * 100;
            let rows = |width: usize| -> (Vec<i8>, usize) {
                let padded = length.next_multiple_of(width);
                let row = |r: &[i8]| [r, &vec![0; padded - length]].concat();
                (raw.chunks(length).flat_map(row).collect(), padded)
            };
            macro_rules! run {
                ($dots:expr, $kernels:ident, $width:ident, $input:expr, $w:ty, $output:expr) => {{
                    let (weights, padded) = rows($dots.$width);
                    let weights: Vec<$w> = weights.into_iter().map(<$w>::from).collect();
                    let tile = DotTile {
                        input: $input.as_ptr(), step, segments: &starts, length,
                        weights: weights.as_ptr(), padded, phases, shift: 1, tables: &tables,
                        output: $output, channel_step: 100, position_step: apart, positions,
                        activation: NONE,
                    };
                    // SAFETY: the vectors above are as large as the tile says.
                    unsafe { $dots.$kernels[c - 1](&tile) }
                }};
            }
            let mut found = [vec![7.0f32; size], vec![7.0f32; size]];
            run!(dots, f32, f32_width, f32_input, f32, I8Output::F32(found[0].as_mut_ptr()));
            run!(oracle, f32, f32_width, f32_input, f32, I8Output::F32(found[1].as_mut_ptr()));
            for (a, b) in found[0].iter().zip(&found[1]) {
                prop_assert!((a - b).abs() < 1e-5 * (segments * length) as f32, "{simd}: {a} {b}");
            }
            run!(dots, i8, i8_width, i8_input, i8, I8Output::F32(found[0].as_mut_ptr()));
            run!(oracle, i8, i8_width, i8_input, i8, I8Output::F32(found[1].as_mut_ptr()));
            prop_assert_eq!(&found[0], &found[1], "{}", simd);
            let mut bytes = [vec![7u8; size], vec![7u8; size]];
            let [a, b] = &mut bytes;
            let stored = |data: &mut Vec<u8>| I8Output::Stored { data: data.as_mut_ptr(), zero: 3 };
            run!(dots, i8, i8_width, i8_input, i8, stored(a));
            run!(oracle, i8, i8_width, i8_input, i8, stored(b));
            prop_assert_eq!(&bytes[0], &bytes[1], "{}", simd);
        }
    }
}
