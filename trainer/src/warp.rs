//! Sampling and composing on one voxel grid. Tensors are [N, C, D=z, H=y, W=x]; positions and
//! displacements have three channels in the order x, y, z, in voxels.

use tch::{Device, Kind, Tensor};

const TRILINEAR: i64 = 0;
const NEAREST: i64 = 1;
const ZEROS: i64 = 0;
const BORDER: i64 = 1;

/// The constants of one grid size, computed once.
pub struct Grid {
    /// x, y, z.
    pub size: [i64; 3],
    /// Every voxel's own position: [1, 3, D, H, W].
    pub identity: Tensor,
    /// (size − 1) / 2: [1, 3, 1].
    center: Tensor,
    /// 2 / (size − 1), from voxels to the [−1, 1] of `grid_sampler`: [1, 3, 1, 1, 1].
    scale: Tensor,
}

impl Grid {
    pub fn new(size: [i64; 3], device: Device) -> Self {
        let [w, h, d] = size;
        let axis = |n: i64, shape: [i64; 5]| {
            Tensor::arange(n, (Kind::Float, device)).reshape(shape).expand([1, 1, d, h, w], true)
        };
        let identity = Tensor::cat(
            &[axis(w, [1, 1, 1, 1, w]), axis(h, [1, 1, 1, h, 1]), axis(d, [1, 1, d, 1, 1])],
            1,
        );
        let per_axis = |f: fn(f32) -> f32| {
            Tensor::from_slice(&size.map(|n| f((n - 1) as f32))).to_device(device)
        };
        Grid {
            size,
            identity,
            center: per_axis(|n| n / 2.0).reshape([1, 3, 1]),
            scale: per_axis(|n| 2.0 / n).reshape([1, 3, 1, 1, 1]),
        }
    }

    pub fn device(&self) -> Device {
        self.identity.device()
    }

    fn sampler(&self, image: &Tensor, at: &Tensor, mode: i64, padding: i64) -> Tensor {
        let at = (at * &self.scale - 1.0).permute([0, 2, 3, 4, 1]);
        image.grid_sampler(&at, mode, padding, true)
    }

    /// `image` at the positions `at`, trilinear, the border replicated.
    pub fn sample(&self, image: &Tensor, at: &Tensor) -> Tensor {
        self.sampler(image, at, TRILINEAR, BORDER)
    }

    /// The same, 0 outside.
    pub fn sample_or_zero(&self, image: &Tensor, at: &Tensor) -> Tensor {
        self.sampler(image, at, TRILINEAR, ZEROS)
    }

    /// The nearest voxel's value, for label maps.
    pub fn sample_nearest(&self, image: &Tensor, at: &Tensor) -> Tensor {
        self.sampler(image, at, NEAREST, BORDER)
    }

    /// The same, 0 outside.
    pub fn sample_nearest_or_zero(&self, image: &Tensor, at: &Tensor) -> Tensor {
        self.sampler(image, at, NEAREST, ZEROS)
    }

    /// One displacement (x, y, z) for every voxel: [1, 3, 1, 1, 1].
    pub fn vector(&self, by: [f64; 3]) -> Tensor {
        Tensor::from_slice(&by.map(|v| v as f32)).reshape([1, 3, 1, 1, 1]).to_device(self.device())
    }

    /// A(p) = p + W (p − c) + b for positions [N, 3, D, H, W] and the affine head's output
    /// [N, 12]: W row by row, then b.
    pub fn affine(&self, positions: &Tensor, parameters: &Tensor) -> Tensor {
        let n = parameters.size()[0];
        let w = parameters.narrow(1, 0, 9).reshape([n, 3, 3]);
        let b = parameters.narrow(1, 9, 3).reshape([n, 3, 1]);
        let p = positions.flatten(2, 4);
        let moved = w.matmul(&(&p - &self.center)) + b + p;
        let [width, h, d] = self.size;
        moved.view([n, 3, d, h, width])
    }

    /// The displacement of first `flow`, then `before`: before(p + flow(p)) + flow(p).
    pub fn compose(&self, before: Option<&Tensor>, flow: &Tensor) -> Tensor {
        match before {
            None => flow.shallow_clone(),
            Some(before) => self.sample(before, &(&self.identity + flow)) + flow,
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::random::Random;

    pub fn noise(shape: &[i64], seed: u64) -> Tensor {
        let n: i64 = shape.iter().product();
        Tensor::from_slice(&Random::new(seed, 0).noise(n as usize)).reshape(shape)
    }

    fn values(t: &Tensor) -> Vec<f32> {
        Vec::try_from(t.contiguous().flatten(0, -1)).unwrap()
    }

    /// Plain trilinear sampling of one channel with replicated border.
    fn plain(image: &[f32], [nx, ny, nz]: [usize; 3], at: [f32; 3]) -> f32 {
        let size = [nx, ny, nz];
        let clamped: Vec<f32> = (0..3).map(|a| at[a].clamp(0.0, (size[a] - 1) as f32)).collect();
        let mut sum = 0.0;
        for corner in 0..8 {
            let (mut weight, mut index) = (1.0, [0; 3]);
            for axis in 0..3 {
                let low = clamped[axis].floor();
                let up = corner >> axis & 1;
                weight *= [1.0 - (clamped[axis] - low), clamped[axis] - low][up];
                index[axis] = (low as usize + up).min(size[axis] - 1);
            }
            sum += weight * image[(index[2] * ny + index[1]) * nx + index[0]];
        }
        sum
    }

    #[test]
    fn affine_composition_and_warp_are_the_plain_loops() {
        let size = [6usize, 5, 4];
        let grid = Grid::new(size.map(|n| n as i64), Device::Cpu);
        let image = noise(&[1, 1, 4, 5, 6], 1);
        let (first, flow) = (noise(&[1, 3, 4, 5, 6], 2), noise(&[1, 3, 4, 5, 6], 3));
        let parameters = noise(&[1, 12], 4) * 0.1;
        let total = grid.compose(Some(&first), &flow);
        let at = grid.affine(&(&grid.identity + &total), &parameters);
        let warped = values(&grid.sample(&image, &at));

        let (image, first, flow) = (values(&image), values(&first), values(&flow));
        let p = values(&parameters);
        let voxels = 6 * 5 * 4;
        for v in 0..voxels {
            let own = [v % 6, v / 6 % 5, v / 30].map(|i| i as f32);
            let f = [0, 1, 2].map(|c| flow[c * voxels + v]);
            let moved = [0, 1, 2].map(|c| own[c] + f[c]);
            let q = [0, 1, 2]
                .map(|c| own[c] + f[c] + plain(&first[c * voxels..][..voxels], size, moved));
            let a = [0, 1, 2].map(|row| {
                let turned: f32 =
                    (0..3).map(|k| p[row * 3 + k] * (q[k] - (size[k] as f32 - 1.0) / 2.0)).sum();
                q[row] + turned + p[9 + row]
            });
            let expected = plain(&image, size, a);
            assert!((warped[v] - expected).abs() < 1e-4, "{v}: {} {expected}", warped[v]);
        }
    }
}
