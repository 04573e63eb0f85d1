//! Trains the students that `intraop` runs, and writes them as packages.

mod augment;
mod checkpoint;
mod data;
mod export;
mod gpu;
mod loss;
mod nets;
mod onnx;
mod optimiser;
mod random;
mod recipe;
mod warp;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use tch::Device;

use recipe::Recipe;
use recipe::registration::{self, Run};

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
        recipe: Recipe,
        #[command(flatten)]
        run: Run,
    },
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
            if let Some(threads) = threads {
                ensure!(
                    (1..=1024).contains(&threads),
                    "--threads: expected 1 to 1024, found {threads}"
                );
                tch::set_num_threads(threads as i32);
            }
            let device = Device::cuda_if_available();
            registration::start(&recipe, given, &run, data.as_deref(), device)
        }
        Command::Export(options) => export::export(&options),
    }
}
