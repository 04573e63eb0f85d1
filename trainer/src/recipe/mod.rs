//! What is trained and how. One recipe per file.

pub mod registration;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use intraop::preprocess::{Fit, GridSpec, Initial, Normalise, Orientation, Step};
use serde::{Deserialize, Serialize};

/// Everything that decides what the weights become; saved with every checkpoint.
#[derive(Debug, Clone, PartialEq, clap::Args, Serialize, Deserialize)]
pub struct Recipe {
    /// Voxels of the package's grid along x, y, z; each divisible by 16
    #[arg(long, value_delimiter = ',', default_values_t = [48, 64, 48])]
    pub size: Vec<usize>,
    /// Millimetres per voxel of the grid
    #[arg(long, default_value_t = 1.0)]
    pub spacing: f64,
    /// Flow stages
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=3))]
    pub cascades: u8,
    /// Leave out the affine stage
    #[arg(long)]
    pub no_affine: bool,
    /// Channels of a flow stage's first layer; the paper's student has 16
    #[arg(long, default_value_t = 16)]
    pub width: i64,
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Steps until the learning rate has fallen to its end
    #[arg(long, default_value_t = 10_000)]
    pub steps: u64,
    /// Pairs per step
    #[arg(long, default_value_t = 2)]
    pub batch: usize,
    /// Peak learning rate
    #[arg(long, default_value_t = 7e-4)]
    pub lr: f64,
    /// Steps until the peak learning rate
    #[arg(long, default_value_t = 200)]
    pub warm_up: u64,
    /// Largest norm of the gradient
    #[arg(long, default_value_t = 1.0)]
    pub clip: f64,
    #[arg(long, value_enum, default_value_t = Loss::Pearson)]
    pub loss: Loss,
    /// Weight of the similarity after each stage but the last
    #[arg(long, default_value_t = 0.0)]
    pub intermediate: f64,
    /// Weight of the mean squared gradient of each stage's flow
    #[arg(long, default_value_t = 0.5)]
    pub smooth: f64,
    /// Weight of the soft Dice loss on training labels
    #[arg(long, default_value_t = 0.5)]
    pub dice: f64,
    /// Weight of the folding penalty
    #[arg(long, default_value_t = 0.0)]
    pub fold: f64,
    /// Strength of the augmentation: 0 none, 1 a lot
    #[arg(long, default_value_t = 0.0)]
    pub augment: f64,
    /// Training subjects kept aside to validate on
    #[arg(long, default_value_t = 8)]
    pub holdout: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// 1 − Pearson correlation over the volume
    Pearson,
    /// 1 − squared correlation in windows of 9 voxels
    LocalNcc,
}

impl Recipe {
    pub fn check(&self) -> Result<()> {
        ensure!(
            self.size.len() == 3 && self.size.iter().all(|n| *n >= 16 && n % 16 == 0),
            "--size: expected three numbers divisible by 16, found {:?}",
            self.size
        );
        let positive = [("--width", self.width as f64), ("--batch", self.batch as f64)];
        for (option, value) in
            positive.into_iter().chain([("--lr", self.lr), ("--spacing", self.spacing)])
        {
            ensure!(value > 0.0, "{option}: expected more than 0, found {value}");
        }
        Ok(())
    }

    /// x, y, z.
    pub fn grid_size(&self) -> [usize; 3] {
        [self.size[0], self.size[1], self.size[2]]
    }

    /// How volumes are laid on the grid; the package says the same.
    pub fn grid(&self) -> GridSpec {
        GridSpec {
            spacing_mm: [self.spacing; 3],
            fit: Fit::Resample,
            orientation: Orientation::try_from("RAS".to_string()).expect("an orientation"),
            initial: Initial::Centres,
        }
    }

    /// What is done to intensities; the package says the same.
    pub fn preprocess(&self) -> Vec<Step> {
        vec![Step::Normalise(Normalise::Percentile { low: 1.0, high: 99.0 })]
    }
}
