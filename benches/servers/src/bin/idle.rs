//! idle MODEL THREADS: what a session costs before it does anything, as a line of JSON. Run by
//! `benches/lean/run`, once per model in a fresh process.

use std::time::Instant;

use intraop_core::package;
use intraop_core::session::{Session, SessionOptions};
use serde_json::json;

/// A line of /proc/self/status, in bytes.
fn status(line: &str) -> usize {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let value = text.lines().find_map(|l| l.strip_prefix(line)).expect("a line of this name");
    value.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok()).expect("KiB") * 1024
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, threads] = &arguments[..] else { panic!("idle MODEL THREADS") };
    let threads = threads.parse().expect("a number of threads");
    let before = status("VmRSS");
    let start = Instant::now();
    let mut times = Vec::new();
    let mut lap = |name| times.push((name, start.elapsed().as_secs_f64() * 1e3));
    let package = package::find(model)?;
    lap("find");
    let session = Session::new(package, SessionOptions::with_threads(threads))?;
    lap("compile");
    session.verify()?;
    lap("verify");
    let networks = session.networks();
    let steps = networks.iter().flat_map(|n| n.steps());
    let report = json!({
        "model": model,
        "threads": threads,
        "milliseconds_until": times.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        "idle_bytes": status("VmRSS"),
        "of_it_files": status("RssFile"),
        "peak_bytes": status("VmHWM"),
        "at_start_bytes": before,
        "weight_bytes": steps.map(|s| s.weight_bytes).sum::<usize>(),
        "image_bytes": networks.iter().map(|n| n.arena_bytes()).max(),
    });
    println!("{report}");
    Ok(())
}
