//! Training volumes, brought to the package's grid by the runtime's own code and kept in memory.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use intraop::image::{Affine, Geometry, LabelMap, Volume};
use intraop::preprocess::{self, GridSpec, Step};
use nalgebra::Vector3;
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use crate::random::Random;

/// One image on the grid with its labels.
pub struct Subject {
    pub name: String,
    /// [1, 1, D, H, W].
    pub image: Tensor,
    /// Position of the label in [`Data::labels`] plus 1, 0 where there is none: [1, 1, D, H, W],
    /// bytes.
    pub labels: Tensor,
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
}

pub struct Data {
    pub train: Vec<Subject>,
    /// Subjects kept aside to validate on.
    pub held: Vec<Subject>,
    /// The label values found, ascending.
    pub labels: Vec<i32>,
}

impl Data {
    /// Reads `folder/images` and, where there are, `folder/labels`; `holdout` subjects, the
    /// same for one seed, are kept aside.
    pub fn read(
        folder: &Path,
        size: [usize; 3],
        grid: &GridSpec,
        steps: &[Step],
        holdout: usize,
        seed: u64,
        device: Device,
    ) -> Result<Data> {
        let mut images = files(&folder.join("images"))?;
        ensure!(
            images.len() >= holdout + 2,
            "{}: expected at least {} images (2 to train on, {holdout} kept aside), found {}",
            folder.display(),
            holdout + 2,
            images.len()
        );
        Random::new(seed, u64::MAX - 1).shuffle(&mut images);
        let label_folder = folder.join("labels");
        let loaded = images
            .par_iter()
            .map(|image| {
                let label = label_folder.join(image.file_name().expect("a file's path"));
                load(image, label_folder.exists().then_some(label.as_path()), size, grid, steps)
            })
            .collect::<Result<Vec<_>>>()?;
        let mut labels: Vec<i32> = loaded.iter().flat_map(|(_, l)| l.labels()).collect();
        labels.sort_unstable();
        labels.dedup();
        ensure!(labels.len() < 255, "{}: more than 254 labels", label_folder.display());
        let mut subjects: Vec<Subject> = images
            .iter()
            .zip(&loaded)
            .map(|(path, (image, map))| subject(path, image, map, &labels, device))
            .collect();
        let train = subjects.split_off(holdout);
        Ok(Data { train, held: subjects, labels })
    }

    /// The image of two different training subjects each: [pairs, 1 + labels, D, H, W], fixed
    /// and moving.
    pub fn draw(&self, pairs: usize, random: &mut Random) -> [Tensor; 2] {
        let (mut fixed, mut moving) = (vec![], vec![]);
        for _ in 0..pairs {
            let a = random.below(self.train.len());
            let b = (a + 1 + random.below(self.train.len() - 1)) % self.train.len();
            fixed.push(self.train[a].stack(self.labels.len()));
            moving.push(self.train[b].stack(self.labels.len()));
        }
        [Tensor::cat(&fixed, 0), Tensor::cat(&moving, 0)]
    }

    /// At most `limit` ordered pairs of subjects kept aside, the same every time.
    pub fn held_pairs(&self, limit: usize) -> Vec<(&Subject, &Subject)> {
        let n = self.held.len();
        (1..n)
            .flat_map(|apart| (0..n).map(move |i| (i, (i + apart) % n)))
            .take(limit)
            .map(|(a, b)| (&self.held[a], &self.held[b]))
            .collect()
    }
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("{}: expected a folder of images", folder.display()))?;
    let mut paths =
        entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, std::io::Error>>()?;
    // The order of a folder is not the same everywhere; the draw of subjects must be.
    paths.sort();
    Ok(paths)
}

/// One image and its labels on the grid laid on the image itself.
fn load(
    image: &Path,
    label: Option<&Path>,
    size: [usize; 3],
    spec: &GridSpec,
    steps: &[Step],
) -> Result<(Volume, LabelMap)> {
    let volume =
        preprocess::run(steps, &intraop::io::read_volume(image)?, &image.to_string_lossy())?;
    let grid = spec.lay_on(size, &volume.geometry);
    let labels = match label {
        Some(path) => nearest(&grid, &intraop::io::read_labels(path)?),
        None => Volume::filled(grid.clone(), 0),
    };
    Ok((preprocess::sample_on(&grid, &volume, &Affine::identity()), labels))
}

/// The labels on a grid: each voxel that of the nearest, 0 outside.
fn nearest(grid: &Geometry, labels: &LabelMap) -> LabelMap {
    let index = labels.geometry.world_to_index().after(&grid.index_to_world());
    let [nx, ny, nz] = grid.size;
    let mut data = Vec::with_capacity(grid.voxels());
    for z in 0..nz {
        for y in 0..ny {
            for x in 0..nx {
                let at = index.apply(Vector3::new(x as f64, y as f64, z as f64)).map(f64::round);
                let inside = (0..3).all(|a| at[a] >= 0.0 && at[a] < labels.geometry.size[a] as f64);
                let at = at.map(|v| v as usize);
                data.push(if inside { labels.at(at.x, at.y, at.z) } else { 0 });
            }
        }
    }
    Volume::new(grid.clone(), data)
}

fn subject(path: &Path, image: &Volume, map: &LabelMap, labels: &[i32], device: Device) -> Subject {
    let [w, h, d] = image.geometry.size.map(|n| n as i64);
    let codes: Vec<u8> =
        map.data.iter().map(|v| labels.binary_search(v).map_or(0, |i| i as u8 + 1)).collect();
    Subject {
        name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        image: Tensor::from_slice(&image.data).reshape([1, 1, d, h, w]).to_device(device),
        labels: Tensor::from_slice(&codes).reshape([1, 1, d, h, w]).to_device(device),
    }
}
