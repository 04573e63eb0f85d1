use std::time::Duration;

use crate::bench::{Board, Work};
use crate::{Error, Result};

use super::super::Watch;

/// Answers a host on a serial port until it closes the line or Ctrl-C.
pub(super) fn serve(port: &str, baud: u32, work: &mut Work) -> Result<()> {
    let timeout = Duration::from_millis(200);
    let mut line = serialport::new(port, baud).timeout(timeout).open().map_err(|e| {
        // "No such file or directory", "Permission denied", …
        let advice = "give a serial port such as /dev/ttyUSB0 that this user may use";
        Error::unusable(port, format!("cannot be opened: {e}"), advice)
    })?;
    log::info!("{port} at {baud} baud: ready");
    Board::new(work).serve(&mut line, port, &mut Watch::new())
}
