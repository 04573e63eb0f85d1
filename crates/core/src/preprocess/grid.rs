use nalgebra::{Matrix3, Vector3};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::gaussian;
use super::lattice::{Lattice, on_voxel};
use crate::image::{Affine, Geometry, Volume};

/// How a package wants volumes laid on its grid. The grid's size is that of its graphs' inputs.
///
/// The grid is laid on the **fixed** image, along the fixed image's own axes in the order and
/// sense nearest to `orientation`, so that it does not matter how the voxels were stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GridSpec {
    /// Millimeters per voxel along the grid's x, y, z; used by `fit = "resample"`.
    pub spacing_mm: [f64; 3],
    pub fit: Fit,
    /// Where the grid's x, y and z indices grow to, one letter each of L/R, P/A, I/S.
    pub orientation: Orientation,
    /// Alignment before the network, when the caller asks for no other.
    pub initial: Initial,
}

/// What gives when image and grid differ in size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// The grid has the package's spacing; centered on the image, which is padded or cropped.
    Resample,
    /// The grid has the image's spacing, coarser on axes where the image would not fit.
    Pad,
    /// The grid covers just the image, whatever spacing that gives.
    Stretch,
}

/// The alignment before the network: what the moving image is moved by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Initial {
    /// Nothing: the headers' world coordinates are right.
    Header,
    /// The middle of the moving image comes to the middle of the fixed image.
    #[serde(alias = "centres")]
    Centers,
    /// The center of mass of the moving intensities comes to that of the fixed ones.
    Mass,
}

/// Three letters as in nibabel's `axcodes`: `RAS` is x towards the patient's right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Orientation([char; 3]);

impl TryFrom<String> for Orientation {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("orientation {text:?}: expected three letters such as RAS or LPS");
        let letters: Vec<char> = text.chars().collect();
        let letters: [char; 3] = letters.try_into().map_err(|_| wrong())?;
        let mut seen = [false; 3];
        for letter in letters {
            let axis = "LRPASI".find(letter).ok_or_else(wrong)? / 2;
            if std::mem::replace(&mut seen[axis], true) {
                return Err(wrong());
            }
        }
        Ok(Orientation(letters))
    }
}

impl From<Orientation> for String {
    fn from(orientation: Orientation) -> String {
        orientation.0.iter().collect()
    }
}

impl Orientation {
    /// Unit vector (LPS) along which index `axis` grows.
    fn towards(self, axis: usize) -> Vector3<f64> {
        match self.0[axis] {
            'L' => Vector3::x(),
            'R' => -Vector3::x(),
            'P' => Vector3::y(),
            'A' => -Vector3::y(),
            'S' => Vector3::z(),
            _ => -Vector3::z(),
        }
    }

    /// The orientation a geometry's voxels are stored in.
    pub fn of(geometry: &Geometry) -> Self {
        let lps = Orientation(['L', 'P', 'S']);
        // Which stored axis runs along each patient axis, and in which sense.
        let axes = lps.axes_of(geometry);
        let mut letters = ['L'; 3];
        for (patient, (stored, sign)) in axes.into_iter().enumerate() {
            let pair = [['L', 'R'], ['P', 'A'], ['S', 'I']][patient];
            letters[stored] = pair[usize::from(sign < 0.0)];
        }
        Orientation(letters)
    }

    /// For each axis of this orientation the image axis nearest to it, and its sense.
    fn axes_of(self, geometry: &Geometry) -> [(usize, f64); 3] {
        const PERMUTATIONS: [[usize; 3]; 6] =
            [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let dot =
            |own: usize, image: usize| geometry.direction.column(image).dot(&self.towards(own));
        let closeness = |p: &[usize; 3]| -> f64 { (0..3).map(|a| dot(a, p[a]).abs()).sum() };
        let best = PERMUTATIONS
            .iter()
            .max_by(|a, b| closeness(a).total_cmp(&closeness(b)))
            .expect("six permutations");
        [0, 1, 2].map(|own| (best[own], dot(own, best[own]).signum()))
    }
}

impl GridSpec {
    /// The package's grid of `size` (x, y, z), laid on the image `fixed`.
    pub fn lay_on(&self, size: [usize; 3], fixed: &Geometry) -> Geometry {
        let axes = self.orientation.axes_of(fixed);
        let mut direction = Matrix3::zeros();
        let mut spacing = [0.0; 3];
        for (own, (image, sign)) in axes.into_iter().enumerate() {
            direction.set_column(own, &(fixed.direction.column(image) * sign));
            let extent = fixed.size[image] as f64 * fixed.spacing[image] / size[own] as f64;
            spacing[own] = match self.fit {
                Fit::Resample => self.spacing_mm[own],
                Fit::Pad => fixed.spacing[image].max(extent),
                Fit::Stretch => extent,
            };
        }
        let mut grid = Geometry { size, spacing, origin: Vector3::zeros(), direction };
        let middle = match self.fit {
            Fit::Stretch => grid.center_index(),
            Fit::Resample | Fit::Pad => Vector3::from(size.map(|n| (n / 2) as f64)),
        };
        grid.origin = self.middle(fixed) - grid.index_to_world().matrix * middle;
        grid
    }

