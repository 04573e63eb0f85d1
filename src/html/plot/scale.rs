//! Round numbers for axes.

/// Round ends of an axis around `values`. Zero is included where it is not far: lengths then
/// compare as they look.
pub(super) fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low > high {
        return (0.0, 1.0);
    }
    let low = if (0.0..=0.6 * high).contains(&low) { 0.0 } else { low };
    let span = if low < high { high - low } else { high.abs().max(1.0) };
    let step = round_step(span / 8.0);
    let (start, end) = ((low / step + 1e-9).floor() * step, (high / step - 1e-9).ceil() * step);
    (start, end.max(start + step))
}

/// The smallest of 1, 2, 5, 10, … times a power of ten that is not below `value`.
fn round_step(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let step = [1.0, 2.0, 5.0].into_iter().find(|m| m * power >= value * (1.0 - 1e-9));
    step.unwrap_or(10.0) * power
}

/// A tick's label with as many digits as an axis of this span needs.
pub(super) fn number(value: f64, span: f64) -> String {
    let decimals = (1.0 - span.log10()).ceil().clamp(0.0, 9.0) as usize;
    let text = format!("{value:.decimals$}");
    // -0.0 is what rounding leaves of a tiny negative value.
    if text.trim_start_matches(['-', '0', '.']).is_empty() { "0".to_owned() } else { text }
}

/// The quantile of sorted values with linear interpolation (type 7 of Hyndman and Fan 1996, as
/// numpy's default).
pub(super) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (above - below) * at.fract()
}

/// Equal intervals with round borders, and how many values lie in each.
pub(super) struct Bins {
    pub start: f64,
    pub width: f64,
    pub counts: Vec<u32>,
}

impl Bins {
    /// Of the order of the square root of the number of values; rounding makes them fewer.
    pub fn of(values: &[f64]) -> Bins {
        let finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        let low = finite.iter().copied().fold(f64::INFINITY, f64::min);
        let high = finite.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if low > high {
            return Bins { start: 0.0, width: 1.0, counts: vec![0] };
        }
        let wanted = (2.0 * (finite.len() as f64).sqrt()).clamp(6.0, 40.0);
        // Equal values get one interval of a plausible width.
        let span = if low < high { high - low } else { high.abs().max(1.0) };
        let width = round_step(span / wanted);
        let start = (low / width + 1e-9).floor() * width;
        let index = |v: f64| ((v - start) / width + 1e-9).floor().max(0.0) as usize;
        let mut counts = vec![0; index(high) + 1];
        for v in finite {
            counts[index(v)] += 1;
        }
        Bins { start, width, counts }
    }

    pub fn end(&self) -> f64 {
        self.start + self.width * self.counts.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_ends() {
        assert_eq!(bounds([0.31, 0.87].into_iter()), (0.0, 1.0));
        assert_eq!(bounds([-3.0, 12.0].into_iter()), (-4.0, 12.0));
        let (low, high) = bounds([0.71, 0.93].into_iter());
        assert!((low - 0.70).abs() < 1e-9 && (high - 0.95).abs() < 1e-9, "{low} {high}");
        assert_eq!(bounds([].into_iter()), (0.0, 1.0));
        for same in [0.0, 1e-12, 5.0, -5.0, 1e12] {
            let (low, high) = bounds([same].into_iter());
            assert!(low <= same && same <= high && low < high, "{same}: {low} {high}");
        }
    }

    #[test]
    fn intervals_hold_every_value_once() {
        let values: Vec<f64> = (0..100).map(|i| f64::from(i) * 0.01).collect();
        let bins = Bins::of(&values);
        assert_eq!((bins.start, bins.width), (0.0, 0.05));
        assert_eq!(bins.counts, vec![5; 20]);
        assert_eq!(Bins::of(&[0.0; 7]).counts, [7]);
        assert_eq!(Bins::of(&[f64::NAN, 3.0]).counts, [1]);
        assert_eq!(Bins::of(&[]).counts, [0]);
    }

    #[test]
    fn quantiles_are_numpys() {
        // numpy.quantile([1, 2, 4, 8, 16, 32], [0.25, 0.5, 0.75]) = [2.5, 6, 14]
        let values = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0];
        assert_eq!([0.25, 0.5, 0.75].map(|q| quantile(&values, q)), [2.5, 6.0, 14.0]);
    }

    #[test]
    fn labels_have_the_digits_the_axis_needs() {
        assert_eq!(number(0.25, 1.0), "0.2");
        assert_eq!(number(0.25, 0.5), "0.25");
        assert_eq!(number(150.0, 400.0), "150");
        assert_eq!(number(-1e-17, 1.0), "0");
    }
}
