//! What the heads should say where an ellipse is.

use intraop_core::image::{Ellipse, Frame};

use crate::unet::{HEATMAP, MASK};

/// By what the pixel p of a map that is `factor` times as small as the frame lies in it: the
/// centers of corner pixels do not match, outlines do.
pub fn in_frame(factor: usize, [x, y]: [f64; 2]) -> [f64; 2] {
    let (factor, offset) = (factor as f64, (factor as f64 - 1.0) / 2.0);
    [factor * x + offset, factor * y + offset]
}

/// A Gaussian of height 1 at each of the ellipse's [ends](Ellipse::ends), row by row, heatmap by
/// heatmap; nothing without an ellipse. `size` is the frame's.
pub fn heatmaps(ellipse: Option<&Ellipse>, size: [usize; 2], sigma: f64) -> Vec<f32> {
    let [width, height] = size.map(|n| n / HEATMAP);
    let mut maps = vec![0.0; 4 * width * height];
    let Some(ellipse) = ellipse else { return maps };
    for (map, [x, y]) in maps.chunks_exact_mut(width * height).zip(ellipse.ends()) {
        // Gaussians are products of a column's and a row's.
        let along = |n: usize, axis: usize, at: f64| -> Vec<f32> {
            let each = (0..n).map(|i| {
                let d = (in_frame(HEATMAP, [i as f64; 2])[axis] - at) / HEATMAP as f64;
                (-d * d / (2.0 * sigma * sigma)).exp() as f32
            });
            each.collect()
        };
        let (columns, rows) = (along(width, 0, x), along(height, 1, y));
        for (row, of_row) in map.chunks_exact_mut(width).zip(&rows) {
            row.iter_mut().zip(&columns).for_each(|(v, of_column)| *v = of_row * of_column);
        }
    }
    maps
}

/// How much of each pixel of the mask the ellipse covers; the outline counts as straight within a
/// pixel.
pub fn mask(ellipse: Option<&Ellipse>, size: [usize; 2]) -> Frame<f32> {
    let [width, height] = size.map(|n| n / MASK);
    let Some(ellipse) = ellipse else { return Frame::filled(width, height, 0.0) };
    let covered = |i: usize| {
        let at = in_frame(MASK, [(i % width) as f64, (i / width) as f64]);
        let level = ellipse.level(at);
        if level < 0.5 {
            return 1.0;
        }
        let from_center = (at[0] - ellipse.center[0]).hypot(at[1] - ellipse.center[1]);
        let outside = from_center * (1.0 - 1.0 / level) / MASK as f64;
        (0.5 - outside).clamp(0.0, 1.0) as f32
    };
    Frame::new(width, height, (0..width * height).map(covered).collect())
}
