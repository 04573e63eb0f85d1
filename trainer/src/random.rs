//! Random numbers of our own: a resumed run must draw what the run that never stopped would
//! have drawn, so every step has its own generator, seeded by (seed, step).

/// What training draws, from the library's own generator.
pub struct Random(intraop_engine::Random);

impl Random {
    pub fn new(seed: u64, step: u64) -> Self {
        // The seed is mixed before the step is added, so that neighbors of one do not draw
        // what neighbors of the other draw.
        let mixed = intraop_engine::Random::new(seed).next_u64();
        let own = intraop_engine::Random::new(mixed.wrapping_add(step)).next_u64();
        Random(intraop_engine::Random::new(own))
    }

    /// Uniform in [−1, 1).
    pub fn signed(&mut self) -> f64 {
        self.0.range(-1.0, 1.0)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.0.uniform() * n as f64) as usize
    }

    pub fn uniform(&mut self) -> f64 {
        self.0.uniform()
    }

    pub fn normal(&mut self) -> f64 {
        self.0.normal()
    }

    /// `n` samples of nearly normal noise with standard deviation 1: each the sum of four
    /// bytes, which is eight times as fast as [`normal`](Self::normal).
    pub fn noise(&mut self, n: usize) -> Vec<f32> {
        // Variance of a uniform byte is (256² − 1) / 12.
        const SD: f32 = 147.801_22;
        let mut out = Vec::with_capacity(n + 1);
        while out.len() < n {
            let bytes = self.0.next_u64().to_le_bytes();
            for four in bytes.chunks(4) {
                let sum: u32 = four.iter().map(|b| u32::from(*b)).sum();
                out.push((sum as f32 - 510.0) / SD);
            }
        }
        out.truncate(n);
        out
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_and_normal_have_mean_0_and_sd_1() {
        let mut random = Random::new(1, 2);
        let noise = random.noise(100_000);
        let normal: Vec<f32> = (0..100_000).map(|_| random.normal() as f32).collect();
        for samples in [noise, normal] {
            let mean = samples.iter().sum::<f32>() / 1e5;
            let var = samples.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / 1e5;
            assert!(mean.abs() < 0.015 && (var - 1.0).abs() < 0.02, "{mean} {var}");
        }
    }

    #[test]
    fn streams_differ_and_repeat() {
        let draw = |seed, stream| Random::new(seed, stream).uniform();
        assert_eq!(draw(3, 4), draw(3, 4));
        assert_ne!(draw(3, 4), draw(3, 5));
        assert_ne!(draw(3, 4), draw(4, 4));
    }
}
