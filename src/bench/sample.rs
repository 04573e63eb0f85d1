//! Many runs of one piece of work, each with the time of every stage.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::work::Work;
use super::{Plan, check_same, nanoseconds};
use crate::device::{Reading, System};
use crate::{Error, Probe, Result, Stage, StageTimes};

/// One run, in ns.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sample {
    /// When it began, since the first timed run; of a paced run, when it was due.
    pub start: u64,
    pub preprocess: u64,
    pub infer: u64,
    /// Of volumes.
    pub compose: u64,
    pub warp: u64,
    /// Of frames.
    pub decode: u64,
    /// From the input in memory to the answer in memory; of a paced run from when it was due.
    pub end_to_end: u64,
}

impl Sample {
    /// What follows the networks.
    pub fn postprocess(&self) -> u64 {
        self.compose + self.warp + self.decode
    }
}

/// All runs, and what the machine's sensors said meanwhile.
pub struct Samples {
    pub first: Sample,
    pub runs: Vec<Sample>,
    pub readings: Vec<(u64, Reading)>,
    pub paced: Option<Paced>,
}

/// The rate of a paced benchmark, and what it cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Paced {
    pub hz: f64,
    /// Images that came while another was worked on.
    pub dropped: usize,
}

/// Where to look for temperature and clock.
pub struct Clock<'a> {
    pub system: &'a System,
    pub cores: &'a [usize],
}

/// Sensors are read between runs, at most this often: reading takes time.
const READ_EVERY: Duration = Duration::from_secs(1);

/// The stages of a run, and whether it should stop.
struct Stages<'a> {
    times: StageTimes,
    outer: &'a mut dyn Probe,
}

impl Probe for Stages<'_> {
    fn stage(&mut self, stage: Stage, took: Duration) {
        self.times.stage(stage, took);
    }

    fn cancelled(&self) -> bool {
        self.outer.cancelled()
    }
}

/// The first run, some that do not count, and those that do: at least one.
///
/// # Errors
/// [`Error::Check`] when the last answer is not the first; those of [`Work::run`].
pub fn samples(
    work: &mut Work,
    plan: &Plan,
    clock: &Clock,
    probe: &mut dyn Probe,
) -> Result<Samples> {
    let (first, answer) = one(work, probe, None)?;
    for _ in 0..plan.warmup {
        one(work, probe, None)?;
    }
    let (mut runs, mut readings) = (Vec::new(), Vec::new());
    let start = Instant::now();
    let mut pace = plan.paced_hz.map(Pace::new);
    let mut next_reading = start;
    let mut last = None;
    loop {
        if Instant::now() >= next_reading {
            let since = nanoseconds(start.elapsed());
            readings.push((since, clock.system.reading(clock.cores)));
            next_reading = Instant::now() + READ_EVERY;
        }
        // The next run of a pace may begin much later.
        let next = pace.as_ref().map_or_else(Instant::now, |pace| pace.due().0);
        let done = match plan.sustain {
            Some(long) => (next - start).as_secs_f64() / long.as_secs_f64(),
            None => runs.len() as f64 / plan.runs as f64,
        };
        probe.progress(done.min(1.0) as f32);
        if done >= 1.0 && last.is_some() {
            break;
        }
        let due = pace.as_mut().map(|pace| pace.wait(probe)).transpose()?;
        let begun = due.unwrap_or(next);
        let (mut sample, answer) = one(work, probe, due)?;
        sample.start = nanoseconds(begun - start);
        runs.push(sample);
        last = Some(answer);
    }
    readings.push((nanoseconds(start.elapsed()), clock.system.reading(clock.cores)));
    let name = &work.session().package().manifest.name;
    check_same(name, last.is_some_and(|last| last == answer))?;
    Ok(Samples { first, runs, readings, paced: pace.map(Pace::summary) })
}

/// One run, its time counted from `due` or from now.
fn one(
    work: &mut Work,
    probe: &mut dyn Probe,
    due: Option<Instant>,
) -> Result<(Sample, super::work::Answer)> {
    let mut stages = Stages { times: StageTimes::default(), outer: probe };
    let start = due.unwrap_or_else(Instant::now);
    let answer = work.run(&mut stages)?;
    let end_to_end = nanoseconds(start.elapsed());
    let of = |stage| nanoseconds(stages.times.of(stage));
    let sample = Sample {
        start: 0,
        preprocess: of(Stage::Preprocess),
        infer: of(Stage::Infer),
        compose: of(Stage::Compose),
        warp: of(Stage::Warp),
        decode: of(Stage::Decode),
        end_to_end,
    };
    Ok((sample, answer))
}

/// Runs at a fixed rate, as a scanner sends images. One that comes while another is worked on is
/// dropped, as a scanner's is.
struct Pace {
    hz: f64,
    /// When the next image comes; the first comes as soon as it is waited for.
    next: Option<Instant>,
    dropped: usize,
}

impl Pace {
    fn new(hz: f64) -> Self {
        Pace { hz, next: None, dropped: 0 }
    }

    /// When the next image comes that is not late by now, and how many came before it.
    fn due(&self) -> (Instant, usize) {
        let now = Instant::now();
        let next = self.next.unwrap_or(now);
        let missed = (now.saturating_duration_since(next).as_secs_f64() * self.hz).ceil();
        (next + Duration::from_secs_f64(missed / self.hz), missed as usize)
    }

    /// Sleeps until the next image comes, and gives the moment it came.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    fn wait(&mut self, probe: &dyn Probe) -> Result<Instant> {
        let (due, missed) = self.due();
        self.dropped += missed;
        while let Some(left) = due.checked_duration_since(Instant::now()) {
            if probe.cancelled() {
                return Err(Error::Cancelled);
            }
            // Not in one piece: the caller may want to stop.
            std::thread::sleep(left.min(Duration::from_millis(200)));
        }
        self.next = Some(due + Duration::from_secs_f64(1.0 / self.hz));
        Ok(due)
    }

    fn summary(self) -> Paced {
        Paced { hz: self.hz, dropped: self.dropped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_that_come_while_one_is_worked_on_are_dropped() {
        let mut pace = Pace::new(100.0);
        let probe = StageTimes::default();
        let first = pace.wait(&probe).unwrap();
        let second = pace.wait(&probe).unwrap();
        assert_eq!((pace.dropped, second - first), (0, Duration::from_millis(10)));
        std::thread::sleep(Duration::from_millis(35));
        let third = pace.wait(&probe).unwrap();
        // At least those at 20, 30 and 40 ms; more on a machine that sleeps long.
        assert!(pace.dropped >= 3, "{}", pace.dropped);
        assert_eq!(third - second, Duration::from_millis(10) * (pace.dropped as u32 + 1));
        assert!(Instant::now() >= third);
    }

    #[test]
    fn a_wait_ends_when_the_caller_wants_to_stop() {
        struct Stop;
        impl Probe for Stop {
            fn cancelled(&self) -> bool {
                true
            }
        }
        let mut pace = Pace::new(1e-3);
        pace.wait(&StageTimes::default()).unwrap();
        assert!(matches!(pace.wait(&Stop), Err(Error::Cancelled)));
    }
}
