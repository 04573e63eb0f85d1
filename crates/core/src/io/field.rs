//! Displacement fields as other tools keep them. In memory a [`Field`] always holds LPS millimeters
//! on the fixed image's grid and leads from fixed to moving.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use nalgebra::{Matrix3, Vector3};

use super::{
    Format, LARGEST, Opened, ScalarType, check_writable, format_of, metaimage, nifti, not_written,
    open, usable, voxel,
};
use crate::image::{Field, Geometry};
use crate::{Error, Result};

/// NIfTI intents of a vector per voxel.
const INTENT_DISPLACEMENT: i16 = 1006;
const INTENT_VECTOR: i16 = 1007;

/// Who is to read a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldConvention {
    /// ITK, ANTs, greedy, 3D Slicer: NIfTI with axes (x, y, z, 1, 3), intent 1007 (vector), or
    /// MetaImage by the file's ending; LPS mm.
    Itk,
    /// MetaImage with 3 channels; LPS mm.
    MetaImage,
    /// NIfTI with axes (x, y, z, 3); displacement along the three **array axes** of the fixed
    /// image, in voxels of the fixed grid: what VoxelMorph's `save_volfile` keeps. The moving image
    /// must be on the fixed image's grid before it is warped.
    VoxelMorph,
    /// Learn2Reg's `disp_FFFF_MMMM.nii.gz`: numpy shape (D, H, W, 3) as nibabel loads it, in
    /// voxels. This is the very file that [`VoxelMorph`](Self::VoxelMorph) gives (D, H, W are the
    /// file's x, y, z); the name exists so that nobody has to know.
    Learn2Reg,
}

impl FieldConvention {
    pub const ALL: [FieldConvention; 4] = [
        FieldConvention::Itk,
        FieldConvention::MetaImage,
        FieldConvention::VoxelMorph,
        FieldConvention::Learn2Reg,
    ];

    fn in_voxels(self) -> bool {
        matches!(self, FieldConvention::VoxelMorph | FieldConvention::Learn2Reg)
    }
}

impl fmt::Display for FieldConvention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FieldConvention::Itk => "itk",
            FieldConvention::MetaImage => "metaimage",
            FieldConvention::VoxelMorph => "voxelmorph",
            FieldConvention::Learn2Reg => "learn2reg",
        })
    }
}

impl FromStr for FieldConvention {
    type Err = Error;

    /// As [`Display`](fmt::Display) writes it; `ants` is `itk`.
    fn from_str(name: &str) -> Result<Self> {
        let name = if name == "ants" { "itk" } else { name };
        Self::ALL.into_iter().find(|c| c.to_string() == name).ok_or_else(|| Error::Option {
            option: "field convention".into(),
            expected: "itk, ants, metaimage, voxelmorph or learn2reg".into(),
            found: format!("{name:?}"),
        })
    }
}

/// `stem` with the ending that a convention's files have.
pub fn field_file_name(convention: FieldConvention, stem: &str) -> String {
    match convention {
        FieldConvention::MetaImage => format!("{stem}.mha"),
        _ => format!("{stem}.nii.gz"),
    }
}

/// The format of `path`, where the convention allows it.
fn format_for(path: &Path, convention: FieldConvention) -> Result<Format> {
    let format = format_of(path)?;
    let fits = match convention {
        FieldConvention::Itk => format != Format::Nrrd,
        FieldConvention::MetaImage => format == Format::MetaImage,
        FieldConvention::VoxelMorph | FieldConvention::Learn2Reg => format == Format::Nifti,
    };
    if fits {
        return Ok(format);
    }
    let expected = match convention {
        FieldConvention::MetaImage => "an ending .mha or .mhd",
        FieldConvention::Itk => "an ending .nii, .nii.gz, .mha or .mhd",
        _ => "an ending .nii or .nii.gz",
    };
    let what = format!("name of a field of convention {convention}");
    let found = path.file_name().unwrap_or_default().to_string_lossy();
    Err(Error::malformed(path, what, expected, found, "rename it or choose another convention"))
}

