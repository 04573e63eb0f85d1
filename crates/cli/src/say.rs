//! What goes to stdout.

use std::io::Write;

use intraop::{Error, Result};

/// Writes a result to stdout. A reader that has seen enough (`| head`) is no error.
pub fn say(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::Unwritable { path: "standard output".into(), source: e })
        }
        _ => Ok(()),
    }
}

/// A report as JSON for people.
pub fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).expect("reports hold only numbers, texts and lists")
}
