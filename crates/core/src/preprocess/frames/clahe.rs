//! Contrast-limited adaptive histogram equalization.

use serde::{Deserialize, Serialize};

use super::Sample;
use super::counted::{Counted, total};
use crate::image::Frame;
use intraop_engine::{Simd, vectorized};

/// Contrast-limited adaptive histogram equalization (Zuiderveld, "Contrast limited adaptive
/// histogram equalization", Graphics Gems IV, 1994): the pixels of OpenCV's `CLAHE`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clahe {
    /// How often a gray value may occur in a tile, in multiples of how often each would if all
    /// were equally frequent; more are spread over all values. Above 0; 2 to 4 are usual.
    pub clip_limit: f64,
    /// Columns and rows of tiles, each 1 to [`MOST_TILES`]; 8 and 8 are usual.
    pub tiles: [usize; 2],
}

/// Along an axis.
pub const MOST_TILES: usize = 32;

impl Clahe {
    /// # Panics
    /// If the frame has no pixel, or an axis no tile.
    pub fn apply<T: Counted>(&self, simd: Simd, frame: &Frame<T>) -> Frame<T> {
        let [columns, rows] = self.tiles;
        let size = self.tile_size(frame.size());
        let maps = self.maps(simd, frame, size);
        let across = Places::new(frame.width, size[0], columns);
        let down = Places::new(frame.height, size[1], rows);
        let mut out = frame.with(vec![T::default(); frame.data.len()]);
        let map = |column: usize, row: usize| &maps[(row * columns + column) * T::VALUES..];
        let mut quads = vec![T::Quad::default(); frame.width];
        // For the columns between two tiles' centers, what the four tiles around make of a value.
        let mut tables = vec![T::Quad::default(); across.stretches.len() * T::VALUES];
        for rows in &down.stretches {
            let [above, below] = rows.tiles;
            for (columns, table) in across.stretches.iter().zip(tables.chunks_mut(T::VALUES)) {
                let [left, right] = columns.tiles;
                let corners = [[left, above], [right, above], [left, below], [right, below]];
                side_by_side::<T>(simd, corners.map(|[x, y]| &map(x, y)[..T::VALUES]), table);
            }
            for y in rows.pixels.clone() {
                for (columns, table) in across.stretches.iter().zip(tables.chunks(T::VALUES)) {
                    let pixels = columns.pixels.clone();
                    look_up(simd, &frame.row(y)[pixels.clone()], table, &mut quads[pixels]);
                }
                let out = &mut out.data[y * frame.width..][..frame.width];
                blend::<T>(simd, &quads, &across.t, down.t[y], out);
            }
        }
        out
    }

    /// Width and height of a tile. Where the tiles do not fit the frame, OpenCV extends it on both
    /// axes, also on one where they do.
    fn tile_size(&self, size: [usize; 2]) -> [usize; 2] {
        let fits = (0..2).all(|axis| size[axis].is_multiple_of(self.tiles[axis]));
        [0, 1].map(|axis| size[axis] / self.tiles[axis] + usize::from(!fits))
    }

    /// Each tile's map from gray value to gray value, row by row.
    fn maps<T: Counted>(
        &self,
        simd: Simd,
        frame: &Frame<T>,
        [width, height]: [usize; 2],
    ) -> Vec<T> {
        let [columns, rows] = self.tiles;
        let area = width * height;
        let limit = (self.clip_limit * area as f64 / T::VALUES as f64) as u32;
        let scale = (T::VALUES - 1) as f32 / area as f32;
        let mut counters = vec![0; T::SETS * T::VALUES];
        let mut beyond = Vec::new();
        let mut maps = vec![T::default(); columns * rows * T::VALUES];
        for (index, map) in maps.chunks_exact_mut(T::VALUES).enumerate() {
            let [x, y] = [index % columns * width, index / columns * height];
            counters.fill(0);
            for y in y..y + height {
                let row = frame.row(mirrored(y, frame.height));
                let end = (x + width).min(frame.width);
                T::count(&row[x.min(end)..end], &mut counters);
                beyond.clear();
                beyond.extend((end.max(x)..x + width).map(|x| row[mirrored(x, frame.width)]));
                T::count(&beyond, &mut counters);
            }
            let counters = total(&mut counters, T::VALUES);
            clip(simd, counters, limit.max(1));
            let mut sum = 0;
            for n in counters.iter_mut() {
                sum += *n;
                *n = sum;
            }
            share(simd, counters, scale, map);
        }
        maps
    }
}

/// What is beyond the end of an axis is its mirror image, without the last pixel
/// (`BORDER_REFLECT_101`).
fn mirrored(at: usize, len: usize) -> usize {
    if at < len {
        return at;
    }
    let period = 2 * (len - 1);
    let at = if period == 0 { 0 } else { at % period };
    if at < len { at } else { period - at }
}

