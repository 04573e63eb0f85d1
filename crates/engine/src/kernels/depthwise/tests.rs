//! Whole layers at every level against the definition of a depthwise convolution.

use std::sync::LazyLock;

use proptest::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::*;
use crate::Random;
use crate::graph::{Activation, Conv, Quant, Weights};
use crate::kernels::conv::scalar::quantized;
use crate::kernels::conv::{OFFSET, reach};
use crate::kernels::{Arenas, Border, Image, Memory};

/// A Relu6 and the like, and a LeakyRelu with a bound.
const ACTIVATIONS: [Activation; 2] =
    [Activation { negative_slope: 0.0, max: 3.0 }, Activation { negative_slope: 0.1, max: 3.0 }];
const IN: Quant = Quant { scale: 0.02, zero: -7 };
const OUT: Quant = Quant { scale: 0.05, zero: 11 };

static POOLS: LazyLock<[ThreadPool; 2]> = LazyLock::new(|| {
    [1, 3].map(|n| ThreadPoolBuilder::new().num_threads(n).build().expect("threads"))
});

/// A convolution of an image of this size, and what it gives.
#[derive(Debug, Clone)]
struct Case {
    conv: Conv,
    activation: Activation,
    /// Channels of another image beside each voxel written.
    others: usize,
    size: [usize; 3],
    to: [usize; 3],
}

fn cases() -> impl Strategy<Value = (Case, u64)> {
    let axis = || (1..6usize, 1..3usize, 1..3usize, 0..4usize, 0..4usize);
    let channels = prop_oneof![4 => 2..70usize, 1 => 120..200usize];
    let size = (1..3usize, 1..7usize, 1..24usize);
    (
        prop_oneof![3 => Just((1, 1, 1, 0, 0)), 1 => axis()],
        axis(),
        axis(),
        channels,
        size,
        any::<u64>(),
    )
        .prop_map(|(az, ay, ax, channels, (z, y, x), seed)| {
            let axes = [az, ay, ax];
            let [kernel, stride, dilation] =
                [axes.map(|a| a.0), axes.map(|a| a.1), axes.map(|a| a.2)];
            let reached = [0, 1, 2].map(|a| (kernel[a] - 1) * dilation[a] + 1);
            let before = [0, 1, 2].map(|a| axes[a].3.min(reached[a] - 1));
            let size = [z, y, x];
            let to = [0, 1, 2].map(|a| {
                (size[a] + before[a] + axes[a].4).saturating_sub(reached[a]) / stride[a] + 1
            });
            let weights = Weights::F32(Vec::new());
            let bias = (0..channels).map(|c| 0.3 - 0.02 * c as f32).collect();
            let (transposed, groups) = (false, channels);
            let conv = Conv { transposed, kernel, stride, dilation, before, groups, weights, bias };
            let activation = ACTIVATIONS[(seed % 2) as usize];
            let others = (seed / 2 % 2) as usize;
            (Case { conv, activation, others, size, to }, seed)
        })
}

impl Case {
    fn channels(&self) -> usize {
        self.conv.groups
    }

    fn taps(&self) -> usize {
        self.conv.kernel.iter().product()
    }

    /// Σ input · weight per output, `[z][y][x][channel]`, by the definition.
    fn sums(&self, input: impl Fn(usize, usize) -> f64, weight: impl Fn(usize) -> f64) -> Vec<f64> {
        let Case { conv, size, to, .. } = self;
        let [kz, ky, kx] = conv.kernel;
        let mut sums = Vec::new();
        for position in 0..to.iter().product::<usize>() {
            let out = [position / to[2] / to[1], position / to[2] % to[1], position % to[2]];
            for c in 0..self.channels() {
                let mut sum = 0.0;
                for tap in 0..kz * ky * kx {
                    let k = [tap / kx / ky, tap / kx % ky, tap % kx];
                    let at = |a: usize| {
                        let at = out[a] * conv.stride[a] + k[a] * conv.dilation[a];
                        at.checked_sub(conv.before[a]).filter(|i| *i < size[a])
                    };
                    if let (Some(z), Some(y), Some(x)) = (at(0), at(1), at(2)) {
                        let voxel = (z * size[1] + y) * size[2] + x;
                        sum += input(voxel, c) * weight(c * kz * ky * kx + tap);
                    }
                }
                sums.push(sum);
            }
        }
        sums
    }

