//! Lengths, angles and areas of what was found, in millimeters where a pixel's size is known.

use std::f64::consts::PI;

use serde::Serialize;

use super::{Findings, Landmark};
use crate::image::Ellipse;
use crate::package::{Measurement, MeasurementKind};
use crate::segmentation::Mask;

/// A measurement that a package declares, as taken on one frame.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    pub name: String,
    /// `null` where what it is taken of was not found, or cannot be right.
    pub value: Option<f64>,
    /// mm, mm² and degrees; px and px² where the pixel size is not known.
    pub unit: &'static str,
    /// Standard deviation of the value: from the landmarks', to first order; of a mask an upper
    /// bound.
    pub sd: Option<f64>,
}

/// Takes a measurement; with the reason, for people, where a value was found that cannot be right.
///
/// The standard deviation follows from the landmarks' by first-order propagation, places of
/// different landmarks counted as independent. Of a mask it is half the difference between the
/// ellipses one standard deviation inside and outside of its outline ([`Mask::bounds`]), as if the
/// whole outline moved together: an upper bound, but of a mask that the frame's edge cuts there is
/// none.
pub fn measure(wanted: &Measurement, findings: &Findings) -> (Measured, Option<String>) {
    let Findings { size, mm_per_px, landmarks, masks, .. } = findings;
    let mm_per_px = *mm_per_px;
    let unit = unit(wanted.kind, mm_per_px.is_some());
    let found = match masks.iter().find(|m| wanted.of == [m.name.as_str()]) {
        Some(mask) => of_mask(wanted.kind, mask, mm_per_px)
            // How much is missing of a mask that is cut is not known.
            .map(|(value, sd)| (value, sd.filter(|_| !mask.reaches_edge(*size)))),
        None => of_landmarks(wanted, landmarks, mm_per_px),
    };
    let nothing = Measured { name: wanted.name.clone(), value: None, unit, sd: None };
    let Some((value, sd)) = found.filter(|(value, _)| value.is_finite()) else {
        return (nothing, None);
    };
    // Without a pixel size there is nothing to compare millimeters with.
    let range = wanted.plausible.filter(|_| !unit.starts_with("px"));
    if let Some([low, high]) = range.filter(|[low, high]| !(*low..=*high).contains(&value)) {
        let why = format!(
            "{}: {value:.1} {unit} cannot be right ({low} to {high}): check the pixel size and \
             the frame",
            wanted.name
        );
        return (nothing, Some(why));
    }
    (Measured { value: Some(value), sd, ..nothing }, None)
}

/// Of what a measurement's value is, with the pixel size `known` or not.
pub fn unit(kind: MeasurementKind, known: bool) -> &'static str {
    match (kind, known) {
        (MeasurementKind::Angle, _) => "deg",
        (MeasurementKind::Area, true) => "mm²",
        (MeasurementKind::Area, false) => "px²",
        (_, true) => "mm",
        (_, false) => "px",
    }
}

/// Value and standard deviation.
type Value = (f64, Option<f64>);

fn of_mask(kind: MeasurementKind, mask: &Mask, mm_per_px: Option<[f64; 2]>) -> Option<Value> {
    let spacing = mm_per_px.unwrap_or([1.0; 2]);
    let scaled = |e: Ellipse| e.mapped([[spacing[0], 0.0], [0.0, spacing[1]]], [0.0; 2]);
    let of = |ellipse: Ellipse| Some(of_ellipse(kind, scaled(ellipse)?.semi_axes));
    let value = match kind {
        MeasurementKind::Area => mask.area_px * spacing[0] * spacing[1],
        _ => of(mask.ellipse?)?,
    };
    let bounds = mask.bounds().and_then(|[inner, outer]| Some([of(inner)?, of(outer)?]));
    mask.found.then_some((value, bounds.map(|[inner, outer]| (outer - inner).abs() / 2.0)))
}

fn of_landmarks(
    wanted: &Measurement,
    landmarks: &[Landmark],
    mm_per_px: Option<[f64; 2]>,
) -> Option<Value> {
    let spacing = mm_per_px.unwrap_or([1.0; 2]);
    let find = |name: &String| landmarks.iter().find(|l| l.name == *name);
    let found: Vec<&Landmark> = wanted.of.iter().map(find).collect::<Option<_>>()?;
    let scaled = |v: [f64; 2]| [v[0] * spacing[0], v[1] * spacing[1]];
    let places = found.iter().map(|l| l.place.map(scaled));
    let mut places: Vec<[f64; 2]> = places.collect::<Option<_>>()?;
    let value = of_points(wanted.kind, &places);
    let mut variance = Some(0.0);
    for (i, landmark) in found.iter().enumerate() {
        let sd = landmark.sd.map(scaled);
        for axis in [0, 1] {
            // The value is smooth over a thousandth of a pixel, and f64 is fine enough for it.
            let step = 1e-3 * spacing[axis];
            places[i][axis] += step;
            let slope = (of_points(wanted.kind, &places) - value) / step;
            places[i][axis] -= step;
            variance = variance.zip(sd).map(|(v, sd)| v + (slope * sd[axis]).powi(2));
        }
    }
    Some((value, variance.map(f64::sqrt)))
}

/// Of the points that the manifest names, as many as the kind needs.
fn of_points(kind: MeasurementKind, p: &[[f64; 2]]) -> f64 {
    let between = |a: [f64; 2], b: [f64; 2]| (a[0] - b[0]).hypot(a[1] - b[1]);
    match kind {
        MeasurementKind::Distance => between(p[0], p[1]),
        MeasurementKind::Angle => {
            let [u, v] = [p[0], p[2]].map(|q| [q[0] - p[1][0], q[1] - p[1][1]]);
            let (cross, dot) = (u[0] * v[1] - u[1] * v[0], u[0] * v[0] + u[1] * v[1]);
            cross.atan2(dot).abs().to_degrees()
        }
        _ => of_ellipse(kind, [between(p[0], p[1]) / 2.0, between(p[2], p[3]) / 2.0]),
    }
}

