use std::time::Duration;

use serialport::SerialPort;

use intraop::Probe;
use intraop::bench::{Board, Work};
use intraop::{Error, Result};

use crate::watch::Watch;

/// Ctrl-C, or the host hung up, which would else be noticed only after many runs.
struct HungUp {
    watch: Watch,
    line: Box<dyn SerialPort>,
}

impl Probe for HungUp {
    fn cancelled(&self) -> bool {
        self.watch.cancelled() || self.line.bytes_to_read().is_err()
    }
}

/// Answers a host on a serial port until it closes the line or Ctrl-C.
pub fn serve(port: &str, baud: u32, work: &mut Work) -> Result<()> {
    let timeout = Duration::from_millis(200);
    let unusable = |e: serialport::Error| {
        // "No such file or directory", "Permission denied", …
        let advice = "give a serial port such as /dev/ttyUSB0 that this user may use";
        Error::unusable(port, format!("cannot be opened: {e}"), advice)
    };
    let mut line = serialport::new(port, baud).timeout(timeout).open().map_err(unusable)?;
    let probe = HungUp { watch: Watch::new(), line: line.try_clone().map_err(unusable)? };
    log::info!("{port} at {baud} baud: ready");
    match Board::new(work).serve(&mut line, port, &probe) {
        Err(Error::Cancelled) if !probe.watch.cancelled() => Ok(()),
        result => result,
    }
}
