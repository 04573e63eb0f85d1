//! Training volumes, brought to the package's grid by the runtime's own code and kept in memory.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use intraop_core::image::{Affine, Geometry, LabelMap, Volume};
use intraop_core::phantom;
use intraop_core::preprocess::{self, Initial};
use intraop_core::registration::warp_labels_affine;
use nalgebra::Vector3;
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use super::options::Settings;
use crate::files::files;
use crate::random::Random;
use crate::recipe::run;
use crate::warp::Grid;

/// One image on the grid with its labels.
pub struct Subject {
    /// [1, 1, D, H, W].
    pub image: Tensor,
    /// Position of the label in [`Data::labels`] plus 1, 0 where there is none: [1, 1, D, H, W],
    /// bytes.
    pub labels: Tensor,
    /// The place on the grid, in voxels, that the initial alignment brings to another image's.
    pub anchor: Vector3<f64>,
}

impl Subject {
    /// Image and one-hot labels: [1, 1 + labels, D, H, W].
    pub fn stack(&self, labels: usize) -> Tensor {
        if labels == 0 {
            return self.image.shallow_clone();
        }
        let values = Tensor::arange_start(1, labels as i64 + 1, (Kind::Uint8, self.image.device()))
            .reshape([1, -1, 1, 1, 1]);
        let one_hot = self.labels.eq_tensor(&values).to_kind(Kind::Float);
        Tensor::cat(&[&self.image, &one_hot], 1)
    }

    /// This subject on the grid of `fixed`, after the initial alignment.
    fn aligned(&self, fixed: &Subject, grid: &Grid) -> Subject {
        let by = self.anchor - fixed.anchor;
        let (mut image, mut labels) = (self.image.shallow_clone(), self.labels.shallow_clone());
        if by.amax() > 1e-6 {
            let at = &grid.identity + grid.vector(by.into());
            image = grid.sample_or_zero(&image, &at);
            let codes = grid.sample_nearest_or_zero(&labels.to_kind(Kind::Float), &at);
            labels = codes.to_kind(Kind::Uint8);
        }
        Subject { image, labels, anchor: fixed.anchor }
    }
}

pub struct Data {
    pub train: Vec<Subject>,
    /// Subjects kept aside to validate on.
    pub held: Vec<Subject>,
    /// The label values found, ascending.
    pub labels: Vec<i32>,
    /// Only subjects 0 and 1, 2 and 3, … show the same anatomy and are registered to each other.
    pub matched: bool,
    /// File names of the images, sorted; of phantoms none.
    pub images: Vec<String>,
    pub grid: Grid,
}

impl Data {
    /// Reads `folder/images` and, where there are, `folder/labels`; the recipe's number of
    /// subjects, the same for one seed, are kept aside.
    ///
    /// # Errors
    /// Names the file or folder that cannot be used.
    pub fn read(folder: &Path, recipe: &Settings, device: Device) -> Result<Data> {
        let mut images = files(&folder.join("images"))?;
        ensure!(
            images.len() >= recipe.holdout + 2,
            "{}: expected at least {} images (2 to train on, {} kept aside), found {}",
            folder.display(),
            recipe.holdout + 2,
            recipe.holdout,
            images.len()
        );
        let name = |path: &PathBuf| path.file_name().map(|n| n.to_string_lossy().into_owned());
        let names = images.iter().filter_map(name).collect();
        Random::new(recipe.schedule.seed, u64::MAX - 1).shuffle(&mut images);
        let label_folder = folder.join("labels");
        let load = |path: &PathBuf| {
            let volume = intraop_core::io::read_volume(path)?;
            let label = label_folder.join(path.file_name().expect("a file's path"));
            let labels = match label_folder.exists() {
                true => Some(intraop_core::io::read_labels(&label)?),
                false => None,
            };
            lay(&volume, labels.as_ref(), &path.to_string_lossy(), recipe)
        };
        let laid = images.par_iter().map(load).collect::<Result<Vec<_>>>()?;
        let data = Data::new(&laid, recipe.holdout, false, recipe, device)
            .with_context(|| folder.display().to_string())?;
        Ok(Data { images: names, ..data })
    }

    /// Makes `pairs` phantom pairs to train on, and the recipe's number of others to keep aside.
    ///
    /// # Errors
    /// None in practice: a phantom is never constant.
    pub fn phantoms(pairs: usize, recipe: &Settings, device: Device) -> Result<Data> {
        let defaults = phantom::Options::default();
        let geometry = Geometry::new(recipe.grid, [recipe.spacing; 3]);
        // As hard as the default's at any size.
        let share = defaults.deformation_mm / side(&defaults.geometry);
        let deformation_mm = share * side(&geometry);
        let options = phantom::Options { geometry, deformation_mm, ..defaults };
        let make = |number: usize| {
            let pair = phantom::pair(phantom::FIRST_TRAINING_SEED + number as u64, &options);
            let lay = |v, l| lay(v, Some(l), "phantom", recipe);
            Ok([lay(&pair.fixed, &pair.fixed_labels)?, lay(&pair.moving, &pair.moving_labels)?])
        };
        let held = pairs..pairs + recipe.holdout;
        let numbers: Vec<usize> = held.chain(0..pairs).collect();
        let laid = numbers.into_par_iter().map(make).collect::<Result<Vec<_>>>()?;
        Data::new(
            &laid.into_iter().flatten().collect::<Vec<_>>(),
            2 * recipe.holdout,
            true,
            recipe,
            device,
        )
    }

