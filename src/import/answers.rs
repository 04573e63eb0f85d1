//! What a file cannot say of itself: the answers, as the command line's flags take them, and the
//! questions that are still open.

use std::str::FromStr;

use clap::ValueEnum;
use clap::builder::NonEmptyStringValueParser;

use crate::package::HeadKind;
use crate::preprocess::{Fit, Initial, Normalize, Orientation};
use crate::{Error, Result};

/// Something that must be known and is not.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Question {
    /// The answer's name: that of a field of [`Answers`], with `-` for `_`.
    pub answer: &'static str,
    pub about: String,
    /// What can be said; empty for a text.
    pub choices: String,
}

/// What is known of a foreign model from elsewhere. The flags' names and texts stand here alone:
/// the command line takes this struct as it is, and asks for what is missing by the same names.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Answers {
    /// An input's shape as ONNX counts it, where the file leaves it open: 1,1,192,256 for all
    /// inputs, or INPUT=1,1,192,256
    #[arg(long, value_name = "[INPUT=]SHAPE")]
    pub input_shape: Vec<Named<Shape>>,
    /// What an output is: displacement, affine, heatmaps, coordinates, mask, classes, or none to
    /// leave it out
    #[arg(long, value_name = "OUTPUT=KIND")]
    pub head: Vec<Named<Kind>>,
    /// The names of what an output finds, in its order (landmarks, classes): a,b,c or @FILE with
    /// one on each line
    #[arg(long, value_name = "[OUTPUT=]NAMES")]
    pub names: Vec<Named<Names>>,
    /// What the values of heatmaps, masks and classes are: probabilities (0 to 1), logits, or of
    /// masks softmax-logits: of which a softmax over the channels makes probabilities
    #[arg(long, value_name = "[OUTPUT=]VALUES")]
    pub values: Vec<Named<Values>>,
    /// Which of the pair comes first, in the channels or inputs: fixed,moving or moving,fixed
    #[arg(long, value_name = "ORDER")]
    pub order: Option<Order>,
    /// The axis of each channel of a displacement (x,y,z or z,y,x; x is the tensor's last axis), or
    /// of each number of a landmark (x,y or y,x)
    #[arg(long, value_name = "AXES", value_delimiter = ',')]
    pub axes: Option<Vec<String>>,
    /// What displacements and coordinates are counted in
    #[arg(long, value_enum)]
    pub units: Option<Unit>,
    /// What the 12 numbers of an affine stage are
    #[arg(long, value_enum)]
    pub affine: Option<AffineForm>,
    /// How samples are brought to a range: min_max, z_score, percentile:LOW,HIGH, window:LOW,HIGH,
    /// or none
    #[arg(long, alias = "normalise", value_name = "METHOD")]
    pub normalize: Option<Normalization>,
    /// Subtracted after --normalize, for each channel of the network, as in ImageNet's
    /// 0.485,0.456,0.406
    #[arg(long, value_delimiter = ',', requires = "sd", value_name = "M,…")]
    pub mean: Option<Vec<f32>>,
    /// Divided by after --mean
    #[arg(long, value_delimiter = ',', requires = "mean", value_name = "S,…")]
    pub sd: Option<Vec<f32>>,
    /// How an image is brought to the input's size: of frames stretch, or pad (the ratio is kept);
    /// of volumes resample (to --spacing), pad or stretch
    #[arg(long)]
    pub fit: Option<Fitting>,
    /// Millimeters per voxel along x, y, z that the network was trained at
    #[arg(long, value_name = "X,Y,Z", value_delimiter = ',')]
    pub spacing: Option<Vec<f64>>,
    /// Where the voxels' x, y and z grow to: RAS, LPS, …
    #[arg(long, value_name = "LETTERS", value_parser = orientation)]
    pub orientation: Option<Orientation>,
    /// Alignment that the network expects: header, centers or mass
    #[arg(long)]
    pub initial: Option<Alignment>,
    /// As in DICOM: US, MR, CT; of a pair one, or two with a comma
    #[arg(long, value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    pub modality: Option<Vec<String>>,
    /// The terms of the weights, an SPDX expression
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub license: Option<String>,
    /// What the model may be used for
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub intended_use: Option<String>,
    /// In a sentence, what the model does
    #[arg(long)]
    pub description: Option<String>,
    /// Who made it
    #[arg(long)]
    pub authors: Option<String>,
    #[arg(long)]
    pub copyright: Option<String>,
    /// What it was trained on
    #[arg(long)]
    pub data_source: Option<String>,
}

