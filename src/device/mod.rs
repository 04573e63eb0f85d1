//! What the machine is, and how it fares while it works: read from `/proc` and `/sys` of Linux, of
//! which every board shows another part. What is not there is `None` or empty, never a guess.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The machine, as far as the system tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// The board or computer: the device tree's model, or the vendor's product name.
    pub model: Option<String>,
    /// The chip: the device tree's second name for the board, or the processor's own.
    pub soc: Option<String>,
    /// As Rust names it: `x86_64`, `aarch64`, …
    pub architecture: String,
    /// Distribution and kernel.
    pub system: String,
    pub clusters: Vec<Cluster>,
    /// Cores that this process may run on.
    pub allowed_cores: Vec<usize>,
    /// What a control group allows: processors' worth of time, and MiB of memory.
    pub cpu_limit: Option<f64>,
    pub memory_limit_mib: Option<u64>,
    pub memory_mib: Option<u64>,
    /// What can be had without swapping.
    pub memory_available_mib: Option<u64>,
    /// Of the processor, as the kernel names them.
    pub features: Vec<String>,
}

/// Cores of one kind: the same name, speed and governor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// Such as `Cortex-A72`.
    pub name: String,
    pub cores: Vec<usize>,
    pub min_mhz: Option<u32>,
    /// The highest that the hardware can …
    pub max_mhz: Option<u32>,
    /// … and the highest that the settings allow.
    pub limit_mhz: Option<u32>,
    pub governor: Option<String>,
    /// Of the fastest core's 1024.
    pub capacity: Option<u32>,
}

/// How hot and how fast the machine is now.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Reading {
    /// Of the hottest sensor.
    pub celsius: Option<f64>,
    /// Mean over the cores asked for.
    pub mhz: Option<f64>,
    /// How often the clock was held back since the machine was started.
    pub throttle_events: Option<u64>,
    /// Whether it is held back now: what a Raspberry Pi and cooling devices tell.
    pub held_back: Option<bool>,
}

/// The system's files, below a root: `/`, or a test's folder.
#[derive(Debug, Clone)]
pub struct System {
    root: PathBuf,
}

impl Default for System {
    fn default() -> Self {
        System { root: "/".into() }
    }
}

impl System {
    /// A system whose files lie below `root`.
    pub fn below(root: &Path) -> Self {
        System { root: root.to_owned() }
    }

    /// A file's text without the ends that the kernel gives it; `None` where it cannot be read or
    /// says nothing.
    pub fn text(&self, path: &str) -> Option<String> {
        let bytes = fs::read(self.path(path)).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_matches(|c: char| c == '\0' || c.is_whitespace());
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// Where a file of this system lies.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    pub fn number<T: std::str::FromStr>(&self, path: &str) -> Option<T> {
        self.text(path)?.parse().ok()
    }