    /// The first `held` subjects are kept aside.
    fn new(
        laid: &[Laid],
        held: usize,
        matched: bool,
        recipe: &Settings,
        device: Device,
    ) -> Result<Data> {
        let mut labels: Vec<i32> = laid.iter().flat_map(|l| l.labels.labels()).collect();
        labels.sort_unstable();
        labels.dedup();
        ensure!(labels.len() < 255, "expected at most 254 labels, found {}", labels.len());
        if recipe.initial == Initial::Header {
            let direction = |l: &Laid| l.image.geometry.direction;
            ensure!(
                laid.iter().all(|l| (direction(l) - direction(&laid[0])).amax() < 1e-3),
                "--initial header: expected images of one direction; resample them, or use centers"
            );
        }
        let mut subjects: Vec<Subject> = laid.iter().map(|l| l.subject(&labels, device)).collect();
        let train = subjects.split_off(held);
        let grid = Grid::new(recipe.grid.map(|n| n as i64), device);
        Ok(Data { train, held: subjects, labels, matched, images: vec![], grid })
    }

    /// Pairs of training subjects: [pairs, 1 + labels, D, H, W], fixed and moving.
    pub fn draw(&self, pairs: usize, random: &mut Random) -> [Tensor; 2] {
        let (mut fixed, mut moving) = (vec![], vec![]);
        for _ in 0..pairs {
            let a = random.below(self.train.len());
            let b = match self.matched {
                true => a ^ 1,
                false => (a + 1 + random.below(self.train.len() - 1)) % self.train.len(),
            };
            let (a, b) = (&self.train[a], &self.train[b]);
            fixed.push(a.stack(self.labels.len()));
            moving.push(b.aligned(a, &self.grid).stack(self.labels.len()));
        }
        [Tensor::cat(&fixed, 0), Tensor::cat(&moving, 0)]
    }

    /// At most `limit` ordered pairs of subjects kept aside, the same every time.
    pub fn held_pairs(&self, limit: usize) -> impl ExactSizeIterator<Item = (&Subject, Subject)> {
        let n = self.held.len();
        let pairs: Vec<(usize, usize)> = match self.matched {
            true => (0..n).map(|i| (i, i ^ 1)).take(limit).collect(),
            false => {
                let apart = |d| (0..n).map(move |i| (i, (i + d) % n));
                (1..n).flat_map(apart).take(limit).collect()
            }
        };
        pairs.into_iter().map(|(a, b)| {
            let fixed = &self.held[a];
            (fixed, self.held[b].aligned(fixed, &self.grid))
        })
    }
}

impl run::Data for Data {
    fn images(&self) -> &[String] {
        &self.images
    }

    fn labels(&self) -> &[i32] {
        &self.labels
    }

    fn counts(&self) -> [usize; 2] {
        [self.train.len(), self.held.len()]
    }
}

fn side(geometry: &Geometry) -> f64 {
    (0..3).map(|a| geometry.size[a] as f64 * geometry.spacing[a]).fold(f64::MAX, f64::min)
}

/// An image and its labels on the grid laid on the image itself.
struct Laid {
    image: Volume,
    labels: LabelMap,
    anchor: Vector3<f64>,
}

fn lay(volume: &Volume, labels: Option<&LabelMap>, name: &str, recipe: &Settings) -> Result<Laid> {
    let ready = preprocess::run(&recipe.preprocess(), volume, name)?;
    let grid = recipe.grid_spec().lay_on(recipe.grid, &volume.geometry);
    let on_grid = |world| grid.world_to_index().apply(world);
    let anchor = match recipe.initial {
        // The grid's middle lies on every image's.
        Initial::Centers => Vector3::zeros(),
        Initial::Header => on_grid(Vector3::zeros()),
        Initial::Mass => on_grid(preprocess::center_of_mass(volume)),
    };
    let labels = match labels {
        Some(labels) => warp_labels_affine(labels, &Affine::identity(), &grid),
        None => Volume::filled(grid.clone(), 0),
    };
    let image = preprocess::sample_on(&grid, &ready, &Affine::identity());
    Ok(Laid { image, labels, anchor })
}

