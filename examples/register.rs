//! Registers two volumes and says how well it went:
//! `cargo run --release --example register -- FIXED MOVING MODEL OUT.nii.gz`
//!
//! Without arguments it registers a phantom pair with the built-in model and writes nothing.

use std::path::Path;
use std::time::Duration;

use intraop::registration::{Options, register, warp};
use intraop::session::{Session, SessionOptions};
use intraop::{Probe, Stage, io, metrics, package, phantom};

/// Is told of every step; could also cancel (`Probe::cancelled`).
struct Progress;

impl Probe for Progress {
    fn stage(&mut self, stage: Stage, took: Duration) {
        println!("{:>10}  {:.1} ms", stage.name(), 1e3 * took.as_secs_f64());
    }
}

fn main() -> intraop::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (fixed, moving, model, out) = match &arguments[..] {
        [] => {
            let pair = phantom::pair(20, &phantom::Options::default());
            (pair.fixed, pair.moving, package::DEMO, None)
        }
        [fixed, moving, model, out] => {
            let read = |path: &String| io::read_volume(Path::new(path));
            (read(fixed)?, read(moving)?, model.as_str(), Some(Path::new(out)))
        }
        _ => panic!("give FIXED MOVING MODEL OUT.nii.gz, or nothing"),
    };

    // Compiled once, for any number of pairs.
    let session = Session::new(package::find(model)?, SessionOptions::with_threads(2))?;
    session.verify()?;

    let registered = register(&session, &fixed, &moving, &Options::default(), &mut Progress)?;
    let warped = warp(&moving, &registered.field, &fixed.geometry);
    let ncc = metrics::ncc(&fixed.data, &warped.data, None);
    let folding = metrics::regularity(&registered.field).folding_percent;
    println!("correlation with the fixed image {ncc:.3?}, folding {folding:.3} %");
    out.map_or(Ok(()), |out| io::write_volume(out, &warped, io::ScalarType::F32))
}
