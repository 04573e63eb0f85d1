//! What a benchmark's `report.html` says.

use super::Sample;
use super::report::{BenchReport, Minute};
use super::statistics::{Summary, runs_for};
use crate::html::{Cell, Column, Marks, Page, Plot, Table};

/// More runs than this are not all drawn: a page of hours would have a hundred MB.
pub(super) const DRAWN: usize = 1500;

/// The page of one benchmark: figures, plots, a table of stages, the machine.
pub fn page(report: &BenchReport, samples: &[Sample]) -> String {
    let (model, settings) = (&report.model, &report.settings);
    let pace = match settings.paced_hz {
        Some(hz) => format!("at {hz} Hz"),
        None => "one after the other".into(),
    };
    let page = Page {
        title: format!("Speed of {}", model.name),
        lead: format!(
            "{} runs {pace} on {}, threads: {}, {}. From the image in memory to the answer in memory.",
            settings.runs, settings.input, settings.threads, settings.simd
        ),
        warnings: report.warnings.clone(),
        figures: figures(report),
        plots: plots(report, samples),
        table: table(report),
        facts: facts(report),
        ..Page::default()
    };
    page.to_html()
}

fn ms(ns: f64) -> String {
    let ms = ns / 1e6;
    let digits = if ms < 10.0 { 2 } else { 1 };
    format!("{ms:.digits$} ms")
}

fn figures(report: &BenchReport) -> Vec<(String, String)> {
    let whole = report.end_to_end();
    let supported = |p: f64, value: Option<f64>| match value {
        Some(value) => ms(value),
        None => format!("n too small: {} of {}", whole.n, runs_for(p)),
    };
    let mut figures = vec![
        ("End to end, median".into(), ms(whole.p50)),
        ("95th percentile".into(), supported(0.95, whole.p95)),
        ("99th percentile".into(), supported(0.99, whole.p99)),
        ("Slowest".into(), ms(whole.max)),
        ("First run".into(), ms(report.once.first_ns as f64)),
        ("Load and compile".into(), ms((report.once.load_ns + report.once.optimize_ns) as f64)),
    ];
    if let Some(peak) = report.memory.iter().map(|m| m.peak_mib).max_by(f64::total_cmp) {
        figures.push(("Peak memory".into(), format!("{peak:.0} MiB")));
    }
    if let Some(budget) = &report.budget {
        let met = if budget.met { "met" } else { "NOT met" };
        figures.push((format!("Budget of {} ms", budget.ms), met.into()));
    }
    figures
}

fn plots(report: &BenchReport, all: &[Sample]) -> Vec<Plot> {
    let every = all.len().div_ceil(DRAWN).max(1);
    let samples: Vec<&Sample> = all.iter().step_by(every).collect();
    let dot = match every {
        1 => "One dot per run".to_string(),
        every => format!("One dot per {every}th run"),
    };
    let end_to_end: Vec<f64> = all.iter().map(|s| s.end_to_end as f64 / 1e6).collect();
    let over_time = samples.iter().map(|s| [s.start as f64 / 1e9, s.end_to_end as f64 / 1e6]);
    let stages = report.stages.iter().filter_map(|stage| {
        let (_, of) = super::STAGES.iter().find(|(name, _)| *name == stage.name)?;
        let times = samples.iter().map(|s| of(s) as f64 / 1e6).collect();
        Some((stage.name.replace('_', " "), vec![times]))
    });
    let plot = |title: &str, how_to_read: &str, x: &str, y: &str, marks| Plot {
        title: title.into(),
        how_to_read: how_to_read.into(),
        x: x.into(),
        y: y.into(),
        marks,
    };
    let mut plots = vec![
        plot(
            "Stages",
            &format!("{dot}; the box holds the middle half, its line is the median."),
            "ms",
            "",
            Marks::Strips { series: vec![String::new()], groups: stages.collect() },
        ),
        plot("End to end", "How often a run took how long.", "ms", "runs", {
            Marks::Histogram(end_to_end)
        }),
        plot(
            "Run after run",
            &format!(
                "{dot}. A level line is a machine at rest; steps and slopes are other work, or heat."
            ),
            "seconds since the first counted run",
            "end to end in ms",
            Marks::Series(vec![(String::new(), over_time.collect())]),
        ),
    ];
    let by_minute = |of: &dyn Fn(&Minute) -> Option<f64>| -> Vec<[f64; 2]> {
        report.minutes.iter().filter_map(|m| Some([m.minute as f64, of(m)?])).collect()
    };
    let minutes: [(&str, &str, Vec<[f64; 2]>); 3] = [
        ("Median of each minute", "end to end in ms", by_minute(&|m| Some(m.p50 / 1e6))),
        ("Temperature", "°C", by_minute(&|m| m.celsius)),
        ("Clock", "MHz", by_minute(&|m| m.mhz)),
    ];
    let known = minutes.into_iter().filter(|(.., points)| !points.is_empty());
    plots.extend(known.map(|(title, y, points)| {
        let marks = Marks::Series(vec![(String::new(), points)]);
        plot(title, "One dot per minute of the sustained run.", "minute", y, marks)
    }));
    plots
}

