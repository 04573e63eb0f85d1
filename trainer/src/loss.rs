//! What training minimizes. Images are [N, 1, D, H, W], displacements [N, 3, D, H, W] in voxels.

use tch::{Kind, Tensor};

const EPS: f64 = 1e-5;

/// 1 − Pearson correlation over each volume, mean over the batch.
pub fn pearson(a: &Tensor, b: &Tensor) -> Tensor {
    let a = a.flatten(1, -1);
    let b = b.flatten(1, -1);
    let mean = |t: &Tensor| t.mean_dim([1i64].as_slice(), true, Kind::Float);
    let (a, b) = (&a - mean(&a), &b - mean(&b));
    let covariance: Tensor = mean(&(&a * &b));
    let variances = mean(&a.square()) * mean(&b.square());
    let correlation = covariance / (variances + EPS * EPS).sqrt();
    1.0 - correlation.mean(Kind::Float)
}

/// 1 − local squared correlation in a window of 9 voxels (Avants et al. 2008).
pub fn local_ncc(a: &Tensor, b: &Tensor) -> Tensor {
    // Axis by axis: 27 products per voxel instead of 729.
    let along = |t: &Tensor, window: [i64; 3]| {
        t.avg_pool3d(window, [1; 3], window.map(|n| n / 2), false, false, None)
    };
    let mean = |t: &Tensor| along(&along(&along(t, [9, 1, 1]), [1, 9, 1]), [1, 1, 9]);
    let (mean_a, mean_b) = (mean(a), mean(b));
    let covariance = mean(&(a * b)) - &mean_a * &mean_b;
    let variance_a = mean(&a.square()) - mean_a.square();
    let variance_b = mean(&b.square()) - mean_b.square();
    let squared = covariance.square() / (variance_a.relu() * variance_b.relu() + EPS);
    1.0 - squared.mean(Kind::Float)
}

/// Forward difference along one axis (2 z, 3 y, 4 x).
fn difference(t: &Tensor, axis: i64) -> Tensor {
    let n = t.size()[axis as usize];
    t.narrow(axis, 1, n - 1) - t.narrow(axis, 0, n - 1)
}

/// Mean over the axes of the mean squared forward difference.
pub fn smoothness(flow: &Tensor) -> Tensor {
    let along = |axis| difference(flow, axis).square().mean(Kind::Float);
    (along(2) + along(3) + along(4)) / 3.0
}

/// Mean of how far det J of p + d(p) falls below 0.05, by forward differences.
pub fn folding(displacement: &Tensor) -> Tensor {
    let [d, h, w] = [2, 3, 4].map(|axis| displacement.size()[axis] - 1);
    let along = |axis: i64| {
        let mut t = difference(displacement, axis);
        for (other, n) in [(2, d), (3, h), (4, w)] {
            t = t.narrow(other, 0, n);
        }
        t
    };
    let (x, y, z) = (along(4), along(3), along(2));
    let entry = |t: &Tensor, channel: i64, diagonal: f64| t.select(1, channel) + diagonal;
    let [xx, xy, xz] = [entry(&x, 0, 1.0), x.select(1, 1), x.select(1, 2)];
    let [yx, yy, yz] = [y.select(1, 0), entry(&y, 1, 1.0), y.select(1, 2)];
    let [zx, zy, zz] = [z.select(1, 0), z.select(1, 1), entry(&z, 2, 1.0)];
    let det: Tensor =
        xx * (&yy * &zz - &yz * &zy) - xy * (&yx * &zz - &yz * &zx) + xz * (&yx * &zy - &yy * &zx);
    (-(det - 0.05)).relu().mean(Kind::Float)
}

/// 1 − soft Dice, mean over labels and batch; maps are [N, labels, D, H, W] in [0, 1].
pub fn dice(a: &Tensor, b: &Tensor) -> Tensor {
    let sum = |t: Tensor| t.sum_dim_intlist([2i64, 3, 4].as_slice(), false, Kind::Float);
    let overlap: Tensor = sum(a * b) * 2.0 + 1.0;
    let size: Tensor = sum(a.square()) + sum(b.square()) + 1.0;
    1.0 - (overlap / size).mean(Kind::Float)
}

