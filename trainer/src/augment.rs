//! Random deformations and intensities, so that 150 volumes do for a long training. One pass of
//! `grid_sampler` moves image and labels together.

use std::f64::consts::PI;

use nalgebra::{Matrix3, Rotation3, Vector3};
use tch::{Kind, Tensor};

use crate::random::Random;
use crate::warp::Grid;

/// Control points per axis of the smooth deformation.
const POINTS: i64 = 5;
/// At strength 1, each at most: degrees, log scale, shear, voxels, voxels at a control point.
const ROTATION: f64 = 12.0;
const SCALE: f64 = 0.12;
const SHEAR: f64 = 0.06;
const SHIFT: f64 = 3.0;
const BEND: f64 = 4.0;

/// Draws augmentations for one grid.
pub struct Augment {
    strength: f64,
    /// Cubic B-spline weights of the control points at every voxel, per axis x, y, z: [n, POINTS].
    spline: [Tensor; 3],
}

impl Augment {
    /// Strength 0 changes nothing, 1 is a lot.
    pub fn new(grid: &Grid, strength: f64) -> Self {
        let spline = grid.size.map(|n| {
            let mut weights = vec![0f32; (n * POINTS) as usize];
            for v in 0..n {
                let at = v as f64 / (n - 1) as f64 * (POINTS - 1) as f64;
                for k in -1..=POINTS {
                    // Control points beyond the ends repeat the end's.
                    let column = k.clamp(0, POINTS - 1);
                    weights[(v * POINTS + column) as usize] += b_spline(at - k as f64) as f32;
                }
            }
            Tensor::from_slice(&weights).reshape([n, POINTS]).to_device(grid.device())
        });
        Augment { strength, spline }
    }

    /// `stack` is [N, C, D, H, W] with the image in channel 0 and labels (0 to 1) after it.
    pub fn apply(&self, grid: &Grid, stack: &Tensor, random: &mut Random) -> Tensor {
        if self.strength == 0.0 {
            return stack.shallow_clone();
        }
        let n = stack.size()[0];
        let (mut affine, mut points) = (vec![], vec![]);
        for _ in 0..n {
            // A random amplitude each, so that the student also sees images as they are.
            let amplitude = self.strength * random.uniform();
            affine.extend(random_affine(amplitude, random));
            let amplitude = self.strength * random.uniform();
            let count = 3 * POINTS.pow(3);
            points.extend((0..count).map(|_| (BEND * amplitude * random.signed()) as f32));
        }
        let affine = Tensor::from_slice(&affine).reshape([n, 12]).to_device(grid.device());
        let points = Tensor::from_slice(&points)
            .reshape([n, 3, POINTS, POINTS, POINTS])
            .to_device(grid.device());
        let bent = &grid.identity + self.smooth(&points);
        let moved = grid.sample_or_zero(stack, &grid.affine(&bent, &affine));
        let image = self.intensities(&moved.narrow(1, 0, 1), random);
        Tensor::cat(&[image, moved.narrow(1, 1, stack.size()[1] - 1)], 1)
    }

    /// Control points [N, 3, z, y, x] → [N, 3, D, H, W].
    fn smooth(&self, points: &Tensor) -> Tensor {
        let [x, y, z] = &self.spline;
        points
            .matmul(&x.transpose(0, 1))
            .transpose(3, 4)
            .matmul(&y.transpose(0, 1))
            .transpose(3, 4)
            .transpose(2, 4)
            .matmul(&z.transpose(0, 1))
            .transpose(2, 4)
    }

    /// Gamma, contrast, brightness and noise, where there is image: padding stays 0.
    fn intensities(&self, image: &Tensor, random: &mut Random) -> Tensor {
        let n = image.size()[0];
        let mut column = |spread: f64, base: f64| {
            let values: Vec<f32> =
                (0..n).map(|_| (base + self.strength * spread * random.signed()) as f32).collect();
            Tensor::from_slice(&values).reshape([n, 1, 1, 1, 1]).to_device(image.device())
        };
        let gamma = column(0.35, 0.0).exp();
        let contrast = column(0.15, 1.0);
        let brightness = column(0.08, 0.0);
        let sd = column(0.02, 0.02).relu();
        let present = image.ne(0.0).to_kind(Kind::Float);
        let low = image.amin([1i64, 2, 3, 4].as_slice(), true);
        let range = image.amax([1i64, 2, 3, 4].as_slice(), true) - &low;
        let unit = (image - &low) / range.clamp_min(1e-6);
        let noise = Tensor::from_slice(&random.noise(image.numel()))
            .reshape(image.size())
            .to_device(image.device());
        let curved = unit.pow(&gamma) * &range + &low;
        let lit = curved * contrast + brightness * &range + noise * (sd * &range);
        lit * present
    }
}

/// The uniform cubic B-spline.
fn b_spline(t: f64) -> f64 {
    let t = t.abs();
    if t < 1.0 {
        (4.0 - 6.0 * t * t + 3.0 * t * t * t) / 6.0
    } else if t < 2.0 {
        (2.0 - t).powi(3) / 6.0
    } else {
        0.0
    }
}

/// Twelve parameters as the affine head's: W = A − I row by row, then b.
fn random_affine(amplitude: f64, random: &mut Random) -> [f32; 12] {
    let mut draw = |spread: f64| amplitude * spread * random.signed();
    let angle = ROTATION * PI / 180.0;
    let rotation = Rotation3::new(Vector3::new(draw(angle), draw(angle), draw(angle)));
    let mut shape = Matrix3::identity();
    for row in 0..3 {
        for column in 0..3 {
            shape[(row, column)] = if row == column { draw(SCALE).exp() } else { draw(SHEAR) };
        }
    }
    let w = (rotation.matrix() * shape - Matrix3::identity()).transpose();
    let mut out = [0.0; 12];
    out.iter_mut().zip(w.iter()).for_each(|(out, v)| *out = *v as f32);
    out[9..].iter_mut().for_each(|out| *out = draw(SHIFT) as f32);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::warp::tests::noise;
    use tch::Device;

    #[test]
    fn constant_control_points_shift_and_draws_repeat() {
        let grid = Grid::new([16, 12, 8], Device::Cpu);
        let augment = Augment::new(&grid, 1.0);
        let points = Tensor::from_slice(&[1.0f32, -2.0, 3.0])
            .reshape([1, 3, 1, 1, 1])
            .expand([1, 3, POINTS, POINTS, POINTS], true);
        let field = augment.smooth(&points);
        assert_eq!(field.size(), [1, 3, 8, 12, 16]);
        for (channel, expected) in [1.0, -2.0, 3.0].into_iter().enumerate() {
            let error = (field.select(1, channel as i64) - expected).abs().max();
            assert!(error.double_value(&[]) < 1e-5);
        }
        let stack = noise(&[2, 3, 8, 12, 16], 5).abs();
        let draw = |step| augment.apply(&grid, &stack, &mut Random::new(7, step));
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert_eq!(Augment::new(&grid, 0.0).apply(&grid, &stack, &mut Random::new(7, 1)), stack);
    }
}