    /// The names in a folder that begin with `prefix`, in order (cpu2 before cpu10); none where
    /// there is no folder.
    pub fn names(&self, folder: &str, prefix: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|e| e.file_name().into_string().ok()).collect();
        names.retain(|name| name.starts_with(prefix));
        names.sort_by_key(|name| (name.len(), name.clone()));
        names
    }

    /// Describes the machine.
    pub fn device(&self) -> Device {
        let cpuinfo = self.text("proc/cpuinfo").unwrap_or_default();
        let kernel = self.text("proc/sys/kernel/osrelease");
        let distribution = self.text("etc/os-release").and_then(|text| {
            let name = text.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="))?;
            Some(name.trim_matches('"').to_owned())
        });
        let system = [distribution, kernel.map(|k| format!("{} {k}", std::env::consts::OS))];
        let system = system.into_iter().flatten().collect::<Vec<_>>().join(", ");
        let product = || {
            let vendor = self.text("sys/class/dmi/id/sys_vendor");
            let product = self.text("sys/class/dmi/id/product_name")?;
            Some(vendor.map_or(product.clone(), |vendor| format!("{vendor} {product}")))
        };
        // "raspberrypi,4-model-b\0brcm,bcm2711": the last name is the chip's.
        let compatible = self.text("proc/device-tree/compatible");
        let soc = compatible.and_then(|names| Some(names.rsplit('\0').next()?.to_owned()));
        let memory = |key: &str| {
            let text = self.text("proc/meminfo")?;
            let line = text.lines().find_map(|l| l.strip_prefix(key))?.to_owned();
            Some(line.split_whitespace().next()?.parse::<u64>().ok()? / 1024)
        };
        Device {
            model: self.text("proc/device-tree/model").or_else(product),
            soc: soc.or_else(|| field(&cpuinfo, "model name")),
            architecture: std::env::consts::ARCH.into(),
            system: if system.is_empty() { std::env::consts::OS.into() } else { system },
            clusters: self.clusters(&cpuinfo),
            allowed_cores: self.allowed_cores(),
            cpu_limit: self.cpu_limit(),
            memory_limit_mib: self.memory_limit(),
            memory_mib: memory("MemTotal:"),
            memory_available_mib: memory("MemAvailable:"),
            features: field(&cpuinfo, "flags")
                .or_else(|| field(&cpuinfo, "Features"))
                .map(|f| f.split_whitespace().map(str::to_owned).collect())
                .unwrap_or_default(),
        }
    }

    /// The cores that are switched on, those of a kind together, the slowest kind first.
    fn clusters(&self, cpuinfo: &str) -> Vec<Cluster> {
        let mut clusters: Vec<Cluster> = Vec::new();
        for (core, block) in cpu_blocks(cpuinfo) {
            let folder = format!("sys/devices/system/cpu/cpu{core}");
            let mhz = |file: &str| {
                let khz = self.number::<u32>(&format!("{folder}/cpufreq/{file}"))?;
                Some(khz / 1000)
            };
            let mut one = Cluster {
                name: core_name(block),
                cores: vec![core],
                min_mhz: mhz("cpuinfo_min_freq"),
                max_mhz: mhz("cpuinfo_max_freq"),
                limit_mhz: mhz("scaling_max_freq"),
                governor: self.text(&format!("{folder}/cpufreq/scaling_governor")),
                capacity: self.number(&format!("{folder}/cpu_capacity")),
            };
            let same = |c: &&mut Cluster| {
                one.cores.clone_from(&c.cores);
                **c == one
            };
            match clusters.iter_mut().find(same) {
                Some(cluster) => cluster.cores.push(core),
                None => {
                    one.cores = vec![core];
                    clusters.push(one);
                }
            }
        }
        clusters.sort_by_key(|c| (c.capacity, c.max_mhz));
        clusters
    }

    fn allowed_cores(&self) -> Vec<usize> {
        let status = self.text("proc/self/status").unwrap_or_default();
        let list = field(&status, "Cpus_allowed_list").unwrap_or_default();
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.trim().parse::<usize>().ok()?..=last.trim().parse::<usize>().ok()?)
        };
        let online: Vec<usize> = cpu_blocks(&self.text("proc/cpuinfo").unwrap_or_default())
            .map(|(core, _)| core)
            .collect();
        let cores = list.split(',').filter_map(range).flatten();
        cores.take(4096).filter(|core| online.contains(core)).collect()
    }

    /// The control group of this process and those around it, the innermost first.
    fn groups(&self) -> Vec<String> {
        let own = self.text("proc/self/cgroup").unwrap_or_default();
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        let mut groups: Vec<String> = Path::new(own)
            .ancestors()
            .filter(|group| !group.as_os_str().is_empty())
            .map(|group| format!("sys/fs/cgroup/{}", group.display()))
            .collect();
        groups.push("sys/fs/cgroup".into());
        groups
    }

    /// Of control groups v2 and v1: `max` or -1 is no limit.
    fn cpu_limit(&self) -> Option<f64> {
        let limits = self.groups().into_iter().filter_map(|group| {
            let text = self.text(&format!("{group}/cpu.max"))?;
            let (quota, period) = text.split_once(' ')?;
            Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
        });
        let v1 = || {
            let quota: f64 = self.number("sys/fs/cgroup/cpu/cpu.cfs_quota_us")?;
            let period: f64 = self.number("sys/fs/cgroup/cpu/cpu.cfs_period_us")?;
            (quota > 0.0).then_some(quota / period)
        };
        limits.min_by(f64::total_cmp).or_else(v1)
    }

    fn memory_limit(&self) -> Option<u64> {
        let groups = self.groups().into_iter();
        let v2 =
            groups.filter_map(|group| self.number::<u64>(&format!("{group}/memory.max"))).min();
        let v1 = || self.number("sys/fs/cgroup/memory/memory.limit_in_bytes");
        // Version 1 says "no limit" by a number near 2^63.
        v2.or_else(v1).filter(|bytes| *bytes < 1 << 60).map(|bytes| bytes >> 20)
    }

    /// Temperature, clock and throttling now; the clock of `cores`, or of all with none given.
    pub fn reading(&self, cores: &[usize]) -> Reading {
        let temperatures = self.temperatures();
        let hottest = temperatures.values().copied().max_by(f64::total_cmp);
        let mhz = self.current_mhz(cores);
        let mean = (!mhz.is_empty()).then(|| mhz.iter().sum::<f64>() / mhz.len() as f64);
        Reading {
            celsius: hottest,
            mhz: mean,
            throttle_events: self.throttle_events(),
            held_back: self.held_back(),
        }
    }

    /// Degrees Celsius by the sensor's name: thermal zones, else the monitoring chips. Of sensors
    /// with one name the hottest; those that are not connected, which give nonsense, are left out.
    pub fn temperatures(&self) -> BTreeMap<String, f64> {
        let read = |sensors: Vec<(String, String)>| {
            let mut hottest = BTreeMap::new();
            for (name, path) in sensors {
                let celsius = self.number::<f64>(&path).map(|milli| milli / 1000.0);
                if let Some(celsius) = celsius.filter(|c| (-40.0..=150.0).contains(c)) {
                    let entry = hottest.entry(name).or_insert(celsius);
                    *entry = celsius.max(*entry);
                }
            }
            hottest
        };
        const ZONES: &str = "sys/class/thermal";
        let zones = self.names(ZONES, "thermal_zone").into_iter().map(|zone| {
            let name = self.text(&format!("{ZONES}/{zone}/type"));
            (name.unwrap_or_else(|| zone.clone()), format!("{ZONES}/{zone}/temp"))
        });
        let zones = read(zones.collect());
        if !zones.is_empty() {
            return zones;
        }
        const CHIPS: &str = "sys/class/hwmon";
        let mut sensors = Vec::new();
        for chip in self.names(CHIPS, "hwmon") {
            let folder = format!("{CHIPS}/{chip}");
            let name = self.text(&format!("{folder}/name")).unwrap_or(chip);
            for file in self.names(&folder, "temp") {
                let Some(sensor) = file.strip_suffix("_input") else { continue };
                let label = self.text(&format!("{folder}/{sensor}_label"));
                let label = label.as_deref().unwrap_or(sensor);
                sensors.push((format!("{name} {label}"), format!("{folder}/{file}")));
            }
        }
        read(sensors)
    }

    fn current_mhz(&self, cores: &[usize]) -> Vec<f64> {
        let wanted = |core: usize| cores.is_empty() || cores.contains(&core);
        let scaling = self.names("sys/devices/system/cpu", "cpu").into_iter().filter_map(|name| {
            let core = name.strip_prefix("cpu")?.parse::<usize>().ok()?;
            let path = format!("sys/devices/system/cpu/{name}/cpufreq/scaling_cur_freq");
            wanted(core).then(|| self.number::<f64>(&path)).flatten()
        });
        let mhz: Vec<f64> = scaling.map(|khz| khz / 1000.0).collect();
        if !mhz.is_empty() {
            return mhz;
        }
        let cpuinfo = self.text("proc/cpuinfo").unwrap_or_default();
        let blocks = cpu_blocks(&cpuinfo).filter(|(core, _)| wanted(*core));
        blocks.filter_map(|(_, block)| field(block, "cpu MHz")?.parse().ok()).collect()
    }

    /// What a Raspberry Pi's firmware says: bits 0 to 3 under-voltage, frequency capped, throttled,
    /// soft temperature limit, now; bits 16 to 19 the same since it was started.
    pub fn raspberry_throttling(&self) -> Option<u64> {
        let bits = self.text("sys/devices/platform/soc/soc:firmware/get_throttled")?;
        u64::from_str_radix(bits.trim_start_matches("0x"), 16).ok()
    }

    fn throttle_events(&self) -> Option<u64> {
        const CPUS: &str = "sys/devices/system/cpu";
        let counts = self.names(CPUS, "cpu").into_iter().filter_map(|cpu| {
            self.number::<u64>(&format!("{CPUS}/{cpu}/thermal_throttle/core_throttle_count"))
        });
        let counts: Vec<u64> = counts.collect();
        (!counts.is_empty()).then(|| counts.iter().sum())
    }

    fn held_back(&self) -> Option<bool> {
        if let Some(bits) = self.raspberry_throttling() {
            return Some(bits & 0xf != 0);
        }
        const COOLING: &str = "sys/class/thermal";
        let held: Vec<bool> = (self.names(COOLING, "cooling_device").into_iter())
            .filter(|device| {
                let kind = self.text(&format!("{COOLING}/{device}/type")).unwrap_or_default();
                kind.contains("cpufreq") || kind == "Processor"
            })
            .filter_map(|d| Some(self.number::<u64>(&format!("{COOLING}/{d}/cur_state"))? > 0))
            .collect();
        (!held.is_empty()).then(|| held.contains(&true))
    }

    /// Seconds of processors' time since the machine was started that went to others than this
    /// process: other programs, the kernel, the machine's host.
    pub fn others_seconds(&self) -> Option<f64> {
        // The kernel counts hundredths of seconds for programs, whatever its own clock is.
        const TICKS: f64 = 100.0;
        let numbers = |text: &str| -> Vec<f64> {
            text.split_whitespace().map(|word| word.parse().unwrap_or(0.0)).collect()
        };
        let stat = self.text("proc/stat")?;
        let all = numbers(stat.lines().next()?.strip_prefix("cpu ")?);
        // user, nice, system, idle, iowait, irq, softirq, steal; the guests' are among the user's.
        let busy: f64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|i| all.get(*i)).sum();
        // After the name, which may hold blanks: the 12th and 13th are user and system time.
        let own = self.text("proc/self/stat")?;
        let own = numbers(own.rsplit_once(')')?.1);
        Some((busy - own.get(11)? - own.get(12)?) / TICKS)
    }
}

