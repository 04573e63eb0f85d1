use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;

use clap::{Args, FromArgMatches};
use serde::Serialize;

use crate::failure::one_line;
use crate::options::Run;
use crate::output::Output;
use crate::say::{say, to_json};
use crate::watch::check_interrupt;
use intraop::import::{self, Answers, Foreign, Inspection, Planned, Question, Scope, Slot};
use intraop::{Error, Result, io};

/// Inspect an ONNX file that somebody else made, and make a package of it: docs/import.md
///
/// Without --out it only says what the file is, what would run where and how fast, and what an
/// import must be told. With --out, what is missing is asked in a terminal, else listed as an error.
#[derive(clap::Args)]
pub struct Import {
    /// ONNX file; weights in other files must lie beside it
    file: PathBuf,
    /// New folder for the package, which gets its name
    #[arg(long, value_name = "PACKAGE")]
    out: Option<PathBuf>,
    #[command(flatten, next_help_heading = "What the file cannot say")]
    answers: Answers,
    #[command(flatten, next_help_heading = "Running")]
    run: Run,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What `--out` with `--json` prints.
#[derive(Serialize)]
struct Made {
    package: String,
    golden_difference: f64,
    guesses: Vec<String>,
}

impl Import {
    pub fn run(&self) -> Result<()> {
        let foreign = Foreign::read(&self.file)?;
        let Some(out) = &self.out else {
            let report = import::inspect(&foreign, &self.answers, &self.run.options()?)?;
            check_interrupt()?;
            return say(&if self.json { to_json(&for_programs(&report)) } else { text(&report) });
        };
        let (output, name) = Output::package(out)?;
        let mut answers = self.answers.clone();
        if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
            ask(&foreign, &mut answers)?;
        } else {
            nothing_open(&foreign, &answers)?;
        }
        let made = import::import(&foreign, &answers, &name, &self.run.options()?)?;
        for (file, bytes) in &made.files {
            io::write_atomically(&output.path(file), |w| w.write_all(bytes))?;
        }
        check_interrupt()?;
        output.commit(&[])?;
        let package = out.display().to_string();
        if self.json {
            let import::Imported { golden_difference, guesses, .. } = made;
            return say(&to_json(&Made { package, golden_difference, guesses }));
        }
        let mut lines = made.guesses;
        lines.push(format!(
            "golden case: {:.1e} from tract alone\npackage in {package}; try `intraop models show \
             {package} --plan`, and complete its README.md",
            made.golden_difference
        ));
        say(&lines.join("\n"))
    }
}

/// The report with flags for the names of the answers that are missing.
fn for_programs(report: &Inspection) -> serde_json::Value {
    let mut value = serde_json::to_value(report).expect("numbers, texts and lists");
    let missing = value["missing"].as_array_mut().into_iter().flatten();
    for (question, entry) in report.missing.iter().zip(missing) {
        let about = entry.as_object_mut().expect("a question is an object");
        about.remove("answer");
        about.insert("flag".into(), flag(question).into());
    }
    value
}

/// The flag that gives an answer.
fn flag(question: &Question) -> String {
    format!("--{}", question.answer)
}

/// # Errors
/// [`Error::Unusable`] naming the flags that must be given.
fn nothing_open(foreign: &Foreign, answers: &Answers) -> Result<()> {
    let questions = import::questions(foreign, answers)?;
    if questions.is_empty() {
        return Ok(());
    }
    let flags = questions.iter().map(|q| format!("{} {}", flag(q), q.choices));
    let flags = flags.collect::<Vec<_>>().join("; ");
    let problem = format!("the file does not say what these flags would: {flags}");
    let advice = "give them, or run it in a terminal to be asked";
    Err(Error::unusable(foreign.path.display().to_string(), problem, advice))
}

