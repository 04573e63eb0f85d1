//! A training run on disk: `checkpoint.json` names the tensor file that belongs to it. The JSON
//! is renamed into place last, so that a run stopped at any moment resumes from a whole state.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::nets::Weights;
use crate::optimizer::Adam;
use crate::recipe::{Figures, Recipe};

const STATE: &str = "checkpoint.json";
/// The best weights of runs from before their file was named after the step.
const BEST: &str = "best.safetensors";

/// Everything but the tensors.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State<R> {
    /// [`Recipe::COMMAND`]; older checkpoints are all of one recipe and do not say it.
    #[serde(default = "first_command")]
    command: String,
    pub step: u64,
    pub recipe: R,
    /// Label values in the order of the one-hot channels; none where a recipe has no labels.
    #[serde(default)]
    pub labels: Vec<i32>,
    pub history: Vec<Record>,
    /// The highest [`Recipe::score`] so far.
    pub best: Option<f64>,
    #[serde(default)]
    pub effort: Effort,
    /// The runs whose weights it started with, the first of all first.
    #[serde(default = "Vec::new")]
    pub earlier: Vec<Earlier<R>>,
    /// File names of the images, sorted; empty of phantoms, and where not recorded.
    #[serde(default)]
    pub images: Vec<String>,
    tensors: String,
    #[serde(default)]
    best_tensors: Option<String>,
    /// Files that no state names once this one is on disk.
    #[serde(skip)]
    outdated: Vec<String>,
}

/// What the training took, for the model card.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq)]
pub struct Effort {
    /// All runs together.
    pub minutes: f64,
    /// Of the last run.
    pub hardware: String,
    pub threads: usize,
    /// Subjects trained on and subjects kept aside.
    pub train: usize,
    pub held: usize,
}

/// A run whose weights another one started with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Earlier<R> {
    /// Of its folder.
    pub name: String,
    pub recipe: R,
    pub effort: Effort,
}

/// One line of the training log.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub step: u64,
    /// Means over the steps since the last record.
    pub loss: f64,
    pub gradient: f64,
    pub rate: f64,
    /// On what is kept aside, where this step validated.
    pub validation: Option<Figures>,
    /// The terms of the loss, without their weights; means as well.
    #[serde(flatten)]
    pub terms: Figures,
}

impl<R: Recipe> State<R> {
    pub fn new(recipe: R, labels: Vec<i32>) -> Self {
        State {
            command: R::COMMAND.into(),
            step: 0,
            recipe,
            labels,
            history: vec![],
            best: None,
            effort: Effort::default(),
            earlier: vec![],
            images: vec![],
            tensors: String::new(),
            best_tensors: None,
            outdated: vec![],
        }
    }

    pub fn read(folder: &Path) -> Result<Self> {
        let found = command(folder)?;
        ensure!(
            found == R::COMMAND,
            "{}: expected a checkpoint of {}, found one of {found}",
            folder.display(),
            R::COMMAND
        );
        parse(folder)
    }

    /// The last validation, or the best one, and its step.
    pub fn validated(&self, best: bool) -> Option<(u64, &Figures)> {
        let newest_first = self.history.iter().rev();
        let mut validated = newest_first.filter_map(|r| Some((r.step, r.validation.as_ref()?)));
        match best {
            // Of equals the earliest, as training keeps it.
            true => validated.max_by(|(_, a), (_, b)| R::score(a).total_cmp(&R::score(b))),
            false => validated.next(),
        }
    }

    /// The file of the best weights, where anything was validated.
    pub fn best_file(&self) -> Option<&str> {
        self.best.map(|_| self.best_tensors.as_deref().unwrap_or(BEST))
    }

    /// Writes weights of a score as the best; [`write`](Self::write) must follow.
    pub fn write_best(&mut self, folder: &Path, weights: &Weights, score: f64) -> Result<()> {
        let name = format!("best-{}.safetensors", self.step);
        write_tensors(&folder.join(&name), weights.all())?;
        self.outdated.extend(self.best_file().map(String::from));
        (self.best, self.best_tensors) = (Some(score), Some(name));
        Ok(())
    }

    pub fn write(&mut self, folder: &Path, weights: &Weights, adam: &Adam) -> Result<()> {
        let before =
            std::mem::replace(&mut self.tensors, format!("step-{}.safetensors", self.step));
        let mut moments: Vec<(String, Tensor)> = vec![];
        for ((name, _), (mean, squares)) in weights.learned.iter().zip(&adam.moments) {
            moments.push((format!("mean.{name}"), mean.shallow_clone()));
            moments.push((format!("squares.{name}"), squares.shallow_clone()));
        }
        write_tensors(&folder.join(&self.tensors), weights.all().chain(&moments))?;
        let partial = folder.join("checkpoint.partial");
        std::fs::write(&partial, serde_json::to_string_pretty(self)?)?;
        std::fs::rename(&partial, folder.join(STATE))?;
        if !before.is_empty() && before != self.tensors {
            self.outdated.push(before);
        }
        for name in self.outdated.drain(..) {
            std::fs::remove_file(folder.join(name)).ok();
        }
        Ok(())
    }

    /// Fills in the weights of this state, and the optimizer's.
    pub fn restore(&self, folder: &Path, weights: &mut Weights, adam: &mut Adam) -> Result<()> {
        let path = folder.join(&self.tensors);
        let tensors = Tensor::read_safetensors(&path)
            .with_context(|| format!("{}: cannot be read", path.display()))?;
        weights.fill(&tensors)?;
        for ((name, _), (mean, squares)) in weights.learned.iter().zip(&mut adam.moments) {
            for (kind, own) in [("mean", mean), ("squares", squares)] {
                let found = tensors.iter().find(|(n, _)| *n == format!("{kind}.{name}"));
                ensure!(found.is_some(), "{}: {kind}.{name} is missing", path.display());
                own.copy_(&found.expect("just checked").1);
            }
        }
        Ok(())
    }
}

fn parse<T: DeserializeOwned>(folder: &Path) -> Result<T> {
    let path = folder.join(STATE);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("{}: no checkpoint to continue from", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{}: not a checkpoint", path.display()))
}

/// The command whose checkpoint is in a folder.
pub fn command(folder: &Path) -> Result<String> {
    #[derive(Deserialize)]
    struct Command {
        #[serde(default = "first_command")]
        command: String,
    }
    Ok(parse::<Command>(folder)?.command)
}

/// Of checkpoints from before there was another.
fn first_command() -> String {
    "registration".into()
}

/// Whether a folder holds a checkpoint.
pub fn exists(folder: &Path) -> bool {
    folder.join(STATE).exists()
}

/// Writes beside the target and renames, so that no half-written file ever has the name.
fn write_tensors<'a>(path: &Path, named: impl Iterator<Item = &'a (String, Tensor)>) -> Result<()> {
    let on_cpu: Vec<(&str, Tensor)> = named
        .map(|(name, t)| (name.as_str(), t.detach().to_device(tch::Device::Cpu).contiguous()))
        .collect();
    let partial = path.with_extension("partial");
    Tensor::write_safetensors(&on_cpu, &partial)
        .with_context(|| format!("{}: cannot be written", partial.display()))?;
    std::fs::rename(&partial, path)?;
    Ok(())
}
