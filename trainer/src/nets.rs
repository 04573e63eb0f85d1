//! The student: an affine stage and a cascade of flow stages, with their weights.
//!
//! Flow stages are "ldr-text", the student of the LDR paper's text: a 4×4×4 stride-2 U-Net. The
//! affine stage is the one of the authors' code. Both see a pair [N, 2, D, H, W], fixed first.

use tch::{Device, Kind, Tensor, no_grad};

use crate::random::Random;
use crate::warp::Grid;

/// Slope of the affine stage's LeakyReLU.
pub const SLOPE: f64 = 0.1;

/// The affine head's kernel is kept this much larger than it acts: one step of Adam moves each
/// of its thousands of weights at once, which unscaled would move the image by voxels.
const AFFINE_GAIN: f64 = 0.1;

/// Named tensors in a fixed order.
#[derive(Default)]
pub struct Weights {
    /// What gradients change.
    pub learned: Vec<(String, Tensor)>,
    /// What a forward pass in training changes: running means.
    pub tracked: Vec<(String, Tensor)>,
}

impl Weights {
    pub fn all(&self) -> impl Iterator<Item = &(String, Tensor)> {
        self.learned.iter().chain(&self.tracked)
    }

    /// Copies values by name and shape; every weight must be found.
    pub fn fill(&mut self, from: &[(String, Tensor)]) -> anyhow::Result<()> {
        for (name, own) in self.learned.iter_mut().chain(&mut self.tracked) {
            let Some((_, value)) = from.iter().find(|(n, _)| n == name) else {
                anyhow::bail!("weights: {name} is missing; the file is of another network");
            };
            anyhow::ensure!(
                value.size() == own.size(),
                "weights: {name}: expected {:?}, found {:?}",
                own.size(),
                value.size()
            );
            no_grad(|| own.copy_(value));
        }
        Ok(())
    }

    pub fn count(&self) -> usize {
        self.learned.iter().map(|(_, t)| t.numel()).sum()
    }

    pub fn zero_gradients(&mut self) {
        self.learned.iter_mut().for_each(|(_, t)| t.zero_grad());
    }
}

/// Makes weights, drawn one after the other from one generator.
pub struct Builder {
    pub weights: Weights,
    random: Random,
    device: Device,
}

impl Builder {
    pub fn new(seed: u64, device: Device) -> Self {
        // The stream of the weights is far from those of the steps.
        let random = Random::new(seed, u64::MAX);
        Builder { weights: Weights::default(), random, device }
    }

    pub fn tensor(&mut self, name: String, shape: &[i64], sd: f64) -> Tensor {
        let n: i64 = shape.iter().product();
        let data: Vec<f32> = (0..n).map(|_| (self.random.normal() * sd) as f32).collect();
        let mut tensor = Tensor::from_slice(&data).reshape(shape).to_device(self.device);
        if shape.len() == 4 {
            // libtorch's order of channels last: its 2-D convolutions are faster so.
            tensor = tensor.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]);
        }
        let tensor = tensor.set_requires_grad(true);
        self.weights.learned.push((name, tensor.shallow_clone()));
        tensor
    }

    pub fn layer(&mut self, name: String, shape: &[i64], outputs: i64, sd: f64) -> Layer {
        let weight = self.tensor(format!("{name}.weight"), shape, sd);
        let bias = self.tensor(format!("{name}.bias"), &[outputs], 0.0);
        Layer { name, weight, bias }
    }

    /// [channels], the same value for each.
    pub fn constant(&mut self, name: String, channels: i64, value: f64, learned: bool) -> Tensor {
        let tensor = Tensor::full([channels], value, (Kind::Float, self.device));
        let tensor = tensor.set_requires_grad(learned);
        let weights = &mut self.weights;
        let kind = if learned { &mut weights.learned } else { &mut weights.tracked };
        kind.push((name, tensor.shallow_clone()));
        tensor
    }
}

