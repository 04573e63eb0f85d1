//! Contrast-limited adaptive histogram equalisation.

use serde::{Deserialize, Serialize};

use super::Sample;
use crate::engine::{Simd, vectorised};
use crate::image::Frame;

/// Contrast-limited adaptive histogram equalisation (Zuiderveld, "Contrast limited adaptive
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

/// A sample whose values can be counted: `u8` or `u16`.
pub trait Counted: Sample + Into<usize> {
    /// How many values there are.
    const VALUES: usize;

    /// Four samples side by side.
    type Quad: Copy + Default;

    fn quad(four: [Self; 4]) -> Self::Quad;

    fn corners(quad: Self::Quad) -> [f32; 4];

    /// Adds the samples to the counters of their values.
    fn count(samples: &[Self], counters: &mut [u32]);
}

impl Counted for u8 {
    const VALUES: usize = 1 << 8;
    type Quad = u32;

    #[inline(always)]
    fn quad(four: [u8; 4]) -> u32 {
        u32::from_le_bytes(four)
    }

    #[inline(always)]
    fn corners(quad: u32) -> [f32; 4] {
        [0, 8, 16, 24].map(|shift| (quad >> shift & 0xff) as f32)
    }

    fn count(samples: &[u8], counters: &mut [u32]) {
        // Equal neighbours would wait for each other's counter, so they have several.
        let mut parts = [[0u32; 256]; 4];
        let (fours, rest) = samples.as_chunks::<4>();
        for four in fours {
            for (part, v) in parts.iter_mut().zip(four) {
                part[usize::from(*v)] += 1;
            }
        }
        rest.iter().for_each(|v| parts[0][usize::from(*v)] += 1);
        for (value, counter) in counters.iter_mut().enumerate() {
            *counter += parts.iter().map(|part| part[value]).sum::<u32>();
        }
    }
}

impl Counted for u16 {
    const VALUES: usize = 1 << 16;
    type Quad = u64;

    #[inline(always)]
    fn quad(four: [u16; 4]) -> u64 {
        four.iter().rev().fold(0, |quad, v| quad << 16 | u64::from(*v))
    }

    #[inline(always)]
    fn corners(quad: u64) -> [f32; 4] {
        [0, 16, 32, 48].map(|shift| (quad >> shift & 0xffff) as f32)
    }

    fn count(samples: &[u16], counters: &mut [u32]) {
        samples.iter().for_each(|v| counters[usize::from(*v)] += 1);
    }
}

impl Clahe {
    pub fn apply<T: Counted>(&self, simd: Simd, frame: &Frame<T>) -> Frame<T> {
        let [columns, rows] = self.tiles;
        let size = self.tile_size(frame.size());
        let maps = self.maps(frame, size);
        let across = Places::new(frame.width, size[0], columns);
        let down = Places::new(frame.height, size[1], rows);
        let mut out = frame.with(vec![T::default(); frame.data.len()]);
        let map = |column: usize, row: usize| &maps[(row * columns + column) * T::VALUES..];
        let mut looked_up = vec![T::Quad::default(); frame.width];
        for (y, out) in out.data.chunks_exact_mut(frame.width).enumerate() {
            let [above, below] = down.tiles[y];
            for (x, quad) in looked_up.iter_mut().enumerate() {
                let [left, right] = across.tiles[x];
                let v: usize = frame.row(y)[x].into();
                let tiles = [[left, above], [right, above], [left, below], [right, below]];
                *quad = T::quad(tiles.map(|[column, row]| map(column, row)[v]));
            }
            blend::<T>(simd, &looked_up, &across.t, down.t[y], out);
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
    fn maps<T: Counted>(&self, frame: &Frame<T>, [width, height]: [usize; 2]) -> Vec<T> {
        let [columns, rows] = self.tiles;
        let area = width * height;
        let limit = (self.clip_limit * area as f64 / T::VALUES as f64) as u32;
        let mut counters = vec![0; T::VALUES];
        let mut tile = Vec::with_capacity(area);
        let mut maps = Vec::with_capacity(columns * rows * T::VALUES);
        for index in 0..columns * rows {
            let [x, y] = [index % columns * width, index / columns * height];
            tile.clear();
            for y in y..y + height {
                let row = frame.row(mirrored(y, frame.height));
                let inside = x.min(frame.width)..(x + width).min(frame.width);
                let beyond = inside.end.max(x)..x + width;
                tile.extend_from_slice(&row[inside]);
                tile.extend(beyond.map(|x| row[mirrored(x, frame.width)]));
            }
            counters.fill(0);
            T::count(&tile, &mut counters);
            clip(&mut counters, limit.max(1));
            let scale = (T::VALUES - 1) as f32 / area as f32;
            let mut sum = 0;
            maps.extend(counters.iter().map(|n| {
                sum += n;
                T::rounded(sum as f32 * scale)
            }));
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

/// Cuts the counters to `limit` and spreads what is above evenly.
fn clip(counters: &mut [u32], limit: u32) {
    let values = counters.len();
    let mut above = 0;
    for n in counters.iter_mut() {
        above += n.saturating_sub(limit) as usize;
        *n = (*n).min(limit);
    }
    let each = (above / values) as u32;
    counters.iter_mut().for_each(|n| *n += each);
    let rest = above % values;
    if rest > 0 {
        counters.iter_mut().step_by(values / rest).take(rest).for_each(|n| *n += 1);
    }
}

/// Between which tiles' centres the pixels of an axis lie.
struct Places {
    tiles: Vec<[usize; 2]>,
    /// How far from the first to the second, 0 to 1.
    t: Vec<f32>,
}

impl Places {
    fn new(pixels: usize, tile: usize, tiles: usize) -> Self {
        let inverse = 1.0 / tile as f32;
        let place = |x: usize| {
            let at = x as f32 * inverse - 0.5;
            let before = at.floor();
            // −1 before the first centre.
            let tile = |i: i32| i.clamp(0, tiles as i32 - 1) as usize;
            ([tile(before as i32), tile(before as i32 + 1)], at - before)
        };
        let (tiles, t) = (0..pixels).map(place).unzip();
        Places { tiles, t }
    }
}

vectorised! {
    /// The mean of the four maps' values, by the distance to their tiles' centres.
    fn blend[T: Counted](quads: &[T::Quad], across: &[f32], down: f32, to: &mut [T]) {
        for ((to, quad), t) in to.iter_mut().zip(quads).zip(across) {
            let [a, b, c, d] = T::corners(*quad);
            let above = a * (1.0 - t) + b * t;
            let below = c * (1.0 - t) + d * t;
            *to = T::rounded(above * (1.0 - down) + below * down);
        }
    }
}
