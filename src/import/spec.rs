//! What the package will be: guessed from shapes and names where they tell, else from the answers.

use super::answers::{Answers, Fitting, Kind, Open, Order, check_names, choices, of, word, wrong};
use super::fix::{Fixed, Output};
use super::heads::{Convert, HeadSpec, Images, head};
use super::read::opset;
use super::unread::check_use;
use crate::engine::TensorInfo;
use crate::package::{Dtype, HeadKind, Input, Task};
use crate::preprocess::frames::{Interpolation, Pad, Resize};
use crate::preprocess::{GridSpec, Initial, Orientation, Step};
use crate::{Error, Result};

/// A package to be, and what was guessed about it.
pub(super) struct Spec {
    pub task: Task,
    pub input: Input,
    /// What each input of the model takes of the package's; none where there is one, and the same.
    pub fronts: Vec<Front>,
    pub heads: Vec<HeadSpec>,
    pub grid: Option<GridSpec>,
    pub preprocess: Vec<Step>,
    pub license: String,
    pub intended_use: String,
    /// For people: what was not asked.
    pub guesses: Vec<String>,
}

/// An input of the model as channels of the package's input, each scaled.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Front {
    pub name: String,
    /// The package's channel for each of the input's.
    pub takes: Vec<usize>,
    pub mean: Vec<f32>,
    pub sd: Vec<f32>,
}

/// The questions that can be asked without knowing the inputs' shapes.
pub(super) fn general(answers: &Answers, open: &mut Open) -> (String, String) {
    let license =
        open.need(&answers.license, "license", "the terms of the weights", "an SPDX expression");
    let about = "what the model may be used for";
    (license, open.need(&answers.intended_use, "intended-use", about, "a sentence"))
}

/// Is it a pair of volumes (else a frame), and its size in the tensors' order?
fn place(name: &str, inputs: &[TensorInfo]) -> Result<Images> {
    let shapes: Vec<&[usize]> = inputs.iter().map(|i| i.shape.as_slice()).collect();
    match shapes[..] {
        [[1, 2, z, y, x]] => return Ok(Images { pair: true, size: vec![*z, *y, *x] }),
        [[1, 1, z, y, x], other] if shapes[0] == other => {
            return Ok(Images { pair: true, size: vec![*z, *y, *x] });
        }
        [[1, 1 | 3, y, x]] => return Ok(Images { pair: false, size: vec![*y, *x] }),
        _ => {}
    }
    let last = |s: &&[usize]| s.len() > 3 && (1..=4).contains(&s[s.len() - 1]) && s[1] > 4;
    let found: Vec<String> = inputs.iter().map(|i| format!("{} {:?}", i.name, i.shape)).collect();
    let advice = if shapes.iter().any(last) {
        "export it with channels first (tf2onnx: --inputs-as-nchw and --outputs-as-nchw)"
    } else if shapes.iter().any(|s| s.first() != Some(&1)) {
        "export it with a batch of 1, or an open one"
    } else {
        "export the part that takes such images"
    };
    let expected = "volumes [1, 2, z, y, x], two of [1, 1, z, y, x], or a frame [1, 1 or 3, y, x]";
    Err(Error::unusable(
        name,
        format!("expected {expected} as input, found {}", found.join(", ")),
        advice,
    ))
}

/// What the package will be. Where questions are open it holds stand-ins for their answers.
///
/// # Errors
/// [`Error::Unusable`] for a model that no task here takes, [`Error::Option`] for answers that do
/// not fit it.
pub(super) fn resolve(name: &str, fixed: &Fixed, answers: &Answers) -> Result<(Spec, Open)> {
    let mut open = Open::default();
    let mut guesses = Vec::new();
    let place = place(name, &fixed.inputs)?;
    let outputs: Vec<&str> = fixed.outputs.iter().map(|o| o.name.as_str()).collect();
    check_names("names", &answers.names, &outputs)?;
    check_names("values", &answers.values, &outputs)?;
    let kinds = kinds(&place, &fixed.outputs, answers, &mut open, &mut guesses);
    let heads: Vec<(HeadKind, &Output)> =
        kinds.into_iter().zip(&fixed.outputs).filter_map(|(k, o)| Some((k?, o))).collect();
    if heads.is_empty() && open.questions.is_empty() {
        let found: Vec<String> =
            fixed.outputs.iter().map(|o| format!("{} {:?}", o.name, o.shape)).collect();
        let found = if found.is_empty() { "none".into() } else { found.join(", ") };
        let problem = format!("expected an output that a task here reads, found {found}");
        let advice = "docs/packages.md lists the heads; export the part that computes one";
        return Err(Error::unusable(name, problem, advice));
    }
    let task = task(&place, &heads);
    let (mut input, fronts) = input(&place, &fixed.inputs, answers, &mut open, &mut guesses)?;
    while heads.iter().any(|(_, output)| output.name == input.name) {
        input.name.push('_');
    }
    let grid = place.pair.then(|| grid(answers, &mut open)).transpose()?;
    if !open.asks("head") {
        check_use(&place, &heads, answers)?;
    }
    let heads = heads.into_iter().map(|(kind, output)| {
        head(kind, output, &place, grid.as_ref(), answers, &mut open, &mut guesses)
    });
    let heads: Vec<HeadSpec> = heads.collect::<Result<_>>()?;
    if place.pair && heads.len() > 1 {
        let expected = "one stage in a file (a head of none leaves an output out)";
        let found: Vec<_> =
            heads.iter().map(|h| format!("{} {}", h.head.name, word(h.head.kind))).collect();
        return Err(wrong("head", expected, &found.join(", ")));
    }
    // An older one takes the channels and all places together.
    if opset(&fixed.model) < 13 && heads.iter().any(|h| h.convert.contains(&Convert::Softmax)) {
        let expected = "operators of version 13 or newer (onnx.version_converter) for a softmax";
        return Err(wrong("values", expected, "softmax-logits of an older model"));
    }
    let preprocess = preprocess(&place, answers, &mut open)?;
    let (license, intended_use) = general(answers, &mut open);
    let spec =
        Spec { task, input, fronts, heads, grid, preprocess, license, intended_use, guesses };
    Ok((spec, open))
}

