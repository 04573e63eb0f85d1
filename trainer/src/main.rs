//! Trains the students that `intraop` runs, and writes them as packages.

mod augment;
mod checkpoint;
mod data;
mod gpu;
mod loss;
mod nets;
mod onnx;
mod optimiser;
mod random;
mod recipe;
mod warp;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};
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
    /// Train a registration student
    Register {
        /// Folder with images/ and labels/ (the same file names)
        #[arg(long)]
        data: PathBuf,
        /// Threads; all cores unless given
        #[arg(long)]
        threads: Option<usize>,
        #[command(flatten)]
        recipe: Recipe,
        #[command(flatten)]
        run: Run,
    },
}

fn main() -> Result<()> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    gpu::load();
    match Cli::parse().command {
        Command::Register { data, threads, recipe, run } => {
            recipe.check()?;
            if let Some(threads) = threads {
                tch::set_num_threads(threads as i32);
            }
            let device = Device::cuda_if_available();
            registration::start(&recipe, &run, device, |recipe| {
                data::Data::read(
                    &data,
                    recipe.grid_size(),
                    &recipe.grid(),
                    &recipe.preprocess(),
                    recipe.holdout,
                    recipe.seed,
                    device,
                )
            })
        }
    }
}
