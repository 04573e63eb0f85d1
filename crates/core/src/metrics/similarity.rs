use std::ops::Range;

use rayon::prelude::*;

/// Samples summed up by one task; fixed, so that the bits do not depend on the thread count.
const CHUNK: usize = 1 << 16;

/// Global normalized cross-correlation (Pearson's r, −1 to 1) of two images on one grid, over the
/// samples where `mask` holds: Σ(a−ā)(b−b̄) / √(Σ(a−ā)² Σ(b−b̄)²), in f64.
///
/// `None` where it is undefined: either image is constant there, or not finite, or the mask empty.
///
/// # Panics
/// If the slices differ in length.
pub fn ncc(a: &[f32], b: &[f32], mask: Option<&[bool]>) -> Option<f64> {
    assert_eq!(a.len(), b.len(), "one sample of each image per voxel");
    assert!(mask.is_none_or(|m| m.len() == a.len()), "one mask value per voxel");
    let inside = |i: usize| mask.is_none_or(|m| m[i]);
    // Relative to the first sample, so that a constant image has exactly no variance.
    let first = (0..a.len()).find(|i| inside(*i))?;
    let pair = |i: usize| {
        let relative = |v: &[f32]| f64::from(v[i]) - f64::from(v[first]);
        (relative(a), relative(b))
    };
    let total = |term: &(dyn Fn(f64, f64) -> [f64; 3] + Sync)| {
        sum(a.len(), |range| {
            range.filter(|i| inside(*i)).map(pair).map(|(x, y)| term(x, y)).fold([0.0; 3], add)
        })
    };
    let [n, sum_a, sum_b] = total(&|x, y| [1.0, x, y]);
    let (mean_a, mean_b) = (sum_a / n, sum_b / n);
    let [aa, bb, ab] = total(&|x, y| {
        let (x, y) = (x - mean_a, y - mean_b);
        [x * x, y * y, x * y]
    });
    let r = ab / (aa.sqrt() * bb.sqrt());
    r.is_finite().then(|| r.clamp(-1.0, 1.0))
}

fn add(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    std::array::from_fn(|i| a[i] + b[i])
}

fn sum(n: usize, part: impl Fn(Range<usize>) -> [f64; 3] + Sync) -> [f64; 3] {
    let range = |chunk: usize| chunk * CHUNK..n.min((chunk + 1) * CHUNK);
    let parts: Vec<_> =
        (0..n.div_ceil(CHUNK)).into_par_iter().map(|chunk| part(range(chunk))).collect();
    parts.into_iter().fold([0.0; 3], add)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waves(n: usize) -> (Vec<f32>, Vec<f32>) {
        let wave = |step: usize, modulus: usize| {
            (0..n).map(|i| (i * step % modulus) as f32).collect::<Vec<_>>()
        };
        (wave(7, 31), wave(13, 29))
    }

    #[test]
    fn agrees_with_numpy() {
        // i = np.arange(200000); a = i*7 % 31; b = i*7 % 31 + 2*(i*13 % 29); m = i % 3 == 0
        // np.corrcoef(a, b)[0, 1]; np.corrcoef(a[m], b[m])[0, 1]
        let (a, w) = waves(200_000);
        let b: Vec<f32> = a.iter().zip(&w).map(|(x, y)| x + 2.0 * y).collect();
        let mask: Vec<bool> = (0..a.len()).map(|i| i % 3 == 0).collect();
        assert!((ncc(&a, &b, None).unwrap() - 0.4714158834580858).abs() < 1e-12);
        assert!((ncc(&a, &b, Some(&mask)).unwrap() - 0.47139872485546097).abs() < 1e-12);
    }

    #[test]
    fn only_the_masked_part_counts() {
        let (a, mut b) = (waves(50).0, waves(50).0);
        let mask: Vec<bool> = (0..50).map(|i| i >= 20).collect();
        b[..20].fill(f32::NAN);
        assert_eq!(ncc(&a, &b, Some(&mask)), Some(1.0));
        assert_eq!(ncc(&a, &b, None), None);
    }

    #[test]
    fn brightness_and_contrast_do_not_count_but_their_sign_does() {
        // A large offset loses digits unless the mean is taken off before squaring.
        let a: Vec<f32> = waves(1000).0;
        let b: Vec<f32> = a.iter().map(|v| 1e6 - 2.0 * v).collect();
        assert!((ncc(&a, &b, None).unwrap() + 1.0).abs() < 1e-12);
    }

    #[test]
    fn undefined_for_constant_or_no_samples() {
        let (a, constant) = (waves(1000).0, vec![0.1; 1000]);
        assert_eq!(ncc(&a, &constant, None), None);
        assert_eq!(ncc(&constant, &a, None), None);
        assert_eq!(ncc(&a, &a, Some(&[false; 1000])), None);
        assert_eq!(ncc(&[], &[], None), None);
    }
}