/// What each output is; `None` for those that are left out.
fn kinds(
    place: &Images,
    outputs: &[Output],
    answers: &Answers,
    open: &mut Open,
    guesses: &mut Vec<String>,
) -> Vec<Option<HeadKind>> {
    let several = place.pair
        && outputs.iter().filter(|o| super::heads::guess(place, o).len() == 1).count() > 1;
    let kind = |output: &Output| {
        if let Some(Kind(kind)) = of(&answers.head, &output.name) {
            return *kind;
        }
        let (name, shape) = (&output.name, &output.shape);
        let candidates = super::heads::guess(place, output);
        match candidates[..] {
            [one] if !several => {
                guesses.push(format!("output {name} {shape:?} is taken as {}", word(one)));
                Some(one)
            }
            [] => {
                guesses.push(format!("output {name} {shape:?} is left out"));
                None
            }
            _ => {
                let words: Vec<&str> = candidates.iter().map(|kind| word(*kind)).collect();
                let choices = format!("{name}={}|none", words.join("|"));
                open.ask("head", format!("what output {name} {shape:?} is"), choices);
                None
            }
        }
    };
    outputs.iter().map(kind).collect()
}

fn task(place: &Images, heads: &[(HeadKind, &Output)]) -> Task {
    let any = |kinds: &[HeadKind]| heads.iter().any(|(kind, _)| kinds.contains(kind));
    match () {
        () if place.pair => Task::Registration,
        () if any(&[HeadKind::Heatmaps, HeadKind::Coordinates]) => Task::Landmarks,
        () if any(&[HeadKind::Mask]) => Task::Segmentation,
        () => Task::Classification,
    }
}

/// The package's input, and what the model's take of it.
fn input(
    place: &Images,
    inputs: &[TensorInfo],
    answers: &Answers,
    open: &mut Open,
    guesses: &mut Vec<String>,
) -> Result<(Input, Vec<Front>)> {
    let modality = open.need(&answers.modality, "modality", "the images' kind", "US|MR|CT|…");
    let channels: Vec<usize> = inputs.iter().map(|i| i.shape[1]).collect();
    let mut takes: Vec<Vec<usize>> = match (place.pair, &channels[..]) {
        (true, [2]) => vec![vec![0, 1]],
        (true, _) => vec![vec![0], vec![1]],
        (false, _) => vec![vec![0; channels[0]]],
    };
    if place.pair {
        let known = answers.order.or_else(|| order(inputs, guesses));
        let about = "which of the pair comes first, in the channels or inputs";
        if open.need(&known, "order", about, choices::<Order>()) == Order::MovingFixed {
            takes.iter_mut().flatten().for_each(|channel| *channel = 1 - *channel);
        }
    } else if channels == [3] {
        guesses.push("the frame's gray is given to each of 3 channels".into());
    }
    let all: usize = channels.iter().sum();
    let each = |values: &Option<Vec<f32>>, flag: &str, default: f32| {
        let values = values.clone().unwrap_or(vec![default; all]);
        let values = if values.len() == 1 { vec![values[0]; all] } else { values };
        let fits = values.len() == all && values.iter().all(|v| v.is_finite());
        match fits && (flag == "mean" || values.iter().all(|v| v.is_normal())) {
            true => Ok(values),
            false => {
                let but = if flag == "sd" { ", none of them 0" } else { "" };
                let expected = format!("one number or one for each of {all} channels{but}");
                Err(wrong(flag, &expected, &format!("{values:?}")))
            }
        }
    };
    let (mean, sd) = (each(&answers.mean, "mean", 0.0)?, each(&answers.sd, "sd", 1.0)?);
    let mut at = 0;
    let fronts: Vec<Front> = inputs
        .iter()
        .zip(takes)
        .map(|(input, takes)| {
            let part = at..at + takes.len();
            at = part.end;
            let (mean, sd) = (mean[part.clone()].to_vec(), sd[part].to_vec());
            Front { name: input.name.clone(), takes, mean, sd }
        })
        .collect();
    let channel_def: Vec<String> = match place.pair {
        true => vec!["fixed".into(), "moving".into()],
        false => vec!["image".into()],
    };
    let num_channels = channel_def.len();
    let plain = answers.mean.is_none() && fronts.len() == 1;
    let as_it_is = plain && fronts[0].takes.iter().copied().eq(0..num_channels);
    let name = match (as_it_is, place.pair) {
        (true, _) => inputs[0].name.clone(),
        (false, true) => "pair".into(),
        (false, false) => "image".into(),
    };
    let modality = match modality.len() {
        1 => vec![modality[0].clone(); num_channels],
        _ => modality,
    };
    if modality.len() != num_channels && answers.modality.is_some() {
        let expected = if place.pair { "one, or one for each of the pair" } else { "one" };
        return Err(wrong("modality", expected, &modality.join(",")));
    }
    let input = Input {
        name,
        num_channels,
        spatial_shape: place.size.clone(),
        dtype: Dtype::Float32,
        channel_def,
        modality,
        value_range: None,
    };
    Ok((input, if as_it_is { vec![] } else { fronts }))
}

