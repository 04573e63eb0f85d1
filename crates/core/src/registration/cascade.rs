//! The networks one after another on the package's grid (recursive cascades; LDR + ALDK).
//!
//! Everything here is in voxels of the grid. The whole transform is p ↦ A(p + d(p)): the affine
//! stage's A exactly, and d composed from the flows, d ← d(p + f(p)) + f(p).

use nalgebra::{Matrix3, Vector3};
use rayon::prelude::*;

use super::kernels::{self, BLOCK, Lanes, Row, Source, load, store};
use super::line::{Line, Rows, coordinates, nth};
use crate::Result;
use crate::image::{Affine, Field, Geometry, Volume};
use crate::package::HeadKind;
use crate::preprocess::on_voxel;
use crate::probe::{Probe, Stage, timed};
use crate::session::Session;
use intraop_engine::Simd;

/// The transform found on the grid.
pub(super) struct Cascade {
    simd: Simd,
    size: [usize; 3],
    /// A: grid index → grid index.
    pub affine: Affine,
    deformation: Option<Deformation>,
}

/// d on the grid, in voxels.
struct Deformation {
    /// Planes `[3, z, y, x]`, as the networks write them.
    data: Vec<f32>,
    /// Which planes hold x, y and z.
    order: [usize; 3],
}

