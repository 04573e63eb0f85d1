//! What a series of times supports: a percentile only of runs enough for it, and a bound on it that
//! holds with a stated confidence.

use serde::{Deserialize, Serialize};

use crate::metrics::statistics::{mean, median, sd};

/// How sure the bounds on percentiles are.
pub const CONFIDENCE: f64 = 0.99;

/// The times of one stage, in ns. A percentile is `None` where the runs are too few for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub n: usize,
    pub min: f64,
    pub p50: f64,
    pub p90: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
    pub max: f64,
    pub mean: f64,
    /// Sample standard deviation; 0 of one run.
    pub sd: f64,
    /// With a confidence of [`CONFIDENCE`] the true 95th percentile is not above this.
    pub p95_at_most: Option<f64>,
    /// How much medians of such series differ by chance, as a share of the median: see [`noise`].
    pub noise: Option<f64>,
}

impl Summary {
    /// Of at least one time, in ns, in the order they were measured.
    ///
    /// # Panics
    /// Without a time.
    pub fn of(times: &[f64]) -> Summary {
        let mut sorted = times.to_vec();
        sorted.sort_by(f64::total_cmp);
        let percentile = |p: f64| (sorted.len() >= runs_for(p)).then(|| nearest_rank(&sorted, p));
        let [first, .., last] = [sorted[0], sorted[sorted.len() - 1]];
        Summary {
            n: sorted.len(),
            min: first,
            p50: median(sorted.clone()).unwrap_or(first),
            p90: percentile(0.90),
            p95: percentile(0.95),
            p99: percentile(0.99),
            max: last,
            mean: mean(times).unwrap_or(first),
            sd: sd(times).unwrap_or(0.0),
            p95_at_most: upper_bound(&sorted, 0.95),
            noise: noise(times),
        }
    }
}

/// The smallest value that at least the share `p` of the sorted values does not exceed.
fn nearest_rank(sorted: &[f64], p: f64) -> f64 {
    // The product may come out a hair above a whole number.
    let rank = (p * sorted.len() as f64 - 1e-9).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// How many runs a percentile takes: so many that, were it really higher than the second highest
/// time, fewer than 1 in 100 such series would look like this one. 64 for the 90th, 130 for the 95th,
/// 662 for the 99th, which is the least that MLPerf's early stopping accepts with one run above
/// (V. J. Reddi et al., MLPerf Inference Benchmark, ISCA 2020; its rules' appendix).
pub fn runs_for(p: f64) -> usize {
    (2..).find(|n| most_above(*n, p) >= Some(1)).unwrap_or(usize::MAX)
}

/// The most runs of `n` that may lie above a time for it to be, with the stated confidence, not below
/// the percentile `p`: the binomial sum of so many is at most 1 - [`CONFIDENCE`].
fn most_above(n: usize, p: f64) -> Option<usize> {
    // Terms follow from each other; in logarithms, as p^n is no number of a million runs.
    let mut term = n as f64 * p.ln();
    let (mut sum, mut most) = (term.exp(), None);
    for above in 0..n {
        if sum > 1.0 - CONFIDENCE {
            break;
        }
        most = Some(above);
        term += ((n - above) as f64 / (above + 1) as f64 * (1.0 - p) / p).ln();
        sum += term.exp();
    }
    most
}

/// The order statistic that is not below the true percentile with the stated confidence; `None` of
/// fewer runs than [`runs_for`] says.
fn upper_bound(sorted: &[f64], p: f64) -> Option<f64> {
    let above = most_above(sorted.len(), p).filter(|above| *above >= 1)?;
    Some(sorted[sorted.len() - 1 - above])
}

/// Blocks of a series by whose medians its noise is judged.
const BLOCKS: usize = 10;

/// How much the median wanders, as a share of it: the standard deviation of the medians of ten
/// consecutive blocks, so that what drifts slowly (heat, other work on the machine) counts in full
/// and does not vanish by many runs. `None` below 30 runs.
pub fn noise(times: &[f64]) -> Option<f64> {
    if times.len() < 3 * BLOCKS {
        return None;
    }
    let block = |i: usize| {
        let at = |i: usize| i * times.len() / BLOCKS;
        median(times[at(i)..at(i + 1)].to_vec())
    };
    let medians: Vec<f64> = (0..BLOCKS).filter_map(block).collect();
    Some(sd(&medians)? / median(times.to_vec())?)
}

/// Is a series slower than another?
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Faster,
    WithinNoise,
    Slower,
    /// Too few runs to know the noise.
    Unknown,
}

/// The change of the median, and what it takes to be called one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Change {
    /// New median ÷ old median.
    pub ratio: f64,
    /// The least change of the ratio that is beyond noise: the larger of `floor` and three times
    /// the noise of both series together.
    pub threshold: Option<f64>,
    pub verdict: Verdict,
}

