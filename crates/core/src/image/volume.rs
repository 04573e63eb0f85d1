use nalgebra::Vector3;
use rayon::prelude::*;

use super::{Frame, Geometry};

/// A 3-D image: one sample of type `T` per voxel, x fastest, then y, then z.
#[derive(Debug, Clone, PartialEq)]
pub struct Volume<T = f32> {
    pub geometry: Geometry,
    pub data: Vec<T>,
}

/// A 3-D map of label numbers; 0 is background.
pub type LabelMap = Volume<i32>;

/// A displacement field: at each voxel of the **fixed** image's grid the vector (x, y, z) in LPS
/// millimeters that leads from there to the matching place in the **moving** image.
pub type Field = Volume<[f32; 3]>;

impl<T: Copy> Volume<T> {
    /// # Panics
    /// If `data` does not hold one sample per voxel of `geometry`.
    pub fn new(geometry: Geometry, data: Vec<T>) -> Self {
        assert_eq!(data.len(), geometry.voxels(), "one sample per voxel");
        Volume { geometry, data }
    }

    /// A volume with the same sample everywhere.
    pub fn filled(geometry: Geometry, value: T) -> Self {
        let data = vec![value; geometry.voxels()];
        Volume { geometry, data }
    }

    /// Position in `data` of voxel (x, y, z).
    #[inline]
    pub fn offset(&self, x: usize, y: usize, z: usize) -> usize {
        (z * self.geometry.size[1] + y) * self.geometry.size[0] + x
    }

    #[inline]
    pub fn at(&self, x: usize, y: usize, z: usize) -> T {
        self.data[self.offset(x, y, z)]
    }

    /// The same geometry with every sample mapped.
    pub fn map<U: Copy>(&self, f: impl Fn(T) -> U) -> Volume<U> {
        Volume { geometry: self.geometry.clone(), data: self.data.iter().map(|v| f(*v)).collect() }
    }

    /// The slice at `index` along `axis` (0 x, 1 y, 2 z). Its columns and rows are the two
    /// remaining axes in x, y, z order: (y, z), (x, z) or (x, y).
    ///
    /// # Panics
    /// If `index` is outside the volume.
    pub fn slice(&self, axis: usize, index: usize) -> Frame<T> {
        assert!(index < self.geometry.size[axis], "slice {index} of axis {axis} is outside");
        let (u, v) = match axis {
            0 => (1, 2),
            1 => (0, 2),
            _ => (0, 1),
        };
        let (width, height) = (self.geometry.size[u], self.geometry.size[v]);
        let mut data = Vec::with_capacity(width * height);
        let mut at = [0; 3];
        at[axis] = index;
        for row in 0..height {
            at[v] = row;
            for column in 0..width {
                at[u] = column;
                data.push(self.at(at[0], at[1], at[2]));
            }
        }
        let spacing = [self.geometry.spacing[u], self.geometry.spacing[v]];
        Frame { width, height, spacing: Some(spacing), data }
    }
}

impl<T: Copy + Default + Send> Volume<T> {
    /// The volume whose voxel at index (x, y, z) is `value(index)`; on all threads of the
    /// current pool.
    pub fn from_fn(geometry: &Geometry, value: impl Fn(Vector3<f64>) -> T + Sync) -> Self {
        let [nx, ny, _] = geometry.size;
        let mut data = vec![T::default(); geometry.voxels()];
        data.par_chunks_mut(nx).enumerate().for_each(|(row, out)| {
            let (y, z) = ((row % ny) as f64, (row / ny) as f64);
            for (x, out) in out.iter_mut().enumerate() {
                *out = value(Vector3::new(x as f64, y, z));
            }
        });
        Volume { geometry: geometry.clone(), data }
    }
}

impl Volume<f32> {
    /// Smallest and largest sample.
    pub fn range(&self) -> (f32, f32) {
        // Several at a time, which one running minimum would not allow.
        const LANES: usize = 16;
        let none = (f32::MAX, f32::MIN);
        let both = |a: (f32, f32), b: (f32, f32)| (a.0.min(b.0), a.1.max(b.1));
        let parts = self.data.par_chunks(1 << 16).map(|part| {
            let mut lanes = [none; LANES];
            for chunk in part.chunks(LANES) {
                for (lane, v) in lanes.iter_mut().zip(chunk) {
                    *lane = both(*lane, (*v, *v));
                }
            }
            lanes.into_iter().fold(none, both)
        });
        parts.reduce(|| none, both)
    }
}

/// A frame as one slice; without a known pixel size in pixels instead of millimeters.
impl From<&Frame<u8>> for LabelMap {
    fn from(frame: &Frame<u8>) -> Self {
        let [x, y] = frame.spacing.unwrap_or([1.0; 2]);
        let geometry = Geometry::new([frame.width, frame.height, 1], [x, y, 1.0]);
        LabelMap::new(geometry, frame.data.iter().map(|v| i32::from(*v)).collect())
    }
}

impl LabelMap {
    /// The labels present, ascending, without 0.
    pub fn labels(&self) -> Vec<i32> {
        let mut seen = std::collections::BTreeSet::new();
        let mut last = 0;
        for &v in &self.data {
            // Label maps come in long runs, so most voxels skip the tree.
            if v != last {
                seen.insert(v);
                last = v;
            }
        }
        seen.remove(&0);
        seen.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_keep_axis_order_and_spacing() {
        let g = Geometry::new([2, 3, 4], [1.0, 2.0, 3.0]);
        let v = Volume::new(g, (0..24).collect::<Vec<i32>>());
        let x1 = v.slice(0, 1);
        assert_eq!((x1.width, x1.height, x1.spacing), (3, 4, Some([2.0, 3.0])));
        assert_eq!(x1.data[3 + 2], v.at(1, 2, 1));
        let z2 = v.slice(2, 2);
        assert_eq!(z2.data, (12..18).collect::<Vec<i32>>());
    }

    #[test]
    fn labels_are_sorted_without_background() {
        let g = Geometry::new([3, 2, 1], [1.0; 3]);
        assert_eq!(Volume::new(g, vec![5, 0, 2, 2, 0, 5]).labels(), vec![2, 5]);
    }
}
