//! `bench`, `bench compare` and `bench --serial` as a user runs them.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::Instant;

use crate::common::{ROOT, dots, fails, files, intraop, json, ok, run};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::{Value, json};

fn bench(out: &Path, more: &[&str]) -> Output {
    intraop().arg("bench").arg("--out").arg(out).args(more).output().unwrap()
}

/// The columns of samples.csv by name.
fn column(out: &Path, name: &str) -> Vec<u64> {
    let mut rows = csv::Reader::from_path(out.join("samples.csv")).unwrap();
    let at = rows.headers().unwrap().iter().position(|h| h == name).unwrap();
    rows.records().map(|row| row.unwrap()[at].parse().unwrap()).collect()
}

fn stage<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["stages"].as_array().unwrap().iter().find(|s| s["name"] == name).unwrap()
}

#[test]
fn the_report_is_what_the_samples_say() {
    let out = tempfile::tempdir().unwrap();
    let said = ok(&bench(out.path(), &["--runs", "41", "--warmup", "1", "--threads", "1"]));
    assert!(said.contains("end_to_end") && said.contains("(met)"), "{said}");
    assert_eq!(files(out.path()), ["bench.json", "report.html", "samples.csv"]);
    let report = json(&out.path().join("bench.json"));
    assert_eq!((&report["format"], &report["version"]), (&json!("intraop-bench"), &json!(1)));
    assert_eq!(report["settings"]["runs"], 41);
    assert_eq!(report["settings"]["threads"], 1);
    assert_eq!(report["checks"]["same_answers"], true);
    assert_eq!(report["model"]["input_shape"], json!([64, 64, 64]));

    let mut times = column(out.path(), "end_to_end_ns");
    assert_eq!(times.len(), 41);
    let parts = ["preprocess", "infer", "compose", "warp", "postprocess"]
        .map(|name| column(out.path(), &format!("{name}_ns")));
    for (run, whole) in times.iter().enumerate() {
        let [before, infer, compose, warp, after] = [0, 1, 2, 3, 4].map(|part| parts[part][run]);
        assert!(before > 0 && infer > 0 && compose > 0 && warp > 0);
        assert_eq!(after, compose + warp);
        assert!(before + infer + after <= *whole);
    }
    let whole = stage(&report, "end_to_end");
    times.sort_unstable();
    assert_eq!(whole["min"].as_f64(), Some(times[0] as f64));
    assert_eq!(whole["p50"].as_f64(), Some(times[20] as f64));
    assert_eq!(whole["max"].as_f64(), Some(times[40] as f64));
    // 41 runs say nothing about these; and a budget nobody asked for is not judged by them.
    for percentile in ["p90", "p95", "p99", "p95_at_most"] {
        assert_eq!(whole[percentile], Value::Null, "{percentile}");
    }
    assert_eq!(report["budget"], Value::Null);
    assert!(report["once"]["first_ns"].as_u64() > Some(0));
    if cfg!(target_os = "linux") {
        let memory = report["memory"].as_array().unwrap();
        let stages: Vec<_> = memory.iter().map(|m| m["stage"].as_str().unwrap()).collect();
        let expected = [
            "start",
            "load",
            "optimize",
            "session",
            "input",
            "preprocess",
            "infer",
            "compose",
            "warp",
        ];
        assert_eq!(stages, expected);
        assert!(memory.iter().all(|m| m["peak_mib"].as_f64() >= m["resident_mib"].as_f64()));
    }
    let page = std::fs::read_to_string(out.path().join("report.html")).unwrap();
    assert!(page.contains("n too small: 41 of 130"));
    assert_eq!(page.contains("<svg"), cfg!(feature = "plots"));
    assert!(!page.contains("src=") && !page.contains("href="), "nothing is loaded");
}

#[test]
fn a_budget_is_judged_by_the_95th_percentile() {
    let out = tempfile::tempdir().unwrap();
    // The default: enough runs, and one second.
    ok(&bench(out.path(), &["--budget", "1000000"]));
    let report = json(&out.path().join("bench.json"));
    let whole = stage(&report, "end_to_end");
    let times = column(out.path(), "end_to_end_ns");
    assert_eq!((times.len(), whole["n"].as_u64()), (130, Some(130)));
    let p95 = whole["p95"].as_f64().unwrap();
    assert!(times.iter().filter(|t| (**t as f64) <= p95).count() * 100 >= 95 * times.len());
    assert!(times.iter().filter(|t| (**t as f64) < p95).count() * 100 < 95 * times.len());
    assert_eq!(report["budget"]["met"], true);

    // Results are there all the same.
    let slow = bench(out.path(), &["--budget", "0.001"]);
    fails(&slow, 3, &["demo: too slow: a budget of 0.001 ms", "95th percentile is"]);
    assert_eq!(json(&out.path().join("bench.json"))["budget"]["met"], false);
    let few = bench(out.path(), &["--budget", "1000000", "--runs", "3"]);
    fails(&few, 3, &["takes 130 runs, there were 3"]);
}

