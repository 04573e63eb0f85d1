//! Trains a student that finds the ends of an ellipse's axes, and its area, in frames.

mod augment;
mod data;
mod measure;
mod options;
mod target;

use std::path::PathBuf;

use anyhow::{Result, bail};
use intraop_core::image::Ellipse;
use tch::{Device, Kind, Reduction, Tensor, no_grad};

use augment::Augment;
pub use data::Data;
use data::Held;
use measure::Found;
pub use measure::peak;
pub use options::Settings;

use super::run::{self, Term, Trainer, total};
use crate::nets::Weights;
use crate::random::Random;
use crate::recipe::Figures;
use crate::unet::{Answer, HEATMAP, MASK, Unet};

/// The ends of the long axis, then those of the short one, as [`intraop_core::image::Ellipse::ends`]
/// gives them.
pub const LANDMARKS: [&str; 4] = ["ofd_a", "ofd_b", "bpd_a", "bpd_b"];
/// The mask's only class.
pub const SKULL: &str = "skull";
/// How much more the error at a peak counts than that on flat ground.
const PEAKS: f64 = 10.0;

pub struct Landmarks {
    pub net: Unet,
    augment: Augment,
    device: Device,
}

/// What the heads should say.
struct Target {
    heatmaps: Tensor,
    mask: Tensor,
}

impl run::Student for Landmarks {
    type Recipe = Settings;
    type Data = Data;

    fn new(recipe: &Settings, device: Device) -> Self {
        let landmarks = LANDMARKS.len() as i64;
        let net = Unet::new(landmarks, recipe.width, recipe.schedule.seed, device);
        Landmarks { net, augment: Augment::new(recipe.size, recipe.augment), device }
    }

    fn weights(&self) -> &Weights {
        &self.net.weights
    }

    fn weights_mut(&mut self) -> &mut Weights {
        &mut self.net.weights
    }

    fn loss(&self, recipe: &Settings, data: &Data, random: &mut Random) -> Vec<Term> {
        let draw = |_| self.augment.draw(data, recipe.empty, random);
        let views: Vec<_> = (0..recipe.batch).map(draw).collect();
        let inputs = views.iter().map(|view| &view.input[..]);
        let ellipses: Vec<_> = views.iter().map(|view| view.ellipse).collect();
        let target = self.target(recipe, &ellipses);
        let answer = self.net.forward(&self.frames(recipe, inputs), true);
        terms(recipe, &answer, &target)
    }

    fn validate(&self, recipe: &Settings, data: &Data) -> Option<Figures> {
        (!data.held.is_empty()).then(|| self.figures(recipe, &data.held))
    }
}

impl Landmarks {
    /// Of frames kept aside.
    pub fn figures(&self, recipe: &Settings, held: &[Held]) -> Figures {
        let (mut found, mut loss) = (vec![], 0.0);
        for some in held.chunks(recipe.batch) {
            let frames = self.frames(recipe, some.iter().map(|h| &h.input[..]));
            let answer = no_grad(|| self.net.forward(&frames, false));
            let ellipses: Vec<_> = some.iter().map(Held::prepared_ellipse).collect();
            let terms = terms(recipe, &answer, &self.target(recipe, &ellipses));
            let share = some.len() as f64 / held.len() as f64;
            loss += total(&terms).double_value(&[]) * share;
            for (i, h) in some.iter().enumerate() {
                let values = |t: &Tensor| {
                    let one = t.get(i as i64).to_device(Device::Cpu).contiguous().view([-1]);
                    Vec::<f32>::try_from(one).expect("a float tensor")
                };
                let (heatmaps, mask) = (values(&answer.heatmaps), values(&answer.mask));
                found.push(Found::new(&heatmaps, &mask, recipe, h));
            }
        }
        let mut figures = measure::figures(held, &found);
        figures.insert("loss".into(), loss);
        figures
    }

    fn frames<'a>(&self, recipe: &Settings, inputs: impl Iterator<Item = &'a [f32]>) -> Tensor {
        let [width, height] = recipe.size.map(|n| n as i64);
        let each: Vec<Tensor> = inputs.map(Tensor::from_slice).collect();
        Tensor::cat(&each, 0).reshape([-1, 1, height, width]).to_device(self.device)
    }

    fn target(&self, recipe: &Settings, ellipses: &[Option<Ellipse>]) -> Target {
        let [width, height] = recipe.size;
        let stack = |each: Vec<Vec<f32>>, channels: usize, factor: usize| {
            let shape = [each.len(), channels, height / factor, width / factor].map(|n| n as i64);
            Tensor::from_slice(&each.concat()).reshape(shape).to_device(self.device)
        };
        let ellipses = ellipses.iter().map(Option::as_ref);
        let heatmaps = ellipses.clone().map(|e| target::heatmaps(e, recipe.size, recipe.sigma));
        let masks = ellipses.map(|e| target::mask(e, recipe.size).data);
        Target {
            heatmaps: stack(heatmaps.collect(), LANDMARKS.len(), HEATMAP),
            mask: stack(masks.collect(), 1, MASK),
        }
    }
}