/// Asks until nothing is open.
fn ask(foreign: &Foreign, answers: &mut Answers) -> Result<()> {
    let mut given = Vec::new();
    let mut questions = import::questions(foreign, answers)?;
    while let Some(question) = questions.first() {
        let Some(line) = line(question)? else { return Err(Error::Cancelled) };
        let mut more = answers.clone();
        // As the flag would take it.
        let taken = Answers::augment_args(clap::Command::new("answers").no_binary_name(true))
            .try_get_matches_from([&flag(question), &line])
            .and_then(|matches| merge(&mut more, &matches))
            .map_err(|e| e.to_string())
            .and_then(|()| import::questions(foreign, &more).map_err(|e| e.to_string()));
        match taken {
            Ok(open) => {
                given.push(format!("{} '{}'", flag(question), line.replace('\'', r"'\''")));
                (*answers, questions) = (more, open);
            }
            Err(e) => eprintln!("{}", one_line(e.lines().next().unwrap_or_default())),
        }
    }
    if !given.is_empty() {
        eprintln!("the same without questions: {}", given.join(" "));
    }
    Ok(())
}

/// Adds one answer; of those that can be given for several outputs the others stay.
fn merge(answers: &mut Answers, matches: &clap::ArgMatches) -> clap::error::Result<()> {
    let before = answers.clone();
    answers.update_from_arg_matches(matches)?;
    let Answers { input_shape, head, names, values, .. } = before;
    extend(&mut answers.input_shape, input_shape);
    extend(&mut answers.head, head);
    extend(&mut answers.names, names);
    extend(&mut answers.values, values);
    Ok(())
}

fn extend<T: PartialEq>(list: &mut Vec<T>, before: Vec<T>) {
    for old in before {
        if !list.contains(&old) {
            list.push(old);
        }
    }
}

/// A line from the terminal; `None` at its end.
fn line(question: &Question) -> Result<Option<String>> {
    eprint!("{} ({}): ", question.about, question.choices);
    let _ = std::io::stderr().flush();
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    let read = read.map_err(|source| Error::Unreadable { path: "the terminal".into(), source })?;
    Ok((read > 0).then(|| line.trim().to_string()))
}

fn text(report: &Inspection) -> String {
    let counts = |counts: &std::collections::BTreeMap<String, usize>| {
        let parts: Vec<String> = counts.iter().map(|(name, n)| format!("{name} {n}")).collect();
        parts.join(", ")
    };
    let slots = |slots: &[Slot]| slots.iter().map(Slot::to_string).collect::<Vec<_>>().join(", ");
    let mut lines = vec![
        format!(
            "{}: {:.1} MB, made by {}",
            report.file,
            report.bytes as f64 / 1e6,
            if report.producer.is_empty() { "unknown" } else { &report.producer }
        ),
        format!("inputs     {}", slots(&report.inputs)),
        format!("outputs    {}", slots(&report.outputs)),
        format!("operators  {} (version {})", counts(&report.operators), report.opset),
        format!("weights    {}", counts(&report.weights)),
    ];
    lines.extend(report.notes.iter().map(|note| format!("note       {note}")));
    lines.extend(report.plan.iter().map(plan));
    lines.extend(report.guesses.iter().map(|guess| format!("guess      {guess}")));
    let problem = |problem: &String| format!("problem    {}", one_line(problem));
    lines.extend(report.problem.iter().map(problem));
    let missing = |q: &Question| format!("to say     {}: {} ({})", flag(q), q.about, q.choices);
    lines.extend(report.missing.iter().map(missing));
    lines.join("\n")
}

fn plan(p: &Planned) -> String {
    let steps = |steps: &std::collections::BTreeMap<String, usize>| {
        let parts: Vec<String> = steps.iter().map(|(op, n)| format!("{op} {n}")).collect();
        if parts.is_empty() { "nothing".into() } else { parts.join(", ") }
    };
    let of = match p.of {
        Scope::Package => "the package that an import would make",
        Scope::WholeFile => "the whole file: what an import would make of it is not known",
    };
    let shapes: Vec<_> = p.input_shapes.iter().map(|(name, s)| format!("{name} {s:?}")).collect();
    format!(
        "plan of    {of}\nintraop    {}\ntract      {}\nwork       {:.3} GMAC, {:.0} % of them in our \
         engine, at {}\nspeed      load {:.1} ms, first {:.1} ms, then {:.2} ms (median of {}), {} threads, \
         {}",
        steps(&p.intraop),
        steps(&p.tract),
        p.macs as f64 / 1e9,
        100.0 * p.share,
        shapes.join(", "),
        p.load_ms,
        p.first_ms,
        p.warm_ms_median,
        p.runs,
        p.threads,
        p.simd
    )
}
