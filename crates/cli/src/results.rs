//! The files of one registered pair, written alike by `register` and `evaluate --keep`.

use std::path::{Path, PathBuf};

use intraop::io::{self, FieldConvention, Point, ScalarType};
use intraop::registration::{Case, CaseResult, Measures};
use intraop::{Error, Result, Stage, Subject, display, timed};

use crate::watch::Watch;

/// Every name that a registration may write, in any convention.
pub const NAMES: [&str; 10] = [
    "warped.nii.gz",
    "field.nii.gz",
    "field.mha",
    "inverse_field.nii.gz",
    "inverse_field.mha",
    "affine.tfm",
    "warped_labels.nii.gz",
    "warped_points.csv",
    "preview.png",
    "report.json",
];

/// Where the parts of a case came from.
#[derive(Default)]
pub struct Files {
    pub fixed: Option<PathBuf>,
    pub moving: Option<PathBuf>,
    pub fixed_labels: Option<PathBuf>,
    pub moving_labels: Option<PathBuf>,
    pub fixed_points: Option<PathBuf>,
    pub moving_points: Option<PathBuf>,
    pub init: Option<PathBuf>,
}

impl Files {
    pub fn all(&self) -> impl Iterator<Item = &Path> {
        let images = [&self.fixed, &self.moving, &self.fixed_labels, &self.moving_labels];
        let others = [&self.fixed_points, &self.moving_points, &self.init];
        images.into_iter().chain(others).filter_map(|path| path.as_deref())
    }

    /// The library does not know the files of the images it complains about, nor the flags.
    pub fn name(&self, error: Error) -> Error {
        let Error::Unusable { subject, problem, mut advice } = error else { return error };
        let shown = |path: &PathBuf| path.display().to_string();
        let file = match subject {
            Subject::FixedImage => self.fixed.as_ref().map(shown),
            Subject::MovingImage => self.moving.as_ref().map(shown),
            Subject::BothImages => {
                let both = self.fixed.as_ref().zip(self.moving.as_ref());
                both.map(|(fixed, moving)| format!("{} and {}", shown(fixed), shown(moving)))
            }
            Subject::FixedLabels => self.fixed_labels.as_ref().map(shown),
            Subject::MovingLabels => self.moving_labels.as_ref().map(shown),
            Subject::MovingPoints => self.moving_points.as_ref().map(shown),
            Subject::InitialTransform => self.init.as_ref().map(shown),
            Subject::Named(_) => None,
        };
        advice += match subject {
            Subject::BothImages => " (--init centers, --init T.tfm)",
            Subject::FixedLabels | Subject::MovingLabels => " (`intraop apply --labels`)",
            _ => "",
        };
        let subject = file.map_or(subject, Subject::Named);
        Error::Unusable { subject, problem, advice }
    }

    /// `fixed <- moving`, by the files' names.
    pub fn title(&self) -> String {
        let name = |path: &Option<PathBuf>| {
            let name = path.as_ref().and_then(|p| p.file_name());
            name.map_or("phantom".into(), |n| n.to_string_lossy().into_owned())
        };
        format!("{} <- {}", name(&self.fixed), name(&self.moving))
    }
}

/// A case with what is needed to write its results as they came.
pub struct Input {
    pub case: Case,
    pub scalar: ScalarType,
    pub moving_points: Vec<Point>,
}

/// Reads the files of a case that are given; there must be a fixed and a moving image.
pub fn read(files: &Files) -> Result<Input> {
    let (Some(fixed), Some(moving)) = (&files.fixed, &files.moving) else {
        return Err(Error::unusable(
            "images",
            "expected two, found fewer",
            "give FIXED and MOVING",
        ));
    };
    let labels = |path: &Option<PathBuf>| path.as_deref().map(io::read_labels).transpose();
    let points = |path: &Option<PathBuf>| path.as_deref().map(io::read_points).transpose();
    let positions = |points: &Vec<Point>| points.iter().map(|p| p.position).collect();
    let moving_points = points(&files.moving_points)?;
    let case = Case {
        fixed: io::read_volume(fixed)?,
        moving: io::read_volume(moving)?,
        fixed_labels: labels(&files.fixed_labels)?,
        moving_labels: labels(&files.moving_labels)?,
        fixed_points: points(&files.fixed_points)?.as_ref().map(positions),
        moving_points: moving_points.as_ref().map(positions),
    };
    let (_, scalar) = io::read_geometry(moving)?;
    Ok(Input { case, scalar, moving_points: moving_points.unwrap_or_default() })
}

/// Writes everything but `report.json` into `folder`.
pub fn write(
    folder: &Path,
    title: &str,
    input: &Input,
    result: &CaseResult,
    convention: FieldConvention,
    watch: &mut Watch,
) -> Result<()> {
    let path = |name: &str| folder.join(name);
    let field = |stem: &str| path(&io::field_file_name(convention, stem));
    timed(watch, Stage::Write, || {
        io::write_volume(&path("warped.nii.gz"), &result.warped, input.scalar)
    })?;
    timed(watch, Stage::Write, || {
        io::write_field(&field("field"), &result.registered.field, convention)
    })?;
    timed(watch, Stage::Write, || {
        io::write_field(&field("inverse_field"), &result.inverse.field, convention)
    })?;
    timed(watch, Stage::Write, || {
        io::write_transform(&path("affine.tfm"), &result.registered.affine)?;
        if let Some(labels) = &result.warped_labels {
            io::write_labels(&path("warped_labels.nii.gz"), labels)?;
        }
        if let Some(positions) = &result.warped_points {
            let points = input.moving_points.iter().zip(positions);
            let points: Vec<Point> =
                points.map(|(p, at)| Point { position: *at, name: p.name.clone() }).collect();
            io::write_points(&path("warped_points.csv"), &points)?;
        }
        write_preview(&path("preview.png"), title, input, result)
    })
}

fn write_preview(path: &Path, title: &str, input: &Input, result: &CaseResult) -> Result<()> {
    let image = display::registration_preview(&display::Preview {
        fixed: &input.case.fixed,
        moving: &result.before,
        warped: &result.warped,
        field: &result.registered.field,
        initial: &result.registered.initial,
        fixed_labels: input.case.fixed_labels.as_ref(),
        warped_labels: result.warped_labels.as_ref(),
        title,
        lines: &[figures(&result.measures)],
    });
    io::write_atomically(path, |w| display::write_png(&image, w))
}

/// A result's figures in a line.
pub fn figures(m: &Measures) -> String {
    let mut parts = Vec::new();
    if let Some((before, after)) = m.ncc.before.zip(m.ncc.after) {
        parts.push(format!("NCC {before:.3} -> {after:.3}"));
    }
    let dice = m.dice.as_ref().and_then(|dice| dice.mean_before.zip(dice.mean_after));
    if let Some((before, after)) = dice {
        parts.push(format!("Dice {before:.3} -> {after:.3}"));
    }
    if let Some(tre) = &m.tre_mm {
        parts.push(format!("TRE {:.2} -> {:.2} mm", tre.before, tre.after));
    }
    parts.push(format!("folding {:.3} %", m.folding_percent));
    parts.push(format!("largest displacement {:.1} mm", m.max_displacement_mm));
    parts.join("   ")
}
