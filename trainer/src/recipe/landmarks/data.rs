//! Frames to train on, brought by the runtime's own code to twice the size that the network sees
//! and kept in memory as bytes, and frames kept aside as the network sees them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use image::DynamicImage;
use intraop_core::image::{Ellipse, Frame, FrameTransform, Pixels};
use intraop_core::phantom;
use intraop_core::preprocess::frames::FramePipeline;
use intraop_engine::Simd;
use rayon::prelude::*;

use super::Settings;
use crate::random::Random;
use crate::recipe::run;

/// So many times larger than the network's are the frames that augmentation samples from.
pub const FINER: usize = 2;
/// Size of a phantom frame.
const PHANTOM: [usize; 2] = [320, 240];

/// A frame to train on, laid out for a network [`FINER`] times as large, without the final
/// normalization.
pub struct Example {
    pub frame: Frame<u8>,
    /// In pixels of the frame; none where there is nothing to be found.
    pub ellipse: Option<Ellipse>,
}

/// A frame kept aside, as a network sees it.
pub struct Held {
    pub name: String,
    pub input: Vec<f32>,
    pub transform: FrameTransform,
    /// In pixels of the file; none where there is nothing to be found.
    pub ellipse: Option<Ellipse>,
    pub mm_per_pixel: f64,
}

pub struct Data {
    pub shown: Vec<Example>,
    pub empty: Vec<Example>,
    pub held: Vec<Held>,
    names: Vec<String>,
}

impl run::Data for Data {
    fn images(&self) -> &[String] {
        &self.names
    }

    fn counts(&self) -> [usize; 2] {
        [self.shown.len() + self.empty.len(), self.held.len()]
    }
}

/// A frame in the file's own pixels.
pub struct Source {
    pub name: String,
    pub pixels: Pixels,
    pub ellipse: Option<Ellipse>,
    pub mm_per_pixel: f64,
}

impl Data {
    /// Reads the frames of the split `train` and, where given, a folder of frames that show nothing
    /// to be found. Whole examinations and clips are kept aside, the same for one seed.
    ///
    /// # Errors
    /// Names the file that cannot be used.
    pub fn read(folder: &Path, empty: Option<&Path>, recipe: &Settings) -> Result<Data> {
        let mut sources = labeled(folder, "train")?;
        sources.extend(empty.map_or(Ok(vec![]), unlabeled)?);
        Data::new(sources, recipe)
    }

    /// Makes `count` phantom frames, part of which are kept aside.
    ///
    /// # Errors
    /// None in practice.
    pub fn phantoms(count: usize, recipe: &Settings) -> Result<Data> {
        let sources = (0..count).into_par_iter().map(|number| {
            let [width, height] = PHANTOM;
            let (frame, ellipse) =
                phantom::frame(phantom::FIRST_TRAINING_SEED + number as u64, width, height);
            let (name, pixels) = (format!("phantom{number:05}_0"), Pixels::Gray8(frame));
            Source { name, pixels, ellipse: Some(ellipse), mm_per_pixel: 1.0 }
        });
        Ok(Data { names: vec![], ..Data::new(sources.collect(), recipe)? })
    }

    fn new(mut sources: Vec<Source>, recipe: &Settings) -> Result<Data> {
        sources.sort_by(|a, b| a.name.cmp(&b.name));
        let names = sources.iter().map(|s| s.name.clone()).collect();
        let aside = aside(&sources, recipe);
        let kept = |source: &&Source| aside.iter().any(|held| std::ptr::eq(*held, *source));
        let train: Vec<&Source> = sources.iter().filter(|s| !kept(s)).collect();
        let held = held(&aside, recipe)?;
        let layout = FramePipeline::new(&recipe.layout(FINER), Simd::detect())?;
        let train =
            train.par_iter().map(|source| example(source, &layout)).collect::<Result<Vec<_>>>()?;
        let (shown, empty): (Vec<_>, Vec<_>) = train.into_iter().partition(|e| e.ellipse.is_some());
        ensure!(!shown.is_empty(), "expected frames to train on, found none");
        Ok(Data { shown, empty, held, names })
    }
}

/// The frames of the examinations, and of the clips, that are kept aside.
pub fn aside<'a>(sources: &'a [Source], recipe: &Settings) -> Vec<&'a Source> {
    let kinds = [(1, true), (2, false)].into_iter().flat_map(|(stream, shown)| {
        let kind = sources.iter().filter(move |s| s.ellipse.is_some() == shown);
        let groups = kind.clone().map(|s| group(&s.name));
        let kept = drawn(groups, recipe.holdout, recipe.schedule.seed, stream);
        kind.filter(move |s| kept.contains(&group(&s.name)))
    });
    kinds.collect()
}

/// Frames as the network sees them.
pub fn held(sources: &[&Source], recipe: &Settings) -> Result<Vec<Held>> {
    let pipeline = FramePipeline::new(&recipe.preprocess(), Simd::detect())?;
    let see = |source: &&Source| {
        let ready = pipeline.run(&source.pixels, &source.name)?;
        Ok(Held {
            name: source.name.clone(),
            input: ready.frame.data,
            transform: ready.transform,
            ellipse: source.ellipse,
            mm_per_pixel: source.mm_per_pixel,
        })
    };
    sources.par_iter().map(see).collect()
}

