//! Trains a registration student on random pairs of one set of volumes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::ArgMatches;
use indicatif::{ProgressBar, ProgressStyle};
use tch::{Device, Kind, Tensor, no_grad};

use super::{Loss, Recipe};
use crate::augment::Augment;
use crate::checkpoint::{Record, State, Validation};
use crate::data::{Data, Subject};
use crate::loss;
use crate::nets::{Registration, Student, affine_matrix};
use crate::optimiser::{Adam, rate};
use crate::random::Random;
use crate::warp::Grid;

/// Pairs of one validation.
const VALIDATION_PAIRS: usize = 24;

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

/// A student in training.
pub struct Trainer {
    pub grid: Grid,
    pub student: Student,
    pub adam: Adam,
    pub state: State,
    augment: Augment,
}

impl Trainer {
    pub fn new(recipe: Recipe, labels: Vec<i32>, device: Device) -> Self {
        let grid = Grid::new(recipe.grid.map(|n| n as i64), device);
        let cascades = usize::from(recipe.cascades);
        let student = Student::new(&grid, !recipe.no_affine, cascades, recipe.width, recipe.seed);
        let adam = Adam::new(&student.weights);
        let augment = Augment::new(&grid, recipe.augment);
        Trainer { grid, student, adam, augment, state: State::new(recipe, labels) }
    }

    pub fn resume(folder: &Path, device: Device) -> Result<Self> {
        let state = State::read(folder)?;
        let mut trainer = Trainer::new(state.recipe.clone(), state.labels.clone(), device);
        state.restore(folder, &mut trainer.student.weights, &mut trainer.adam)?;
        trainer.state = state;
        Ok(trainer)
    }

    pub fn save(&mut self, folder: &Path) -> Result<()> {
        self.state.write(folder, &self.student.weights, &self.adam)
    }

    /// One step on random pairs of `data`.
    pub fn step(&mut self, data: &Data) -> Result<Record> {
        let step = self.state.step + 1;
        let recipe = &self.state.recipe;
        let mut random = Random::new(recipe.seed, step);
        let pairs = data.draw(recipe.batch, &mut random);
        let [fixed, moving] = no_grad(|| {
            let both = Tensor::cat(&pairs, 0);
            let both = self.augment.apply(&self.grid, &both, &mut random);
            let n = recipe.batch as i64;
            [both.narrow(0, 0, n), both.narrow(0, n, n)]
        });
        let found = self.student.forward(&self.grid, &fixed, &moving);
        let terms = terms(recipe, &fixed, &found);
        self.student.weights.zero_gradients();
        terms.total(recipe).backward();
        let rate = rate(recipe.lr, step, recipe.steps, recipe.warm_up);
        let gradient = self.adam.step(&mut self.student.weights, step, rate, recipe.clip);
        let record = terms.record(recipe, step, gradient, rate);
        ensure!(
            record.loss.is_finite() && gradient.is_finite(),
            "step {step}: the loss is not finite; start again with another --out and a lower --lr"
        );
        self.state.step = step;
        Ok(record)
    }

    /// The mean over fixed pairs of subjects kept aside; `None` where there are none.
    ///
    /// # Errors
    /// A loss that is not finite: no score can be compared with it.
    pub fn validate(&self, data: &Data) -> Result<Option<Validation>> {
        let pairs = data.held_pairs(VALIDATION_PAIRS);
        let n = pairs.len() as f64;
        let mut sum = Validation::default();
        for (fixed, moving) in pairs {
            let one = no_grad(|| self.validate_pair(fixed, &moving, data.labels.len()));
            sum.loss += one.loss;
            sum.dice_before += one.dice_before;
            sum.dice_after += one.dice_after;
            sum.folding_percent += one.folding_percent;
        }
        ensure!(
            sum.loss.is_finite(),
            "step {}: the loss of the validation is not finite; start again with another --out \
             and a lower --lr",
            self.state.step
        );
        Ok((n > 0.0).then(|| Validation {
            loss: sum.loss / n,
            dice_before: sum.dice_before / n,
            dice_after: sum.dice_after / n,
            folding_percent: sum.folding_percent / n,
        }))
    }

    fn validate_pair(&self, fixed: &Subject, moving: &Subject, labels: usize) -> Validation {
        let recipe = &self.state.recipe;
        let target = fixed.stack(labels);
        let found = self.student.forward(&self.grid, &target, &moving.stack(labels));
        let terms = terms(recipe, &target, &found);
        let codes = moving.labels.to_kind(Kind::Float);
        let warped = self.grid.sample_nearest(&codes, &found.at).to_kind(Kind::Uint8);
        Validation {
            loss: terms.total(recipe).double_value(&[]),
            dice_before: dice(&fixed.labels, &moving.labels, labels),
            dice_after: dice(&fixed.labels, &warped, labels),
            folding_percent: folding_percent(&found.at),
        }
    }
}

/// The parts of the loss.
struct Terms {
    similarity: Tensor,
    intermediate: Tensor,
    smoothness: Tensor,
    dice: Tensor,
    folding: Tensor,
    affine: Tensor,
}

fn terms(recipe: &Recipe, fixed: &Tensor, found: &Registration) -> Terms {
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
    Terms {
        similarity: similarity(last),
        intermediate: match recipe.intermediate {
            0.0 => none(),
            _ => earlier.iter().map(similarity).fold(none(), |a, b| a + b),
        },
        smoothness: found.flows.iter().map(loss::smoothness).fold(none(), |a, b| a + b),
        dice: match labels {
            0 => none(),
            _ => loss::dice(&fixed.narrow(1, 1, labels), &last.narrow(1, 1, labels)),
        },
        folding: match recipe.fold {
            0.0 => none(),
            _ => loss::folding(&found.displacement),
        },
        affine: found.affine.as_ref().map_or_else(none, |p| loss::affine(&affine_matrix(p))),
    }
}

