//! Counting how often samples occur.

use super::{Sample, lookup};
use intraop_engine::{Simd, vectorized};

/// A sample whose values can be counted: `u8` or `u16`.
pub trait Counted: Sample + Into<usize> {
    /// How many values there are.
    const VALUES: usize;

    /// Sets of counters: equal neighbors would wait for each other's counter.
    const SETS: usize;

    /// Adds the samples to the counters, [`SETS`](Self::SETS) times [`VALUES`](Self::VALUES).
    fn count(samples: &[Self], counters: &mut [u32]);

    /// Smallest and largest.
    fn range(simd: Simd, samples: &[Self]) -> (Self, Self);

    /// What a table of [`VALUES`](Self::VALUES) makes of each sample.
    fn look_up(simd: Simd, samples: &[Self], table: &[Self]) -> Vec<Self>;

    /// Four samples side by side.
    type Quad: Copy + Default;

    fn quad(four: [Self; 4]) -> Self::Quad;

    fn corners(quad: Self::Quad) -> [f32; 4];
}

impl Counted for u8 {
    const VALUES: usize = 1 << 8;
    const SETS: usize = 4;
    type Quad = u32;

    fn count(samples: &[u8], counters: &mut [u32]) {
        let [a, b, c, d] = counters.as_chunks_mut::<256>().0 else { return };
        let (eights, rest) = samples.as_chunks::<8>();
        for eight in eights {
            let v = eight.map(usize::from);
            // Black, and the saturated parts of a frame, come in long runs.
            if u64::from_ne_bytes(*eight) == u64::from_ne_bytes([eight[0]; 8]) {
                a[v[0]] += 8;
                continue;
            }
            a[v[0]] += 1;
            b[v[1]] += 1;
            c[v[2]] += 1;
            d[v[3]] += 1;
            a[v[4]] += 1;
            b[v[5]] += 1;
            c[v[6]] += 1;
            d[v[7]] += 1;
        }
        rest.iter().for_each(|v| a[usize::from(*v)] += 1);
    }

    fn range(simd: Simd, samples: &[u8]) -> (u8, u8) {
        range(simd, samples, (u8::MAX, u8::MIN))
    }

    fn look_up(simd: Simd, samples: &[u8], table: &[u8]) -> Vec<u8> {
        let mut found = vec![0; samples.len()];
        lookup::look_up(simd, samples, &table.as_chunks().0[0], &mut found);
        found
    }

    #[inline(always)]
    fn quad(four: [u8; 4]) -> u32 {
        u32::from_le_bytes(four)
    }

    #[inline(always)]
    fn corners(quad: u32) -> [f32; 4] {
        // By way of i32, from which every CPU converts several at once.
        [0, 8, 16, 24].map(|shift| (quad >> shift & 0xff) as i32 as f32)
    }
}

impl Counted for u16 {
    const VALUES: usize = 1 << 16;
    const SETS: usize = 1;
    type Quad = u64;

    fn count(samples: &[u16], counters: &mut [u32]) {
        let Some(counters) = counters.first_chunk_mut::<{ 1 << 16 }>() else { return };
        samples.iter().for_each(|v| counters[usize::from(*v)] += 1);
    }

    fn range(simd: Simd, samples: &[u16]) -> (u16, u16) {
        range(simd, samples, (u16::MAX, u16::MIN))
    }

    fn look_up(_: Simd, samples: &[u16], table: &[u16]) -> Vec<u16> {
        let table = &table[..Self::VALUES];
        samples.iter().map(|v| table[usize::from(*v)]).collect()
    }

    #[inline(always)]
    fn quad(four: [u16; 4]) -> u64 {
        four.iter().rev().fold(0, |quad, v| quad << 16 | u64::from(*v))
    }

    #[inline(always)]
    fn corners(quad: u64) -> [f32; 4] {
        [0, 16, 32, 48].map(|shift| (quad >> shift & 0xffff) as i32 as f32)
    }
}

/// Adds all sets of counters up in the first, and gives that.
pub(super) fn total(counters: &mut [u32], values: usize) -> &mut [u32] {
    let (first, others) = counters.split_at_mut(values);
    for other in others.chunks_exact(values) {
        first.iter_mut().zip(other).for_each(|(sum, n)| *sum += n);
    }
    first
}

vectorized! {
    /// `none` is the range of no sample.
    fn range[T: Ord + Copy](samples: &[T], none: (T, T)) -> (T, T) {
        // In lanes, so that the compiler uses vectors.
        const LANES: usize = 64;
        let (mut lows, mut highs) = ([none.0; LANES], [none.1; LANES]);
        let mut add = |samples: &[T]| {
            for ((low, high), v) in lows.iter_mut().zip(&mut highs).zip(samples) {
                *low = (*low).min(*v);
                *high = (*high).max(*v);
            }
        };
        let (blocks, rest) = samples.as_chunks::<LANES>();
        blocks.iter().for_each(|block| add(block));
        add(rest);
        (lows.into_iter().fold(none.0, T::min), highs.into_iter().fold(none.1, T::max))
    }
}