/// Compares two series of one stage by their medians. `floor` is a share: changes below it are none.
/// A speed-up must be as large, by its inverse ratio, as a slow-down.
pub fn change(old: &Summary, new: &Summary, floor: f64) -> Change {
    let ratio = new.p50 / old.p50;
    let noise = old.noise.zip(new.noise).map(|(a, b)| a.hypot(b));
    let threshold = noise.map(|noise| floor.max(3.0 * noise));
    let verdict = match threshold {
        None => Verdict::Unknown,
        Some(t) if ratio > 1.0 + t => Verdict::Slower,
        Some(t) if 1.0 / ratio > 1.0 + t => Verdict::Faster,
        Some(_) => Verdict::WithinNoise,
    };
    Change { ratio, threshold, verdict }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Random;

    #[test]
    fn percentiles_take_as_many_runs_as_mlperfs_bound() {
        assert_eq!([0.90, 0.95, 0.99].map(runs_for), [64, 130, 662]);
        // The binomial sums in closed form.
        let p = 0.95f64;
        let closed = |n: i32| p.powi(n) + f64::from(n) * 0.05 * p.powi(n - 1);
        assert!(closed(130) <= 0.01 && closed(129) > 0.01);
        // Of scipy.stats.binom.ppf(0.01, n, 0.05), the first sum above 0.01: one less.
        let scipy = [(1000, 34), (20_000, 928), (1_000_000, 49_493)];
        assert_eq!(scipy.map(|(n, _)| most_above(n, p)), scipy.map(|(_, above)| Some(above)));
    }

    #[test]
    fn a_ramp_gives_its_own_ranks() {
        let ramp: Vec<f64> = (1..=1000).map(f64::from).collect();
        let s = Summary::of(&ramp);
        assert_eq!((s.n, s.min, s.p50, s.max, s.mean), (1000, 1.0, 500.5, 1000.0, 500.5));
        assert_eq!((s.p90, s.p95, s.p99), (Some(900.0), Some(950.0), Some(990.0)));
        // n (n + 1) / 12
        assert!((s.sd.powi(2) - 1000.0 * 1001.0 / 12.0).abs() < 1e-6);
        // The binomial distribution of 1000 at 0.05: P(≤ 33) = 0.0059, P(≤ 34) = 0.0093, P(≤ 35) = 0.0142.
        assert_eq!(s.p95_at_most, Some(1000.0 - 34.0));

        let s = Summary::of(&ramp[..129]);
        assert_eq!((s.p90, s.p95, s.p95_at_most), (Some(117.0), None, None));
        let s = Summary::of(&ramp[..130]);
        assert_eq!((s.p95, s.p95_at_most, s.p99), (Some(124.0), Some(129.0), None));
        let s = Summary::of(&[7.0]);
        assert_eq!((s.min, s.p50, s.max, s.sd, s.p90, s.noise), (7.0, 7.0, 7.0, 0.0, None, None));
    }

    /// The bound is below the true percentile in at most 1 of 100 series.
    #[test]
    fn the_bound_on_a_percentile_holds_as_often_as_it_says() {
        let mut random = Random::new(1);
        let series = 4000;
        let misses = (0..series).filter(|_| {
            let times: Vec<f64> = (0..200).map(|_| random.range(0.0, 1.0)).collect();
            Summary::of(&times).p95_at_most.unwrap() < 0.95
        });
        let rate = misses.count() as f64 / f64::from(series);
        // P(at most 4 of 200 above) = 0.0264 would be too often, P(at most 3) = 0.0090 is not.
        assert!((rate - 0.009).abs() < 0.006, "{rate}");
    }

    /// 100 ± 2 (normal), and a machine that slows by 1 per block.
    fn times(seed: u64, level: f64, drift: f64) -> Vec<f64> {
        let mut random = Random::new(seed);
        let time = |i: usize| level + 2.0 * random.normal() + drift * (i / 30) as f64;
        (0..300).map(time).collect()
    }

    #[test]
    fn noise_is_that_of_blocks() {
        // A median of 30 normal numbers has a standard deviation of about 1.2533 σ / √30.
        let expected = 1.2533 * 2.0 / 30f64.sqrt() / 100.0;
        let found = mean(&(0..50).filter_map(|s| noise(&times(s, 100.0, 0.0))).collect::<Vec<_>>());
        assert!((found.unwrap() / expected - 1.0).abs() < 0.1, "{found:?} {expected}");
        // A drift through 0, 1, … 9 has a standard deviation of 3.03, whatever the runs' number.
        let drifting = noise(&times(1, 100.0, 1.0)).unwrap();
        assert!((drifting - 0.0303 / 1.045).abs() < 0.006, "{drifting}");
        assert_eq!(noise(&[1.0; 29]), None);
        assert_eq!(noise(&[1.0; 30]), Some(0.0));
    }

    #[test]
    fn a_change_is_one_only_beyond_noise_and_floor() {
        let of = |seed, level, drift| Summary::of(&times(seed, level, drift));
        let verdict = |a: &Summary, b: &Summary, floor| change(a, b, floor).verdict;
        let base = of(1, 100.0, 0.0);
        assert_eq!(verdict(&base, &of(2, 100.0, 0.0), 0.03), Verdict::WithinNoise);
        assert_eq!(verdict(&base, &of(2, 110.0, 0.0), 0.03), Verdict::Slower);
        assert_eq!(verdict(&of(2, 110.0, 0.0), &base, 0.03), Verdict::Faster);
        assert_eq!(verdict(&base, &of(2, 110.0, 0.0), 0.2), Verdict::WithinNoise);
        // The same change between series that wander is none.
        assert_eq!(verdict(&of(3, 100.0, 2.0), &of(4, 110.0, 2.0), 0.03), Verdict::WithinNoise);
        let few = Summary::of(&[1.0; 10]);
        assert_eq!(change(&few, &base, 0.03).verdict, Verdict::Unknown);
        let c = change(&base, &of(2, 110.0, 0.0), 0.03);
        assert!((c.ratio - 1.1).abs() < 0.01 && c.threshold.is_some_and(|t| t < 0.05));
    }

    #[test]
    fn equal_series_are_seldom_called_different() {
        let changed = (0..200).filter(|seed| {
            let [a, b] = [*seed, seed + 1000].map(|seed| Summary::of(&times(seed, 100.0, 0.0)));
            change(&a, &b, 0.0).verdict != Verdict::WithinNoise
        });
        // Three standard deviations, and both series are long: a few in a thousand at most.
        assert!(changed.count() <= 2);
    }
}
