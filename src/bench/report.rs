//! `bench.json`: what was measured, on what, and whether it counts. docs/benchmark.md describes it.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::memory::StageMemory;
use super::sample::{Paced, Sample};
use super::statistics::{Summary, runs_for};
use super::work::Work;
use super::{Plan, statistics};
use crate::device::{Device, Reading};
use crate::metrics::statistics::mean;
use crate::package::{Precision, Task, sha256};
use crate::session::{Session, SessionOptions};
use crate::{Error, Result, io};

pub(super) const FORMAT: &str = "intraop-bench";
/// Raised when a field changes its meaning or goes; new fields do not raise it.
pub(super) const VERSION: u32 = 1;

/// `bench.json`. Times are ns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BenchReport {
    pub format: String,
    pub version: u32,
    /// The version that measured.
    pub intraop: String,
    /// Seconds since 1970, UTC.
    pub started_unix_s: u64,
    pub device: Device,
    pub model: Model,
    pub settings: Settings,
    pub checks: Checks,
    pub once: Once,
    pub stages: Vec<StageSummary>,
    pub paced: Option<Paced>,
    /// Of sustained runs.
    pub minutes: Vec<Minute>,
    /// Processors' worth of time that went to others meanwhile; `null` of less than a second.
    pub other_work: Option<f64>,
    /// Measured in a process of its own; empty where that was not possible.
    pub memory: Vec<StageMemory>,
    pub budget: Option<Budget>,
    /// What makes the figures less trustworthy.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Model {
    pub name: String,
    pub version: String,
    pub task: Task,
    pub precision: Precision,
    /// Over the SHA-256 of its graphs, in their order.
    pub sha256: String,
    /// Of the first graph: (z, y, x) or (y, x).
    pub input_shape: Vec<usize>,
    pub graphs: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    pub threads: usize,
    /// The threads' cores, in turn; empty where the system chooses.
    pub cores: Vec<usize>,
    pub simd: String,
    /// Built without optimization's full strength: for tests only.
    pub debug_build: bool,
    /// What the package was shown.
    pub input: String,
    /// The graphs that ran, by name: fewer than the package has where stages are left out.
    pub graphs: Vec<String>,
    /// The alignment before the networks, where it is not the package's.
    pub initial: Option<String>,
    pub warmup: usize,
    pub runs: usize,
    pub paced_hz: Option<f64>,
    pub sustain_minutes: Option<f64>,
}

/// Without these there would be no report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checks {
    /// Whose outputs the golden case holds.
    pub golden_engine: String,
    /// The largest difference from them, before and after the runs, as a share of the largest value.
    pub golden_difference: f64,
    /// The last run's answer is the first one's, bit for bit.
    pub same_answers: bool,
}

/// What happens once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Once {
    /// The package is read and its hashes are checked.
    pub load_ns: u64,
    /// Its graphs are compiled for this CPU.
    #[serde(alias = "optimise_ns")]
    pub optimize_ns: u64,
    /// The golden case.
    pub verify_ns: u64,
    /// The first run, end to end.
    pub first_ns: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageSummary {
    pub name: String,
    #[serde(flatten)]
    pub times: Summary,
}

/// One minute of a sustained benchmark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Minute {
    /// From 0.
    pub minute: usize,
    pub n: usize,
    /// End to end.
    pub p50: f64,
    pub p95: Option<f64>,
    /// The highest of the minute.
    pub celsius: Option<f64>,
    /// The mean of the minute.
    pub mhz: Option<f64>,
    /// New ones in this minute.
    pub throttle_events: Option<u64>,
    /// Whether the clock was ever seen to be held back.
    pub held_back: Option<bool>,
}

/// Was the whole fast enough?
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    pub ms: f64,
    /// The 95th percentile, end to end.
    pub p95_ms: Option<f64>,
    /// False, too, where the runs are too few to know.
    pub met: bool,
}

/// A budget was not met, or a version is slower than the one before.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{name}: too slow: {problem}")]
pub struct TooSlow {
    pub name: String,
    pub problem: String,
}

