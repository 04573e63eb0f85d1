//! What is found in the heads' answers, and how far it is from the truth.

use intraop_core::image::{Ellipse, Frame, FrameTransform};
use intraop_core::landmarks::locate;
use intraop_core::package::{Peak, PeakMethod, Region};
use intraop_core::segmentation::Mask;

use super::data::Held;
use super::target::in_frame;
use super::{SKULL, Settings};
use crate::recipe::Figures;
use crate::unet::{HEATMAP, MASK};

/// How a package of this recipe is decoded.
pub fn peak(recipe: &Settings) -> Peak {
    Peak { method: PeakMethod::Dark, threshold: 0.3, sigma: Some(recipe.sigma) }
}

/// What was found in one frame, in its file's pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub ellipse: Option<Ellipse>,
    pub ends: [Option<[f64; 2]>; 4],
}

impl Found {
    /// Of one frame's heatmaps and mask of logits.
    pub fn new(heatmaps: &[f32], mask: &[f32], recipe: &Settings, held: &Held) -> Self {
        let [width, height] = recipe.size.map(|n| n / MASK);
        let logits = Frame::new(width, height, mask.to_vec());
        let skull = Mask::new(SKULL, logits, &Region::default(), from_map(MASK, held));
        let [width, height] = recipe.size.map(|n| n / HEATMAP);
        let mut maps = heatmaps.chunks_exact(width * height);
        let to_frame = from_map(HEATMAP, held);
        let ends = [(); 4].map(|()| {
            let map = maps.next().expect("a heatmap per end").to_vec();
            let located = locate(&Frame::new(width, height, map), &peak(recipe))?;
            Some(to_frame.to_original(located.at))
        });
        Found { ellipse: skull.ellipse, ends }
    }

    fn nothing(&self) -> bool {
        self.ellipse.is_none() && self.ends.iter().all(Option::is_none)
    }
}

/// From the pixels of a map that is `factor` times as small as the network's input to the file's.
fn from_map(factor: usize, held: &Held) -> FrameTransform {
    let offset = held.transform.to_original(in_frame(factor, [0.0; 2]));
    FrameTransform { scale: held.transform.scale.map(|s| s * factor as f64), offset }
}

/// Means over frames. A circumference that was not found counts as 0 mm.
pub fn figures(held: &[Held], found: &[Found]) -> Figures {
    let pairs = || held.iter().zip(found);
    let shown = || pairs().filter_map(|(h, f)| Some((h, h.ellipse.as_ref()?, f)));
    let mut figures = Figures::new();
    let mut mean = |name: &str, values: Vec<f64>| {
        if !values.is_empty() {
            figures.insert(name.into(), values.iter().sum::<f64>() / values.len() as f64);
        }
    };
    let difference = |(h, truth, f): (&Held, &Ellipse, &Found)| {
        let found = f.ellipse.as_ref().map_or(0.0, Ellipse::circumference);
        let mm = (found - truth.circumference()) * h.mm_per_pixel;
        log::debug!("{}: circumference {mm:+.2} mm", h.name);
        mm
    };
    let differences: Vec<f64> = shown().map(difference).collect();
    mean("circumference_mm", differences.iter().map(|mm| mm.abs()).collect());
    mean("circumference_bias_mm", differences);
    let by_ends = |(h, truth, f): (&Held, &Ellipse, &Found)| {
        let [left, right, upper, lower] = f.ends;
        let half = |p: [f64; 2], q: [f64; 2]| (p[0] - q[0]).hypot(p[1] - q[1]) / 2.0;
        let semi_axes = [half(left?, right?), half(upper?, lower?)];
        let found = Ellipse { semi_axes, ..*truth };
        Some((found.circumference() - truth.circumference()).abs() * h.mm_per_pixel)
    };
    mean("circumference_by_ends_mm", shown().filter_map(by_ends).collect());
    let dice = |(_, truth, f): (_, &Ellipse, &Found)| {
        f.ellipse.as_ref().map_or(0.0, |ellipse| overlap(truth, ellipse))
    };
    mean("ellipse_dice", shown().map(dice).collect());
    let distances = shown().flat_map(|(h, truth, f)| {
        truth.ends().into_iter().zip(f.ends).filter_map(move |(p, q)| {
            let q = q?;
            Some((p[0] - q[0]).hypot(p[1] - q[1]) * h.mm_per_pixel)
        })
    });
    mean("landmark_mm", distances.collect());
    let percent = |yes: bool| if yes { 100.0 } else { 0.0 };
    let ends = shown().flat_map(|(_, _, f)| f.ends.map(|end| percent(end.is_some())));
    mean("landmarks_found_percent", ends.collect());
    let empty = pairs().filter(|(h, _)| h.ellipse.is_none());
    mean("nothing_found_percent", empty.map(|(_, f)| percent(f.nothing())).collect());
    figures
}

/// Dice of two filled ellipses.
fn overlap(a: &Ellipse, b: &Ellipse) -> f64 {
    const STEPS: usize = 200;
    let reach = a.semi_axes[0].max(b.semi_axes[0]);
    let low = [0, 1].map(|i| a.center[i].min(b.center[i]) - reach);
    let high = [0, 1].map(|i| a.center[i].max(b.center[i]) + reach);
    let place = |i: usize, axis: usize| {
        low[axis] + (i as f64 + 0.5) / STEPS as f64 * (high[axis] - low[axis])
    };
    let (mut both, mut either) = (0, 0);
    for y in 0..STEPS {
        for x in 0..STEPS {
            let at = [place(x, 0), place(y, 1)];
            let inside = [a, b].map(|e| usize::from(e.level(at) < 1.0));
            both += inside[0] * inside[1];
            either += inside[0] + inside[1];
        }
    }
    2.0 * both as f64 / either.max(1) as f64
}