/// Runs the graphs numbered `stages` on a pair on the grid: `input` is the networks' tensor of
/// the fixed and the `moving` image.
///
/// Of full size are, beside those two (3 planes) and the networks' own memory, only what the
/// networks write (3 planes) and d (3 planes): a flow is composed in the place where its
/// network wrote it, and the next flow is written where d was before.
pub(super) fn run(
    session: &Session,
    stages: &[usize],
    mut input: Vec<f32>,
    moving: &Volume,
    probe: &mut dyn Probe,
) -> Result<Cascade> {
    let mut cascade = Cascade::new(session.simd(), moving.geometry.size);
    let mut outputs = Vec::new();
    for (done, &stage) in stages.iter().enumerate() {
        if done > 0 {
            let warped = &mut input[moving.data.len()..];
            timed(probe, Stage::Warp, || {
                session.install(|| cascade.warp(moving, warped));
                Ok(())
            })?;
        }
        probe.network_input(stage, &input);
        timed(probe, Stage::Infer, || session.run(stage, &input, &mut outputs))?;
        let head = &session.package().manifest.graphs[stage].heads[0];
        timed(probe, Stage::Compose, || {
            session.install(|| match head.kind {
                HeadKind::Affine => cascade.affine = affine(&outputs[0], cascade.size),
                _ => cascade.compose(&mut outputs[0], order(&head.channel_def)),
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
    let center = Geometry::new(size, [1.0; 3]).center_index();
    let b = Vector3::new(value(9), value(10), value(11));
    Affine { matrix: Matrix3::identity() + w, translation: b - w * center }
}

/// Which planes of a tensor `[3, z, y, x]` hold x, y and z.
fn order(channels: &[String]) -> [usize; 3] {
    ["x", "y", "z"].map(|axis| channels.iter().position(|c| c == axis).unwrap_or(0))
}

impl Deformation {
    fn planes(&self) -> [&[f32]; 3] {
        let plane = self.data.len() / 3;
        self.order.map(|i| &self.data[i * plane..(i + 1) * plane])
    }
}

impl Cascade {
    fn new(simd: Simd, size: [usize; 3]) -> Self {
        Cascade { simd, size, affine: Affine::identity(), deformation: None }
    }

    /// d ← d(p + f(p)) + f(p), the planes of f in the given `order`. Takes the flow's vector and
    /// leaves that of d before, if any, for the next flow.
    fn compose(&mut self, flow: &mut Vec<f32>, order: [usize; 3]) {
        if let Some(before) = &self.deformation {
            let before = Source::new(self.size, before.planes());
            let plane = flow.len() / 3;
            let (a, rest) = flow.split_at_mut(plane);
            let (b, c) = rest.split_at_mut(plane);
            let [a, b, c] = [a, b, c].map(|plane| plane.par_chunks_mut(self.size[0]));
            a.zip(b).zip(c).enumerate().for_each(|(row, ((a, b), c))| {
                let mut row =
                    ComposedRow { flow: [a, b, c], order, yz: coordinates(self.size, row) };
                kernels::resample(self.simd, &before, self.size[0], &mut row);
            });
        }
        let composed = Deformation { data: std::mem::take(flow), order };
        if let Some(before) = self.deformation.replace(composed) {
            *flow = before.data;
        }
    }

    /// The moving image seen by the next stage, written to `out`; its border is replicated, as
    /// in training.
    fn warp(&self, moving: &Volume, out: &mut [f32]) {
        let source = Source::new(self.size, [moving.data.as_slice()]);
        let (affine, nx) = (Rows::from(&self.affine), self.size[0]);
        let planes = self.deformation.as_ref().map(Deformation::planes);
        out.par_chunks_mut(nx).enumerate().for_each(|(row, out)| {
            let d = planes.map(|planes| planes.map(|plane| &plane[row * nx..][..nx]));
            let mut row = WarpedRow { affine, d, yz: coordinates(self.size, row), out };
            kernels::resample(self.simd, &source, nx, &mut row);
        });
    }

    /// The field on the fixed image's grid. `to_moving` leads from deformed grid indices to
    /// the moving world. Beyond the package's grid d keeps its border value; the affine part
    /// is exact everywhere.
    pub fn field(&self, fixed: &Geometry, grid: &Geometry, to_moving: &Affine) -> Field {
        let Some(deformation) = &self.deformation else {
            return super::affine_field(&to_moving.after(&grid.world_to_index()), fixed);
        };
        let source = Source::new(self.size, deformation.planes());
        let world = fixed.index_to_world();
        let to_grid = grid.world_to_index().after(&world);
        let to_moving = Rows::from(to_moving);
        let mut field = Field::filled(fixed.clone(), [0.0; 3]);
        let nx = fixed.size[0];
        field.data.par_chunks_mut(nx).enumerate().for_each(|(row, out)| {
            let line = |map| Line::new(map, fixed.size, row);
            let mut row = FieldRow { world: line(&world), grid: line(&to_grid), to_moving, out };
            kernels::resample(self.simd, &source, nx, &mut row);
        });
        field
    }
}

/// One row of [`Cascade::compose`].
struct ComposedRow<'a> {
    /// Rows of the flow's planes, which become those of d.
    flow: [&'a mut [f32]; 3],
    order: [usize; 3],
    yz: [f64; 2],
}

impl Row<3> for ComposedRow<'_> {
    #[inline(always)]
    fn at(&mut self, x: usize, indices: &mut [Lanes<f64>; 3]) {
        let f = |axis: usize| load(&*self.flow[self.order[axis]], x);
        let (fx, fy, fz, [y, z]) = (f(0), f(1), f(2), self.yz);
        for i in 0..BLOCK {
            indices[0][i] = nth(x, i) + f64::from(fx[i]);
            indices[1][i] = y + f64::from(fy[i]);
            indices[2][i] = z + f64::from(fz[i]);
        }
    }

    #[inline(always)]
    fn put(&mut self, x: usize, values: &[Lanes<f32>; 3]) {
        for (axis, d) in values.iter().enumerate() {
            let plane = &mut *self.flow[self.order[axis]];
            let mut sum = load(plane, x);
            for i in 0..BLOCK {
                sum[i] += d[i];
            }
            store(plane, x, &sum);
        }
    }
}

/// One row of [`Cascade::warp`].
struct WarpedRow<'a> {
    affine: Rows,
    /// Rows of d's planes, once there is one.
    d: Option<[&'a [f32]; 3]>,
    yz: [f64; 2],
    out: &'a mut [f32],
}

impl Row<1> for WarpedRow<'_> {
    #[inline(always)]
    fn at(&mut self, x: usize, indices: &mut [Lanes<f64>; 3]) {
        let [y, z] = self.yz;
        let [dx, dy, dz] = match self.d {
            Some([dx, dy, dz]) => [load(dx, x), load(dy, x), load(dz, x)],
            None => [[0.0; BLOCK]; 3],
        };
        for i in 0..BLOCK {
            let [dx, dy, dz] = [f64::from(dx[i]), f64::from(dy[i]), f64::from(dz[i])];
            let p = self.affine.apply([nth(x, i) + dx, y + dy, z + dz]);
            [indices[0][i], indices[1][i], indices[2][i]] = p;
        }
    }

    #[inline(always)]
    fn put(&mut self, x: usize, [values]: &[Lanes<f32>; 1]) {
        store(self.out, x, values);
    }
}

/// One row of [`Cascade::field`].
struct FieldRow<'a> {
    world: Line,
    grid: Line,
    to_moving: Rows,
    out: &'a mut [[f32; 3]],
}

impl Row<3> for FieldRow<'_> {
    #[inline(always)]
    fn at(&mut self, x: usize, indices: &mut [Lanes<f64>; 3]) {
        let [ix, iy, iz] = indices;
        for i in 0..BLOCK {
            let [x, y, z] = self.grid.at(nth(x, i));
            [ix[i], iy[i], iz[i]] = [on_voxel(x), on_voxel(y), on_voxel(z)];
        }
    }

    #[inline(always)]
    fn put(&mut self, x: usize, [dx, dy, dz]: &[Lanes<f32>; 3]) {
        let mut u = [[0.0; BLOCK]; 3];
        for i in 0..BLOCK {
            let [gx, gy, gz] = self.grid.at(nth(x, i));
            let [dx, dy, dz] = [f64::from(dx[i]), f64::from(dy[i]), f64::from(dz[i])];
            let target = self.to_moving.apply([gx + dx, gy + dy, gz + dz]);
            let start = self.world.at(nth(x, i));
            for axis in 0..3 {
                u[axis][i] = (target[axis] - start[axis]) as f32;
            }
        }
        for (i, out) in self.out[x..].iter_mut().take(BLOCK).enumerate() {
            *out = [u[0][i], u[1][i], u[2][i]];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: [usize; 3] = [9, 5, 4];

    /// Planes z, y, x of d(p) = (a·x, b, 0), linear, so that trilinear interpolation is exact
    /// inside.
    fn linear(a: f32, b: f32) -> Vec<f32> {
        let n: usize = SIZE.iter().product();
        let x = (0..n).map(|i| a * (i % 9) as f32);
        vec![0.0; n].into_iter().chain(vec![b; n]).chain(x).collect()
    }

    #[test]
    fn composition_is_first_flow_then_the_ones_before() {
        for simd in Simd::all() {
            let mut cascade = Cascade::new(simd, SIZE);
            let mut flow = linear(0.1, 0.5);
            cascade.compose(&mut flow, [2, 1, 0]);
            flow = linear(-0.2, 0.25);
            cascade.compose(&mut flow, [2, 1, 0]);
            assert_eq!(flow, linear(0.1, 0.5), "its memory is the next flow's");
            // x ↦ x' = 0.8 x, then x' + 0.1 x'; y ↦ y + 0.25 + 0.5
            let [dx, dy, dz] = cascade.deformation.as_ref().unwrap().planes();
            for (i, ((dx, dy), dz)) in dx.iter().zip(dy).zip(dz).enumerate() {
                assert!((dx - (i % 9) as f32 * (0.8 * 1.1 - 1.0)).abs() < 1e-5, "{dx}");
                assert_eq!((*dy, *dz), (0.75, 0.0));
            }
        }
    }

    #[test]
    fn the_warp_looks_at_the_affine_of_the_deformed_voxel() {
        let geometry = Geometry::new(SIZE, [1.0; 3]);
        let value = |x: f64, y: f64, z: f64| x + 10.0 * y + 100.0 * z;
        let moving = Volume::from_fn(&geometry, |p| value(p.x, p.y, p.z) as f32);
        let mut cascade = Cascade::new(Simd::detect(), SIZE);
        cascade.compose(&mut linear(-0.2, 0.25), [2, 1, 0]);
        cascade.affine.matrix[(0, 1)] = 0.5;
        cascade.affine.translation.z = -0.5;
        let mut out = vec![0.0; geometry.voxels()];
        cascade.warp(&moving, &mut out);
        let expected = Volume::from_fn(&geometry, |p| {
            let y = p.y + 0.25;
            let x = 0.8 * p.x + 0.5 * y;
            value(x.min(8.0), y.min(4.0), (p.z - 0.5).max(0.0)) as f32
        });
        for (found, expected) in out.iter().zip(&expected.data) {
            assert!((found - expected).abs() < 1e-4, "{found} {expected}");
        }
    }

    /// Everything a cascade computes, on so many threads.
    fn all(simd: Simd, threads: usize) -> (Vec<f32>, Vec<f32>, Field) {
        let size = [37, 11, 9];
        let geometry = Geometry::new(size, [1.0, 1.2, 0.9]);
        let n = geometry.voxels();
        let flow = |scale: f32| (0..3 * n).map(|i| scale * (i as f32 * 0.37).sin()).collect();
        let moving = Volume::new(geometry.clone(), (0..n).map(|i| (i % 97) as f32).collect());
        let mut fixed = geometry.clone();
        fixed.size = [29, 14, 8];
        fixed.origin.x = -1.7;
        let mut cascade = Cascade::new(simd, size);
        cascade.affine.matrix[(0, 2)] = 0.1;
        let mut warped = vec![0.0; n];
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            for scale in [3.0, 1.5, -0.7] {
                cascade.compose(&mut flow(scale), [1, 0, 2]);
            }
            cascade.warp(&moving, &mut warped);
            let field = cascade.field(&fixed, &geometry, &geometry.index_to_world());
            (cascade.deformation.unwrap().data, warped, field)
        })
    }

    #[test]
    fn the_bits_depend_neither_on_threads_nor_on_the_level() {
        let expected = all(Simd::SCALAR, 1);
        for simd in Simd::all() {
            for threads in [1, 2, 3, 7] {
                assert!(all(simd, threads) == expected, "{simd}, {threads} threads");
            }
        }
    }

    #[test]
    fn affine_output_turns_about_the_center() {
        let mut output = [0.0; 12];
        output[1] = 0.5; // x gains half of y − c_y
        output[11] = 2.0;
        let a = affine(&output, SIZE);
        let center = Vector3::new(4.0, 2.0, 1.5);
        assert_eq!(a.apply(center), center + Vector3::new(0.0, 0.0, 2.0));
        assert_eq!(a.apply(Vector3::new(4.0, 4.0, 1.5)), Vector3::new(5.0, 4.0, 3.5));
    }

    #[test]
    fn planes_follow_the_manifest_order() {
        assert_eq!(order(&["z", "y", "x"].map(String::from)), [2, 1, 0]);
        let deformation = Deformation { data: vec![0.0, 1.0, 2.0], order: [2, 1, 0] };
        assert_eq!(deformation.planes(), [[2.0], [1.0], [0.0]]);
    }
}
