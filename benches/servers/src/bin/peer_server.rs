//! intraop with one network, behind the protocol of `peer.py`: `ready` and the configuration
//! first, then `run` computes once and answers in nanoseconds, `output PATH` writes the outputs as
//! raw f32, `layers` computes once and tells of every step, `quit` ends.

use std::error::Error;
use std::io::{Write, stdin, stdout};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;
use intraop_engine::{Network, Simd, StepInfo, threads};

#[derive(Parser)]
struct Options {
    model: PathBuf,
    /// Raw f32, little endian, of all inputs one after the other.
    input: PathBuf,
    #[arg(long)]
    threads: usize,
    /// The vector instructions to use; the widest of this CPU when absent.
    #[arg(long)]
    simd: Option<Simd>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let simd = options.simd.unwrap_or_else(Simd::detect);
    let name = options.model.display().to_string();
    let network =
        Network::new(&name, &Network::parse(&name, &std::fs::read(&options.model)?)?, simd)?;
    let values = read_f32(&options.input)?;
    let mut rest = values.as_slice();
    let mut inputs = Vec::new();
    for tensor in network.inputs() {
        let expected: usize = tensor.shape.iter().product();
        let (input, others) = rest.split_at_checked(expected).ok_or_else(|| {
            format!("{name}: {}: expected {expected} values, found {}", tensor.name, rest.len())
        })?;
        inputs.push(input);
        rest = others;
    }
    // As OpenVINO does: two threads that wake on one core work one after the other.
    let cores: Vec<usize> = (0..options.threads).collect();
    let pool =
        threads::pool(options.threads, &cores).or_else(|_| threads::pool(options.threads, &[]))?;
    let mut outputs = Vec::new();
    let version = env!("CARGO_PKG_VERSION");
    let own = network.steps().iter().all(|step| step.engine == "intraop");
    println!(
        r#"ready {{"version": "{version}", "threads": {}, "simd": "{simd}", "all_own": {own}}}"#,
        options.threads
    );
    for line in stdin().lines() {
        let line = line?;
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("run", _) => {
                let start = Instant::now();
                pool.install(|| network.run(&inputs, &mut outputs).map_err(|e| e.to_string()))?;
                println!("{}", start.elapsed().as_nanos());
            }
            ("output", path) => {
                write_f32(path, &outputs.concat())?;
                println!("written");
            }
            ("layers", _) => {
                let mut steps = Vec::new();
                pool.install(|| {
                    network.profile(&inputs, |step, took| steps.push(layer(step, took)))
                });
                println!("{}", serde_json::Value::from(steps));
            }
            ("quit", _) => break,
            (other, _) => {
                return Err(format!("expected run, output, layers or quit, found {other}").into());
            }
        }
        stdout().flush()?;
    }
    Ok(())
}

/// Milliseconds, kind, tensors, name and multiply-accumulates of a step, as JSON.
fn layer(step: &StepInfo, took: Duration) -> serde_json::Value {
    let what = format!("{} to {}", step.from, step.to);
    serde_json::json!([took.as_secs_f64() * 1e3, step.op, what, step.name, step.macs])
}

fn read_f32(path: &PathBuf) -> Result<Vec<f32>, std::io::Error> {
    let bytes = std::fs::read(path)?;
    Ok(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
}

fn write_f32(path: &str, values: &[f32]) -> Result<(), std::io::Error> {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(path, bytes)
}
