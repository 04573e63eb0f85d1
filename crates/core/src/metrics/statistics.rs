//! The textbook's sums of lists of numbers.

/// `None` of no value.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Sample standard deviation; `None` below two values.
pub fn sd(values: &[f64]) -> Option<f64> {
    let mean = mean(values).filter(|_| values.len() > 1)?;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

/// `None` of no value.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[half]),
        _ => Some((values[half - 1] + values[half]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_the_textbook_ones() {
        // numpy: mean 3.5, std(ddof=1) 2.6457513110645907, median 3.0
        let values = [1.0, 2.0, 4.0, 7.0];
        assert_eq!(mean(&values), Some(3.5));
        assert!((sd(&values).unwrap() - 2.645_751_311_064_590_7).abs() < 1e-12);
        assert_eq!(median(values.to_vec()), Some(3.0));
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!((mean(&[]), sd(&[1.0]), median(vec![])), (None, None, None));
    }
}
