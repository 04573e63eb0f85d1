//! The GPU is found, not linked: one binary runs on machines with and without CUDA.

/// Loads libtorch's CUDA part where it is installed. Must come before any other use of tch:
/// after the first CUDA query libtorch has made up its mind.
pub fn load() {
    #[cfg(unix)]
    {
        use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
        // SAFETY: loading runs the library's initializers; it is the libtorch that this binary
        // is already linked with, and nothing of tch has run yet.
        let loaded = unsafe { Library::open(Some("libtorch_cuda.so"), RTLD_NOW | RTLD_GLOBAL) };
        match loaded {
            // Never unloaded: libtorch keeps pointers into it.
            Ok(library) => std::mem::forget(library),
            Err(error) => log::debug!("training on the CPU: {error}"),
        }
    }
}
