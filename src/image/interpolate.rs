//! Trilinear interpolation at continuous voxel indices (x, y, z), the one place that knows the
//! border rules.

use nalgebra::Vector3;

use super::Volume;

/// A sample that can be interpolated: a number or a vector of numbers.
pub trait Lerp: Copy {
    /// `a + t · (b − a)`.
    fn lerp(a: Self, b: Self, t: f32) -> Self;
}

impl Lerp for f32 {
    #[inline]
    fn lerp(a: f32, b: f32, t: f32) -> f32 {
        a + t * (b - a)
    }
}

impl Lerp for [f32; 3] {
    #[inline]
    fn lerp(a: Self, b: Self, t: f32) -> Self {
        [f32::lerp(a[0], b[0], t), f32::lerp(a[1], b[1], t), f32::lerp(a[2], b[2], t)]
    }
}

/// Is this continuous index inside the image? Half a voxel beyond the outermost voxel centres
/// still is, as in ITK (`IsInsideBuffer`).
#[inline]
pub fn inside(size: [usize; 3], index: Vector3<f64>) -> bool {
    (0..3).all(|axis| index[axis] >= -0.5 && index[axis] < size[axis] as f64 - 0.5)
}

impl<T: Lerp> Volume<T> {
    /// The interpolated value where the image has one: `None` outside the image's voxels.
    #[inline]
    pub fn sample(&self, index: Vector3<f64>) -> Option<T> {
        inside(self.geometry.size, index).then(|| self.sample_clamped(index))
    }

    /// The interpolated value; outside the image that of the nearest border point.
    #[inline]
    pub fn sample_clamped(&self, index: Vector3<f64>) -> T {
        let size = self.geometry.size;
        let mut low = [0; 3];
        let mut step = [0; 3];
        let mut t = [0.0; 3];
        let strides = [1, size[0], size[0] * size[1]];
        for axis in 0..3 {
            // Also sends NaN to 0: casts and `max` do the rest.
            let at = index[axis].max(0.0).min((size[axis] - 1) as f64);
            let floor = at as usize;
            low[axis] = floor * strides[axis];
            step[axis] = if floor + 1 < size[axis] { strides[axis] } else { 0 };
            t[axis] = (at - floor as f64) as f32;
        }
        let at = low[0] + low[1] + low[2];
        let row = |at: usize| T::lerp(self.data[at], self.data[at + step[0]], t[0]);
        let plane = |at: usize| T::lerp(row(at), row(at + step[1]), t[1]);
        T::lerp(plane(at), plane(at + step[2]), t[2])
    }
}

impl<T: Copy> Volume<T> {
    /// The value of the nearest voxel (half-way goes up, as in ITK): `None` outside the image.
    #[inline]
    pub fn nearest(&self, index: Vector3<f64>) -> Option<T> {
        inside(self.geometry.size, index).then(|| {
            let size = self.geometry.size;
            // Just below n − 0.5 the sum rounds up to n.
            let nearest = |axis: usize| ((index[axis] + 0.5) as usize).min(size[axis] - 1);
            let at = [0, 1, 2].map(nearest);
            self.at(at[0], at[1], at[2])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Geometry;

    #[test]
    fn a_linear_function_is_reproduced_and_the_border_replicated() {
        let g = Geometry::new([3, 4, 5], [1.0; 3]);
        let f = |x: f64, y: f64, z: f64| (1.0 + 2.0 * x - 3.0 * y + 0.5 * z) as f32;
        let mut data = Vec::new();
        for z in 0..5 {
            for y in 0..4 {
                data.extend((0..3).map(|x| f(x as f64, y as f64, z as f64)));
            }
        }
        let v = Volume::new(g, data);
        let p = Vector3::new(1.25, 2.5, 3.75);
        assert!((v.sample(p).unwrap() - f(1.25, 2.5, 3.75)).abs() < 1e-5);
        assert_eq!(v.sample(Vector3::new(-0.4, 0.0, 0.0)), Some(f(0.0, 0.0, 0.0)));
        assert_eq!(v.sample(Vector3::new(-0.6, 0.0, 0.0)), None);
        assert_eq!(v.sample(Vector3::new(2.5, 0.0, 0.0)), None);
        assert_eq!(v.sample_clamped(Vector3::new(9.0, -3.0, 4.0)), f(2.0, 0.0, 4.0));
        assert_eq!(v.nearest(Vector3::new(0.5, 0.49, 0.0)), Some(f(1.0, 0.0, 0.0)));
        let below = 2.5f64.next_down();
        assert_eq!(v.nearest(Vector3::new(below, 0.0, 0.0)), Some(f(2.0, 0.0, 0.0)));
        let below = 0.5f64.next_down();
        let flat = Volume::filled(Geometry::new([1; 3], [1.0; 3]), 7);
        assert_eq!(flat.nearest(Vector3::repeat(below)), Some(7));
    }

    #[test]
    fn nan_is_outside_and_never_indexes_out_of_bounds() {
        let v = Volume::filled(Geometry::new([2, 1, 1], [1.0; 3]), 1.0f32);
        let nan = Vector3::new(f64::NAN, 0.0, 0.0);
        assert_eq!(v.sample(nan), None);
        assert_eq!(v.sample_clamped(nan), 1.0);
    }
}
