//! Trilinear interpolation at continuous voxel indices (x, y, z), the one place that knows the
//! border rules.

use nalgebra::Vector3;

use super::Volume;

/// A sample that can be interpolated: a number or a vector of numbers.
pub trait Lerp: Copy {
    /// The sample as it is computed with.
    type Wide: Copy;

    fn widened(data: &[Self], at: usize) -> Self::Wide;

    /// `a + t · (b − a)`.
    fn lerp(a: Self::Wide, b: Self::Wide, t: f32) -> Self::Wide;

    fn narrowed(wide: Self::Wide) -> Self;
}

impl Lerp for f32 {
    type Wide = f32;

    #[inline(always)]
    fn widened(data: &[f32], at: usize) -> f32 {
        data[at]
    }

    #[inline(always)]
    fn lerp(a: f32, b: f32, t: f32) -> f32 {
        a + t * (b - a)
    }

    #[inline(always)]
    fn narrowed(wide: f32) -> f32 {
        wide
    }
}

impl Lerp for [f32; 3] {
    /// Four numbers, which every CPU computes at once; the last means nothing.
    type Wide = [f32; 4];

    #[inline(always)]
    fn widened(data: &[[f32; 3]], at: usize) -> [f32; 4] {
        if let Some(four) = data.as_flattened()[3 * at..].first_chunk() {
            return *four;
        }
        let [x, y, z] = data[at];
        [x, y, z, 0.0]
    }

    #[inline(always)]
    fn lerp(a: [f32; 4], b: [f32; 4], t: f32) -> [f32; 4] {
        std::array::from_fn(|i| a[i] + t * (b[i] - a[i]))
    }

    #[inline(always)]
    fn narrowed([x, y, z, _]: [f32; 4]) -> [f32; 3] {
        [x, y, z]
    }
}

/// Is this continuous index inside the image? Half a voxel beyond the outermost voxel centers
/// still is, as in ITK (`IsInsideBuffer`).
#[inline]
pub fn inside(size: [usize; 3], index: Vector3<f64>) -> bool {
    // Without early exit: one comparison costs less than a branch.
    let along = |axis: usize| index[axis] >= -0.5 && index[axis] < size[axis] as f64 - 0.5;
    along(0) & along(1) & along(2)
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
        Trilinear::clamped(self.geometry.size, index).value(&self.data)
    }
}

/// Where a continuous index lies between the voxel centers of an image: for several images of
/// one size, found once.
#[derive(Debug, Clone, Copy)]
pub struct Trilinear {
    /// Position in memory of the voxel at or below the index.
    low: usize,
    /// From there to the next voxel along x, y, z; 0 at the border.
    step: [usize; 3],
    t: [f32; 3],
}

impl Trilinear {
    /// The place nearest to `index` that is in an image of `size`.
    #[inline]
    pub fn clamped(size: [usize; 3], index: Vector3<f64>) -> Trilinear {
        let strides = [1, size[0], size[0] * size[1]];
        let mut place = Trilinear { low: 0, step: [0; 3], t: [0.0; 3] };
        for axis in 0..3 {
            // Also sends NaN to 0: casts and `max` do the rest.
            let at = index[axis].max(0.0).min((size[axis] - 1) as f64);
            let floor = at as usize;
            place.low += floor * strides[axis];
            place.step[axis] = if floor + 1 < size[axis] { strides[axis] } else { 0 };
            place.t[axis] = (at - floor as f64) as f32;
        }
        place
    }

    /// The value there of an image's samples, interpolated along z, then y, then x.
    #[inline]
    pub fn value<T: Lerp>(&self, data: &[T]) -> T {
        let [dx, dy, _] = self.step;
        let near = T::lerp(self.column(data, 0), self.column(data, dy), self.t[1]);
        let far = T::lerp(self.column(data, dx), self.column(data, dx + dy), self.t[1]);
        T::narrowed(T::lerp(near, far, self.t[0]))
    }

    #[inline(always)]
    fn column<T: Lerp>(&self, data: &[T], offset: usize) -> T::Wide {
        let at = self.low + offset;
        T::lerp(T::widened(data, at), T::widened(data, at + self.step[2]), self.t[2])
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