/// Between which tiles' centers the pixels of an axis lie.
struct Places {
    stretches: Vec<Stretch>,
    /// Of each pixel, how far it is from the first tile's center to the second's, 0 to 1.
    t: Vec<f32>,
}

/// Pixels between the centers of two tiles.
struct Stretch {
    pixels: std::ops::Range<usize>,
    tiles: [usize; 2],
}

impl Places {
    fn new(pixels: usize, tile: usize, tiles: usize) -> Self {
        let inverse = 1.0 / tile as f32;
        let mut places = Places { stretches: Vec::new(), t: Vec::with_capacity(pixels) };
        for x in 0..pixels {
            let at = x as f32 * inverse - 0.5;
            // −1 before the first center.
            let before = at.floor() as isize;
            places.t.push(at - before as f32);
            let tiles = [before, before + 1].map(|i| i.clamp(0, tiles as isize - 1) as usize);
            match places.stretches.last_mut() {
                Some(last) if last.tiles == tiles => last.pixels.end = x + 1,
                _ => places.stretches.push(Stretch { pixels: x..x + 1, tiles }),
            }
        }
        places
    }
}

vectorized! {
    /// Cuts the counters to `limit` and spreads what is above evenly.
    fn clip(counters: &mut [u32], limit: u32) {
        let values = counters.len();
        let mut above = 0;
        for n in counters.iter_mut() {
            above += n.saturating_sub(limit);
            *n = (*n).min(limit);
        }
        let each = above / values as u32;
        counters.iter_mut().for_each(|n| *n += each);
        let rest = above as usize % values;
        if let Some(step) = values.checked_div(rest) {
            counters.iter_mut().step_by(step).take(rest).for_each(|n| *n += 1);
        }
    }

    fn share[T: Sample](sums: &[u32], scale: f32, to: &mut [T]) {
        for (to, sum) in to.iter_mut().zip(sums) {
            // By way of i32, from which every CPU converts several at once; a frame has less.
            *to = T::rounded(*sum as i32 as f32 * scale);
        }
    }

    fn side_by_side[T: Counted](maps: [&[T]; 4], to: &mut [T::Quad]) {
        let [a, b, c, d] = maps.map(|map| &map[..to.len()]);
        for i in 0..to.len() {
            to[i] = T::quad([a[i], b[i], c[i], d[i]]);
        }
    }

    fn look_up[T: Counted](from: &[T], table: &[T::Quad], to: &mut [T::Quad]) {
        let table = &table[..T::VALUES];
        for (to, v) in to.iter_mut().zip(from) {
            *to = table[(*v).into()];
        }
    }

    /// The mean of the four maps' values, by the distance to their tiles' centers.
    fn blend[T: Counted](quads: &[T::Quad], across: &[f32], down: f32, to: &mut [T]) {
        for ((to, quad), t) in to.iter_mut().zip(quads).zip(across) {
            let [a, b, c, d] = T::corners(*quad);
            let above = a * (1.0 - t) + b * t;
            let below = c * (1.0 - t) + d * t;
            *to = T::rounded(above * (1.0 - down) + below * down);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame<u8> {
        Frame::new(13, 10, (0..130).map(|i| (i * i * 7 % 251 / 3) as u8).collect())
    }

    #[test]
    fn pixels_are_opencvs_at_every_level() {
        let bytes = frame();
        let words = bytes.with(bytes.data.iter().map(|v| u16::from(*v) * 300).collect());
        // OpenCV 5.0.0: cv2.createCLAHE(2, (3, 2)).apply(frame)[9]; 3 and 2 do not divide 13 and 10.
        let clahe = Clahe { clip_limit: 2.0, tiles: [3, 2] };
        for simd in Simd::all() {
            let found = clahe.apply(simd, &bytes);
            assert_eq!(
                found.row(9),
                [153, 51, 170, 109, 54, 22, 182, 145, 124, 115, 123, 151, 18],
                "{simd}"
            );
            assert_eq!(
                clahe.apply(simd, &words).row(9),
                [
                    39321, 13107, 43690, 28180, 13762, 5462, 46748, 39540, 31894, 30147, 32768,
                    40413, 4587
                ],
                "{simd}"
            );
            let each = Clahe { clip_limit: 40.0, tiles: [13, 10] }.apply(simd, &bytes);
            assert_eq!(each.data.iter().map(|v| u32::from(*v)).sum::<u32>(), 22132, "{simd}");
        }
    }

    #[test]
    fn what_is_beyond_is_mirrored_without_the_last_pixel() {
        assert_eq!((0..9).map(|i| mirrored(i, 3)).collect::<Vec<_>>(), [0, 1, 2, 1, 0, 1, 2, 1, 0]);
        assert_eq!((0..4).map(|i| mirrored(i, 1)).collect::<Vec<_>>(), [0; 4]);
    }
}
