//! How much memory this process has, as Linux tells; elsewhere nothing is known.

/// Resident sizes of this process in MiB.
pub struct Resident {
    /// The largest so far, or since [`reset_peak`] (`VmHWM`).
    pub peak_mib: f64,
    /// Now (`VmRSS`).
    pub now_mib: f64,
}

/// Both of one reading: between two the process grows.
pub fn resident() -> Option<Resident> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let mib = |key: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(key))?;
        let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
        Some((kib / 1024.0 * 10.0).round() / 10.0)
    };
    Some(Resident { peak_mib: mib("VmHWM:")?, now_mib: mib("VmRSS:")? })
}

/// The largest resident size so far, or since [`reset_peak`], in MiB.
pub fn peak_mib() -> Option<f64> {
    Some(resident()?.peak_mib)
}

/// Lets [`peak_mib`] start again from the size now; false where the kernel cannot.
pub fn reset_peak() -> bool {
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_peak_is_seen_and_forgotten() {
        let before = peak_mib().unwrap();
        drop(std::hint::black_box(vec![1u8; 200 << 20]));
        let during = peak_mib().unwrap();
        assert!(during >= 200.0 && during >= before, "{before} {during}");
        if reset_peak() {
            // Other tests run meanwhile: less than the peak is all that is sure.
            assert!(peak_mib().unwrap() < during);
        }
        let resident = resident().unwrap();
        assert!(0.0 < resident.now_mib && resident.now_mib <= resident.peak_mib);
    }
}
