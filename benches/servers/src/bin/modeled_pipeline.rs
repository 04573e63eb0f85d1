//! What `cross/model` models and measures: a registration of a phantom pair by a package, on one
//! thread, from two volumes in memory to the field and the warped volume in memory; then two of its
//! networks, step by step.
//!
//! Prints a line of JSON when a part of the work ends: what it was, its time, the bytes that it
//! reads and writes.

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;
use intraop_core::image::Geometry;
use intraop_core::package::Package;
use intraop_core::registration::{Options, register, warp};
use intraop_core::session::{Session, SessionOptions};
use intraop_core::{Probe, Stage, phantom};
use intraop_engine::Simd;

#[derive(Parser)]
struct Arguments {
    package: PathBuf,
    /// The vector instructions to use; the widest of this CPU when absent.
    #[arg(long)]
    simd: Option<Simd>,
    /// How often to do it all.
    #[arg(long, default_value_t = 1)]
    repeat: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let package = Package::load(&arguments.package)?;
    let (grid, size) = package.grid()?;
    let geometry = Geometry::new(size, grid.spacing_mm);
    let pair = phantom::pair(20, &phantom::Options { geometry, ..Default::default() });
    let simd = arguments.simd.unwrap_or_else(Simd::detect);
    let options = SessionOptions { threads: 1, cores: vec![0], simd };
    let session = Session::new(package, options)?;
    for _ in 0..arguments.repeat {
        let voxels = pair.fixed.data.len();
        let mut lines = Lines { voxels, ..Lines::default() };
        line("", "start", 0, 0, Duration::ZERO);
        let found = register(&session, &pair.fixed, &pair.moving, &Options::default(), &mut lines)?;
        let start = Instant::now();
        let warped = session.install(|| warp(&pair.moving, &found.field, &pair.fixed.geometry));
        lines.stage(Stage::Warp, start.elapsed());
        drop(warped);
        // The other displacement networks are like the first.
        for (network, input) in session.networks().iter().zip(&lines.inputs) {
            line("", "network", 0, 0, Duration::ZERO);
            session.install(|| {
                network.profile(&[input], |step, took| {
                    let what = format!("{} {} → {}", step.op, step.from, step.to);
                    let bytes = step.image_bytes + step.weight_bytes;
                    line("network", &what, step.macs, bytes, took);
                });
            });
        }
    }
    Ok(())
}

/// What has passed of the registration.
#[derive(Default)]
struct Lines {
    voxels: usize,
    /// Of the first two networks.
    inputs: Vec<Vec<f32>>,
    warps: usize,
    compositions: usize,
}

/// Bytes that are read and written for a voxel, in f32: images of 1 sample, fields of 3.
const IMAGE: usize = 4;
const FIELD: usize = 12;

impl Probe for Lines {
    fn network_input(&mut self, _: usize, input: &[f32]) {
        if self.inputs.len() < 2 {
            self.inputs.push(input.to_vec());
        }
        line("", "input", 0, 0, Duration::ZERO);
    }

    fn stage(&mut self, stage: Stage, took: Duration) {
        let (what, bytes) = match stage {
            // Of both: their percentiles in two passes, scaling, sampling on the grid; then a
            // copy of one of them.
            Stage::Preprocess => ("both images", 2 * 6 * IMAGE + 2 * IMAGE),
            // Told of step by step below.
            Stage::Infer => ("", 0),
            Stage::Warp => {
                self.warps += 1;
                let field = if self.warps == 1 { 0 } else { FIELD };
                ("moving image", field + 2 * IMAGE)
            }
            _ => {
                self.compositions += 1;
                match self.compositions {
                    // The affine map; the first field, which stays as it is.
                    1 | 2 => ("", 0),
                    3 | 4 => ("two fields", 3 * FIELD),
                    _ => ("delivered field", 2 * FIELD),
                }
            }
        };
        line(stage.name(), what, 0, bytes * self.voxels, took);
    }
}

fn line(stage: &str, what: &str, macs: usize, bytes: usize, took: Duration) {
    let ns = took.as_nanos();
    println!(
        r#"{{"stage": "{stage}", "what": "{what}", "macs": {macs}, "bytes": {bytes}, "ns": {ns}}}"#
    );
}
