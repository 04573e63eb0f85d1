//! The command line: a thin user of the library. `intraop --help` lists what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    intraop::cli::main()
}
