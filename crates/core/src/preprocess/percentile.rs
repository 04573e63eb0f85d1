//! Percentiles by counting: two passes over the samples, in parallel, and no copy to sort.

use rayon::prelude::*;

/// Samples that one task counts: enough that clearing its counters does not matter.
const CHUNK: usize = 1 << 19;
/// One for every half of a key.
const COUNTERS: usize = 1 << 16;

/// Percentiles with linear interpolation between ranks (numpy's default).
///
/// # Panics
/// If there is no sample.
pub(super) fn percentiles<const N: usize>(data: &[f32], percents: [f64; N]) -> [f64; N] {
    let last = data.len() - 1;
    let ranks = percents.map(|percent| percent.clamp(0.0, 100.0) / 100.0 * last as f64);
    let around = ranks.map(|rank| [rank.floor() as usize, (rank.floor() as usize + 1).min(last)]);
    // By their upper halves, the keys around each rank; then by their lower halves.
    let coarse = count(data, 1, |key| Some(key >> 16));
    let around = around.map(|ranks| ranks.map(|rank| bucket(&coarse, rank)));
    let mut uppers: Vec<u32> = around.as_flattened().iter().map(|(upper, _)| *upper).collect();
    uppers.sort_unstable();
    uppers.dedup();
    const NONE: u32 = u32::MAX;
    let mut part = vec![NONE; COUNTERS];
    uppers.iter().zip(0..).for_each(|(upper, number)| part[*upper as usize] = number);
    let fine = count(data, uppers.len(), |key| {
        let part = part[(key >> 16) as usize];
        (part != NONE).then_some(part << 16 | key & 0xffff)
    });
    let sample = |(upper, rank): (u32, usize)| {
        let (_, counters) = fine.split_at(part[upper as usize] as usize * COUNTERS);
        f64::from(value(upper << 16 | bucket(counters, rank).0))
    };
    std::array::from_fn(|i| {
        let [at, next] = around[i].map(sample);
        at + ranks[i].fract() * (next - at)
    })
}

/// A number that orders as `total_cmp` orders the samples.
fn key(sample: f32) -> u32 {
    let bits = sample.to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}

/// The sample of a [`key`].
fn value(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key & !(1 << 31) } else { !key })
}

/// How many samples there are of every `group` of keys, less than `parts` times [`COUNTERS`].
fn count(data: &[f32], parts: usize, group: impl Fn(u32) -> Option<u32> + Sync) -> Vec<usize> {
    let counters = parts * COUNTERS;
    let chunks = data.par_chunks(CHUNK).map(|chunk| {
        let mut counted = vec![0u32; counters];
        // Empty background comes in long runs, where each count would wait for the one before.
        for run in chunk.chunk_by(|a, b| a.to_bits() == b.to_bits()) {
            if let Some(group) = group(key(run[0])) {
                counted[group as usize] += run.len() as u32;
            }
        }
        counted
    });
    let add = |mut sum: Vec<usize>, part: Vec<u32>| {
        sum.iter_mut().zip(part).for_each(|(sum, n)| *sum += n as usize);
        sum
    };
    chunks.collect::<Vec<_>>().into_iter().fold(vec![0; counters], add)
}

/// The group that holds the sample of a rank, and the rank within the group.
fn bucket(counters: &[usize], mut rank: usize) -> (u32, usize) {
    for (group, n) in counters.iter().enumerate() {
        if rank < *n {
            return (group as u32, rank);
        }
        rank -= n;
    }
    unreachable!("a rank is less than the number of samples")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_numpys() {
        // numpy.percentile([9, 1, 4, 2, 7], [10, 50, 97]) → [1.4, 4.0, 8.76]
        let found = percentiles(&[9.0, 1.0, 4.0, 2.0, 7.0], [10.0, 50.0, 97.0]);
        for (found, expected) in found.iter().zip([1.4, 4.0, 8.76]) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }

    #[test]
    fn whole_ranks_are_the_sorted_samples() {
        let mut data: Vec<f32> = (0..=200).map(|i| ((i * 73 % 201) as f32 - 90.0) / 7.0).collect();
        data[5] = f32::INFINITY;
        data[6] = f32::NEG_INFINITY;
        data[7] = -0.0;
        let found = [1, 7, 50, 99].map(|i| percentiles(&data, [f64::from(i)])[0]);
        data.sort_by(f32::total_cmp);
        assert_eq!(found, [2, 14, 100, 198].map(|rank| f64::from(data[rank])));
        assert_eq!(percentiles(&[3.0], [40.0]), [3.0]);
    }
}
