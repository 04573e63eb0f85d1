//! `doctor` on this machine and on a copy of another one's files.

use std::path::Path;

use crate::common::{fails, intraop, ok};

fn doctor(folder: &Path, arguments: &[&str]) -> std::process::Output {
    intraop().current_dir(folder).arg("doctor").args(arguments).output().unwrap()
}

#[test]
fn this_machine_is_described_and_the_packages_are_checked() {
    let nowhere = tempfile::tempdir().unwrap();
    let text = ok(&doctor(nowhere.path(), &[]));
    assert!(text.contains("package  demo: golden case met"), "{text}");
    let json: serde_json::Value =
        serde_json::from_str(&ok(&doctor(nowhere.path(), &["--json"]))).unwrap();
    assert!(!json["device"]["clusters"].as_array().unwrap().is_empty());
    for finding in json["findings"].as_array().unwrap() {
        assert!(["ok", "note", "warning"].contains(&finding["level"].as_str().unwrap()));
        assert!(finding["level"] == "ok" || finding["advice"].is_string(), "{finding}");
    }
}

#[test]
fn a_copy_of_another_machine_can_be_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let cpu = folder.path().join("sys/devices/system/cpu/cpu0/cpufreq");
    std::fs::create_dir_all(&cpu).unwrap();
    std::fs::write(cpu.join("scaling_governor"), "powersave\n").unwrap();
    std::fs::create_dir(folder.path().join("proc")).unwrap();
    let cpuinfo = "processor : 0\nCPU implementer : 0x41\nCPU part : 0xd08\n";
    std::fs::write(folder.path().join("proc/cpuinfo"), cpuinfo).unwrap();
    let text = ok(&doctor(folder.path(), &["--root", "."]));
    assert!(text.contains("warning  clock    Cortex-A72: governor powersave"), "{text}");
    assert!(text.contains("→ `sudo cpupower frequency-set -g performance`"), "{text}");
    fails(&doctor(folder.path(), &["--root", "sys"]), 2, &["--root", "a folder with proc"]);
}

#[test]
fn a_golden_case_that_is_not_met_is_exit_code_3_and_a_broken_package_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let package = folder.path().join("models/bent");
    crate::common::dots::write(&package);
    ok(&doctor(folder.path(), &[]));
    let bent = |from: &str, to: &str| {
        let path = package.join("golden.json");
        let text = std::fs::read_to_string(&path).unwrap();
        let hash = intraop::package::sha256(text.as_bytes());
        let text = text.replacen(from, to, 1);
        std::fs::write(path, &text).unwrap();
        let path = package.join("package.toml");
        let manifest = std::fs::read_to_string(&path).unwrap();
        let new = intraop::package::sha256(text.as_bytes());
        std::fs::write(path, manifest.replace(&hash, &new)).unwrap();
    };
    bent("\"largest\":", "\"largest\":1e-9,\"was\":");
    // No golden case at all any more: that package is broken, the others are not.
    let text = ok(&doctor(folder.path(), &[]));
    assert!(text.contains("warning  package  bent:") && text.contains("demo: golden"), "{text}");
    bent("\"largest\":1e-9,\"was\":", "\"largest\":");
    bent("\"values\":[", "\"values\":[9e9,");
    let failed = doctor(folder.path(), &[]);
    fails(&failed, 3, &["intraop: bent: check not met"]);
    let text = String::from_utf8_lossy(&failed.stdout);
    assert!(text.contains("warning  package  bent: dots: check not met"), "{text}");
}
