//! How much memory this process has, as Linux tells; elsewhere nothing is known.

/// The largest resident size so far, or since [`reset_peak`], in MiB (`VmHWM`).
pub fn peak_mib() -> Option<f64> {
    status("VmHWM:")
}

/// The resident size now, in MiB (`VmRSS`).
pub fn resident_mib() -> Option<f64> {
    status("VmRSS:")
}

/// Lets [`peak_mib`] start again from the size now; false where the kernel cannot.
pub fn reset_peak() -> bool {
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

fn status(key: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix(key))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some((kib / 1024.0 * 10.0).round() / 10.0)
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
        assert!(resident_mib().unwrap() > 0.0);
    }
}
