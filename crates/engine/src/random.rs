/// SplitMix64, a small generator with good statistics and any 64-bit seed (Steele, Lea and Flood,
/// "Fast splittable pseudorandom number generators", OOPSLA 2014). Written here, because the
/// phantoms of a seed must stay the same for ever, and crates change their streams.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

impl Random {
    pub fn new(seed: u64) -> Self {
        Random { state: seed }
    }

    /// All 2⁶⁴ values, each once in a period.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// The generator as it is `values` values further on in its stream.
    pub fn after(&self, values: u64) -> Self {
        Random { state: self.state.wrapping_add(values.wrapping_mul(STEP)) }
    }

    /// Uniform in [0, 1), in steps of 2⁻⁵³.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform between `lo` and `hi`.
    pub fn range(&mut self, lo: f64, hi: f64) -> f64 {
        lo + (hi - lo) * self.uniform()
    }

    /// Normal with mean 0 and standard deviation 1 (Box and Muller; uses two values of the stream).
    pub fn normal(&mut self) -> f64 {
        // 1 − uniform lies in (0, 1], so the logarithm is finite.
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_published_stream() {
        // Output of Vigna's splitmix64.c (prng.di.unimi.it) for the seed 1234567.
        let mut r = Random::new(1234567);
        let expected = [
            6457827717110365317,
            3203168211198807973,
            9817491932198370423,
            4593380528125082431,
            16408922859458223821,
        ];
        assert_eq!(expected.map(|_| r.next_u64()), expected);
        assert_eq!(Random::new(1234567).after(4).next_u64(), expected[4]);
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut r = Random::new(7);
        let n = 100_000;
        let u: Vec<f64> = (0..n).map(|_| r.uniform()).collect();
        let g: Vec<f64> = (0..n).map(|_| r.normal()).collect();
        let mean = |v: &[f64], power: i32| v.iter().map(|x| x.powi(power)).sum::<f64>() / n as f64;
        assert!(u.iter().all(|x| (0.0..1.0).contains(x)));
        assert!((mean(&u, 1) - 0.5).abs() < 0.005);
        assert!((mean(&u, 2) - 1.0 / 3.0).abs() < 0.005);
        assert!(mean(&g, 1).abs() < 0.02);
        assert!((mean(&g, 2) - 1.0).abs() < 0.02);
        assert!((mean(&g, 4) - 3.0).abs() < 0.15);
    }
}
