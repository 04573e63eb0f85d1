use nalgebra::{Matrix3, Vector3};

use crate::image::{Frame, Geometry, LabelMap, Volume};

/// A voxel axis as it runs on the picture; `flipped` when its index falls to the right or down.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    pub voxel: usize,
    pub flipped: bool,
}

impl Axis {
    /// Where on the voxel axis of `n` samples the picture's sample `i` lies.
    pub fn index(&self, i: usize, n: usize) -> usize {
        if self.flipped { n - 1 - i } else { i }
    }
}

/// One slice of voxels laid out the radiological way: the patient's left is on the right of the
/// picture; anterior is up in the axial, superior in the others; anterior is left in the sagittal.
///
/// An oblique volume is shown in its own voxel planes, named after the nearest anatomical ones.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cut {
    pub name: &'static str,
    /// What lies at the left, right, top and bottom edge.
    pub letters: [&'static str; 4],
    pub normal: usize,
    pub index: usize,
    pub right: Axis,
    pub down: Axis,
}

impl Cut {
    /// The axial, coronal and sagittal cut through voxel `center`.
    pub fn three(geometry: &Geometry, center: [usize; 3]) -> [Cut; 3] {
        let [left, posterior, superior] = nearest_axes(&geometry.direction);
        let inferior = Axis { flipped: !superior.flipped, ..superior };
        let cut = |name, normal: Axis, right, down, letters| {
            let normal = normal.voxel;
            Cut { name, letters, normal, index: center[normal], right, down }
        };
        [
            cut("axial", superior, left, posterior, ["R", "L", "A", "P"]),
            cut("coronal", posterior, left, inferior, ["R", "L", "S", "I"]),
            cut("sagittal", left, posterior, inferior, ["A", "P", "S", "I"]),
        ]
    }

    /// Voxel (x, y, z) at the picture's column and row.
    pub fn voxel(&self, size: [usize; 3], column: usize, row: usize) -> [usize; 3] {
        let mut at = [0; 3];
        at[self.normal] = self.index;
        at[self.right.voxel] = self.right.index(column, size[self.right.voxel]);
        at[self.down.voxel] = self.down.index(row, size[self.down.voxel]);
        at
    }

    /// A frame of this cut, made voxel by voxel.
    pub fn frame<T>(&self, geometry: &Geometry, sample: impl Fn([usize; 3]) -> T) -> Frame<T> {
        let (u, v) = (self.right.voxel, self.down.voxel);
        let (width, height) = (geometry.size[u], geometry.size[v]);
        let at = |i: usize| self.voxel(geometry.size, i % width, i / width);
        let data = (0..width * height).map(|i| sample(at(i))).collect();
        Frame { width, height, spacing: Some([geometry.spacing[u], geometry.spacing[v]]), data }
    }

    pub fn of<T: Copy>(&self, volume: &Volume<T>) -> Frame<T> {
        self.frame(&volume.geometry, |[x, y, z]| volume.at(x, y, z))
    }
}

/// The voxel axes nearest to the patient's left, posterior and superior, each used once.
fn nearest_axes(direction: &Matrix3<f64>) -> [Axis; 3] {
    let mut axes = [None; 3];
    let mut free = [true; 3];
    // The best aligned pair first: an oblique axis must not take the place of a straight one.
    for _ in 0..3 {
        let (world, voxel) = (0..9)
            .map(|i| (i / 3, i % 3))
            .filter(|&(world, voxel)| axes[world].is_none() && free[voxel])
            .max_by(|&a, &b| direction[a].abs().total_cmp(&direction[b].abs()))
            .expect("as many free voxel axes as world axes");
        free[voxel] = false;
        axes[world] = Some(Axis { voxel, flipped: direction[(world, voxel)] < 0.0 });
    }
    axes.map(|axis| axis.expect("three rounds fill three axes"))
}

/// The voxel nearest to the middle of all labeled voxels, or of the volume where there is none.
pub(super) fn center(geometry: &Geometry, labels: Option<&LabelMap>) -> [usize; 3] {
    let mut sum = Vector3::<f64>::zeros();
    let mut count = 0.0;
    if let Some(labels) = labels {
        let [nx, ny, _] = labels.geometry.size;
        for (i, _) in labels.data.iter().enumerate().filter(|(_, label)| **label != 0) {
            sum += Vector3::new(i % nx, i / nx % ny, i / (nx * ny)).map(|v| v as f64);
            count += 1.0;
        }
    }
    if count == 0.0 {
        return geometry.size.map(|n| n / 2);
    }
    (sum / count).map(|v| v.round() as usize).into()
}

