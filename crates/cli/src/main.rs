//! The command line: a thin user of the library. `intraop --help` lists its subcommands, one file
//! each.
//!
//! Results go to stdout (as JSON with `--json`), everything else to stderr. Exit code 0: done;
//! 1: the work failed; 2: wrong usage or bad input; 3: a check was not met.

mod apply;
mod bench;
mod calibrate;
mod doctor;
mod evaluate;
mod failure;
mod frames;
mod info;
mod landmarks;
mod models;
mod names;
mod options;
mod output;
mod quantize;
mod register;
mod results;
mod say;
mod segment;
mod shown;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use failure::Failure;

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
fn main() -> ExitCode {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    share_heap();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn"))
        .filter_module("tract", log::LevelFilter::Error)
        .format_timestamp(None)
        .init();
    let matches = Arguments::command().get_matches();
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|e| e.exit());
    if let Err(e) = ctrlc::set_handler(watch::interrupt) {
        log::warn!("Ctrl-C will not clean up: {e}");
    }
    let result = match arguments.command {
        Command::Register(command) => command.run().map_err(Failure::from),
        Command::Apply(command) => command.run().map_err(Failure::from),
        Command::Landmarks(command) => command.run(),
        Command::Segment(command) => command.run(),
        Command::Evaluate(command) => command.run(),
        Command::Bench(command) => command.run(),
        Command::Calibrate(command) => command.run().map_err(Failure::from),
        Command::Quantize(command) => command.run().map_err(Failure::from),
        Command::Models(command) => command.run().map_err(Failure::from),
        Command::Info(command) => command.run().map_err(Failure::from),
        Command::Doctor(command) => command.run().map_err(Failure::from),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("intraop: {}", failure.line(&matches));
            ExitCode::from(failure.exit_code())
        }
    }
}

/// glibc gives every thread a heap, which keeps what was freed there: volumes that one thread of
/// the pool has freed would not make room for those of another, and `register` would need up to a
/// quarter more memory.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
fn share_heap() {
    unsafe extern "C" {
        fn mallopt(parameter: i32, value: i32) -> i32;
    }
    const M_ARENA_MAX: i32 = -8; // malloc.h
    // SAFETY: glibc's function by its own declaration, called before there are other threads.
    unsafe { mallopt(M_ARENA_MAX, 1) };
}
