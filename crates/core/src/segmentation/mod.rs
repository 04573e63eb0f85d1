//! Masks in frames: from a network's map of logits to an area, its ellipse and the pixels of it.

mod part;

use std::sync::OnceLock;

use serde::Serialize;

pub use part::Part;

use crate::image::{Ellipse, Frame, FrameTransform};
use crate::package::Region;

/// One class of a mask head in one frame. Places and areas are in the frame's own pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct Mask {
    pub name: String,
    /// Whether its largest connected part is large enough to count.
    pub found: bool,
    /// Of that part, its holes filled.
    pub area_px: f64,
    /// With that part's moments; `None` where it was not found.
    pub ellipse: Option<Ellipse>,
    /// Logits above this are inside.
    level: f32,
    logits: Frame<f32>,
    /// From the logits' pixels to the frame's.
    to_frame: FrameTransform,
    bounds: OnceLock<Option<[Ellipse; 2]>>,
    /// The first and the last place of the part along x and y.
    extent: Option<[[f64; 2]; 2]>,
}

/// What is reported of a mask, where a pixel's size is known in millimeters, too.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MaskReport {
    pub name: String,
    pub found: bool,
    pub area_px: Option<f64>,
    pub area_mm2: Option<f64>,
    /// Of the ellipse with the mask's moments.
    pub center_px: Option<[f64; 2]>,
    pub semi_axes_px: Option<[f64; 2]>,
    pub angle_rad: Option<f64>,
}

impl Mask {
    /// `logits` are the class's map, `to_frame` leads from its pixels to the frame's.
    pub fn new(name: &str, logits: Frame<f32>, region: &Region, to_frame: FrameTransform) -> Self {
        let level = (region.threshold / (1.0 - region.threshold)).ln();
        let share = |part: &Part| part.area() / (logits.width * logits.height) as f64;
        let part = Part::largest(&logits, level).filter(|part| share(part) >= region.smallest);
        let ellipse = part.as_ref().and_then(|part| in_frame(part.ellipse(), &to_frame));
        let area_px = match (&part, &ellipse) {
            (Some(part), Some(_)) => part.area() * to_frame.scale[0] * to_frame.scale[1],
            _ => 0.0,
        };
        let found = ellipse.is_some();
        let extent = part.filter(|_| found).map(|part| part.extent(&logits));
        let extent = extent.map(|places| places.map(|at| to_frame.to_original(at)));
        let bounds = OnceLock::new();
        Mask { name: name.into(), found, area_px, ellipse, level, logits, to_frame, bounds, extent }
    }

    /// Whether the part ends within a pixel of its map from the edge of a frame of `size`, so that
    /// more of it may lie outside.
    pub fn reaches_edge(&self, size: [usize; 2]) -> bool {
        let near = |at: [f64; 2], edge: [f64; 2]| {
            [0, 1].iter().any(|i| (at[*i] - edge[*i]).abs() < 1.5 * self.to_frame.scale[*i])
        };
        let last = size.map(|n| n as f64 - 0.5);
        self.extent.is_some_and(|[first, end]| near(first, [-0.5; 2]) || near(end, last))
    }

    /// The ellipses where the logit is one standard deviation of a normal distribution above and
    /// below the threshold's (of the threshold ½ where the class is with about 84 % and 16 %): were
    /// the whole outline to move together, one deviation inside and outside of it. `None` where one
    /// of them is no ellipse.
    pub fn bounds(&self) -> Option<[Ellipse; 2]> {
        /// logit of Φ(1)
        const ONE_SD: f32 = 1.667;
        let at = |level| in_frame(Part::largest(&self.logits, level)?.ellipse(), &self.to_frame);
        // Every measurement of the mask asks.
        *self.bounds.get_or_init(|| Some([at(self.level + ONE_SD)?, at(self.level - ONE_SD)?]))
    }

    /// The largest part, its holes filled, as pixels of a frame of `size`: 1 inside and 0 outside;
    /// all 0 where it was not found. Between the map's pixels logits are interpolated.
    pub fn pixels(&self, size: [usize; 2]) -> Frame<u8> {
        let mut pixels = Frame::filled(size[0], size[1], 0);
        if !self.found {
            return pixels;
        }
        let columns: Vec<_> = (0..size[0]).map(|x| self.between(0, x)).collect();
        let mut logits = Frame::filled(size[0], size[1], f32::MIN);
        for (y, row) in logits.data.chunks_exact_mut(size[0]).enumerate() {
            let Some((y0, y1, v)) = self.between(1, y) else { continue };
            let (above, below) = (self.logits.row(y0), self.logits.row(y1));
            for (logit, column) in row.iter_mut().zip(&columns) {
                let Some((x0, x1, u)) = *column else { continue };
                let along = |row: &[f32]| row[x0] + (row[x1] - row[x0]) * u;
                *logit = along(above) + (along(below) - along(above)) * v;
            }
        }
        if let Some(part) = Part::largest(&logits, self.level) {
            pixels.data.iter_mut().zip(part.inside()).for_each(|(p, i)| *p = u8::from(*i));
        }
        pixels
    }