/// Writes a field as f32 in the given convention.
///
/// # Errors
/// A place that cannot be written, an ending that the convention does not have, a geometry with a
/// defect.
pub fn write_field(path: &Path, field: &Field, convention: FieldConvention) -> Result<()> {
    let format = format_for(path, convention)?;
    check_writable(path, field)?;
    let geometry = &field.geometry;
    let component = |c: usize| field.data.iter().map(move |v| f64::from(v[c]));
    match format {
        Format::Nrrd => Err(not_written(path)),
        Format::MetaImage => {
            let values = field.data.iter().flatten().map(|v| f64::from(*v));
            metaimage::write(path, geometry, 3, ScalarType::F32, values)
        }
        Format::Nifti if convention.in_voxels() => {
            let to_voxels = geometry.world_to_index().matrix;
            let values = (0..3).flat_map(|axis| {
                let row = to_voxels.row(axis).into_owned();
                field.data.iter().map(move |v| {
                    row[0] * f64::from(v[0]) + row[1] * f64::from(v[1]) + row[2] * f64::from(v[2])
                })
            });
            nifti::write(path, geometry, &[3], 0, ScalarType::F32, values)
        }
        Format::Nifti => {
            let values = (0..3).flat_map(component);
            nifti::write(path, geometry, &[1, 3], INTENT_VECTOR, ScalarType::F32, values)
        }
    }
}

/// Reads a field of the given convention; the result is in LPS millimeters whatever the file's.
///
/// `reference` is the grid of the fixed image. The conventions in voxels take it in place of the
/// file's own header, both to convert the vectors and to place the field, because such files often
/// carry an identity affine; without it their header is taken at its word. The conventions in
/// millimeters ignore it.
///
/// # Errors
/// As [`read_volume`](super::read_volume), a file whose axes, channels or intent are not the
/// convention's, and a field in voxels whose size is not the reference's.
pub fn read_field(
    path: &Path,
    convention: FieldConvention,
    reference: Option<&Geometry>,
) -> Result<Field> {
    let format = format_for(path, convention)?;
    let mut opened = open(path)?;
    check_layout(path, &opened, format, convention)?;
    let fixed = reference.filter(|_| convention.in_voxels());
    if let Some(fixed) = fixed.filter(|fixed| fixed.size != opened.geometry.size) {
        let what = format!("size ({convention} field)");
        let expected = format!("the reference's {:?}", fixed.size);
        let found = format!("{:?}", opened.geometry.size);
        let advice = "a voxel field belongs to its fixed image's grid: give that as the reference";
        return Err(Error::malformed(path, what, expected, found, advice));
    }
    let mut data = read_vectors(path, &mut opened, format == Format::Nifti)?;
    let geometry = fixed.cloned().unwrap_or(opened.geometry);
    // To LPS mm, if the file holds anything else. ITK 5.4 reads intent 1006 as RAS.
    let to_world = if convention.in_voxels() {
        Some(geometry.index_to_world().matrix)
    } else if opened.intent == INTENT_DISPLACEMENT {
        Some(Matrix3::from_diagonal(&Vector3::new(-1.0, -1.0, 1.0)))
    } else {
        None
    };
    if let Some(matrix) = to_world {
        for vector in &mut data {
            let world = matrix * Vector3::from(vector.map(f64::from));
            *vector = [world.x as f32, world.y as f32, world.z as f32];
        }
    }
    Ok(Field::new(geometry, data))
}

fn check_layout(
    path: &Path,
    opened: &Opened,
    format: Format,
    convention: FieldConvention,
) -> Result<()> {
    let frames: &[usize] = match format {
        Format::MetaImage | Format::Nrrd => &[],
        Format::Nifti if convention.in_voxels() => &[3],
        Format::Nifti => &[1, 3],
    };
    let channels = if format == Format::MetaImage { 3 } else { 1 };
    let advice = "give a displacement field, and its convention";
    let wrong = |what: &str, expected: String, found: String| {
        Err(Error::malformed(path, format!("{what} ({convention} field)"), expected, found, advice))
    };
    if opened.frames != frames {
        let expected = format!("{frames:?}");
        return wrong("axes after x, y, z", expected, format!("{:?}", opened.frames));
    }
    if opened.channels != channels {
        return wrong("channels", channels.to_string(), opened.channels.to_string());
    }
    let vector = [INTENT_VECTOR, INTENT_DISPLACEMENT].contains(&opened.intent);
    if format == Format::Nifti && !convention.in_voxels() && !vector {
        return wrong("intent_code", "1007 (vector)".into(), opened.intent.to_string());
    }
    Ok(())
}

