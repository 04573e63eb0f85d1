//! ITK's text transforms (`.tfm`, `.txt`), those of them that are affine.

use std::path::Path;

use nalgebra::{Matrix3, Quaternion, Rotation3, UnitQuaternion, Vector3};

use super::source::{quoted, read_text};
use super::write_atomically;
use crate::image::Affine;
use crate::{Error, Result};

const MAX_BYTES: u64 = 1 << 20;

/// One `Transform:` block.
struct Block {
    kind: String,
    parameters: Vec<f64>,
    fixed: Vec<f64>,
}

/// Reads an ITK transform: the map from points of the **fixed** image to points of the **moving**
/// one, LPS millimeters.
///
/// Handled: affine, matrix-offset, Euler, versor rigid, similarity, translation, identity, and a
/// composite of these; 3-D, double or float. A composite applies its **last** member first.
///
/// # Errors
/// An unreadable file, another kind of transform, a wrong count of parameters, values that are not
/// finite, a map without inverse.
pub fn read_transform(path: &Path) -> Result<Affine> {
    let text = read_text(path, MAX_BYTES)?;
    if !text.starts_with("#Insight Transform File") {
        let found = quoted(text.lines().next().unwrap_or(""));
        let advice = "save the transform as ITK text (.tfm); ANTs' .mat and .h5 are not supported";
        return Err(wrong(path, "first line", "#Insight Transform File V1.0", &found, advice));
    }
    let blocks = blocks(path, &text)?;
    let members = match blocks.split_first() {
        Some((first, rest)) if first.kind == "CompositeTransform" => rest,
        _ if blocks.len() > 1 => {
            let found = format!("{} without a CompositeTransform", blocks.len());
            return Err(wrong(path, "transforms", "one", &found, "compose them into one"));
        }
        _ => &blocks[..],
    };
    if members.is_empty() {
        return Err(wrong(path, "transforms", "at least one", "none", "export it again"));
    }
    let mut whole = Affine::identity();
    for block in members {
        whole = whole.after(&affine(path, block)?);
    }
    if whole.inverse().is_none() {
        let found = "a singular matrix";
        return Err(wrong(path, "transform", "a map with an inverse", found, "export it again"));
    }
    Ok(whole)
}

fn wrong(path: &Path, what: &str, expected: &str, found: &str, advice: &str) -> Error {
    Error::malformed(path, what, expected, found, advice)
}

fn blocks(path: &Path, text: &str) -> Result<Vec<Block>> {
    let mut blocks: Vec<Block> = Vec::new();
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let (key, value) = line.split_once(':').unwrap_or((line, ""));
        if key == "Transform" {
            blocks.push(Block {
                kind: kind(path, value.trim())?,
                parameters: vec![],
                fixed: vec![],
            });
            continue;
        }
        let numbers = || -> Result<Vec<f64>> {
            let number = |text: &str| text.parse().ok().filter(|n: &f64| n.is_finite());
            value.split_whitespace().map(number).collect::<Option<_>>().ok_or_else(|| {
                let advice = "export the transform again";
                wrong(path, key, "finite numbers", &quoted(value.trim()), advice)
            })
        };
        match (key, blocks.last_mut()) {
            ("Parameters", Some(block)) => block.parameters = numbers()?,
            ("FixedParameters", Some(block)) => block.fixed = numbers()?,
            _ => {
                let expected = "Transform:, then Parameters: and FixedParameters:";
                let advice = "export the transform again";
                return Err(wrong(path, "line", expected, &quoted(line), advice));
            }
        }
    }
    Ok(blocks)
}

/// The kind without its suffix, which must say 3-D.
fn kind(path: &Path, name: &str) -> Result<String> {
    let kind = name.strip_suffix("_double_3_3").or(name.strip_suffix("_float_3_3"));
    kind.map(str::to_owned).ok_or_else(|| {
        let expected = "a 3-D one (…_double_3_3)";
        wrong(path, "Transform", expected, &quoted(name), "give a 3-D transform")
    })
}

