//! The work that is timed: what a user waits for, from an image in memory to the answer in memory.

use crate::image::{Field, Geometry, Pixels, Volume};
use crate::landmarks::{Finder, Findings, Landmark};
use crate::package::Task;
use crate::registration::{self, Init, register, warp};
use crate::session::Session;
use crate::{Error, Probe, Result, Stage, phantom, timed};

/// What the package is shown.
#[derive(Debug, Clone)]
pub enum Input {
    /// A phantom: for volumes a pair of the size of the package's grid, else a frame.
    Phantom,
    /// Fixed and moving volume, and what a report calls them.
    Pair(Box<Volume>, Box<Volume>, String),
    Frame(Pixels, String),
}

/// The phantom's frame: that of a common scanner's screen.
const FRAME: [usize; 2] = [1024, 768];
const SEED: u64 = 20;
/// Without a pixel size nothing would be measured.
const MM_PER_PX: f64 = 0.2;

enum Kind<'a> {
    Pair { fixed: Box<Volume>, moving: Box<Volume>, options: registration::Options },
    Frame { pixels: Pixels, finder: Finder<'a> },
}

/// A session with its input, ready to run any number of times.
pub struct Work<'a> {
    session: &'a Session,
    kind: Kind<'a>,
    /// The input in words.
    pub input: String,
    /// The graphs that run, by name.
    pub graphs: Vec<String>,
    /// In words, where it is not the package's: the alignment before the networks.
    pub initial: Option<String>,
    /// The stages that a run reports, in their order.
    pub stages: &'static [Stage],
}

/// What one run gives.
#[derive(PartialEq)]
pub enum Answer {
    /// The field, and the moving image warped by it, both on the fixed image's grid.
    Registered(Field, Volume),
    Found(Findings),
}

impl Answer {
    /// It in a few numbers: of a field the mean displacement along x, y and z and the largest, in mm;
    /// of a frame x, y (pixels) and confidence of each landmark, -1 where it was not found, then the
    /// measurements.
    pub fn figures(&self) -> Vec<f64> {
        match self {
            Answer::Registered(field, _) => {
                let n = field.data.len() as f64;
                let mean =
                    |axis: usize| field.data.iter().map(|u| f64::from(u[axis])).sum::<f64>() / n;
                let squared = field.data.iter().map(|u| u.iter().map(|v| v * v).sum::<f32>());
                let largest = f64::from(squared.fold(0.0, f32::max)).sqrt();
                vec![mean(0), mean(1), mean(2), largest]
            }
            Answer::Found(found) => {
                let landmark = |l: &Landmark| match l.place {
                    Some([x, y]) => [x, y, l.confidence.unwrap_or(1.0)],
                    None => [-1.0; 3],
                };
                let measured = found.measurements.iter().map(|m| m.value.unwrap_or(-1.0));
                found.landmarks.iter().flat_map(landmark).chain(measured).collect()
            }
        }
    }
}

