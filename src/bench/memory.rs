//! How much memory each stage takes, in a process that does nothing else.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::work::{Input, Work};
use crate::memory::{self, Resident};
use crate::package::Package;
use crate::session::{Session, SessionOptions};
use crate::{Probe, Result, Stage, registration};

/// Of the whole process, with the program's own code and data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageMemory {
    pub stage: String,
    /// The most while the stage ran; where the kernel cannot start anew, since the process began.
    pub peak_mib: f64,
    /// At its end.
    pub resident_mib: f64,
}

/// Ends a stage whenever it is told that one ended.
struct Watch<'a> {
    stages: Vec<StageMemory>,
    outer: &'a mut dyn Probe,
}

impl Watch<'_> {
    fn end(&mut self, stage: &str) {
        let Some(Resident { peak_mib, now_mib }) = memory::resident() else { return };
        // Stages such as "infer" come several times: their highest counts.
        match self.stages.iter_mut().find(|s| s.stage == stage) {
            Some(known) => {
                known.peak_mib = known.peak_mib.max(peak_mib);
                known.resident_mib = now_mib;
            }
            None => {
                let stage = stage.into();
                self.stages.push(StageMemory { stage, peak_mib, resident_mib: now_mib });
            }
        }
        memory::reset_peak();
    }
}

impl Probe for Watch<'_> {
    fn stage(&mut self, stage: Stage, _took: Duration) {
        self.end(stage.name());
    }

    fn cancelled(&self) -> bool {
        self.outer.cancelled()
    }
}

/// Opens a package and runs it twice, noting the memory of every stage: `start` is the process before
/// it, `session` the compiled package that waits for an input, after its golden case, `input` the same
/// with an input in memory. For a process of its own: what ran before would count. Empty where the
/// system does not tell.
///
/// # Errors
/// Those of [`super::run`], but for the golden case, which is computed and not judged.
pub fn stage_memory(
    open: impl FnOnce() -> Result<Package>,
    options: &SessionOptions,
    registration: &registration::Options,
    input: Input,
    probe: &mut dyn Probe,
) -> Result<Vec<StageMemory>> {
    let mut watch = Watch { stages: Vec::new(), outer: probe };
    watch.end("start");
    let package = open()?;
    watch.end("load");
    let session = Session::new(package, options.clone())?;
    watch.end("optimize");
    let _ = session.verify();
    watch.end("session");
    let mut work = Work::new(&session, registration, input)?;
    watch.end("input");
    for _ in 0..2 {
        drop(work.run(&mut watch)?);
    }
    Ok(watch.stages)
}
