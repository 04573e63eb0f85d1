//! The model card: what a user must know of a model before using it.

use intraop::package::Manifest;

use super::{Options, Stage};
use crate::checkpoint::State;
use crate::recipe::{Loss, Recipe};

pub fn text(options: &Options, state: &State, manifest: &Manifest, stages: &[Stage]) -> String {
    let sections = [
        ("What it does", task(state, manifest)),
        ("Data", data(options, state, manifest)),
        ("Licence", licence(options, manifest)),
        ("Network", network(state, stages)),
        ("Training", training(options, state)),
        ("Figures", figures(options, manifest)),
        ("Limits", limits(&state.recipe)),
    ];
    let sections = sections.map(|(title, body)| format!("## {title}\n{}\n", body.trim_end()));
    format!("# {}\n{}\n\n{}", manifest.name, sentence(&manifest.description), sections.join("\n"))
}

fn sentence(text: &str) -> String {
    let end = if text.ends_with(['.', '!', '?']) || text.is_empty() { "" } else { "." };
    format!("{text}{end}")
}

fn known(value: impl ToString, known: bool) -> String {
    if known { value.to_string() } else { "not recorded".into() }
}

fn task(state: &State, manifest: &Manifest) -> String {
    let recipe = &state.recipe;
    let [x, y, z] = recipe.grid;
    let affine = if recipe.no_affine { "" } else { "an affine stage and " };
    let flows = match recipe.cascades {
        1 => "1 displacement stage".into(),
        n => format!("{n} displacement stages"),
    };
    format!(
        "Registration of two volumes, by {affine}{flows}. Images of any size are laid on a grid of \
         {x}×{y}×{z} voxels of {} mm (x, y, z growing to {}) after alignment by {}; their \
         intensities are brought to 0–1 between the 1st and 99th percentile.\n\n\
         Intended use: {}\n",
        recipe.spacing,
        String::from(recipe.orientation),
        match recipe.initial {
            intraop::preprocess::Initial::Header => "their headers",
            intraop::preprocess::Initial::Centres => "the images' centres",
            intraop::preprocess::Initial::Mass => "their centres of mass",
        },
        sentence(&manifest.intended_use)
    )
}

fn data(options: &Options, state: &State, manifest: &Manifest) -> String {
    let (effort, recipe) = (&state.effort, &state.recipe);
    let counted = effort.train > 0;
    let aside = match recipe.phantoms {
        Some(_) => "of the seeds that follow".into(),
        None => format!("drawn by seed {}", recipe.seed),
    };
    let labels = match state.labels.len() {
        0 => "No labels were used.".into(),
        _ if recipe.dice > 0.0 => format!(
            "Labels {:?} served as a loss while training; registering needs none.",
            state.labels
        ),
        _ => format!("Labels {:?} served to validate only.", state.labels),
    };
    let mut text = sentence(&manifest.data_source);
    text += &format!(
        "\n\n- Images trained on: {}; kept aside to validate: {} ({aside}).\n- {labels}\n\
         - Terms of the data: {}.\n",
        known(effort.train, counted),
        known(effort.held, counted),
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

/// Where the licence of an SPDX id is, and whether adaptations must bear it too.
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
            text += "Adaptations must be shared under the same licence.\n";
        }
        text += "Provided as is, without warranties.\n";
    }
    text
}

/// The notice that Creative Commons licences want to travel with the work; none for others.
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

fn licence(options: &Options, manifest: &Manifest) -> String {
    let mut text = terms(manifest);
    if !options.attribution.is_empty() {
        text += "Who passes them on must keep the attribution above.\n";
    }
    text
}

fn network(state: &State, stages: &[Stage]) -> String {
    let width = state.recipe.width;
    let channels = [2, width, 2 * width, 4 * width, 8 * width].map(|n| n.to_string()).join("→");
    let mut text = String::from("| graph | parameters | bytes |\n|---|---:|---:|\n");
    for stage in stages {
        let file = &stage.graph.file;
        text += &format!("| `{file}` | {} | {} |\n", stage.parameters, stage.onnx.len());
    }
    if !state.recipe.no_affine {
        text += "\nAffine stage: four 3×3×3 convolutions of stride 2 (2→16→32→64→128, LeakyReLU \
                 0.1), then one linear layer to the 12 numbers of an affine map.\n";
    }
    text += &format!(
        "\nEach displacement stage is a U-Net of 4×4×4 convolutions of stride 2 ({channels}, \
         ReLU) and as many transposed ones, with skips, that ends in three linear channels: the \
         student of the LDR paper's text, of width {width}. Every stage sees the fixed image and \
         the moving image as the stages before have warped it.\n"
    );
    text
}