/// The range of intensities shown from black to white.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Window {
    low: f32,
    high: f32,
}

impl Window {
    /// Percentiles 1 to 99 of the finite samples above the smallest one. Leaving the smallest out
    /// keeps an empty background, often most of an image, from deciding the window.
    pub fn of<'a>(frames: impl IntoIterator<Item = &'a Frame>) -> Window {
        let mut samples: Vec<f32> =
            frames.into_iter().flat_map(|f| &f.data).copied().filter(|v| v.is_finite()).collect();
        let smallest = samples.iter().copied().fold(f32::INFINITY, f32::min);
        samples.retain(|v| *v > smallest);
        match (quantile(&mut samples, 0.01), quantile(&mut samples, 0.99)) {
            (Some(low), Some(high)) if low < high => Window { low, high },
            // One value besides the background, as in a mask.
            (Some(only), _) => Window { low: smallest, high: only },
            _ => Window { low: smallest, high: f32::INFINITY },
        }
    }

    /// 0 at the window's low end and below, 1 at its high end and above.
    pub fn apply(&self, value: f32) -> f32 {
        let t = (value - self.low) / (self.high - self.low);
        if t.is_finite() { t.clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// The sample below which a fraction `q` of all lie; `None` of nothing.
pub(super) fn quantile(samples: &mut [f32], q: f32) -> Option<f32> {
    let last = samples.len().checked_sub(1)?;
    let k = (q * last as f32).round() as usize;
    Some(*samples.select_nth_unstable_by(k, f32::total_cmp).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voxel_axes_are_named_after_the_nearest_direction() {
        // RAS memory order with y and z swapped: x to the right, y to superior, z to anterior.
        let direction = Matrix3::new(-1.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 1.0, 0.0);
        let [l, p, s] = nearest_axes(&direction);
        assert_eq!(l, Axis { voxel: 0, flipped: true });
        assert_eq!(p, Axis { voxel: 2, flipped: true });
        assert_eq!(s, Axis { voxel: 1, flipped: false });

        // Turned by 50° about x: y is nearer to superior now, and z must take what is left.
        let turned = nalgebra::Rotation3::from_euler_angles(50f64.to_radians(), 0.0, 0.0);
        let voxels = nearest_axes(turned.matrix()).map(|axis| axis.voxel);
        assert_eq!(voxels, [0, 2, 1]);
    }

    #[test]
    fn the_center_is_that_of_the_labels_or_the_image() {
        let g = Geometry::new([9, 7, 5], [1.0, 2.0, 3.0]);
        let mut labels = LabelMap::filled(g.clone(), 0);
        assert_eq!(center(&g, Some(&labels)), [4, 3, 2]);
        for (x, label) in [(1, 4), (3, 9)] {
            let at = labels.offset(x, 6, 0);
            labels.data[at] = label;
        }
        assert_eq!(center(&g, Some(&labels)), [2, 6, 0]);
        assert_eq!(center(&g, None), [4, 3, 2]);
    }

    fn frame(data: Vec<f32>) -> Frame {
        Frame { width: data.len(), height: 1, spacing: None, data }
    }

    #[test]
    fn the_window_ignores_background_outliers_and_undefined_samples() {
        let mut data = vec![-1000.0; 5000];
        data.extend((0..=1000).map(|v| v as f32));
        data.extend([f32::NAN, f32::INFINITY]);
        let window = Window::of([&frame(data)]);
        assert_eq!(window, Window { low: 10.0, high: 990.0 });
        assert_eq!((window.apply(10.0), window.apply(500.0)), (0.0, 0.5));
        assert_eq!((window.apply(1e9), window.apply(f32::NAN)), (1.0, 0.0));
    }

    #[test]
    fn masks_and_constants_have_a_window() {
        let mask = Window::of([&frame(vec![0.0, 3.0, 3.0, 0.0])]);
        assert_eq!((mask.apply(0.0), mask.apply(3.0)), (0.0, 1.0));
        let constant = Window::of([&frame(vec![7.0; 4])]);
        assert_eq!(constant.apply(7.0), 0.0);
        assert_eq!(Window::of([&frame(vec![f32::NAN])]).apply(1.0), 0.0);
    }
}
