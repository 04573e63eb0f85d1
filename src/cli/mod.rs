//! The command line's subcommands, one file each.
//!
//! Results go to stdout (as JSON with `--json`), everything else to stderr. Exit code 0: done;
//! 1: the work failed; 2: wrong usage or bad input; 3: a check was not met.

mod apply;
mod evaluate;
mod info;
mod models;
mod output;
mod register;

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};

use crate::engine::Session;
use crate::probe::{Probe, Stage, StageTimes, timed};
use crate::registration::{Init, Options};
use crate::{Error, Result, package};

/// Registers volumes on a CPU during a procedure, with small student networks.
#[derive(Parser)]
#[command(version, max_term_width = 100, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Register(Box<register::Register>),
    Apply(apply::Apply),
    Evaluate(evaluate::Evaluate),
    Models(models::Models),
    Info(info::Info),
}

/// Parses the arguments, runs the subcommand and says in one line what went wrong.
pub fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn"))
        .filter_module("tract", log::LevelFilter::Error)
        .format_timestamp(None)
        .init();
    let arguments = Arguments::parse();
    if let Err(e) = ctrlc::set_handler(interrupt) {
        log::warn!("Ctrl-C will not clean up: {e}");
    }
    let result = match arguments.command {
        Command::Register(command) => command.run(),
        Command::Apply(command) => command.run(),
        Command::Evaluate(command) => command.run(),
        Command::Models(command) => command.run(),
        Command::Info(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("intraop: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The first Ctrl-C lets the running step end and cleans up; a second one ends the process.
fn interrupt() {
    if INTERRUPTED.swap(true, Ordering::SeqCst) {
        std::process::exit(1);
    }
}

fn check_interrupt() -> Result<()> {
    if INTERRUPTED.load(Ordering::SeqCst) { Err(Error::Cancelled) } else { Ok(()) }
}

/// The command line's probe: stage times, logged as they come, and Ctrl-C.
struct Watch {
    start: Instant,
    times: StageTimes,
}

impl Watch {
    fn new() -> Self {
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

/// Options of everything that runs a model.
#[derive(clap::Args)]
struct Run {
    /// Threads to use for everything [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

impl Run {
    /// Finds and compiles the model and proves it by its golden case.
    fn session(&self, model: &str, probe: &mut Watch) -> Result<Session> {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        timed(probe, Stage::Load, || {
            let session = Session::new(package::find(model)?, self.threads.unwrap_or_else(cores))?;
            session.verify()?;
            Ok(session)
        })
    }
}

/// Options of everything that registers.
#[derive(clap::Args)]
struct Registration {
    /// Alignment before the network: an ITK transform (fixed to moving), or header, centres
    /// (of the images) or mass (of their intensities) [default: what the model says]
    #[arg(long, value_name = "T.tfm|header|centres|mass")]
    init: Option<String>,
    /// Stop after the affine stage
    #[arg(long, conflicts_with = "cascades")]
    affine_only: bool,
    /// Run only the first N displacement stages
    #[arg(long, value_name = "N")]
    cascades: Option<usize>,
}

impl Registration {
    fn options(&self) -> Result<Options> {
        use crate::preprocess::Initial;
        let init = match self.init.as_deref() {
            None => None,
            Some("header") => Some(Init::By(Initial::Header)),
            Some("centres") => Some(Init::By(Initial::Centres)),
            Some("mass") => Some(Init::By(Initial::Mass)),
            Some(path) => Some(Init::Transform(crate::io::read_transform(Path::new(path))?)),
        };
        Ok(Options { init, affine_only: self.affine_only, cascades: self.cascades })
    }
}

/// A `--json` flag's output.
fn print_json(value: &impl serde::Serialize) {
    println!("{}", to_json(value));
}

fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).expect("reports hold only numbers, texts and lists")
}
