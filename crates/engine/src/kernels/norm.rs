//! Normalization over a whole channel.

use rayon::prelude::*;

use super::rows::{
    Normal, moments_row, moments_stored_row, normalize, normalize_from_stored, normalize_stored,
    normalize_to_stored,
};
use super::{Image, Memory};
use crate::Simd;
use crate::graph::Activation;

/// InstanceNorm: each channel to mean 0 and variance 1, then `· factor + shift`; from any number
/// format to any. Every SIMD level gives the same bits.
#[derive(Debug, Clone)]
pub struct Norm {
    pub epsilon: f32,
    pub factor: Vec<f32>,
    pub shift: Vec<f32>,
    pub activation: Activation,
    pub from: Image,
    pub to: Image,
    pub simd: Simd,
}

/// Voxels whose squared codes add up in an i32.
const EXACT_VOXELS: usize = 1 << 16;

impl Norm {
    pub fn run(&self, memory: Memory) {
        let (mean, variance) = match self.from.quant {
            None => self.moments(memory),
            Some(_) => self.moments_stored(memory),
        };
        // Units: of the input's codes, if it has any, and of the output's.
        let unit = self.from.quant.map_or(1.0, |q| f64::from(q.scale));
        let output = self.to.quant.map_or(1.0, |q| f64::from(q.scale));
        let deviation = |v: &f64| (v * unit * unit + f64::from(self.epsilon)).sqrt();
        let scale = self.factor.iter().zip(&variance);
        let scale = scale.map(|(f, v)| (f64::from(*f) * unit / deviation(v) / output) as f32);
        let shift = self.shift.iter().map(|s| (f64::from(*s) / output) as f32);
        let normal = Normal {
            mean: &mean.iter().map(|m| *m as f32).collect::<Vec<_>>(),
            scale: &scale.collect::<Vec<_>>(),
            shift: &shift.collect::<Vec<_>>(),
            activation: self.activation.in_units_of(self.to.quant),
            zero: self.to.quant.map_or(0, |q| q.zero),
        };
        let (from, to, simd) = (&self.from, &self.to, self.simd);
        (0..to.rows()).into_par_iter().with_min_len(4).for_each(|row| {
            // SAFETY: the row is this task's; the images are the plan's and apart.
            unsafe {
                match (from.quant, to.quant) {
                    (None, None) => normalize(
                        simd,
                        from.voxels(memory, row),
                        to.voxels_mut(memory, row),
                        &normal,
                    ),
                    (None, Some(_)) => normalize_to_stored(
                        simd,
                        from.voxels(memory, row),
                        to.voxels_mut(memory, row),
                        &normal,
                    ),
                    (Some(_), None) => normalize_from_stored(
                        simd,
                        from.voxels(memory, row),
                        to.voxels_mut(memory, row),
                        &normal,
                    ),
                    (Some(_), Some(_)) => normalize_stored(
                        simd,
                        from.voxels(memory, row),
                        to.voxels_mut(memory, row),
                        &normal,
                    ),
                }
            }
        });
    }

    /// Mean and variance per channel, in one pass over the image: sums of differences from a
    /// value near the mean, so that no digits cancel. In f32 along a row, then in f64 and in
    /// the order of the rows: the same bits with any number of threads.
    fn moments(&self, memory: Memory) -> (Vec<f64>, Vec<f64>) {
        let (from, n) = (&self.from, self.from.channels);
        let row_moments = |row: usize, near: &[f32], sums: &mut [f32]| {
            // SAFETY: inside the image, which nobody writes now.
            moments_row(self.simd, unsafe { from.voxels(memory, row) }, near, sums);
        };
        let mut middle = vec![0.0f32; 2 * n];
        row_moments(from.rows() / 2, &vec![0.0; n], &mut middle);
        let near: Vec<f32> = middle[..n].iter().map(|s| s / from.size[2] as f32).collect();
        let mut rows = vec![0.0f32; from.rows() * 2 * n];
        let sums = rows.par_chunks_exact_mut(2 * n).with_min_len(4).enumerate();
        sums.for_each(|(row, sums)| row_moments(row, &near, sums));
        let count = (from.rows() * from.size[2]) as f64;
        let total = |i: usize| {
            rows.iter().skip(i).step_by(2 * n).map(|s| f64::from(*s)).sum::<f64>() / count
        };
        let moments = (0..n).map(|c| {
            let (first, second) = (total(c), total(n + c));
            (f64::from(near[c]) + first, (second - first * first).max(0.0))
        });
        moments.unzip()
    }

