//! Many cases from a CSV: the cases, what came out of each, and the sum. One module per task.

pub mod frames;
pub mod registration;

pub use registration::{CaseRow, read_cases};

use crate::session::Session;

/// What the figures of a page depend on.
fn facts(session: &Session) -> Vec<(String, String)> {
    let manifest = &session.package().manifest;
    [
        ("model", format!("{} {}", manifest.name, manifest.version)),
        ("model's data", manifest.data_source.clone()),
        ("model's license", manifest.license.clone()),
        ("precision", format!("{:?}", manifest.precision)),
        ("SIMD level", session.simd().level().name().to_string()),
        ("threads", session.threads().to_string()),
        ("intraop", env!("CARGO_PKG_VERSION").to_string()),
    ]
    .map(|(name, value)| (name.to_string(), value))
    .into()
}
