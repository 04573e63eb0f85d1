//! A manifest's list, run on a frame.

use std::borrow::Cow;
use std::sync::OnceLock;

use super::listed::Listed;
use super::{MOST_TILES, WIDEST, grayscale};
use crate::image::{Frame, FrameTransform, Pixels};
use crate::preprocess::Step;
use crate::{Error, Result};
use intraop_engine::Simd;

/// Frames with more pixels are refused, and lists that would make them: 16384 × 8192.
pub const MOST_PIXELS: usize = 1 << 27;

/// The values that an expression makes of a frame of each kind.
macro_rules! each_frame {
    ($values:expr, $frame:ident => $make:expr) => {
        match $values {
            Values::Bytes(listed) => {
                let $frame = listed.frame();
                Values::from($make)
            }
            Values::Words(listed) => {
                let $frame = listed.frame();
                Values::from($make)
            }
            Values::Floats(floats) => {
                let $frame = &*floats;
                Values::from($make)
            }
        }
    };
}

/// A manifest's `preprocess` list, ready to run on frames.
///
/// Until a step needs the pixels in their places, 8- and 16-bit steps that handle each pixel by
/// itself are only collected in a table of what becomes of each value: several of them cost one
/// pass. The result is the same, bit for bit.
#[derive(Debug, Clone)]
pub struct FramePipeline {
    /// With what a gamma step makes of each 16-bit sample, once there was such a frame.
    steps: Vec<(Step, OnceLock<Vec<u16>>)>,
    simd: Simd,
}

/// What a network sees of a frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    pub frame: Frame<f32>,
    /// Where its pixels lie in the frame that was given.
    pub transform: FrameTransform,
}

impl FramePipeline {
    /// # Errors
    /// [`Error::Option`] for a step that no frame could be put through.
    pub fn new(steps: &[Step], simd: Simd) -> Result<Self> {
        if let Some((at, (what, expected, found))) = defect(steps) {
            let option = format!("preprocess, step {}, {what}", at + 1);
            return Err(Error::Option { option, expected: expected.into(), found });
        }
        let steps = steps.iter().map(|step| (step.clone(), OnceLock::new())).collect();
        Ok(FramePipeline { steps, simd })
    }

    /// Runs the list. Without a step that scales them, samples are the numbers of the file, 0 to
    /// 255 for 8 bits. `name` is what an error calls the frame.
    ///
    /// # Errors
    /// [`Error::Unusable`] for an empty or too large frame, for colors without a `grayscale`
    /// step, when a step does not fit the frame, and when a constant frame should be normalized.
    pub fn run(&self, pixels: &Pixels, name: &str) -> Result<Prepared> {
        let simd = self.simd;
        let gray = self.steps.first().is_some_and(|(step, _)| *step == Step::Grayscale);
        let needs_gray = || {
            let problem = "colors, where the package expects gray";
            Error::unusable(name, problem, "add the step op = \"grayscale\" to its manifest")
        };
        let bytes = |frame: Cow<Frame<u8>>| self.finish(Values::Bytes(frame.into()), name);
        let words = |frame: Cow<Frame<u16>>| self.finish(Values::Words(frame.into()), name);
        match pixels {
            Pixels::Gray8(frame) => bytes(Cow::Borrowed(whole(frame, name)?)),
            Pixels::Gray16(frame) => words(Cow::Borrowed(whole(frame, name)?)),
            Pixels::Float(frame) => {
                self.finish(Values::Floats(Cow::Borrowed(whole(frame, name)?)), name)
            }
            _ if !gray => Err(needs_gray()),
            Pixels::Rgb8(frame) => bytes(Cow::Owned(grayscale(simd, whole(frame, name)?))),
            Pixels::Rgba8(frame) => bytes(Cow::Owned(grayscale(simd, whole(frame, name)?))),
            Pixels::Rgb16(frame) => words(Cow::Owned(grayscale(simd, whole(frame, name)?))),
            Pixels::Rgba16(frame) => words(Cow::Owned(grayscale(simd, whole(frame, name)?))),
        }
    }

    fn finish(&self, mut values: Values, name: &str) -> Result<Prepared> {
        let mut transform = FrameTransform::IDENTITY;
        for (step, words) in &self.steps {
            values = self.step(step, words, values, &mut transform, name)?;
        }
        let frame = match values {
            Values::Bytes(listed) => listed.reals(self.simd),
            Values::Words(listed) => listed.reals(self.simd),
            Values::Floats(frame) => frame.into_owned(),
        };
        Ok(Prepared { frame, transform })
    }