/// A stage's time in one run, in ns.
pub type StageTime = fn(&Sample) -> u64;

/// The columns of samples.csv and the stages of a report, in their order. A run's stages that its
/// task does not have are left out of the report.
pub const STAGES: [(&str, StageTime); 7] = [
    ("preprocess", |s| s.preprocess),
    ("infer", |s| s.infer),
    ("compose", |s| s.compose),
    ("warp", |s| s.warp),
    ("decode", |s| s.decode),
    ("postprocess", Sample::postprocess),
    (END_TO_END, |s| s.end_to_end),
];

pub(super) const END_TO_END: &str = "end_to_end";

pub(super) fn stages(runs: &[Sample]) -> Vec<StageSummary> {
    let summary = |(name, of): &(&str, StageTime)| {
        let times: Vec<f64> = runs.iter().map(|s| of(s) as f64).collect();
        let there = times.iter().any(|t| *t > 0.0);
        there.then(|| StageSummary { name: (*name).into(), times: Summary::of(&times) })
    };
    STAGES.iter().filter_map(summary).collect()
}

/// Of a report, in bytes: minutes of days would fit.
const LARGEST: u64 = 1 << 24;

const MINUTE: u64 = 60_000_000_000;

pub(super) fn minutes(
    runs: &[Sample],
    readings: &[(u64, Reading)],
    sustain: Option<Duration>,
) -> Vec<Minute> {
    let last = runs.last().map_or(0, |s| s.start / MINUTE);
    let minute = |minute: u64| {
        let of = runs.iter().filter(|s| s.start / MINUTE == minute);
        let times: Vec<f64> = of.map(|s| s.end_to_end as f64).collect();
        let seen: Vec<&Reading> =
            readings.iter().filter(|(at, _)| at / MINUTE == minute).map(|(_, r)| r).collect();
        let before = readings.iter().rev().find(|(at, _)| at / MINUTE < minute);
        let mhz: Vec<f64> = seen.iter().filter_map(|r| r.mhz).collect();
        // A minute in which nothing began has no median.
        let summary = (!times.is_empty()).then(|| Summary::of(&times))?;
        Some(Minute {
            minute: minute as usize,
            n: times.len(),
            p50: summary.p50,
            p95: summary.p95,
            celsius: seen.iter().filter_map(|r| r.celsius).max_by(f64::total_cmp),
            mhz: mean(&mhz),
            throttle_events: new_events(before.map(|(_, r)| r), &seen),
            held_back: held_back(&seen),
        })
    };
    if sustain.is_some() { (0..=last).filter_map(minute).collect() } else { Vec::new() }
}

/// By how much the counter grew.
fn new_events(before: Option<&Reading>, seen: &[&Reading]) -> Option<u64> {
    let counts: Vec<u64> = seen.iter().filter_map(|r| r.throttle_events).collect();
    let (low, high) = (counts.iter().min()?, counts.iter().max()?);
    let start = before.and_then(|r| r.throttle_events).unwrap_or(*low);
    Some(high.saturating_sub(start))
}

fn held_back(seen: &[&Reading]) -> Option<bool> {
    seen.iter().filter_map(|r| r.held_back).reduce(|ever, now| ever || now)
}

impl Model {
    pub(super) fn of(session: &Session) -> Model {
        let manifest = &session.package().manifest;
        let hashes: String = manifest.graphs.iter().map(|g| g.sha256.as_str()).collect();
        Model {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            task: manifest.task,
            precision: manifest.precision,
            sha256: sha256(hashes.as_bytes()),
            input_shape: manifest.graphs[0].inputs[0].spatial_shape.clone(),
            graphs: manifest.graphs.len(),
        }
    }
}

impl Settings {
    pub(super) fn new(
        session: &Session,
        options: &SessionOptions,
        plan: &Plan,
        work: &Work,
        runs: usize,
    ) -> Settings {
        Settings {
            threads: session.threads(),
            cores: options.cores.clone(),
            simd: session.simd().level().name().into(),
            debug_build: cfg!(debug_assertions),
            input: work.input.clone(),
            graphs: work.graphs.clone(),
            initial: work.initial.clone(),
            warmup: plan.warmup,
            runs,
            paced_hz: plan.paced_hz,
            sustain_minutes: plan.sustain.map(|long| long.as_secs_f64() / 60.0),
        }
    }

