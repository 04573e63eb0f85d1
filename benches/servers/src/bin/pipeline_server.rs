//! A whole registration by a package, behind the protocol of `peer.py`: `ready` and the
//! configuration first, then `run` registers a phantom pair once, from two volumes in memory to
//! the field and the warped volume in memory, and answers in nanoseconds; `stages` answers with the
//! last run's milliseconds by stage, `quit` ends.
//!
//! With `--phantoms FOLDER` it writes instead what else the comparison needs: the input of the
//! package's golden case, and, unless the package is for frames, the pair as files.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{Write, stdin, stdout};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;
use intraop_core::image::Geometry;
use intraop_core::io::ScalarType;
use intraop_core::package::{Package, golden_input};
use intraop_core::phantom::Pair;
use intraop_core::registration::{Options, register, warp};
use intraop_core::session::{Session, SessionOptions};
use intraop_core::{Probe, Stage, StageTimes, io, phantom};
use intraop_engine::Simd;

/// Of the pair to register, which no package is calibrated with, and of the golden case.
const PAIR_SEED: u64 = 20;
const GOLDEN_SEED: u64 = 7;

#[derive(Parser)]
struct Arguments {
    package: PathBuf,
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// The vector instructions to use; the widest of this CPU when absent.
    #[arg(long)]
    simd: Option<Simd>,
    /// Write golden.f32 (raw, little endian), fixed.nii.gz, moving.nii.gz and their labels, and
    /// end.
    #[arg(long, value_name = "FOLDER")]
    phantoms: Option<PathBuf>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let package = Package::load(&arguments.package)?;
    match &arguments.phantoms {
        Some(folder) => {
            write_golden(folder, &package)?;
            if package.manifest.grid.is_some() {
                write_pair(folder, &pair(&package)?)?;
            }
            Ok(())
        }
        None => {
            let pair = pair(&package)?;
            serve(package, &arguments, &pair)
        }
    }
}

/// The phantom pair on the package's grid.
fn pair(package: &Package) -> Result<Pair, Box<dyn Error>> {
    let (grid, size) = package.grid()?;
    let geometry = Geometry::new(size, grid.spacing_mm);
    Ok(phantom::pair(PAIR_SEED, &phantom::Options { geometry, ..Default::default() }))
}

fn write_golden(folder: &Path, package: &Package) -> Result<(), Box<dyn Error>> {
    let input = golden_input(&package.manifest, GOLDEN_SEED)?;
    let bytes: Vec<u8> = input.iter().flat_map(|v| v.to_le_bytes()).collect();
    Ok(std::fs::write(folder.join("golden.f32"), bytes)?)
}

fn write_pair(folder: &Path, pair: &Pair) -> Result<(), Box<dyn Error>> {
    for (name, image) in [("fixed", &pair.fixed), ("moving", &pair.moving)] {
        io::write_volume(&folder.join(name).with_extension("nii.gz"), image, ScalarType::F32)?;
    }
    for (name, labels) in
        [("fixed_labels", &pair.fixed_labels), ("moving_labels", &pair.moving_labels)]
    {
        io::write_labels(&folder.join(name).with_extension("nii.gz"), labels)?;
    }
    Ok(())
}

fn serve(package: Package, arguments: &Arguments, pair: &Pair) -> Result<(), Box<dyn Error>> {
    let options = SessionOptions {
        threads: arguments.threads,
        cores: (0..arguments.threads).collect(),
        simd: arguments.simd.unwrap_or_else(Simd::detect),
    };
    let session = Session::new(package, options)?;
    // The golden case is onnxruntime's: what is timed below computes the same.
    let difference = session.verify()?;
    println!(
        r#"ready {{"version": "{}", "threads": {}, "simd": "{}", "golden_difference": {difference}}}"#,
        env!("CARGO_PKG_VERSION"),
        session.threads(),
        session.simd()
    );
    let mut times = StageTimes::default();
    for line in stdin().lines() {
        match line?.as_str() {
            "run" => {
                times = StageTimes::default();
                let start = Instant::now();
                let options = Options::default();
                let found = register(&session, &pair.fixed, &pair.moving, &options, &mut times)?;
                let onto = &pair.fixed.geometry;
                let last = Instant::now();
                let warped = session.install(|| warp(&pair.moving, &found.field, onto));
                times.stage(Stage::Warp, last.elapsed());
                println!("{}", start.elapsed().as_nanos());
                drop(warped);
            }
            "stages" => {
                let ms = |stage: &Stage| (stage.name(), times.of(*stage).as_secs_f64() * 1e3);
                let stages: BTreeMap<_, _> = Stage::OF_VOLUMES.iter().map(ms).collect();
                println!("{}", serde_json::to_string(&stages)?);
            }
            "quit" => break,
            other => return Err(format!("expected run, stages or quit, found {other}").into()),
        }
        stdout().flush()?;
    }
    Ok(())
}
