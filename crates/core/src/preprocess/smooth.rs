use rayon::prelude::*;

use crate::image::Volume;

/// Gaussian smoothing with a standard deviation of `sigma` voxels along x, y, z; axes with 0 are
/// left alone. Kernels reach 3 σ and the border is replicated.
pub fn gaussian(volume: &mut Volume, sigma: [f64; 3]) {
    for (axis, sigma) in sigma.into_iter().enumerate() {
        if sigma > 0.0 && volume.geometry.size[axis] > 1 {
            smooth_axis(volume, axis, &kernel(sigma));
        }
    }
}

/// Half of a symmetric kernel, the center first, that sums to 1 over both sides.
pub(super) fn kernel(sigma: f64) -> Vec<f32> {
    let reach = (3.0 * sigma).ceil() as usize;
    let weights: Vec<f64> =
        (0..=reach).map(|i| (-0.5 * (i as f64 / sigma).powi(2)).exp()).collect();
    let sum = weights[0] + 2.0 * weights[1..].iter().sum::<f64>();
    weights.iter().map(|w| (w / sum) as f32).collect()
}

fn smooth_axis(volume: &mut Volume, axis: usize, half: &[f32]) {
    let [nx, ny, _] = volume.geometry.size;
    let n = volume.geometry.size[axis];
    let stride = [1, nx, nx * ny][axis];
    let source = volume.data.clone();
    volume.data.par_chunks_mut(nx).enumerate().for_each(|(row, out)| {
        for (x, out) in out.iter_mut().enumerate() {
            let at = row * nx + x;
            let position = at / stride % n;
            let line = at - position * stride;
            let tap = |i: usize| source[line + i * stride];
            *out = half[0] * source[at];
            for (i, weight) in half.iter().enumerate().skip(1) {
                let (before, after) = (position.saturating_sub(i), (position + i).min(n - 1));
                *out += weight * (tap(before) + tap(after));
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Geometry;

    #[test]
    fn an_impulse_becomes_a_gaussian_and_a_constant_stays() {
        let g = Geometry::new([21, 19, 17], [1.0; 3]);
        let mut v = Volume::filled(g.clone(), 0.0f32);
        let center = v.offset(10, 9, 8);
        v.data[center] = 1.0;
        gaussian(&mut v, [1.0, 1.5, 0.0]);
        assert!((v.data.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        assert_eq!(v.at(10, 9, 9), 0.0);
        let ratio = v.at(11, 9, 8) / v.at(10, 9, 8);
        assert!((ratio - (-0.5f32).exp()).abs() < 1e-5);
        let mut flat = Volume::filled(g, 2.0f32);
        gaussian(&mut flat, [2.0, 2.0, 2.0]);
        assert!(flat.data.iter().all(|v| (v - 2.0).abs() < 1e-5));
    }
}