    /// The cores that the threads may run on.
    pub fn used_cores<'a>(&'a self, device: &'a Device) -> &'a [usize] {
        if self.cores.is_empty() { &device.allowed_cores } else { &self.cores }
    }
}

impl Budget {
    /// Whether the 95th percentile of the whole is at most `ms`.
    pub fn of(ms: f64, report: &BenchReport) -> Budget {
        let p95_ms = report.end_to_end().p95.map(|ns| ns / 1e6);
        Budget { ms, p95_ms, met: p95_ms.is_some_and(|p95| p95 <= ms) }
    }

    /// # Errors
    /// [`TooSlow`] where it was not met.
    pub fn check(&self, report: &BenchReport) -> Result<(), TooSlow> {
        if self.met {
            return Ok(());
        }
        let found = match self.p95_ms {
            Some(p95) => format!("the 95th percentile is {p95:.1} ms"),
            None => {
                let (runs, n) = (runs_for(0.95), report.end_to_end().n);
                format!("its 95th percentile takes {runs} runs, there were {n}")
            }
        };
        let problem = format!("a budget of {} ms end to end: {found}", self.ms);
        Err(TooSlow { name: report.model.name.clone(), problem })
    }
}

impl BenchReport {
    /// The whole of a run.
    pub fn end_to_end(&self) -> &Summary {
        let whole = self.stages.iter().find(|s| s.name == END_TO_END);
        // Checked on reading, and every run has it.
        &whole.expect("a report has end_to_end").times
    }

    /// Why the figures may not be those of the package on this machine at rest.
    pub(super) fn find_warnings(&self, readings: &[(u64, Reading)]) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut warn = |when: bool, text: String| {
            if when {
                warnings.push(text);
            }
        };
        warn(
            self.settings.debug_build,
            "this is a build for tests: measure with a release build".into(),
        );
        let cores = self.settings.used_cores(&self.device);
        let used = |cluster: &[usize]| cluster.iter().any(|core| cores.contains(core));
        for cluster in self.device.clusters.iter().filter(|c| used(&c.cores)) {
            if let Some(governor) = cluster.governor.as_ref().filter(|g| *g != "performance") {
                let advice = "set performance to measure the hardware";
                let name = &cluster.name;
                warn(true, format!("{name}: the governor is {governor}; {advice}"));
            }
        }
        let (threads, number) = (self.settings.threads, cores.len());
        warn(
            number > 0 && threads > number,
            format!("{threads} threads share {number} cores: try {number}"),
        );
        let limit = self.device.cpu_limit.unwrap_or(f64::INFINITY);
        warn(
            threads as f64 > limit,
            format!("a control group allows {limit} cores' time to {threads} threads"),
        );
        let others = self.other_work.unwrap_or(0.0);
        warn(others > 0.1, format!("other work took {others:.1} processors' time meanwhile"));
        let all: Vec<&Reading> = readings.iter().map(|(_, r)| r).collect();
        warn(
            new_events(None, &all).is_some_and(|events| events > 0)
                || held_back(&all) == Some(true),
            "the clock was held back (heat, or a weak supply) while this was measured".into(),
        );
        let noise = self.end_to_end().noise.unwrap_or(0.0);
        let percent = 100.0 * noise;
        warn(
            noise > 0.1,
            format!(
                "medians of blocks of runs differ by {percent:.0} %: something else is going on"
            ),
        );
        if let [first, .., last] = &self.minutes[..] {
            let slower = 100.0 * (last.p50 / first.p50 - 1.0);
            warn(
                slower > 10.0,
                format!("the last minute's median is {slower:.0} % above the first one's"),
            );
        }
        if let Some(paced) = self.paced.as_ref().filter(|p| p.dropped > 0) {
            let (n, hz) = (paced.dropped, paced.hz);
            warn(true, format!("{n} images at {hz} Hz came before the one before was done"));
        }
        warnings
    }
}

