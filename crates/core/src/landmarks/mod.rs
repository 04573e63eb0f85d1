//! What a package finds in a frame: the view, landmarks, masks, and the measurements that follow.
//! Places are (x, y) in pixels of the frame as it was given, whole numbers the centers of pixels.

mod heatmap;
mod measure;

use serde::Serialize;

pub use heatmap::{Located, locate};
pub use measure::Measured;
pub use measure::{measure, of_ellipse, unit};

use crate::image::{Frame, FrameTransform, Pixels, is_pixel_size};
use crate::package::{Head, HeadKind, Manifest, View};
use crate::preprocess::frames::FramePipeline;
use crate::probe::{Probe, Stage, timed};
use crate::segmentation::Mask;
use crate::session::Session;
use crate::{Error, Result};

/// Everything found in one frame. Without a pixel size there are no millimeters anywhere.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Findings {
    /// Width and height of the frame.
    pub size: [usize; 2],
    /// Along x and y.
    pub mm_per_px: Option<[f64; 2]>,
    /// Of packages with a head of classes: the likeliest.
    pub view: Option<Seen>,
    /// Those that count in this view, in the manifest's order.
    pub landmarks: Vec<Landmark>,
    pub masks: Vec<Mask>,
    pub measurements: Vec<Measured>,
    /// For people: what was withheld and why.
    pub warnings: Vec<String>,
}

/// A class and its probability.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Seen {
    pub name: String,
    pub score: f64,
}

/// A landmark, found or not.
#[derive(Debug, Clone, PartialEq)]
pub struct Landmark {
    pub name: String,
    /// `None` where it was not found.
    pub place: Option<[f64; 2]>,
    /// The height of its heatmap's peak, at most 1; `None` for a head of coordinates.
    pub confidence: Option<f64>,
    /// Standard deviation along x and y, in pixels.
    pub sd: Option<[f64; 2]>,
}

/// A package for frames, ready to be shown frames.
pub struct Finder<'a> {
    session: &'a Session,
    pipeline: FramePipeline,
    /// Width and height of the networks' input.
    size: [usize; 2],
    /// One list per graph, kept from frame to frame.
    outputs: Vec<Vec<Vec<f32>>>,
}

impl<'a> Finder<'a> {
    /// # Errors
    /// [`Error::Option`] for a package that is not for frames.
    pub fn new(session: &'a Session) -> Result<Self> {
        let manifest = &session.package().manifest;
        let [height, width] = manifest.graphs[0].inputs[0].spatial_shape[..] else {
            let found = format!("{}, a package for volumes", manifest.name);
            let expected = "a package for frames".into();
            return Err(Error::Option { option: "model".into(), expected, found });
        };
        let pipeline = FramePipeline::new(&manifest.preprocess, session.simd())?;
        let outputs = vec![Vec::new(); manifest.graphs.len()];
        Ok(Finder { session, pipeline, size: [width, height], outputs })
    }