#[test]
fn a_paced_run_starts_when_images_come() {
    let out = tempfile::tempdir().unwrap();
    ok(&bench(out.path(), &["--paced", "5", "--runs", "4", "--warmup", "0"]));
    for pair in column(out.path(), "start_ns").windows(2) {
        // Whole periods of 200 ms; more than one on a machine that is busy elsewhere.
        let periods = (pair[1] - pair[0]) as f64 / 2e8;
        assert!(periods > 0.9 && (periods - periods.round()).abs() < 1e-6, "{periods}");
    }
    let fast = bench(
        out.path(),
        &["--paced", "100", "--runs", "20", "--threads", "1", "--simd", "scalar"],
    );
    assert!(String::from_utf8_lossy(&fast.stderr).contains("at 100 Hz came before"));
    ok(&fast);
    assert!(json(&out.path().join("bench.json"))["paced"]["dropped"].as_u64() > Some(0));
}

#[test]
fn a_sustained_run_has_minutes() {
    let out = tempfile::tempdir().unwrap();
    let said = ok(&bench(out.path(), &["--sustain", "0.02"]));
    assert!(said.contains("minute 0: "), "{said}");
    let report = json(&out.path().join("bench.json"));
    let minutes = report["minutes"].as_array().unwrap();
    assert_eq!((minutes.len(), &minutes[0]["n"]), (1, &report["settings"]["runs"]));
    // 1.2 s: the last run begins before that, and none is waited for that would not.
    assert!(column(out.path(), "start_ns").into_iter().all(|start| start < 1_200_000_000));
    ok(&bench(out.path(), &["--sustain", "0.02", "--paced", "0.001", "--warmup", "0"]));
    assert_eq!(column(out.path(), "start_ns").len(), 1);
}

