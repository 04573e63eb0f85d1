//! How fast a package runs on this machine, and whether that can be believed: the package's golden
//! case before and after, the first answer again at the end, percentiles only of runs
//! enough for them, and what the machine did meanwhile.

mod compare;
mod memory;
mod page;
mod report;
mod sample;
mod serial;
pub mod statistics;
mod work;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use compare::{Comparison, compare, comparison_page};
pub use memory::{StageMemory, stage_memory};
pub use page::page;
pub use report::{
    BenchReport, Budget, Checks, Minute, Model, Once, STAGES, Settings, StageSummary, TooSlow,
    read_report,
};
pub use sample::{Paced, Sample};
pub use serial::Board;
pub use work::{Input, Work};

use crate::device::System;
use crate::package::Package;
use crate::session::{Session, SessionOptions};
use crate::{Error, Probe, Result, Stage, registration, timed};
use sample::{Clock, samples};

/// What to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Timed runs, at least 1; with `sustain` as many as fit.
    pub runs: usize,
    /// Runs that are not counted, after the first and before the others.
    pub warmup: usize,
    /// Start runs at this rate instead of one after the other.
    pub paced_hz: Option<f64>,
    /// Go on for so long.
    pub sustain: Option<Duration>,
}

impl Default for Plan {
    /// As many runs as the 95th percentile takes.
    fn default() -> Self {
        let runs = statistics::runs_for(0.95);
        Plan { runs, warmup: 5, paced_hz: None, sustain: None }
    }
}

/// What a benchmark gives: the report, and every single run.
pub struct Outcome {
    pub report: BenchReport,
    pub samples: Vec<Sample>,
}

/// Opens a package, compiles it, checks it and measures it on one input, again and again.
///
/// # Errors
/// [`Error::Check`] when the golden case is not met, before or after, or when two runs give
/// different answers: a wrong result has no speed. And those of opening and running the package.
pub fn run(
    open: impl FnOnce() -> Result<Package>,
    options: &SessionOptions,
    registration: &registration::Options,
    input: Input,
    plan: &Plan,
    probe: &mut dyn Probe,
) -> Result<Outcome> {
    let system = System::default();
    let device = system.device();
    let started_unix_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();

    let clock = Instant::now();
    let package = timed(probe, Stage::Load, open)?;
    let load = clock.elapsed();
    let session = Session::new(package, options.clone())?;
    let optimize = clock.elapsed() - load;
    let golden_before = session.verify()?;
    let verify = clock.elapsed() - load - optimize;

    let mut work = Work::new(&session, registration, input)?;
    let cores = if options.cores.is_empty() { &device.allowed_cores } else { &options.cores };
    let clock = Clock { system: &system, cores };
    let (others, begun) = (system.others_seconds(), Instant::now());
    let sampled = samples(&mut work, plan, &clock, probe)?;
    let took = begun.elapsed().as_secs_f64();
    let others = system.others_seconds().zip(others).map(|(after, before)| after - before);
    let checks = Checks {
        golden_engine: session.package().golden()?.engine,
        golden_difference: golden_before.max(session.verify()?),
        same_answers: true,
    };
    let once = Once {
        load_ns: nanoseconds(load),
        optimize_ns: nanoseconds(optimize),
        verify_ns: nanoseconds(verify),
        first_ns: sampled.first.end_to_end,
    };
    let settings = Settings::new(&session, options, plan, &work, sampled.runs.len());
    let mut report = BenchReport {
        format: report::FORMAT.into(),
        version: report::VERSION,
        intraop: env!("CARGO_PKG_VERSION").into(),
        started_unix_s,
        device,
        model: Model::of(&session),
        settings,
        checks,
        once,
        stages: report::stages(&sampled.runs),
        paced: sampled.paced,
        minutes: report::minutes(&sampled.runs, &sampled.readings, plan.sustain),
        // The system counts in hundredths of a second.
        other_work: others.filter(|_| took >= 1.0).map(|seconds| (seconds / took).max(0.0)),
        memory: Vec::new(),
        budget: None,
        warnings: Vec::new(),
    };
    report.warnings = report.find_warnings(&sampled.readings);
    Ok(Outcome { report, samples: sampled.runs })
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Refuses answers that changed from one run to the next.
fn check_same(name: &str, same: bool) -> Result<()> {
    if same {
        return Ok(());
    }
    let problem = "the last run's answer is not the first run's".into();
    Err(Error::Check { name: name.into(), problem })
}
