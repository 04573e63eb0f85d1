//! What can go wrong here, in one line each: what was expected, what was found, what to do.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a network cannot be had or did not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option is outside what is possible on this machine.
    #[error("{option}: expected {expected}, found {found}")]
    Option { option: &'static str, expected: String, found: String },
    /// A graph was refused or failed to run.
    #[error("graph {graph}: {problem}")]
    Graph { graph: String, problem: String },
    /// A graph has an operator that only the fallback runs, which this build lacks.
    #[error(
        "graph {graph}: {node}: expected what the engine itself runs, as this program was built \
         without the fallback for other operators; build it by `cargo build --release --features full`"
    )]
    NeedsFull { graph: String, node: String },
}

impl Error {
    /// [`Error::Graph`], on one line.
    pub(crate) fn graph(graph: &str, problem: String) -> Error {
        Error::Graph { graph: graph.into(), problem: problem.replace('\n', " ") }
    }
}

/// tract panics at some models that break ONNX's rules.
pub(crate) fn caught<T>(graph: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let panicked = "it breaks a rule of ONNX, for which there is a panic and no message";
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Error::graph(graph, panicked.into())))
}