/// x ↦ M (x − center) + center + t, as ITK's matrix-offset transforms define it.
fn affine(path: &Path, block: &Block) -> Result<Affine> {
    let p = &block.parameters[..];
    let vector = |at: usize| Vector3::new(p[at], p[at + 1], p[at + 2]);
    let expect = |count: usize| match p.len() == count {
        true => Ok(()),
        false => Err(wrong(
            path,
            &format!("Parameters of {}", block.kind),
            &count.to_string(),
            &p.len().to_string(),
            "export the transform again",
        )),
    };
    let (matrix, shift) = match block.kind.as_str() {
        "AffineTransform" | "MatrixOffsetTransformBase" => {
            expect(12)?;
            (Matrix3::from_row_slice(&p[..9]), vector(9))
        }
        "Euler3DTransform" => {
            expect(6)?;
            (euler(vector(0), block.fixed.get(3).is_some_and(|zyx| *zyx != 0.0)), vector(3))
        }
        "VersorRigid3DTransform" => {
            expect(6)?;
            (versor(vector(0)), vector(3))
        }
        "Similarity3DTransform" => {
            expect(7)?;
            (versor(vector(0)) * p[6], vector(3))
        }
        "TranslationTransform" => {
            expect(3)?;
            return Ok(Affine::translation(vector(0)));
        }
        "IdentityTransform" => return Ok(Affine::identity()),
        other => {
            let expected =
                "an affine, rigid, similarity or translation transform, or a composite of them";
            let advice = "convert it to an affine one";
            return Err(wrong(path, "Transform", expected, &quoted(other), advice));
        }
    };
    let center = match block.fixed[..] {
        [] => Vector3::zeros(),
        [x, y, z, ..] => Vector3::new(x, y, z),
        _ => {
            let found = block.fixed.len().to_string();
            return Err(wrong(
                path,
                "FixedParameters",
                "3 (the center)",
                &found,
                "export it again",
            ));
        }
    };
    Ok(Affine { matrix, translation: shift + center - matrix * center })
}

/// ITK turns about y, then x, then z; with `ComputeZYX` about x, then y, then z.
fn euler(angles: Vector3<f64>, zyx: bool) -> Matrix3<f64> {
    let [x, y, z] = [Vector3::x_axis(), Vector3::y_axis(), Vector3::z_axis()]
        .map(|axis| *Rotation3::from_axis_angle(&axis, angles.dot(&axis)).matrix());
    if zyx { z * y * x } else { z * x * y }
}

/// A versor: the vector part of a unit quaternion whose scalar part is not negative.
fn versor(v: Vector3<f64>) -> Matrix3<f64> {
    let w = (1.0 - v.norm_squared()).max(0.0).sqrt();
    *UnitQuaternion::from_quaternion(Quaternion::from_parts(w, v)).to_rotation_matrix().matrix()
}

