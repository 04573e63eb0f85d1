mod compare;
mod serial;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::failure::Outcome;
use intraop::bench::{self, BenchReport, Budget, Input, Plan, STAGES, Sample, StageMemory};
use intraop::package::Task;
use intraop::session::Session;
use intraop::{Error, Probe, Result, Stage, io, package};

use super::output::Output;
use crate::options::{Registration, Run};
use crate::say::{say, to_json};
use crate::watch::{Watch, check_interrupt};

/// Measure how fast a model runs on this machine: bench.json, samples.csv, report.html
///
/// From the image in memory to the answer in memory, with the model's golden case before and after.
/// Without an input it is shown a phantom. Exit code 3: slower than the budget, or a wrong answer.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Bench {
    #[command(subcommand)]
    command: Option<Subcommand>,
    /// FIXED and MOVING of a model for registration, else one frame [default: a phantom]
    #[arg(num_args = 0..=2)]
    inputs: Vec<PathBuf>,
    /// Model: a name (see `intraop models list`), a folder or a tar [default: the built-in demo]
    #[arg(long)]
    model: Option<String>,
    /// Folder for the results
    #[arg(long, required_unless_present_any = ["serial", "memory"])]
    out: Option<PathBuf>,
    /// Timed runs [default: 130, which the 95th percentile takes; the 99th takes 662]
    #[arg(long, value_name = "N", conflicts_with = "sustain",
          value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    runs: Option<u32>,
    /// Runs that are not counted, after the first
    #[arg(long, value_name = "N", default_value_t = Plan::default().warmup as u32,
          value_parser = clap::value_parser!(u32).range(0..=10_000))]
    warmup: u32,
    /// Start runs at this rate, as a scanner sends images; those that come too early are dropped
    #[arg(long, value_name = "HZ", value_parser = between::<1, 100_000>)]
    paced: Option<f64>,
    /// Go on for so many minutes: a median, the temperature and the clock of each
    #[arg(long, value_name = "MIN", value_parser = between::<10, 10_000_000>)]
    sustain: Option<f64>,
    /// What the 95th percentile of the whole may take [default: 1000 for registration]
    #[arg(long, value_name = "MS", value_parser = between::<1, 1_000_000_000>)]
    budget: Option<f64>,
    #[command(flatten)]
    registration: Registration,
    #[command(flatten)]
    run: Run,
    /// Print bench.json to stdout
    #[arg(long)]
    json: bool,
    /// Let a host drive the benchmark over this serial port, with the commands of MLPerf Tiny
    #[arg(long, value_name = "PORT",
          conflicts_with_all = ["out", "json", "runs", "paced", "sustain", "budget"])]
    serial: Option<String>,
    /// Of the serial port
    #[arg(long, value_name = "BAUD", default_value_t = 115_200, requires = "serial")]
    baud: u32,
    /// Only note the memory of each stage: what a benchmark starts a process of its own for
    #[arg(long, hide = true)]
    memory: bool,
}

#[derive(clap::Subcommand)]
enum Subcommand {
    Compare(compare::Compare),
}

/// A number from LEAST to MOST thousandths.
fn between<const LEAST: u64, const MOST: u64>(text: &str) -> std::result::Result<f64, String> {
    let (least, most) = (LEAST as f64 / 1000.0, MOST as f64 / 1000.0);
    let number = text.parse().ok().filter(|n| (least..=most).contains(n));
    number.ok_or_else(|| format!("expected a number from {least} to {most}"))
}

const NAMES: [&str; 3] = ["bench.json", "samples.csv", "report.html"];

