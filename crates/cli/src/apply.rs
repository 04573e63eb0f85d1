use std::path::PathBuf;

use crate::watch::check_interrupt;
use intraop::image::{Affine, Field, Geometry, LabelMap, Volume};
use intraop::io::{self, FieldConvention, Point};
use intraop::registration::{
    coverage, covered, covered_affine, forward_point, no_overlap, warp, warp_affine, warp_labels,
    warp_labels_affine,
};
use intraop::{Error, Result};

/// Warp another image, labels or points by a field or an affine transform
///
/// Images and labels are resampled on the grid of --reference. Points go the way the transform
/// maps, fixed to moving: to carry moving points to the fixed image, give inverse_field.nii.gz.
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("transform").required(true).args(["field", "affine"])))]
#[command(group(clap::ArgGroup::new("what").required(true).args(["image", "labels", "points"])))]
pub struct Apply {
    /// A displacement field that `register` wrote
    #[arg(long)]
    field: Option<PathBuf>,
    /// An ITK text transform
    #[arg(long, value_name = "T.tfm")]
    affine: Option<PathBuf>,
    /// An image: trilinear, 0 outside
    #[arg(long)]
    image: Option<PathBuf>,
    /// Labels: the nearest voxel's
    #[arg(long)]
    labels: Option<PathBuf>,
    /// Points: CSV with x,y,z in LPS mm, or .mrk.json
    #[arg(long)]
    points: Option<PathBuf>,
    /// An image whose grid the result has; not needed for points
    #[arg(long, required_unless_present = "points")]
    reference: Option<PathBuf>,
    /// File to write: .nii, .nii.gz, .mha or .mhd; for points .csv, .txt or .mrk.json
    #[arg(long)]
    out: PathBuf,
    /// How the field is written: itk (= ants), metaimage, voxelmorph, learn2reg
    #[arg(long, value_name = "C", default_value = "itk")]
    field_convention: FieldConvention,
}

enum Transform {
    Field(Field),
    Affine(Affine),
}

impl Transform {
    fn image(&self, image: &Volume, onto: &Geometry) -> Volume {
        match self {
            Transform::Field(field) => warp(image, field, onto),
            Transform::Affine(affine) => warp_affine(image, affine, onto),
        }
    }

    fn labels(&self, labels: &LabelMap, onto: &Geometry) -> LabelMap {
        match self {
            Transform::Field(field) => warp_labels(labels, field, onto),
            Transform::Affine(affine) => warp_labels_affine(labels, affine, onto),
        }
    }

    /// # Errors
    /// No overlap: of the field with the reference, or of what it leads to with the image.
    fn check(&self, onto: &Geometry, moving: &Geometry) -> Result<()> {
        if let Transform::Field(field) = self {
            let share = coverage(onto, &field.geometry, &Affine::identity());
            if share == 0.0 {
                return Err(Error::unusable(
                    "field and reference",
                    "they do not overlap in space",
                    "give the fixed image of the registration as --reference",
                ));
            }
            if share < 1.0 {
                let outside = 100.0 * (1.0 - share);
                log::warn!("{outside:.1} % of the reference lies outside the field: not moved");
            }
        }
        let covered = match self {
            Transform::Field(field) => covered(field, onto, moving),
            Transform::Affine(affine) => covered_affine(onto, moving, affine),
        };
        let inside = covered.iter().filter(|inside| **inside).count();
        if inside == 0 {
            return Err(no_overlap());
        }
        let percent = 100.0 * inside as f64 / covered.len() as f64;
        if percent < 25.0 {
            log::warn!("only {percent:.1} % of the reference maps inside the image");
        }
        Ok(())
    }

    /// The point's place after the transform; outside a field it stays, as in ITK.
    fn point(&self, position: [f64; 3]) -> (bool, [f64; 3]) {
        match self {
            Transform::Field(field) => match forward_point(field, position) {
                Some(moved) => (true, moved),
                None => (false, position),
            },
            Transform::Affine(affine) => (true, affine.apply(position.into()).into()),
        }
    }
}

impl Apply {
    pub fn run(&self) -> Result<()> {
        let onto = match &self.reference {
            Some(path) => Some(io::read_geometry(path)?.0),
            None => None,
        };
        let transform = match (&self.field, &self.affine) {
            (Some(path), _) => {
                let field = io::read_field(path, self.field_convention, onto.as_ref())?;
                Transform::Field(field)
            }
            (None, Some(path)) => Transform::Affine(io::read_transform(path)?),
            (None, None) => unreachable!("clap asks for one"),
        };
        if let Some(path) = &self.points {
            return self.points(&transform, io::read_points(path)?);
        }
        let onto = onto.expect("clap asks for a reference");
        if let Some(path) = &self.labels {
            let labels = io::read_labels(path)?;
            transform.check(&onto, &labels.geometry)?;
            let warped = transform.labels(&labels, &onto);
            check_interrupt()?;
            return io::write_labels(&self.out, &warped);
        }
        let path = self.image.as_deref().expect("clap asks for image, labels or points");
        let image = io::read_volume(path)?;
        let (_, scalar) = io::read_geometry(path)?;
        transform.check(&onto, &image.geometry)?;
        let warped = transform.image(&image, &onto);
        check_interrupt()?;
        io::write_volume(&self.out, &warped, scalar)
    }

    fn points(&self, transform: &Transform, points: Vec<Point>) -> Result<()> {
        let mut outside = 0;
        let moved: Vec<Point> = points
            .into_iter()
            .map(|p| {
                let (inside, position) = transform.point(p.position);
                outside += usize::from(!inside);
                Point { position, name: p.name }
            })
            .collect();
        if outside > 0 {
            log::warn!("{outside} of {} points lie outside the field: not moved", moved.len());
        }
        io::write_points(&self.out, &moved)
    }
}
