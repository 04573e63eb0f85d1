use intraop_core::package::{
    Dtype, Head, HeadKind, Input, Measurement, MeasurementKind, Region, Task,
};
use intraop_core::preprocess::{GridSpec, Step};
use tch::Tensor;

use super::card::{Words, weighted};
use super::history::Panel;
use super::{Exported, Stage};
use crate::checkpoint::State;
use crate::onnx;
use crate::recipe::landmarks::{LANDMARKS, Landmarks, SKULL, Settings, peak};
use crate::unet::{HEATMAP, MASK};

impl Exported for Landmarks {
    const TASK: Task = Task::Landmarks;
    const MODALITY: &'static str = "US";

    fn grid(_: &Settings) -> Option<GridSpec> {
        None
    }

    fn preprocess(recipe: &Settings) -> Vec<Step> {
        recipe.preprocess()
    }

    /// By the mask, which is nearer to the truth than the ends of the axes.
    fn measurements() -> Vec<Measurement> {
        let measure = |name: &str, kind, plausible| Measurement {
            name: name.into(),
            kind,
            of: vec![SKULL.into()],
            plausible: Some(plausible),
        };
        // From the first weeks in which there is a skull to more than at any birth.
        vec![
            measure("HC", MeasurementKind::Circumference, [40.0, 450.0]),
            measure("OFD", MeasurementKind::LongAxis, [12.0, 160.0]),
            measure("BPD", MeasurementKind::ShortAxis, [10.0, 130.0]),
        ]
    }

    fn phantoms(recipe: &Settings) -> Option<usize> {
        recipe.phantoms
    }

    fn stages(&self, recipe: &Settings, modality: &str) -> Vec<Stage> {
        let [width, height] = recipe.size;
        let input = Input {
            name: onnx::IMAGE.into(),
            num_channels: 1,
            spatial_shape: vec![height, width],
            dtype: Dtype::Float32,
            channel_def: vec!["image".into()],
            modality: vec![modality.into()],
            value_range: Some([0.0, 1.0]),
        };
        let head = |name: &str, kind, channels: &[&str], factor: usize| Head {
            name: name.into(),
            kind,
            num_channels: channels.len(),
            spatial_shape: vec![height / factor, width / factor],
            dtype: Dtype::Float32,
            channel_def: channels.iter().map(ToString::to_string).collect(),
            units: None,
            peak: (kind == HeadKind::Heatmaps).then(|| peak(recipe)),
            region: (kind == HeadKind::Mask).then(Region::default),
        };
        let heads = vec![
            head(self.net.heatmaps.name, HeadKind::Heatmaps, &LANDMARKS, HEATMAP),
            head(self.net.mask.name, HeadKind::Mask, &[SKULL], MASK),
        ];
        let onnx = onnx::unet(&self.net, recipe.size);
        vec![Stage::new("unet", onnx, self.net.weights.count(), input, heads)]
    }

    fn answers(&self, image: &Tensor) -> Vec<Vec<Tensor>> {
        let answer = self.net.forward(image, false);
        vec![vec![answer.heatmaps, answer.mask]]
    }

    fn description(_: &str) -> String {
        "Finds the skull and the ends of its axes in frames of a fetal head".into()
    }

    fn words(state: &State<Settings>) -> Words {
        let recipe = &state.recipe;
        Words {
            does: does(recipe),
            sources: " --data DATA --negatives EMPTY",
            data: match recipe.phantoms {
                Some(_) => "The targets are the phantoms' own ellipses.".into(),
                None => "The targets are ellipses fitted to outlines drawn by hand.".into(),
            },
            network: network(recipe),
            batch: format!("{} frames per step", recipe.batch),
            losses: losses(recipe),
            aside: "the examinations and clips kept aside while training (a head that was not \
                    found counts as 0 mm around)"
                .into(),
            limits: LIMITS.into(),
        }
    }

    fn panels() -> &'static [Panel] {
        &[
            Panel {
                title: "Circumference, examinations kept aside: mean difference in mm",
                lines: &[("difference", "circumference_mm")],
            },
            Panel {
                title: "Dice of ellipses, examinations kept aside",
                lines: &[("Dice", "ellipse_dice")],
            },
        ]
    }
}

fn does(recipe: &Settings) -> String {
    let [width, height] = recipe.size;
    format!(
        "Finds in a frame the area of the skull, as a mask of logits, and the four ends of its \
         ellipse's axes, as heatmaps: of the long axis (occipito-frontal diameter) the left end \
         `ofd_a` and the right end `ofd_b`, of the short axis (biparietal diameter) the upper end \
         `bpd_a` and the lower end `bpd_b`, as they lie in the frame. From the mask follows the \
         head circumference. A frame is made gray, brought to {width}×{height} pixels with its \
         ratio kept and black around it, and scaled to 0–1 between the 1st and 99.5th percentile."
    )
}

fn network(recipe: &Settings) -> String {
    let channels: Vec<String> = (0..5).map(|level| (recipe.width << level).to_string()).collect();
    format!(
        "A U-Net: five levels of two 3×3 convolutions, the first of stride 2 ({}), and four of a \
         4×4 transposed convolution of stride 2 and a 3×3 convolution, with skips; ReLU, batch \
         normalization folded into the convolutions. The heatmaps are read at a quarter, the mask \
         at half of the frame's size, each by a 1×1 convolution.\n",
        channels.join("→")
    )
}

fn losses(recipe: &Settings) -> String {
    let peaks = format!(
        "mean of (1 + 10 t) (h − t)² of the heatmaps h and Gaussians t of height 1 and standard \
         deviation {} pixels",
        recipe.sigma
    );
    let mut text = weighted(&[
        (recipe.heatmaps, &peaks),
        (1.0, "cross entropy of the mask with the share of each pixel that the ellipse covers"),
        (recipe.dice, "1 − soft Dice of the two"),
        (
            recipe.axes,
            "differences of the semi-axes of the mask's ellipse, as shares of the true ones",
        ),
    ]);
    text += &format!(
        "\nA share of {} of the frames showed nothing to be found: other clips, parts of frames \
         beside the head, noise.\n",
        recipe.empty
    );
    if recipe.augment > 0.0 {
        text += &format!(
            "Every frame was turned, mirrored, scaled, stretched, shifted and changed in gamma, \
             gain, speckle, blur and noise at random, with shadows and covered boxes, with \
             strength {}.\n",
            recipe.augment
        );
    }
    text
}

const LIMITS: &str = "\
- Trained on the data above and nothing else; frames of another kind or of other scanners may give \
  wrong places, without a warning.
- It takes the head's plane as given: it does not say whether the frame is the right one to measure.
- Millimeters need the frame's pixel size.
- Of an upright head both ends of an axis may be found at one place: what is measured is measured by
  the mask.
- Of a head that the frame cuts too little is measured, with a warning.
";
