use super::*;

/// A root folder with these files.
pub fn system(files: &[(&str, &str)]) -> (tempfile::TempDir, System) {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let system = System::below(folder.path());
    (folder, system)
}

/// /proc/cpuinfo of ARM cores with these part numbers.
pub fn arm(parts: &[&str]) -> String {
    let block = |(core, part): (usize, &&str)| {
        format!(
            "processor\t: {core}\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd crc32\n\
             CPU implementer\t: 0x41\nCPU part\t: {part}\nCPU revision\t: 3\n\n"
        )
    };
    parts.iter().enumerate().map(block).collect()
}

#[test]
fn a_raspberry_pi_4() {
    let cpuinfo = arm(&["0xd08"; 4]);
    let mut files = vec![
        ("proc/cpuinfo", cpuinfo.as_str()),
        ("proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0"),
        ("proc/device-tree/compatible", "raspberrypi,4-model-b\0brcm,bcm2711\0"),
        ("proc/meminfo", "MemTotal:  3884152 kB\nMemFree: 1 kB\nMemAvailable:  3500000 kB\n"),
        ("proc/self/status", "Name:\tcat\nCpus_allowed_list:\t0-1,3\n"),
        ("proc/sys/kernel/osrelease", "6.1.21-v8+\n"),
        ("etc/os-release", "NAME=Debian\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n"),
        ("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"),
        ("sys/class/thermal/thermal_zone0/temp", "61342\n"),
        ("sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n"),
    ];
    let cores = ["0", "1", "2", "3"].map(|core| {
        ["scaling_governor", "scaling_max_freq", "cpuinfo_max_freq", "cpuinfo_min_freq"]
            .map(|file| format!("sys/devices/system/cpu/cpu{core}/cpufreq/{file}"))
    });
    for paths in &cores {
        let values = ["ondemand\n", "1500000\n", "1800000\n", "600000\n"];
        files.extend(paths.iter().map(String::as_str).zip(values));
    }
    files.push(("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "1000000\n"));
    files.push(("sys/devices/system/cpu/cpu3/cpufreq/scaling_cur_freq", "1500000\n"));
    let (_folder, system) = system(&files);

    let device = system.device();
    assert_eq!(device.model.as_deref(), Some("Raspberry Pi 4 Model B Rev 1.4"));
    assert_eq!(device.soc.as_deref(), Some("brcm,bcm2711"));
    assert!(device.system.starts_with("Debian GNU/Linux 12, "), "{}", device.system);
    let cluster = Cluster {
        name: "Cortex-A72".into(),
        cores: vec![0, 1, 2, 3],
        min_mhz: Some(600),
        max_mhz: Some(1800),
        limit_mhz: Some(1500),
        governor: Some("ondemand".into()),
        capacity: None,
    };
    assert_eq!(device.clusters, [cluster]);
    assert_eq!(device.allowed_cores, [0, 1, 3]);
    assert_eq!((device.memory_mib, device.memory_available_mib), (Some(3793), Some(3417)));
    assert_eq!(device.features, ["fp", "asimd", "crc32"]);
    let reading = system.reading(&[]);
    assert_eq!(
        reading,
        Reading {
            celsius: Some(61.342),
            mhz: Some(1250.0),
            held_back: Some(true),
            ..Reading::default()
        }
    );
    assert_eq!(system.reading(&[3]).mhz, Some(1500.0));
}

#[test]
fn big_and_little_cores_are_two_clusters() {
    let cpuinfo = arm(&["0xd05", "0xd05", "0xd0b", "0xd0b"]);
    let capacity = [0, 1, 2, 3].map(|n| format!("sys/devices/system/cpu/cpu{n}/cpu_capacity"));
    let mut files = vec![
        ("proc/cpuinfo", cpuinfo.as_str()),
        // A zone of 200 °C is a sensor that is not there.
        ("sys/class/thermal/thermal_zone0/type", "soc-thermal"),
        ("sys/class/thermal/thermal_zone0/temp", "45300"),
        ("sys/class/thermal/thermal_zone10/type", "gpu-thermal"),
        ("sys/class/thermal/thermal_zone10/temp", "200000"),
        ("sys/class/thermal/cooling_device0/type", "thermal-cpufreq-0"),
        ("sys/class/thermal/cooling_device0/cur_state", "0"),
        ("sys/class/thermal/cooling_device1/type", "pwm-fan"),
        ("sys/class/thermal/cooling_device1/cur_state", "3"),
        ("proc/self/cgroup", "0::/system.slice/bench.service\n"),
        ("sys/fs/cgroup/system.slice/bench.service/cpu.max", "max 100000\n"),
        ("sys/fs/cgroup/system.slice/cpu.max", "150000 100000\n"),
        ("sys/fs/cgroup/system.slice/memory.max", "1073741824\n"),
        ("sys/fs/cgroup/memory.max", "536870912\n"),
        ("proc/stat", "cpu  100 20 30 9999 7 2 1 40 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n"),
        ("proc/self/stat", "1 (a ) b) R 0 1 1 0 -1 4194560 1 0 0 0 60 13 0 0 20 0 1 0 5\n"),
    ];
    files.extend(capacity.iter().map(String::as_str).zip(["427", "427", "1024", "1024"]));
    let (_folder, system) = system(&files);
    let device = system.device();
    let clusters: Vec<_> =
        device.clusters.iter().map(|c| (c.name.as_str(), &c.cores[..], c.capacity)).collect();
    let expected: [(&str, &[usize], _); 2] =
        [("Cortex-A55", &[0, 1], Some(427)), ("Cortex-A76", &[2, 3], Some(1024))];
    assert_eq!(clusters, expected);
    assert_eq!((device.cpu_limit, device.memory_limit_mib), (Some(1.5), Some(512)));
    // 100 + 20 + 30 + 2 + 1 + 40 hundredths of a second, of which 60 + 13 are this process's.
    assert_eq!(system.others_seconds(), Some(1.2));
    let reading = system.reading(&[]);
    let expected = Reading { celsius: Some(45.3), held_back: Some(false), ..Reading::default() };
    assert_eq!(reading, expected);
}

#[test]
fn a_system_that_tells_nothing() {
    let (_folder, nothing) = system(&[]);
    let device = nothing.device();
    assert_eq!((device.model, device.soc, device.memory_mib), (None, None, None));
    assert!(device.clusters.is_empty() && device.allowed_cores.is_empty());
    assert_eq!(nothing.reading(&[0]), Reading::default());

    // Nonsense in the files is nothing known, too.
    let (_folder, nonsense) = system(&[
        ("proc/cpuinfo", "processor\t: x\n\nprocessor : 3\nCPU part : 0xzz\n\n:::"),
        ("proc/self/status", "Cpus_allowed_list:\t0-99999999999,a-b,3\n"),
        ("proc/meminfo", "MemTotal: many kB\n"),
        ("sys/fs/cgroup/cpu.max", "max 100000"),
        ("sys/fs/cgroup/memory.max", "max"),
        ("sys/class/thermal/thermal_zone0/temp", "hot"),
        ("sys/class/hwmon/hwmon0/name", "k10temp"),
        ("sys/class/hwmon/hwmon0/temp1_input", "40125"),
        ("sys/class/hwmon/hwmon0/temp1_label", "Tctl"),
    ]);
    let device = nonsense.device();
    assert_eq!((device.cpu_limit, device.memory_limit_mib, device.memory_mib), (None, None, None));
    assert_eq!((device.clusters.len(), device.clusters[0].name.as_str()), (1, "unknown"));
    assert_eq!(device.allowed_cores, [3]);
    assert_eq!(nonsense.temperatures(), BTreeMap::from([("k10temp Tctl".into(), 40.125)]));
}

#[test]
fn this_machine_has_cores_and_memory() {
    let device = System::default().device();
    if cfg!(target_os = "linux") {
        assert!(!device.allowed_cores.is_empty() && device.memory_mib.is_some());
        let all = device.clusters.iter().map(|c| c.cores.len()).sum::<usize>();
        assert!(device.allowed_cores.len() <= all);
    }
}
