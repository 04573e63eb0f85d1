//! The threads that networks run on.

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::{Error, Result};

/// A pool of `threads` threads; with `cores`, thread i stays on core `cores[i % cores.len()]`.
///
/// # Errors
/// [`Error::Option`] for a number of threads outside 1 to 1024, and for cores that this process
/// may not run on.
pub fn pool(threads: usize, cores: &[usize]) -> Result<ThreadPool> {
    if !(1..=1024).contains(&threads) {
        return Err(Error::Option {
            option: "threads",
            expected: "1 to 1024".into(),
            found: threads.to_string(),
        });
    }
    check(cores)?;
    let pinned = cores.to_vec();
    ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|n| format!("intraop-{n}"))
        .start_handler(move |n| {
            if !pinned.is_empty() {
                pin(pinned[n % pinned.len()]);
            }
        })
        .build()
        .map_err(|e| Error::graph("-", e.to_string()))
}

#[cfg(target_os = "linux")]
fn check(cores: &[usize]) -> Result<()> {
    use rustix::thread::{CpuSet, sched_getaffinity};
    let Ok(allowed) = sched_getaffinity(None) else { return Ok(()) };
    let usable = |core: usize| core < CpuSet::MAX_CPU && allowed.is_set(core);
    let Some(core) = cores.iter().find(|core| !usable(**core)) else { return Ok(()) };
    let all: Vec<_> = (0..CpuSet::MAX_CPU).filter(|c| usable(*c)).map(|c| c.to_string()).collect();
    Err(Error::Option {
        option: "cores",
        expected: format!("cores of this process: {}", all.join(", ")),
        found: core.to_string(),
    })
}

#[cfg(target_os = "linux")]
fn pin(core: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    if let Err(e) = rustix::thread::sched_setaffinity(None, &set) {
        log::warn!("a thread could not be pinned to core {core}: {e}");
    }
}

#[cfg(not(target_os = "linux"))]
fn check(cores: &[usize]) -> Result<()> {
    if cores.is_empty() {
        return Ok(());
    }
    Err(Error::Option {
        option: "cores",
        expected: "a Linux system".into(),
        found: std::env::consts::OS.into(),
    })
}

#[cfg(not(target_os = "linux"))]
fn pin(_: usize) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn threads_stay_where_they_are_pinned() {
        let allowed = rustix::thread::sched_getaffinity(None).unwrap();
        let core = (0..).find(|c| allowed.is_set(*c)).unwrap();
        let sets = pool(2, &[core]).unwrap().broadcast(|_| {
            let set = rustix::thread::sched_getaffinity(None).unwrap();
            (set.count(), set.is_set(core))
        });
        assert_eq!(sets, vec![(1, true); 2]);
        let message = pool(1, &[100_000]).unwrap_err().to_string();
        assert!(message.contains("cores") && message.contains("100000"), "{message}");
    }
}
