use anyhow::{Result, ensure};
use clap::ValueEnum;
use intraop_core::preprocess::{Fit, GridSpec, Initial, Normalize, Orientation, Step};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::recipe::Figures;
use crate::recipe::{POSITIVE, Recipe, SHARE, Schedule, WEIGHT, check_ranges, numbers};

/// Everything that decides what the weights become; saved with every checkpoint.
#[derive(Debug, Clone, PartialEq, clap::Args, Serialize, Deserialize)]
pub struct Settings {
    #[command(flatten)]
    #[serde(flatten)]
    pub schedule: Schedule,
    /// Train on this many seeded phantom pairs instead of --data
    #[arg(long, value_name = "PAIRS")]
    #[serde(default)]
    pub phantoms: Option<usize>,
    /// Voxels of the package's grid, x, y, z; each divisible by 16
    #[arg(long, value_name = "XxYxZ", default_value = "48x64x48", value_parser = numbers::<3>)]
    #[serde(alias = "size")]
    pub grid: [usize; 3],
    /// Millimeters per voxel of the grid
    #[arg(long, default_value_t = 1.0)]
    pub spacing: f64,
    /// Where the grid's x, y and z grow to: one letter each of L/R, P/A, I/S
    #[arg(long, default_value = "RAS", value_parser = by_name::<Orientation>)]
    #[serde(default = "ras")]
    pub orientation: Orientation,
    /// Alignment before the network: header, centers or mass
    #[arg(long, default_value = "centers", value_parser = by_name::<Initial>)]
    #[serde(default = "centers")]
    pub initial: Initial,
    /// Flow stages
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=3))]
    pub cascades: u8,
    /// Leave out the affine stage
    #[arg(long)]
    pub no_affine: bool,
    /// Channels of a flow stage's first layer; the paper's student has 16
    #[arg(long, default_value_t = 16)]
    pub width: i64,
    /// Pairs per step
    #[arg(long, default_value_t = 2)]
    pub batch: usize,
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
    /// Subjects (with --phantoms: further pairs) kept aside to validate on
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

impl Recipe for Settings {
    const COMMAND: &'static str = "registration";

    fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    fn schedule_mut(&mut self) -> &mut Schedule {
        &mut self.schedule
    }

    fn check(&self) -> Result<()> {
        ensure!(
            self.grid.iter().all(|n| (16..=512).contains(n) && n % 16 == 0),
            "--grid: expected three numbers from 16 to 512 divisible by 16, found {:?}",
            self.grid
        );
        check_ranges(&[
            ("--spacing", self.spacing, POSITIVE),
            ("--width", self.width as f64, 1.0..=1024.0),
            ("--batch", self.batch as f64, 1.0..=4096.0),
            ("--intermediate", self.intermediate, WEIGHT),
            ("--smooth", self.smooth, WEIGHT),
            ("--dice", self.dice, WEIGHT),
            ("--fold", self.fold, WEIGHT),
            ("--augment", self.augment, SHARE),
            ("--phantoms", self.phantoms.unwrap_or(1) as f64, 1.0..=1e6),
        ])?;
        ensure!(
            self.phantoms.is_some() || self.holdout != 1,
            "--holdout: expected 0, or at least 2 to make a pair, found 1"
        );
        self.schedule.check()
    }

    /// Dice where there are labels, else the loss negated.
    fn score(validation: &Figures) -> f64 {
        validation.get("dice_after").copied().unwrap_or_else(|| -validation["loss"])
    }
}

impl Settings {
    /// How volumes are laid on the grid; the package says the same.
    pub fn grid_spec(&self) -> GridSpec {
        GridSpec {
            spacing_mm: [self.spacing; 3],
            fit: Fit::Resample,
            orientation: self.orientation,
            initial: self.initial,
        }
    }

    /// What is done to intensities; the package says the same.
    pub fn preprocess(&self) -> Vec<Step> {
        vec![Step::Normalize(Normalize::Percentile { low: 1.0, high: 99.0 })]
    }
}

/// A value as the package's manifest spells it.
fn by_name<T: DeserializeOwned>(name: &str) -> Result<T, String> {
    serde_json::from_value(Value::from(name)).map_err(|e| e.to_string())
}

fn ras() -> Orientation {
    by_name("RAS").expect("an orientation")
}

fn centers() -> Initial {
    Initial::Centers
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{ArgMatches, Command, FromArgMatches, Parser};

    #[derive(Parser)]
    struct Options {
        #[command(flatten)]
        recipe: Settings,
    }

    fn parse(options: &str) -> (Settings, ArgMatches) {
        let command = <Options as clap::CommandFactory>::command();
        let words = ["x"].into_iter().chain(options.split_whitespace());
        let matches = Command::get_matches_from(command, words);
        (Options::from_arg_matches(&matches).unwrap().recipe, matches)
    }

    #[test]
    fn the_options_of_a_recipe_make_that_recipe() {
        let text = "--phantoms 9 --grid 16x32x48 --orientation LPS --initial mass --no-affine \
                    --loss local-ncc --lr 1e-5 --seed 18446744073709551615";
        let (recipe, _) = parse(text);
        recipe.check().unwrap();
        let options: Vec<String> =
            recipe.options().iter().map(|(option, value)| format!("{option} {value}")).collect();
        assert_eq!(parse(&options.join(" ")).0, recipe);
    }

    #[test]
    fn a_resumed_recipe_is_not_contradicted() {
        let (recipe, _) = parse("--lr 1e-3 --width 8");
        let check = |text: &str| {
            let (asked, given) = parse(text);
            recipe.check_same(&asked, &given).map_err(|e| e.to_string())
        };
        check("").unwrap();
        check("--width 8").unwrap();
        assert!(check("--lr 1e-3 --width 16").unwrap_err().starts_with("--width: "));
        // A default, but said.
        assert!(check("--lr 7e-4").unwrap_err().starts_with("--lr: "));
    }

    #[test]
    fn unusable_values_are_refused_by_name() {
        for (option, value) in [
            ("--grid", "48x64x40"),
            ("--spacing", "0"),
            ("--width", "0"),
            ("--steps", "0"),
            ("--batch", "0"),
            ("--lr", "nan"),
            ("--warm-up", "0"),
            ("--clip", "0"),
            ("--smooth", "inf"),
            ("--augment", "1.5"),
            ("--holdout", "1"),
            ("--phantoms", "0"),
            ("--validate-every", "0"),
        ] {
            let (recipe, _) = parse(&format!("{option} {value}"));
            let error = recipe.check().unwrap_err().to_string();
            assert!(error.starts_with(option), "{option}: {error}");
        }
        parse("").0.check().unwrap();
    }

    #[test]
    fn recipes_from_before_the_alignment_was_an_option_still_load() {
        let old = r#"{"size": [48, 64, 48], "spacing": 1.0, "cascades": 2, "no_affine": false,
            "width": 16, "seed": 1, "steps": 9000, "batch": 2, "lr": 7e-4, "warm_up": 200,
            "clip": 1.0, "loss": "pearson", "intermediate": 0.0, "smooth": 0.5, "dice": 1.0,
            "fold": 20.0, "augment": 0.7, "holdout": 8}"#;
        let recipe: Settings = serde_json::from_str(old).unwrap();
        let same = "--cascades 2 --seed 1 --steps 9000 --dice 1 --fold 20 --augment 0.7";
        let mut expected = parse(same).0;
        expected.schedule.validate_every = None;
        assert_eq!(recipe, expected);
    }
}
