//! Outputs as the manifest's heads: what each may be by its shape, and what must be appended to the
//! graph so that its numbers mean what the manifest says.

use clap::ValueEnum;

use super::answers::{AffineForm, Answers, Open, Unit, Values, choices, of, word, wrong};
use super::fix::Output;
use crate::Result;
use crate::package::{Dtype, Head, HeadKind, Units};
use crate::preprocess::{Fit, GridSpec};

/// What the network looks at.
pub(super) struct Images {
    /// Of volumes; else a frame.
    pub pair: bool,
    /// z, y, x or y, x.
    pub size: Vec<usize>,
}

/// A head, and what makes it of the model's output.
pub(super) struct HeadSpec {
    pub head: Head,
    pub convert: Vec<Convert>,
}

/// A step from the model's output to the manifest's head.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Convert {
    /// Without the last operator.
    Cut,
    Sigmoid,
    /// Over the channels.
    Softmax,
    /// ln p − ln (1 − p).
    LogOdds,
    /// ln p: what a softmax makes p of again.
    Log,
    /// A factor for each channel.
    Scale(Vec<f32>),
    /// The same values in this shape.
    Reshape([usize; 2]),
    /// `[m, n]` → `[m, n]`: of each row a matrix, `[from][to]`, and a shift.
    Linear {
        matrix: Vec<f32>,
        shift: Vec<f32>,
    },
}

/// What an output may be, by its shape and last operator; empty if it is nothing that is read here.
pub(super) fn guess(place: &Images, output: &Output) -> Vec<HeadKind> {
    use HeadKind::{Affine, Classes, Coordinates, Displacement, Heatmaps, Mask};
    // What no node computes is a constant.
    if output.data_type != 1 || output.last.is_empty() {
        return vec![];
    }
    let softmax = output.shares;
    match (place.pair, &output.shape[..]) {
        (true, [1, 3, size @ ..]) if size == place.size => vec![Displacement],
        (true, shape) if product(shape) == Some(12) => vec![Affine],
        (true, _) => vec![],
        // One alone is always the likeliest.
        (false, [1, 1] | [1, 1, 1, 1]) => vec![],
        (false, [1, _] | [1, _, 1, 1]) if softmax => vec![Classes],
        (false, [1, _, 1, 1]) => vec![Classes],
        (false, [1, n]) if n % 2 == 1 => vec![Classes],
        (false, [1, _]) => vec![Classes, Coordinates],
        (false, [1, _, 2]) => vec![Coordinates],
        (false, [1, n, size @ ..]) if is_fraction(size, &place.size) => match n {
            1 => vec![Mask],
            _ if softmax => vec![Mask],
            _ if size != place.size => vec![Heatmaps],
            _ => vec![Heatmaps, Mask],
        },
        _ => vec![],
    }
}

/// `None` where it is beyond all counting.
fn product(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, side| n.checked_mul(*side))
}

/// Is a map a whole fraction of the input, the same along both axes?
fn is_fraction(map: &[usize], of: &[usize]) -> bool {
    let ([h, w], [height, width]) = (map, of) else { return false };
    *h > 0 && *w > 0 && height % h == 0 && width % w == 0 && height / h == width / w
}

