//! A board that a host drives over a serial line, with the commands of MLPerf Tiny (mlcommons/tiny,
//! `benchmark/api/internally_implemented.cpp`): its runner, or a person with a terminal, loads an
//! input, asks for runs and reads the times.
//!
//! A command ends with `%`, every answer with `m-ready`. What a command says that cannot be, an
//! `e-[…]` line tells. Bytes that are no text are dropped, as on a line with noise.

use std::io::{self, Read, Write};
use std::time::Instant;

use super::work::{Answer, Work};
use crate::{Error, Probe, Result, StageTimes};

/// Longest command, in bytes; what is longer is an error. The reference takes 80: `db` lines of 31
/// bytes fit there.
const LONGEST: usize = 8192;
/// The most runs that one command may ask for.
const MOST_RUNS: usize = 1_000_000;
/// Runs before those that count, where the command does not say.
const WARMUP: usize = 10;

/// The board's side of the line.
pub struct Board<'a, 'b> {
    work: &'a mut Work<'b>,
    start: Instant,
    command: Vec<u8>,
    /// What `db load` makes room for.
    buffer: Vec<u8>,
    expected: usize,
    answer: Option<Answer>,
}

impl<'a, 'b> Board<'a, 'b> {
    pub fn new(work: &'a mut Work<'b>) -> Self {
        Board {
            work,
            start: Instant::now(),
            command: Vec::new(),
            buffer: Vec::new(),
            expected: 0,
            answer: None,
        }
    }

    /// Answers commands until the line is closed at the other end, or the caller wants to stop.
    /// Reads and writes that time out are tried again: a host may be slow.
    ///
    /// # Errors
    /// [`Error::Cancelled`]; [`Error::Unusable`], naming `port`, where the line fails.
    pub fn serve(
        &mut self,
        line: &mut (impl Read + Write),
        port: &str,
        probe: &dyn Probe,
    ) -> Result<()> {
        match self.listen(line, probe) {
            Ok(()) | Err(Problem::Refused(_)) => Ok(()),
            Err(Problem::Cancelled) => Err(Error::Cancelled),
            Err(Problem::Line(e)) if is_hang_up(&e) => Ok(()),
            Err(Problem::Line(e)) => {
                let advice = "check the cable and the port, and start again";
                Err(Error::unusable(port, format!("the line failed: {e}"), advice))
            }
        }
    }

