//! Random views of a frame. An ellipse stays an ellipse under every linear map, so what is to be
//! found is known exactly; the pixel size is not needed, for nothing is measured in training.

use std::f64::consts::PI;

use intraop_core::image::{Ellipse, Frame, Pixels};
use intraop_core::preprocess::Step;
use intraop_core::preprocess::frames::{FramePipeline, Gaussian};
use intraop_engine::Simd;
use nalgebra::{Matrix2, Rotation2, Vector2};

use super::data::{Data, Example, FINER};
use super::options::NORMALIZE;
use crate::random::Random;

/// At strength 1, each at most: radians, log scale, stretch, shear, shift as a share of the frame.
const ROTATION: f64 = 0.5;
const SCALE: f64 = 0.3;
const STRETCH: f64 = 0.08;
const SHEAR: f64 = 0.06;
const SHIFT: f64 = 0.2;
/// Share of the frames that are turned by any angle, at strength 1.
const TURNED: f64 = 0.15;
/// Free pixels around an ellipse.
const MARGIN: f64 = 3.0;
/// Windows of a frame tried until one misses the ellipse.
const TRIES: usize = 20;

/// What the network sees, and what it should find there, in its pixels.
pub struct View {
    pub input: Vec<f32>,
    pub ellipse: Option<Ellipse>,
}

/// Draws views of one size.
pub struct Augment {
    size: [usize; 2],
    strength: f64,
    normalize: FramePipeline,
}

/// From the pixels of an [`Example`] to those of a view.
struct Placing {
    linear: Matrix2<f64>,
    shift: Vector2<f64>,
}

impl Augment {
    pub fn new(size: [usize; 2], strength: f64) -> Self {
        let normalize = FramePipeline::new(&[Step::Normalize(NORMALIZE)], Simd::detect());
        Augment { size, strength, normalize: normalize.expect("percentiles of frames") }
    }

    /// A frame with something to be found or, by the share of `empty`, with nothing: of a clip that
    /// shows something else, beside the ellipse, or nothing but noise.
    pub fn draw(&self, data: &Data, empty: f64, random: &mut Random) -> View {
        let any = |of: &[Example], random: &mut Random| random.below(of.len());
        if random.uniform() >= empty {
            return self.view(&data.shown[any(&data.shown, random)], random);
        }
        match random.uniform() {
            u if u < 0.7 && !data.empty.is_empty() => {
                self.view(&data.empty[any(&data.empty, random)], random)
            }
            u if u < 0.85 => self.beside(&data.shown[any(&data.shown, random)], random),
            _ => self.noise(random),
        }
    }

    /// A random view that shows the whole ellipse.
    fn view(&self, example: &Example, random: &mut Random) -> View {
        let placing = match &example.ellipse {
            Some(ellipse) => self.around(ellipse, random),
            None => {
                let (from, to) = (middle(example.frame.size()), middle(self.size));
                let linear = self.linear(random);
                let shifted = [0, 1].map(|axis| {
                    let most = self.strength * SHIFT * self.size[axis] as f64;
                    to[axis] + most * random.signed()
                });
                Placing::new(linear, from, shifted)
            }
        };
        self.seen(example, &placing, random)
    }

    fn linear(&self, random: &mut Random) -> Matrix2<f64> {
        let strength = self.strength;
        let turned = random.uniform() < strength * TURNED;
        let angle = if turned { PI } else { strength * ROTATION } * random.signed();
        let scale = (strength * SCALE * random.signed()).exp() / FINER as f64;
        let stretch = (strength * STRETCH * random.signed()).exp();
        let shear = strength * SHEAR * random.signed();
        let mut mirror = |share: f64| if random.uniform() < strength * share { -1.0 } else { 1.0 };
        let (x, y) = (mirror(0.5), mirror(0.1));
        let shape = Matrix2::new(x * scale * stretch, shear * scale, 0.0, y * scale / stretch);
        Rotation2::new(angle).matrix() * shape
    }

