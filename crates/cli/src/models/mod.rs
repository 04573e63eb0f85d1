#[cfg(feature = "full")]
mod import;

use std::collections::BTreeMap;

use clap::Subcommand;
use serde::Serialize;

#[cfg(not(feature = "full"))]
use intraop::Error;
use intraop::Result;
use intraop::engine::Network;
use intraop::package::{self, Manifest, Package};
use intraop::session::{Session, SessionOptions};

use crate::say::{say, to_json};

/// List, show, verify and import model packages
#[derive(clap::Args)]
pub struct Models {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The packages that --model finds by name
    List {
        #[arg(long)]
        json: bool,
    },
    /// What a package says of itself
    Show {
        model: String,
        /// What the engine makes of each graph, step by step: who runs it, shapes,
        /// multiply-accumulates, bytes
        #[arg(long)]
        plan: bool,
        /// As JSON: the whole manifest, or the plan
        #[arg(long)]
        json: bool,
    },
    /// Check hashes, compile the graphs and run the golden case
    Verify { model: String },
    #[cfg(feature = "full")]
    Import(Box<import::Import>),
    /// Make a package of an ONNX file that somebody else made: in builds with the feature full
    #[cfg(not(feature = "full"))]
    Import {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        arguments: Vec<String>,
    },
}

#[derive(Serialize)]
struct Row {
    name: String,
    path: String,
    version: String,
    description: String,
    error: Option<String>,
}

impl Models {
    pub fn run(&self) -> Result<()> {
        match &self.command {
            Command::List { json } => list(*json),
            Command::Show { model, plan, json } => show(model, *plan, *json),
            Command::Verify { model } => verify(model),
            #[cfg(feature = "full")]
            Command::Import(import) => import.run(),
            #[cfg(not(feature = "full"))]
            Command::Import { arguments } => Err(needs_full(arguments)),
        }
    }
}

/// Importing asks the fallback engine for what a foreign model computes.
#[cfg(not(feature = "full"))]
fn needs_full(arguments: &[String]) -> Error {
    let problem = "expected a program with the fallback engine, found one without";
    let again = format!("models import {}", arguments.join(" "));
    let advice = format!("run `cargo run --release --features full -- {}`", again.trim_end());
    Error::unusable("models import", problem, advice)
}

fn list(json: bool) -> Result<()> {
    let rows: Vec<Row> = package::list()
        .into_iter()
        .map(|(name, package)| match package {
            Ok(p) => Row {
                name,
                path: p.path.display().to_string(),
                version: p.manifest.version,
                description: p.manifest.description,
                error: None,
            },
            Err(e) => Row {
                name,
                path: String::new(),
                version: String::new(),
                description: String::new(),
                error: Some(e.to_string()),
            },
        })
        .collect();
    if json {
        return say(&to_json(&rows));
    }
    let line = |row: &Row| match &row.error {
        None => format!("{:16} {:8} {}", row.name, row.version, row.description),
        Some(error) => format!("{:16} broken   {error}", row.name),
    };
    say(&rows.iter().map(line).collect::<Vec<_>>().join("\n"))
}

fn show(model: &str, plan: bool, json: bool) -> Result<()> {
    let package = package::find(model)?;
    if plan {
        return show_plan(package, json);
    }
    let manifest = &package.manifest;
    if json {
        return say(&to_json(manifest));
    }
    say(&format!("{}path          {}", describe(manifest), package.path.display()))
}

/// What runs where, step by step.
fn show_plan(package: Package, json: bool) -> Result<()> {
    let session = Session::new(package, SessionOptions::with_threads(1))?;
    let names = session.package().manifest.graphs.iter().map(|g| &g.name);
    if json {
        let plans: BTreeMap<_, _> =
            names.zip(session.networks().iter().map(Network::steps)).collect();
        return say(&to_json(&plans));
    }
    let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
    let mut lines = Vec::new();
    for (name, network) in names.zip(session.networks()) {
        let steps = network.steps();
        let macs: usize = steps.iter().map(|s| s.macs).sum();
        let weights: usize = steps.iter().map(|s| s.weight_bytes).sum();
        lines.push(format!(
            "{name}: {:.3} GMAC, weights {:.1} MiB, arena {:.1} MiB, {} vectors",
            macs as f64 / 1e9,
            mib(weights),
            mib(network.arena_bytes()),
            session.simd()
        ));
        for step in steps {
            lines.push(format!(
                "  {:8} {:13} {:>9.3} MMAC {:>9.3} MiB  {} → {}  {}",
                step.engine,
                step.op,
                step.macs as f64 / 1e6,
                mib(step.weight_bytes + step.image_bytes),
                step.from,
                step.to,
                step.name
            ));
        }
    }
    say(&lines.join("\n"))
}

fn describe(m: &Manifest) -> String {
    let mut lines = vec![
        format!("{} {}: {}", m.name, m.version, m.description),
        format!("task          {:?}, {:?}", m.task, m.precision),
        format!("license       {}", m.license),
        format!("intended use  {}", m.intended_use),
        format!("data          {}", m.data_source),
    ];
    if let Some(grid) = &m.grid {
        let orientation = String::from(grid.orientation);
        lines.push(format!(
            "grid          {:?} mm, {:?}, {orientation}, initial alignment {:?}",
            grid.spacing_mm, grid.fit, grid.initial
        ));
    }
    for graph in &m.graphs {
        let input = &graph.inputs[0];
        let heads: Vec<String> =
            graph.heads.iter().map(|h| format!("{:?} {:?}", h.kind, h.spatial_shape)).collect();
        lines.push(format!(
            "graph         {}: {:?} {:?} to {}",
            graph.file,
            input.channel_def,
            input.spatial_shape,
            heads.join(", ")
        ));
    }
    for (name, value) in &m.eval_metrics {
        lines.push(format!("metric        {name} {value}"));
    }
    lines.join("\n") + "\n"
}

fn verify(model: &str) -> Result<()> {
    let package = package::find(model)?;
    let name = package.manifest.name.clone();
    let difference = Session::new(package, SessionOptions::default())?.verify()?;
    say(&format!("{name}: hashes, graphs and golden case are right (difference {difference:.1e})"))
}
