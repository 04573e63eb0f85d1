//! Whole layers at every level against the definition of a convolution.

use std::sync::LazyLock;

use proptest::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::*;
use crate::Random;
use crate::graph::{Conv, Quant, Weights};
use crate::kernels::conv::scalar::quantized;
use crate::kernels::conv::{OFFSET, reach};
use crate::kernels::{Arenas, Border, Image, Memory};

const ACTIVATION: Activation = Activation { negative_slope: 0.1, max: 3.0 };
const IN: Quant = Quant { scale: 0.02, zero: -7 };
const OUT: Quant = Quant { scale: 0.05, zero: 11 };

static POOLS: LazyLock<[ThreadPool; 2]> = LazyLock::new(|| {
    [1, 3].map(|n| ThreadPoolBuilder::new().num_threads(n).build().expect("threads"))
});

/// A convolution of an image of this size, and what it gives.
#[derive(Debug, Clone)]
struct Case {
    conv: Conv,
    inputs: usize,
    size: [usize; 3],
    to: [usize; 3],
}

fn cases() -> impl Strategy<Value = (Case, u64)> {
    let axis = || (1..5usize, 1..3usize, 1..3usize, 0..4usize, 0..4usize);
    let inputs = prop_oneof![4 => 1..20usize, 1 => Just(300usize)];
    let size = (1..4usize, 1..5usize, 1..75usize);
    (any::<bool>(), [axis(), axis(), axis()], inputs, 1..=CHANNELS, size, any::<u64>()).prop_map(
        |(transposed, axes, inputs, channels, (z, y, x), seed)| {
            let kernel = axes.map(|a| a.0);
            let mut stride = axes.map(|a| a.1);
            stride[2] = if transposed { stride[2] } else { 1 };
            let dilation = axes.map(|a| if transposed { 1 } else { a.2 });
            let reached = [0, 1, 2].map(|a| (kernel[a] - 1) * dilation[a] + 1);
            let before = [0, 1, 2].map(|a| axes[a].3.min(reached[a] - 1));
            let size = [z, y, x];
            let to = [0, 1, 2].map(|a| {
                let full = if transposed {
                    ((size[a] - 1) * stride[a] + kernel[a]).saturating_sub(before[a] + axes[a].4)
                } else {
                    (size[a] + before[a] + axes[a].4).saturating_sub(reached[a]) / stride[a] + 1
                };
                full.max(1)
            });
            let weights = Weights::F32(Vec::new());
            let bias = (0..channels).map(|c| 0.3 - 0.2 * c as f32).collect();
            let conv =
                Conv { transposed, kernel, stride, dilation, before, groups: 1, weights, bias };
            (Case { conv, inputs, size, to }, seed)
        },
    )
}

impl Case {
    /// Σ input · weight per output, `[channel][z][y][x]`, by the definition.
    fn sums(&self, input: impl Fn(usize, usize) -> f64, weight: impl Fn(usize) -> f64) -> Vec<f64> {
        let Case { conv, inputs, size, to } = self;
        let axis = |a: usize, from: usize, k: usize| {
            let at = (from + k * conv.dilation[a]) as isize - conv.before[a] as isize;
            usize::try_from(at).ok()
        };
        let mut sums = vec![0.0; conv.bias.len() * to.iter().product::<usize>()];
        // (input, output) places that tap k of an axis joins.
        let pairs = |a: usize, k: usize| -> Vec<(usize, usize)> {
            if conv.transposed {
                let out = |i: usize| axis(a, i * conv.stride[a], k).filter(|o| *o < to[a]);
                (0..size[a]).filter_map(|i| Some((i, out(i)?))).collect()
            } else {
                let read = |o: usize| axis(a, o * conv.stride[a], k).filter(|i| *i < size[a]);
                (0..to[a]).filter_map(|o| Some((read(o)?, o))).collect()
            }
        };
        let [kz, ky, kx] = conv.kernel;
        for tap in 0..kz * ky * kx {
            let [z, y, x] = [pairs(0, tap / kx / ky), pairs(1, tap / kx % ky), pairs(2, tap % kx)];
            for ((iz, oz), (iy, oy)) in z.iter().flat_map(|z| y.iter().map(move |y| (z, y))) {
                for (ix, ox) in &x {
                    let voxel = (iz * size[1] + iy) * size[2] + ix;
                    for c in 0..conv.bias.len() {
                        let sum = &mut sums[((c * to[0] + oz) * to[1] + oy) * to[2] + ox];
                        for i in 0..*inputs {
                            let w = (c * inputs + i) * kz * ky * kx + tap;
                            *sum += input(voxel, i) * weight(w);
                        }
                    }
                }
            }
        }
        sums
    }

