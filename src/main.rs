//! The command line: a thin user of the library. `intraop --help` lists what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    share_heap();
    intraop::cli::main()
}

/// glibc gives every thread a heap, which keeps what was freed there: volumes that one thread of
/// the pool has freed would not make room for those of another, and `register` would need up to a
/// quarter more memory.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn share_heap() {
    unsafe extern "C" {
        fn mallopt(parameter: i32, value: i32) -> i32;
    }
    const M_ARENA_MAX: i32 = -8; // malloc.h
    // SAFETY: glibc's function by its own declaration, called before there are other threads.
    unsafe { mallopt(M_ARENA_MAX, 1) };
}