/// A (transposed) convolution of equal kernel on all axes.
pub struct Layer {
    pub name: String,
    pub weight: Tensor,
    pub bias: Tensor,
}

/// One flow stage: [N, 2, D, H, W] → displacement [N, 3, D, H, W] in voxels (x, y, z).
pub struct FlowNet {
    pub name: String,
    /// 4×4×4, stride 2, padding 1, ReLU.
    pub down: Vec<Layer>,
    /// Transposed 4×4×4, stride 2, padding 1, ReLU, then the encoder's map of that size appended.
    pub up: Vec<Layer>,
    /// The same without ReLU.
    pub head: Layer,
}

impl FlowNet {
    fn new(build: &mut Builder, name: &str, width: i64) -> Self {
        let b = width;
        let channels = [(2, b), (b, 2 * b), (2 * b, 4 * b), (4 * b, 8 * b)];
        let he = |inputs: i64, taps: i64| (2.0 / (inputs * taps) as f64).sqrt();
        let down = channels.iter().enumerate().map(|(i, &(from, to))| {
            let shape = [to, from, 4, 4, 4];
            build.layer(format!("{name}.down{i}"), &shape, to, he(from, 64))
        });
        let down = down.collect();
        // Each output voxel of a stride-2 transposed convolution meets 2×2×2 of its taps.
        let channels = [(8 * b, 4 * b), (8 * b, 2 * b), (4 * b, b)];
        let up = channels.iter().enumerate().map(|(i, &(from, to))| {
            let shape = [from, to, 4, 4, 4];
            build.layer(format!("{name}.up{i}"), &shape, to, he(from, 8))
        });
        let up = up.collect();
        let shape = [2 * b, 3, 4, 4, 4];
        let head = build.layer(format!("{name}.head"), &shape, 3, 1e-3);
        FlowNet { name: name.to_owned(), down, up, head }
    }

    pub fn forward(&self, pair: &Tensor) -> Tensor {
        let mut skips = vec![];
        let mut map = pair.shallow_clone();
        for layer in &self.down {
            map = map
                .conv3d(&layer.weight, Some(&layer.bias), [2, 2, 2], [1, 1, 1], [1, 1, 1], 1)
                .relu_();
            skips.push(map.shallow_clone());
        }
        skips.pop();
        for layer in &self.up {
            let skip = skips.pop().expect("one map per level");
            map = Tensor::cat(&[transposed(&map, layer).relu_(), skip], 1);
        }
        transposed(&map, &self.head)
    }
}

fn transposed(map: &Tensor, layer: &Layer) -> Tensor {
    map.conv_transpose3d(
        &layer.weight,
        Some(&layer.bias),
        [2, 2, 2],
        [1, 1, 1],
        [0, 0, 0],
        1,
        [1, 1, 1],
    )
}

/// The affine stage: [N, 2, D, H, W] → [N, 12].
pub struct AffineNet {
    /// 3×3×3, stride 2, padded by one voxel after each axis only, LeakyReLU.
    pub down: Vec<Layer>,
    /// Whether a 3×3×3 stride-2 average pool follows, as in the authors' net for 128³.
    pub pool: bool,
    head: Tensor,
}

impl AffineNet {
    fn new(build: &mut Builder, size: [i64; 3]) -> Self {
        let channels = [(2, 16), (16, 32), (32, 64), (64, 128)];
        let down = channels.iter().enumerate().map(|(i, &(from, to))| {
            let sd = (2.0 / (from * 27) as f64).sqrt();
            let shape = [to, from, 3, 3, 3];
            build.layer(format!("affine.down{i}"), &shape, to, sd)
        });
        let down = down.collect();
        let map = size.map(|n| n / 16);
        let pool = map.iter().all(|n| *n >= 7);
        let [x, y, z] = map.map(|n| if pool { (n - 3) / 2 + 1 } else { n });
        let head = build.tensor("affine.head.weight".into(), &[12, 128, z, y, x], 1e-4);
        AffineNet { down, pool, head }
    }