    /// The point of an image that is laid on the grid's middle, in world millimeters.
    ///
    /// That is the exact center when the image is stretched. Otherwise it is the center of the
    /// voxel n/2 counted along the grid's axes: then equal spacings put voxel on voxel, and no
    /// image is blurred by half a voxel only because its size is odd.
    fn middle(&self, image: &Geometry) -> Vector3<f64> {
        if self.fit == Fit::Stretch {
            return image.center();
        }
        let mut index = Vector3::zeros();
        for (axis, sign) in self.orientation.axes_of(image) {
            let n = image.size[axis];
            index[axis] = if sign > 0.0 { n / 2 } else { n - 1 - n / 2 } as f64;
        }
        image.index_to_world().apply(index)
    }

    /// The alignment before the network: fixed → moving world points.
    pub fn align(&self, initial: Initial, fixed: &Volume, moving: &Volume) -> Affine {
        let shift = match initial {
            Initial::Header => Vector3::zeros(),
            Initial::Centers => self.middle(&moving.geometry) - self.middle(&fixed.geometry),
            Initial::Mass => center_of_mass(moving) - center_of_mass(fixed),
        };
        Affine::translation(shift)
    }
}

/// Center of mass of the intensities above the darkest one, in world millimeters.
pub fn center_of_mass(volume: &Volume) -> Vector3<f64> {
    let [nx, ny, _] = volume.geometry.size;
    let darkest = f64::from(volume.range().0);
    let mut mass = 0.0;
    let mut sum = Vector3::zeros();
    for (row, samples) in volume.data.chunks(nx).enumerate() {
        let (y, z) = ((row % ny) as f64, (row / ny) as f64);
        for (x, v) in samples.iter().enumerate() {
            let weight = f64::from(*v) - darkest;
            mass += weight;
            sum += weight * Vector3::new(x as f64, y, z);
        }
    }
    let index = if mass > 0.0 { sum / mass } else { volume.geometry.center_index() };
    volume.geometry.index_to_world().apply(index)
}

/// The volume sampled on a grid through `to_volume` (grid world → volume world): trilinear, 0
/// outside the volume. Where the grid is coarser, the volume is first smoothed to the grid's
/// resolution, so that fine detail does not alias (Cardoso et al. 2015: σ² = (r² − 1) / 2.355²
/// voxels² for spacings of ratio r).
pub fn sample_on(grid: &Geometry, volume: &Volume, to_volume: &Affine) -> Volume {
    let mut out = Volume::filled(grid.clone(), 0.0);
    sample_into(&mut out.data, grid, volume, to_volume);
    out
}

/// As [`sample_on`], writing the grid's voxels to `out`.
///
/// # Panics
/// If `out` has not one place per voxel of the grid.
pub fn sample_into(out: &mut [f32], grid: &Geometry, volume: &Volume, to_volume: &Affine) {
    assert_eq!(out.len(), grid.voxels(), "one sample per voxel");
    let index = volume.geometry.world_to_index().after(to_volume).after(&grid.index_to_world());
    let sigma = smoothing(&index.matrix);
    let smoothed = (sigma != [0.0; 3]).then(|| {
        let mut copy = volume.clone();
        gaussian(&mut copy, sigma);
        copy
    });
    let source = smoothed.as_ref().unwrap_or(volume);
    let [nx, ny, _] = grid.size;
    let rows = out.par_chunks_mut(nx).enumerate();
    if let Some(lattice) = Lattice::of(&index, grid.size) {
        rows.for_each(|(row, out)| lattice.copy_row(source, [row % ny, row / ny], out));
        return;
    }
    rows.for_each(|(row, out)| {
        let (y, z) = ((row % ny) as f64, (row / ny) as f64);
        for (x, out) in out.iter_mut().enumerate() {
            let at = index.apply(Vector3::new(x as f64, y, z)).map(on_voxel);
            *out = source.sample(at).unwrap_or(0.0);
        }
    });
}

/// Per axis of the volume, the σ (voxels) that brings it to the resolution of a grid whose
/// index steps are the columns of `steps`, in voxels of the volume.
fn smoothing(steps: &Matrix3<f64>) -> [f64; 3] {
    const FWHM_PER_SIGMA: f64 = 2.354_820_045_030_949;
    [0, 1, 2].map(|axis| {
        let ratio = steps.row(axis).amax();
        // Up to a quarter coarser there is nothing to gain from blurring.
        if ratio > 1.25 { (ratio * ratio - 1.0).sqrt() / FWHM_PER_SIGMA } else { 0.0 }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(fit: Fit, initial: Initial) -> GridSpec {
        let orientation = Orientation::try_from("RAS".to_string()).unwrap();
        GridSpec { spacing_mm: [1.0; 3], fit, orientation, initial }
    }

    /// A volume with RAS storage and distinct values.
    fn ras(size: [usize; 3]) -> Volume {
        let mut geometry = Geometry::new(size, [1.0; 3]);
        geometry.direction = Matrix3::from_diagonal(&Vector3::new(-1.0, -1.0, 1.0));
        let data = (0..geometry.voxels()).map(|i| (i % 251) as f32 + 1.0).collect();
        Volume::new(geometry, data)
    }

    /// The same image stored along other axes: x ← −z, y ← x, z ← −y.
    fn stored_otherwise(v: &Volume) -> Volume {
        let [nx, ny, nz] = v.geometry.size;
        let d = v.geometry.direction;
        let mut geometry = Geometry::new([nz, nx, ny], [1.0; 3]);
        geometry.direction =
            Matrix3::from_columns(&[-d.column(2), d.column(0).into(), -d.column(1)]);
        geometry.origin =
            v.geometry.index_to_world().apply(Vector3::new(0.0, (ny - 1) as f64, (nz - 1) as f64));
        let mut data = Vec::new();
        for c in 0..ny {
            for b in 0..nx {
                data.extend((0..nz).map(|a| v.at(b, ny - 1 - c, nz - 1 - a)));
            }
        }
        Volume::new(geometry, data)
    }

    #[test]
    fn equal_spacing_copies_voxels_whatever_the_storage() {
        for size in [[5, 6, 7], [8, 3, 4]] {
            let v = ras(size);
            for fit in [Fit::Resample, Fit::Pad] {
                let spec = spec(fit, Initial::Header);
                let grid = spec.lay_on([8, 8, 8], &v.geometry);
                let a = sample_on(&grid, &v, &Affine::identity());
                // Voxel n/2 of the image is at voxel 8/2 of the grid.
                let [nx, ny, nz] = size.map(|n| n / 2);
                assert_eq!(a.at(4, 4, 4), v.at(nx, ny, nz));
                assert_eq!(a.data.iter().sum::<f32>(), v.data.iter().sum::<f32>());
                let other = stored_otherwise(&v);
                assert_eq!(String::from(Orientation::of(&other.geometry)), "IRP");
                let grid_b = spec.lay_on([8, 8, 8], &other.geometry);
                assert_eq!(sample_on(&grid_b, &other, &Affine::identity()).data, a.data);
            }
        }
    }

    #[test]
    fn centers_lay_the_moving_image_as_if_it_were_fixed() {
        let (fixed, mut moving) = (ras([5, 6, 7]), ras([7, 4, 6]));
        moving.geometry.origin = Vector3::new(30.0, -20.0, 10.0);
        let spec = spec(Fit::Resample, Initial::Centers);
        let initial = spec.align(Initial::Centers, &fixed, &moving);
        let on_fixed = sample_on(&spec.lay_on([8; 3], &fixed.geometry), &moving, &initial);
        let own = spec.lay_on([8; 3], &moving.geometry);
        assert_eq!(on_fixed.data, sample_on(&own, &moving, &Affine::identity()).data);
    }

    #[test]
    fn stretch_covers_the_image_and_pad_coarsens_only_where_it_must() {
        let mut geometry = ras([10, 20, 40]).geometry;
        geometry.spacing = [2.0, 1.0, 0.5];
        let grid = spec(Fit::Stretch, Initial::Header).lay_on([8; 3], &geometry);
        assert_eq!(grid.spacing, [2.5, 2.5, 2.5]);
        assert!((grid.center() - geometry.center()).norm() < 1e-9);
        let grid = spec(Fit::Pad, Initial::Header).lay_on([16; 3], &geometry);
        assert_eq!(grid.spacing, [2.0, 1.25, 1.25]);
    }

    #[test]
    fn coarse_grids_average_instead_of_skipping() {
        // A checkerboard of 0 and 1 has no detail left at four times its spacing: 0.5.
        let g = Geometry::new([32, 32, 32], [1.0; 3]);
        let board = |i: usize| ((i + i / 32 + i / 1024) % 2) as f32;
        let v = Volume::new(g, (0..32 * 32 * 32).map(board).collect());
        let mut coarse = Geometry::new([6, 6, 6], [4.0; 3]);
        coarse.origin = Vector3::repeat(4.0);
        let sampled = sample_on(&coarse, &v, &Affine::identity());
        assert!(sampled.data.iter().all(|v| (v - 0.5).abs() < 0.01), "{:?}", sampled.range());
    }

    #[test]
    fn mass_and_orientation_texts() {
        let mut v = Volume::filled(Geometry::new([9, 9, 9], [2.0; 3]), 5.0f32);
        let at = v.offset(2, 3, 4);
        v.data[at] = 9.0;
        assert!((center_of_mass(&v) - Vector3::new(4.0, 6.0, 8.0)).norm() < 1e-9);
        for wrong in ["RA", "RRS", "XYZ", "RASS"] {
            assert!(Orientation::try_from(wrong.to_string()).is_err(), "{wrong}");
        }
    }
}