/// A value for one input or output, or, without a name, for all.
#[derive(Debug, Clone, PartialEq)]
pub struct Named<T> {
    pub name: Option<String>,
    pub value: T,
}

impl<T: FromStr<Err = String>> FromStr for Named<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = match text.rsplit_once('=') {
            Some((name, value)) => (Some(name.into()), value),
            None => (None, text),
        };
        Ok(Named { name, value: value.parse()? })
    }
}

/// The answer for this name, else the one for all.
pub(super) fn of<'a, T>(list: &'a [Named<T>], name: &str) -> Option<&'a T> {
    let own = list.iter().find(|n| n.name.as_deref() == Some(name));
    own.or_else(|| list.iter().find(|n| n.name.is_none())).map(|n| &n.value)
}

/// Refuses answers for names that the model has not, two for one, and one that others leave
/// nothing for.
///
/// # Errors
/// [`Error::Option`] for the first.
pub(super) fn check_names<T>(answer: &str, list: &[Named<T>], known: &[&str]) -> Result<()> {
    let names: Vec<Option<&str>> = list.iter().map(|n| n.name.as_deref()).collect();
    let wrong =
        |expected: String, found: String| Error::Option { option: answer.into(), expected, found };
    if let Some(at) = (1..names.len()).find(|at| names[..*at].contains(&names[*at])) {
        let found = format!("two for {}", names[at].unwrap_or("all"));
        return Err(wrong("one answer for each".into(), found));
    }
    let each = !known.is_empty() && known.iter().all(|name| names.contains(&Some(name)));
    if names.contains(&None) && each {
        let expected = "an answer for all only where one of them has none of its own";
        return Err(wrong(expected.into(), format!("one for each of {}", known.join(", "))));
    }
    match names.into_iter().flatten().find(|name| !known.contains(name)) {
        None => Ok(()),
        Some(name) => Err(wrong(format!("one of {}", known.join(", ")), name.into())),
    }
}

/// The questions that came up so far.
#[derive(Default)]
pub(super) struct Open {
    pub questions: Vec<Question>,
}

impl Open {
    /// The answer; where there is none a stand-in, and a question.
    pub fn need<T: Clone + Default>(
        &mut self,
        given: &Option<T>,
        answer: &'static str,
        about: impl Into<String>,
        choices: impl Into<String>,
    ) -> T {
        if given.is_none() && !self.asks(answer) {
            self.ask(answer, about, choices);
        }
        given.clone().unwrap_or_default()
    }

    pub fn asks(&self, answer: &str) -> bool {
        self.questions.iter().any(|q| q.answer == answer)
    }

    pub fn ask(
        &mut self,
        answer: &'static str,
        about: impl Into<String>,
        choices: impl Into<String>,
    ) {
        self.questions.push(Question { answer, about: about.into(), choices: choices.into() });
    }
}

/// The values of an option, for people.
pub(super) fn choices<T: ValueEnum>() -> String {
    let names = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
    names.map(|v| v.get_name().to_string()).collect::<Vec<_>>().join("|")
}

/// An answer that does not fit.
pub(super) fn wrong(option: &str, expected: &str, found: &str) -> Error {
    Error::Option { option: option.into(), expected: expected.into(), found: found.into() }
}

/// A kind as the manifest names it.
pub(super) fn word(kind: HeadKind) -> &'static str {
    match kind {
        HeadKind::Displacement => "displacement",
        HeadKind::Affine => "affine",
        HeadKind::Heatmaps => "heatmaps",
        HeadKind::Coordinates => "coordinates",
        HeadKind::Mask => "mask",
        HeadKind::Classes => "classes",
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Shape(pub Vec<usize>);

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sides: Option<Vec<usize>> = text.split(',').map(|n| n.trim().parse().ok()).collect();
        let sides = sides.filter(|sides| !sides.contains(&0));
        sides.map(Shape).ok_or_else(|| format!("{text:?}: expected a shape such as 1,1,192,256"))
    }
}

/// `None` leaves the output out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kind(pub Option<HeadKind>);

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Kind(Some(match text {
            "displacement" => HeadKind::Displacement,
            "affine" => HeadKind::Affine,
            "heatmaps" => HeadKind::Heatmaps,
            "coordinates" => HeadKind::Coordinates,
            "mask" => HeadKind::Mask,
            "classes" => HeadKind::Classes,
            "none" => return Ok(Kind(None)),
            _ => return Err(format!("{text:?}: expected OUTPUT={KINDS}")),
        })))
    }
}

