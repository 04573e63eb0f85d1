/// The cumulative error curve: which share of the truths has an error of at most so much. What was
/// not found has an infinite error, so the curve sees what a mean over the found ones cannot.
///
/// Area under it and failure rate as in H. Yang et al., "An Empirical Study of Recent Face
/// Alignment Methods", arXiv:1511.05049, 2015 (AUC_α).
#[derive(Debug, Clone, PartialEq)]
pub struct ErrorCurve {
    sorted: Vec<f64>,
    limit: f64,
}

impl ErrorCurve {
    /// Of one error per truth, infinite where nothing was found, in any unit; `limit`, above 0 and
    /// in the same unit, is where the curve ends and failure begins. NaN counts as infinite.
    /// `None` where there is no truth.
    pub fn new(errors: impl IntoIterator<Item = f64>, limit: f64) -> Option<Self> {
        let found = |e: f64| if e.is_nan() { f64::INFINITY } else { e };
        let mut sorted: Vec<f64> = errors.into_iter().map(found).collect();
        sorted.sort_by(f64::total_cmp);
        (!sorted.is_empty()).then_some(ErrorCurve { sorted, limit })
    }

    /// The share of truths with an error of at most `error`.
    pub fn share(&self, error: f64) -> f64 {
        self.sorted.partition_point(|e| *e <= error) as f64 / self.sorted.len() as f64
    }

    /// The mean of the curve from 0 to the limit, exactly: 1 is perfect, 0 means that every error
    /// is beyond the limit.
    pub fn auc(&self) -> f64 {
        // The step of one truth at error e is 1 over the share 1 − e / limit of the range.
        let part = |e: &f64| (1.0 - e / self.limit).max(0.0);
        self.sorted.iter().map(part).sum::<f64>() / self.sorted.len() as f64
    }

    /// The share of truths with an error beyond the limit, or not found.
    pub fn failure_rate(&self) -> f64 {
        1.0 - self.share(self.limit)
    }

    /// The corners (error, share) of the curve's steps from 0 to the limit.
    pub fn steps(&self) -> Vec<[f64; 2]> {
        let (mut corners, mut height) = (vec![[0.0, 0.0]], 0.0);
        for (i, error) in self.sorted.iter().enumerate().take_while(|(_, e)| **e <= self.limit) {
            let above = (i + 1) as f64 / self.sorted.len() as f64;
            corners.extend([[*error, height], [*error, above]]);
            height = above;
        }
        corners.push([self.limit, height]);
        corners
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_those_of_the_definition() {
        let errors = [0.01, f64::INFINITY, 0.02, 0.05, 0.06, f64::NAN, 0.0, 0.02];
        let curve = ErrorCurve::new(errors, 0.05).unwrap();
        assert_eq!(curve.share(0.0), 1.0 / 8.0);
        assert_eq!(curve.share(0.02), 4.0 / 8.0);
        // At the limit is no failure: 0.06 and what was not found.
        assert_eq!(curve.failure_rate(), 3.0 / 8.0);
        // Mean of the curve at many places.
        let at = |i: u32| curve.share(0.05 * (f64::from(i) + 0.5) / 10_000.0);
        let mean = (0..10_000).map(at).sum::<f64>() / 10_000.0;
        assert!((curve.auc() - mean).abs() < 1e-4, "{} {mean}", curve.auc());
        assert!((curve.auc() - (0.8 + 0.6 + 0.0 + 1.0 + 0.6) / 8.0).abs() < 1e-12);
    }

    #[test]
    fn the_area_under_the_drawn_steps_is_the_auc() {
        let curve = ErrorCurve::new([0.3, 0.1, 0.1, 2.0, f64::INFINITY], 0.5).unwrap();
        let steps = curve.steps();
        assert_eq!((steps[0], steps[steps.len() - 1]), ([0.0, 0.0], [0.5, 0.6]));
        let area: f64 =
            steps.windows(2).map(|w| (w[1][0] - w[0][0]) * (w[0][1] + w[1][1]) / 2.0).sum();
        assert!((area / 0.5 - curve.auc()).abs() < 1e-12);
    }

    #[test]
    fn perfect_lost_and_none() {
        let perfect = ErrorCurve::new([0.0, 0.0], 0.05).unwrap();
        assert_eq!((perfect.auc(), perfect.failure_rate()), (1.0, 0.0));
        let lost = ErrorCurve::new([f64::INFINITY], 0.05).unwrap();
        assert_eq!((lost.auc(), lost.failure_rate()), (0.0, 1.0));
        assert_eq!(ErrorCurve::new([], 0.05), None);
    }
}