/// The value of `key : value` in the first line that has it.
pub(super) fn field(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key && !value.trim().is_empty()).then(|| value.trim().to_owned())
    })
}

/// Every core in /proc/cpuinfo: its number and its lines.
fn cpu_blocks(cpuinfo: &str) -> impl Iterator<Item = (usize, &str)> {
    let number = |block: &str| field(block, "processor")?.parse().ok();
    cpuinfo.split("\n\n").filter_map(move |block| Some((number(block)?, block)))
}

/// ARM's cores have numbers in cpuinfo, of which the Main ID Register's part number (Arm, Cortex and
/// Neoverse Technical Reference Manuals, MIDR_EL1) says what they are.
fn core_name(block: &str) -> String {
    let hexadecimal =
        |key: &str| u32::from_str_radix(field(block, key)?.trim_start_matches("0x"), 16).ok();
    if let Some(name) = field(block, "model name") {
        return name;
    }
    let (implementer, part) = (hexadecimal("CPU implementer"), hexadecimal("CPU part"));
    let known = match (implementer, part) {
        (Some(0x41), Some(part)) => match part {
            0xc07 => Some("Cortex-A7"),
            0xc09 => Some("Cortex-A9"),
            0xc0f => Some("Cortex-A15"),
            0xd03 => Some("Cortex-A53"),
            0xd04 => Some("Cortex-A35"),
            0xd05 => Some("Cortex-A55"),
            0xd07 => Some("Cortex-A57"),
            0xd08 => Some("Cortex-A72"),
            0xd09 => Some("Cortex-A73"),
            0xd0a => Some("Cortex-A75"),
            0xd0b => Some("Cortex-A76"),
            0xd0c => Some("Neoverse-N1"),
            0xd0d => Some("Cortex-A77"),
            0xd40 => Some("Neoverse-V1"),
            0xd41 => Some("Cortex-A78"),
            0xd42 => Some("Cortex-A78AE"),
            0xd44 => Some("Cortex-X1"),
            0xd46 => Some("Cortex-A510"),
            0xd47 => Some("Cortex-A710"),
            0xd49 => Some("Neoverse-N2"),
            0xd4b => Some("Cortex-A78C"),
            0xd4d => Some("Cortex-A715"),
            0xd4f => Some("Neoverse-V2"),
            0xd80 => Some("Cortex-A520"),
            0xd81 => Some("Cortex-A720"),
            _ => None,
        },
        _ => None,
    };
    match (known, implementer, part) {
        (Some(name), ..) => name.into(),
        (None, Some(implementer), Some(part)) => {
            format!("implementer {implementer:#x}, part {part:#x}")
        }
        _ => "unknown".into(),
    }
}

#[cfg(test)]
pub(super) mod tests;