    fn around(&self, ellipse: &Ellipse, random: &mut Random) -> Placing {
        let mut linear = self.linear(random);
        let mapped = |linear: &Matrix2<f64>| {
            let row = |i| [linear[(i, 0)], linear[(i, 1)]];
            ellipse.mapped([row(0), row(1)], [0.0; 2]).expect("an invertible map")
        };
        let size = self.size.map(|n| n as f64);
        let half = half_box(&mapped(&linear));
        let room = |axis: usize| (size[axis] / 2.0 - MARGIN) / half[axis];
        linear *= room(0).min(room(1)).min(1.0);
        let half = half_box(&mapped(&linear));
        // Where it would be if the frame's middle stayed in the middle, and some shift.
        let before = Placing::new(linear, middle(self.size.map(|n| n * FINER)), middle(self.size));
        let there = before.of(ellipse.center);
        let to = [0, 1].map(|axis| {
            let free = half[axis] + MARGIN;
            let wanted = there[axis] + self.strength * SHIFT * size[axis] * random.signed();
            wanted.clamp(free, (size[axis] - 1.0 - free).max(free))
        });
        Placing::new(linear, ellipse.center, to)
    }

    /// A window of a frame beside the ellipse; noise where there is none.
    fn beside(&self, example: &Example, random: &mut Random) -> View {
        let ellipse = example.ellipse.as_ref().expect("a frame with an ellipse");
        let size = self.size.map(|n| n as f64);
        for _ in 0..TRIES {
            let linear = self.linear(random) * (1.5 + 2.0 * random.uniform());
            let from = example.frame.size().map(|n| n as f64 * random.uniform());
            let placing = Placing::new(linear, from, middle(self.size));
            let back = linear.try_inverse().expect("an invertible map");
            // The ellipse is convex: it misses a window whose outline it misses, if not inside.
            let outline = (0..=16).flat_map(|i| {
                let share = f64::from(i) / 16.0;
                let [w, h] = size;
                [[share * w, 0.0], [share * w, h], [0.0, share * h], [w, share * h]]
            });
            let mut levels =
                outline.map(|p| ellipse.level((back * (Vector2::from(p) - placing.shift)).into()));
            let [x, y] = placing.of(ellipse.center);
            let inside = (0.0..size[0]).contains(&x) && (0.0..size[1]).contains(&y);
            if !inside && levels.all(|level| level > 1.05) {
                let input = self.appearance(self.sample(&example.frame, &placing), random);
                return View { input, ellipse: None };
            }
        }
        self.noise(random)
    }

    /// Speckle of any fineness.
    fn noise(&self, random: &mut Random) -> View {
        let [width, height] = self.size;
        let mut frame = Frame::new(width, height, random.noise(width * height));
        let sigma_px = 0.3 + 6.0 * random.uniform().powi(2);
        frame = Gaussian { sigma_px }.apply(Simd::detect(), &frame);
        let gain = 60.0 * (1.0 + sigma_px as f32);
        frame.data.iter_mut().for_each(|v| *v = (*v * gain + 50.0).clamp(0.0, 255.0));
        View { input: self.appearance(frame, random), ellipse: None }
    }

    fn seen(&self, example: &Example, placing: &Placing, random: &mut Random) -> View {
        let row = |i| [placing.linear[(i, 0)], placing.linear[(i, 1)]];
        let map = |e: &Ellipse| e.mapped([row(0), row(1)], placing.shift.into());
        let ellipse = example.ellipse.as_ref().and_then(map);
        let input = self.appearance(self.sample(&example.frame, placing), random);
        View { input, ellipse }
    }

    /// Each pixel the mean of 2×2 places in it, between the frame's pixels; black outside.
    fn sample(&self, frame: &Frame<u8>, placing: &Placing) -> Frame<f32> {
        let [width, height] = self.size;
        let back = placing.linear.try_inverse().expect("an invertible map");
        let step = back.cast::<f32>();
        let origin = back * -placing.shift;
        let mut out = Frame::filled(width, height, 0.0f32);
        for y in 0..height {
            for x in 0..width {
                let middle = back * Vector2::new(x as f64, y as f64) + origin;
                let middle = middle.cast::<f32>();
                let mut sum = 0.0;
                for [dx, dy] in [[-0.25, -0.25], [0.25, -0.25], [-0.25, 0.25], [0.25, 0.25]] {
                    let at = middle + step * Vector2::new(dx, dy);
                    sum += between(frame, at.x, at.y);
                }
                out.data[y * width + x] = sum / 4.0;
            }
        }
        out
    }

