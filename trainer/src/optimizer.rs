//! Adam whose state can be saved: tch's own cannot, and a resumed run must be the run that
//! never stopped.

use tch::{Tensor, no_grad};

use crate::nets::Weights;

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPS: f64 = 1e-8;

pub struct Adam {
    /// Per weight the mean of gradients, and the decayed **sum** (not mean) of their squares.
    pub moments: Vec<(Tensor, Tensor)>,
}

impl Adam {
    pub fn new(weights: &Weights) -> Self {
        Adam {
            moments: weights
                .learned
                .iter()
                .map(|(_, w)| (w.zeros_like(), w.zeros_like()))
                .collect(),
        }
    }

    /// Step number `step` (from 1) at learning rate `rate` > 0, gradients clipped to the global
    /// norm `clip`. Returns the norm before clipping.
    pub fn step(&mut self, weights: &mut Weights, step: u64, rate: f64, clip: f64) -> f64 {
        no_grad(|| {
            let norms: Vec<Tensor> = weights.learned.iter().map(|(_, w)| w.grad().norm()).collect();
            let norm = Tensor::stack(&norms, 0).norm().double_value(&[]);
            let t = step.min(1 << 24) as i32;
            let rate = rate / (1.0 - BETA1.powi(t));
            let root = ((1.0 - BETA2) / (1.0 - BETA2.powi(t))).sqrt();
            for ((_, weight), (mean, squares)) in weights.learned.iter_mut().zip(&mut self.moments)
            {
                let mut gradient = weight.grad();
                if norm > clip {
                    let _ = gradient.g_mul_scalar_(clip / norm);
                }
                let _ = mean.lerp_(&gradient, 1.0 - BETA1);
                let _ = squares.g_mul_scalar_(BETA2);
                let _ = squares.addcmul_(&gradient, &gradient);
                // w −= rate · mean / (root · √squares + ε), in as few passes as possible.
                let mut divisor = squares.sqrt();
                let _ = divisor.g_mul_scalar_(-root / rate);
                let _ = divisor.g_add_scalar_(-EPS / rate);
                let _ = weight.addcdiv_(mean, &divisor);
            }
            norm
        })
    }
}

/// Learning rate at `step` (from 1) of `steps`: linear warm-up, then half a cosine down to a
/// hundredth.
pub fn rate(peak: f64, step: u64, steps: u64, warm_up: u64) -> f64 {
    if step <= warm_up {
        return peak * step as f64 / warm_up as f64;
    }
    let done = (step - warm_up) as f64 / (steps.saturating_sub(warm_up)).max(1) as f64;
    let cosine = 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos());
    peak * cosine.max(0.01)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adam_is_the_textbook() {
        // Kingma and Ba 2015, algorithm 1, in f64.
        let mut weights = Weights::default();
        let w = Tensor::from_slice(&[1.0f32, -2.0]).set_requires_grad(true);
        weights.learned.push(("w".into(), w));
        let mut adam = Adam::new(&weights);
        let (mut w, mut m, mut v) = ([1.0f64, -2.0], [0.0; 2], [0.0; 2]);
        for step in 1..=5 {
            weights.learned[0].1.zero_grad();
            (weights.learned[0].1.square() * 3.0).sum(tch::Kind::Float).backward();
            adam.step(&mut weights, step, 0.01, 1e9);
            for i in 0..2 {
                let g = 6.0 * w[i];
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.999 * v[i] + 0.001 * g * g;
                let (mh, vh) = (
                    m[i] / (1.0 - 0.9f64.powi(step as i32)),
                    v[i] / (1.0 - 0.999f64.powi(step as i32)),
                );
                w[i] -= 0.01 * mh / (vh.sqrt() + 1e-8);
            }
        }
        for (i, expected) in w.iter().enumerate() {
            assert!((weights.learned[0].1.double_value(&[i as i64]) - expected).abs() < 1e-5);
        }
    }

    #[test]
    fn rate_rises_then_falls() {
        assert!((rate(1.0, 50, 1000, 100) - 0.5).abs() < 1e-12);
        assert!((rate(1.0, 550, 1000, 100) - 0.5).abs() < 1e-12);
        assert!((rate(1.0, 1000, 1000, 100) - 0.01).abs() < 1e-12);
    }
}
