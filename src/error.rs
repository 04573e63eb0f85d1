//! One error type for the whole library. Every variant says what was expected, what was found
//! and what to do, in one line, and names the file or the manifest field it is about.

use std::path::{Path, PathBuf};

/// `Result` with this library's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong, in the order data flows.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be opened or read.
    #[error("{}: cannot be read: {source}; check the path and its permissions", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// A file or folder could not be created or written.
    #[error("{}: cannot be written: {source}; choose another --out, or free space there", path.display())]
    Unwritable { path: PathBuf, source: std::io::Error },
    /// A file's content breaks its format, or is outside what this library handles.
    #[error("{}: {what}: expected {expected}, found {found}; {advice}", path.display())]
    Malformed { path: PathBuf, what: String, expected: String, found: String, advice: String },
    /// A file ends before the data its header promises.
    #[error("{}: truncated: expected {expected} bytes of image data, found {found}; copy or export the file again", path.display())]
    Truncated { path: PathBuf, expected: u64, found: u64 },
    /// A header promises more voxels than this library accepts, or than the file can hold.
    #[error("{}: too large: the header promises {promised} bytes of image data, at most {limit} are possible here; crop or resample the image, or repair its header", path.display())]
    TooLarge { path: PathBuf, promised: u64, limit: u64 },
    /// An image (or a pair) was read well but cannot be worked on: constant, not finite, no overlap.
    #[error("{name}: {problem}; {advice}")]
    Unusable { name: String, problem: String, advice: String },
    /// A package's manifest or one of its files is not as it must be.
    #[error("{}: {field}: expected {expected}, found {found}; {advice}", package.display())]
    Package { package: PathBuf, field: String, expected: String, found: String, advice: String },
    /// No package of this name or path.
    #[error("model {name}: not found in {}; give a folder or tar, or set INTRAOP_MODELS", looked_in.join(", "))]
    ModelNotFound { name: String, looked_in: Vec<String> },
    /// An option's value is outside what is possible.
    #[error("{option}: expected {expected}, found {found}")]
    Option { option: String, expected: String, found: String },
    /// The inference engine refused a graph or failed to run it.
    #[error("graph {graph}: {problem}; run `intraop models verify` on the package")]
    Engine { graph: String, problem: String },
    /// A check (a golden case) was not met.
    #[error("{name}: check not met: {problem}; do not use this package on this machine")]
    Check { name: String, problem: String },
    /// A budget was not met, or a version is slower than the one before.
    #[error("{name}: too slow: {problem}")]
    TooSlow { name: String, problem: String },
    /// Some cases of an evaluation failed; the report lists each.
    #[error("{failed} of {of} cases failed, the first: {first}")]
    Failed { failed: usize, of: usize, first: String },
    /// The caller asked to stop.
    #[error("interrupted: nothing was written")]
    Cancelled,
}

impl Error {
    /// Shorthand for [`Error::Malformed`].
    pub fn malformed(
        path: &Path,
        what: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Error::Malformed {
            path: path.to_owned(),
            what: what.into(),
            expected: expected.into(),
            found: found.into(),
            advice: advice.into(),
        }
    }

    /// Shorthand for [`Error::Unusable`].
    pub fn unusable(
        name: impl Into<String>,
        problem: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Error::Unusable { name: name.into(), problem: problem.into(), advice: advice.into() }
    }

    /// The exit code of the command line: 1 the work failed, 2 wrong usage or bad input,
    /// 3 a check was not met. An output folder that cannot be written is a wrong argument.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Cancelled | Error::Engine { .. } | Error::Failed { .. } => 1,
            Error::Check { .. } | Error::TooSlow { .. } => 3,
            _ => 2,
        }
    }
}