    /// The bytes of the image that the layer writes, maybe beside channels of another; the same
    /// with any number of threads.
    fn run(&self, simd: Simd, bytes: &[u8], quants: [Option<Quant>; 2]) -> Vec<u8> {
        let Case { conv, size, to, .. } = self;
        let (before, after) = reach(conv, *size, *to);
        let [voxel, out_voxel] = [(quants[0], 0), (quants[1], self.others)]
            .map(|(quant, more)| (self.channels() + more) * if quant.is_some() { 1 } else { 4 });
        let (fill, size) = (Border::fill(quants[0]), *size);
        let border = Border { origin: 0, bytes: voxel, size, before, after, fill };
        let [depth, height, width] = border.full();
        let stride = [height * width * voxel, width * voxel, voxel];
        let origin = (0..3).map(|a| before[a] * stride[a]).sum();
        let channels = self.channels();
        let from = Image { origin, stride, channels, size, quant: quants[0] };
        let start = (depth * stride[0] + 64).next_multiple_of(64);
        let stride = [to[1] * to[2] * out_voxel, to[2] * out_voxel, out_voxel];
        let image = Image { origin: start, stride, channels, size: *to, quant: quants[1] };
        let layer = DepthwiseLayer::new(conv, self.activation, from, image, simd);
        let length = to[0] * stride[0];
        let run = |memory: Memory, pool: &ThreadPool| {
            border.write(memory);
            for (row, bytes) in bytes.chunks(size[2] * voxel).enumerate() {
                // SAFETY: rows of the image, which nobody else uses.
                unsafe { memory.row_mut(from.row(row), bytes.len()).copy_from_slice(bytes) };
            }
            // SAFETY: after the input's box.
            unsafe { memory.row_mut::<u8>(start, length).fill(0xEE) };
            pool.install(|| layer.run(memory));
            // SAFETY: as above.
            unsafe { memory.row(start, length) }.to_vec()
        };
        Arenas::default().lend(start + length, |memory| {
            let [one, three] = [0, 1].map(|pool| run(memory, &POOLS[pool]));
            assert!(one == three, "{simd}: threads change the bits");
            one
        })
    }

    /// The image that `run` gives for these values.
    fn image(&self, values: &[f32], bytes: impl Fn(f32) -> Vec<u8>) -> Vec<u8> {
        let other = vec![0xEE; self.others * bytes(0.0).len()];
        let voxels = values.chunks(self.channels());
        voxels.flat_map(|v| v.iter().flat_map(|v| bytes(*v)).chain(other.clone())).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn f32_layers_are_depthwise_convolutions((mut case, seed) in cases()) {
        let mut random = Random::new(seed);
        let mut values = |n: usize| (0..n).map(|_| random.normal() as f32).collect::<Vec<_>>();
        let channels = case.channels();
        let input = values(case.size.iter().product::<usize>() * channels);
        let weights = values(channels * case.taps());
        let sums = case.sums(
            |voxel, c| f64::from(input[voxel * channels + c]),
            |w| f64::from(weights[w]),
        );
        case.conv.weights = Weights::F32(weights);
        let bytes: Vec<u8> = input.iter().flat_map(|v| v.to_ne_bytes()).collect();
        for simd in Simd::all() {
            let found = case.run(simd, &bytes, [None, None]);
            for (voxel, sums) in found.chunks(4 * (channels + case.others)).zip(sums.chunks(channels)) {
                let (values, other) = voxel.split_at(4 * channels);
                prop_assert!(other.iter().all(|b| *b == 0xEE), "{simd}: wrote beside the image");
                for ((v, sum), bias) in values.as_chunks().0.iter().zip(sums).zip(&case.conv.bias) {
                    let (v, expected) =
                        (f32::from_ne_bytes(*v), case.activation.apply(*sum as f32 + bias));
                    let bound = 3e-6 * case.taps() as f32;
                    prop_assert!((v - expected).abs() <= bound, "{simd}: {v} {expected}");
                }
            }
        }
    }

    #[test]
    fn int8_layers_are_depthwise_convolutions_exactly((mut case, seed) in cases()) {
        let mut random = Random::new(seed);
        // Extreme values most of the time.
        let mut byte = |low: i32| match random.next_u64() % 4 {
            0 => low, 1 => 127, 2 => 0, _ => (random.next_u64() % 255) as i32 - 127,
        } as i8;
        let (voxels, channels) = (case.size.iter().product::<usize>(), case.channels());
        let input: Vec<i8> = (0..voxels * channels).map(|_| byte(-128)).collect();
        let values: Vec<i8> = (0..channels * case.taps()).map(|_| byte(-127)).collect();
        let scale: Vec<f32> = (0..channels).map(|c| 1e-3 * (c + 1) as f32).collect();
        let sums = case.sums(
            |voxel, c| f64::from(i32::from(input[voxel * channels + c]) - IN.zero),
            |w| f64::from(values[w]),
        );
        let expected = |unit: f32| -> Vec<f32> {
            let activation = Activation { max: case.activation.max * unit, ..case.activation };
            let value = |(i, sum): (usize, &f64)| {
                let c = i % channels;
                let v = *sum as i32 as f32 * (IN.scale * scale[c] * unit);
                activation.apply(v + case.conv.bias[c] * unit)
            };
            sums.iter().enumerate().map(value).collect()
        };
        let codes = case.image(&expected(1.0 / OUT.scale), |v| vec![quantized(v, OUT.zero)]);
        let floats = case.image(&expected(1.0), |v| v.to_ne_bytes().to_vec());
        case.conv.weights = Weights::I8 { values, scale };
        let bytes: Vec<u8> = input.iter().map(|q| *q as u8 ^ OFFSET).collect();
        for simd in Simd::all() {
            prop_assert!(case.run(simd, &bytes, [Some(IN), Some(OUT)]) == codes, "{simd}: int8");
            prop_assert!(case.run(simd, &bytes, [Some(IN), None]) == floats, "{simd}: f32");
        }
    }
}