    /// Runs the layer into an output of the graph and into an image; gives the former and the
    /// latter's bytes, which must be the same with any number of threads.
    fn run(&self, simd: Simd, bytes: &[u8], quants: [Option<Quant>; 2]) -> (Vec<f32>, Vec<u8>) {
        let Case { conv, inputs, size, to } = self;
        let (before, after) = reach(conv, *size, *to);
        let element = |quant: Option<Quant>| if quant.is_some() { 1 } else { 4 };
        let voxel = inputs * element(quants[0]);
        let (fill, size, bytes_per) = (Border::fill(quants[0]), *size, voxel);
        let border = Border { origin: 0, bytes: bytes_per, size, before, after, fill };
        let [depth, height, width] = border.full();
        let stride = [height * width * voxel, width * voxel, voxel];
        let origin = (0..3).map(|a| before[a] * stride[a]).sum();
        let from = Image { origin, stride, channels: *inputs, size, quant: quants[0] };
        let start = (depth * stride[0] + 64).next_multiple_of(64);
        // Beside another channel.
        let voxel = (conv.bias.len() + 1) * element(quants[1]);
        let stride = [to[1] * to[2] * voxel, to[2] * voxel, voxel];
        let channels = conv.bias.len();
        let image = Image { origin: start, stride, channels, size: *to, quant: quants[1] };
        let layer = |target| PlanarLayer::new(conv, ACTIVATION, from, target, *to, simd);
        let (flat, image) =
            (layer(Target::Output { number: 0, size: *to }), layer(Target::Image(image)));
        let length = to[0] * stride[0];
        let run = |memory: Memory, pool: &ThreadPool| {
            border.write(memory);
            for (row, bytes) in bytes.chunks(size[2] * from.stride[2]).enumerate() {
                // SAFETY: rows of the image, which nobody else uses.
                unsafe { memory.row_mut(from.row(row), bytes.len()).copy_from_slice(bytes) };
            }
            // SAFETY: after the input's box.
            unsafe { memory.row_mut::<u8>(start, length).fill(0xEE) };
            let mut outputs = vec![vec![9.0; channels * to.iter().product::<usize>()]];
            pool.install(|| {
                flat.run(memory, &mut outputs);
                image.run(memory, &mut []);
            });
            // SAFETY: as above.
            let image = unsafe { memory.row(start, length) }.to_vec();
            (outputs.remove(0), image)
        };
        Arenas::default().lend(start + length, |memory| {
            let [one, three] = [0, 1].map(|pool| run(memory, &POOLS[pool]));
            assert!(one == three, "{simd}: threads change the bits");
            one
        })
    }

