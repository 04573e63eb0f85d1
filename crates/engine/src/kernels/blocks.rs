//! In which order a convolution visits its rows: blocks small enough that the input rows which
//! neighboring output rows share are still in the second cache.

use std::ops::Range;

/// What the input rows of a block may take of the second cache; the weights want the rest.
const INPUT_BYTES: usize = 192 << 10;

/// Rows (z, y) of the output; z is the outer loop.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    pub z: Range<usize>,
    pub y: Range<usize>,
}

/// Blocks over `depth` × `height` rows, at least `wanted` of them if there are as many rows.
/// Each output plane reads `planes` input planes, each output row `row_bytes` of every plane
/// that no other row of the block has read before.
pub fn blocks(
    [depth, height]: [usize; 2],
    planes: usize,
    row_bytes: usize,
    wanted: usize,
) -> Vec<Block> {
    let rows = (INPUT_BYTES / (planes * row_bytes).max(1)).clamp(1, height.max(1));
    let across = height.div_ceil(rows);
    let rows = height.div_ceil(across.max(1)).max(1);
    let along = wanted.div_ceil(across.max(1)).clamp(1, depth.max(1));
    let planes = depth.div_ceil(along).max(1);
    let ranges =
        |n: usize, step: usize| (0..n).step_by(step).map(move |start| start..(start + step).min(n));
    ranges(height, rows)
        .flat_map(|y| ranges(depth, planes).map(move |z| Block { z, y: y.clone() }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_every_row_once() {
        for (depth, height, planes, bytes, wanted) in
            [(1, 1, 1, 1, 1), (5, 7, 3, 60_000, 1), (64, 64, 3, 8_000, 16), (3, 9, 2, 1, 99)]
        {
            let mut seen = vec![0; depth * height];
            let blocks = blocks([depth, height], planes, bytes, wanted);
            for block in &blocks {
                for z in block.z.clone() {
                    block.y.clone().for_each(|y| seen[z * height + y] += 1);
                }
            }
            assert_eq!(seen, vec![1; depth * height]);
        }
        assert!(blocks([64, 64], 3, 8_000, 16).len() >= 16);
        assert_eq!(blocks([4, 4], 1, 1, 1).len(), 1);
    }
}
