//! Every step of every pipeline reports to one probe: timings, progress and cancellation.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::{Error, Result};

/// A named, timed step. The names are those of `stages_ms` in report.json.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The package is read and compiled.
    Load,
    Read,
    Preprocess,
    Infer,
    /// What networks wrote becomes landmarks, masks and measurements.
    Decode,
    Compose,
    Warp,
    /// Overlap, distances, correlation and regularity are computed.
    Measure,
    Write,
}

impl Stage {
    /// How many there are.
    const COUNT: usize = Stage::Write as usize + 1;

    /// Of a registration.
    pub const OF_VOLUMES: [Stage; 8] = [
        Stage::Load,
        Stage::Read,
        Stage::Preprocess,
        Stage::Infer,
        Stage::Compose,
        Stage::Warp,
        Stage::Measure,
        Stage::Write,
    ];

    /// Of finding things in frames.
    pub const OF_FRAMES: [Stage; 6] =
        [Stage::Load, Stage::Read, Stage::Preprocess, Stage::Infer, Stage::Decode, Stage::Write];

    pub fn name(self) -> &'static str {
        match self {
            Stage::Load => "load",
            Stage::Read => "read",
            Stage::Preprocess => "preprocess",
            Stage::Infer => "infer",
            Stage::Decode => "decode",
            Stage::Compose => "compose",
            Stage::Warp => "warp",
            Stage::Measure => "measure",
            Stage::Write => "write",
        }
    }
}

/// What a caller of a long operation implements: all of it is optional.
pub trait Probe {
    /// A stage ended; a stage may be entered several times.
    fn stage(&mut self, _stage: Stage, _took: Duration) {}

    /// How much of the operation is done, from 0 to 1; told after each step.
    fn progress(&mut self, _share: f32) {}

    /// Graph number `graph` of the package is about to run on this input, in memory order.
    fn network_input(&mut self, _graph: usize, _input: &[f32]) {}

    /// Should the operation stop? Asked between steps; the operation then returns
    /// [`Error::Cancelled`].
    fn cancelled(&self) -> bool {
        false
    }
}

/// Runs one step of `stage` unless the caller wants to stop.
pub fn timed<T>(
    probe: &mut dyn Probe,
    stage: Stage,
    step: impl FnOnce() -> Result<T>,
) -> Result<T> {
    if probe.cancelled() {
        return Err(Error::Cancelled);
    }
    let start = Instant::now();
    let result = step()?;
    probe.stage(stage, start.elapsed());
    Ok(result)
}

/// Adds up the time of each stage; never cancels.
#[derive(Debug, Clone, Default)]
pub struct StageTimes([Duration; Stage::COUNT]);

impl StageTimes {
    pub fn of(&self, stage: Stage) -> Duration {
        self.0[stage as usize]
    }

    /// Of these stages by name, and `total`: milliseconds.
    pub fn in_ms(&self, stages: &[Stage], total: Duration) -> BTreeMap<&'static str, f64> {
        let ms = |d: Duration| (d.as_secs_f64() * 1e6).round() / 1e3;
        let stages = stages.iter().map(|stage| (stage.name(), ms(self.of(*stage))));
        stages.chain([("total", ms(total))]).collect()
    }
}

impl Probe for StageTimes {
    fn stage(&mut self, stage: Stage, took: Duration) {
        self.0[stage as usize] += took;
    }
}
