use intraop_core::package::{Dtype, Head, HeadKind, Input, Task, Units};
use intraop_core::preprocess::{GridSpec, Initial, Step};
use tch::Tensor;

use super::card::{Words, weighted};
use super::history::Panel;
use super::{Exported, Stage};
use crate::checkpoint::State;
use crate::onnx;
use crate::recipe::registration::{Loss, Registration, Settings};

impl Exported for Registration {
    const TASK: Task = Task::Registration;
    const MODALITY: &'static str = "MR";

    fn grid(recipe: &Settings) -> Option<GridSpec> {
        Some(recipe.grid_spec())
    }

    fn preprocess(recipe: &Settings) -> Vec<Step> {
        recipe.preprocess()
    }

    fn phantoms(recipe: &Settings) -> Option<usize> {
        recipe.phantoms
    }

    fn stages(&self, recipe: &Settings, modality: &str) -> Vec<Stage> {
        let axes = recipe.grid.map(|n| n as i64);
        let [x, y, z] = recipe.grid;
        let stage = |name: &str, onnx: Vec<u8>, head: Head| {
            let input = Input {
                name: onnx::PAIR.into(),
                num_channels: 2,
                spatial_shape: vec![z, y, x],
                dtype: Dtype::Float32,
                channel_def: vec!["fixed".into(), "moving".into()],
                modality: vec![modality.into(); 2],
                value_range: Some([0.0, 1.0]),
            };
            let own = |(weight, _): &&(String, Tensor)| weight.starts_with(&format!("{name}."));
            let weights = self.net.weights.learned.iter().filter(own);
            Stage::new(name, onnx, weights.map(|(_, t)| t.numel()).sum(), input, vec![head])
        };
        let affine = self.net.affine.iter().map(|net| {
            let head = Head {
                name: onnx::AFFINE.into(),
                kind: HeadKind::Affine,
                num_channels: 12,
                spatial_shape: vec![],
                dtype: Dtype::Float32,
                channel_def: vec![],
                units: None,
                peak: None,
                region: None,
            };
            stage("affine", onnx::affine(net, axes), head)
        });
        let flows = self.net.flows.iter().map(|net| {
            let head = Head {
                name: onnx::FLOW.into(),
                kind: HeadKind::Displacement,
                num_channels: 3,
                spatial_shape: vec![z, y, x],
                dtype: Dtype::Float32,
                channel_def: ["x", "y", "z"].map(String::from).into(),
                units: Some(Units::Voxels),
                peak: None,
                region: None,
            };
            stage(&net.name, onnx::flow(net, axes), head)
        });
        affine.chain(flows).collect()
    }

    fn answers(&self, pair: &Tensor) -> Vec<Vec<Tensor>> {
        let affine = self.net.affine.iter().map(|net| vec![net.forward(pair)]);
        affine.chain(self.net.flows.iter().map(|net| vec![net.forward(pair)])).collect()
    }

    fn description(modality: &str) -> String {
        format!("Registers {modality} volumes of one kind to each other")
    }

    fn words(state: &State<Settings>) -> Words {
        let recipe = &state.recipe;
        Words {
            does: does(recipe),
            sources: " --data DATA",
            data: labels(state),
            network: network(recipe),
            batch: format!("{} pairs per step", recipe.batch),
            losses: losses(recipe, !state.labels.is_empty()),
            aside: "the subjects kept aside while training, on the package's grid".into(),
            limits: limits(recipe),
        }
    }

    fn panels() -> &'static [Panel] {
        &[Panel {
            title: "Dice of labels, subjects kept aside",
            lines: &[("before registration", "dice_before"), ("after registration", "dice_after")],
        }]
    }
}

fn does(recipe: &Settings) -> String {
    let [x, y, z] = recipe.grid;
    let affine = if recipe.no_affine { "" } else { "an affine stage and " };
    let flows = match recipe.cascades {
        1 => "1 displacement stage".into(),
        n => format!("{n} displacement stages"),
    };
    format!(
        "Registration of two volumes, by {affine}{flows}. Images of any size are laid on a grid of \
         {x}×{y}×{z} voxels of {} mm (x, y, z growing to {}) after alignment by {}; their \
         intensities are brought to 0–1 between the 1st and 99th percentile.",
        recipe.spacing,
        String::from(recipe.orientation),
        match recipe.initial {
            Initial::Header => "their headers",
            Initial::Centers => "the images' centers",
            Initial::Mass => "their centers of mass",
        }
    )
}

fn labels(state: &State<Settings>) -> String {
    match state.labels.len() {
        0 => "No labels were used.".into(),
        _ if state.recipe.dice > 0.0 => format!(
            "Labels {:?} served as a loss while training; registering needs none.",
            state.labels
        ),
        _ => format!("Labels {:?} served to validate only.", state.labels),
    }
}

fn network(recipe: &Settings) -> String {
    let width = recipe.width;
    let channels = [2, width, 2 * width, 4 * width, 8 * width].map(|n| n.to_string()).join("→");
    let mut text = String::new();
    if !recipe.no_affine {
        text += "Affine stage: four 3×3×3 convolutions of stride 2 (2→16→32→64→128, LeakyReLU \
                 0.1), then one linear layer to the 12 numbers of an affine map.\n\n";
    }
    text += &format!(
        "Each displacement stage is a U-Net of 4×4×4 convolutions of stride 2 ({channels}, \
         ReLU) and as many transposed ones, with skips, that ends in three linear channels: the \
         student of the LDR paper's text, of width {width}. Every stage sees the fixed image and \
         the moving image as the stages before have warped it.\n"
    );
    text
}

fn losses(recipe: &Settings, labels: bool) -> String {
    let similarity = match recipe.loss {
        Loss::Pearson => "1 − Pearson correlation of fixed and warped image",
        Loss::LocalNcc => "1 − mean squared correlation in windows of 9×9×9 voxels",
    };
    let mut text = weighted(&[
        (1.0, similarity),
        (recipe.intermediate, "the same after every stage but the last"),
        (recipe.smooth, "mean squared gradient of each stage's displacement"),
        (if labels { recipe.dice } else { 0.0 }, "1 − soft Dice of fixed and warped labels"),
        (recipe.fold, "mean of max(0, 0.05 − det J) of the displacement"),
        (if recipe.no_affine { 0.0 } else { 0.1 }, "how far the affine map is from a rotation"),
    ]);
    if recipe.augment > 0.0 {
        text += &format!(
            "\nEvery image was bent, turned, scaled and changed in contrast at random, with \
             strength {}.\n",
            recipe.augment
        );
    }
    text
}

fn limits(recipe: &Settings) -> String {
    let [x, y, z] = recipe.grid.map(|n| n as f64 * recipe.spacing);
    format!(
        "- Trained on the data above and nothing else; images of another kind, contrast or part \
         of the body may register badly, without a warning.\n\
         - What lies outside {x:.0}×{y:.0}×{z:.0} mm around the image's middle is not seen.\n\
         - It always returns a field. Look at the result; `report.json` says whether the images \
         agree more than before.\n"
    )
}
