use std::path::PathBuf;

use serde::Serialize;

use intraop::image::{Frame, Geometry, Pixels};
use intraop::io::ScalarType;
use intraop::preprocess::Orientation;
use intraop::{Result, io};

use crate::say::{say, to_json};

/// Show how an image is understood: of a volume size, place, type and range, of frames size,
/// number, pixel size and type
#[derive(clap::Args)]
pub struct Info {
    /// Image file, or a folder with a DICOM series
    file: PathBuf,
    /// As frames, where it could be a volume, too
    #[arg(long)]
    frames: bool,
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

#[derive(Serialize)]
struct FrameFacts {
    file: String,
    size: [usize; 2],
    frames: usize,
    /// Along a row and down a column; null where it is not known.
    spacing_mm: Option<[f64; 2]>,
    scalar_type: &'static str,
    color: &'static str,
}

impl FrameFacts {
    fn new<T>(
        file: String,
        frames: usize,
        frame: &Frame<T>,
        scalar: ScalarType,
        color: &'static str,
    ) -> Self {
        let Frame { width, height, spacing, .. } = frame;
        let (size, scalar_type) = ([*width, *height], scalar.name());
        FrameFacts { file, size, frames, spacing_mm: *spacing, scalar_type, color }
    }
}

impl Info {
    pub fn run(&self) -> Result<()> {
        match self.frames || !self.is_volume() {
            true => self.frames(),
            false => self.volume(),
        }
    }

    /// By the name; a MetaImage is a volume unless only frames fit it, as a 2-D image, or its name
    /// is that of a sequence of PLUS.
    fn is_volume(&self) -> bool {
        let name = self.file.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let ends = |endings: &[&str]| endings.iter().any(|e| name.ends_with(e));
        if self.file.is_dir() || ends(&[".nii", ".nii.gz", ".nrrd", ".nhdr"]) {
            return true;
        }
        ends(&[".mha", ".mhd"])
            && !ends(&[".igs.mha", ".igs.mhd"])
            && (io::read_geometry(&self.file).is_ok() || io::open_frames(&self.file).is_err())
    }

    fn frames(&self) -> Result<()> {
        let mut frames = io::open_frames(&self.file)?;
        let count = frames.len();
        let first = frames.next().expect("files have at least one frame")?;
        let file = self.file.display().to_string();
        let facts = match &first {
            Pixels::Gray8(f) => FrameFacts::new(file, count, f, ScalarType::U8, "gray"),
            Pixels::Gray16(f) => FrameFacts::new(file, count, f, ScalarType::U16, "gray"),
            Pixels::Float(f) => FrameFacts::new(file, count, f, ScalarType::F32, "gray"),
            Pixels::Rgb8(f) => FrameFacts::new(file, count, f, ScalarType::U8, "rgb"),
            Pixels::Rgb16(f) => FrameFacts::new(file, count, f, ScalarType::U16, "rgb"),
            Pixels::Rgba8(f) => FrameFacts::new(file, count, f, ScalarType::U8, "rgba"),
            Pixels::Rgba16(f) => FrameFacts::new(file, count, f, ScalarType::U16, "rgba"),
        };
        if self.json {
            return say(&to_json(&facts));
        }
        let FrameFacts { file, size: [width, height], spacing_mm, scalar_type, color, .. } = facts;
        let spacing = match spacing_mm {
            Some([x, y]) => format!("pixels of {x:.4}×{y:.4} mm"),
            None => "no pixel size: nothing on it can be measured in mm".into(),
        };
        let plural = if count == 1 { "" } else { "s" };
        say(&format!(
            "{file}\n  {count} frame{plural} of {width}×{height} pixels\n  {scalar_type}, \
             {color}\n  {spacing}"
        ))
    }

    fn volume(&self) -> Result<()> {
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