    /// The head's kernel as it acts.
    pub fn head(&self) -> Tensor {
        &self.head * AFFINE_GAIN
    }

    pub fn forward(&self, pair: &Tensor) -> Tensor {
        let mut map = pair.shallow_clone();
        for layer in &self.down {
            let padded = map.constant_pad_nd([0, 1, 0, 1, 0, 1]);
            let bias = Some(&layer.bias);
            map = padded.conv3d(&layer.weight, bias, [2, 2, 2], [0, 0, 0], [1, 1, 1], 1);
            map = map.maximum(&(&map * SLOPE));
        }
        if self.pool {
            map = map.avg_pool3d([3, 3, 3], [2, 2, 2], [0, 0, 0], false, true, None);
        }
        map.conv3d(&self.head(), None::<&Tensor>, [1, 1, 1], [0, 0, 0], [1, 1, 1], 1).flatten(1, 4)
    }
}

pub struct Student {
    pub affine: Option<AffineNet>,
    pub flows: Vec<FlowNet>,
    pub weights: Weights,
}

/// What a forward pass leaves behind.
pub struct Registration {
    /// [N, 12].
    pub affine: Option<Tensor>,
    /// Each stage's own flow.
    pub flows: Vec<Tensor>,
    /// All flows composed, without the affine: [N, 3, D, H, W].
    pub displacement: Tensor,
    /// Where in the moving image each voxel looks: A(p + displacement(p)).
    pub at: Tensor,
    /// The moving image after the affine stage and after each flow stage.
    pub warped: Vec<Tensor>,
}

impl Student {
    /// The grid's size must be divisible by 16 on every axis.
    pub fn new(grid: &Grid, affine: bool, cascades: usize, width: i64, seed: u64) -> Self {
        let mut build = Builder::new(seed, grid.device());
        let affine = affine.then(|| AffineNet::new(&mut build, grid.size));
        let flows =
            (1..=cascades).map(|n| FlowNet::new(&mut build, &format!("flow{n}"), width)).collect();
        Student { affine, flows, weights: build.weights }
    }

    /// Registers `moving` [N, C, …] to `fixed` [N, C, …]; the networks see channel 0, all
    /// channels (labels) are warped by the last stage.
    pub fn forward(&self, grid: &Grid, fixed: &Tensor, moving: &Tensor) -> Registration {
        let (fixed, image) = (fixed.narrow(1, 0, 1), moving.narrow(1, 0, 1));
        let mut warped = vec![];
        let affine = self.affine.as_ref().map(|net| {
            let parameters = net.forward(&Tensor::cat(&[&fixed, &image], 1));
            warped.push(grid.sample(&image, &grid.affine(&grid.identity, &parameters)));
            parameters
        });
        let mut flows: Vec<Tensor> = vec![];
        let mut displacement: Option<Tensor> = None;
        let mut at = grid.identity.shallow_clone();
        for (n, net) in self.flows.iter().enumerate() {
            let seen = warped.last().unwrap_or(&image);
            let flow = net.forward(&Tensor::cat(&[&fixed, seen], 1));
            let total = grid.compose(displacement.as_ref(), &flow);
            at = &grid.identity + &total;
            if let Some(parameters) = &affine {
                at = grid.affine(&at, parameters);
            }
            let last = n + 1 == self.flows.len();
            warped.push(grid.sample(if last { moving } else { &image }, &at));
            flows.push(flow);
            displacement = Some(total);
        }
        let displacement = displacement.expect("at least one flow stage");
        Registration { affine, flows, displacement, at, warped }
    }
}

/// A's matrix I + W of the affine head's output [N, 12]: [N, 3, 3].
pub fn affine_matrix(parameters: &Tensor) -> Tensor {
    let n = parameters.size()[0];
    let eye = Tensor::eye(3, (Kind::Float, parameters.device()));
    parameters.narrow(1, 0, 9).reshape([n, 3, 3]) + eye
}
