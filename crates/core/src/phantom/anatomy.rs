use nalgebra::{Matrix3, Rotation3, Vector3};

use intraop_engine::Random;

use super::functions;

/// Half the width of a tissue border, where the image's half side is 1.
const EDGE: f64 = 0.045;

/// An organ with its inner structures as a formula: it can be sampled anywhere, exactly.
///
/// Coordinates run from −1 to 1 across the image along its own axes.
pub struct Anatomy {
    /// Bends all space a little, so that no structure is a plain ellipsoid.
    wobble: Waves<3>,
    texture: Waves<12>,
    surround: f64,
    /// In painting order: later ones cover earlier ones. Label = position + 1.
    structures: [Structure; 5],
}

/// Sine waves through space, side by side for the vector units.
struct Waves<const N: usize> {
    /// By axis.
    wave_vector: [[f64; N]; 3],
    phase: [f64; N],
    amplitude: [f64; N],
}

impl<const N: usize> Waves<N> {
    /// `wave` draws frequency and amplitude of a wave.
    fn draw(random: &mut Random, wave: impl Fn(usize, &mut Random) -> (f64, f64)) -> Self {
        let (wave_vector, phase, amplitude) = ([[0.0; N]; 3], [0.0; N], [0.0; N]);
        let mut waves = Waves { wave_vector, phase, amplitude };
        for i in 0..N {
            let (frequency, amplitude) = wave(i, random);
            let direction = Vector3::from_fn(|_, _| random.normal()).normalize();
            (0..3).for_each(|axis| waves.wave_vector[axis][i] = direction[axis] * frequency);
            waves.phase[i] = random.range(0.0, std::f64::consts::TAU);
            waves.amplitude[i] = amplitude;
        }
        waves
    }

    fn at(&self, q: &Vector3<f64>) -> [f64; N] {
        let [x, y, z] = &self.wave_vector;
        std::array::from_fn(|i| {
            let angle = x[i] * q.x + y[i] * q.y + z[i] * q.z + self.phase[i];
            self.amplitude[i] * functions::sin(angle)
        })
    }
}

/// An ellipsoid, perhaps bent along z into a vessel.
struct Structure {
    center: Vector3<f64>,
    /// World axes → the ellipsoid's axes.
    rotation: Matrix3<f64>,
    radii: Vector3<f64>,
    bend: f64,
    tone: f64,
    texture: f64,
    /// Brightness added along the border: a capsule or a wall.
    rim: f64,
}

impl Structure {
    fn draw(random: &mut Random, center: [f64; 3], jitter: f64, radii: [[f64; 2]; 3]) -> Self {
        let center = Vector3::from(center.map(|c| c + random.range(-jitter, jitter)));
        let radii = Vector3::from(radii.map(|[lo, hi]| random.range(lo, hi)));
        let angles = [0; 3].map(|_| random.range(-0.4, 0.4));
        let rotation = Rotation3::from_euler_angles(angles[0], angles[1], angles[2]);
        Structure {
            center,
            rotation: rotation.inverse().into_inner(),
            radii,
            bend: 0.0,
            tone: 0.0,
            texture: 0.0,
            rim: 0.0,
        }
    }

    fn looks(self, tone: f64, texture: f64, rim: f64) -> Self {
        Structure { tone, texture, rim, ..self }
    }

    /// Distance to the surface to first order, positive inside: k₀(1 − k₀)/k₁ with
    /// k₀ = |p/r|, k₁ = |p/r²| (the first two terms of the implicit surface at p).
    fn depth(&self, q: &Vector3<f64>) -> f64 {
        let mut p = self.rotation * (q - self.center);
        if self.bend != 0.0 {
            p.x -= self.bend * (3.5 * p.z).sin();
            p.y -= self.bend * (5.0 * p.z).cos();
        }
        let scaled = p.component_div(&self.radii);
        let gradient = scaled.component_div(&self.radii).norm();
        if gradient == 0.0 {
            return self.radii.min();
        }
        let k = scaled.norm();
        k * (1.0 - k) / gradient
    }
}

impl Anatomy {
    pub fn draw(random: &mut Random) -> Self {
        let wobble = Waves::draw(random, |_, random| (random.range(2.5, 5.0), 0.05));
        // From blobs a fifth of the image wide down to a few voxels.
        let texture = Waves::draw(random, |i, random| {
            let frequency = 5.0 * 1.17f64.powi(i as i32) * random.range(0.9, 1.1);
            (frequency, 0.9 / frequency.sqrt())
        });
        Anatomy {
            wobble,
            texture,
            surround: random.range(0.10, 0.2),
            structures: draw_structures(random),
        }
    }

    /// Image intensity (about 0 to 1) and label (0 outside the organ) at `q`.
    pub fn sample(&self, q: &Vector3<f64>) -> (f64, i32) {
        let q = q + Vector3::from(self.wobble.at(q));
        let texture: f64 = self.texture.at(&q).iter().sum();
        let mut value = self.surround + 0.05 * texture;
        let mut label = 0;
        for (i, structure) in self.structures.iter().enumerate() {
            let depth = structure.depth(&q) / EDGE;
            if depth > 0.0 {
                label = i as i32 + 1;
            }
            // A smooth step whose middle is exactly the label's border.
            let t = depth.clamp(-1.0, 1.0);
            let share = 0.5 + t * (0.75 - 0.25 * t * t);
            let paint = structure.tone + structure.texture * texture;
            let rim = structure.rim * (1.0 - t * t).powi(2);
            value += share * (paint - value) + rim;
        }
        (value.max(0.0), label)
    }
}

/// Organ, left lobe, right lobe, vessel and cyst.
fn draw_structures(random: &mut Random) -> [Structure; 5] {
    let tone = random.range(0.42, 0.52);
    let organ = Structure::draw(random, [0.0; 3], 0.03, [[0.72, 0.82], [0.6, 0.7], [0.62, 0.74]])
        .looks(tone, 0.10, 0.18);

    // One lobe brighter and one darker than the organ; which is which differs between seeds.
    let (bright, dark) = (random.range(0.72, 0.85), random.range(0.18, 0.27));
    let (left_tone, right_tone) =
        if random.uniform() < 0.5 { (bright, dark) } else { (dark, bright) };
    let lobe = [[0.19, 0.26], [0.26, 0.36], [0.24, 0.33]];
    let left = Structure::draw(random, [-0.4, -0.06, 0.02], 0.06, lobe).looks(left_tone, 0.09, 0.0);
    let right = Structure::draw(random, [0.4, -0.02, 0.0], 0.06, lobe).looks(right_tone, 0.09, 0.0);

    // As in angiography or in flow ultrasound: with or without contrast.
    let tone = if random.uniform() < 0.5 { 0.95 } else { 0.06 };
    let thick = [0.13, 0.17];
    let vessel = Structure::draw(random, [0.0, 0.22, 0.0], 0.05, [thick, thick, [0.45, 0.55]])
        .looks(tone, 0.03, 0.0);
    let vessel = Structure { bend: random.range(0.06, 0.12), ..vessel };

    let tone = random.range(0.03, 0.1);
    let cyst = Structure::draw(random, [0.0, -0.33, 0.05], 0.08, [[0.17, 0.23]; 3])
        .looks(tone, 0.02, 0.25);
    [organ, left, right, vessel, cyst]
}
