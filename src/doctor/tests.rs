use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;
use crate::device::tests::{arm, system};

/// A user who is not the one that runs the tests.
const STATUS: &str = "Uid:\t4242\t4242\t4242\t4242\nGid:\t4242\t4242\t4242\t4242\nGroups:\t4242 4343 \
                      \nCpus_allowed_list:\t0-7\n";

fn look(system: &System) -> Vec<Finding> {
    examine(system, &system.device(), SimdLevel::Neon)
}

/// What was found about something, with the advice.
fn about(findings: &[Finding], about: &str) -> Vec<(Level, String)> {
    let of = findings.iter().filter(|f| f.about == about);
    of.map(|f| (f.level, format!("{} → {}", f.found, f.advice.as_deref().unwrap_or("")))).collect()
}

#[track_caller]
fn says(found: &[(Level, String)], expected: &[(Level, &[&str])]) {
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for ((level, text), (expected, parts)) in found.iter().zip(expected) {
        assert_eq!(level, expected, "{text}");
        parts.iter().for_each(|part| assert!(text.contains(part), "{part:?} is not in {text:?}"));
    }
}

/// Makes a device file of these permissions; gives its group.
fn device_file(system: &System, name: &str, mode: u32) -> u32 {
    let path = system.path("dev").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    fs::metadata(path).unwrap().gid()
}

#[test]
fn a_raspberry_pi_that_is_held_back() {
    let cpuinfo = arm(&["0xd08"; 4]);
    let mut files = vec![
        ("proc/cpuinfo", cpuinfo.as_str()),
        ("proc/self/status", STATUS),
        ("proc/meminfo", "MemTotal: 949444 kB\nMemAvailable: 300000 kB\n"),
        ("sys/class/thermal/thermal_zone0/type", "cpu-thermal"),
        ("sys/class/thermal/thermal_zone0/temp", "82342"),
        ("sys/devices/platform/soc/soc:firmware/get_throttled", "50005"),
    ];
    let names = [0, 1, 2, 3].map(|core| {
        ["scaling_governor", "scaling_max_freq", "cpuinfo_max_freq"]
            .map(|file| format!("sys/devices/system/cpu/cpu{core}/cpufreq/{file}"))
    });
    for paths in &names {
        files.extend(paths.iter().map(String::as_str).zip(["powersave", "1500000", "1800000"]));
    }
    let (_folder, system) = system(&files);
    let group = device_file(&system, "ttyAMA0", 0o660);
    device_file(&system, "ttyprintk", 0o660);
    device_file(&system, "fb0", 0o666);
    fs::create_dir(system.path("etc")).unwrap();
    fs::write(system.path("etc/group"), format!("dialout:x:{group}:\nusers:x:4242:\n")).unwrap();
    let found = look(&system);
    use Level::{Note, Ok, Warning};
    says(&about(&found, "vectors"), &[(Note, &["neon", "without a dot product"])]);
    says(&about(&found, "cores"), &[(Ok, &["4 × Cortex-A72 up to 1800 MHz (cores 0 to 3)"])]);
    let clock: [(Level, &[&str]); 2] = [
        (Warning, &["powersave", "cpupower frequency-set -g performance"]),
        (Warning, &["limited to 1500 of 1800 MHz", "cpupower frequency-set -u 1800MHz"]),
    ];
    says(&about(&found, "clock"), &clock);
    let heat: [(Level, &[&str]); 2] = [
        (Warning, &["cpu-thermal is at 82 °C", "cool it"]),
        (Warning, &["held back now", "too low a voltage", "power supply"]),
    ];
    says(&about(&found, "heat"), &heat);
    says(&about(&found, "memory"), &[(Warning, &["292 of 927 MiB"])]);
    let serial: [(Level, &[&str]); 1] =
        [(Warning, &["/dev/ttyAMA0 may not be", "sudo usermod -aG dialout $USER"])];
    says(&about(&found, "serial"), &serial);
    says(&about(&found, "screen"), &[(Ok, &["/dev/fb0 can be used"])]);
}

