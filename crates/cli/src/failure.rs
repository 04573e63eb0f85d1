//! What a command ends with when it did not do its work.

use clap::{ArgMatches, CommandFactory};
use intraop::Error;
use intraop::bench::TooSlow;

use crate::Arguments;

/// What every subcommand gives.
pub type Outcome = Result<(), Failure>;

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Library(#[from] Error),
    #[error(transparent)]
    TooSlow(#[from] TooSlow),
    /// The report lists each.
    #[error("{failed} of {of} cases failed, the first: {first}")]
    Cases { failed: usize, of: usize, first: String },
}

impl Failure {
    /// 1: the work failed; 2: wrong usage or bad input; 3: a check was not met. An output folder
    /// that cannot be written is a wrong argument.
    pub fn exit_code(&self) -> u8 {
        use intraop::engine::Error as Engine;
        match self {
            Failure::Library(Error::Engine(Engine::Option { .. })) => 2,
            Failure::Library(Error::Cancelled | Error::Engine(_)) | Failure::Cases { .. } => 1,
            Failure::Library(Error::Check { .. }) | Failure::TooSlow(_) => 3,
            Failure::Library(_) => 2,
        }
    }

    /// The error in a line, as whoever typed `matches` knows it: what the library calls an option
    /// is a flag here.
    pub fn line(&self, matches: &ArgMatches) -> String {
        use intraop::engine::Error as Engine;
        let line = one_line(&self.to_string());
        let option = match self {
            Failure::Library(Error::Option { option, .. }) => option.as_str(),
            Failure::Library(Error::Engine(Engine::Option { option, .. })) => option,
            Failure::Library(Error::Engine(Engine::Graph { .. })) => {
                return line + "; run `intraop models verify` on the package";
            }
            Failure::Library(Error::Unwritable { .. }) if is_flag(matches, "out") => {
                return line + " (--out)";
            }
            _ => return line,
        };
        if is_flag(matches, option) { format!("--{line}") } else { line }
    }
}

/// Whether the subcommand that was typed has a flag of this name.
fn is_flag(mut matches: &ArgMatches, name: &str) -> bool {
    let mut command = Arguments::command();
    while let Some((subcommand, inner)) = matches.subcommand() {
        let Some(found) = command.find_subcommand(subcommand) else { break };
        (command, matches) = (found.clone(), inner);
    }
    command.get_arguments().any(|argument| argument.get_long() == Some(name))
}

/// A message as one line of a sensible length, whatever a file's content put into it.
pub fn one_line(message: &str) -> String {
    const LONGEST: usize = 1000;
    let clean = message.chars().flat_map(|c| {
        let escaped = c.is_control().then(|| c.escape_default());
        let plain = (!c.is_control()).then_some(c);
        escaped.into_iter().flatten().chain(plain)
    });
    let mut line: String = clean.take(LONGEST).collect();
    if message.chars().count() > LONGEST {
        line.push('…');
    }
    line
}
