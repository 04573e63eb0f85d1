//! A training run of any recipe: its steps, what it says, and what it saves.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::ArgMatches;
use indicatif::{ProgressBar, ProgressStyle};
use tch::{Device, Tensor};

use super::{Figures, Recipe, Schedule, run_name};
use crate::checkpoint::{self, Earlier, Record, State};
use crate::nets::Weights;
use crate::optimizer::{Adam, rate};
use crate::random::Random;

/// How a run goes: when it stops, what it says and saves. No step depends on it.
#[derive(Debug, Clone, clap::Args)]
pub struct Run {
    /// Folder for checkpoints and the log
    #[arg(long)]
    pub out: PathBuf,
    /// Go on from the checkpoint in --out, with its recipe
    #[arg(long)]
    pub resume: bool,
    /// Stop with a checkpoint after this many minutes
    #[arg(long)]
    pub max_minutes: Option<f64>,
    /// Stop with a checkpoint after this many steps of this run
    #[arg(long)]
    pub max_steps: Option<u64>,
    /// Minutes between checkpoints
    #[arg(long, default_value_t = 5.0)]
    pub checkpoint_minutes: f64,
    /// Steps between lines of the log
    #[arg(long, default_value_t = 100)]
    pub log_every: u64,
}

impl Run {
    /// # Errors
    /// Names the option whose value makes no sense.
    pub fn check(&self) -> Result<()> {
        ensure!(self.log_every > 0, "--log-every: expected at least 1, found 0");
        for (option, minutes) in [
            ("--max-minutes", self.max_minutes.unwrap_or(0.0)),
            ("--checkpoint-minutes", self.checkpoint_minutes),
        ] {
            ensure!(
                (0.0..=1e6).contains(&minutes),
                "{option}: expected 0 to 1000000, found {minutes}"
            );
        }
        Ok(())
    }
}

/// What a recipe trains, with all that its steps need.
pub trait Student: Sized {
    type Recipe: Recipe;
    type Data: Data;

    fn new(recipe: &Self::Recipe, device: Device) -> Self;

    fn weights(&self) -> &Weights;

    fn weights_mut(&mut self) -> &mut Weights;

    /// The loss on a random batch.
    fn loss(&self, recipe: &Self::Recipe, data: &Self::Data, random: &mut Random) -> Vec<Term>;

    /// Figures on what is kept aside, among them `loss`; `None` where nothing is.
    fn validate(&self, recipe: &Self::Recipe, data: &Self::Data) -> Option<Figures>;
}

/// What a run trains and validates on.
pub trait Data {
    /// File names of the images, sorted; of phantoms none.
    fn images(&self) -> &[String];

    /// Label values, where the recipe has any.
    fn labels(&self) -> &[i32] {
        &[]
    }

    /// How many are trained on, and how many are kept aside.
    fn counts(&self) -> [usize; 2];
}

/// A part of the loss.
pub struct Term {
    pub name: &'static str,
    pub weight: f64,
    pub value: Tensor,
}

/// The sum of the terms with their weights.
pub fn total(terms: &[Term]) -> Tensor {
    let weighted = terms.iter().map(|t| &t.value * t.weight);
    weighted.reduce(|a, b| a + b).expect("a loss has a term")
}

/// A student in training.
pub struct Trainer<S: Student> {
    pub student: S,
    pub adam: Adam,
    pub state: State<S::Recipe>,
}

impl<S: Student> Trainer<S> {
    pub fn new(recipe: S::Recipe, labels: Vec<i32>, device: Device) -> Self {
        let student = S::new(&recipe, device);
        let adam = Adam::new(student.weights());
        Trainer { student, adam, state: State::new(recipe, labels) }
    }

    pub fn resume(folder: &Path, device: Device) -> Result<Self> {
        let state = State::<S::Recipe>::read(folder)?;
        let mut trainer = Self::new(state.recipe.clone(), state.labels.clone(), device);
        state.restore(folder, trainer.student.weights_mut(), &mut trainer.adam)?;
        trainer.state = state;
        Ok(trainer)
    }

    /// Of the last step or, where `best`, of the best validation.
    pub fn load(folder: &Path, best: bool) -> Result<Self> {
        let mut trainer = Self::resume(folder, Device::Cpu)?;
        if best {
            let name = trainer.state.best_file().with_context(|| {
                format!("--best: {}: nothing was validated; leave it out", folder.display())
            })?;
            let path = folder.join(name);
            let tensors = Tensor::read_safetensors(&path)
                .with_context(|| format!("{}: cannot be read", path.display()))?;
            trainer.student.weights_mut().fill(&tensors)?;
        }
        Ok(trainer)
    }