/// The head that an output becomes.
///
/// # Errors
/// [`crate::Error::Option`] for a kind that the output's shape cannot be, and for answers that do
/// not fit it.
pub(super) fn head(
    kind: HeadKind,
    output: &Output,
    place: &Images,
    grid: Option<&GridSpec>,
    answers: &Answers,
    open: &mut Open,
    guesses: &mut Vec<String>,
) -> Result<HeadSpec> {
    // What is beyond counting fits nothing.
    let count = product(&output.shape).unwrap_or(0);
    let maps = matches!(kind, HeadKind::Displacement | HeadKind::Heatmaps | HeadKind::Mask);
    let fits = match kind {
        HeadKind::Displacement => place.pair && guess(place, output) == [kind],
        HeadKind::Affine => place.pair && count == 12,
        // x and y of one thing stand side by side.
        HeadKind::Coordinates => {
            let beside = |shape: &[usize]| match shape {
                [1, n] => n.is_multiple_of(2),
                [1, _, last] => *last == 2,
                _ => false,
            };
            !place.pair && count > 0 && beside(&output.shape)
        }
        HeadKind::Classes => !place.pair && count > 1 && output.shape.get(1) == Some(&count),
        _ => !place.pair && output.shape.len() == 4 && is_fraction(&output.shape[2..], &place.size),
    };
    // Twelve numbers are one matrix, with or without an axis for the batch.
    let one = kind == HeadKind::Affine || output.shape.first() == Some(&1);
    if !fits || output.data_type != 1 || !one || output.last.is_empty() {
        let expected = format!("an output that can be {}", word(kind));
        let none = if output.last.is_empty() { ", which no node computes" } else { "" };
        let found = format!("{} {:?} for input {:?}{none}", output.name, output.shape, place.size);
        return Err(wrong("head", &expected, &found));
    }
    let channels = if maps { output.shape[1] } else { count };
    let mut convert = Vec::new();
    let channel_def = match kind {
        HeadKind::Displacement => displacement(place, grid, answers, open, &mut convert)?,
        HeadKind::Affine => {
            affine(place, &output.shape, affine_form(answers, open), &mut convert);
            vec![]
        }
        HeadKind::Coordinates => {
            coordinates(place, output, answers, open, &mut convert)?;
            names(output, count / 2, answers, open)?
        }
        HeadKind::Classes => {
            if output.last == "Sigmoid" {
                let expected = "classes of which one is true, as a softmax gives them";
                let found = format!("{}, of which a Sigmoid says each alone", output.name);
                return Err(wrong("head", expected, &found));
            }
            match (values(kind, output, answers, open), output.last.as_str()) {
                (Values::Probabilities, "Softmax") if output.shares => {
                    guesses.push(format!("the Softmax before {} is cut off", output.name));
                    convert.push(Convert::Cut);
                }
                (Values::Probabilities, _) => convert.push(Convert::Log),
                (Values::Logits | Values::SoftmaxLogits, _) => {}
            }
            convert.extend((output.shape.len() > 2).then_some(Convert::Reshape([1, count])));
            names(output, count, answers, open)?
        }
        _ => {
            convert = maps_convert(kind, output, values(kind, output, answers, open))?;
            names(output, channels, answers, open)?
        }
    };
    let units = match kind {
        HeadKind::Displacement => Some(Units::Voxels),
        HeadKind::Coordinates => Some(Units::Pixels),
        _ => None,
    };
    let head = Head {
        name: output.name.clone(),
        kind,
        num_channels: channels,
        spatial_shape: if maps { output.shape[2..].to_vec() } else { vec![] },
        dtype: Dtype::Float32,
        channel_def,
        units,
        peak: None,
        region: None,
    };
    Ok(HeadSpec { head, convert })
}

/// What makes heatmaps from 0 to 1, and of masks the logit of each class alone.
fn maps_convert(kind: HeadKind, output: &Output, values: Values) -> Result<Vec<Convert>> {
    Ok(match (kind, values, output.last.as_str()) {
        (HeadKind::Heatmaps, Values::SoftmaxLogits, _) => {
            return Err(wrong("values", "probabilities or logits of heatmaps", "softmax-logits"));
        }
        (HeadKind::Heatmaps, Values::Logits, _) => vec![Convert::Sigmoid],
        (HeadKind::Mask, Values::Probabilities, "Sigmoid") => vec![Convert::Cut],
        (HeadKind::Mask, Values::Probabilities, _) => vec![Convert::LogOdds],
        (HeadKind::Mask, Values::SoftmaxLogits, _) => vec![Convert::Softmax, Convert::LogOdds],
        _ => vec![],
    })
}

