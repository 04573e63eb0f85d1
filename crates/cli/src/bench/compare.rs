use std::path::{Path, PathBuf};

use intraop::bench::statistics::Summary;
use intraop::bench::{self, BenchReport, Comparison, TooSlow};
use intraop::{Result, io};

use crate::failure::Outcome;
use crate::output::Output;
use crate::say::{say, to_json};

/// Put benchmarks side by side: devices, or versions
///
/// A change counts only beyond the noise of both. Exit code 3: nothing but the version differs, and
/// the whole has become slower.
#[derive(clap::Args)]
pub struct Compare {
    /// bench.json of each, or the folder it is in; the others are compared with the first
    #[arg(required = true, num_args = 2.., value_name = "BENCH.JSON")]
    reports: Vec<PathBuf>,
    /// Changes of less than so many per cent are none
    #[arg(long, value_name = "PERCENT", default_value_t = 3.0, value_parser = super::between::<0, 1_000_000>)]
    floor: f64,
    /// Folder for compare.json and compare.html
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print the comparison as JSON
    #[arg(long)]
    json: bool,
}

impl Compare {
    pub fn run(&self) -> Outcome {
        let file = |path: &PathBuf| match path.is_dir() {
            true => path.join("bench.json"),
            false => path.clone(),
        };
        let files: Vec<PathBuf> = self.reports.iter().map(file).collect();
        let reports = files.iter().map(|f| bench::read_report(f)).collect::<Result<Vec<_>>>()?;
        let comparison = bench::compare(&reports, self.floor / 100.0);
        let names: Vec<String> = self.reports.iter().map(|p| p.display().to_string()).collect();
        if let Some(folder) = &self.out {
            self.write(folder, &comparison, &names, &files, &reports)?;
        }
        say(&if self.json { to_json(&comparison) } else { comparison.table(&names) })?;
        let slower: Vec<&str> =
            comparison.regressions().into_iter().map(|i| names[i].as_str()).collect();
        if slower.is_empty() {
            return Ok(());
        }
        let problem = format!("slower than {}, beyond noise", names[0]);
        Err(TooSlow { name: slower.join(", "), problem }.into())
    }

    fn write(
        &self,
        folder: &Path,
        comparison: &Comparison,
        names: &[String],
        files: &[PathBuf],
        reports: &[BenchReport],
    ) -> Result<()> {
        const NAMES: [&str; 2] = ["compare.json", "compare.html"];
        let output = Output::create(folder)?;
        output.spare(&NAMES, files.iter().map(PathBuf::as_path))?;
        let times: Vec<Vec<f64>> =
            files.iter().zip(reports).map(|(file, report)| times(file, report)).collect();
        let page = bench::comparison_page(comparison, names, &times);
        let write = |name: &str, text: &str| {
            io::write_atomically(&output.path(name), |w| w.write_all(text.as_bytes()))
        };
        write("compare.json", &format!("{}\n", to_json(comparison)))?;
        write("compare.html", &page)?;
        output.commit(&NAMES)
    }
}

/// The end-to-end times, in ns, of the samples.csv beside a bench.json; none where it is not there,
/// or of another run.
fn times(file: &Path, report: &BenchReport) -> Vec<f64> {
    let path = file.with_file_name("samples.csv");
    let Ok(file) = io::open_regular(&path) else { return Vec::new() };
    let mut rows = csv::Reader::from_reader(file);
    let column = rows.headers().ok().and_then(|h| h.iter().position(|n| n == "end_to_end_ns"));
    let Some(column) = column else { return Vec::new() };
    let value = |row: csv::StringRecord| row.get(column)?.parse::<f64>().ok();
    let times: Vec<f64> = rows.into_records().filter_map(|row| value(row.ok()?)).collect();
    let key = |s: &Summary| (s.n, s.min, s.p50, s.max);
    let same = !times.is_empty() && key(&Summary::of(&times)) == key(report.end_to_end());
    if same { times } else { Vec::new() }
}
