//! What a machine offers this runtime, and what would hold it back: findings, each with what to do
//! about it. Everything is read, nothing is changed or opened.

mod ports;
#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::device::{Cluster, Device, System};
use crate::engine::SimdLevel;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Ok,
    /// Good to know.
    Note,
    /// It costs speed, or something cannot work.
    Warning,
}

/// One thing about the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub level: Level,
    pub about: &'static str,
    pub found: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Finding {
    pub fn ok(about: &'static str, found: impl Into<String>) -> Self {
        Finding { level: Level::Ok, about, found: found.into(), advice: None }
    }

    pub fn note(about: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        let advice = Some(advice.into());
        Finding { level: Level::Note, about, found: found.into(), advice }
    }

    pub fn warning(
        about: &'static str,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Finding { level: Level::Warning, ..Finding::note(about, found, advice) }
    }
}

/// Less memory than this is little for a volume and its registration.
const LITTLE_MEMORY_MIB: u64 = 512;

/// From here on most chips soon slow down, and from there on they do.
const WARM: f64 = 70.0;
const HOT: f64 = 80.0;

/// Looks at a system whose processor has these vector instructions.
pub fn examine(system: &System, device: &Device, simd: SimdLevel) -> Vec<Finding> {
    let mut findings = vec![vectors(simd)];
    findings.extend(cores(device));
    findings.extend(device.clusters.iter().flat_map(|cluster| clock(system, cluster)));
    if device.clusters.iter().all(|c| c.governor.is_none()) {
        let advice = "on hardware of your own look for it in the firmware's settings";
        findings.push(Finding::note("clock", "the system shows no governor", advice));
    }
    findings.extend(heat(system));
    findings.extend(memory(device));
    findings.extend(ports::examine(system));
    findings
}

fn vectors(simd: SimdLevel) -> Finding {
    let name = simd.name();
    let (about, plain) = ("vectors", format!("{name}: the widest kernels of this processor"));
    match simd {
        SimdLevel::Scalar => Finding::warning(
            about,
            "scalar: none of AVX2 and NEON",
            "use a processor with AVX2 or a 64-bit ARM; everything is many times slower here",
        ),
        SimdLevel::Avx2 | SimdLevel::Avx512 | SimdLevel::Neon => Finding::note(
            about,
            format!("{name}, without a dot product of int8"),
            "int8 packages gain less here than on processors with VNNI or dotprod",
        ),
        _ => Finding::ok(about, plain),
    }
}

/// Which cores there are, and how many of them this process gets.
fn cores(device: &Device) -> Vec<Finding> {
    let list = |cores: &[usize]| cores.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let clusters: Vec<String> = device.clusters.iter().map(describe).collect();
    let mut findings = match &device.clusters[..] {
        [] => vec![Finding::note("cores", "the system shows none", "give --threads")],
        [one] => vec![Finding::ok("cores", describe(one))],
        _ => {
            let fast = fast_cores(device);
            let found = clusters.join("; ");
            vec![match fast.is_empty() || fast.len() == device.allowed_cores.len() {
                true => Finding::ok("cores", found),
                false => Finding::note(
                    "cores",
                    found,
                    format!(
                        "the slowest thread decides: stay on the fast ones by --cores {}",
                        list(&fast)
                    ),
                ),
            }]
        }
    };
    let all: usize = device.clusters.iter().map(|c| c.cores.len()).sum();
    let allowed = device.allowed_cores.len();
    if allowed > 0 && allowed < all {
        findings.push(Finding::note(
            "cores",
            format!("this process may run on {allowed} of {all}: {}", list(&device.allowed_cores)),
            "taskset, systemd's AllowedCPUs or docker's --cpuset-cpus decide that",
        ));
    }
    if let Some(limit) = device.cpu_limit.filter(|limit| *limit < allowed.max(1) as f64) {
        let threads = (limit.floor() as usize).max(1);
        findings.push(Finding::warning(
            "cores",
            format!("a control group allows {limit:.1} processors' time on {allowed} cores"),
            format!("use --threads {threads}, or raise docker's --cpus or systemd's CPUQuota"),
        ));
    }
    findings
}

/// Of the cores that this process may use those that are not clearly slower than the best of them:
/// by what the kernel calls their capacity, else by their clock.
fn fast_cores(device: &Device) -> Vec<usize> {
    const NEARLY: f64 = 0.8;
    let speed = |cluster: &Cluster| f64::from(cluster.capacity.or(cluster.max_mhz).unwrap_or(0));
    let allowed = |core: &usize| device.allowed_cores.contains(core);
    let usable = || device.clusters.iter().filter(|c| c.cores.iter().any(allowed));
    let best = usable().map(speed).fold(0.0, f64::max);
    let fast = usable().filter(|cluster| speed(cluster) >= NEARLY * best);
    let mut cores: Vec<usize> =
        fast.flat_map(|c| c.cores.iter().copied()).filter(allowed).collect();
    cores.sort_unstable();
    cores
}