/// The affine stage's regularisers [LDR code]: ½(det A − 1)², and how far A is from a rotation,
/// s₁ + (1 + ε)² s₂ / s₃ − 6(1 + ε) with sᵢ the elementary symmetric polynomials of the
/// eigenvalues of AᵀA + εI (0 where all are 1). `a` is A's matrix, [N, 3, 3].
pub fn affine(a: &Tensor) -> Tensor {
    let det = determinant(a);
    let volume = (&det - 1.0).square().mean(Kind::Float) * 0.5;
    let eye = Tensor::eye(3, (Kind::Float, a.device()));
    let c = a.transpose(1, 2).matmul(a) + eye * EPS;
    let at = |i: i64, j: i64| c.select(1, i).select(1, j);
    let s1 = at(0, 0) + at(1, 1) + at(2, 2);
    let s2 = at(0, 0) * at(1, 1) + at(1, 1) * at(2, 2) + at(2, 2) * at(0, 0)
        - (at(0, 1).square() + at(1, 2).square() + at(2, 0).square());
    let s3 = determinant(&c).clamp_min(1e-3);
    let rotation = s1 + s2 / s3 * (1.0 + EPS).powi(2) - 6.0 * (1.0 + EPS);
    (volume + rotation.mean(Kind::Float)) * 0.1
}

/// Of each matrix in [N, 3, 3].
pub fn determinant(m: &Tensor) -> Tensor {
    let at = |i: i64, j: i64| m.select(1, i).select(1, j);
    at(0, 0) * (at(1, 1) * at(2, 2) - at(1, 2) * at(2, 1))
        - at(0, 1) * (at(1, 0) * at(2, 2) - at(1, 2) * at(2, 0))
        + at(0, 2) * (at(1, 0) * at(2, 1) - at(1, 1) * at(2, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::warp::tests::noise;

    fn value(t: Tensor) -> f64 {
        t.double_value(&[])
    }

    #[test]
    fn losses_have_their_known_values() {
        let a = noise(&[2, 1, 10, 11, 12], 1);
        let b = noise(&[2, 1, 10, 11, 12], 2);
        // Both are blind to contrast and brightness, up to their ε.
        assert!(value(pearson(&a, &(&a * 3.0 + 2.0))).abs() < 1e-5);
        assert!((value(pearson(&a, &(&a * -1.0))) - 2.0).abs() < 1e-5);
        assert!((value(pearson(&a, &b)) - 1.0).abs() < 0.2);
        assert!(value(local_ncc(&a, &(&a * 3.0 + 2.0))).abs() < 1e-3);
        assert!(value(local_ncc(&a, &b)) > 0.9);
        let labels = a.gt(0.0).to_kind(Kind::Float);
        assert!(value(dice(&labels, &labels)).abs() < 1e-6);
        assert!(value(dice(&labels, &(1.0 - &labels))) > 0.98);
    }

    #[test]
    fn regularisers_see_slope_folds_and_shear() {
        // d(p) = k·x along x: slope k on one of nine (axis, channel) pairs, det J = 1 + k.
        let ramp = |k: f64| {
            let x = Tensor::arange(8, (Kind::Float, tch::Device::Cpu)) * k;
            let x = x.reshape([1, 1, 1, 1, 8]).expand([1, 1, 6, 7, 8], false);
            Tensor::cat(&[&x, &x.zeros_like(), &x.zeros_like()], 1)
        };
        assert!((value(smoothness(&ramp(0.6))) - 0.36 / 9.0).abs() < 1e-6);
        assert!(value(folding(&ramp(-0.5))).abs() < 1e-6);
        assert!((value(folding(&ramp(-1.2))) - 0.25).abs() < 1e-5);
        let turn = nalgebra::Rotation3::from_euler_angles(0.3, 0.2, -0.4);
        let rotation: Vec<f32> = turn.matrix().transpose().iter().map(|v| *v as f32).collect();
        let rotation = Tensor::from_slice(&rotation).reshape([1, 3, 3]);
        assert!(value(affine(&rotation)).abs() < 1e-4);
        // A = 2I: ½(8 − 1)² and 12 + 48/64 − 6, times 0.1.
        let double = Tensor::eye(3, (Kind::Float, tch::Device::Cpu)).unsqueeze(0) * 2.0;
        assert!((value(affine(&double)) - 0.1 * (24.5 + 6.75)).abs() < 1e-2);
    }
}