    pub fn manifest(&self) -> &'a Manifest {
        &self.session.package().manifest
    }

    /// Looks at one frame. `name` is what an error calls it; `mm_per_px` is the size of its pixels
    /// along x and y, where known.
    ///
    /// # Errors
    /// [`Error::Unusable`] for a frame that the package's preprocessing refuses, a pixel size that
    /// cannot be; [`Error::Engine`]; [`Error::Cancelled`] soon after the probe asks for it.
    pub fn find(
        &mut self,
        pixels: &Pixels,
        mm_per_px: Option<[f64; 2]>,
        name: &str,
        probe: &mut dyn Probe,
    ) -> Result<Findings> {
        check_pixel_size(mm_per_px, name)?;
        let transform = self.run(pixels, name, probe)?;
        let size = pixels.size();
        timed(probe, Stage::Decode, || Ok(self.decode(&transform, size, mm_per_px)))
    }

    /// Prepares the frame and runs every graph on it.
    ///
    /// # Errors
    /// As [`Finder::find`].
    pub fn run(
        &mut self,
        pixels: &Pixels,
        name: &str,
        probe: &mut dyn Probe,
    ) -> Result<FrameTransform> {
        let (session, pipeline) = (self.session, &self.pipeline);
        let prepared = timed(probe, Stage::Preprocess, || pipeline.run(pixels, name))?;
        if prepared.frame.size() != self.size {
            let ([w, h], [width, height]) = (prepared.frame.size(), self.size);
            let problem = format!("becomes {w}×{h} pixels, the network takes {width}×{height}");
            let advice = "add resize and pad to the package's preprocess list";
            return Err(Error::unusable(name, problem, advice));
        }
        for (graph, outputs) in self.outputs.iter_mut().enumerate() {
            probe.network_input(graph, &prepared.frame.data);
            timed(probe, Stage::Infer, || session.run(graph, &prepared.frame.data, outputs))?;
        }
        Ok(prepared.transform)
    }

    /// Every head with its output.
    fn heads(&self) -> impl Iterator<Item = (&'a Head, &[f32])> {
        let graphs = &self.manifest().graphs;
        let outputs = graphs.iter().zip(&self.outputs);
        outputs.flat_map(|(graph, outputs)| graph.heads.iter().zip(outputs.iter().map(|o| &o[..])))
    }

    fn decode(
        &self,
        transform: &FrameTransform,
        size: [usize; 2],
        mm_per_px: Option<[f64; 2]>,
    ) -> Findings {
        let (mut landmarks, mut masks, mut view) = (Vec::new(), Vec::new(), None);
        for (head, output) in self.heads() {
            match head.kind {
                HeadKind::Heatmaps => landmarks.extend(self.heatmaps(head, output, transform)),
                HeadKind::Coordinates => {
                    landmarks.extend(self.coordinates(head, output, transform))
                }
                HeadKind::Mask => masks.extend(self.masks(head, output, transform)),
                HeadKind::Classes => view = likeliest(head, output),
                HeadKind::Affine | HeadKind::Displacement => {}
            }
        }
        // What lies in the black around a frame was not seen.
        let inside = |at: &[f64; 2]| [0, 1].iter().all(|i| within(at[*i], size[*i]));
        for landmark in &mut landmarks {
            landmark.place = landmark.place.filter(inside);
            if landmark.place.is_none() {
                (landmark.confidence, landmark.sd) = (None, None);
            }
        }
        let mut found = Findings {
            size,
            mm_per_px,
            view,
            landmarks,
            masks,
            measurements: Vec::new(),
            warnings: Vec::new(),
        };
        found.gate(self.manifest());
        found
    }

    /// From the pixels of a head's map to those of the frame: what a map shows is the area of its
    /// input, so outlines match and not the centers of corner pixels.
    fn map_to_frame(&self, head: &Head, transform: &FrameTransform) -> FrameTransform {
        let factor = (self.size[0] / head.spatial_shape[1]) as f64;
        let offset = transform.to_original([(factor - 1.0) / 2.0; 2]);
        FrameTransform { scale: transform.scale.map(|s| s * factor), offset }
    }

    fn maps<'b>(head: &Head, output: &'b [f32]) -> impl Iterator<Item = Frame<f32>> + use<'b> {
        let [height, width] = [head.spatial_shape[0], head.spatial_shape[1]];
        output.chunks_exact(width * height).map(move |m| Frame::new(width, height, m.to_vec()))
    }

    fn heatmaps(&self, head: &Head, output: &[f32], transform: &FrameTransform) -> Vec<Landmark> {
        let to_frame = self.map_to_frame(head, transform);
        let peak = head.peak.unwrap_or_default();
        let maps = head.channel_def.iter().zip(Self::maps(head, output));
        let landmarks = maps.map(|(name, map)| {
            let located = locate(&map, &peak);
            Landmark {
                name: name.clone(),
                place: located.map(|l| to_frame.to_original(l.at)),
                confidence: located.map(|l| f64::from(l.height.min(1.0))),
                sd: located.map(|l| [0, 1].map(|i| l.sd[i] * to_frame.scale[i])),
            }
        });
        landmarks.collect()
    }

    fn coordinates(&self, head: &Head, output: &[f32], to: &FrameTransform) -> Vec<Landmark> {
        let names = head.channel_def.iter().zip(output.chunks_exact(2));
        let landmarks = names.map(|(name, at)| {
            let [x, y] = [f64::from(at[0]), f64::from(at[1])];
            // Outside of what the network saw (and NaN) nothing can have been seen.
            let seen = within(x, self.size[0]) && within(y, self.size[1]);
            let place = seen.then(|| to.to_original([x, y]));
            Landmark { name: name.clone(), place, confidence: None, sd: None }
        });
        landmarks.collect()
    }

    fn masks(&self, head: &Head, output: &[f32], transform: &FrameTransform) -> Vec<Mask> {
        let to_frame = self.map_to_frame(head, transform);
        let region = head.region.unwrap_or_default();
        let maps = head.channel_def.iter().zip(Self::maps(head, output));
        maps.map(|(name, map)| Mask::new(name, map, &region, to_frame)).collect()
    }
}