    /// Gamma, gain that changes over the frame, speckle, blur, noise, shadows, boxes; then the
    /// package's normalization.
    fn appearance(&self, mut frame: Frame<f32>, random: &mut Random) -> Vec<f32> {
        let strength = self.strength;
        let [width, height] = self.size;
        let gamma = (0.45 * strength * random.signed()).exp() as f32;
        let lift = (0.06 * strength * random.signed()) as f32;
        let [slope_x, slope_y] = [0, 1].map(|_| (0.4 * strength * random.signed()) as f32);
        let some = |share: f64, random: &mut Random| random.uniform() < share * strength;
        let speckle = if some(0.5, random) { 0.35 * random.uniform() as f32 } else { 0.0 };
        let noise = if some(0.3, random) { 0.05 * random.uniform() as f32 } else { 0.0 };
        let blur = some(0.4, random).then(|| 0.4 + 0.9 * random.uniform());
        let grain = random.noise(2 * frame.data.len());
        let (grain, hiss) = grain.split_at(frame.data.len());
        for (i, v) in frame.data.iter_mut().enumerate() {
            // Black is where nothing was measured.
            if *v < 0.5 {
                *v = 0.0;
                continue;
            }
            let [x, y] = [(i % width) as f32 / width as f32, (i / width) as f32 / height as f32];
            let gain = 1.0 + slope_x * (x - 0.5) + slope_y * (y - 0.5);
            let value = (*v / 255.0).powf(gamma) * gain * (1.0 + speckle * grain[i]);
            *v = (value + lift + noise * hiss[i]).clamp(0.0, 1.0);
        }
        if let Some(sigma_px) = blur {
            frame = Gaussian { sigma_px }.apply(Simd::detect(), &frame);
        }
        if some(0.25, random) {
            shadow(&mut frame, random);
        }
        if some(0.4, random) {
            cover(&mut frame, random);
        }
        let normal = self.normalize.run(&Pixels::Float(frame), "view");
        // Where augmentation left nothing to be seen.
        normal.map_or_else(|_| vec![0.0; width * height], |ready| ready.frame.data)
    }
}

impl Placing {
    /// That brings the place `from` to `to`.
    fn new(linear: Matrix2<f64>, from: [f64; 2], to: [f64; 2]) -> Self {
        Placing { linear, shift: Vector2::from(to) - linear * Vector2::from(from) }
    }

    fn of(&self, p: [f64; 2]) -> [f64; 2] {
        (self.linear * Vector2::from(p) + self.shift).into()
    }
}

/// Between the middle pixels, where their number is even.
fn middle(size: [usize; 2]) -> [f64; 2] {
    size.map(|n| (n as f64 - 1.0) / 2.0)
}

/// Half the width and the height of the upright box around an ellipse.
fn half_box(ellipse: &Ellipse) -> [f64; 2] {
    let (sin, cos) = ellipse.angle.sin_cos();
    let [a, b] = ellipse.semi_axes;
    [(a * cos).hypot(b * sin), (a * sin).hypot(b * cos)]
}

/// Bilinear; 0 outside.
fn between(frame: &Frame<u8>, x: f32, y: f32) -> f32 {
    let (left, top) = (x.floor(), y.floor());
    let inside = left >= 0.0 && top >= 0.0;
    let (column, row) = (left as usize, top as usize);
    if !inside || column + 1 >= frame.width || row + 1 >= frame.height {
        return 0.0;
    }
    let (u, v) = (x - left, y - top);
    let at = row * frame.width + column;
    let [a, b, c, d] =
        [at, at + 1, at + frame.width, at + frame.width + 1].map(|i| f32::from(frame.data[i]));
    (a + u * (b - a)) * (1.0 - v) + (c + u * (d - c)) * v
}

/// Darkens a wedge below a random place, as bone and gas do.
fn shadow(frame: &mut Frame<f32>, random: &mut Random) {
    let [width, height] = frame.size().map(|n| n as f64);
    let (x, y) = (width * random.uniform(), height * 0.8 * random.uniform());
    let (half, opening, lean) =
        (3.0 + 10.0 * random.uniform(), 0.15 * random.uniform(), 0.5 * random.signed());
    let left = (0.1 + 0.6 * random.uniform()) as f32;
    for row in y as usize..frame.height {
        let depth = row as f64 - y;
        let (middle, half) = (x + lean * depth, half + opening * depth);
        let from = (middle - half).clamp(0.0, width) as usize;
        let to = (middle + half).clamp(0.0, width) as usize;
        frame.data[row * frame.width..][from..to].iter_mut().for_each(|v| *v *= left);
    }
}

/// Covers a box at a border, as exports do with names.
fn cover(frame: &mut Frame<f32>, random: &mut Random) {
    let mut part = |n: usize| {
        let length = (n as f64 * (0.05 + 0.25 * random.uniform())) as usize;
        if random.uniform() < 0.5 { 0..length } else { n - length..n }
    };
    let (columns, rows) = (part(frame.width), part(frame.height));
    for row in rows {
        frame.data[row * frame.width..][columns.clone()].fill(0.0);
    }
}