#[test]
fn a_board_of_big_and_little_cores_in_a_container() {
    let parts = ["0xd05", "0xd05", "0xd05", "0xd05", "0xd0b", "0xd0b", "0xd0b", "0xd0b"];
    let cpuinfo = arm(&parts);
    let status = STATUS.replace("0-7", "0-5");
    let mut files = vec![
        ("proc/cpuinfo", cpuinfo.as_str()),
        ("proc/self/status", status.as_str()),
        ("proc/meminfo", "MemTotal: 16000000 kB\nMemAvailable: 9000000 kB\n"),
        ("sys/fs/cgroup/cpu.max", "250000 100000"),
        ("sys/fs/cgroup/memory.max", "4294967296"),
        ("sys/class/hwmon/hwmon0/name", "soc"),
        ("sys/class/hwmon/hwmon0/temp1_input", "71000"),
        ("sys/class/thermal/cooling_device0/type", "thermal-cpufreq-0"),
        ("sys/class/thermal/cooling_device0/cur_state", "2"),
    ];
    let names = [0, 1, 2, 3, 4, 5, 6, 7].map(|core| {
        let cpu = format!("sys/devices/system/cpu/cpu{core}");
        [format!("{cpu}/cpu_capacity"), format!("{cpu}/cpufreq/scaling_governor")]
    });
    for (core, paths) in names.iter().enumerate() {
        let capacity = if core < 4 { "530" } else { "1024" };
        files.extend(paths.iter().map(String::as_str).zip([capacity, "schedutil"]));
    }
    let (_folder, system) = system(&files);
    // A port that the kernel only has a name for, one that this user has by a group, one of USB
    // that only its owner has.
    let group = ["ttyS0", "ttyS2", "ttyUSB0"].map(|port| {
        let driver = system.path(&format!("sys/class/tty/{port}/device"));
        fs::create_dir_all(&driver).unwrap();
        let target = if port == "ttyS0" { "../serial8250" } else { "../dw-apb-uart" };
        symlink(target, driver.join("driver")).unwrap();
        device_file(&system, port, if port == "ttyUSB0" { 0o600 } else { 0o660 })
    })[0];
    let status = status.replace("4343", &group.to_string());
    fs::write(system.path("proc/self/status"), status).unwrap();
    let found = look(&system);
    use Level::{Note, Ok, Warning};
    let cores: [(Level, &[&str]); 3] = [
        (Note, &["4 × Cortex-A55 (cores 0 to 3); 4 × Cortex-A76 (cores 4 to 7)", "--cores 4,5"]),
        (Note, &["may run on 6 of 8: 0,1,2,3,4,5"]),
        (Warning, &["2.5 processors' time on 6 cores", "--threads 2"]),
    ];
    says(&about(&found, "cores"), &cores);
    let clock: [(Level, &[&str]); 2] =
        [(Note, &["Cortex-A55: governor schedutil"]), (Note, &["Cortex-A76: governor schedutil"])];
    says(&about(&found, "clock"), &clock);
    let heat: [(Level, &[&str]); 2] =
        [(Note, &["soc temp1 is at 71 °C"]), (Warning, &["held back by heat"])];
    says(&about(&found, "heat"), &heat);
    let memory: [(Level, &[&str]); 2] =
        [(Note, &["allows 4096 MiB"]), (Ok, &["8789 of 15625 MiB"])];
    says(&about(&found, "memory"), &memory);
    let serial: [(Level, &[&str]); 2] =
        [(Warning, &["/dev/ttyUSB0", "udev rule"]), (Ok, &["/dev/ttyS2 can be used"])];
    says(&about(&found, "serial"), &serial);
    says(&about(&found, "screen"), &[(Note, &["no /dev/fb0"])]);
}

#[test]
fn powersave_of_intel_follows_the_load() {
    const CPU: &str = "sys/devices/system/cpu/cpu0/cpufreq";
    let [governor, driver] = ["governor", "driver"].map(|what| format!("{CPU}/scaling_{what}"));
    let files = [
        ("proc/cpuinfo", "processor : 0\nmodel name : Some CPU\n"),
        (governor.as_str(), "powersave"),
        (driver.as_str(), "intel_pstate"),
    ];
    let (_folder, system) = system(&files);
    says(&about(&look(&system), "clock"), &[(Level::Note, &["Some CPU: governor powersave"])]);
}

#[test]
fn every_subject_is_looked_at_even_where_nothing_is_told() {
    let (_folder, nothing) = system(&[]);
    for system in [nothing, System::default()] {
        let found = look(&system);
        for subject in ["vectors", "cores", "clock", "heat", "memory", "serial", "screen"] {
            assert!(found.iter().any(|f| f.about == subject), "{subject}: {found:?}");
        }
        assert!(found.iter().all(|f| f.level == Level::Ok || f.advice.is_some()));
    }
}
