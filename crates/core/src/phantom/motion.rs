use nalgebra::{Matrix3, Rotation3, Vector3};
use rayon::prelude::*;

use intraop_engine::Random;

use super::functions;

/// Smallest Jacobian determinant allowed at the probed places. Above the promised 0.3, because
/// the map is probed at a third of its narrowest bump's width.
const MIN_DETERMINANT: f64 = 0.4;
/// Probed places per axis, over an area a quarter wider than the image.
const PROBES: usize = 25;
const BUMPS: usize = 10;

/// A smooth invertible displacement as a formula: a small affine part and Gaussian bumps.
///
/// Places are in millimeters from the image's center along its own axes, and so are vectors.
pub struct Motion {
    half_side: Vector3<f64>,
    /// The affine part without the identity: its displacement is `linear · p + shift`.
    linear: Matrix3<f64>,
    shift: Vector3<f64>,
    bumps: Bumps,
}

/// The displacements `vector · exp(−|q − center|² / (2 width²))`, with q = place / half side.
struct Bumps {
    /// By axis, side by side for the vector units.
    center: [[f64; BUMPS]; 3],
    width: [f64; BUMPS],
    vector: [Vector3<f64>; BUMPS],
}

impl Motion {
    /// `deformation_mm`: the largest displacement of the smooth part; `affine`: strength of the
    /// affine part (1: up to 8° and 6 % per axis, and 8 % of the half side). Both are reduced
    /// together where they would fold space.
    pub fn draw(
        random: &mut Random,
        half_side: Vector3<f64>,
        deformation_mm: f64,
        affine: f64,
    ) -> Self {
        let angles = [0; 3].map(|_| affine * random.range(-0.14, 0.14));
        let rotation = Rotation3::from_euler_angles(angles[0], angles[1], angles[2]);
        let scale = Vector3::from_fn(|_, _| 1.0 + affine * random.range(-0.06, 0.06));
        let linear = rotation.matrix() * Matrix3::from_diagonal(&scale) - Matrix3::identity();
        let shift = half_side.map(|h| affine * h * random.range(-0.08, 0.08));
        let bumps = Bumps::draw(random);
        let mut motion = Motion { half_side, linear, shift, bumps };
        let sizes = motion.probes().map(|p| motion.smooth(&p).norm());
        let largest = sizes.reduce(|| 0.0, f64::max);
        motion.bumps.vector.iter_mut().for_each(|v| *v *= deformation_mm / largest);
        motion.reduce_until_invertible();
        motion
    }

    /// Where the matching place in the moving image lies, relative to `p`.
    pub fn at(&self, p: &Vector3<f64>) -> Vector3<f64> {
        self.linear * p + self.shift + self.smooth(p)
    }

    fn smooth(&self, p: &Vector3<f64>) -> Vector3<f64> {
        let q = p.component_div(&self.half_side);
        self.bumps.vector.iter().zip(self.bumps.weights(&q)).map(|(v, weight)| v * weight).sum()
    }

    /// The derivative of the displacement at `p`.
    fn gradient(&self, p: &Vector3<f64>) -> Matrix3<f64> {
        let q = p.component_div(&self.half_side);
        let weights = self.bumps.weights(&q);
        let bump = |i: usize| {
            let center = Vector3::from(self.bumps.center.map(|axis| axis[i]));
            let slope = (center - q).component_div(&self.half_side);
            let slope = slope / (self.bumps.width[i] * self.bumps.width[i]);
            self.bumps.vector[i] * slope.transpose() * weights[i]
        };
        self.linear + (0..BUMPS).map(bump).sum::<Matrix3<f64>>()
    }

    fn reduce_until_invertible(&mut self) {
        let gradients: Vec<_> = self.probes().map(|p| self.gradient(&p)).collect();
        let smallest = |factor: f64| {
            let determinant = |g: &Matrix3<f64>| (Matrix3::identity() + g * factor).determinant();
            gradients.par_iter().map(determinant).reduce(|| f64::MAX, f64::min)
        };
        let mut factor = 1.0;
        while smallest(factor) < MIN_DETERMINANT {
            factor *= 0.95;
        }
        self.linear *= factor;
        self.shift *= factor;
        self.bumps.vector.iter_mut().for_each(|v| *v *= factor);
    }

    fn probes(&self) -> impl ParallelIterator<Item = Vector3<f64>> + use<> {
        let half_side = self.half_side;
        let place = |i: usize| 2.5 * (i as f64 / (PROBES - 1) as f64 - 0.5);
        (0..PROBES * PROBES * PROBES).into_par_iter().map(move |i| {
            let q = [i % PROBES, i / PROBES % PROBES, i / (PROBES * PROBES)].map(place);
            Vector3::from(q).component_mul(&half_side)
        })
    }
}

impl Bumps {
    fn draw(random: &mut Random) -> Self {
        let (center, width, vector) = ([[0.0; BUMPS]; 3], [0.0; BUMPS], [Vector3::zeros(); BUMPS]);
        let mut bumps = Bumps { center, width, vector };
        for i in 0..BUMPS {
            bumps.center.iter_mut().for_each(|axis| axis[i] = random.range(-0.75, 0.75));
            bumps.width[i] = random.range(0.35, 0.6);
            bumps.vector[i] = Vector3::from_fn(|_, _| random.normal());
        }
        bumps
    }

    fn weights(&self, q: &Vector3<f64>) -> [f64; BUMPS] {
        let [x, y, z] = &self.center;
        let mut weights = [0.0; BUMPS];
        for (i, weight) in weights.iter_mut().enumerate() {
            let [x, y, z] = [q.x - x[i], q.y - y[i], q.z - z[i]];
            *weight = -(x * x + y * y + z * z) / (2.0 * self.width[i] * self.width[i]);
        }
        weights.map(functions::exp)
    }
}