    /// Between which of the map's columns (axis 0) or rows (axis 1) a column or row of the frame
    /// lies, and the share of the second. `None` outside the map's pixels.
    fn between(&self, axis: usize, i: usize) -> Option<(usize, usize, f32)> {
        let n = self.logits.size()[axis];
        let at = (i as f64 - self.to_frame.offset[axis]) / self.to_frame.scale[axis];
        if !(-0.5..=n as f64 - 0.5).contains(&at) {
            return None;
        }
        let at = at.clamp(0.0, (n - 1) as f64);
        let first = at.floor();
        Some((first as usize, (first as usize + 1).min(n - 1), (at - first) as f32))
    }

    /// What is reported, with `mm_per_px` along x and y where it is known.
    pub fn report(&self, mm_per_px: Option<[f64; 2]>) -> MaskReport {
        let area_px = self.found.then_some(self.area_px);
        MaskReport {
            name: self.name.clone(),
            found: self.found,
            area_px,
            area_mm2: area_px.zip(mm_per_px).map(|(area, [x, y])| area * x * y),
            center_px: self.ellipse.map(|e| e.center),
            semi_axes_px: self.ellipse.map(|e| e.semi_axes),
            angle_rad: self.ellipse.map(|e| e.angle),
        }
    }
}

fn in_frame(ellipse: Option<Ellipse>, to: &FrameTransform) -> Option<Ellipse> {
    ellipse?.mapped([[to.scale[0], 0.0], [0.0, to.scale[1]]], to.offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disc's logits on a map at half the frame's size: about 4 per pixel of distance inside.
    fn disc(center: [f64; 2], radius: f64) -> Frame<f32> {
        let logit = |i: usize| {
            let d = ((i % 40) as f64 - center[0]).hypot((i / 40) as f64 - center[1]);
            (4.0 * (radius - d)) as f32
        };
        Frame::new(40, 30, (0..1200).map(logit).collect())
    }

    fn half() -> FrameTransform {
        FrameTransform { scale: [2.0, 2.0], offset: [0.5, 0.5] }
    }

    #[test]
    fn a_disc_has_its_area_ellipse_and_pixels() {
        let mask = Mask::new("disc", disc([18.0, 14.0], 9.0), &Region::default(), half());
        let ellipse = mask.ellipse.unwrap();
        assert!((mask.area_px / (std::f64::consts::PI * 18.0 * 18.0) - 1.0).abs() < 0.01);
        assert!((ellipse.center[0] - 36.5).abs() < 0.01 && (ellipse.center[1] - 28.5).abs() < 0.01);
        assert!(ellipse.semi_axes.iter().all(|r| (r - 18.0).abs() < 0.1), "{ellipse:?}");
        let pixels = mask.pixels([80, 60]);
        let count = pixels.data.iter().map(|p| f64::from(*p)).sum::<f64>();
        assert!((count / mask.area_px - 1.0).abs() < 0.02, "{count} {}", mask.area_px);
        assert_eq!((pixels.row(28)[36], pixels.row(28)[36 + 20]), (1, 0));
        // 1.667 / 4 of a map's pixel on both sides, twice that in the frame.
        let [inner, outer] = mask.bounds().unwrap().map(|e| e.semi_axes[0]);
        assert!((outer - inner - 4.0 * 1.667 / 4.0).abs() < 0.05, "{inner} {outer}");
        let report = mask.report(Some([0.5, 0.2]));
        assert!((report.area_mm2.unwrap() / mask.area_px - 0.1).abs() < 1e-12);
    }

    #[test]
    fn a_part_that_is_too_small_is_not_found() {
        // 0.5 % of 1200 pixels are 6, a disc of radius 1.2 has 4.5.
        let mask = Mask::new("disc", disc([18.0, 14.0], 1.2), &Region::default(), half());
        assert!(!mask.found && mask.ellipse.is_none() && mask.area_px == 0.0);
        assert!(mask.pixels([80, 60]).data.iter().all(|p| *p == 0));
        assert_eq!(mask.report(Some([1.0, 1.0])).area_mm2, None);
        let nan = Mask::new("disc", Frame::filled(40, 30, f32::NAN), &Region::default(), half());
        assert!(!nan.found);
    }
}