/// Of an ellipse: half its long axis and half its short one.
pub fn of_ellipse(kind: MeasurementKind, semi_axes: [f64; 2]) -> f64 {
    let [long, short] = semi_axes;
    match kind {
        MeasurementKind::LongAxis => 2.0 * long,
        MeasurementKind::ShortAxis => 2.0 * short,
        MeasurementKind::Area => PI * long * short,
        _ => Ellipse { center: [0.0; 2], semi_axes, angle: 0.0 }.circumference(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Frame, FrameTransform};
    use crate::package::Region;

    fn landmark(name: &str, place: [f64; 2], sd: f64) -> Landmark {
        Landmark { name: name.into(), place: Some(place), confidence: Some(1.0), sd: Some([sd; 2]) }
    }

    fn wanted(kind: MeasurementKind, of: &[&str]) -> Measurement {
        let of = of.iter().map(ToString::to_string).collect();
        Measurement { name: "M".into(), kind, of, plausible: None }
    }

    fn square() -> Vec<Landmark> {
        // Ends of an ellipse of 60 × 40 pixels, each known to 0.5 pixels.
        [("a", [10.0, 50.0]), ("b", [70.0, 50.0]), ("c", [40.0, 30.0]), ("d", [40.0, 70.0])]
            .map(|(name, at)| landmark(name, at, 0.5))
            .to_vec()
    }

    fn findings(landmarks: Vec<Landmark>, masks: Vec<Mask>, mm: Option<[f64; 2]>) -> Findings {
        Findings {
            size: [100, 100],
            mm_per_px: mm,
            view: None,
            landmarks,
            masks,
            measurements: vec![],
            warnings: vec![],
        }
    }

    #[test]
    fn lengths_and_angles_of_landmarks_are_those_of_geometry() {
        let take =
            |kind, of: &[&str], mm| measure(&wanted(kind, of), &findings(square(), vec![], mm)).0;
        let mm = Some([0.2, 0.2]);
        let length = take(MeasurementKind::Distance, &["a", "b"], mm);
        assert!((length.value.unwrap() - 12.0).abs() < 1e-9 && length.unit == "mm");
        // Two ends, each 0.1 mm along the line: √2 · 0.1.
        assert!((length.sd.unwrap() - 0.02f64.sqrt()).abs() < 1e-4, "{:?}", length.sd);
        let pixels = take(MeasurementKind::Distance, &["a", "b"], None);
        assert_eq!((pixels.value, pixels.unit), (Some(60.0), "px"));
        // From a to c it is 30 right, 20 up: at a between the axis and c atan(2/3).
        let angle = take(MeasurementKind::Angle, &["b", "a", "c"], mm).value.unwrap();
        assert!((angle - (2.0f64 / 3.0).atan().to_degrees()).abs() < 1e-9);
        let ends = ["a", "b", "c", "d"];
        assert_eq!(take(MeasurementKind::ShortAxis, &ends, None).value, Some(40.0));
        let area = take(MeasurementKind::Area, &ends, mm);
        assert!((area.value.unwrap() - PI * 6.0 * 4.0).abs() < 1e-9 && area.unit == "mm²");
        // Unequal pixels: 60 · 0.2 and 40 · 0.1 mm.
        let long = take(MeasurementKind::LongAxis, &ends, Some([0.2, 0.1])).value.unwrap();
        assert!((long - 12.0).abs() < 1e-9);
    }

    #[test]
    fn a_mask_s_circumference_has_the_width_of_its_outline_as_uncertainty() {
        let logit = |i: usize| {
            let d = ((i % 64) as f64 - 31.0).hypot((i / 64) as f64 - 31.0);
            (2.0 * (20.0 - d)) as f32
        };
        let logits = Frame::new(64, 64, (0..4096).map(logit).collect());
        let whole = FrameTransform::IDENTITY;
        let mask = Mask::new("disc", logits, &Region::default(), whole);
        let taken = wanted(MeasurementKind::Circumference, &["disc"]);
        let all = findings(vec![], vec![mask], Some([0.5, 0.5]));
        let (found, why) = measure(&taken, &all);
        assert!((found.value.unwrap() - PI * 20.0).abs() < 0.1 && why.is_none());
        // The outline is known to 1.667 / 2 pixels.
        assert!((found.sd.unwrap() - PI * 1.667 / 2.0).abs() < 0.05, "{:?}", found.sd);
        // In a frame that ends with the disc, nobody knows how much is missing.
        let cut = Findings { size: [51, 100], ..all };
        let (found, _) = measure(&taken, &cut);
        assert!(found.value.is_some() && found.sd.is_none());
    }

    #[test]
    fn what_is_missing_or_cannot_be_right_has_no_value() {
        let mut landmarks = square();
        landmarks[1].place = None;
        let line = wanted(MeasurementKind::Distance, &["a", "b"]);
        assert_eq!(measure(&line, &findings(landmarks, vec![], Some([1.0; 2]))).0.value, None);
        let other = Measurement {
            plausible: Some([100.0, 400.0]),
            ..wanted(MeasurementKind::Distance, &["a", "b"])
        };
        let (found, why) = measure(&other, &findings(square(), vec![], Some([1.0; 2])));
        assert!(found.value.is_none() && why.unwrap().contains("60.0 mm"));
        assert_eq!(measure(&other, &findings(square(), vec![], None)).0.value, Some(60.0));
    }
}
