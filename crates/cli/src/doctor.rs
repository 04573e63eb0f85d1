use std::path::PathBuf;

use serde::Serialize;

use intraop::device::{Device, Reading, System};
use intraop::doctor::{Finding, Level, examine};
use intraop::engine::Simd;
use intraop::session::{Session, SessionOptions};
use intraop::{Error, Result, package};

use crate::say::{say, to_json};
use crate::watch::check_interrupt;

/// Say what this machine offers, and what would hold it back, with what to do about each
///
/// Also runs the golden case of every package that --model finds by name; one that is not met is
/// exit code 3.
#[derive(clap::Args)]
pub struct Doctor {
    /// As JSON
    #[arg(long)]
    json: bool,
    /// The system's files lie below this folder: a copy of another machine's /proc, /sys and /dev
    #[arg(long, default_value = "/", hide_default_value = true)]
    root: PathBuf,
}

#[derive(Serialize)]
struct DoctorReport {
    device: Device,
    now: Reading,
    findings: Vec<Finding>,
}

impl Doctor {
    pub fn run(&self) -> Result<()> {
        // Other systems have no /proc; a copy without one is none.
        if self.root.as_os_str() != "/" && !self.root.join("proc").is_dir() {
            return Err(Error::Option {
                option: "root".into(),
                expected: "a folder with proc, sys and dev in it".into(),
                found: self.root.display().to_string(),
            });
        }
        let system = System::below(&self.root);
        let device = system.device();
        let mut findings = examine(&system, &device, Simd::detect().level());
        let mut failed = Vec::new();
        for (name, package) in package::list() {
            check_interrupt()?;
            findings.push(golden(&name, package, &mut failed));
        }
        let report = DoctorReport { now: system.reading(&[]), device, findings };
        say(&if self.json { to_json(&report) } else { text(&report) })?;
        match &failed[..] {
            [] => Ok(()),
            names => Err(Error::Check {
                name: names.join(", "),
                problem: "another result than the golden case's".into(),
            }),
        }
    }
}

/// A package's golden case.
fn golden(name: &str, package: Result<package::Package>, failed: &mut Vec<String>) -> Finding {
    let about = "package";
    let verified = package
        .and_then(|package| Session::new(package, SessionOptions::default()))
        .and_then(|session| session.verify());
    match verified {
        Ok(worst) => Finding::ok(about, format!("{name}: golden case met within {worst:.1e}")),
        Err(e) => {
            let found = format!("{name}: {e}");
            let check = matches!(e, Error::Check { .. });
            failed.extend(check.then(|| name.to_owned()));
            let advice = match check {
                true => "do not use it here; fetch it again, and try --simd scalar to find out why",
                false => "fetch or export it again, or remove it",
            };
            Finding::warning(about, found, advice)
        }
    }
}

fn text(report: &DoctorReport) -> String {
    let Device { model, soc, architecture, system, .. } = &report.device;
    let names = [model, soc].into_iter().flatten().map(String::as_str);
    let mut lines =
        vec![names.chain([architecture.as_str()]).collect::<Vec<_>>().join(", "), system.clone()];
    for Finding { level, about, found, advice } in &report.findings {
        let level = match level {
            Level::Ok => "ok",
            Level::Note => "note",
            Level::Warning => "warning",
        };
        lines.push(format!("{level:8} {about:8} {found}"));
        lines.extend(advice.iter().map(|advice| format!("{:18}→ {advice}", "")));
    }
    lines.join("\n")
}
