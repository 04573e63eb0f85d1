//! Trains a registration student on random pairs of one set of volumes.

mod data;
mod options;

use std::path::Path;

use anyhow::{Result, bail};
use tch::{Device, Kind, Tensor, no_grad};

pub use data::Data;
use data::Subject;
pub use options::{Loss, Settings};

use super::run::{self, Term, total};
use crate::augment::Augment;
use crate::loss;
use crate::nets::{Registration as Registered, Student, Weights, affine_matrix};
use crate::random::Random;
use crate::recipe::Figures;
use crate::warp::Grid;

/// Pairs of one validation.
const VALIDATION_PAIRS: usize = 24;

/// The student with its grid.
pub struct Registration {
    pub grid: Grid,
    pub net: Student,
    augment: Augment,
}

impl run::Student for Registration {
    type Recipe = Settings;
    type Data = Data;

    fn new(recipe: &Settings, device: Device) -> Self {
        let grid = Grid::new(recipe.grid.map(|n| n as i64), device);
        let cascades = usize::from(recipe.cascades);
        let seed = recipe.schedule.seed;
        let net = Student::new(&grid, !recipe.no_affine, cascades, recipe.width, seed);
        let augment = Augment::new(&grid, recipe.augment);
        Registration { grid, net, augment }
    }

    fn weights(&self) -> &Weights {
        &self.net.weights
    }

    fn weights_mut(&mut self) -> &mut Weights {
        &mut self.net.weights
    }

    fn loss(&self, recipe: &Settings, data: &Data, random: &mut Random) -> Vec<Term> {
        let pairs = data.draw(recipe.batch, random);
        let [fixed, moving] = no_grad(|| {
            let both = Tensor::cat(&pairs, 0);
            let both = self.augment.apply(&self.grid, &both, random);
            let n = recipe.batch as i64;
            [both.narrow(0, 0, n), both.narrow(0, n, n)]
        });
        terms(recipe, &fixed, &self.net.forward(&self.grid, &fixed, &moving))
    }

    /// The mean over fixed pairs of subjects kept aside.
    fn validate(&self, recipe: &Settings, data: &Data) -> Option<Figures> {
        let pairs = data.held_pairs(VALIDATION_PAIRS);
        let n = pairs.len() as f64;
        let mut mean = Figures::new();
        for (fixed, moving) in pairs {
            let one = no_grad(|| self.validate_pair(recipe, fixed, &moving, data.labels.len()));
            for (name, value) in one {
                *mean.entry(name.into()).or_default() += value / n;
            }
        }
        (!mean.is_empty()).then_some(mean)
    }
}

impl Registration {
    fn validate_pair(
        &self,
        recipe: &Settings,
        fixed: &Subject,
        moving: &Subject,
        labels: usize,
    ) -> Vec<(&'static str, f64)> {
        let target = fixed.stack(labels);
        let found = self.net.forward(&self.grid, &target, &moving.stack(labels));
        let mut figures = vec![
            ("loss", total(&terms(recipe, &target, &found)).double_value(&[])),
            ("folding_percent", folding_percent(&found.at)),
        ];
        if labels > 0 {
            let codes = moving.labels.to_kind(Kind::Float);
            let warped = self.grid.sample_nearest(&codes, &found.at).to_kind(Kind::Uint8);
            figures.push(("dice_before", dice(&fixed.labels, &moving.labels, labels)));
            figures.push(("dice_after", dice(&fixed.labels, &warped, labels)));
        }
        figures
    }
}

fn terms(recipe: &Settings, fixed: &Tensor, found: &Registered) -> Vec<Term> {
    let none = || Tensor::zeros([0i64; 0], (Kind::Float, fixed.device()));
    let similarity = |warped: &Tensor| {
        let (a, b) = (fixed.narrow(1, 0, 1), warped.narrow(1, 0, 1));
        match recipe.loss {
            Loss::Pearson => loss::pearson(&a, &b),
            Loss::LocalNcc => loss::local_ncc(&a, &b),
        }
    };
    let (last, earlier) = found.warped.split_last().expect("at least one stage");
    let labels = fixed.size()[1] - 1;
    let intermediate = match recipe.intermediate {
        0.0 => none(),
        _ => earlier.iter().map(similarity).fold(none(), |a, b| a + b),
    };
    let smoothness = found.flows.iter().map(loss::smoothness).fold(none(), |a, b| a + b);
    let dice = match labels {
        0 => none(),
        _ => loss::dice(&fixed.narrow(1, 1, labels), &last.narrow(1, 1, labels)),
    };
    let folding = match recipe.fold {
        0.0 => none(),
        _ => loss::folding(&found.displacement),
    };
    let affine = found.affine.as_ref().map_or_else(none, |p| loss::affine(&affine_matrix(p)));
    [
        ("similarity", 1.0, similarity(last)),
        ("intermediate", recipe.intermediate, intermediate),
        ("smoothness", recipe.smooth, smoothness),
        ("dice_loss", recipe.dice, dice),
        ("folding_loss", recipe.fold, folding),
        ("affine_loss", 1.0, affine),
    ]
    .map(|(name, weight, value)| Term { name, weight, value })
    .into()
}

/// Dice of two label maps, mean over the labels present in either.
fn dice(a: &Tensor, b: &Tensor, labels: usize) -> f64 {
    let count = |t: Tensor| t.sum(Kind::Int64).int64_value(&[]) as f64;
    let (mut sum, mut present) = (0.0, 0.0);
    for label in 1..=labels as i64 {
        let (a, b) = (a.eq(label), b.eq(label));
        let size = count(a.shallow_clone()) + count(b.shallow_clone());
        if size > 0.0 {
            sum += 2.0 * count(a.logical_and(&b)) / size;
            present += 1.0;
        }
    }
    if present > 0.0 { sum / present } else { 0.0 }
}

/// Percentage of inner voxels where the Jacobian determinant of the positions [1, 3, D, H, W]
/// is not positive, by central differences.
fn folding_percent(at: &Tensor) -> f64 {
    let size = at.size();
    let along = |axis: i64| {
        let n = size[axis as usize];
        let mut t = (at.narrow(axis, 2, n - 2) - at.narrow(axis, 0, n - 2)) * 0.5;
        for other in (2..5).filter(|other| *other != axis) {
            t = t.narrow(other, 1, size[other as usize] - 2);
        }
        t
    };
    let rows = Tensor::cat(&[along(4), along(3), along(2)], 0);
    let det = loss::determinant(&rows.permute([2, 3, 4, 0, 1]).reshape([-1, 3, 3]));
    det.le(0.0).to_kind(Kind::Float).mean(Kind::Float).double_value(&[]) * 100.0
}

/// The data that the options name.
pub fn data(recipe: &Settings, folder: Option<&Path>, device: Device) -> Result<Data> {
    match (recipe.phantoms, folder) {
        (None, Some(folder)) => Data::read(folder, recipe, device),
        (Some(pairs), None) => Data::phantoms(pairs, recipe, device),
        (None, None) => bail!("expected --data FOLDER or --phantoms PAIRS, found neither"),
        (Some(_), Some(_)) => bail!("expected --data or --phantoms, found both"),
    }
}

#[cfg(test)]
mod tests;
