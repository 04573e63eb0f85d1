//! What is trained and how. One recipe per folder; what they share is here and in [`run`].

pub mod landmarks;
pub mod registration;
pub mod run;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::{ArgMatches, parser::ValueSource};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Numbers by name.
pub type Figures = BTreeMap<String, f64>;

/// Everything that decides what the weights become; saved with every checkpoint. Options and
/// fields have the same names.
pub trait Recipe: clap::Args + Serialize + DeserializeOwned + Clone + PartialEq + Debug {
    /// The command that trains by it.
    const COMMAND: &'static str;

    fn schedule(&self) -> &Schedule;

    fn schedule_mut(&mut self) -> &mut Schedule;

    /// # Errors
    /// Names the option whose value no training can use.
    fn check(&self) -> Result<()>;

    /// What the best weights are chosen by: the highest.
    fn score(validation: &Figures) -> f64;

    /// By option, as in the checkpoint.
    fn values(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(values)) => values,
            other => unreachable!("a struct is an object: {other:?}"),
        }
    }

    /// The options that make this recipe.
    fn options(&self) -> Vec<(String, String)> {
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Array(names) if names.iter().all(Value::is_string) => {
                let names = names.iter().filter_map(Value::as_str).map(run_name);
                names.collect::<Vec<_>>().join(" ")
            }
            Value::Array(numbers) => {
                numbers.iter().map(Value::to_string).collect::<Vec<_>>().join("x")
            }
            Value::Bool(_) => String::new(),
            other => other.to_string(),
        };
        self.values()
            .iter()
            .filter(|(_, value)| !matches!(value, Value::Null | Value::Bool(false)))
            .filter(|(_, value)| value.as_array().is_none_or(|list| !list.is_empty()))
            .map(|(name, value)| (option(name), text(value)))
            .collect()
    }

    /// A run goes on with the recipe it began with: whatever of `asked` was `given` on the
    /// command line must be that of `self`.
    ///
    /// # Errors
    /// Names the first option that contradicts.
    fn check_same(&self, asked: &Self, given: &ArgMatches) -> Result<()> {
        let asked = asked.values();
        for (name, own) in self.values() {
            if given.value_source(&name) == Some(ValueSource::CommandLine) {
                ensure!(
                    asked[&name] == own,
                    "{}: the checkpoint was made with {own}, found {}; leave the option out, or \
                     start a new run in another --out",
                    option(&name),
                    asked[&name]
                );
            }
        }
        Ok(())
    }
}

/// A run is called by its folder's name, wherever that is.
pub fn run_name(folder: &str) -> String {
    let name = Path::new(folder).file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// The options of every recipe.
#[derive(Debug, Clone, PartialEq, clap::Args, Serialize, Deserialize)]
pub struct Schedule {
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Steps until the learning rate has fallen to its end
    #[arg(long, default_value_t = 10_000)]
    pub steps: u64,
    /// Peak learning rate
    #[arg(long, default_value_t = 7e-4)]
    pub lr: f64,
    /// Steps until the peak learning rate
    #[arg(long, default_value_t = 200)]
    pub warm_up: u64,
    /// Largest norm of the gradient
    #[arg(long, default_value_t = 1.0)]
    pub clip: f64,
    /// Steps between validations on what is kept aside, which decide the best weights
    #[arg(long, default_value = "500")]
    #[serde(default)]
    pub validate_every: Option<u64>,
    /// Start with the last weights of another run of the same network, or with the mean of several
    #[arg(long, value_name = "RUN", num_args = 1..)]
    #[serde(default)]
    pub from: Vec<PathBuf>,
}

const WEIGHT: RangeInclusive<f64> = 0.0..=1e6;
const POSITIVE: RangeInclusive<f64> = 1e-12..=1e6;
const SHARE: RangeInclusive<f64> = 0.0..=1.0;
const COUNT: RangeInclusive<f64> = 1.0..=1e12;

impl Schedule {
    fn check(&self) -> Result<()> {
        check_ranges(&[
            ("--steps", self.steps as f64, COUNT),
            ("--lr", self.lr, POSITIVE),
            ("--warm-up", self.warm_up as f64, COUNT),
            ("--clip", self.clip, POSITIVE),
            ("--validate-every", self.validate_every.unwrap_or(1) as f64, COUNT),
        ])
    }
}

fn check_ranges(options: &[(&str, f64, RangeInclusive<f64>)]) -> Result<()> {
    for (option, value, range) in options {
        let (low, high) = (range.start(), range.end());
        ensure!(range.contains(value), "{option}: expected {low} to {high}, found {value}");
    }
    Ok(())
}

fn option(name: &str) -> String {
    format!("--{}", name.replace('_', "-"))
}

/// Numbers with × between them.
fn numbers<const N: usize>(text: &str) -> Result<[usize; N], String> {
    let numbers: Result<Vec<usize>, _> = text.split('x').map(str::parse).collect();
    let numbers = numbers.ok().and_then(|numbers| numbers.try_into().ok());
    numbers.ok_or_else(|| format!("expected {N} numbers such as {}", ["64"; N].join("x")))
}
