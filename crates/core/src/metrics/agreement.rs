use super::statistics::{mean, sd};

/// How well a measurement agrees with its truth (J. M. Bland and D. G. Altman, Lancet 327, 1986).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Agreement {
    pub n: usize,
    /// Mean absolute difference.
    pub mae: f64,
    /// Mean difference, measured − true.
    pub bias: f64,
    /// Sample standard deviation of the differences; `None` of one.
    pub sd: Option<f64>,
    /// bias ± 1.96 sd: 95 % of the differences, were they normal.
    pub limits: Option<[f64; 2]>,
}

/// Of the differences measured − true; `None` of no difference.
pub fn agreement(differences: &[f64]) -> Option<Agreement> {
    let bias = mean(differences)?;
    let absolute: Vec<f64> = differences.iter().map(|d| d.abs()).collect();
    let sd = sd(differences);
    let limits = sd.map(|sd| [bias - 1.96 * sd, bias + 1.96 * sd]);
    Some(Agreement { n: differences.len(), mae: mean(&absolute)?, bias, sd, limits })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_those_of_bland_and_altman() {
        let found = agreement(&[2.0, -1.0, 0.0, 3.0]).unwrap();
        assert_eq!((found.n, found.mae, found.bias), (4, 1.5, 1.0));
        // Squares about 1: 1 + 4 + 1 + 4, over 3.
        let sd = (10.0f64 / 3.0).sqrt();
        assert!((found.sd.unwrap() - sd).abs() < 1e-12);
        let [low, high] = found.limits.unwrap();
        assert!((low - (1.0 - 1.96 * sd)).abs() < 1e-12);
        assert!((high - (1.0 + 1.96 * sd)).abs() < 1e-12);
        let single = agreement(&[-2.0]).unwrap();
        assert_eq!((single.mae, single.bias, single.sd, single.limits), (2.0, -2.0, None, None));
        assert_eq!(agreement(&[]), None);
    }
}