/// What an output finds; nothing while it is asked for.
fn names(output: &Output, count: usize, answers: &Answers, open: &mut Open) -> Result<Vec<String>> {
    let Some(names) = of(&answers.names, &output.name) else {
        let about = format!("the names of the {count} things that {} finds", output.name);
        open.ask("names", about, format!("{}=a,b,…|@FILE", output.name));
        return Ok(vec![]);
    };
    match names.0.len() == count {
        true => Ok(names.0.clone()),
        false => {
            let expected = format!("{count} names for {}", output.name);
            Err(wrong("names", &expected, &names.0.len().to_string()))
        }
    }
}

/// The axes as they were answered, each of `wanted` once.
fn axes(answers: &Answers, wanted: &[&str], choices: &str, open: &mut Open) -> Result<Vec<String>> {
    let Some(axes) = &answers.axes else {
        open.ask("axes", "the axis of each channel or number, x the tensor's last", choices);
        return Ok(wanted.iter().map(|a| a.to_string()).collect());
    };
    let mut sorted: Vec<&str> = axes.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    match sorted == wanted {
        true => Ok(axes.clone()),
        false => Err(wrong("axes", choices, &axes.join(","))),
    }
}

fn displacement(
    place: &Images,
    grid: Option<&GridSpec>,
    answers: &Answers,
    open: &mut Open,
    convert: &mut Vec<Convert>,
) -> Result<Vec<String>> {
    let axes = axes(answers, &["x", "y", "z"], "x,y,z|z,y,x", open)?;
    let unit = unit(HeadKind::Displacement, answers, open)?;
    let spacing = grid.filter(|g| g.fit == Fit::Resample).map(|g| g.spacing_mm);
    if unit == Unit::Mm && spacing.is_none() && answers.fit.is_some() {
        return Err(wrong("units", "mm only where the fit is resample", "mm"));
    }
    let voxels = |axis: &String| {
        let axis = ["x", "y", "z"].iter().position(|a| a == axis).unwrap_or(0);
        let size = place.size[2 - axis] as f64;
        (match unit {
            Unit::Mm => 1.0 / spacing.unwrap_or([1.0; 3])[axis],
            Unit::Normalized => size / 2.0,
            Unit::NormalizedCorners => (size - 1.0) / 2.0,
            _ => 1.0,
        }) as f32
    };
    if unit != Unit::Voxels {
        convert.push(Convert::Scale(axes.iter().map(voxels).collect()));
    }
    Ok(axes)
}

/// θ maps −1 … 1 of the fixed image to −1 … 1 of the moving one: with half sizes h and the center c,
/// p ↦ c + h · (A h⁻¹ (p − c) + t), so W = h A h⁻¹ − 1 and b = h t.
fn affine(place: &Images, shape: &[usize], form: AffineForm, convert: &mut Vec<Convert>) {
    if shape != [1, 12] {
        convert.push(Convert::Reshape([1, 12]));
    }
    let less = match form {
        AffineForm::Voxels => return,
        AffineForm::Theta => 0.0,
        AffineForm::ThetaCorners => 1.0,
    };
    let half = [2, 1, 0].map(|axis| (place.size[axis] as f64 - less) / 2.0);
    let (mut matrix, mut shift) = (vec![0.0; 144], vec![0.0; 12]);
    for row in 0..3 {
        for column in 0..3 {
            let to = 3 * row + column;
            matrix[(4 * row + column) * 12 + to] = (half[row] / half[column]) as f32;
            shift[to] = if row == column { -1.0 } else { 0.0 };
        }
        matrix[(4 * row + 3) * 12 + 9 + row] = half[row] as f32;
    }
    convert.push(Convert::Linear { matrix, shift });
}