    fn step<'a>(
        &self,
        step: &Step,
        words: &OnceLock<Vec<u16>>,
        values: Values<'a>,
        transform: &mut FrameTransform,
        name: &str,
    ) -> Result<Values<'a>> {
        let simd = self.simd;
        let constant = || {
            let problem = "all pixels have (nearly) the same value, so there is nothing to see";
            Error::unusable(name, problem, "check that the probe and the export work")
        };
        Ok(match step {
            Step::Grayscale => values,
            Step::Gamma(gamma) => match values {
                Values::Bytes(listed) => Values::Bytes(listed.gamma(gamma, &gamma.table())),
                Values::Words(listed) => {
                    let table = words.get_or_init(|| gamma.table());
                    Values::Words(listed.gamma(gamma, table))
                }
                Values::Floats(frame) => {
                    let data = frame.data.iter().map(|v| gamma.of_real(*v)).collect();
                    Values::from(frame.with(data))
                }
            },
            Step::Normalize(method) => match values {
                Values::Bytes(listed) => {
                    Values::Bytes(listed.normalize(simd, method).ok_or_else(constant)?)
                }
                Values::Words(listed) => {
                    Values::Words(listed.normalize(simd, method).ok_or_else(constant)?)
                }
                Values::Floats(frame) => {
                    let scaling = method.scaling(|| &*frame).ok_or_else(constant)?;
                    let data = frame.data.iter().map(|v| scaling.of(*v)).collect();
                    Values::from(frame.with(data))
                }
            },
            Step::Clahe(clahe) => match values.placed(simd) {
                Values::Bytes(listed) => Values::from(clahe.apply(simd, listed.frame())),
                Values::Words(listed) => Values::from(clahe.apply(simd, listed.frame())),
                Values::Floats(_) => {
                    let problem = "real numbers, where the package's clahe needs 8 or 16 bits";
                    return Err(Error::unusable(name, problem, "export whole numbers"));
                }
            },
            Step::Resize(resize) => each_frame!(values.placed(simd), frame => {
                *transform = transform.resized(frame.size(), resize.size(frame.size()));
                resize.apply(simd, frame)
            }),
            Step::Crop(crop) => each_frame!(values.placed(simd), frame => {
                let (part, corner) = crop.apply(frame, name)?;
                *transform = transform.cut(corner.map(|at| at as f64));
                part
            }),
            Step::Pad(pad) => each_frame!(values.placed(simd), frame => {
                let (larger, corner) = pad.apply(frame, name)?;
                *transform = transform.cut(corner.map(|at| -(at as f64)));
                larger
            }),
            Step::Gaussian(gaussian) => each_frame!(values.placed(simd), frame => {
                gaussian.apply(simd, frame)
            }),
        })
    }
}

/// A frame on its way through the list.
enum Values<'a> {
    Bytes(Listed<'a, u8>),
    Words(Listed<'a, u16>),
    Floats(Cow<'a, Frame<f32>>),
}

impl Values<'_> {
    /// With every pixel's own value in the frame, and none left in a table.
    fn placed(self, simd: Simd) -> Self {
        match self {
            Values::Bytes(listed) => match listed.whole(simd) {
                Ok(frame) => Values::Bytes(frame.into()),
                Err(listed) => Values::from(listed.reals(simd)),
            },
            Values::Words(listed) => match listed.whole(simd) {
                Ok(frame) => Values::Words(frame.into()),
                Err(listed) => Values::from(listed.reals(simd)),
            },
            floats => floats,
        }
    }
}

impl From<Frame<u8>> for Values<'_> {
    fn from(frame: Frame<u8>) -> Self {
        Values::Bytes(Cow::Owned::<Frame<u8>>(frame).into())
    }
}

impl From<Frame<u16>> for Values<'_> {
    fn from(frame: Frame<u16>) -> Self {
        Values::Words(Cow::Owned::<Frame<u16>>(frame).into())
    }
}

impl From<Frame<f32>> for Values<'_> {
    fn from(frame: Frame<f32>) -> Self {
        Values::Floats(Cow::Owned(frame))
    }
}

/// The frame, if it can be worked on.
fn whole<'a, T>(frame: &'a Frame<T>, name: &str) -> Result<&'a Frame<T>> {
    let [width, height] = [frame.width, frame.height];
    let pixels = width.checked_mul(height).filter(|n| (1..=MOST_PIXELS).contains(n));
    if pixels == Some(frame.data.len()) {
        return Ok(frame);
    }
    let problem = format!("{width}×{height} pixels with {} samples", frame.data.len());
    let advice = format!("give a frame of 1 to {MOST_PIXELS} pixels with a sample each");
    Err(Error::unusable(name, problem, advice))
}

/// Of what something is wrong, what was expected, what was found.
pub(crate) type StepDefect = (&'static str, &'static str, String);

/// The first step (from 0) that no image could be put through.
pub(crate) fn defect(steps: &[Step]) -> Option<(usize, StepDefect)> {
    (0..steps.len()).find_map(|i| Some((i, step_defect(&steps[i], &steps[..i])?)))
}

/// What is wrong with a step after those `before`.
fn step_defect(step: &Step, before: &[Step]) -> Option<StepDefect> {
    let positive = |v: f64| v.is_finite() && v > 0.0;
    let size = |width: usize, height: usize| {
        let pixels = width.checked_mul(height).filter(|n| (1..=MOST_PIXELS).contains(n));
        let found = format!("{width} × {height}");
        pixels.is_none().then_some(("width × height", "1 to 2^27 pixels", found))
    };
    match step {
        Step::Grayscale if !before.is_empty() => {
            Some(("grayscale", "first in the list", format!("after {:?}", before[0])))
        }
        Step::Clahe(_) if before.iter().any(|s| matches!(s, Step::Normalize(_))) => {
            Some(("clahe", "before normalize", "after it".into()))
        }
        Step::Clahe(c) if !positive(c.clip_limit) => {
            Some(("clahe clip_limit", "a number above 0", c.clip_limit.to_string()))
        }
        Step::Clahe(c) if !c.tiles.iter().all(|n| (1..=MOST_TILES).contains(n)) => {
            Some(("clahe tiles", "columns and rows, each 1 to 32", format!("{:?}", c.tiles)))
        }
        Step::Gamma(g) if !positive(g.gamma) => {
            Some(("gamma", "a number above 0", g.gamma.to_string()))
        }
        Step::Gaussian(g) if !positive(g.sigma_px) || g.sigma_px > WIDEST => {
            Some(("gaussian sigma_px", "above 0, at most 100", g.sigma_px.to_string()))
        }
        Step::Pad(p) if !p.value.is_finite() => {
            Some(("pad value", "a number", p.value.to_string()))
        }
        Step::Resize(r) => size(r.width, r.height),
        Step::Crop(c) => size(c.width, c.height),
        Step::Pad(p) => size(p.width, p.height),
        Step::Normalize(method) => method.defect(),
        _ => None,
    }
}