impl Bench {
    pub fn run(&self) -> Outcome {
        if let Some(Subcommand::Compare(compare)) = &self.command {
            return compare.run();
        }
        let model = self.model.as_deref().unwrap_or(package::DEMO);
        let open = || package::find(model);
        let (options, registration) = (self.run.options()?, self.registration.options()?);
        if self.memory {
            let mut watch = Watch::new();
            let input = self.input()?;
            let memory = bench::stage_memory(open, &options, &registration, input, &mut watch)?;
            return Ok(say(&to_json(&memory))?);
        }
        if let Some(port) = &self.serial {
            let session = Session::new(open()?, options)?;
            session.verify()?;
            let mut work = bench::Work::new(&session, &registration, self.input()?)?;
            return Ok(serial::serve(port, self.baud, &mut work)?);
        }
        // Required by clap where it is used.
        let folder = self.out.as_deref().unwrap_or(Path::new("."));
        let output = Output::create(folder)?;
        output.spare(&NAMES, self.inputs.iter().map(PathBuf::as_path))?;
        let mut bar = Bar::new();
        let outcome =
            bench::run(open, &options, &registration, self.input()?, &self.plan(), &mut bar)?;
        bar.bar.finish_and_clear();
        let mut report = outcome.report;
        report.budget = self.budget(&report);
        match self.stage_memory() {
            Ok(memory) => report.memory = memory,
            Err(problem) => report.warnings.push(format!("memory was not measured: {problem}")),
        }
        let write = |name: &str, text: &str| {
            io::write_atomically(&output.path(name), |w| w.write_all(text.as_bytes()))
        };
        write("bench.json", &format!("{}\n", to_json(&report)))?;
        write("samples.csv", &samples_csv(&report, &outcome.samples))?;
        write("report.html", &bench::page(&report, &outcome.samples))?;
        check_interrupt()?;
        output.commit(&NAMES)?;
        for warning in &report.warnings {
            log::warn!("{warning}");
        }
        if self.json {
            say(&to_json(&report))?;
        } else {
            say(&format!("{}\nresults in {}", summary(&report), folder.display()))?;
        }
        Ok(report.budget.as_ref().map_or(Ok(()), |budget| budget.check(&report))?)
    }

    fn plan(&self) -> Plan {
        Plan {
            runs: self.runs.map_or(Plan::default().runs, |runs| runs as usize),
            warmup: self.warmup as usize,
            paced_hz: self.paced,
            sustain: self.sustain.map(|minutes| Duration::from_secs_f64(60.0 * minutes)),
        }
    }

    /// Of runs too few for a percentile only a budget that was asked for is judged.
    fn budget(&self, report: &BenchReport) -> Option<Budget> {
        let judged = report.end_to_end().p95.is_some();
        let usual = (report.model.task == Task::Registration && judged).then_some(1000.0);
        self.budget.or(usual).map(|ms| Budget::of(ms, report))
    }

    fn input(&self) -> Result<Input> {
        match &self.inputs[..] {
            [] => Ok(Input::Phantom),
            [image] => {
                let frame = io::open_frames(image)?.next().transpose()?;
                let name = image.display().to_string();
                let none = || Error::unusable(name.clone(), "it has no frame", "give another");
                Ok(Input::Frame(frame.ok_or_else(none)?, name.clone()))
            }
            [fixed, moving, ..] => {
                let name = format!("{} and {}", fixed.display(), moving.display());
                let read = |path: &Path| io::read_volume(path).map(Box::new);
                Ok(Input::Pair(read(fixed)?, read(moving)?, name))
            }
        }
    }

    /// The memory of each stage, by this program in a process of its own.
    fn stage_memory(&self) -> std::result::Result<Vec<StageMemory>, String> {
        let program = std::env::current_exe().map_err(|e| e.to_string())?;
        // The same arguments after "bench"; those of the benchmark itself do no harm.
        let arguments = std::env::args_os().skip(2);
        let mut command = Command::new(program);
        command.args(["bench", "--memory"]).args(arguments);
        let output = command.output().map_err(|e| e.to_string())?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr);
            return Err(crate::failure::one_line(message.trim()));
        }
        serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())
    }
}

/// Ctrl-C, and how far the runs are.
struct Bar {
    watch: Watch,
    bar: ProgressBar,
}