#[test]
fn any_package_and_real_files() {
    let folder = tempfile::tempdir().unwrap();
    let (out, package) = (folder.path().join("out"), folder.path().join("dots"));
    dots::write(&package);
    let package = package.to_str().unwrap();
    ok(&bench(&out, &["--model", package, "--runs", "3"]));
    let report = json(&out.join("bench.json"));
    assert_eq!(report["settings"]["input"], "phantom frame 20, 1024×768");
    assert!(column(&out, "decode_ns").into_iter().all(|t| t > 0));
    assert_eq!(report["budget"], Value::Null);

    let picture = folder.path().join("head.png");
    dots::picture(true, &[]).save(&picture).unwrap();
    let picture = picture.to_str().unwrap();
    ok(&bench(&out, &[picture, "--model", package, "--runs", "3"]));
    assert_eq!(json(&out.join("bench.json"))["settings"]["input"], picture);

    let wrong = bench(&out, &[picture, "--runs", "3"]);
    fails(&wrong, 2, &["expected FIXED and MOVING", "head.png"]);
    let pair =
        crate::common::PairFiles::new(5, intraop::image::Geometry::new([40, 44, 36], [1.5; 3]));
    let [fixed, moving] = ["fixed.nii.gz", "moving.nii.gz"].map(|name| pair.path(name));
    let [fixed, moving] = [&fixed, &moving].map(|path| path.to_str().unwrap());
    ok(&bench(&out, &[fixed, moving, "--runs", "3", "--affine-only", "--init", "centers"]));
    let settings = &json(&out.join("bench.json"))["settings"];
    assert_eq!(
        (&settings["graphs"], &settings["initial"]),
        (&json!(["affine"]), &json!("centers"))
    );
    let wrong = bench(&out, &[fixed, moving, "--model", package]);
    fails(&wrong, 2, &["expected one frame", "fixed.nii.gz"]);
    fails(&bench(&out, &["--cascades", "9"]), 2, &["--cascades: expected 1 to 1"]);
    let unread = bench(&out, &["--model", package, "--affine-only"]);
    fails(&unread, 2, &["--affine-only", "expected a package for registration"]);
    fails(&bench(&out, &["--model", "nowhere"]), 2, &["model nowhere: not found"]);
    for wrong in [["--runs", "0"], ["--paced", "0"], ["--sustain", "-1"], ["--budget", "nan"]] {
        assert_eq!(bench(&out, &wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn a_wrong_answer_has_no_speed() {
    let folder = tempfile::tempdir().unwrap();
    let (package, out) = (folder.path().join("demo"), folder.path().join("out"));
    std::fs::create_dir(&package).unwrap();
    for name in ["package.toml", "affine.onnx", "flow1.onnx", "golden.json"] {
        std::fs::copy(Path::new(ROOT).join("models/demo").join(name), package.join(name)).unwrap();
    }
    let sha256 = |path: &Path| intraop::package::sha256(&std::fs::read(path).unwrap());
    let golden = package.join("golden.json");
    let before = sha256(&golden);
    let mut case = json(&golden);
    case["outputs"]["affine"]["affine"]["values"][0] = json!(0.9);
    std::fs::write(&golden, case.to_string()).unwrap();
    let manifest = package.join("package.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace(&before, &sha256(&golden))).unwrap();
    let wrong = bench(&out, &["--model", package.to_str().unwrap()]);
    fails(&wrong, 3, &["demo: check not met: graph affine head affine differs"]);
    assert!(!out.exists());
}

/// A report with every time longer by this factor, and with other changes.
fn doctored(from: &Path, to: &Path, factor: f64, change: impl FnOnce(&mut Value)) -> String {
    let mut report = json(from);
    for stage in report["stages"].as_array_mut().unwrap() {
        for key in ["min", "p50", "max"] {
            stage[key] = json!(stage[key].as_f64().unwrap() * factor);
        }
        stage["noise"] = json!(0.01);
    }
    change(&mut report);
    std::fs::write(to, report.to_string()).unwrap();
    to.to_str().unwrap().into()
}

#[test]
fn only_what_is_beyond_noise_and_of_the_same_thing_is_a_regression() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    ok(&bench(folder.path(), &["--runs", "30"]));
    let base = doctored(&path("bench.json"), &path("base.json"), 1.0, |_| {});
    let compare =
        |other: &str, more: &[&str]| run([&["bench", "compare", &base, other], more].concat());
    assert!(ok(&compare(&base, &[])).contains("within noise"));
    // Three times √2 · 1 % of noise is 4.2 %.
    let slightly = doctored(&path("base.json"), &path("slightly.json"), 1.04, |_| {});
    assert!(ok(&compare(&slightly, &[])).contains("within noise"));
    let slower = doctored(&path("base.json"), &path("slower.json"), 1.05, |r| {
        r["intraop"] = json!("0.0.9");
    });
    let found = compare(&slower, &[]);
    fails(&found, 3, &["slower.json: too slow: slower than", "base.json, beyond noise"]);
    assert!(String::from_utf8_lossy(&found.stdout).contains("intraop: 0.1.0 | 0.0.9"));
    assert!(ok(&compare(&slower, &["--floor", "6"])).contains("within noise"));
    // Another device is slower, and that is no regression.
    let elsewhere = doctored(&path("base.json"), &path("elsewhere.json"), 3.0, |r| {
        r["device"]["model"] = json!("another board");
    });
    let out = path("compared");
    let said = ok(&compare(&elsewhere, &["--out", out.to_str().unwrap(), "--json"]));
    assert_eq!(files(&out), ["compare.html", "compare.json"]);
    let comparison: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(comparison["differences"][0]["values"][1], "another board");
    let rows = comparison["rows"].as_array().unwrap();
    let row = rows.iter().find(|r| r["stage"] == "end_to_end" && r["report"] == 1).unwrap();
    assert_eq!(row["change"]["verdict"], "slower");

    // Nor are other networks of the same package, or another build.
    for change in [(|r| r["settings"]["graphs"] = json!(["affine"])) as fn(&mut Value), |r| {
        r["settings"]["debug_build"] = json!(!cfg!(debug_assertions))
    }] {
        let other = doctored(&path("base.json"), &path("other.json"), 3.0, change);
        ok(&compare(&other, &[]));
    }

    let newer = doctored(&path("base.json"), &path("newer.json"), 1.0, |r| r["version"] = json!(2));
    fails(&compare(&newer, &[]), 2, &["newer.json: format: expected intraop-bench 1"]);
    let none = doctored(&path("base.json"), &path("none.json"), 1.0, |r| r["stages"] = json!([]));
    fails(&compare(&none, &[]), 2, &["none.json: stages: expected end_to_end"]);
    let garbage = path("garbage.json");
    std::fs::write(&garbage, "{]").unwrap();
    fails(&compare(garbage.to_str().unwrap(), &[]), 2, &["garbage.json: format"]);
    fails(&compare("/no/such/bench.json", &[]), 2, &["/no/such/bench.json: cannot be read"]);
}

/// A board on one end of a pseudo-terminal, the host on the other.
struct Host {
    line: File,
    board: Child,
    _folder: tempfile::TempDir,
}

impl Host {
    /// The package of tests/common/dots.rs, on `images`.
    fn new(images: &[&Path]) -> Host {
        let folder = tempfile::tempdir().unwrap();
        let package = folder.path().join("dots");
        dots::write(&package);
        // Not inherited by the board, which would keep its own line from closing.
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let line = openpt(flags).unwrap();
        grantpt(&line).unwrap();
        unlockpt(&line).unwrap();
        let port = ptsname(&line, Vec::new()).unwrap().into_string().unwrap();
        let board = intraop()
            .arg("bench")
            .args(images)
            .arg("--model")
            .arg(&package)
            .args(["--serial", &port])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut host = Host { line: line.into(), board, _folder: folder };
        assert_eq!(host.lines(), ["m-init-done"]);
        host
    }

    /// What the board says until it is ready.
    fn lines(&mut self) -> Vec<String> {
        let mut text = String::new();
        while !text.ends_with("m-ready\r\n") {
            let minute = Timespec { tv_sec: 60, tv_nsec: 0 };
            let mut ready = [PollFd::new(&self.line, PollFlags::IN)];
            assert_eq!(poll(&mut ready, Some(&minute)).unwrap(), 1, "silence after {text:?}");
            let mut bytes = [0; 1024];
            let count = self.line.read(&mut bytes).unwrap();
            text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        }
        let lines = text.strip_suffix("m-ready\r\n").unwrap().split_terminator("\r\n");
        lines.map(str::to_owned).collect()
    }

    fn ask(&mut self, command: &str) -> Vec<String> {
        self.line.write_all(format!("{command}%").as_bytes()).unwrap();
        self.lines()
    }

    /// Hangs up, and gives the board's exit code and what it said.
    fn hang_up(self) -> (Option<i32>, String) {
        let Host { line, board, _folder } = self;
        drop(line);
        let output = board.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn microseconds(line: &str) -> u64 {
    line.strip_prefix("m-lap-us-").unwrap().parse().unwrap()
}

#[test]
fn a_host_drives_the_board_over_a_serial_line() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.png");
    let size = dots::picture(true, &[]).dimensions();
    image::GrayImage::from_pixel(size.0, size.1, image::Luma([7])).save(&empty).unwrap();
    let mut host = Host::new(&[&empty]);
    assert_eq!(host.ask("name"), ["m-name-dut-[intraop]"]);
    let profile = host.ask("profile");
    assert_eq!((profile.len(), profile[1].as_str()), (2, "m-model-[dots]"));
    assert_eq!(host.ask("results"), ["e-[There are no results yet]"]);

    let start = Instant::now();
    let said = host.ask("infer 5 2");
    let expected = ["m-warmup-start-2", "m-warmup-done", "m-infer-start-5"];
    assert_eq!(said[..3], expected);
    let took = microseconds(&said[4]) - microseconds(&said[3]);
    assert!(took > 0 && u128::from(took) <= start.elapsed().as_micros());
    assert_eq!(said[5], "m-infer-done");
    // Nothing is found in an empty frame.
    assert!(said[6].starts_with("m-results-[-1.000,-1.000,-1.000"), "{}", said[6]);

    // A picture with the landmarks, as the runner of MLPerf Tiny sends it: 31 bytes at a time.
    let picture = dots::picture(true, &dots::DOTS.map(|(name, _)| name));
    let bytes = picture.as_raw();
    assert_eq!(host.ask("db load 3"), [format!("e-[The input has {} bytes, not 3]", bytes.len())]);
    assert_eq!(
        host.ask(&format!("db load {}", bytes.len())),
        [format!("m-[Expecting {} bytes]", bytes.len())]
    );
    let mut last = Vec::new();
    for part in bytes.chunks(31) {
        let digits: String = part.iter().map(|b| format!("{b:02x}")).collect();
        last = host.ask(&format!("db {digits}"));
    }
    assert_eq!(last, ["m-load-done"]);
    let print = host.ask("db print 3 1");
    assert_eq!(print, [format!("m-buffer-{:02x}-{:02x}-{:02x}", bytes[1], bytes[2], bytes[3])]);
    let found = host.ask("infer 1 0").pop().unwrap();
    assert_eq!(host.ask("results").concat(), found);
    let numbers = found.strip_prefix("m-results-[").unwrap().trim_end_matches(']');
    let numbers: Vec<f64> = numbers.split(',').map(|n| n.parse().unwrap()).collect();
    for (found, [x, y]) in numbers.chunks(3).zip(dots::SKULL.ends()) {
        assert_eq!(found[..2], [x, y]);
    }
    assert_eq!(host.hang_up(), (Some(0), String::new()));
}

#[test]
fn garbage_on_the_line_is_answered_and_survived() {
    let mut host = Host::new(&[]);
    // Noise, then half a command and its end; line breaks do not matter.
    host.line.write_all(b"\xff\xfe\x00\x80%").unwrap();
    assert_eq!(host.lines(), Vec::<String>::new());
    host.line.write_all(b"na\r\n\x00\xc3me%").unwrap();
    assert_eq!(host.lines(), ["m-name-dut-[intraop]"]);
    for (command, answer) in [
        ("reboot now", "e-[Unknown command: reboot]"),
        ("infer 0", "e-[Expected a number from 1 to 1000000, not 0]"),
        (
            "infer 99999999999999999999",
            "e-[Expected a number from 1 to 1000000, not 99999999999999999999]",
        ),
        ("infer 1 -1", "e-[Expected a number from 0 to 1000000, not -1]"),
        ("db", "e-[Command 'db' requires a subcommand]"),
        ("db load", "e-[Command 'db load' requires the # of bytes]"),
        ("db 00", "e-[Command 'db load' must come first]"),
        (
            "db load 18446744073709551615",
            "e-[The input has 786432 bytes, not 18446744073709551615]",
        ),
    ] {
        assert_eq!(host.ask(command), [answer], "{command}");
    }
    assert_eq!(host.ask("db load 786432"), ["m-[Expecting 786432 bytes]"]);
    assert_eq!(host.ask("db 0"), ["e-[Insufficient number of hex digits]"]);
    assert_eq!(host.ask("db 0g"), ["e-[Invalid hex digit '0g']"]);
    assert_eq!(host.ask("db +1"), ["e-[Invalid hex digit '+1']"]);
    assert_eq!(host.ask(&"x".repeat(10_000)), ["e-[Command longer than 8192 bytes]"]);
    // A host that goes away in the middle of a command, or of what it asked for.
    host.line.write_all(b"infer 10").unwrap();
    assert_eq!(host.hang_up(), (Some(0), String::new()));
    let mut host = Host::new(&[]);
    host.line.write_all(b"infer 1000000 0%").unwrap();
    let mut bytes = [0; 8];
    host.line.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"m-warmup");
    assert_eq!(host.hang_up(), (Some(0), String::new()));
}

#[test]
fn a_host_may_read_slowly() {
    let mut host = Host::new(&[]);
    assert_eq!(host.ask("db load 786432"), ["m-[Expecting 786432 bytes]"]);
    for _ in 0..20 {
        assert_eq!(host.ask(&format!("db {}", "5a".repeat(4000))), Vec::<String>::new());
    }
    // More than a pseudo-terminal holds; the board waits longer than its port's 200 ms.
    host.line.write_all(b"db print 80000%").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(700));
    let lines = host.lines();
    assert_eq!(lines.len(), 10_000);
    assert!(lines.iter().all(|line| line == "m-buffer-5a-5a-5a-5a-5a-5a-5a-5a"));
    assert_eq!(host.hang_up(), (Some(0), String::new()));
}

#[test]
fn a_port_that_is_none_is_named() {
    let missing: PathBuf = tempfile::tempdir().unwrap().path().join("ttyUSB7");
    let output = run(["bench", "--serial", missing.to_str().unwrap()]);
    fails(&output, 2, &["ttyUSB7: cannot be opened", "/dev/ttyUSB0"]);
    assert_eq!(run(["bench", "--serial", "/dev/null", "--json"]).status.code(), Some(2));
}
