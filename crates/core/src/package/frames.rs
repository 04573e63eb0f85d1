//! What a package for frames says beyond its graphs: how maps become findings, which of them
//! count in which view, and what is measured. docs/packages.md explains the keys.

use serde::{Deserialize, Serialize};

/// How a landmark is found in its heatmap. The default is the highest pixel, if above 0.3.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Peak {
    pub method: PeakMethod,
    /// A landmark is found where its heatmap's peak is at least this high.
    pub threshold: f32,
    /// Standard deviation of the Gaussians that the heatmaps were trained with, in the map's
    /// pixels. Known, it is taken out of the spread, so that what is left is uncertainty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sigma: Option<f64>,
}

impl Default for Peak {
    fn default() -> Self {
        Peak { method: PeakMethod::Argmax, threshold: 0.3, sigma: None }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeakMethod {
    /// The highest pixel.
    Argmax,
    /// The center of mass around the highest pixel.
    SoftArgmax,
    /// The top of the Gaussian through the highest pixel: a Taylor expansion of the smoothed map's
    /// logarithm (DARK: Zhang et al., CVPR 2020).
    Dark,
}

/// Which pixels of a mask's map count. The default: those above 1/2, if they are at least 0.5 % of
/// the frame.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Region {
    /// A pixel is of the class where its probability, the sigmoid of its logit, is above this.
    pub threshold: f32,
    /// The class is found where its largest connected part has at least this share of the map.
    pub smallest: f64,
}

impl Default for Region {
    fn default() -> Self {
        Region { threshold: 0.5, smallest: 0.005 }
    }
}

/// What counts when the head `classes` sees this view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct View {
    /// One of the classes.
    pub name: String,
    /// Below this probability the view is not taken as seen.
    #[serde(default = "half")]
    pub threshold: f64,
    #[serde(default)]
    pub landmarks: Vec<String>,
    #[serde(default)]
    pub masks: Vec<String>,
    #[serde(default)]
    pub measurements: Vec<String>,
}

fn half() -> f64 {
    0.5
}

/// A length, an angle or an area, of landmarks or of a mask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    pub name: String,
    pub kind: MeasurementKind,
    /// The landmarks, or the one mask's class, that it is taken of.
    pub of: Vec<String>,
    /// The least and the largest value (mm, mm² or degrees) that can be right; anything else is
    /// not reported as a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plausible: Option<[f64; 2]>,
}

/// Of an ellipse: of the mask's, by its moments, or of four landmarks, the ends of the long axis and
/// then of the short one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MeasurementKind {
    /// Between two landmarks.
    Distance,
    /// At the second of three landmarks.
    Angle,
    /// Of an ellipse, whole.
    LongAxis,
    ShortAxis,
    Circumference,
    /// Of the mask itself, or of the ellipse through four landmarks.
    Area,
}
