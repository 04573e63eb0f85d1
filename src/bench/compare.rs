//! Devices or versions side by side.

use serde::Serialize;

use super::report::BenchReport;
use super::statistics::{Change, Verdict, change};
use crate::device::Cluster;
use crate::html::{Cell, Column, Marks, Page, Plot, Table};

/// Reports beside the first one.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// One row per stage and report, the first report's rows first.
    pub rows: Vec<Row>,
    /// In what the reports differ besides their times: then the times may differ because of it.
    pub differences: Vec<Difference>,
    /// Changes of less than this share are none.
    pub floor: f64,
}

#[derive(Debug, Clone, Serialize)]
pub struct Row {
    pub stage: String,
    /// By its number, from 0.
    pub report: usize,
    pub n: usize,
    /// In ns.
    pub p50: f64,
    pub p95: Option<f64>,
    /// Against the first report's; of that none.
    pub change: Option<Change>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    pub what: String,
    /// One per report.
    pub values: Vec<String>,
}

/// Puts reports beside the first of them. `floor` is a share: changes of medians below it are none.
pub fn compare(reports: &[BenchReport], floor: f64) -> Comparison {
    let mut stages: Vec<&str> = Vec::new();
    for stage in reports.iter().flat_map(|r| &r.stages) {
        if !stages.contains(&stage.name.as_str()) {
            stages.push(&stage.name);
        }
    }
    let times = |report: &'_ BenchReport, stage: &str| {
        report.stages.iter().find(|s| s.name == stage).map(|s| s.times.clone())
    };
    let mut rows = Vec::new();
    for stage in stages {
        let first = reports.first().and_then(|r| times(r, stage));
        for (number, report) in reports.iter().enumerate() {
            let Some(new) = times(report, stage) else { continue };
            let old = first.as_ref().filter(|_| number > 0);
            rows.push(Row {
                stage: stage.into(),
                report: number,
                n: new.n,
                p50: new.p50,
                p95: new.p95,
                change: old.map(|old| change(old, &new, floor)),
            });
        }
    }
    Comparison { rows, differences: differences(reports), floor }
}

impl Comparison {
    /// The reports, by number, that are slower end to end than the first: beyond noise, with nothing
    /// else that explains it than another version of the program.
    pub fn regressions(&self) -> Vec<usize> {
        let slower = |row: &&Row| {
            row.stage == super::report::END_TO_END
                && row.change.is_some_and(|c| c.verdict == Verdict::Slower)
        };
        let explained = |report: usize| {
            let differs = |d: &Difference| d.values[report] != d.values[0];
            self.differences.iter().any(|d| d.what != VERSION && differs(d))
        };
        let slower = self.rows.iter().filter(slower).map(|row| row.report);
        slower.filter(|report| !explained(*report)).collect()
    }

    /// A table for people; `names` are the reports'.
    pub fn table(&self, names: &[String]) -> String {
        let mut lines = Vec::new();
        for (number, name) in names.iter().enumerate() {
            lines.push(format!("[{number}] {name}"));
        }
        for difference in &self.differences {
            lines.push(format!("{}: {}", difference.what, difference.values.join(" | ")));
        }
        lines.push(format!(
            "{:<12} {:>3} {:>6} {:>12} {:>12} {:>8} {:>8}",
            "stage", "", "runs", "median ms", "p95 ms", "ratio", "beyond"
        ));
        for row in &self.rows {
            let p95 = row.p95.map_or("-".into(), |p95| format!("{:.3}", p95 / 1e6));
            let (ratio, threshold, verdict) = match &row.change {
                None => (String::new(), String::new(), ""),
                Some(c) => {
                    let threshold =
                        c.threshold.map_or("-".into(), |t| format!("{:.0} %", 100.0 * t));
                    (format!("{:.3}", c.ratio), threshold, word(c.verdict))
                }
            };
            let line = format!(
                "{:<12} {:>3} {:>6} {:>12.3} {p95:>12} {ratio:>8} {threshold:>8} {verdict}",
                row.stage,
                format!("[{}]", row.report),
                row.n,
                row.p50 / 1e6,
            );
            lines.push(line.trim_end().into());
        }
        lines.join("\n")
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Faster => "faster",
        Verdict::WithinNoise => "within noise",
        Verdict::Slower => "slower",
        Verdict::Unknown => "too few runs",
    }
}

const VERSION: &str = "intraop";

