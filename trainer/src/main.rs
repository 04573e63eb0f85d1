//! Trains the students that `intraop` runs, and writes them as packages.

mod augment;
mod checkpoint;
mod export;
mod files;
mod gpu;
mod loss;
mod nets;
mod onnx;
mod optimizer;
mod random;
mod recipe;
mod unet;
mod warp;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use tch::Device;

use recipe::landmarks::{self, Landmarks};
use recipe::registration::{self, Registration};
use recipe::run::{self, Run};

#[derive(Parser)]
#[command(name = "intraop-train", version, about = "Trains the students that intraop runs")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train a student that registers volumes
    Registration {
        /// Folder with images/ and labels/ (the same file names)
        #[arg(long)]
        data: Option<PathBuf>,
        /// Threads; all cores unless given
        #[arg(long)]
        threads: Option<usize>,
        #[command(flatten)]
        recipe: registration::Settings,
        #[command(flatten)]
        run: Run,
    },
    /// Train a student that finds landmarks and a mask in frames
    Landmarks {
        #[command(flatten)]
        source: landmarks::Source,
        /// Threads; all cores unless given
        #[arg(long)]
        threads: Option<usize>,
        #[command(flatten)]
        recipe: landmarks::Settings,
        #[command(flatten)]
        run: Run,
    },
    /// Measure a run of landmarks on frames that it was not trained on
    Measure(landmarks::Measure),
    /// Make a package of a training run
    Export(export::Options),
}

fn main() -> Result<()> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    gpu::load();
    let matches = Cli::command().get_matches();
    let given = matches.subcommand().expect("clap asks for one").1;
    match Cli::from_arg_matches(&matches)?.command {
        Command::Registration { data, threads, recipe, run } => {
            set_threads(threads)?;
            let device = Device::cuda_if_available();
            let data = |recipe: &_| registration::data(recipe, data.as_deref(), device);
            run::start::<Registration>(&recipe, given, &run, data, device)
        }
        Command::Landmarks { source, threads, recipe, run } => {
            set_threads(threads)?;
            let data = |recipe: &_| landmarks::data(recipe, &source);
            run::start::<Landmarks>(&recipe, given, &run, data, Device::cuda_if_available())
        }
        Command::Measure(options) => landmarks::measure(&options),
        Command::Export(options) => export::export(&options),
    }
}

fn set_threads(threads: Option<usize>) -> Result<()> {
    let Some(threads) = threads else { return Ok(()) };
    ensure!((1..=1024).contains(&threads), "--threads: expected 1 to 1024, found {threads}");
    tch::set_num_threads(threads as i32);
    Ok(())
}
