use rayon::prelude::*;

use intraop_engine::Random;

use crate::image::{Ellipse, Frame};

/// Thickness of the outline as a share of the short half axis.
const THICK: f64 = 0.06;

/// An 8-bit frame of this seed: the bright outline of an ellipse in speckle, brightest where it
/// lies across the beam (which comes from above), darker inside than outside, in a fan. With it
/// the ellipse, the middle of the outline. It lies inside the frame at every size.
pub fn frame(seed: u64, width: usize, height: usize) -> (Frame<u8>, Ellipse) {
    let mut seeds = Random::new(seed);
    let mut stream = || Random::new(seeds.next_u64());
    let mut shape = stream();
    let side = width.min(height) as f64;
    let long = side * shape.range(0.22, 0.42);
    let short = long * shape.range(0.7, 0.85);
    let angle = shape.range(-1.0, 1.0);
    let mut place = |n: usize| {
        let free = (n as f64 / 2.0 - 1.1 * long).max(0.0);
        (n as f64 - 1.0) / 2.0 + free * shape.range(-1.0, 1.0)
    };
    let center = [place(width), place(height)];
    let ellipse = Ellipse { center, semi_axes: [long, short], angle };
    let noise = [stream(), stream()].map(|random| smooth_noise(random, width, height));
    let middle = (width as f64 - 1.0) / 2.0;
    let value = |i: usize| {
        let [x, y] = [(i % width) as f64, (i / width) as f64];
        if (x - middle).abs() > 0.2 * width as f64 + 0.7 * y {
            return 0;
        }
        let [dx, dy] = [x - center[0], y - center[1]];
        let level = ellipse.level([x, y]);
        let across = 0.35 + 0.65 * (dy.abs() / dx.hypot(dy).max(1e-9));
        let outline = 190.0 * across * (-((level - 1.0) / THICK).powi(2)).exp();
        let tissue = if level < 1.0 { 22.0 } else { 55.0 };
        let speckle = 0.4 + 0.5 * noise[0][i].hypot(noise[1][i]);
        ((tissue + outline) * speckle).round().min(255.0) as u8
    };
    let data = (0..width * height).into_par_iter().map(value).collect();
    (Frame::new(width, height, data), ellipse)
}

/// Normal noise of standard deviation 1, each pixel the sum of 3×3 independent numbers.
fn smooth_noise(random: Random, width: usize, height: usize) -> Vec<f64> {
    let (w, h) = (width + 2, height + 2);
    // A normal number takes two values of the stream.
    let own = |i: usize| random.after(2 * i as u64).normal() / 3.0;
    let own: Vec<f64> = (0..w * h).into_par_iter().map(own).collect();
    let sum = |i: usize| {
        let corner = i / width * w + i % width;
        let row = |y: usize| own[corner + y * w..][..3].iter().sum::<f64>();
        row(0) + row(1) + row(2)
    };
    (0..width * height).into_par_iter().map(sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outline_is_where_the_ellipse_says() {
        assert_eq!(frame(5, 160, 120), frame(5, 160, 120));
        for seed in 0..8 {
            let (frame, ellipse) = frame(seed, 200, 160);
            for [x, y] in ellipse.ends() {
                assert!((0.0..200.0).contains(&x) && (0.0..160.0).contains(&y));
            }
            let mean = |near: &dyn Fn(f64) -> bool| {
                let level = |i: usize| ellipse.level([(i % 200) as f64, (i / 200) as f64]);
                let of: Vec<usize> = (0..frame.data.len()).filter(|i| near(level(*i))).collect();
                of.iter().map(|i| f64::from(frame.data[*i])).sum::<f64>() / of.len() as f64
            };
            let outline = mean(&|level| (level - 1.0).abs() < 0.03);
            assert!(outline > 1.8 * mean(&|level| level < 0.8));
            assert!(outline > 1.3 * mean(&|level| (1.2..1.4).contains(&level)));
        }
    }
}