fn coordinates(
    place: &Images,
    output: &Output,
    answers: &Answers,
    open: &mut Open,
    convert: &mut Vec<Convert>,
) -> Result<()> {
    let count: usize = output.shape.iter().product();
    let axes = axes(answers, &["x", "y"], "x,y|y,x", open)?;
    let unit = unit(HeadKind::Coordinates, answers, open)?;
    if axes != ["x", "y"] || unit != Unit::Pixels {
        let (mut matrix, mut shift) = (vec![0.0; 4], vec![0.0; 2]);
        for (from, axis) in axes.iter().enumerate() {
            let to = usize::from(axis == "y");
            let size = place.size[1 - to] as f32;
            let (factor, add) = match unit {
                Unit::Share => (size, 0.0),
                Unit::Normalized => (size / 2.0, (size - 1.0) / 2.0),
                Unit::NormalizedCorners => ((size - 1.0) / 2.0, (size - 1.0) / 2.0),
                _ => (1.0, 0.0),
            };
            matrix[from * 2 + to] = factor;
            shift[to] = add;
        }
        convert.push(Convert::Reshape([count / 2, 2]));
        convert.push(Convert::Linear { matrix, shift });
    }
    if output.shape.len() != 2 || !convert.is_empty() {
        convert.push(Convert::Reshape([1, count]));
    }
    Ok(())
}

/// What the answers say of the values, else what the last operator tells.
fn values(kind: HeadKind, output: &Output, answers: &Answers, open: &mut Open) -> Values {
    let linear = matches!(
        output.last.as_str(),
        "Conv" | "ConvTranspose" | "Gemm" | "MatMul" | "BatchNormalization"
    );
    let sure = match (kind, output.last.as_str()) {
        (_, "Sigmoid" | "Softmax" | "HardSigmoid") => Some(Values::Probabilities),
        // A softmax makes the probabilities of them again.
        (HeadKind::Classes, "LogSoftmax") => Some(Values::Logits),
        (HeadKind::Mask, "LogSoftmax") if output.shares => Some(Values::SoftmaxLogits),
        (HeadKind::Classes, _) if linear => Some(Values::Logits),
        // Of several masks each may stand for itself, or one of them be true.
        (HeadKind::Mask, _) if linear && output.shape.get(1) == Some(&1) => Some(Values::Logits),
        _ => None,
    };
    of(&answers.values, &output.name).copied().or(sure).unwrap_or_else(|| {
        let about = format!("what the values of {} are (0 to 1, or logits)", output.name);
        let softmax = if kind == HeadKind::Mask { "|softmax-logits" } else { "" };
        open.ask("values", about, format!("{}=probabilities|logits{softmax}", output.name));
        Values::Logits
    })
}

/// What a unit may be for a kind of head.
fn unit(kind: HeadKind, answers: &Answers, open: &mut Open) -> Result<Unit> {
    let (about, allowed): (_, &[Unit]) = match kind {
        HeadKind::Displacement => (
            "what displacements are counted in",
            &[Unit::Voxels, Unit::Mm, Unit::Normalized, Unit::NormalizedCorners],
        ),
        _ => (
            "what coordinates are counted in",
            &[Unit::Pixels, Unit::Share, Unit::Normalized, Unit::NormalizedCorners],
        ),
    };
    let name = |unit: &Unit| unit.to_possible_value().map(|v| v.get_name().to_string());
    let words = allowed.iter().filter_map(name).collect::<Vec<_>>().join("|");
    let unit = open.need(&answers.units, "units", about, words.clone());
    match answers.units {
        Some(unit) if !allowed.contains(&unit) => {
            Err(wrong("units", &words, &name(&unit).unwrap_or_default()))
        }
        _ => Ok(unit),
    }
}

fn affine_form(answers: &Answers, open: &mut Open) -> AffineForm {
    let about = "what the 12 numbers of the affine stage are";
    open.need(&answers.affine, "affine", about, choices::<AffineForm>())
}