impl Findings {
    /// Leaves what counts in the view that was seen, and takes its measurements.
    fn gate(&mut self, manifest: &Manifest) {
        let known = |view: &&View| self.view.as_ref().is_some_and(|seen| seen.name == view.name);
        let view = manifest.views.iter().find(known);
        if !manifest.views.is_empty() {
            let score = self.view.as_ref().map_or(0.0, |seen| seen.score);
            match view.filter(|view| score >= view.threshold) {
                Some(view) => {
                    self.landmarks.retain(|l| view.landmarks.contains(&l.name));
                    self.masks.retain(|m| view.masks.contains(&m.name));
                }
                None => {
                    self.landmarks.clear();
                    self.masks.clear();
                    let name = self.view.as_ref().map_or("none", |seen| &seen.name);
                    self.warnings.push(format!(
                        "no view that is measured was recognized (the likeliest: {name}, {score:.2})"
                    ));
                    return;
                }
            }
        }
        let cut = self.masks.iter().filter(|mask| mask.reaches_edge(self.size));
        self.warnings.extend(cut.map(|mask| {
            format!(
                "{}: reaches the frame's edge; what is measured of it may be too small",
                mask.name
            )
        }));
        let counts = |name: &String| view.is_none_or(|view| view.measurements.contains(name));
        for wanted in manifest.measurements.iter().filter(|m| counts(&m.name)) {
            let (measured, why) = measure::measure(wanted, self);
            self.measurements.push(measured);
            self.warnings.extend(why);
        }
    }

    /// Whether anything was found: a landmark or a mask.
    pub fn anything(&self) -> bool {
        self.landmarks.iter().any(|l| l.place.is_some()) || self.masks.iter().any(|m| m.found)
    }
}

/// Whether a place is on one of n pixels, along one axis.
fn within(at: f64, n: usize) -> bool {
    (-0.5..n as f64 - 0.5).contains(&at)
}

/// The class with the largest logit, its probability by softmax; `None` where one is no number.
fn likeliest(head: &Head, logits: &[f32]) -> Option<Seen> {
    let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]))?;
    let whole: f64 = logits.iter().map(|l| f64::from(l - logits[best]).exp()).sum();
    let score = 1.0 / whole;
    score.is_finite().then(|| Seen { name: head.channel_def[best].clone(), score })
}

fn check_pixel_size(mm_per_px: Option<[f64; 2]>, name: &str) -> Result<()> {
    let Some(size) = mm_per_px else { return Ok(()) };
    if is_pixel_size(size) {
        return Ok(());
    }
    let problem = format!("a pixel size of {} × {} mm", size[0], size[1]);
    Err(Error::unusable(name, problem, "give the right one, 0.0001 to 100 mm"))
}