fn describe(cluster: &Cluster) -> String {
    let Cluster { name, cores, max_mhz, .. } = cluster;
    let clock = max_mhz.map_or(String::new(), |mhz| format!(" up to {mhz} MHz"));
    let (first, last) = (cores.first().unwrap_or(&0), cores.last().unwrap_or(&0));
    match cores.len() {
        1 => format!("1 × {name}{clock} (core {first})"),
        n if last - first == n - 1 => format!("{n} × {name}{clock} (cores {first} to {last})"),
        n => {
            let cores: Vec<String> = cores.iter().map(usize::to_string).collect();
            format!("{n} × {name}{clock} (cores {})", cores.join(", "))
        }
    }
}

/// How a cluster's clock is governed.
fn clock(system: &System, cluster: &Cluster) -> Vec<Finding> {
    let core = cluster.cores.first().copied().unwrap_or(0);
    let driver = format!("sys/devices/system/cpu/cpu{core}/cpufreq/scaling_driver");
    let driver = system.text(&driver).unwrap_or_default();
    // These drivers' powersave follows the load, as schedutil does elsewhere.
    let follows = ["intel_pstate", "amd-pstate-epp"].contains(&driver.as_str());
    let change = "`sudo cpupower frequency-set -g performance`";
    let name = &cluster.name;
    let governor = cluster.governor.as_deref().map(|governor| match governor {
        "performance" => Finding::ok("clock", format!("{name}: governor performance")),
        "powersave" if !follows => Finding::warning(
            "clock",
            format!("{name}: governor powersave, always the lowest clock"),
            change,
        ),
        "userspace" => Finding::warning(
            "clock",
            format!("{name}: governor userspace, a clock that somebody set"),
            change,
        ),
        other => Finding::note(
            "clock",
            format!("{name}: governor {other}, which starts slowly after every pause"),
            format!("for frames at a pace, {change}"),
        ),
    });
    let capped = match (cluster.limit_mhz, cluster.max_mhz) {
        (Some(limit), Some(max)) if limit < max => Some(Finding::warning(
            "clock",
            format!("{name}: limited to {limit} of {max} MHz"),
            format!("`sudo cpupower frequency-set -u {max}MHz`, if cooling and power allow it"),
        )),
        _ => None,
    };
    governor.into_iter().chain(capped).collect()
}

fn heat(system: &System) -> Vec<Finding> {
    let mut findings = Vec::new();
    let hottest = system.temperatures().into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
    let cool = "cool it, or lower the load: a hot chip slows down";
    findings.push(match hottest {
        None => Finding::note(
            "heat",
            "no sensor can be read",
            "a long benchmark shows whether the speed lasts: `intraop bench --sustain 10`",
        ),
        Some((name, c)) if c >= HOT => {
            Finding::warning("heat", format!("{name} is at {c:.0} °C"), cool)
        }
        Some((name, c)) if c >= WARM => {
            Finding::note("heat", format!("{name} is at {c:.0} °C"), cool)
        }
        Some((name, c)) => Finding::ok("heat", format!("{name} is at {c:.0} °C")),
    });
    if let Some(bits) = system.raspberry_throttling().filter(|bits| bits & 0xf_000f != 0) {
        // Bits 0 to 3 are of now, 16 to 19 the same since it was started; the lowest is voltage.
        let (now, bits) = match bits & 0xf {
            0 => ("since it was started", bits >> 16),
            _ => ("now", bits),
        };
        let (cause, advice) = match bits & 1 {
            0 => ("by heat or a limit", "cool it"),
            _ => ("by too low a voltage", "use a stronger power supply and a shorter cable"),
        };
        findings.push(Finding::warning("heat", format!("clock held back {now}, {cause}"), advice));
        return findings;
    }
    let reading = system.reading(&[]);
    if let Some(events) = reading.throttle_events.filter(|n| *n > 0) {
        let found = format!("clock held back by heat {events} times since it was started");
        findings.push(Finding::warning("heat", found, cool));
    }
    if reading.held_back == Some(true) {
        findings.push(Finding::warning("heat", "clock held back by heat now", cool));
    }
    findings
}

fn memory(device: &Device) -> Vec<Finding> {
    let mut findings = Vec::new();
    let free = device.memory_available_mib;
    if let Some(limit) = device.memory_limit_mib
        && device.memory_mib.is_none_or(|all| limit < all)
    {
        let found = format!("a control group allows {limit} MiB");
        let advice = "raise docker's --memory or systemd's MemoryMax where volumes do not fit";
        findings.push(match limit < LITTLE_MEMORY_MIB {
            true => Finding::warning("memory", found, advice),
            false => Finding::note("memory", found, advice),
        });
    }
    findings.push(match (free, device.memory_mib) {
        (Some(free), Some(all)) => {
            let found = format!("{free} of {all} MiB can be had");
            match free < LITTLE_MEMORY_MIB {
                true => Finding::warning("memory", found, "end what else runs, or use frames only"),
                false => Finding::ok("memory", found),
            }
        }
        _ => Finding::note("memory", "the system does not tell", "a volume needs some 200 MiB"),
    });
    findings
}
