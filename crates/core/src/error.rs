//! One error type for the whole library. Every variant says what was expected, what was found
//! and what to do, in one line, and names the file or the manifest field it is about.

use std::fmt;
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
    #[error("{}: cannot be written: {source}; choose another folder, or free space there", path.display())]
    Unwritable { path: PathBuf, source: std::io::Error },
    /// A file's content breaks its format, or is outside what this library handles.
    #[error("{}: {what}: expected {expected}, found {found}; {advice}", path.display())]
    Malformed { path: PathBuf, what: Box<str>, expected: String, found: String, advice: String },
    /// A file ends before the data its header promises.
    #[error("{}: truncated: expected {expected} bytes of image data, found {found}; copy or export the file again", path.display())]
    Truncated { path: PathBuf, expected: u64, found: u64 },
    /// A header promises more voxels than this library accepts, or than the file can hold.
    #[error("{}: too large: the header promises {promised} bytes of image data, at most {limit} are possible here; crop or resample the image, or repair its header", path.display())]
    TooLarge { path: PathBuf, promised: u64, limit: u64 },
    /// An image (or a pair) was read well but cannot be worked on: constant, not finite, no overlap.
    #[error("{subject}: {problem}; {advice}")]
    Unusable { subject: Subject, problem: String, advice: String },
    /// A package's manifest or one of its files is not as it must be.
    #[error("{}: {field}: expected {expected}, found {found}; {advice}", package.display())]
    Package { package: PathBuf, field: Box<str>, expected: String, found: String, advice: String },
    /// No package of this name or path.
    #[error("model {name}: not found in {}; give a folder or tar, or set INTRAOP_MODELS", looked_in.join(", "))]
    ModelNotFound { name: String, looked_in: Vec<String> },
    /// An option's value is outside what is possible.
    #[error("{option}: expected {expected}, found {found}")]
    Option { option: String, expected: String, found: String },
    /// The engine refused an option or a graph, or failed to run one.
    #[error(transparent)]
    Engine(#[from] intraop_engine::Error),
    /// A check (a golden case) was not met.
    #[error("{name}: check not met: {problem}; do not use this package on this machine")]
    Check { name: String, problem: String },
    /// The caller asked to stop.
    #[error("interrupted: nothing was written")]
    Cancelled,
}

/// What cannot be used: a part of a pair, which the caller knows by a file's name, or something that
/// has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    FixedImage,
    MovingImage,
    BothImages,
    FixedLabels,
    MovingLabels,
    MovingPoints,
    InitialTransform,
    Named(String),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Subject::FixedImage => "fixed image",
            Subject::MovingImage => "moving image",
            Subject::BothImages => "fixed and moving image",
            Subject::FixedLabels => "fixed labels",
            Subject::MovingLabels => "moving labels",
            Subject::MovingPoints => "moving points",
            Subject::InitialTransform => "initial transform",
            Subject::Named(name) => name,
        })
    }
}

impl<T: Into<String>> From<T> for Subject {
    fn from(name: T) -> Self {
        Subject::Named(name.into())
    }
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
            what: what.into().into_boxed_str(),
            expected: expected.into(),
            found: found.into(),
            advice: advice.into(),
        }
    }

    /// Shorthand for [`Error::Unusable`].
    pub fn unusable(
        subject: impl Into<Subject>,
        problem: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        let (problem, advice) = (problem.into(), advice.into());
        Error::Unusable { subject: subject.into(), problem, advice }
    }

    /// The same, where it is [`Error::Unusable`], said of this.
    pub fn about(self, subject: Subject) -> Self {
        match self {
            Error::Unusable { problem, advice, .. } => Error::Unusable { subject, problem, advice },
            other => other,
        }
    }
}