/// Which of two inputs is the fixed image, by their names.
fn order(inputs: &[TensorInfo], guesses: &mut Vec<String>) -> Option<Order> {
    let [first, second] = inputs else { return None };
    let says = |name: &str, words: &[&str]| words.iter().any(|w| name.to_lowercase().contains(w));
    let fixed = |i: &TensorInfo| says(&i.name, &["fix", "target", "reference"]);
    let moving = |i: &TensorInfo| says(&i.name, &["mov", "source", "src"]);
    let order = match () {
        () if fixed(first) && moving(second) => Order::FixedMoving,
        () if moving(first) && fixed(second) => Order::MovingFixed,
        () => return None,
    };
    let which = if order == Order::FixedMoving { first } else { second };
    guesses.push(format!("input {} is taken as the fixed image", which.name));
    Some(order)
}

fn grid(answers: &Answers, open: &mut Open) -> Result<GridSpec> {
    let about = "how volumes are brought to the input's size";
    let choices_of_fit = "resample|pad|stretch";
    let fit = match answers.fit {
        Some(fit) => fit,
        None => {
            open.ask("fit", about, choices_of_fit);
            Fitting::Stretch
        }
    };
    let spacing = match (fit, &answers.spacing) {
        // Nobody reads it then.
        (Fitting::Pad | Fitting::Stretch, _) => vec![1.0; 3],
        (_, spacing) => open.need(spacing, "spacing", "mm per voxel along x, y, z", "1,1,1"),
    };
    let sizes = spacing.iter().all(|s| s.is_finite() && *s > 0.0);
    let spacing_mm = match <[f64; 3]>::try_from(spacing) {
        Ok(spacing) if sizes => spacing,
        Ok(_) => return Err(wrong("spacing", "sizes above 0", "others")),
        Err(_) if answers.spacing.is_none() => [1.0; 3],
        Err(found) => return Err(wrong("spacing", "3 sizes", &found.len().to_string())),
    };
    if answers.orientation.is_none() {
        let about = "where the voxels' x, y and z grow to";
        open.ask("orientation", about, "RAS|LPS|…");
    }
    if answers.initial.is_none() {
        let about = "the alignment that the network expects";
        open.ask("initial", about, choices::<super::answers::Alignment>());
    }
    let any = || Orientation::try_from("RAS".to_string()).expect("an orientation");
    Ok(GridSpec {
        spacing_mm,
        fit: fit.into(),
        orientation: answers.orientation.unwrap_or_else(any),
        initial: answers.initial.map_or(Initial::Header, Initial::from),
    })
}

fn preprocess(place: &Images, answers: &Answers, open: &mut Open) -> Result<Vec<Step>> {
    let about = "how samples are brought to a range";
    let methods = "min_max|z_score|percentile:1,99|window:0,255|none";
    let normalize = open.need(&answers.normalize, "normalize", about, methods);
    let normalize = normalize.0.map(Step::Normalize);
    let [height, width] = place.size[..] else {
        return Ok(normalize.into_iter().collect());
    };
    let keep_aspect = match answers.fit {
        Some(Fitting::Pad) => true,
        Some(Fitting::Stretch) => false,
        Some(Fitting::Resample) => {
            return Err(wrong("fit", "stretch or pad for frames", "resample"));
        }
        None => {
            open.ask("fit", "how frames are brought to the input's size", "stretch|pad");
            false
        }
    };
    let interpolation = Interpolation::Area;
    let resize = Step::Resize(Resize { width, height, interpolation, keep_aspect });
    let pad = keep_aspect.then_some(Step::Pad(Pad { width, height, value: 0.0 }));
    Ok([Step::Grayscale, resize].into_iter().chain(pad).chain(normalize).collect())
}
