use std::path::PathBuf;

use serde::Serialize;

use crate::image::Geometry;
use crate::preprocess::Orientation;
use crate::{Result, io};

use super::{say, to_json};

/// Show how an image file is understood: size, place, type and range
#[derive(clap::Args)]
pub(super) struct Info {
    /// Image file
    file: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Facts {
    file: String,
    size: [usize; 3],
    spacing_mm: [f64; 3],
    /// LPS.
    origin_mm: [f64; 3],
    /// Rows; the columns are the axes' unit vectors in LPS.
    direction: [[f64; 3]; 3],
    orientation: String,
    scalar_type: &'static str,
    min: f32,
    max: f32,
}

impl Info {
    pub fn run(&self) -> Result<()> {
        let volume = io::read_volume(&self.file)?;
        let (_, scalar) = io::read_geometry(&self.file)?;
        let (min, max) = volume.range();
        let Geometry { size, spacing, origin, direction } = &volume.geometry;
        let facts = Facts {
            file: self.file.display().to_string(),
            size: *size,
            spacing_mm: *spacing,
            origin_mm: (*origin).into(),
            direction: direction.transpose().into(),
            orientation: Orientation::of(&volume.geometry).into(),
            scalar_type: scalar.name(),
            min,
            max,
        };
        if self.json {
            return say(&to_json(&facts));
        }
        let Facts { file, origin_mm, direction, orientation, scalar_type, .. } = &facts;
        say(&format!(
            "{file}\n  {}\n  origin {origin_mm:.3?} mm (LPS), voxels run towards {orientation}\n  \
             direction {direction:.4?} (rows)\n  {scalar_type}, values {min} to {max}",
            volume.geometry
        ))
    }
}
