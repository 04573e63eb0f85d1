//! The oracle: voxel after voxel by [`Trilinear`].

use super::{BLOCK, Row, Source};
use crate::image::Trilinear;

pub(super) fn resample<const C: usize>(source: &Source<C>, len: usize, row: &mut impl Row<C>) {
    let mut indices = [[0.0; BLOCK]; 3];
    let mut values = [[0.0; BLOCK]; C];
    for x in (0..len).step_by(BLOCK) {
        row.at(x, &mut indices);
        for i in 0..BLOCK.min(len - x) {
            let place = Trilinear::clamped(source.size, [0, 1, 2].map(|a| indices[a][i]).into());
            for (values, plane) in values.iter_mut().zip(source.planes) {
                values[i] = place.value(plane);
            }
        }
        row.put(x, &values);
    }
}
