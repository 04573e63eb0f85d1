use std::path::PathBuf;

use crate::Result;
use crate::image::{Affine, Field};
use crate::io::{self, FieldConvention, Point};
use crate::registration::{forward_point, warp, warp_affine, warp_labels, warp_labels_affine};

/// Warp another image, labels or points by a field or an affine transform
///
/// Images and labels are resampled on the grid of --reference. Points go the way the transform
/// maps, fixed to moving: to carry moving points to the fixed image, give inverse_field.nii.gz.
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("transform").required(true).args(["field", "affine"])))]
#[command(group(clap::ArgGroup::new("what").required(true).args(["image", "labels", "points"])))]
pub(super) struct Apply {
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
    /// File to write
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

impl Apply {
    pub fn run(&self) -> Result<()> {
        let transform = match (&self.field, &self.affine) {
            (Some(path), _) => Transform::Field(io::read_field(path, self.field_convention, None)?),
            (None, Some(path)) => Transform::Affine(io::read_transform(path)?),
            (None, None) => unreachable!("clap asks for one"),
        };
        if let Some(path) = &self.points {
            return self.points(&transform, io::read_points(path)?);
        }
        let reference = self.reference.as_deref().expect("clap asks for it");
        let (onto, _) = io::read_geometry(reference)?;
        if let Some(path) = &self.labels {
            let labels = io::read_labels(path)?;
            let warped = match &transform {
                Transform::Field(field) => warp_labels(&labels, field, &onto),
                Transform::Affine(affine) => warp_labels_affine(&labels, affine, &onto),
            };
            super::check_interrupt()?;
            return io::write_labels(&self.out, &warped);
        }
        let path = self.image.as_deref().expect("clap asks for image, labels or points");
        let image = io::read_volume(path)?;
        let (_, scalar) = io::read_geometry(path)?;
        let warped = match &transform {
            Transform::Field(field) => warp(&image, field, &onto),
            Transform::Affine(affine) => warp_affine(&image, affine, &onto),
        };
        super::check_interrupt()?;
        io::write_volume(&self.out, &warped, scalar)
    }

    fn points(&self, transform: &Transform, points: Vec<Point>) -> Result<()> {
        let map = |position: [f64; 3]| match transform {
            Transform::Field(field) => forward_point(field, position),
            Transform::Affine(affine) => affine.apply(position.into()).into(),
        };
        let moved: Vec<Point> =
            points.into_iter().map(|p| Point { position: map(p.position), name: p.name }).collect();
        io::write_points(&self.out, &moved)
    }
}
