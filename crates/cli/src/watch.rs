//! Ctrl-C, and the command line's probe.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use intraop::{Error, Probe, Result, Stage, StageTimes};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The first Ctrl-C (or SIGTERM) lets the running step end and cleans up. A second one, or ten
/// seconds, end the process: a step may be stuck in a read.
pub fn interrupt() {
    if INTERRUPTED.swap(true, Ordering::SeqCst) {
        std::process::exit(1);
    }
    std::thread::spawn(|| {
        std::thread::sleep(Duration::from_secs(10));
        eprintln!("intraop: interrupted: the running step did not end in 10 s");
        std::process::exit(1);
    });
}

/// # Errors
/// [`Error::Cancelled`] after Ctrl-C.
pub fn check_interrupt() -> Result<()> {
    if INTERRUPTED.load(Ordering::SeqCst) { Err(Error::Cancelled) } else { Ok(()) }
}

/// The command line's probe: stage times, logged as they come, and Ctrl-C.
pub struct Watch {
    pub start: Instant,
    pub times: StageTimes,
}

impl Watch {
    pub fn new() -> Self {
        Watch { start: Instant::now(), times: StageTimes::default() }
    }
}

impl Probe for Watch {
    fn stage(&mut self, stage: Stage, took: Duration) {
        log::info!("{}: {:.1} ms", stage.name(), took.as_secs_f64() * 1e3);
        self.times.stage(stage, took);
    }

    fn cancelled(&self) -> bool {
        INTERRUPTED.load(Ordering::SeqCst)
    }
}