    /// Takes the mean of the last weights of other runs.
    fn start_from(&mut self, folders: &[PathBuf]) -> Result<()> {
        let mut mean: Vec<(String, Tensor)> = vec![];
        for folder in folders {
            let other = Self::load(folder, false)
                .with_context(|| format!("--from {}: cannot be used", folder.display()))?;
            let share = 1.0 / folders.len() as f64;
            let weights = other.student.weights().all();
            let parts: Vec<_> = weights.map(|(n, t)| (n.clone(), t.detach() * share)).collect();
            if mean.is_empty() {
                mean = parts;
            } else {
                let alike = |((n, a), (m, b)): (&(String, Tensor), &(String, Tensor))| {
                    n == m && a.size() == b.size()
                };
                let same = mean.len() == parts.len() && mean.iter().zip(&parts).all(alike);
                ensure!(same, "--from {}: another network than the runs before", folder.display());
                let sums = mean.iter().zip(parts).map(|((n, a), (_, b))| (n.clone(), a + b));
                mean = sums.collect();
            }
            let state = other.state;
            let name = run_name(&folder.to_string_lossy());
            let own = Earlier { name, recipe: state.recipe, effort: state.effort };
            for run in state.earlier.into_iter().chain([own]) {
                if !self.state.earlier.contains(&run) {
                    self.state.earlier.push(run);
                }
            }
        }
        if mean.is_empty() { Ok(()) } else { self.student.weights_mut().fill(&mean) }
    }

    pub fn save(&mut self, folder: &Path) -> Result<()> {
        self.state.write(folder, self.student.weights(), &self.adam)
    }

    /// One step on a random batch of `data`.
    pub fn step(&mut self, data: &S::Data) -> Result<Record> {
        let step = self.state.step + 1;
        let recipe = &self.state.recipe;
        let &Schedule { seed, steps, lr, warm_up, clip, .. } = recipe.schedule();
        let terms = self.student.loss(recipe, data, &mut Random::new(seed, step));
        let loss = total(&terms);
        let weights = self.student.weights_mut();
        weights.zero_gradients();
        loss.backward();
        let rate = rate(lr, step, steps, warm_up);
        let gradient = self.adam.step(weights, step, rate, clip);
        let value = |t: &Tensor| t.double_value(&[]);
        let loss = value(&loss);
        ensure!(
            loss.is_finite() && gradient.is_finite(),
            "step {step}: the loss is not finite; start again with another --out and a lower --lr"
        );
        self.state.step = step;
        let terms = terms.iter().map(|t| (t.name.into(), value(&t.value))).collect();
        Ok(Record { step, loss, gradient, rate, terms, validation: None })
    }

    /// # Errors
    /// A loss that is not finite: no score can be compared with it.
    pub fn validate(&self, data: &S::Data) -> Result<Option<Figures>> {
        let figures = self.student.validate(&self.state.recipe, data);
        ensure!(
            figures.as_ref().is_none_or(|f| f["loss"].is_finite()),
            "step {}: the loss of the validation is not finite; start again with another --out \
             and a lower --lr",
            self.state.step
        );
        Ok(figures)
    }

    /// Whether these are the best weights so far, which then are on disk.
    fn keep_best(&mut self, record: &Record, out: &Path) -> Result<bool> {
        let Some(validation) = &record.validation else { return Ok(false) };
        let score = S::Recipe::score(validation);
        let best = self.state.best.is_none_or(|best| score > best);
        if best {
            self.state.write_best(out, self.student.weights(), score)?;
        }
        Ok(best)
    }
}

/// Trains until the recipe's last step or the run's last minute.
pub fn train<S: Student>(trainer: &mut Trainer<S>, data: &S::Data, run: &Run) -> Result<()> {
    let &Schedule { steps, validate_every, .. } = trainer.state.recipe.schedule();
    let began = Instant::now();
    let minutes = |m: f64| Duration::from_secs_f64(m * 60.0);
    let first = trainer.state.step;
    let earlier = trainer.state.effort.minutes;
    let save = |trainer: &mut Trainer<S>| {
        trainer.state.effort.minutes = earlier + began.elapsed().as_secs_f64() / 60.0;
        trainer.save(&run.out)
    };
    let mut saved = Instant::now();
    let mut since_log: Vec<Record> = vec![];
    let bar = ProgressBar::new(steps).with_position(trainer.state.step);
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} {eta} {msg}")?);
    while trainer.state.step < steps {
        if run.max_minutes.is_some_and(|m| began.elapsed() >= minutes(m))
            || run.max_steps.is_some_and(|n| trainer.state.step - first >= n)
        {
            log::info!(
                "stopped after {} of {steps} steps; go on with --resume",
                trainer.state.step
            );
            break;
        }
        since_log.push(trainer.step(data)?);
        let step = trainer.state.step;
        bar.inc(1);
        let mut due = false;
        let validate = validate_every.is_some_and(|n| step.is_multiple_of(n)) || step == steps;
        if step.is_multiple_of(run.log_every) || validate {
            let mut record = mean(&since_log);
            since_log.clear();
            if validate {
                record.validation = trainer.validate(data)?;
            }
            let best = trainer.keep_best(&record, &run.out)?;
            bar.set_message(format!("loss {:.4}", record.loss));
            bar.suspend(|| report(&record, began.elapsed()));
            trainer.state.history.push(record);
            // The history must know the best weights that are on disk.
            due |= best;
        }
        if due || saved.elapsed() >= minutes(run.checkpoint_minutes) {
            save(trainer)?;
            saved = Instant::now();
        }
    }
    bar.finish_and_clear();
    save(trainer)
}