/// One vector per voxel. `planar`: the file holds all x components, then all y, then all z;
/// else each vector's components lie side by side.
fn read_vectors(path: &Path, opened: &mut Opened, planar: bool) -> Result<Vec<[f32; 3]>> {
    let voxels = opened.geometry.voxels();
    let mut data: Vec<[f32; 3]> = Vec::new();
    let (mut at, mut component) = (0, 0);
    let mut bad = None;
    opened.samples(3 * voxels, |value| {
        if component == 0 {
            data.push([0.0; 3]);
        }
        let value = value as f32;
        data[at][component] = value;
        if !usable(value) && bad.is_none() {
            bad = Some(at);
        }
        if planar {
            at += 1;
            if at == voxels {
                (at, component) = (0, component + 1);
            }
        } else {
            component += 1;
            if component == 3 {
                (at, component) = (at + 1, 0);
            }
        }
    })?;
    data.shrink_to_fit();
    match bad {
        None => Ok(data),
        Some(at) => Err(Error::unusable(
            path.display().to_string(),
            format!(
                "the displacement at {} is not finite or beyond {LARGEST:e}",
                voxel(&opened.geometry, at)
            ),
            "replace it with a finite one, for example 0",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::tests::geometry;

    fn field() -> Field {
        let vectors = (0..24).map(|i| [i as f32 * 0.25, 1.0 - i as f32, 0.5]).collect();
        Field::new(geometry(), vectors)
    }

    #[test]
    fn every_convention_comes_back_in_millimeters() {
        let folder = tempfile::tempdir().unwrap();
        let mut files: Vec<_> =
            FieldConvention::ALL.map(|c| (c, field_file_name(c, "field"))).into_iter().collect();
        files.push((FieldConvention::Itk, "field.mhd".into()));
        files.push((FieldConvention::Itk, "field.nii".into()));
        for (convention, name) in files {
            let path = folder.path().join(format!("{convention}_{name}"));
            write_field(&path, &field(), convention).unwrap();
            let back = read_field(&path, convention, None).unwrap();
            for (a, b) in back.data.iter().flatten().zip(field().data.iter().flatten()) {
                assert!((a - b).abs() < 2e-5, "{convention}: {a} {b}");
            }
        }
    }

    fn f32s(bytes: &[u8]) -> Vec<f32> {
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    #[test]
    fn itk_keeps_all_x_then_all_y_then_all_z() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.nii");
        write_field(&path, &field(), FieldConvention::Itk).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let dim: Vec<i16> =
            bytes[40..56].chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
        assert_eq!(dim, [5, 4, 3, 2, 1, 3, 1, 1]);
        assert_eq!(bytes[68..70], 1007i16.to_le_bytes());
        let samples = f32s(&bytes[352..]);
        assert_eq!(samples.len(), 72);
        assert_eq!([samples[5], samples[24 + 5], samples[48 + 5]], field().data[5]);
        // ITK 5.4 turns x and y of intent 1006 around; checked by reading such a file with it.
        let mut turned = bytes.clone();
        turned[68..70].copy_from_slice(&1006i16.to_le_bytes());
        std::fs::write(&path, turned).unwrap();
        let [x, y, z] = field().data[5];
        assert_eq!(read_field(&path, FieldConvention::Itk, None).unwrap().data[5], [-x, -y, z]);
    }

    #[test]
    fn voxel_conventions_hold_steps_along_the_array_axes() {
        // Two voxels along y everywhere: in mm, twice the spacing along the direction's column 1.
        let g = geometry();
        let step = g.direction.column(1) * (2.0 * g.spacing[1]);
        let field = Field::filled(g, [step.x as f32, step.y as f32, step.z as f32]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.nii");
        for convention in [FieldConvention::VoxelMorph, FieldConvention::Learn2Reg] {
            write_field(&path, &field, convention).unwrap();
            let samples = f32s(&std::fs::read(&path).unwrap()[352..]);
            let expected = [0.0, 2.0, 0.0];
            for (position, sample) in samples.iter().enumerate() {
                assert!((sample - expected[position / 24]).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn voxel_fields_lie_on_the_reference_whatever_their_header_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.nii.gz");
        // As VoxelMorph and Learn2Reg leave it: an identity affine over voxels of another grid.
        let identity = Geometry::new(geometry().size, [1.0; 3]);
        let steps = Field::filled(identity.clone(), [1.0, -2.0, 0.5]);
        let g = geometry();
        let steps_mm = Vector3::new(1.0, -2.0, 0.5).component_mul(&Vector3::from(g.spacing));
        let expected = g.direction * steps_mm;
        let smaller = Geometry::new([4, 3, 1], [1.0; 3]);
        for convention in [FieldConvention::VoxelMorph, FieldConvention::Learn2Reg] {
            write_field(&path, &steps, convention).unwrap();
            let placed = read_field(&path, convention, Some(&g)).unwrap();
            assert_eq!(placed.geometry, g);
            for vector in &placed.data {
                let found = Vector3::from(vector.map(f64::from));
                assert!((found - expected).norm() < 1e-6, "{found} {expected}");
            }
            let own = read_field(&path, convention, None).unwrap();
            assert!(own.geometry.same_grid(&identity));
            assert_eq!(own.data[7], steps.data[7]);
            let error = read_field(&path, convention, Some(&smaller)).unwrap_err().to_string();
            assert!(error.contains("[4, 3, 1], found [4, 3, 2]"), "{error}");
            assert!(error.contains("the reference"), "{error}");
        }
        write_field(&path, &steps, FieldConvention::Itk).unwrap();
        for reference in [&g, &smaller] {
            let millimeters = read_field(&path, FieldConvention::Itk, Some(reference)).unwrap();
            assert!(millimeters.geometry.same_grid(&identity));
            assert_eq!(millimeters.data, steps.data);
        }
    }

    #[test]
    fn files_of_another_convention_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.nii.gz");
        write_field(&path, &field(), FieldConvention::VoxelMorph).unwrap();
        let error = read_field(&path, FieldConvention::Itk, None).unwrap_err().to_string();
        assert!(error.contains("axes after x, y, z (itk field): expected [1, 3], found [3]"));
        write_field(&path, &field(), FieldConvention::Itk).unwrap();
        assert!(read_field(&path, FieldConvention::Learn2Reg, None).is_err());
        assert!(read_field(&path, FieldConvention::MetaImage, None).is_err());
        assert!(super::super::read_volume(&path).is_err());
        let volume = crate::image::Volume::filled(geometry(), 1f32);
        let image = folder.path().join("i.mha");
        super::super::write_volume(&image, &volume, ScalarType::F32).unwrap();
        let error = read_field(&image, FieldConvention::MetaImage, None).unwrap_err().to_string();
        assert!(error.contains("channels"), "{error}");
        let mut broken = field();
        broken.data[13][2] = f32::NAN;
        write_field(&path, &broken, FieldConvention::Itk).unwrap();
        let error = read_field(&path, FieldConvention::Itk, None).unwrap_err().to_string();
        assert!(error.contains("voxel (1, 0, 1)"), "{error}");
    }

    #[test]
    fn names_go_both_ways() {
        for convention in FieldConvention::ALL {
            assert_eq!(convention.to_string().parse::<FieldConvention>().unwrap(), convention);
        }
        assert_eq!("ants".parse::<FieldConvention>().unwrap(), FieldConvention::Itk);
        assert!("ITK5".parse::<FieldConvention>().unwrap_err().to_string().contains("ITK5"));
    }
}