/// Reads a `bench.json`.
///
/// # Errors
/// [`Error::Unreadable`]; [`Error::Malformed`] for another file or a version that this program does
/// not know.
pub fn read_report(path: &Path) -> Result<BenchReport> {
    let text = io::read_text(path, LARGEST)?;
    let advice = "give a bench.json that `intraop bench` wrote";
    let malformed = |what: &str, expected: &str, found: String| {
        Err(Error::malformed(path, what, expected, found, advice))
    };
    // First what it is: another version may have other fields.
    #[derive(Deserialize)]
    struct Kind {
        format: String,
        version: u32,
    }
    match serde_json::from_str::<Kind>(&text) {
        Ok(Kind { format, version }) if format == FORMAT && version == VERSION => {}
        Ok(Kind { format, version }) => {
            let expected = format!("{FORMAT} {VERSION}");
            return malformed("format", &expected, format!("{format} {version}"));
        }
        Err(e) => return malformed("format", "the JSON of a benchmark", e.to_string()),
    }
    let report: BenchReport = match serde_json::from_str(&text) {
        Ok(report) => report,
        Err(e) => return malformed("content", "a benchmark's report", e.to_string()),
    };
    let sound = |s: &statistics::Summary| s.p50.is_finite() && s.p50 > 0.0;
    match report.stages.iter().find(|s| s.name == END_TO_END) {
        Some(whole) if sound(&whole.times) => Ok(report),
        _ => malformed("stages", "end_to_end with a positive median", "none".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(celsius: f64, mhz: f64, events: u64) -> Reading {
        let (celsius, mhz, throttle_events) = (Some(celsius), Some(mhz), Some(events));
        Reading { celsius, mhz, throttle_events, held_back: None }
    }

    #[test]
    fn minutes_have_their_own_runs_and_sensors() {
        let sample = |start: u64, end_to_end| Sample { start, end_to_end, ..Sample::default() };
        let runs = [
            sample(0, 10),
            sample(30_000_000_000, 20),
            sample(59_999_999_999, 90),
            // Nothing began in the second minute.
            sample(120_000_000_000, 40),
        ];
        let readings = [
            (0, reading(50.0, 1500.0, 7)),
            (50_000_000_000, reading(70.0, 1400.0, 7)),
            (70_000_000_000, reading(80.0, 600.0, 9)),
            (130_000_000_000, reading(60.0, 1000.0, 12)),
        ];
        let found = minutes(&runs, &readings, Some(Duration::from_secs(180)));
        let [first, third] = &found[..] else { panic!("{found:?}") };
        assert_eq!((first.minute, first.n, first.p50, first.p95), (0, 3, 20.0, None));
        assert_eq!((first.celsius, first.mhz), (Some(70.0), Some(1450.0)));
        assert_eq!((first.throttle_events, third.throttle_events), (Some(0), Some(3)));
        assert_eq!((third.minute, third.n, third.p50), (2, 1, 40.0));
        assert!(minutes(&runs, &readings, None).is_empty());
    }

    #[test]
    fn throttling_is_what_happened_meanwhile() {
        // A counter that stands since the machine was started says nothing about now.
        let still = reading(60.0, 1500.0, 1);
        assert_eq!(new_events(None, &[&still, &still]), Some(0));
        assert_eq!(new_events(None, &[&Reading::default()]), None);
        let flags = [false, true, false];
        let flags = flags.map(|now| Reading { held_back: Some(now), ..Reading::default() });
        assert_eq!(held_back(&[&flags[0], &flags[1], &flags[2]]), Some(true));
        assert_eq!((held_back(&[&flags[2]]), held_back(&[])), (Some(false), None));
    }

    #[test]
    fn stages_that_never_ran_are_not_reported() {
        let run = Sample { preprocess: 1, infer: 2, decode: 3, end_to_end: 7, ..Sample::default() };
        let stages = stages(&[run.clone(), run]);
        let names: Vec<&str> = stages.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["preprocess", "infer", "decode", "postprocess", "end_to_end"]);
        assert_eq!(stages[3].times.p50, 3.0);
    }
}