fn mean(records: &[Record]) -> Record {
    let n = records.len() as f64;
    let over = |f: &dyn Fn(&Record) -> f64| records.iter().map(f).sum::<f64>() / n;
    let last = records.last().expect("at least one step");
    let names = last.terms.keys();
    Record {
        step: last.step,
        loss: over(&|r| r.loss),
        gradient: over(&|r| r.gradient),
        rate: last.rate,
        terms: names.map(|name| (name.clone(), over(&|r| r.terms[name]))).collect(),
        validation: None,
    }
}

fn report(r: &Record, elapsed: Duration) {
    let text = |figures: &Figures| {
        let each: Vec<String> = figures.iter().map(|(name, v)| format!("{name} {v:.4}")).collect();
        each.join(", ")
    };
    log::info!(
        "step {} ({:.0} s): loss {:.4} of {}; gradient {:.3}, rate {:.1e}",
        r.step,
        elapsed.as_secs_f64(),
        r.loss,
        text(&r.terms),
        r.gradient,
        r.rate
    );
    if let Some(validation) = &r.validation {
        log::info!("step {}: kept aside: {}", r.step, text(validation));
    }
}

/// Starts a new run or goes on with one. `given` tells which options of the recipe were, `read`
/// gives the data of a recipe.
pub fn start<S: Student>(
    asked: &S::Recipe,
    given: &ArgMatches,
    run: &Run,
    read: impl Fn(&S::Recipe) -> Result<S::Data>,
    device: Device,
) -> Result<()> {
    asked.check()?;
    run.check()?;
    std::fs::create_dir_all(&run.out)
        .with_context(|| format!("{}: cannot be made", run.out.display()))?;
    let found = checkpoint::exists(&run.out);
    if found && !run.resume {
        bail!("{}: there is a checkpoint; give --resume or another --out", run.out.display());
    }
    // The first start of a script that always says --resume is a new run.
    let (mut trainer, data) = if found {
        let mut trainer = Trainer::<S>::resume(&run.out, device)?;
        let recipe = &mut trainer.state.recipe;
        // Older checkpoints do not know it.
        let every = &mut recipe.schedule_mut().validate_every;
        *every = every.or(asked.schedule().validate_every);
        recipe.check_same(asked, given)?;
        let data = read(recipe)?;
        check_images(&trainer.state.images, data.images())?;
        ensure!(
            data.labels() == trainer.state.labels,
            "the data's labels {:?} are not those of the checkpoint, {:?}",
            data.labels(),
            trainer.state.labels
        );
        log::info!("going on from step {}", trainer.state.step);
        (trainer, data)
    } else {
        let data = read(asked)?;
        let mut trainer = Trainer::new(asked.clone(), data.labels().to_vec(), device);
        trainer.start_from(&asked.schedule().from)?;
        (trainer, data)
    };
    let [train_on, held] = data.counts();
    log::info!(
        "{} weights; {train_on} to train on, {held} kept aside, {device:?}",
        trainer.student.weights().count(),
    );
    let effort = &mut trainer.state.effort;
    (effort.train, effort.held) = (train_on, held);
    (effort.hardware, effort.threads) = (hardware(device), tch::get_num_threads() as usize);
    trainer.state.images = data.images().to_vec();
    train(&mut trainer, &data, run)
}

/// A run goes on with the images it began with, where the checkpoint knows them.
fn check_images(began: &[String], found: &[String]) -> Result<()> {
    if began.is_empty() {
        return Ok(());
    }
    let differ = (0..began.len().max(found.len())).find(|i| began.get(*i) != found.get(*i));
    if let Some(i) = differ {
        let name = |names: &[String]| names.get(i).map_or("no more".into(), |n| format!("{n:?}"));
        bail!(
            "--data: not the images that the run began with: expected {} as number {}, found {}; \
             give the same folder, or another --out",
            name(began),
            i + 1,
            name(found)
        );
    }
    Ok(())
}

/// The processor's name, and the GPU where one is used.
fn hardware(device: Device) -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": "));
    let cpu = name.map_or(std::env::consts::ARCH, |(_, name)| name);
    match device {
        Device::Cpu => cpu.to_owned(),
        gpu => format!("{gpu:?}, {cpu}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_images_are_refused_by_name() {
        let names = |text: &str| text.split_whitespace().map(String::from).collect::<Vec<_>>();
        let check = |began: &str, found: &str| check_images(&names(began), &names(found));
        check("", "a b").unwrap();
        check("a b", "a b").unwrap();
        for (found, named) in [("a c", "\"c\""), ("a", "no more"), ("a b c", "\"c\"")] {
            let error = check("a b", found).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
