//! The model card: what a user must know of a model before using it.

use intraop_core::package::Manifest;

use super::{Options, Stage};
use crate::checkpoint::{Earlier, Effort, State};
use crate::recipe::Recipe;

/// What a card says of one recipe only.
pub struct Words {
    /// What it does and how images are prepared.
    pub does: String,
    /// The options that name the data.
    pub sources: &'static str,
    /// What labels were for.
    pub data: String,
    pub network: String,
    /// How much a step sees.
    pub batch: String,
    /// What was minimized, and how images were varied.
    pub losses: String,
    /// What the figures were measured on.
    pub aside: String,
    pub limits: String,
}

pub fn text<R: Recipe>(
    options: &Options,
    state: &State<R>,
    manifest: &Manifest,
    stages: &[Stage],
    words: &Words,
) -> String {
    let does = format!("{}\n\nIntended use: {}\n", words.does, sentence(&manifest.intended_use));
    let sections = [
        ("What it does", does),
        ("Data", data(options, state, manifest, words)),
        ("License", license(options, manifest)),
        ("Network", network(stages, words)),
        ("Training", training(options, state, words)),
        ("Figures", figures(options, manifest, words)),
        ("Limits", words.limits.clone()),
    ];
    let sections = sections.map(|(title, body)| format!("## {title}\n{}\n", body.trim_end()));
    format!("# {}\n{}\n\n{}", manifest.name, sentence(&manifest.description), sections.join("\n"))
}

/// A list of the terms whose weight is not 0.
pub fn weighted(terms: &[(f64, &str)]) -> String {
    let used = terms.iter().filter(|(weight, _)| *weight > 0.0);
    used.map(|(weight, term)| format!("- {weight} × {term}\n")).collect()
}

fn sentence(text: &str) -> String {
    let end = if text.ends_with(['.', '!', '?']) || text.is_empty() { "" } else { "." };
    format!("{text}{end}")
}

fn known(value: impl ToString, known: bool) -> String {
    if known { value.to_string() } else { "not recorded".into() }
}

fn data<R: Recipe>(
    options: &Options,
    state: &State<R>,
    manifest: &Manifest,
    words: &Words,
) -> String {
    let effort = &state.effort;
    let counted = effort.train > 0;
    let aside = match state.images.is_empty() {
        true => String::new(),
        false => format!(" (drawn by seed {})", state.recipe.schedule().seed),
    };
    let mut text = sentence(&manifest.data_source);
    text += &format!(
        "\n\n- Images trained on: {}; kept aside to validate: {}{aside}.\n- {}\n\
         - Terms of the data: {}.\n",
        known(effort.train, counted),
        known(effort.held, counted),
        words.data,
        named(options.data_license.as_ref().unwrap_or(&options.license)),
    );
    if let Some(url) = &options.source_url {
        text += &format!("- Source: <{url}>\n");
    }
    if !options.attribution.is_empty() {
        text += &format!("- Attribution: {}\n", sentence(&options.attribution));
    }
    text
}

/// Where the license of an SPDX id is, and whether adaptations must bear it too.
fn creative_commons(id: &str) -> Option<(&'static str, bool)> {
    match id {
        "CC-BY-4.0" => Some(("https://creativecommons.org/licenses/by/4.0/", false)),
        "CC-BY-SA-4.0" => Some(("https://creativecommons.org/licenses/by-sa/4.0/", true)),
        _ => None,
    }
}

/// The id, with the address of its text where that is known.
fn named(id: &str) -> String {
    creative_commons(id).map_or(id.into(), |(uri, _)| format!("{id} ({uri})"))
}

fn terms(manifest: &Manifest) -> String {
    let license = &manifest.license;
    let mut text = format!("The weights and this folder are offered under {}.\n", named(license));
    if let Some((_, share_alike)) = creative_commons(license) {
        if share_alike {
            text += "Adaptations must be shared under the same license.\n";
        }
        text += "Provided as is, without warranties.\n";
    }
    text
}

/// The notice that Creative Commons licenses want to travel with the work; none for others.
pub fn notice(options: &Options, manifest: &Manifest) -> Option<String> {
    creative_commons(&manifest.license)?;
    let mut text = format!("{} {}\n\n{}\n", manifest.name, manifest.version, terms(manifest));
    if !options.attribution.is_empty() {
        text += &format!("Attribution: {}\n", sentence(&options.attribution));
    }
    text += &format!("Trained on: {}\n", sentence(&manifest.data_source));
    let data = options.data_license.as_ref().unwrap_or(&options.license);
    text += &format!("Terms of the data: {}.\n", named(data));
    if let Some(url) = &options.source_url {
        text += &format!("Source: {url}\n");
    }
    text += "Changed: the weights were computed from the data by training; the data themselves \
             are not in this folder.\n";
    Some(text)
}