fn terms(recipe: &Settings, answer: &Answer, target: &Target) -> Vec<Term> {
    let weights = &target.heatmaps * PEAKS + 1.0;
    let squared = (&answer.heatmaps - &target.heatmaps).square() * weights;
    let none = None::<&Tensor>;
    let entropy =
        answer.mask.binary_cross_entropy_with_logits(&target.mask, none, none, Reduction::Mean);
    let inside = answer.mask.sigmoid();
    let sum = |t: &Tensor| t.sum_dim_intlist([1i64, 2, 3].as_slice(), false, Kind::Float);
    let overlap = sum(&(&inside * &target.mask)) * 2.0 + 1.0;
    let size = sum(&inside.square()) + sum(&target.mask.square()) + 1.0;
    let dice = 1.0 - (overlap / size).mean(Kind::Float);
    [
        ("heatmaps", recipe.heatmaps, squared.mean(Kind::Float)),
        ("mask_entropy", 1.0, entropy),
        ("mask_dice", recipe.dice, dice),
        ("axes", recipe.axes, axes(&answer.mask, &target.mask)),
    ]
    .map(|(name, weight, value)| Term { name, weight, value })
    .into()
}

/// Mean over the frames with a mask of |log a − log a'| + |log b − log b'|: a and b are the semi-axes
/// of the ellipses with the moments of the mask and of the target, `[frames, 1, y, x]`.
fn axes(logits: &Tensor, target: &Tensor) -> Tensor {
    // Twice as steep: closer to the area above 0, which is what will be measured.
    let inside = (logits * 2.0).sigmoid();
    let size = target.size();
    let place = |axis: usize| {
        let mut shape = [1, 1, 1, 1];
        shape[axis] = size[axis];
        Tensor::arange(size[axis], (Kind::Float, target.device())).reshape(shape)
    };
    let (x, y) = (place(3), place(2));
    let of_moments = |mask: &Tensor| {
        let sum = |t: &Tensor| t.sum_dim_intlist([1i64, 2, 3].as_slice(), true, Kind::Float);
        let area = sum(mask) + 1.0;
        let mean = |t: &Tensor| sum(&(mask * t)) / &area;
        let (dx, dy) = (&x - mean(&x), &y - mean(&y));
        let (xx, yy, xy) = (mean(&dx.square()), mean(&dy.square()), mean(&(&dx * &dy)));
        let middle = (&xx + &yy) / 2.0;
        let spread = (((xx - yy) / 2.0).square() + xy.square() + 1e-3).sqrt();
        let half_log = |t: Tensor| t.clamp_min(0.1).log() / 2.0;
        [half_log(&middle + &spread), half_log(&middle - &spread)]
    };
    let shown = target.amax([1i64, 2, 3].as_slice(), true).ge(0.5).to_kind(Kind::Float);
    let [a, b] = of_moments(&inside);
    let [true_a, true_b] = of_moments(target);
    let differences = (a - true_a).abs() + (b - true_b).abs();
    (differences * &shown).sum(Kind::Float) / (shown.sum(Kind::Float) + 1e-6)
}

/// Where the frames are.
#[derive(Debug, Clone, clap::Args)]
pub struct Source {
    /// Folder with ellipses.csv and images/; only its split "train" is used
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Folder of frames that show nothing to be found, named CLIP_NUMBER
    #[arg(long, value_name = "FOLDER")]
    pub negatives: Option<PathBuf>,
}

/// Which weights are measured on what.
#[derive(Debug, Clone, clap::Args)]
pub struct Measure {
    /// Folder of the training run
    #[arg(long)]
    run: PathBuf,
    /// Take the weights with the best validation, not the last
    #[arg(long)]
    best: bool,
    /// Folder with ellipses.csv and images/
    #[arg(long)]
    data: PathBuf,
    /// Which rows of ellipses.csv
    #[arg(long, default_value = "val")]
    split: String,
    /// Folder of frames that show nothing to be found
    #[arg(long, value_name = "FOLDER")]
    negatives: Option<PathBuf>,
}

/// Prints the figures of a run's weights on frames that it was not trained on.
pub fn measure(options: &Measure) -> Result<()> {
    let trainer = Trainer::<Landmarks>::load(&options.run, options.best)?;
    let mut sources = data::labeled(&options.data, &options.split)?;
    sources.extend(options.negatives.as_deref().map_or(Ok(vec![]), data::unlabeled)?);
    let recipe = &trainer.state.recipe;
    let held = data::held(&sources.iter().collect::<Vec<_>>(), recipe)?;
    let figures = trainer.student.figures(recipe, &held);
    println!("{}", serde_json::to_string_pretty(&figures)?);
    Ok(())
}

/// The data that the options name.
pub fn data(recipe: &Settings, source: &Source) -> Result<Data> {
    let negatives = source.negatives.as_deref();
    match (recipe.phantoms, &source.data) {
        (None, Some(folder)) => Data::read(folder, negatives, recipe),
        (Some(count), None) => Data::phantoms(count, recipe),
        (None, None) => bail!("expected --data FOLDER or --phantoms FRAMES, found neither"),
        (Some(_), Some(_)) => bail!("expected --data or --phantoms, found both"),
    }
}

#[cfg(test)]
mod tests;