impl Bar {
    fn new() -> Self {
        const STEPS: u64 = 1000;
        let bar = ProgressBar::new(STEPS);
        let style = "{bar:40} {percent} %, {eta} left";
        bar.set_style(ProgressStyle::with_template(style).expect("a fixed template"));
        Bar { watch: Watch::new(), bar }
    }
}

impl Probe for Bar {
    fn stage(&mut self, stage: Stage, took: Duration) {
        self.watch.stage(stage, took);
    }

    fn progress(&mut self, share: f32) {
        self.bar.set_position((share * 1000.0) as u64);
    }

    fn cancelled(&self) -> bool {
        self.watch.cancelled()
    }
}

/// One line per run, of the stages that the report has.
fn samples_csv(report: &BenchReport, samples: &[Sample]) -> String {
    let there = |name: &str| report.stages.iter().any(|s| s.name == name);
    let stages: Vec<_> = STAGES.iter().filter(|(name, _)| there(name)).collect();
    let mut text = String::from("run,start_ns");
    for (name, _) in &stages {
        text += &format!(",{name}_ns");
    }
    for (number, sample) in samples.iter().enumerate() {
        text += &format!("\n{number},{}", sample.start);
        for (_, of) in &stages {
            text += &format!(",{}", of(sample));
        }
    }
    text + "\n"
}

/// The report for people.
fn summary(report: &BenchReport) -> String {
    let (model, settings) = (&report.model, &report.settings);
    let ms = |ns: f64| format!("{:.3}", ns / 1e6);
    let supported = |ns: Option<f64>| ns.map_or("-".into(), ms);
    let mut lines = vec![
        format!(
            "{}: {} runs of {}, threads: {}, {}",
            model.name, settings.runs, settings.input, settings.threads, settings.simd
        ),
        format!(
            "{:<12} {:>10} {:>10} {:>10} {:>10} {:>10}",
            "ms", "min", "median", "p95", "p99", "max"
        ),
    ];
    for stage in &report.stages {
        let s = &stage.times;
        let [p95, p99] = [s.p95, s.p99].map(supported);
        let [min, p50, max] = [s.min, s.p50, s.max].map(ms);
        lines.push(format!("{:<12} {min:>10} {p50:>10} {p95:>10} {p99:>10} {max:>10}", stage.name));
    }
    let once = &report.once;
    let [load, optimize, verify, first] =
        [once.load_ns, once.optimize_ns, once.verify_ns, once.first_ns].map(|t| ms(t as f64));
    lines.push(format!(
        "once: load {load}, compile {optimize}, golden case {verify} (met), first run {first} ms"
    ));
    for minute in &report.minutes {
        let known = |value: Option<f64>, unit: &str| {
            value.map_or(String::new(), |value| format!(", {value:.0} {unit}"))
        };
        lines.push(format!(
            "minute {}: {} runs, median {} ms{}{}{}",
            minute.minute,
            minute.n,
            ms(minute.p50),
            known(minute.celsius, "°C"),
            known(minute.mhz, "MHz"),
            match (minute.throttle_events, minute.held_back) {
                (Some(1..), _) | (_, Some(true)) => ", held back",
                _ => "",
            },
        ));
    }
    let of = |name: &str| report.memory.iter().find(|m| m.stage == name);
    let peak = report.memory.iter().map(|m| m.peak_mib).max_by(f64::total_cmp);
    if let (Some(session), Some(peak)) = (of("session"), peak) {
        let resident = session.resident_mib;
        lines.push(format!("memory: {resident:.1} MiB waiting, {peak:.1} MiB at most"));
    }
    if let Some(budget) = report.budget.as_ref().filter(|b| b.met) {
        let p95 = budget.p95_ms.unwrap_or(0.0);
        lines.push(format!("budget of {} ms met: 95th percentile {p95:.1} ms", budget.ms));
    }
    lines.join("\n")
}
