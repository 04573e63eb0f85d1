//! Registration of two volumes: alignment by the manifest, the cascade of networks, and the
//! dense field on the fixed image's own grid.
//!
//! A field maps **fixed → moving**: `warped(p) = moving(p + u(p))`. Points of the moving image
//! travel the other way, through the inverse.

mod cascade;
mod case;
mod invert;
mod kernels;
mod line;
mod warp;

pub use case::{BeforeAfter, Case, CaseResult, Dice, Measures, RegistrationReport, register_case};
pub use invert::{Inverse, invert, invert_point};
pub use warp::{
    affine_field, coverage, covered, covered_affine, warp, warp_affine, warp_labels,
    warp_labels_affine,
};

use crate::image::{Affine, Field, Geometry, Volume};
use crate::package::{HeadKind, Task};
use crate::preprocess::{self, Initial};
use crate::probe::{Probe, Stage, timed};
use crate::session::Session;
use crate::{Error, Result, Subject};

/// What a caller may choose; the default is what the package says, with all its stages.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Alignment before the network instead of the manifest's.
    pub init: Option<Init>,
    /// Stop after the affine stage.
    pub affine_only: bool,
    /// Run only so many of the package's displacement stages.
    pub cascades: Option<usize>,
}

/// Where to start from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    By(Initial),
    /// Fixed → moving points, world millimeters (LPS).
    Transform(Affine),
}

/// The outcome of a registration.
#[derive(Debug, Clone)]
pub struct Registered {
    /// The alignment before the network, fixed → moving, world millimeters (LPS).
    pub initial: Affine,
    /// `initial` and the affine stage together.
    pub affine: Affine,
    /// The whole transform as displacements on the fixed image's grid.
    pub field: Field,
}

/// Registers `moving` to `fixed`. The result holds everything needed to warp images, labels and
/// points; nothing is resampled yet.
///
/// # Errors
/// [`Error::Unusable`] for images that are constant or do not overlap after the initial
/// alignment; [`Error::Option`] for options that the package cannot serve;
/// [`Error::Engine`]; [`Error::Cancelled`] soon after the probe asks for it.
pub fn register(
    session: &Session,
    fixed: &Volume,
    moving: &Volume,
    options: &Options,
    probe: &mut dyn Probe,
) -> Result<Registered> {
    let stages = stages(session, options)?;
    check_3d(&fixed.geometry).map_err(|e| e.about(Subject::FixedImage))?;
    check_3d(&moving.geometry).map_err(|e| e.about(Subject::MovingImage))?;
    let package = session.package();
    let (spec, size) = package.grid()?;
    let steps = &package.manifest.preprocess;
    let grid = spec.lay_on(size, &fixed.geometry);
    let (initial, moving_on_grid, input) = timed(probe, Stage::Preprocess, || {
        session.install(|| {
            let initial = match options.init {
                Some(Init::Transform(affine)) => affine,
                Some(Init::By(by)) => spec.align(by, fixed, moving),
                None => spec.align(spec.initial, fixed, moving),
            };
            if initial.inverse().is_none() {
                return Err(Error::Unusable {
                    subject: Subject::InitialTransform,
                    problem: "its matrix is singular".into(),
                    advice: "give an invertible transform".into(),
                });
            }
            if !warp::overlap(&fixed.geometry, &moving.geometry, &initial) {
                return Err(no_overlap());
            }
            let mut input = vec![0.0; 2 * grid.voxels()];
            let (first, second) = input.split_at_mut(grid.voxels());
            let prepared = preprocess::run(steps, fixed, "fixed image")
                .map_err(|e| e.about(Subject::FixedImage))?;
            preprocess::sample_into(first, &grid, &prepared, &Affine::identity());
            drop(prepared);
            let prepared = preprocess::run(steps, moving, "moving image")
                .map_err(|e| e.about(Subject::MovingImage))?;
            let moving_on_grid = preprocess::sample_on(&grid, &prepared, &initial);
            second.copy_from_slice(&moving_on_grid.data);
            Ok((initial, moving_on_grid, input))
        })
    })?;
    probe.progress(1.0 / (stages.len() + 2) as f32);
    let cascade = cascade::run(session, &stages, input, &moving_on_grid, probe)?;
    drop(moving_on_grid);
    let registered = timed(probe, Stage::Compose, || {
        session.install(|| {
            // Grid voxels after the affine stage → moving world.
            let to_moving = initial.after(&grid.index_to_world()).after(&cascade.affine);
            Ok(Registered {
                initial,
                affine: to_moving.after(&grid.world_to_index()),
                field: cascade.field(&fixed.geometry, &grid, &to_moving),
            })
        })
    })?;
    probe.progress(1.0);
    Ok(registered)
}

fn check_3d(geometry: &Geometry) -> Result<()> {
    if geometry.size.iter().all(|n| *n >= 2) {
        return Ok(());
    }
    let problem = format!("expected a 3-D image, found {geometry}");
    Err(Error::unusable("image", problem, "give a volume of at least 2 voxels along every axis"))
}

/// Of a pair that shares no place.
pub fn no_overlap() -> Error {
    Error::Unusable {
        subject: Subject::BothImages,
        problem: "they do not overlap in space".into(),
        advice: "check their headers, or align them first: by their centers, or by a transform"
            .into(),
    }
}

/// The graphs to run, by number.
///
/// # Errors
/// [`Error::Option`] for a package for other tasks, and for options that it cannot serve.
pub fn stages(session: &Session, options: &Options) -> Result<Vec<usize>> {
    let manifest = &session.package().manifest;
    let wrong = |option: &str, expected: String, found: String| {
        Err(Error::Option { option: option.into(), expected, found })
    };
    if manifest.task != Task::Registration {
        let found = format!("{}, a package for {:?}", manifest.name, manifest.task);
        return wrong("model", "a package for registration".into(), found);
    }
    let of_kind = |kind: HeadKind| {
        let graphs = manifest.graphs.iter().enumerate();
        graphs.filter(move |(_, g)| g.heads[0].kind == kind).map(|(i, _)| i)
    };
    let affine: Vec<usize> = of_kind(HeadKind::Affine).collect();
    let flows: Vec<usize> = of_kind(HeadKind::Displacement).collect();
    if options.affine_only {
        if affine.is_empty() {
            let found = format!("{}, which has none", manifest.name);
            return wrong("affine-only", "a package with an affine stage".into(), found);
        }
        return Ok(affine);
    }
    let cascades = options.cascades.unwrap_or(flows.len());
    if options.cascades == Some(0) || cascades > flows.len() {
        let expected = format!("1 to {} (the stages of {})", flows.len(), manifest.name);
        return wrong("cascades", expected, cascades.to_string());
    }
    Ok(affine.into_iter().chain(flows.into_iter().take(cascades)).collect())
}

/// Maps a fixed point (world millimeters) into the moving image, by a field interpolated between
/// its voxels. `None` outside the field's grid.
pub fn forward_point(field: &Field, point: [f64; 3]) -> Option<[f64; 3]> {
    let u = field.sample(field.geometry.world_to_index().apply(point.into()))?;
    Some([0, 1, 2].map(|axis| point[axis] + f64::from(u[axis])))
}