impl Terms {
    fn total(&self, recipe: &Recipe) -> Tensor {
        &self.similarity
            + &self.intermediate * recipe.intermediate
            + &self.smoothness * recipe.smooth
            + &self.dice * recipe.dice
            + &self.folding * recipe.fold
            + &self.affine
    }

    fn record(&self, recipe: &Recipe, step: u64, gradient: f64, rate: f64) -> Record {
        let value = |t: &Tensor| t.double_value(&[]);
        Record {
            step,
            loss: value(&self.total(recipe)),
            similarity: value(&self.similarity),
            smoothness: value(&self.smoothness),
            dice_loss: value(&self.dice),
            folding_loss: value(&self.folding),
            affine_loss: value(&self.affine),
            gradient,
            rate,
            validation: None,
        }
    }
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

/// Trains until the recipe's last step or the run's last minute.
pub fn train(trainer: &mut Trainer, data: &Data, run: &Run) -> Result<()> {
    let Recipe { steps, validate_every, .. } = trainer.state.recipe;
    let began = Instant::now();
    let minutes = |m: f64| Duration::from_secs_f64(m * 60.0);
    let first = trainer.state.step;
    let earlier = trainer.state.effort.minutes;
    let save = |trainer: &mut Trainer| {
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
            let best = keep_best(trainer, &record, &run.out)?;
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
    let over = |f: fn(&Record) -> f64| records.iter().map(f).sum::<f64>() / n;
    let last = records.last().expect("at least one step");
    Record {
        step: last.step,
        loss: over(|r| r.loss),
        similarity: over(|r| r.similarity),
        smoothness: over(|r| r.smoothness),
        dice_loss: over(|r| r.dice_loss),
        folding_loss: over(|r| r.folding_loss),
        affine_loss: over(|r| r.affine_loss),
        gradient: over(|r| r.gradient),
        rate: last.rate,
        validation: None,
    }
}

/// Whether these are the best weights so far, which then are on disk.
fn keep_best(trainer: &mut Trainer, record: &Record, out: &Path) -> Result<bool> {
    let Some(validation) = &record.validation else { return Ok(false) };
    let score = trainer.state.score(validation);
    let best = trainer.state.best.is_none_or(|best| score > best);
    if best {
        trainer.state.write_best(out, &trainer.student.weights, score)?;
    }
    Ok(best)
}

fn report(r: &Record, elapsed: Duration) {
    log::info!(
        "step {} ({:.0} s): loss {:.4} = similarity {:.4}, smoothness {:.4}, dice {:.4}, folding {:.5}, affine {:.4}; gradient {:.3}, rate {:.1e}",
        r.step,
        elapsed.as_secs_f64(),
        r.loss,
        r.similarity,
        r.smoothness,
        r.dice_loss,
        r.folding_loss,
        r.affine_loss,
        r.gradient,
        r.rate
    );
    if let Some(v) = &r.validation {
        log::info!(
            "step {}: kept aside: loss {:.4}, Dice {:.4} -> {:.4}, folding {:.3} %",
            r.step,
            v.loss,
            v.dice_before,
            v.dice_after,
            v.folding_percent
        );
    }
}

/// Starts a new run or goes on with one. `given` tells which options of the recipe were.
pub fn start(
    asked: &Recipe,
    given: &ArgMatches,
    run: &Run,
    folder: Option<&Path>,
    device: Device,
) -> Result<()> {
    asked.check()?;
    run.check()?;
    std::fs::create_dir_all(&run.out)
        .with_context(|| format!("{}: cannot be made", run.out.display()))?;
    let found = State::exists(&run.out);
    if found && !run.resume {
        bail!("{}: there is a checkpoint; give --resume or another --out", run.out.display());
    }
    // The first start of a script that always says --resume is a new run.
    let (mut trainer, data) = if found {
        let mut trainer = Trainer::resume(&run.out, device)?;
        let recipe = &mut trainer.state.recipe;
        // Older checkpoints do not know it.
        recipe.validate_every = recipe.validate_every.or(asked.validate_every);
        recipe.check_same(asked, given)?;
        let data = data(recipe, folder, device)?;
        check_images(&trainer.state.images, &data.images)?;
        ensure!(
            data.labels == trainer.state.labels,
            "the data's labels {:?} are not those of the checkpoint, {:?}",
            data.labels,
            trainer.state.labels
        );
        log::info!("going on from step {}", trainer.state.step);
        (trainer, data)
    } else {
        let data = data(asked, folder, device)?;
        (Trainer::new(asked.clone(), data.labels.clone(), device), data)
    };
    log::info!(
        "{} weights; {} subjects to train on, {} kept aside, labels {:?}, {device:?}",
        trainer.student.weights.count(),
        data.train.len(),
        data.held.len(),
        data.labels
    );
    let effort = &mut trainer.state.effort;
    (effort.train, effort.held) = (data.train.len(), data.held.len());
    (effort.hardware, effort.threads) = (hardware(device), tch::get_num_threads() as usize);
    trainer.state.images.clone_from(&data.images);
    train(&mut trainer, &data, run)
}

fn data(recipe: &Recipe, folder: Option<&Path>, device: Device) -> Result<Data> {
    match (recipe.phantoms, folder) {
        (None, Some(folder)) => Data::read(folder, recipe, device),
        (Some(pairs), None) => Data::phantoms(pairs, recipe, device),
        (None, None) => bail!("expected --data FOLDER or --phantoms PAIRS, found neither"),
        (Some(_), Some(_)) => bail!("expected --data or --phantoms, found both"),
    }
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
mod tests;