fn table(report: &BenchReport) -> Table {
    const COLUMNS: [&str; 9] = ["stage, ms", "n", "min", "p50", "p90", "p95", "p99", "max", "sd"];
    let row = |(name, s): (&str, &Summary)| {
        let number = |ns: f64| Cell::Number(ns / 1e6);
        let supported = |ns: Option<f64>| Cell::Number(ns.map_or(f64::NAN, |ns| ns / 1e6));
        vec![
            Cell::Text(name.replace('_', " ")),
            Cell::Text(s.n.to_string()),
            number(s.min),
            number(s.p50),
            supported(s.p90),
            supported(s.p95),
            supported(s.p99),
            number(s.max),
            number(s.sd),
        ]
    };
    Table {
        title: "Times".into(),
        columns: COLUMNS.map(|name| Column { name: name.into(), decimals: 3 }).into(),
        rows: report.stages.iter().map(|s| row((&s.name, &s.times))).collect(),
        worst: None,
    }
}

fn facts(report: &BenchReport) -> Vec<(String, String)> {
    let (device, settings, once) = (&report.device, &report.settings, &report.once);
    let unknown = || "unknown".to_string();
    let list = |cores: &[usize]| cores.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    let mut facts = vec![
        ("model".into(), format!("{} {}", report.model.name, report.model.version)),
        ("its networks' hash".into(), report.model.sha256.clone()),
        ("precision".into(), format!("{:?}", report.model.precision)),
        ("networks that ran".into(), settings.graphs.join(", ")),
        (
            "golden case".into(),
            format!(
                "met, {:.1e} from {}; the last answer the first one",
                report.checks.golden_difference, report.checks.golden_engine
            ),
        ),
        ("load, compile, golden case".into(), {
            let parts = [once.load_ns, once.optimize_ns, once.verify_ns];
            parts.map(|ns| ms(ns as f64)).join(", ")
        }),
        ("device".into(), device.model.clone().unwrap_or_else(unknown)),
        ("chip".into(), device.soc.clone().unwrap_or_else(unknown)),
        ("system".into(), device.system.clone()),
    ];
    for cluster in &device.clusters {
        let mhz = |mhz: Option<u32>| mhz.map_or_else(unknown, |mhz| mhz.to_string());
        facts.push((
            format!("cores {}", list(&cluster.cores)),
            format!(
                "{}, {} to {} MHz, governor {}",
                cluster.name,
                mhz(cluster.min_mhz),
                mhz(cluster.limit_mhz),
                cluster.governor.clone().unwrap_or_else(unknown)
            ),
        ));
    }
    let cores = match &settings.cores[..] {
        [] => "as the system chooses".into(),
        cores => format!("on cores {}", list(cores)),
    };
    facts.push(("threads".into(), format!("{}, {cores}", settings.threads)));
    facts.push(("vectors".into(), settings.simd.clone()));
    for stage in &report.memory {
        let (peak, resident) = (stage.peak_mib, stage.resident_mib);
        facts.push((
            format!("memory, {}", stage.stage),
            format!("{peak:.1} MiB at most, {resident:.1} MiB at its end"),
        ));
    }
    facts.push(("intraop".into(), report.intraop.clone()));
    facts
}