impl<'a> Work<'a> {
    /// # Errors
    /// [`Error::Option`] for a frame to a package for volumes, or the other way round, and for
    /// options that the package cannot serve.
    pub fn new(
        session: &'a Session,
        options: &registration::Options,
        input: Input,
    ) -> Result<Work<'a>> {
        let manifest = &session.package().manifest;
        let wrong = |expected: &str, found: &str| {
            let (expected, found) = (expected.into(), found.into());
            Err(Error::Option { option: "input".into(), expected, found })
        };
        let mut graphs: Vec<usize> = (0..manifest.graphs.len()).collect();
        let (kind, input) = if manifest.task == Task::Registration {
            let (fixed, moving, name) = match input {
                Input::Pair(fixed, moving, name) => (fixed, moving, name),
                Input::Phantom => phantom_pair(session)?,
                Input::Frame(_, name) => return wrong("FIXED and MOVING, two volumes", &name),
            };
            graphs = registration::stages(session, options)?;
            (Kind::Pair { fixed, moving, options: options.clone() }, name)
        } else {
            let given = [
                ("init", options.init.is_some()),
                ("affine-only", options.affine_only),
                ("cascades", options.cascades.is_some()),
            ];
            if let Some((option, _)) = given.iter().find(|(_, given)| *given) {
                let option = option.to_string();
                let (expected, found) = ("a package for registration".into(), "frames".into());
                return Err(Error::Option { option, expected, found });
            }
            let (pixels, name) = match input {
                Input::Frame(pixels, name) => (pixels, name),
                Input::Phantom => {
                    let [width, height] = FRAME;
                    let frame = phantom::frame(SEED, width, height).0;
                    (Pixels::Gray8(frame), format!("phantom frame {SEED}, {width}×{height}"))
                }
                Input::Pair(.., name) => return wrong("one frame", &name),
            };
            (Kind::Frame { pixels, finder: Finder::new(session)? }, name)
        };
        let stages: &[Stage] = match kind {
            Kind::Pair { .. } => &[Stage::Preprocess, Stage::Infer, Stage::Compose, Stage::Warp],
            Kind::Frame { .. } => &[Stage::Preprocess, Stage::Infer, Stage::Decode],
        };
        let graphs = graphs.into_iter().map(|i| manifest.graphs[i].name.clone()).collect();
        let initial = options.init.map(|init| match init {
            Init::By(initial) => format!("{initial:?}").to_lowercase(),
            Init::Transform(_) => "a transform".into(),
        });
        Ok(Work { session, kind, input, graphs, initial, stages })
    }

    /// One run: of a pair the field and the warped image, of a frame what is found in it.
    ///
    /// # Errors
    /// Those of [`register`] and [`Finder::find`].
    pub fn run(&mut self, probe: &mut dyn Probe) -> Result<Answer> {
        match &mut self.kind {
            Kind::Pair { fixed, moving, options } => {
                let field = register(self.session, fixed, moving, options, probe)?.field;
                let warped = timed(probe, Stage::Warp, || {
                    Ok(self.session.install(|| warp(moving, &field, &fixed.geometry)))
                })?;
                Ok(Answer::Registered(field, warped))
            }
            Kind::Frame { pixels, finder } => {
                let mm_per_px = pixels.spacing().or(Some([MM_PER_PX; 2]));
                Ok(Answer::Found(finder.find(pixels, mm_per_px, &self.input, probe)?))
            }
        }
    }

    pub fn session(&self) -> &'a Session {
        self.session
    }

    /// Another frame of 8-bit gray, or another pair, in the same session: `bytes` hold the values
    /// row by row, of a pair the fixed image's and then the moving one's, on the package's grid.
    ///
    /// # Panics
    /// If there are not [`Work::bytes`] of them.
    pub fn replace(&mut self, bytes: &[u8]) {
        assert_eq!(bytes.len(), self.bytes(), "one byte per voxel or pixel");
        match &mut self.kind {
            Kind::Pair { fixed, moving, .. } => {
                let (first, second) = bytes.split_at(fixed.data.len());
                let values = |bytes: &[u8]| bytes.iter().map(|b| f32::from(*b)).collect();
                (fixed.data, moving.data) = (values(first), values(second));
            }
            Kind::Frame { pixels, .. } => {
                let [width, height] = pixels.size();
                *pixels = Pixels::Gray8(crate::image::Frame::new(width, height, bytes.to_vec()));
            }
        }
    }

    /// How many bytes [`Work::replace`] takes.
    pub fn bytes(&self) -> usize {
        match &self.kind {
            Kind::Pair { fixed, moving, .. } => fixed.data.len() + moving.data.len(),
            Kind::Frame { pixels, .. } => pixels.size().iter().product(),
        }
    }
}

/// A pair of the grid's size and spacing, as hard as the demo's.
fn phantom_pair(session: &Session) -> Result<(Box<Volume>, Box<Volume>, String)> {
    let (spec, size) = session.package().grid()?;
    let geometry = Geometry::new(size, spec.spacing_mm);
    let side = (0..3).map(|i| size[i] as f64 * spec.spacing_mm[i]).fold(f64::INFINITY, f64::min);
    let options = phantom::Options { deformation_mm: side / 7.0, geometry, ..Default::default() };
    let pair = session.install(|| phantom::pair(SEED, &options));
    let [x, y, z] = size;
    let name = format!("phantom pair {SEED}, {x}×{y}×{z}");
    Ok((Box::new(pair.fixed), Box::new(pair.moving), name))
}
