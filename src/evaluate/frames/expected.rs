use std::collections::BTreeMap;

use super::cases::{FrameCase, Outline, Truth};
use crate::image::Ellipse;
use crate::landmarks::{Findings, Landmark, measure, of_ellipse, unit};
use crate::package::{Manifest, Measurement, MeasurementKind};
use crate::{Error, Result};

/// What should be found in a frame, in its pixels and the package's words.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    /// (x, y), by name.
    pub landmarks: BTreeMap<String, [f64; 2]>,
    /// Value and unit, by name.
    pub measurements: BTreeMap<String, (f64, &'static str)>,
    pub region: Option<Region>,
    pub view: Option<String>,
}

/// An elliptic area, and which findings show it.
#[derive(Debug, Clone, PartialEq)]
pub struct Region {
    pub ellipse: Ellipse,
    pub mask: Option<String>,
    /// The landmarks at the ends of its axes, as of [`Ellipse::ends`].
    pub ends: Option<[String; 4]>,
    /// Whether the ellipse of what was found counts, and not its own pixels.
    pub as_ellipse: bool,
}

/// What an ellipse is the truth of in a package, as its measurements say.
pub struct Rules<'a> {
    manifest: &'a Manifest,
    mask: Option<&'a str>,
    ends: Option<[String; 4]>,
}

fn is_of_ellipse(wanted: &Measurement) -> bool {
    use MeasurementKind::{Angle, Area, Circumference, Distance, LongAxis, ShortAxis};
    match wanted.kind {
        LongAxis | ShortAxis | Circumference | Area => true,
        Distance | Angle => false,
    }
}

impl<'a> Rules<'a> {
    /// # Errors
    /// [`Error::Unusable`] where the cases have an outline that is the truth of nothing in the
    /// package, or could be of several things.
    pub fn new(manifest: &'a Manifest, cases: &[FrameCase]) -> Result<Self> {
        let wanted = || manifest.measurements.iter().filter(|m| is_of_ellipse(m));
        let mut masks: Vec<&str> =
            wanted().filter_map(|m| only(&m.of)).map(|n| n.as_str()).collect();
        let mut ends: Vec<[String; 4]> =
            wanted().filter_map(|m| m.of.clone().try_into().ok()).collect();
        masks.dedup();
        ends.dedup();
        if masks.is_empty() {
            masks.extend(only(&manifest.masks()));
        }
        let rules = Rules { manifest, mask: only(&masks).copied(), ends: ends.first().cloned() };
        let outlines = || cases.iter().filter_map(|c| c.truth.as_ref()?.outline.as_ref());
        let ellipses = outlines().any(|o| matches!(o, Outline::Ellipse(_)));
        let refuse = |problem: String| {
            let advice = "use another package, or remove these columns";
            Err(Error::unusable(&manifest.name, problem, advice))
        };
        if ellipses && (masks.len() > 1 || ends.len() > 1) {
            return refuse("the ellipse in the cases could be the truth of several things".into());
        }
        if ellipses && rules.mask.is_none() && rules.ends.is_none() {
            return refuse("the ellipse in the cases is the truth of nothing that it finds".into());
        }
        for outline in outlines() {
            if let Outline::Box { name, .. } = outline
                && rules.mask_of_box(name).is_none()
            {
                return refuse(format!("it has no mask {name:?}, nor just one of another name"));
            }
        }
        Ok(rules)
    }

    fn mask_of_box(&self, name: &str) -> Option<&'a str> {
        let masks = self.manifest.masks();
        masks.iter().find(|m| m.to_lowercase() == name).or(only(&masks)).copied()
    }

    /// What a case's truth means for a frame whose pixels have this size.
    ///
    /// # Errors
    /// [`Error::Unusable`] for an ellipse in millimeters without a pixel size.
    pub fn expected(
        &self,
        truth: &Truth,
        mm_per_px: Option<[f64; 2]>,
        name: &str,
    ) -> Result<Expected> {
        let region = match &truth.outline {
            None => None,
            Some(Outline::Ellipse(ellipse)) => {
                let Some([x, y]) = mm_per_px else {
                    let problem = "the truth is in millimeters, the pixel size is not known";
                    return Err(Error::unusable(name, problem, "fill in mm_per_px"));
                };
                let mask = self.mask.map(String::from);
                let in_pixels = ellipse.mapped([[1.0 / x, 0.0], [0.0, 1.0 / y]], [0.0; 2]);
                in_pixels.map(|ellipse| Region {
                    ellipse,
                    mask,
                    ends: self.ends.clone(),
                    as_ellipse: true,
                })
            }
            Some(Outline::Box { name, ellipse }) => {
                let mask = self.mask_of_box(name).map(String::from);
                Some(Region { ellipse: *ellipse, mask, ends: None, as_ellipse: false })
            }
        };
        let mut landmarks = BTreeMap::new();
        if let (Some(names), Some(Outline::Ellipse(ellipse)), Some([x, y])) =
            (&self.ends, &truth.outline, mm_per_px)
        {
            // Of the axes in millimeters: with unequal pixels those in pixels are others.
            let ends = ellipse.ends().map(|end| [end[0] / x, end[1] / y]);
            landmarks.extend(names.iter().cloned().zip(ends));
        }
        landmarks.extend(truth.landmarks.clone());
        let value = |wanted: &Measurement| {
            let given = truth.measurements.get(&wanted.name);
            let given = given.map(|value| (*value, unit(wanted.kind, true)));
            let value = given
                .or_else(|| of_region(wanted, region.as_ref()?, mm_per_px))
                .or_else(|| of_landmarks(wanted, &landmarks, mm_per_px));
            Some((wanted.name.clone(), value?))
        };
        let measurements = self.manifest.measurements.iter().filter_map(value).collect();
        Ok(Expected { landmarks, measurements, region, view: truth.view.clone() })
    }
}

/// The entry of a list of one.
fn only<T>(list: &[T]) -> Option<&T> {
    if let [one] = list { Some(one) } else { None }
}

fn of_region(
    wanted: &Measurement,
    region: &Region,
    mm_per_px: Option<[f64; 2]>,
) -> Option<(f64, &'static str)> {
    let of_mask = only(&wanted.of).is_some_and(|name| region.mask.as_ref() == Some(name));
    let of_ends = region.ends.as_ref().is_some_and(|ends| ends[..] == wanted.of);
    if !is_of_ellipse(wanted) || !(of_mask || of_ends) {
        return None;
    }
    let [x, y] = mm_per_px.unwrap_or([1.0; 2]);
    let scaled = region.ellipse.mapped([[x, 0.0], [0.0, y]], [0.0; 2])?;
    Some((of_ellipse(wanted.kind, scaled.semi_axes), unit(wanted.kind, mm_per_px.is_some())))
}

fn of_landmarks(
    wanted: &Measurement,
    places: &BTreeMap<String, [f64; 2]>,
    mm_per_px: Option<[f64; 2]>,
) -> Option<(f64, &'static str)> {
    let landmark = |(name, at): (&String, &[f64; 2])| Landmark {
        name: name.clone(),
        place: Some(*at),
        confidence: None,
        sd: None,
    };
    let landmarks: Vec<Landmark> = places.iter().map(landmark).collect();
    // A truth is a truth, plausible or not.
    let wanted = Measurement { plausible: None, ..wanted.clone() };
    let (measured, _) = measure(&wanted, &Findings { landmarks, mm_per_px, ..Default::default() });
    Some((measured.value?, measured.unit))
}