fn differences(reports: &[BenchReport]) -> Vec<Difference> {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".into());
    type Value<'a> = (&'a str, &'a dyn Fn(&BenchReport) -> String);
    let values: [Value; 15] = [
        (VERSION, &|r| r.intraop.clone()),
        ("device", &|r| text(&r.device.model)),
        ("chip", &|r| format!("{}, {}", text(&r.device.soc), r.device.architecture)),
        ("model", &|r| format!("{} {:.12}", r.model.name, r.model.sha256)),
        ("networks", &|r| r.settings.graphs.join(", ")),
        ("alignment", &|r| r.settings.initial.clone().unwrap_or_else(|| "the model's".into())),
        ("input", &|r| r.settings.input.clone()),
        ("threads", &|r| r.settings.threads.to_string()),
        ("cores", &|r| format!("{:?}", r.settings.cores)),
        ("vectors", &|r| r.settings.simd.clone()),
        ("build", &|r| if r.settings.debug_build { "for tests" } else { "release" }.into()),
        ("system", &|r| r.device.system.clone()),
        ("limit of processors", &|r| format!("{:?}", r.device.cpu_limit)),
        ("clock", &|r| {
            let of = |c: &Cluster| format!("{:?} to {:?} MHz", c.governor, c.limit_mhz);
            r.device.clusters.iter().map(of).collect::<Vec<_>>().join(", ")
        }),
        ("pace", &|r| {
            let hz = r.settings.paced_hz;
            let pace = hz.map_or("one after the other".into(), |hz| format!("{hz} Hz"));
            let minutes = r.settings.sustain_minutes;
            pace + &minutes.map_or(String::new(), |minutes| format!(" for {minutes} minutes"))
        }),
    ];
    let difference = |(what, of): &Value| {
        let values: Vec<String> = reports.iter().map(of).collect();
        let differs = values.iter().any(|v| *v != values[0]);
        differs.then(|| Difference { what: (*what).into(), values })
    };
    values.iter().filter_map(difference).collect()
}

/// A page of a comparison; `names` are the reports', `samples` the end-to-end times of each in ns,
/// where they are known.
pub fn comparison_page(comparison: &Comparison, names: &[String], times: &[Vec<f64>]) -> String {
    let ms = |times: &Vec<f64>| {
        let every = times.len().div_ceil(super::page::DRAWN).max(1);
        vec![times.iter().step_by(every).map(|ns| ns / 1e6).collect()]
    };
    let strips = Plot {
        title: "End to end".into(),
        how_to_read: "A dot per run, of many every so manyth; the box holds the middle half, its line is the median."
            .into(),
        x: "ms".into(),
        y: String::new(),
        marks: Marks::Strips {
            series: vec![String::new()],
            groups: names.iter().cloned().zip(times.iter().map(ms)).collect(),
        },
    };
    let row = |row: &Row| {
        let number = |v: Option<f64>| Cell::Number(v.unwrap_or(f64::NAN));
        vec![
            Cell::Text(row.stage.clone()),
            Cell::Text(names[row.report].clone()),
            Cell::Number(row.n as f64),
            Cell::Number(row.p50 / 1e6),
            number(row.p95.map(|p95| p95 / 1e6)),
            number(row.change.map(|c| c.ratio)),
            number(row.change.and_then(|c| c.threshold).map(|t| 100.0 * t)),
            Cell::Text(row.change.map_or("", |c| word(c.verdict)).into()),
        ]
    };
    const COLUMNS: [(&str, usize); 8] = [
        ("stage", 0),
        ("report", 0),
        ("runs", 0),
        ("median ms", 3),
        ("p95 ms", 3),
        ("ratio", 3),
        ("a change is beyond %", 1),
        ("", 0),
    ];
    let page = Page {
        title: "Benchmarks side by side".into(),
        lead: format!(
            "Medians against the first report's. A change counts beyond {:.0} % and three times the \
             noise of both series.",
            100.0 * comparison.floor
        ),
        plots: if times.iter().any(|t| !t.is_empty()) { vec![strips] } else { Vec::new() },
        table: Table {
            title: "Stages".into(),
            columns: COLUMNS.map(|(name, decimals)| Column { name: name.into(), decimals }).into(),
            rows: comparison.rows.iter().map(row).collect(),
            worst: None,
        },
        facts: (comparison.differences.iter())
            .map(|d| (d.what.clone(), d.values.join(" | ")))
            .collect(),
        ..Page::default()
    };
    page.to_html()
}
