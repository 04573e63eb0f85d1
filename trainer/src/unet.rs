//! The frames' student: a U-Net of 3×3 convolutions whose decoder is cut off where its heads need
//! no more: heatmaps at a quarter of the frame's size, the mask at half of it.

use tch::{Device, Tensor};

use crate::nets::{Builder, Weights};

/// Frames must be divisible by this.
pub const STRIDE: usize = 32;
/// A heatmap's pixel is so many of the frame's wide, one of the mask's so many.
pub const HEATMAP: usize = 4;
pub const MASK: usize = 2;
/// Share of a batch in the running means.
const MOMENTUM: f64 = 0.05;
pub const EPS: f64 = 1e-5;

/// A convolution without bias, a batch normalization and ReLU.
pub struct Block {
    pub name: String,
    pub weight: Tensor,
    pub gain: Tensor,
    pub shift: Tensor,
    pub mean: Tensor,
    pub variance: Tensor,
    pub kind: Kind,
}

/// What a block does to the size of its map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 3×3, padding 1.
    Same,
    /// 3×3, stride 2, padding 1.
    Half,
    /// Transposed 4×4, stride 2, padding 1.
    Double,
}

impl Block {
    fn new(build: &mut Builder, name: &str, kind: Kind, from: i64, to: i64) -> Self {
        // Each output of a stride-2 transposed convolution meets 2×2 of its taps.
        let (shape, taps) = match kind {
            Kind::Double => ([from, to, 4, 4], 4),
            _ => ([to, from, 3, 3], 9),
        };
        let sd = (2.0 / (from * taps) as f64).sqrt();
        let weight = build.tensor(format!("{name}.weight"), &shape, sd);
        let mut constant = |what: &str, value: f64, learned: bool| {
            build.constant(format!("{name}.{what}"), to, value, learned)
        };
        Block {
            weight,
            gain: constant("gain", 1.0, true),
            shift: constant("shift", 0.0, true),
            mean: constant("mean", 0.0, false),
            variance: constant("variance", 1.0, false),
            name: name.into(),
            kind,
        }
    }

    fn forward(&self, map: &Tensor, training: bool) -> Tensor {
        let none = None::<&Tensor>;
        let map = match self.kind {
            Kind::Same => map.conv2d(&self.weight, none, [1, 1], [1, 1], [1, 1], 1),
            Kind::Half => map.conv2d(&self.weight, none, [2, 2], [1, 1], [1, 1], 1),
            Kind::Double => {
                map.conv_transpose2d(&self.weight, none, [2, 2], [1, 1], [0, 0], 1, [1, 1])
            }
        };
        let (gain, shift) = (Some(&self.gain), Some(&self.shift));
        let (mean, variance) = (Some(&self.mean), Some(&self.variance));
        map.batch_norm(gain, shift, mean, variance, training, MOMENTUM, EPS, false).relu_()
    }

    /// Weight and bias of the convolution with the normalization by running means in it.
    pub fn folded(&self) -> (Tensor, Tensor) {
        let factor = &self.gain / (&self.variance + EPS).sqrt();
        let shape = if self.kind == Kind::Double { [1, -1, 1, 1] } else { [-1, 1, 1, 1] };
        (&self.weight * factor.reshape(shape), &self.shift - &self.mean * &factor)
    }
}

/// A 1×1 convolution with bias.
pub struct Head {
    pub name: &'static str,
    pub weight: Tensor,
    pub bias: Tensor,
}

impl Head {
    fn new(build: &mut Builder, name: &'static str, from: i64, to: i64, bias: f64) -> Self {
        let weight = build.tensor(format!("{name}.weight"), &[to, from, 1, 1], 1e-2);
        let bias = build.constant(format!("{name}.bias"), to, bias, true);
        Head { name, weight, bias }
    }

    fn forward(&self, map: &Tensor) -> Tensor {
        map.conv2d(&self.weight, Some(&self.bias), [1, 1], [0, 0], [1, 1], 1)
    }
}

/// One level of the decoder: a transposed convolution, the encoder's map of that size appended, a
/// convolution.
pub struct Up {
    pub larger: Block,
    pub merge: Block,
}

pub struct Unet {
    /// Each halves the map; then a convolution.
    pub down: Vec<[Block; 2]>,
    /// From 1/16 of the frame's size to a half.
    pub up: Vec<Up>,
    pub heatmaps: Head,
    pub mask: Head,
    pub weights: Weights,
}

/// What the heads say: heatmaps [N, landmarks, H/4, W/4], the mask's logits [N, 1, H/2, W/2].
pub struct Answer {
    pub heatmaps: Tensor,
    pub mask: Tensor,
}

impl Unet {
    /// `width` channels at half of the frame's size, twice as many at each half of that.
    pub fn new(landmarks: i64, width: i64, seed: u64, device: Device) -> Self {
        let mut build = Builder::new(seed, device);
        let channels: Vec<i64> = (0..5).map(|level| width << level).collect();
        let down = (0..5).map(|level| {
            let from = if level == 0 { 1 } else { channels[level - 1] };
            let to = channels[level];
            let half = Block::new(&mut build, &format!("down{level}.half"), Kind::Half, from, to);
            let same = Block::new(&mut build, &format!("down{level}.same"), Kind::Same, to, to);
            [half, same]
        });
        let down = down.collect();
        let up = (0..4).rev().map(|level| {
            let (from, to) = (channels[level + 1], channels[level]);
            let name = |what: &str| format!("up{level}.{what}");
            let larger = Block::new(&mut build, &name("larger"), Kind::Double, from, to);
            let merge = Block::new(&mut build, &name("merge"), Kind::Same, 2 * to, to);
            Up { larger, merge }
        });
        let up = up.collect();
        let heatmaps = Head::new(&mut build, "heatmaps", channels[1], landmarks, 0.0);
        // A little mask is more likely than a large one.
        let mask = Head::new(&mut build, "mask", channels[0], 1, -1.0);
        Unet { down, up, heatmaps, mask, weights: build.weights }
    }

    /// `frames` is [N, 1, H, W].
    pub fn forward(&self, frames: &Tensor, training: bool) -> Answer {
        let mut map = frames.shallow_clone();
        let mut skips = vec![];
        for [half, same] in &self.down {
            map = same.forward(&half.forward(&map, training), training);
            skips.push(map.shallow_clone());
        }
        skips.pop();
        let mut maps = vec![];
        for up in &self.up {
            let larger = up.larger.forward(&map, training);
            let skip = skips.pop().expect("one map per level");
            map = up.merge.forward(&Tensor::cat(&[larger, skip], 1), training);
            maps.push(map.shallow_clone());
        }
        Answer { heatmaps: self.heatmaps.forward(&maps[2]), mask: self.mask.forward(&maps[3]) }
    }
}