/// Writes a map of points, **fixed** → **moving**, LPS millimeters, as an ITK affine transform with
/// its center at 0.
///
/// # Errors
/// A place that cannot be written.
pub fn write_transform(path: &Path, affine: &Affine) -> Result<()> {
    // Row by row, while nalgebra keeps columns.
    let matrix = affine.matrix.transpose();
    let numbers = matrix.iter().chain(affine.translation.iter());
    let parameters = numbers.map(f64::to_string).collect::<Vec<_>>().join(" ");
    write_atomically(path, |out| {
        writeln!(out, "#Insight Transform File V1.0")?;
        writeln!(out, "#Transform 0")?;
        writeln!(out, "Transform: AffineTransform_double_3_3")?;
        writeln!(out, "Parameters: {parameters}")?;
        writeln!(out, "FixedParameters: 0 0 0")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EULER: &str = "Transform: Euler3DTransform_double_3_3\n\
        Parameters: 0.1 0.2 0.3 1 2 3\nFixedParameters: 4 5 6 0\n";
    const EULER_ZYX: &str = "Transform: Euler3DTransform_double_3_3\n\
        Parameters: 0.1 0.2 0.3 1 2 3\nFixedParameters: 4 5 6 1\n";
    const VERSOR: &str = "Transform: VersorRigid3DTransform_double_3_3\n\
        Parameters: 0.14048043101898117 0.14048043101898117 0 3 2 1\nFixedParameters: 1 0 2\n";
    const AFFINE: &str = "Transform: AffineTransform_float_3_3\n\
        Parameters: 1.2 0 0 0 1.2 0 0 0 1.2 0 0 0\nFixedParameters: 5 5 5\n";
    const TRANSLATION: &str =
        "Transform: TranslationTransform_double_3_3\nParameters: 1 1 1\nFixedParameters: \n";
    const SIMILARITY: &str = "Transform: Similarity3DTransform_double_3_3\n\
        Parameters: 0 0.24246536490574871 0.24246536490574871 1 -1 2 1.3\nFixedParameters: 2 2 2\n";

    fn read(blocks: &[&str]) -> Result<Affine> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.tfm");
        let text = format!("#Insight Transform File V1.0\n#Transform 0\n{}", blocks.concat());
        std::fs::write(&path, text).unwrap();
        read_transform(&path)
    }

    /// `sitk.ReadTransform(file).TransformPoint((10, 20, 30))`, SimpleITK 2.5.7, of these texts.
    #[test]
    fn points_go_where_itk_sends_them() {
        let composite = "Transform: CompositeTransform_double_3_3\n";
        let cases: [(&[&str], [f64; 3]); 7] = [
            (&[EULER], [11.420993104664632, 22.27562005934888, 32.7155282326215]),
            (&[EULER_ZYX], [11.731738387243567, 22.19718482890058, 32.67972279318205]),
            (&[VERSOR], [21.144254348800523, 13.85574565119948, 31.818671688294362]),
            (&[AFFINE], [11.0, 23.0, 35.0]),
            (&[TRANSLATION], [11.0, 21.0, 31.0]),
            (&[SIMILARITY], [16.876257785437794, 30.666045012794118, 34.13395498720589]),
            (
                &[composite, EULER, VERSOR, AFFINE, TRANSLATION, SIMILARITY],
                [35.442462891217986, 36.6358256152496, 42.09525617267417],
            ),
        ];
        for (blocks, expected) in cases {
            let found = read(blocks).unwrap().apply(Vector3::new(10.0, 20.0, 30.0));
            assert!((found - Vector3::from(expected)).norm() < 1e-12, "{blocks:?}: {found}");
        }
    }

    #[test]
    fn written_transforms_come_back_exactly() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.tfm");
        let affine = Affine {
            matrix: Matrix3::new(1.1, 0.2, 1e-17, -0.1, 0.9, 0.3, 0.0, 0.1, 1.0 / 3.0),
            translation: Vector3::new(1e9, -2.5, 0.1),
        };
        write_transform(&path, &affine).unwrap();
        assert_eq!(read_transform(&path).unwrap(), affine);
    }

    #[test]
    fn what_is_not_affine_is_refused() {
        let refused = |blocks: &[&str], expected: &str| {
            let error = read(blocks).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("t.tfm"), "{expected}: {error}");
        };
        refused(&["Transform: BSplineTransform_double_3_3\nParameters: 1\n"], "BSplineTransform");
        refused(&["Transform: AffineTransform_double_2_2\nParameters: 1\n"], "3-D");
        refused(&[EULER, VERSOR], "without a CompositeTransform");
        refused(&["Transform: CompositeTransform_double_3_3\n"], "at least one");
        refused(&[&TRANSLATION.replace("1 1 1", "1 1")], "expected 3, found 2");
        refused(&[&TRANSLATION.replace("1 1 1", "1 nan 1")], "finite numbers");
        refused(&[&AFFINE.replace("1.2", "0")], "singular");
        refused(&[&AFFINE.replace("5 5 5", "5 5")], "center");
        refused(&["Parameters: 1\n"], "line");
    }
}