fn license(options: &Options, manifest: &Manifest) -> String {
    let mut text = terms(manifest);
    if !options.attribution.is_empty() {
        text += "Who passes them on must keep the attribution above.\n";
    }
    text
}

fn network(stages: &[Stage], words: &Words) -> String {
    let mut text = String::from("| graph | parameters | bytes |\n|---|---:|---:|\n");
    for stage in stages {
        let file = &stage.graph.file;
        text += &format!("| `{file}` | {} | {} |\n", stage.parameters, stage.onnx.len());
    }
    text + "\n" + &words.network
}

fn training<R: Recipe>(options: &Options, state: &State<R>, words: &Words) -> String {
    let (effort, schedule) = (&state.effort, state.recipe.schedule());
    // Phantoms need no data.
    let sources = if state.images.is_empty() { "" } else { words.sources };
    let of_run = |run: &Earlier<R>| {
        command(&run.recipe, &run.effort, sources) + &format!(" \\\n    --out {}", run.name)
    };
    let mut commands: Vec<String> = state.earlier.iter().map(of_run).collect();
    let mut last = command(&state.recipe, effort, sources);
    // Stopped early: the rate of learning still follows from --steps.
    if state.step < schedule.steps {
        last += &format!(" \\\n    --max-steps {}", state.step);
    }
    commands.push(last + " \\\n    --out RUN");
    let mut rows = vec![];
    let weights = match state.validated(true) {
        Some((step, _)) if options.best => format!("step {step}, the best validation"),
        _ => format!("step {}, the last", state.step),
    };
    rows.push(("stopped at step", format!("{} of {}", state.step, schedule.steps)));
    rows.push(("weights of", weights));
    if let Some(every) = schedule.validate_every {
        rows.push(("validated every", format!("{every} steps, and at the last of all")));
    }
    rows.push(("minutes", known(format!("{:.0}", effort.minutes), effort.minutes > 0.0)));
    rows.push(("hardware", known(&effort.hardware, !effort.hardware.is_empty())));
    rows.push(("threads", known(effort.threads, effort.threads > 0)));
    rows.push(("seed", schedule.seed.to_string()));
    rows.push((
        "optimizer",
        format!(
            "Adam, learning rate {} after {} steps, then half a cosine down to a hundredth at step \
         {}; gradients clipped to norm {}; {}",
            schedule.lr, schedule.warm_up, schedule.steps, schedule.clip, words.batch
        ),
    ));
    let rows: String = rows.iter().map(|(k, v)| format!("| {k} | {v} |\n")).collect();
    format!(
        "| | |\n|---|---|\n{rows}\nMade by\n```\n{}\n```\n\
         Runs that were stopped and resumed give what one run gives. Minimized was the sum of\n{}\n\
         ![The course of the training](training.svg)\n\nThe same as a table: `training.csv`.\n",
        commands.join("\n"),
        words.losses
    )
}

/// The command line of a run, but for where its folder is.
fn command<R: Recipe>(recipe: &R, effort: &Effort, sources: &str) -> String {
    let mut command = format!("intraop-train {}{sources}", R::COMMAND);
    for (option, value) in recipe.options() {
        command += format!(" \\\n    {option} {value}").trim_end();
    }
    if effort.threads > 0 {
        command += &format!(" \\\n    --threads {}", effort.threads);
    }
    command
}

fn figures(options: &Options, manifest: &Manifest, words: &Words) -> String {
    if manifest.eval_metrics.is_empty() {
        return "Not validated.".into();
    }
    let origin = match &options.metrics_source {
        Some(source) => {
            format!("By `intraop evaluate --model {}`: {}", manifest.name, sentence(source))
        }
        None => format!("On {}:", words.aside),
    };
    let rows: String = manifest
        .eval_metrics
        .iter()
        .map(|(name, value)| format!("| {name} | {} |\n", (value * 1e4).round() / 1e4))
        .collect();
    format!("{origin}\n\n| | |\n|---|---:|\n{rows}")
}
