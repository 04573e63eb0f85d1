//! Serial ports and the framebuffer: are they there, and may this user use them? Asked of their
//! permissions alone: to open a serial port may reset the board behind it.

use std::collections::BTreeSet;
use std::fs;

use super::Finding;
use crate::device::{System, field};

/// Of serial ports: on USB, of ARM's own kind, and of PCs.
const SERIAL: [&str; 4] = ["ttyUSB", "ttyACM", "ttyAMA", "ttyS"];

pub(super) fn examine(system: &System) -> Vec<Finding> {
    let mut ports: Vec<String> = SERIAL.iter().flat_map(|p| system.names("dev", p)).collect();
    ports.retain(|port| is_port(system, port));
    let mut findings: Vec<Finding> =
        ports.iter().filter_map(|port| permission(system, "serial", port)).collect();
    if findings.is_empty() {
        let advice = "`bench --serial` needs one; plug an adapter in";
        findings.push(Finding::note("serial", "no port", advice));
    }
    findings.push(permission(system, "screen", "fb0").unwrap_or_else(|| {
        let advice = "to draw without a desktop, enable the framebuffer of the display's driver";
        Finding::note("screen", "no /dev/fb0", advice)
    }));
    findings
}

/// The kernel keeps names for ports that a PC might have: those have the driver `serial8250`, and
/// no hardware.
fn is_port(system: &System, name: &str) -> bool {
    let digits = name.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let numbered = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let driver = fs::read_link(system.path(&format!("sys/class/tty/{name}/device/driver")));
    let idle = driver.is_ok_and(|driver| driver.ends_with("serial8250"));
    numbered && !idle
}

/// May this user read and write `/dev/name`? `None` where it is not there.
#[cfg(unix)]
fn permission(system: &System, about: &'static str, name: &str) -> Option<Finding> {
    use std::os::unix::fs::MetadataExt;
    let meta = fs::metadata(system.path(&format!("dev/{name}"))).ok()?;
    let status = system.text("proc/self/status").unwrap_or_default();
    let ids = |key: &str| -> BTreeSet<u32> {
        let list = field(&status, key).unwrap_or_default();
        list.split_whitespace().filter_map(|id| id.parse().ok()).collect()
    };
    // Real, effective, saved and of the file system; mostly all the same.
    let users = ids("Uid");
    let groups: BTreeSet<u32> = ids("Gid").union(&ids("Groups")).copied().collect();
    let bits = match () {
        () if users.contains(&meta.uid()) => meta.mode() >> 6,
        () if groups.contains(&meta.gid()) => meta.mode() >> 3,
        () => meta.mode(),
    };
    if users.contains(&0) || bits & 6 == 6 {
        return Some(Finding::ok(about, format!("/dev/{name} can be used")));
    }
    let found = format!("/dev/{name} may not be read and written by this user");
    let advice = match group(system, meta.gid()) {
        Some(group) if meta.mode() >> 3 & 6 == 6 && group != "root" => {
            format!("`sudo usermod -aG {group} $USER`, then log in again")
        }
        _ => format!("a udev rule that gives /dev/{name} to a group of yours"),
    };
    Some(Finding::warning(about, found, advice))
}

#[cfg(not(unix))]
fn permission(_: &System, _: &'static str, _: &str) -> Option<Finding> {
    None
}

/// The name of a group in /etc/group.
fn group(system: &System, id: u32) -> Option<String> {
    let groups = system.text("etc/group")?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    })
}