impl Laid {
    fn subject(&self, labels: &[i32], device: Device) -> Subject {
        let [w, h, d] = self.image.geometry.size.map(|n| n as i64);
        let code = |v: &i32| labels.binary_search(v).map_or(0, |i| i as u8 + 1);
        let codes: Vec<u8> = self.labels.data.iter().map(code).collect();
        Subject {
            image: Tensor::from_slice(&self.image.data).reshape([1, 1, d, h, w]).to_device(device),
            labels: Tensor::from_slice(&codes).reshape([1, 1, d, h, w]).to_device(device),
            anchor: self.anchor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use nalgebra::Matrix3;

    #[derive(Parser)]
    struct Options {
        #[command(flatten)]
        recipe: Settings,
    }

    fn recipe(options: &str) -> Settings {
        Options::parse_from(format!("x --grid 32x16x48 {options}").split_whitespace()).recipe
    }

    fn values(t: &Tensor) -> Vec<f32> {
        Vec::try_from(t.to_kind(Kind::Float).flatten(0, -1)).unwrap()
    }

    #[test]
    fn phantoms_meet_only_their_own_kind_and_never_a_reserved_seed() {
        let recipe = recipe("--orientation LPS --initial header --holdout 1");
        let data = Data::phantoms(3, &recipe, Device::Cpu).unwrap();
        assert_eq!((data.train.len(), data.held.len()), (6, 2));
        assert_eq!(data.labels, [1, 2, 3, 4, 5]);
        // The smallest side is a quarter of the default's.
        let geometry = Geometry::new([32, 16, 48], [1.0; 3]);
        let options = phantom::Options { geometry, deformation_mm: 2.25, ..Default::default() };
        let image = |v: &Volume| preprocess::run(&recipe.preprocess(), v, "phantom").unwrap().data;
        for (subject, seed) in [(0, 1000), (2, 1001), (4, 1002)] {
            let pair = phantom::pair(seed, &options);
            assert_eq!(values(&data.train[subject].image), image(&pair.fixed));
            assert_eq!(values(&data.train[subject + 1].image), image(&pair.moving));
            let labels: Vec<f32> = pair.moving_labels.data.iter().map(|v| *v as f32).collect();
            assert_eq!(values(&data.train[subject + 1].labels), labels);
        }
        let held = phantom::pair(1003, &options);
        assert_eq!(values(&data.held[0].image), image(&held.fixed));
        let pairs: Vec<_> = data.held_pairs(9).collect();
        assert_eq!(pairs.len(), 2);
        assert_eq!(values(&pairs[1].1.image), image(&held.fixed));
        let stacks: Vec<Tensor> = data.train.iter().map(|s| s.stack(5)).collect();
        for step in 0..20 {
            let [fixed, moving] = data.draw(1, &mut Random::new(5, step));
            let number = |t: &Tensor| stacks.iter().position(|s| s == t).unwrap();
            assert_eq!(number(&fixed) ^ 1, number(&moving));
        }
    }

    /// What the network sees must be what the runtime would show it.
    #[test]
    fn pairs_are_aligned_as_by_the_runtime() {
        let pair = phantom::pair(3, &Default::default());
        let mut fixed_at = Geometry::new([64; 3], [1.0; 3]);
        fixed_at.direction = Matrix3::from_diagonal(&Vector3::new(-1.0, -1.0, 1.0));
        let fixed = Volume::new(fixed_at.clone(), pair.fixed.data);
        let mut moving_at = fixed_at;
        moving_at.origin = Vector3::new(2.5, -4.0, 3.25);
        let moving = Volume::new(moving_at, pair.moving.data);
        for (name, largest) in [("centers", 1e-6), ("header", 1e-4), ("mass", 1e-4)] {
            let recipe = recipe(&format!("--initial {name}"));
            let laid = [&fixed, &moving].map(|v| lay(v, None, "phantom", &recipe).unwrap());
            let data = Data::new(&laid, 2, false, &recipe, Device::Cpu).unwrap();
            let (_, found) = data.held_pairs(1).next().unwrap();

            let spec = recipe.grid_spec();
            let initial = spec.align(recipe.initial, &fixed, &moving);
            let ready = preprocess::run(&recipe.preprocess(), &moving, "phantom").unwrap();
            let grid = spec.lay_on(recipe.grid, &fixed.geometry);
            let expected = preprocess::sample_on(&grid, &ready, &initial).data;
            // A grid smaller than the image loses what a shift would bring in at its border.
            let inner = |i: usize| {
                let at = [i % 32, i / 32 % 16, i / 512];
                (0..3).all(|a| (6..recipe.grid[a] - 6).contains(&at[a]))
            };
            let worst = values(&found.image)
                .iter()
                .zip(&expected)
                .enumerate()
                .filter(|(i, _)| inner(*i))
                .fold(0f32, |worst, (_, (a, b))| worst.max((a - b).abs()));
            assert!(worst < largest, "{name}: {worst}");
        }
    }
}
