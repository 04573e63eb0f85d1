//! intraop's way from a frame in memory to landmarks and measurements, for Python to compare with:
//! a model and a thread count as arguments; then the path of an image per line on stdin, and for
//! each a line of JSON: nanoseconds of the whole and of each stage, and what was found.

use std::error::Error;
use std::io::{Write, stdin, stdout};
use std::path::Path;
use std::time::Instant;

use intraop_core::landmarks::Finder;
use intraop_core::session::{Session, SessionOptions};
use intraop_core::{Stage, StageTimes, io, package};
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, model, threads] = &arguments[..] else { return Err("MODEL THREADS".into()) };
    let options = SessionOptions::with_threads(threads.parse()?);
    let session = Session::new(package::find(model)?, options)?;
    session.verify()?;
    let mut finder = Finder::new(&session)?;
    for line in stdin().lines() {
        let path = line?;
        let frame = io::open_frames(Path::new(&path))?.next().ok_or("no frame")??;
        let mut times = StageTimes::default();
        let start = Instant::now();
        let found = finder.find(&frame, Some([0.1, 0.1]), &path, &mut times)?;
        let ns = start.elapsed().as_nanos() as u64;
        let stage = |stage: Stage| times.of(stage).as_nanos() as u64;
        let stages = [Stage::Preprocess, Stage::Infer, Stage::Decode].map(stage);
        let places: Vec<_> = found.landmarks.iter().map(|l| l.place).collect();
        println!("{}", json!({"ns": ns, "stages": stages, "places": places}));
        stdout().flush()?;
    }
    Ok(())
}