const KINDS: &str = "displacement|affine|heatmaps|coordinates|mask|classes|none";

#[derive(Debug, Clone, PartialEq)]
pub struct Names(pub Vec<String>);

impl FromStr for Names {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = |name: &str| name.trim().to_string();
        let Some(file) = text.strip_prefix('@') else {
            let names: Vec<String> = text.split(',').map(name).collect();
            let gap = names.iter().any(String::is_empty);
            return if gap {
                Err(format!("{text:?}: expected a name each"))
            } else {
                Ok(Names(names))
            };
        };
        let bytes = crate::package::read_file(file.as_ref()).map_err(|e| e.to_string())?;
        let text = String::from_utf8(bytes).map_err(|_| format!("{file}: expected UTF-8 text"))?;
        Ok(Names(text.lines().map(name).filter(|n| !n.is_empty()).collect()))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    Probabilities,
    /// Of each thing alone.
    Logits,
    /// Of masks of which one is true.
    SoftmaxLogits,
}

impl FromStr for Values {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "probabilities" => Ok(Values::Probabilities),
            "logits" => Ok(Values::Logits),
            "softmax-logits" => Ok(Values::SoftmaxLogits),
            _ => Err(format!("{text:?}: expected probabilities, logits or softmax-logits")),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Order {
    #[default]
    #[value(name = "fixed,moving")]
    FixedMoving,
    #[value(name = "moving,fixed")]
    MovingFixed,
}

/// What displacements and coordinates are counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Unit {
    /// Of the input's grid
    #[default]
    Voxels,
    /// Of the input; of coordinates
    Pixels,
    /// Of --spacing; of displacements
    Mm,
    /// 0 to 1 over the input's size; of coordinates
    #[value(name = "unit")]
    Share,
    /// −1 to 1 from edge to edge, as grid_sample with align_corners=False
    #[value(alias = "normalised")]
    Normalized,
    /// −1 to 1 from the first to the last voxel's middle, align_corners=True
    #[value(alias = "normalised-corners")]
    NormalizedCorners,
}

/// What the 12 numbers of an affine stage are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum AffineForm {
    /// This project's: W (3×3, row by row) and b in voxels, p ↦ p + W (p − c) + b
    #[default]
    Voxels,
    /// PyTorch's affine_grid: 3×4, row by row, align_corners=False
    Theta,
    /// The same with align_corners=True
    ThetaCorners,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fitting {
    Resample,
    Pad,
    Stretch,
}

impl From<Fitting> for Fit {
    fn from(fitting: Fitting) -> Fit {
        match fitting {
            Fitting::Resample => Fit::Resample,
            Fitting::Pad => Fit::Pad,
            Fitting::Stretch => Fit::Stretch,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Alignment {
    Header,
    #[value(alias = "centres")]
    Centers,
    Mass,
}

impl From<Alignment> for Initial {
    fn from(alignment: Alignment) -> Initial {
        match alignment {
            Alignment::Header => Initial::Header,
            Alignment::Centers => Initial::Centers,
            Alignment::Mass => Initial::Mass,
        }
    }
}

fn orientation(text: &str) -> Result<Orientation, String> {
    Orientation::try_from(text.to_string())
}

/// `None` leaves samples as they are.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Normalization(pub Option<Normalize>);

impl FromStr for Normalization {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (method, numbers) = text.split_once(':').unwrap_or((text, ""));
        let parts = numbers.split(',').filter(|_| text.contains(':'));
        // What is no number is among none of the forms below.
        let numbers = parts.map(|n| n.trim().parse().unwrap_or(f64::NAN)).collect::<Vec<f64>>();
        if numbers.iter().any(|n| !n.is_finite()) {
            return Err(format!("{text:?}: expected numbers after the colon"));
        }
        Ok(Normalization(Some(match (method, &numbers[..]) {
            ("none", []) => return Ok(Normalization(None)),
            ("min_max", []) => Normalize::MinMax,
            ("z_score", []) => Normalize::ZScore,
            ("percentile", [low, high]) => Normalize::Percentile { low: *low, high: *high },
            ("window", [low, high]) => Normalize::Window { low: *low, high: *high },
            _ => {
                let expected = "min_max, z_score, percentile:1,99, window:0,255 or none";
                return Err(format!("{text:?}: expected {expected}"));
            }
        })))
    }
}