    /// The same of an image in int8, in units of its codes: exact sums.
    fn moments_stored(&self, memory: Memory) -> (Vec<f64>, Vec<f64>) {
        let (from, n) = (&self.from, self.from.channels);
        let sums = (0..from.rows()).into_par_iter().with_min_len(4).fold(
            || (vec![0i64; 2 * n], vec![0i32; 2 * n]),
            |(mut total, mut sums), row| {
                // SAFETY: inside the image, which nobody writes now.
                let (voxels, step) = unsafe { from.voxels::<u8>(memory, row) };
                for voxels in voxels.chunks(step * EXACT_VOXELS) {
                    sums.fill(0);
                    moments_stored_row(self.simd, (voxels, step), &mut sums);
                    total.iter_mut().zip(&sums).for_each(|(t, s)| *t += i64::from(*s));
                }
                (total, sums)
            },
        );
        let add = |mut a: Vec<i64>, b: Vec<i64>| {
            a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
            a
        };
        let sums = sums.map(|(total, _)| total).reduce(|| vec![0; 2 * n], add);
        let count = (from.rows() * from.size[2]) as f64;
        let moments = (0..n).map(|c| {
            let (first, second) = (sums[c] as f64 / count, sums[n + c] as f64 / count);
            (first, (second - first * first).max(0.0))
        });
        moments.unzip()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Arenas;
    use super::super::conv::OFFSET;
    use super::*;
    use crate::Random;
    use crate::graph::Quant;

    const CODES: Quant = Quant { scale: 0.031, zero: -7 };

    /// An image of these channels among `others` of its box, at `origin`.
    fn image(
        origin: usize,
        size: [usize; 3],
        channels: usize,
        others: usize,
        stored: bool,
    ) -> Image {
        let voxel = (channels + others) * if stored { 1 } else { 4 };
        let stride = [size[1] * size[2] * voxel, size[2] * voxel, voxel];
        Image { origin, stride, channels, size, quant: stored.then_some(CODES) }
    }

    fn get(memory: Memory, image: &Image, place: [usize; 3], c: usize) -> f64 {
        let at = image.at(place) + c * image.element();
        // SAFETY: inside the image.
        unsafe {
            match image.quant {
                None => f64::from(*memory.at::<f32>(at)),
                Some(q) => {
                    let code = i32::from((*memory.at::<u8>(at) ^ OFFSET) as i8);
                    f64::from(code - q.zero) * f64::from(q.scale)
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn channels_come_to_mean_and_variance(
            seed: u64,
            size in [1..4usize, 1..5usize, 2..9usize],
            channels in 1..40usize,
            others in 0..3usize,
            stored: [bool; 2],
        ) {
            let mut random = Random::new(seed);
            let mut table = || (0..channels).map(|_| random.range(0.2, 1.5) as f32).collect();
            let (factor, shift): (Vec<f32>, Vec<f32>) = (table(), table());
            let from = image(0, size, channels, others, stored[0]);
            let to = image(1 << 16, size, channels, others, stored[1]);
            let places = || {
                let [depth, height, width] = size;
                (0..depth).flat_map(move |z| {
                    (0..height).flat_map(move |y| (0..width).map(move |x| [z, y, x]))
                })
            };
            let mut first: Option<Vec<f64>> = None;
            for simd in Simd::all() {
                let mut random = Random::new(seed);
                let (factor, shift) = (factor.clone(), shift.clone());
                let activation = Activation { negative_slope: 0.1, max: 2.0 };
                let norm = Norm { epsilon: 1e-3, factor, shift, activation, from, to, simd };
                Arenas::default().lend(1 << 18, |memory| {
                    for byte in 0..1 << 18 {
                        // SAFETY: inside the arena.
                        unsafe { *memory.at::<u8>(byte) = 77 };
                    }
                    for place in places() {
                        for c in 0..channels {
                            let at = from.at(place) + c * from.element();
                            // SAFETY: inside the image.
                            unsafe {
                                match stored[0] {
                                    false => *memory.at(at) = random.range(-3.0, 9.0) as f32,
                                    true => *memory.at(at) = random.range(0.0, 256.0) as u8,
                                }
                            }
                        }
                    }
                    norm.run(memory);
                    let mut found = Vec::new();
                    for c in 0..channels {
                        let values = || places().map(|p| get(memory, &from, p, c));
                        let count = values().count() as f64;
                        let mean = values().sum::<f64>() / count;
                        let variance = values().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
                        for (place, v) in places().zip(values()) {
                            let v = (v - mean) / (variance + 1e-3).sqrt()
                                * f64::from(norm.factor[c]) + f64::from(norm.shift[c]);
                            let expected = (if v < 0.0 { 0.1 * v } else { v }).min(2.0);
                            let y = get(memory, &to, place, c);
                            found.push(y);
                            let bound = if stored[1] { 0.501 * 0.031 } else { 2e-5 };
                            prop_assert!((y - expected).abs() <= bound, "{simd} {y} {expected}");
                        }
                    }
                    // The other images' channels beside it stay.
                    for place in places() {
                        for byte in channels * to.element()..to.stride[2] {
                            // SAFETY: inside the box.
                            prop_assert_eq!(unsafe { *memory.at::<u8>(to.at(place) + byte) }, 77);
                        }
                    }
                    let before = first.get_or_insert_with(|| found.clone());
                    prop_assert_eq!(&*before, &found, "{}", simd);
                    Ok(())
                })?;
            }
        }
    }
}
