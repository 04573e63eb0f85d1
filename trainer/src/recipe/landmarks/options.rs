use anyhow::{Result, ensure};
use intraop_core::preprocess::frames::{Interpolation, Pad, Resize};
use intraop_core::preprocess::{Normalize, Step};
use serde::{Deserialize, Serialize};

use crate::recipe::Figures;
use crate::recipe::{Recipe, SHARE, Schedule, WEIGHT, check_ranges, numbers};
use crate::unet::STRIDE;

/// Everything that decides what the weights become; saved with every checkpoint.
#[derive(Debug, Clone, PartialEq, clap::Args, Serialize, Deserialize)]
pub struct Settings {
    #[command(flatten)]
    #[serde(flatten)]
    pub schedule: Schedule,
    /// Train on this many seeded phantom frames instead of --data
    #[arg(long, value_name = "FRAMES")]
    pub phantoms: Option<usize>,
    /// Width and height of what the network sees; each divisible by 32
    #[arg(long, value_name = "WxH", default_value = "256x192", value_parser = numbers::<2>)]
    pub size: [usize; 2],
    /// Channels at half of that size
    #[arg(long, default_value_t = 16)]
    pub width: i64,
    /// Frames per step
    #[arg(long, default_value_t = 8)]
    pub batch: usize,
    /// Standard deviation of a landmark's peak, in pixels of its heatmap
    #[arg(long, default_value_t = 2.0)]
    pub sigma: f64,
    /// Weight of the heatmaps' squared error
    #[arg(long, default_value_t = 50.0)]
    pub heatmaps: f64,
    /// Weight of the soft Dice loss of the mask, beside its cross entropy
    #[arg(long, default_value_t = 1.0)]
    pub dice: f64,
    /// Weight of the difference of the mask's semi-axes, by its moments, as shares of the true ones
    #[arg(long, default_value_t = 1.0)]
    #[serde(default)]
    pub axes: f64,
    /// Share of the frames of a step that show nothing to be found
    #[arg(long, default_value_t = 0.2)]
    pub empty: f64,
    /// Strength of the augmentation: 0 none, 1 a lot
    #[arg(long, default_value_t = 1.0)]
    pub augment: f64,
    /// Share of the examinations, and of the clips of --negatives, kept aside to validate on
    #[arg(long, default_value_t = 0.1)]
    pub holdout: f64,
}

impl Recipe for Settings {
    const COMMAND: &'static str = "landmarks";

    fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    fn schedule_mut(&mut self) -> &mut Schedule {
        &mut self.schedule
    }

    fn check(&self) -> Result<()> {
        ensure!(
            self.size.iter().all(|n| (STRIDE..=2048).contains(n) && n % STRIDE == 0),
            "--size: expected two numbers from {STRIDE} to 2048 divisible by {STRIDE}, found {:?}",
            self.size
        );
        check_ranges(&[
            ("--width", self.width as f64, 1.0..=256.0),
            ("--batch", self.batch as f64, 1.0..=4096.0),
            ("--sigma", self.sigma, 0.1..=100.0),
            ("--heatmaps", self.heatmaps, WEIGHT),
            ("--dice", self.dice, WEIGHT),
            ("--axes", self.axes, WEIGHT),
            ("--empty", self.empty, SHARE),
            ("--augment", self.augment, SHARE),
            ("--holdout", self.holdout, 0.0..=0.9),
            ("--phantoms", self.phantoms.unwrap_or(1) as f64, 1.0..=1e6),
        ])?;
        self.schedule.check()
    }

    /// The mean difference of circumferences, negated; the loss where only empty frames are aside.
    fn score(validation: &Figures) -> f64 {
        -validation.get("circumference_mm").unwrap_or(&validation["loss"])
    }
}

impl Settings {
    /// What is done to a frame; the package says the same.
    pub fn preprocess(&self) -> Vec<Step> {
        let mut steps = self.layout(1);
        steps.push(Step::Normalize(NORMALIZE));
        steps
    }

    /// The part of it that moves pixels, for a network `factor` times as large.
    pub fn layout(&self, factor: usize) -> Vec<Step> {
        let [width, height] = self.size.map(|n| n * factor);
        vec![
            Step::Grayscale,
            Step::Resize(Resize {
                width,
                height,
                interpolation: Interpolation::Area,
                keep_aspect: true,
            }),
            Step::Pad(Pad { width, height, value: 0.0 }),
        ]
    }
}

/// Black stays black, the brightest echoes are white, at any gain.
pub const NORMALIZE: Normalize = Normalize::Percentile { low: 1.0, high: 99.5 };
