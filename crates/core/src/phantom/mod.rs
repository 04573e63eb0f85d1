//! Seeded pairs of volumes with labels, deformed beyond affine, whose exact field is known, and
//! frames with a known ellipse: for the demo, for tests, for packages' golden cases, and as endless
//! training data.
//!
//! **What a seed gives must never change** (but for the last bits of the platform's `ln` and the
//! like): packages keep hashes of networks' answers to it. A different phantom is a new function,
//! not an edit of these.

mod anatomy;
mod frame;
mod functions;
mod motion;

use intraop_engine::Random;
use nalgebra::Vector3;
use rayon::prelude::*;

use crate::image::{Field, Geometry, LabelMap, Volume};
use anatomy::Anatomy;
pub use frame::frame;
use motion::Motion;

/// The first seed that models are trained and calibrated with: lower ones are for the demo, for
/// tests and for golden cases.
pub const FIRST_TRAINING_SEED: u64 = 1000;

/// How many corresponding points a pair has, and how many places are tried to find them.
const POINTS: usize = 24;
const TRIES: usize = 10_000;

/// Two images of one anatomy, and how they correspond: exactly.
#[derive(Debug, Clone)]
pub struct Pair {
    /// Intensities about 0 to 1, not negative.
    pub fixed: Volume,
    pub moving: Volume,
    /// 1 organ, 2 left lobe, 3 right lobe, 4 vessel, 5 cyst; 0 the surrounding tissue.
    pub fixed_labels: LabelMap,
    pub moving_labels: LabelMap,
    /// On the fixed grid (which is the moving image's too), LPS mm, fixed → moving.
    pub field: Field,
    /// 24 places (x, y, z) inside the organ, LPS mm, not on voxel centers (fewer only where
    /// `affine` moved the organ out of sight) …
    pub fixed_points: Vec<[f64; 3]>,
    /// … and where each of them lies in the moving image.
    pub moving_points: Vec<[f64; 3]>,
}

/// What kind of pair is wanted.
#[derive(Debug, Clone)]
pub struct Options {
    /// Of both images; must be without [defect](Geometry::defect). The anatomy fills it,
    /// whatever its size.
    pub geometry: Geometry,
    /// The largest displacement of the smooth part in mm; a seventh of the image's side is hard
    /// to register, and it does not grow with the image by itself. Together with the affine part it is
    /// reduced where space would fold, to a Jacobian determinant above 0.3 everywhere.
    pub deformation_mm: f64,
    /// Strength of the affine part: 0 none, 1 up to 8° and 6 % for each axis, and a shift by up to
    /// 8 % of the image's half side.
    pub affine: f64,
    /// Standard deviation of the noise, independent in both images, as a share of white.
    pub noise: f64,
}

impl Default for Options {
    /// 64³ voxels of 1 mm, hard enough that labels overlap by about half before registration.
    fn default() -> Self {
        Options {
            geometry: Geometry::new([64; 3], [1.0; 3]),
            deformation_mm: 9.0,
            affine: 1.0,
            noise: 0.03,
        }
    }
}

/// The pair of this seed: the same at any thread count and, to 1e-5, on any platform.
///
/// The moving image is the anatomy itself; the fixed image shows at p what the moving image shows
/// at p + field(p). Anatomy, motion, noise and points have random streams of their own, so that
/// an option changes only what it names.
///
/// # Panics
/// If the geometry has a [defect](Geometry::defect).
pub fn pair(seed: u64, options: &Options) -> Pair {
    let geometry = &options.geometry;
    if let Some(defect) = geometry.defect() {
        panic!("phantom: {defect}");
    }
    let mut seeds = Random::new(seed);
    let mut stream = || Random::new(seeds.next_u64());
    let anatomy = Anatomy::draw(&mut stream());
    let [nx, ny, nz] = geometry.size;
    let spacing = Vector3::from(geometry.spacing);
    let half_side = Vector3::new(nx as f64, ny as f64, nz as f64).component_mul(&spacing) / 2.0;
    let motion = Motion::draw(&mut stream(), half_side, options.deformation_mm, options.affine);

    let center = geometry.center_index();
    let place = |i: usize| {
        let index = Vector3::new(i % nx, i / nx % ny, i / (nx * ny)).cast::<f64>();
        (index - center).component_mul(&spacing)
    };
    let show = |p: Vector3<f64>| anatomy.sample(&p.component_div(&half_side));
    // Intensity and label of voxel i of an image that shows the anatomy's place p there.
    let voxel = |i: usize, p: Vector3<f64>, noise: &Random| {
        let (value, label) = show(p);
        // A normal number takes two values of the stream.
        let noise = options.noise * noise.after(2 * i as u64).normal();
        ((value + noise).max(0.0) as f32, label)
    };
    let to_world = |local: Vector3<f64>| geometry.direction * local;
    let mut field = vec![[0.0; 3]; geometry.voxels()];
    let (mut fixed_image, mut fixed_labels, noise) = (vec![], vec![], stream());
    let fixed = field.par_iter_mut().enumerate().map(|(i, u)| {
        let displacement = motion.at(&place(i));
        *u = to_world(displacement).cast::<f32>().into();
        voxel(i, place(i) + displacement, &noise)
    });
    fixed.unzip_into_vecs(&mut fixed_image, &mut fixed_labels);
    let (mut moving_image, mut moving_labels, noise) = (vec![], vec![], stream());
    let moving = (0..geometry.voxels()).into_par_iter().map(|i| voxel(i, place(i), &noise));
    moving.unzip_into_vecs(&mut moving_image, &mut moving_labels);
    let point = |local| -> [f64; 3] { (geometry.center() + to_world(local)).into() };
    let (fixed_points, moving_points) = points(&mut stream(), half_side, &motion, show)
        .into_iter()
        .map(|(fixed, moving)| (point(fixed), point(moving)))
        .unzip();
    Pair {
        fixed: Volume::new(geometry.clone(), fixed_image),
        moving: Volume::new(geometry.clone(), moving_image),
        fixed_labels: Volume::new(geometry.clone(), fixed_labels),
        moving_labels: Volume::new(geometry.clone(), moving_labels),
        field: Volume::new(geometry.clone(), field),
        fixed_points,
        moving_points,
    }
}

/// Corresponding places, in mm from the center along the image's axes.
fn points(
    random: &mut Random,
    half_side: Vector3<f64>,
    motion: &Motion,
    show: impl Fn(Vector3<f64>) -> (f64, i32),
) -> Vec<(Vector3<f64>, Vector3<f64>)> {
    let candidates = std::iter::repeat_with(|| {
        let fixed = half_side.map(|h| h * random.range(-0.9, 0.9));
        (fixed, fixed + motion.at(&fixed))
    });
    candidates.take(TRIES).filter(|(_, moving)| show(*moving).1 != 0).take(POINTS).collect()
}

#[cfg(test)]
mod tests;
