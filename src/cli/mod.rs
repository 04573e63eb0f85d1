//! The command line's subcommands, one file each.
//!
//! Results go to stdout (as JSON with `--json`), everything else to stderr. Exit code 0: done;
//! 1: the work failed; 2: wrong usage or bad input; 3: a check was not met.

mod apply;
mod bench;
mod calibrate;
mod doctor;
mod evaluate;
mod frames;
mod info;
mod landmarks;
mod models;
mod output;
mod quantize;
mod register;
mod results;
mod segment;

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};

use crate::engine::{Session, SessionOptions};
use crate::probe::{Probe, Stage, StageTimes, timed};
use crate::registration::{Init, Options};
use crate::{Error, Result, package};

/// Registers volumes and finds landmarks in frames on a CPU, during a procedure, with small student
/// networks.
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
    Landmarks(landmarks::Landmarks),
    Segment(segment::Segment),
    Evaluate(evaluate::Evaluate),
    Bench(Box<bench::Bench>),
    Calibrate(calibrate::Calibrate),
    Quantize(quantize::Quantize),
    Models(models::Models),
    Info(info::Info),
    Doctor(doctor::Doctor),
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
        Command::Landmarks(command) => command.run(),
        Command::Segment(command) => command.run(),
        Command::Evaluate(command) => command.run(),
        Command::Bench(command) => command.run(),
        Command::Calibrate(command) => command.run(),
        Command::Quantize(command) => command.run(),
        Command::Models(command) => command.run(),
        Command::Info(command) => command.run(),
        Command::Doctor(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("intraop: {}", one_line(&error.to_string()));
            ExitCode::from(error.exit_code())
        }
    }
}

/// A message as one line of a sensible length, whatever a file's content put into it.
fn one_line(message: &str) -> String {
    const LONGEST: usize = 1000;
    let clean = message.chars().flat_map(|c| {
        let escaped = c.is_control().then(|| c.escape_default());
        let plain = (!c.is_control()).then_some(c);
        escaped.into_iter().flatten().chain(plain)
    });
    let mut line: String = clean.take(LONGEST).collect();
    if message.chars().count() > LONGEST {
        line.push('…');
    }
    line
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The first Ctrl-C (or SIGTERM) lets the running step end and cleans up. A second one, or ten
/// seconds, end the process: a step may be stuck in a read.
fn interrupt() {
    if INTERRUPTED.swap(true, Ordering::SeqCst) {
        std::process::exit(1);
    }
    std::thread::spawn(|| {
        std::thread::sleep(Duration::from_secs(10));
        eprintln!("intraop: interrupted: the running step did not end in 10 s");
        std::process::exit(1);
    });
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
    /// Threads to use for everything [default: all cores, or as many as --cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Pin the threads to these cores, in turn: numbers such as 0,2,3
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    cores: Vec<usize>,
    /// Vector instructions: scalar, avx2, avxvnni, avx512, vnni, neon or dotprod, where the
    /// CPU has them [default: the widest]
    #[arg(long, value_name = "LEVEL")]
    simd: Option<String>,
}

impl Run {
    fn options(&self) -> Result<SessionOptions> {
        let mut options = SessionOptions { cores: self.cores.clone(), ..Default::default() };
        if let Some(simd) = &self.simd {
            options.simd = simd.parse()?;
        }
        if !self.cores.is_empty() {
            options.threads = self.cores.len();
        }
        if let Some(threads) = self.threads {
            options.threads = usize::from(threads);
        }
        Ok(options)
    }

    /// Finds and compiles the model and proves it by its golden case.
    fn session(&self, model: &str, probe: &mut Watch) -> Result<Session> {
        let options = self.options()?;
        timed(probe, Stage::Load, || {
            let session = Session::new(package::find(model)?, options)?;
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
            Some(word) if !word.contains(['.', '/']) && !Path::new(word).exists() => {
                return Err(Error::Option {
                    option: "--init".into(),
                    expected: "header, centres, mass or a file T.tfm".into(),
                    found: word.into(),
                });
            }
            Some(path) => Some(Init::Transform(crate::io::read_transform(Path::new(path))?)),
        };
        Ok(Options { init, affine_only: self.affine_only, cascades: self.cascades })
    }
}

/// Writes a result to stdout. A reader that has seen enough (`| head`) is no error.
fn say(text: &str) -> Result<()> {
    use std::io::Write;
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::Unwritable { path: "standard output".into(), source: e })
        }
        _ => Ok(()),
    }
}

fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).expect("reports hold only numbers, texts and lists")
}