/// The examination or clip that a frame is of: its name up to the last `_`.
fn group(name: &str) -> &str {
    name.rsplit_once('_').map_or(name, |(group, _)| group)
}

/// A share of different names, rounded up, but never all.
fn drawn<'a>(
    names: impl Iterator<Item = &'a str>,
    share: f64,
    seed: u64,
    stream: u64,
) -> Vec<&'a str> {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.dedup();
    let count = (names.len() as f64 * share).ceil() as usize;
    Random::new(seed, u64::MAX - stream).shuffle(&mut names);
    names.truncate(count.min(names.len().saturating_sub(1)));
    names
}

/// An ellipse in a file's pixels, in those of the prepared frame.
fn prepared(ellipse: &Ellipse, transform: &FrameTransform) -> Option<Ellipse> {
    let [x, y] = transform.scale.map(|s| 1.0 / s);
    ellipse.mapped([[x, 0.0], [0.0, y]], transform.to_prepared([0.0; 2]))
}

impl Held {
    pub fn prepared_ellipse(&self) -> Option<Ellipse> {
        prepared(self.ellipse.as_ref()?, &self.transform)
    }
}

fn example(source: &Source, layout: &FramePipeline) -> Result<Example> {
    let ready = layout.run(&source.pixels, &source.name)?;
    let white: f32 = match source.pixels {
        Pixels::Gray16(_) | Pixels::Rgb16(_) | Pixels::Rgba16(_) => 65535.0,
        _ => 255.0,
    };
    let bytes = ready.frame.data.iter().map(|v| (v * 255.0 / white).round() as u8).collect();
    let ellipse = source.ellipse.map(|ellipse| {
        let there = prepared(&ellipse, &ready.transform);
        there.with_context(|| format!("{}: its ellipse has no area", source.name))
    });
    Ok(Example { frame: ready.frame.with(bytes), ellipse: ellipse.transpose()? })
}

/// The frames of one split of `folder/ellipses.csv`, from `folder/images`.
pub fn labeled(folder: &Path, split: &str) -> Result<Vec<Source>> {
    let path = folder.join("ellipses.csv");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("{}: cannot be read", path.display()))?;
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let rows = lines.enumerate().map(|(number, line)| {
        let row: HashMap<&str, &str> = header.iter().copied().zip(line.split(',')).collect();
        let number = number + 2;
        let text = |column: &str| {
            let value = row.get(column).copied();
            value.with_context(|| format!("{} line {number}: no {column:?}", path.display()))
        };
        let real = |column: &str| -> Result<f64> {
            let value = text(column)?;
            let real = value.parse().ok().filter(|v: &f64| v.is_finite());
            real.with_context(|| {
                format!("{} line {number}: {column:?} is {value:?}", path.display())
            })
        };
        if text("split")? != split {
            return Ok(None);
        }
        let mm = real("pixel size(mm)")?;
        let ellipse = Ellipse {
            center: [real("center_x_mm")? / mm, real("center_y_mm")? / mm],
            semi_axes: [real("semi_axes_a_mm")? / mm, real("semi_axes_b_mm")? / mm],
            angle: real("angle_rad")?,
        };
        Ok(Some((folder.join("images").join(text("filename")?), ellipse, mm)))
    });
    let rows: Vec<_> = rows.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
    ensure!(!rows.is_empty(), "{}: no row of the split {split:?}", path.display());
    let read = |(path, ellipse, mm_per_pixel): &(PathBuf, Ellipse, f64)| {
        let ellipse = Some(*ellipse);
        Ok(Source { ellipse, mm_per_pixel: *mm_per_pixel, ..source(path)? })
    };
    rows.par_iter().map(read).collect()
}

/// The frames of a folder that show nothing to be found.
pub fn unlabeled(folder: &Path) -> Result<Vec<Source>> {
    let paths = crate::files::files(folder)?;
    ensure!(!paths.is_empty(), "{}: expected frames, found none", folder.display());
    paths.par_iter().map(|path| source(path)).collect()
}

fn source(path: &Path) -> Result<Source> {
    let image = image::open(path).with_context(|| format!("{}: not a frame", path.display()))?;
    let [width, height] = [image.width() as usize, image.height() as usize];
    let pixels = match image {
        DynamicImage::ImageLuma8(gray) => Pixels::Gray8(Frame::new(width, height, gray.into_raw())),
        DynamicImage::ImageLuma16(gray) => {
            Pixels::Gray16(Frame::new(width, height, gray.into_raw()))
        }
        DynamicImage::ImageRgb8(colors) => {
            let colors = colors.pixels().map(|p| p.0).collect();
            Pixels::Rgb8(Frame::new(width, height, colors))
        }
        other => bail!("{}: expected 8-bit or gray, found {:?}", path.display(), other.color()),
    };
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Source { name, pixels, ellipse: None, mm_per_pixel: 1.0 })
}