fn training(options: &Options, state: &State) -> String {
    let (effort, recipe) = (&state.effort, &state.recipe);
    let mut command = String::from("intraop-train registration");
    if recipe.phantoms.is_none() {
        command += " --data DATA";
    }
    for (option, value) in recipe.options() {
        command += format!(" \\\n    {option} {value}").trim_end();
    }
    if effort.threads > 0 {
        command += &format!(" \\\n    --threads {}", effort.threads);
    }
    // Stopped early: the rate of learning still follows from --steps.
    if state.step < recipe.steps {
        command += &format!(" \\\n    --max-steps {}", state.step);
    }
    let mut rows = vec![];
    let weights = match state.validated(true) {
        Some((step, _)) if options.best => format!("step {step}, the best validation"),
        _ => format!("step {}, the last", state.step),
    };
    rows.push(("stopped at step", format!("{} of {}", state.step, recipe.steps)));
    rows.push(("weights of", weights));
    if let Some(every) = recipe.validate_every {
        rows.push(("validated every", format!("{every} steps, and at the last of all")));
    }
    rows.push(("minutes", known(format!("{:.0}", effort.minutes), effort.minutes > 0.0)));
    rows.push(("hardware", known(&effort.hardware, !effort.hardware.is_empty())));
    rows.push(("threads", known(effort.threads, effort.threads > 0)));
    rows.push(("seed", recipe.seed.to_string()));
    rows.push((
        "optimiser",
        format!(
            "Adam, learning rate {} after {} steps, then half a cosine down to a hundredth at step \
         {}; gradients clipped to norm {}; {} pairs per step",
            recipe.lr, recipe.warm_up, recipe.steps, recipe.clip, recipe.batch
        ),
    ));
    let rows: String = rows.iter().map(|(k, v)| format!("| {k} | {v} |\n")).collect();
    format!(
        "| | |\n|---|---|\n{rows}\nMade by\n```\n{command} \\\n    --out RUN\n```\n\
         Runs that were stopped and resumed give what one run gives. Minimised was the sum of\n{}\n\
         ![The course of the training](training.svg)\n\nThe same as a table: `training.csv`.\n",
        losses(recipe, !state.labels.is_empty())
    )
}

fn losses(recipe: &Recipe, labels: bool) -> String {
    let similarity = match recipe.loss {
        Loss::Pearson => "1 − Pearson correlation of fixed and warped image",
        Loss::LocalNcc => "1 − mean squared correlation in windows of 9×9×9 voxels",
    };
    let mut terms = vec![(1.0, similarity.to_owned())];
    terms.push((recipe.intermediate, "the same after every stage but the last".into()));
    terms.push((recipe.smooth, "mean squared gradient of each stage's displacement".into()));
    if labels {
        terms.push((recipe.dice, "1 − soft Dice of fixed and warped labels".into()));
    }
    terms.push((recipe.fold, "mean of max(0, 0.05 − det J) of the displacement".into()));
    if !recipe.no_affine {
        terms.push((0.1, "how far the affine map is from a rotation".into()));
    }
    let used = terms.iter().filter(|(weight, _)| *weight > 0.0);
    let mut text: String = used.map(|(weight, term)| format!("- {weight} × {term}\n")).collect();
    if recipe.augment > 0.0 {
        text += &format!(
            "\nEvery image was bent, turned, scaled and changed in contrast at random, with \
             strength {}.\n",
            recipe.augment
        );
    }
    text
}

fn figures(options: &Options, manifest: &Manifest) -> String {
    if manifest.eval_metrics.is_empty() {
        return "Not validated.".into();
    }
    let origin = match &options.metrics_source {
        Some(source) => {
            format!("By `intraop evaluate --model {}`: {}", manifest.name, sentence(source))
        }
        None => "On the subjects kept aside while training, on the package's grid:".into(),
    };
    let rows: String = manifest
        .eval_metrics
        .iter()
        .map(|(name, value)| format!("| {name} | {} |\n", (value * 1e4).round() / 1e4))
        .collect();
    format!("{origin}\n\n| | |\n|---|---:|\n{rows}")
}

fn limits(recipe: &Recipe) -> String {
    let [x, y, z] = recipe.grid.map(|n| n as f64 * recipe.spacing);
    format!(
        "- Trained on the data above and nothing else; images of another kind, contrast or part \
         of the body may register badly, without a warning.\n\
         - What lies outside {x:.0}×{y:.0}×{z:.0} mm around the image's middle is not seen.\n\
         - It always returns a field. Look at the result; `report.json` says whether the images \
         agree more than before.\n"
    )
}