    fn listen(&mut self, line: &mut (impl Read + Write), probe: &dyn Probe) -> Answered {
        send(line, b"m-init-done\r\nm-ready\r\n", probe)?;
        let mut bytes = [0; 1024];
        loop {
            if probe.cancelled() {
                return Err(Problem::Cancelled);
            }
            let count = match line.read(&mut bytes) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(e) if is_silence(&e) => continue,
                Err(e) => return Err(Problem::Line(e)),
            };
            for byte in &bytes[..count] {
                if let Some(command) = self.take(*byte) {
                    self.obey(&command, line, probe)?;
                }
            }
        }
    }

    /// The command that this byte ends, if it does.
    fn take(&mut self, byte: u8) -> Option<Vec<u8>> {
        match byte {
            b'%' => return Some(std::mem::take(&mut self.command)),
            // Kept one too long, which is how it is known.
            b' '..=b'~' if self.command.len() <= LONGEST => self.command.push(byte),
            _ => {}
        }
        None
    }

    fn obey(&mut self, command: &[u8], line: &mut impl Write, probe: &dyn Probe) -> Answered {
        let text = String::from_utf8_lossy(command);
        let words: Vec<&str> = text.split_whitespace().collect();
        let mut say = |text: &str| send(line, format!("{text}\r\n").as_bytes(), probe);
        let outcome = if command.len() > LONGEST {
            Err(Problem::Refused(format!("Command longer than {LONGEST} bytes")))
        } else {
            self.answer(&words, &mut say, probe)
        };
        match outcome {
            Ok(()) => {}
            Err(Problem::Refused(problem)) => say(&format!("e-[{problem}]"))?,
            Err(problem) => return Err(problem),
        }
        say("m-ready")
    }

    fn answer(&mut self, words: &[&str], say: Say, probe: &dyn Probe) -> Answered {
        match words {
            ["name"] => say("m-name-dut-[intraop]")?,
            ["timestamp"] => say(&self.lap())?,
            ["profile"] => {
                let manifest = &self.work.session().package().manifest;
                say(&format!("m-profile-[intraop {}]", env!("CARGO_PKG_VERSION")))?;
                say(&format!("m-model-[{}]", manifest.name))?;
            }
            ["help"] => self.help(say)?,
            ["db", "load", count] => self.make_room(count, say)?,
            ["db", "load"] => return no("Command 'db load' requires the # of bytes"),
            ["db", "print", rest @ ..] => self.print(rest, say)?,
            ["db", digits] => self.fill(digits, say)?,
            ["db", ..] => return no("Command 'db' requires a subcommand"),
            ["infer"] => self.infer(1, WARMUP, say, probe)?,
            ["infer", runs] => self.infer(count(runs, 1)?, WARMUP, say, probe)?,
            ["infer", runs, warmup] => {
                self.infer(count(runs, 1)?, count(warmup, 0)?, say, probe)?
            }
            ["results"] => self.results(say)?,
            // A reply to nothing brings both sides back in step.
            [] => {}
            [unknown, ..] => return Err(Problem::Refused(format!("Unknown command: {unknown}"))),
        }
        Ok(())
    }

    fn lap(&self) -> String {
        format!("m-lap-us-{}", self.start.elapsed().as_micros())
    }

    fn help(&self, say: Say) -> Answered {
        let input = format!("  load N     : Make room for N bytes, {} of 8-bit gray", {
            self.work.bytes()
        });
        for text in [
            "help         : Print this information",
            "name         : Print the name of the device",
            "timestamp    : Print the time since the start in us",
            "profile      : Print the version and the model",
            "db SUBCMD    : Manipulate the input's bytes",
            &input,
            "  HH[HH]*    : Load hex bytes until there are N",
            "  print [N=16] [OFFSET=0]",
            "infer N [W=10]: Run N times after W warmup runs",
            "results      : Print what the last run found",
        ] {
            say(text)?;
        }
        Ok(())
    }

    fn make_room(&mut self, bytes: &str, say: Say) -> Answered {
        let takes = self.work.bytes();
        match bytes.parse::<usize>() {
            Ok(n) if n == takes => {
                self.expected = takes;
                self.buffer.clear();
                say(&format!("m-[Expecting {n} bytes]"))
            }
            _ => Err(Problem::Refused(format!("The input has {takes} bytes, not {bytes}"))),
        }
    }

    fn fill(&mut self, digits: &str, say: Say) -> Answered {
        if self.expected == 0 {
            return no("Command 'db load' must come first");
        }
        if !digits.len().is_multiple_of(2) {
            return no("Insufficient number of hex digits");
        }
        // Only ASCII comes here.
        let pairs = digits.as_bytes().chunks_exact(2).map(|pair| {
            let text = String::from_utf8_lossy(pair);
            u8::from_str_radix(&text, 16)
                .ok()
                .filter(|_| pair[0] != b'+')
                .ok_or_else(|| Problem::Refused(format!("Invalid hex digit '{text}'")))
        });
        let bytes = pairs.collect::<Result<Vec<u8>, Problem>>()?;
        // The rest of the digits is disregarded when done.
        let room = self.expected - self.buffer.len();
        self.buffer.extend(bytes.into_iter().take(room));
        if self.buffer.len() < self.expected {
            return Ok(());
        }
        self.work.replace(&self.buffer);
        self.expected = 0;
        say("m-load-done")
    }

    fn print(&self, words: &[&str], say: Say) -> Answered {
        let number = |at: usize, default: usize| match words.get(at) {
            None => Ok(default),
            Some(word) => count(word, 0),
        };
        let (n, offset) = (number(0, 16)?, number(1, 0)?);
        let bytes = self.buffer.get(offset.min(self.buffer.len())..).unwrap_or_default();
        for row in bytes[..n.min(bytes.len())].chunks(8) {
            let hex: Vec<String> = row.iter().map(|b| format!("{b:02x}")).collect();
            say(&format!("m-buffer-{}", hex.join("-")))?;
        }
        Ok(())
    }

    fn infer(&mut self, runs: usize, warmup: usize, say: Say, probe: &dyn Probe) -> Answered {
        let mut times = StageTimes::default();
        say(&format!("m-warmup-start-{warmup}"))?;
        self.repeat(warmup, &mut times, probe)?;
        say("m-warmup-done")?;
        say(&format!("m-infer-start-{runs}"))?;
        say(&self.lap())?;
        self.repeat(runs, &mut times, probe)?;
        say(&self.lap())?;
        say("m-infer-done")?;
        self.results(say)
    }

    fn repeat(&mut self, runs: usize, times: &mut StageTimes, probe: &dyn Probe) -> Answered {
        for _ in 0..runs {
            if probe.cancelled() {
                return Err(Problem::Cancelled);
            }
            match self.work.run(times) {
                Ok(answer) => self.answer = Some(answer),
                Err(Error::Cancelled) => return Err(Problem::Cancelled),
                // Such as an image without contrast: the host may send another.
                Err(e) => return Err(Problem::Refused(e.to_string())),
            }
        }
        Ok(())
    }

    fn results(&self, say: Say) -> Answered {
        let Some(answer) = &self.answer else { return no("There are no results yet") };
        let numbers: Vec<String> = answer.figures().iter().map(|v| format!("{v:.3}")).collect();
        say(&format!("m-results-[{}]", numbers.join(",")))
    }
}

/// Why a command was not carried out.
enum Problem {
    /// The host is told, and may go on.
    Refused(String),
    Line(io::Error),
    Cancelled,
}

type Answered = Result<(), Problem>;
/// Says a line to the host.
type Say<'a> = &'a mut dyn FnMut(&str) -> Answered;

fn no(problem: &str) -> Answered {
    Err(Problem::Refused(problem.into()))
}

fn count(word: &str, least: usize) -> Result<usize, Problem> {
    let number = word.parse().ok().filter(|n| (least..=MOST_RUNS).contains(n));
    number.ok_or_else(|| {
        Problem::Refused(format!("Expected a number from {least} to {MOST_RUNS}, not {word}"))
    })
}

/// Writes all of it, however slowly the other side takes it.
fn send(line: &mut impl Write, mut bytes: &[u8], probe: &dyn Probe) -> Answered {
    while !bytes.is_empty() {
        match line.write(bytes) {
            Ok(0) => return Err(Problem::Line(io::ErrorKind::WriteZero.into())),
            Ok(count) => bytes = &bytes[count..],
            Err(e) if is_silence(&e) && !probe.cancelled() => {}
            Err(e) if is_silence(&e) => return Err(Problem::Cancelled),
            Err(e) => return Err(Problem::Line(e)),
        }
    }
    // Without a flush: a port has no buffer of ours, and to wait until the last bit has left it
    // tells nothing.
    Ok(())
}

fn is_silence(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::TimedOut | io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
    )
}

/// What a line says whose other end is gone: EIO of a terminal's, EPIPE.
fn is_hang_up(e: &io::Error) -> bool {
    e.raw_os_error() == Some(5) || e.kind() == io::ErrorKind::BrokenPipe
}