    /// The image that `run` gives for these values in units of its scale.
    fn image(&self, values: &[f32], value: impl Fn(f32) -> Vec<u8>) -> Vec<u8> {
        let (channels, positions) = (self.conv.bias.len(), self.to.iter().product::<usize>());
        let of = |p: usize, c: usize| values.get(c * positions + p).filter(|_| c < channels);
        let bytes = |p: usize, c: usize| match of(p, c) {
            Some(v) => value(*v),
            None => vec![0xEE; value(0.0).len()],
        };
        (0..positions).flat_map(|p| (0..=channels).flat_map(move |c| bytes(p, c))).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn f32_layers_are_convolutions((mut case, seed) in cases()) {
        let mut random = Random::new(seed);
        let mut values = |n: usize| (0..n).map(|_| random.normal() as f32).collect::<Vec<_>>();
        let input = values(case.size.iter().product::<usize>() * case.inputs);
        let terms = case.inputs * case.conv.kernel.iter().product::<usize>();
        let weights = values(case.conv.bias.len() * terms);
        let sums = case.sums(
            |voxel, c| f64::from(input[voxel * case.inputs + c]),
            |w| f64::from(weights[w]),
        );
        case.conv.weights = Weights::F32(weights);
        let bytes: Vec<u8> = input.iter().flat_map(|v| v.to_ne_bytes()).collect();
        let positions = case.to.iter().product::<usize>();
        for simd in Simd::all() {
            let (output, image) = case.run(simd, &bytes, [None, None]);
            for (i, (found, sum)) in output.iter().zip(&sums).enumerate() {
                let expected = ACTIVATION.apply(*sum as f32 + case.conv.bias[i / positions]);
                let bound = 3e-6 * terms as f32;
                prop_assert!((found - expected).abs() <= bound, "{simd}: {found} {expected}");
            }
            prop_assert!(image == case.image(&output, |v| v.to_ne_bytes().to_vec()), "{simd}");
        }
    }

    #[test]
    fn int8_layers_are_convolutions_exactly((mut case, seed) in cases()) {
        let mut random = Random::new(seed);
        // Extreme values most of the time.
        let mut byte = |low: i32| match random.next_u64() % 4 {
            0 => low, 1 => 127, 2 => 0, _ => (random.next_u64() % 255) as i32 - 127,
        } as i8;
        let voxels = case.size.iter().product::<usize>();
        let input: Vec<i8> = (0..voxels * case.inputs).map(|_| byte(-128)).collect();
        let channels = case.conv.bias.len();
        let terms = case.inputs * case.conv.kernel.iter().product::<usize>();
        let values: Vec<i8> = (0..channels * terms).map(|_| byte(-127)).collect();
        let scale: Vec<f32> = (0..channels).map(|c| 1e-4 * (c + 1) as f32).collect();
        let sums = case.sums(
            |voxel, c| f64::from(i32::from(input[voxel * case.inputs + c]) - IN.zero),
            |w| f64::from(values[w]),
        );
        let positions = case.to.iter().product::<usize>();
        let expected = |unit: f32| -> Vec<f32> {
            let activation = Activation { max: ACTIVATION.max * unit, ..ACTIVATION };
            let value = |(i, sum): (usize, &f64)| {
                let c = i / positions;
                let v = *sum as i32 as f32 * (IN.scale * scale[c] * unit);
                activation.apply(v + case.conv.bias[c] * unit)
            };
            sums.iter().enumerate().map(value).collect()
        };
        let output = expected(1.0);
        let image = case.image(&expected(1.0 / OUT.scale), |v| vec![quantized(v, OUT.zero)]);
        let floats = case.image(&output, |v| v.to_ne_bytes().to_vec());
        case.conv.weights = Weights::I8 { values, scale };
        let bytes: Vec<u8> = input.iter().map(|q| *q as u8 ^ OFFSET).collect();
        for simd in Simd::all() {
            let found = case.run(simd, &bytes, [Some(IN), Some(OUT)]);
            prop_assert!(found.0 == output, "{simd}: output");
            prop_assert!(found.1 == image, "{simd}: int8 image");
            let found = case.run(simd, &bytes, [Some(IN), None]);
            prop_assert!(found.1 == floats, "{simd}: f32 image");
        }
    }
}

#[test]
fn only_int8_of_sane_numbers_is_surely_finite() {
    let finite = |weights: Weights, quant: Option<Quant>, bias: f32, max: f32| {
        let [kernel, stride, dilation] = [[1; 3]; 3];
        let (transposed, before, groups, bias) = (false, [0; 3], 1, vec![bias]);
        let conv = Conv { transposed, kernel, stride, dilation, before, groups, weights, bias };
        let from = Image { origin: 0, stride: [4; 3], channels: 1, size: [1; 3], quant };
        let to = Target::Output { number: 0, size: [1; 3] };
        let activation = Activation { negative_slope: 0.0, max };
        PlanarLayer::new(&conv, activation, from, to, [1; 3], Simd::SCALAR).is_finite()
    };
    let int8 = |scale: f32| Weights::I8 { values: vec![1], scale: vec![scale] };
    assert!(finite(int8(0.1), Some(IN), 1e30, f32::INFINITY));
    assert!(!finite(int8(1e32), Some(IN), 0.0, f32::INFINITY), "2³¹ · 1e32 · 0.02");
    assert!(!finite(int8(f32::NAN), Some(IN), 0.0, f32::INFINITY));
    assert!(!finite(int8(0.1), Some(IN), f32::INFINITY, 6.0));
    assert!(!finite(int8(0.1), Some(IN), 0.0, f32::NEG_INFINITY));
    assert!(!finite(Weights::F32(vec![1.0]), None, 0.0, 6.0));
}
