//! The networks one after another on the package's grid (recursive cascades; LDR + ALDK).
//!
//! Everything here is in voxels of the grid. The whole transform is p ↦ A(p + d(p)): the affine
//! stage's A exactly, and d composed from the flows, d ← d(p + f(p)) + f(p).

use nalgebra::{Matrix3, Vector3};

use crate::Result;
use crate::engine::Session;
use crate::image::{Affine, Field, Geometry, Volume};
use crate::package::HeadKind;
use crate::probe::{Probe, Stage, timed};

/// The transform found on the grid.
pub(super) struct Cascade {
    /// A: grid index → grid index.
    pub affine: Affine,
    /// d on the grid, axes x, y, z, in voxels; its geometry counts voxels too.
    deformation: Option<Volume<[f32; 3]>>,
}

/// Runs the graphs numbered `stages` on the pair (fixed, moving), both on the grid.
pub(super) fn run(
    session: &Session,
    stages: &[usize],
    [fixed, moving]: &[Volume; 2],
    probe: &mut dyn Probe,
) -> Result<Cascade> {
    let size = fixed.geometry.size;
    let mut cascade = Cascade { affine: Affine::identity(), deformation: None };
    let mut input = [fixed.data.as_slice(), moving.data.as_slice()].concat();
    let mut outputs = Vec::new();
    for (done, &stage) in stages.iter().enumerate() {
        if done > 0 {
            timed(probe, Stage::Warp, || {
                let warped = session.install(|| cascade.warp(moving));
                input[fixed.data.len()..].copy_from_slice(&warped.data);
                Ok(())
            })?;
        }
        probe.network_input(stage, &input);
        timed(probe, Stage::Infer, || session.run(stage, &input, &mut outputs))?;
        let head = &session.package().manifest.graphs[stage].heads[0];
        timed(probe, Stage::Compose, || {
            session.install(|| match head.kind {
                HeadKind::Affine => cascade.affine = affine(&outputs[0], size),
                _ => cascade.compose(flow(&outputs[0], &head.channel_def, size)),
            });
            Ok(())
        })?;
        // The preprocessing came before, the field on the fixed grid comes after.
        probe.progress((done + 2) as f32 / (stages.len() + 2) as f32);
    }
    Ok(cascade)
}

/// W (rows) and b → p ↦ p + W (p − c) + b.
fn affine(output: &[f32], size: [usize; 3]) -> Affine {
    let value = |i: usize| f64::from(output[i]);
    let w = Matrix3::from_fn(|row, column| value(3 * row + column));
    let centre = Geometry::new(size, [1.0; 3]).centre_index();
    let b = Vector3::new(value(9), value(10), value(11));
    Affine { matrix: Matrix3::identity() + w, translation: b - w * centre }
}

/// Planes of a tensor `[3, z, y, x]` → vectors (x, y, z), whatever the planes' order.
fn flow(output: &[f32], channels: &[String], size: [usize; 3]) -> Volume<[f32; 3]> {
    let geometry = Geometry::new(size, [1.0; 3]);
    let n = geometry.voxels();
    let plane = |axis: &str| {
        let channel = channels.iter().position(|c| c == axis).unwrap_or(0);
        &output[channel * n..(channel + 1) * n]
    };
    let (x, y, z) = (plane("x"), plane("y"), plane("z"));
    let data = (x.iter().zip(y).zip(z)).map(|((x, y), z)| [*x, *y, *z]).collect();
    Volume::new(geometry, data)
}

fn vector(v: [f32; 3]) -> Vector3<f64> {
    Vector3::from(v.map(f64::from))
}

impl Cascade {
    /// d ← d(p + f(p)) + f(p).
    fn compose(&mut self, flow: Volume<[f32; 3]>) {
        let Some(before) = &self.deformation else {
            self.deformation = Some(flow);
            return;
        };
        let composed = Volume::from_fn(&flow.geometry, |p| {
            let f = flow.sample_clamped(p);
            let d = before.sample_clamped(p + vector(f));
            [f[0] + d[0], f[1] + d[1], f[2] + d[2]]
        });
        self.deformation = Some(composed);
    }

    /// A(p + d(p)), the continuous grid index in the moving image of a grid index p.
    #[inline]
    fn deformed(&self, p: Vector3<f64>) -> Vector3<f64> {
        let d = self.deformation.as_ref().map(|d| d.sample_clamped(p));
        p + vector(d.unwrap_or_default())
    }

    /// The moving image seen by the next stage; its border is replicated, as in training.
    fn warp(&self, moving: &Volume) -> Volume {
        Volume::from_fn(&moving.geometry, |p| {
            moving.sample_clamped(self.affine.apply(self.deformed(p)))
        })
    }

    /// The field on the fixed image's grid. `to_moving` leads from deformed grid indices to
    /// the moving world. Beyond the package's grid d keeps its border value; the affine part
    /// is exact everywhere.
    pub fn field(&self, fixed: &Geometry, grid: &Geometry, to_moving: &Affine) -> Field {
        let world = fixed.index_to_world();
        let to_grid = grid.world_to_index().after(&world);
        Volume::from_fn(fixed, |p| {
            let u = to_moving.apply(self.deformed(to_grid.apply(p))) - world.apply(p);
            [u.x as f32, u.y as f32, u.z as f32]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// d(p) = (a·x, b, 0), linear, so that trilinear interpolation is exact inside.
    fn linear(a: f64, b: f64) -> Volume<[f32; 3]> {
        let geometry = Geometry::new([9, 5, 4], [1.0; 3]);
        let x = |i: usize| (i % 9) as f64;
        let data = (0..geometry.voxels()).map(|i| [(a * x(i)) as f32, b as f32, 0.0]).collect();
        Volume::new(geometry, data)
    }

    #[test]
    fn composition_is_first_flow_then_the_ones_before() {
        let mut cascade = Cascade { affine: Affine::identity(), deformation: None };
        cascade.compose(linear(0.1, 0.5));
        cascade.compose(linear(-0.2, 0.25));
        // x ↦ x' = 0.8 x, then x' + 0.1 x'; y ↦ y + 0.25 + 0.5
        for x in 0..9 {
            let p = cascade.deformed(Vector3::new(f64::from(x), 2.0, 1.0));
            assert!((p.x - f64::from(x) * 0.8 * 1.1).abs() < 1e-5, "{p}");
            assert!((p.y - 2.75).abs() < 1e-6);
        }
    }

    #[test]
    fn affine_output_turns_about_the_centre() {
        let mut output = [0.0; 12];
        output[1] = 0.5; // x gains half of y − c_y
        output[11] = 2.0;
        let a = affine(&output, [9, 5, 4]);
        let centre = Vector3::new(4.0, 2.0, 1.5);
        assert_eq!(a.apply(centre), centre + Vector3::new(0.0, 0.0, 2.0));
        assert_eq!(a.apply(Vector3::new(4.0, 4.0, 1.5)), Vector3::new(5.0, 4.0, 3.5));
    }

    #[test]
    fn planes_follow_the_manifest_order() {
        let output: Vec<f32> = (0..6).map(|v| v as f32).collect();
        let names = ["z", "y", "x"].map(String::from);
        let v = flow(&output, &names, [2, 1, 1]);
        assert_eq!(v.data, vec![[4.0, 2.0, 0.0], [5.0, 3.0, 1.0]]);
    }
}
