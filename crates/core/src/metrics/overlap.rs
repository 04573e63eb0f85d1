use std::collections::BTreeMap;

use super::require_same_grid;
use crate::Result;
use crate::image::LabelMap;

/// Dice coefficient 2·|A∩B| / (|A| + |B|) of every label present in either map, background (0)
/// left out (L. R. Dice, Ecology 26, 1945). A label missing on one side has 0.
///
/// # Errors
/// [`Unusable`](crate::Error::Unusable) if the maps are on different grids.
pub fn dice(a: &LabelMap, b: &LabelMap) -> Result<BTreeMap<i32, f64>> {
    let ratio = |n: Counts| 2.0 * n.both as f64 / (n.a + n.b) as f64;
    Ok(counts(a, b)?.into_iter().map(|(label, n)| (label, ratio(n))).collect())
}

/// Jaccard index |A∩B| / |A∪B| of every label present in either map, background (0) left out.
///
/// # Errors
/// [`Unusable`](crate::Error::Unusable) if the maps are on different grids.
pub fn jaccard(a: &LabelMap, b: &LabelMap) -> Result<BTreeMap<i32, f64>> {
    let ratio = |n: Counts| n.both as f64 / (n.a + n.b - n.both) as f64;
    Ok(counts(a, b)?.into_iter().map(|(label, n)| (label, ratio(n))).collect())
}

/// Mean over labels; `None` where there is no label.
pub fn mean(per_label: &BTreeMap<i32, f64>) -> Option<f64> {
    (!per_label.is_empty()).then(|| per_label.values().sum::<f64>() / per_label.len() as f64)
}

#[derive(Default, Clone, Copy)]
struct Counts {
    a: usize,
    b: usize,
    both: usize,
}

fn counts(a: &LabelMap, b: &LabelMap) -> Result<BTreeMap<i32, Counts>> {
    require_same_grid(a, b)?;
    let mut counts = BTreeMap::<i32, Counts>::new();
    let mut count = |(in_a, in_b), voxels| {
        counts.entry(in_a).or_default().a += voxels;
        counts.entry(in_b).or_default().b += voxels;
        if in_a == in_b {
            counts.entry(in_a).or_default().both += voxels;
        }
    };
    // Label maps come in long runs of the same pair: one look-up for each run.
    let (mut run, mut voxels) = ((0, 0), 0);
    for pair in a.data.iter().copied().zip(b.data.iter().copied()) {
        if pair != run {
            count(run, voxels);
            (run, voxels) = (pair, 0);
        }
        voxels += 1;
    }
    count(run, voxels);
    counts.remove(&0);
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Geometry;

    fn maps(a: [i32; 12], b: [i32; 12]) -> (LabelMap, LabelMap) {
        let g = Geometry::new([3, 2, 2], [1.0, 2.0, 3.0]);
        (LabelMap::new(g.clone(), a.into()), LabelMap::new(g, b.into()))
    }

    #[test]
    fn overlap_is_that_counted_by_hand() {
        let (a, b) =
            maps([1, 1, 1, 0, 0, 2, 2, 0, 5, 0, 0, -3], [1, 1, 0, 0, 2, 2, 2, 2, 0, 0, 7, -3]);
        // Label 1: 3 and 2 voxels, 2 shared; label 2: 2 and 4, 2 shared; 5 and 7 on one side only.
        let expected = [(-3, 1.0), (1, 0.8), (2, 4.0 / 6.0), (5, 0.0), (7, 0.0)];
        assert_eq!(dice(&a, &b).unwrap(), BTreeMap::from(expected));
        let expected = [(-3, 1.0), (1, 2.0 / 3.0), (2, 0.5), (5, 0.0), (7, 0.0)];
        assert_eq!(jaccard(&a, &b).unwrap(), BTreeMap::from(expected));
    }

    #[test]
    fn the_mean_is_over_labels_in_either_map() {
        let (a, b) =
            maps([1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4]);
        assert_eq!(mean(&dice(&a, &b).unwrap()), Some(0.5));
        let (a, b) = maps([0; 12], [0; 12]);
        assert_eq!(mean(&dice(&a, &b).unwrap()), None);
    }

    #[test]
    fn other_grids_are_refused() {
        let (a, mut b) = maps([1; 12], [1; 12]);
        b.geometry.origin.x += 1.0;
        let message = dice(&a, &b).unwrap_err().to_string();
        assert!(message.contains("different places"), "{message}");
        let c = LabelMap::filled(Geometry::new([2, 2, 2], [1.0; 3]), 1);
        let message = jaccard(&a, &c).unwrap_err().to_string();
        assert!(message.contains("3×2×2") && message.contains("2×2×2"), "{message}");
    }
}
