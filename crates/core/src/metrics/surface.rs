use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use super::require_same_grid;
use crate::Result;
use crate::image::LabelMap;

/// 95th-percentile Hausdorff distance of every label's surfaces, in millimeters; `None` for a
/// label that is missing on one side. Background (0) is left out.
///
/// MONAI's definition: a label's surface is the label without its 6-connected erosion, where
/// beyond the image's border is outside; from each surface's voxels the distances to the nearest
/// of the other's; of each direction the 95th percentile (numpy's linear interpolation); the
/// larger of both. Distances are exact between voxel centers, along orthogonal axes. Along an axis
/// on which the image has one voxel there is no outside: the mask of a frame, as one slice, has an
/// outline.
///
/// # Errors
/// [`Unusable`](crate::Error::Unusable) if the maps are on different grids.
pub fn hd95(a: &LabelMap, b: &LabelMap) -> Result<BTreeMap<i32, Option<f64>>> {
    require_same_grid(a, b)?;
    let (boxes_a, boxes_b) = (bounding_boxes(a), bounding_boxes(b));
    let labels: BTreeSet<i32> = boxes_a.keys().chain(boxes_b.keys()).copied().collect();
    let distance = |label: i32| {
        // Everything outside both boxes is far from both surfaces and not needed.
        let crop = boxes_a.get(&label)?.union(boxes_b.get(&label)?);
        let surface_a = surface(a, label, &crop);
        let surface_b = surface(b, label, &crop);
        let spacing = a.geometry.spacing;
        let there = directed_95(&surface_a, &surface_b, crop.size(), spacing);
        let back = directed_95(&surface_b, &surface_a, crop.size(), spacing);
        Some(there.max(back))
    };
    let labels: Vec<i32> = labels.into_iter().collect();
    Ok(labels.into_par_iter().map(|label| (label, distance(label))).collect())
}

/// First and last voxel (x, y, z) of a box, both inside.
#[derive(Clone, Copy)]
struct Crop {
    first: [usize; 3],
    last: [usize; 3],
}

impl Crop {
    fn union(&self, other: &Crop) -> Crop {
        Crop {
            first: std::array::from_fn(|i| self.first[i].min(other.first[i])),
            last: std::array::from_fn(|i| self.last[i].max(other.last[i])),
        }
    }

    fn size(&self) -> [usize; 3] {
        std::array::from_fn(|i| self.last[i] - self.first[i] + 1)
    }
}

fn bounding_boxes(map: &LabelMap) -> BTreeMap<i32, Crop> {
    let [nx, ny, _] = map.geometry.size;
    let mut boxes = BTreeMap::<i32, Crop>::new();
    for (row, voxels) in map.data.chunks_exact(nx).enumerate() {
        let (y, z) = (row % ny, row / ny);
        let mut x = 0;
        for run in voxels.chunk_by(|p, q| p == q) {
            let here = Crop { first: [x, y, z], last: [x + run.len() - 1, y, z] };
            x += run.len();
            if run[0] != 0 {
                boxes.entry(run[0]).and_modify(|b| *b = b.union(&here)).or_insert(here);
            }
        }
    }
    boxes
}

/// Where the label's surface is, within the crop, x fastest.
fn surface(map: &LabelMap, label: i32, crop: &Crop) -> Vec<bool> {
    let [nx, ny, nz] = crop.size();
    let [x0, y0, z0] = crop.first;
    let flat = map.geometry.size.map(|n| n == 1);
    let inside: Vec<bool> = (0..nx * ny * nz)
        .map(|i| map.at(x0 + i % nx, y0 + i / nx % ny, z0 + i / (nx * ny)) == label)
        .collect();
    // The crop holds all of the label, so beyond it is outside as beyond the image is.
    let is_surface = |i: usize| {
        let (at, size, step) =
            ([i % nx, i / nx % ny, i / (nx * ny)], [nx, ny, nz], [1, nx, nx * ny]);
        let bare = |axis: usize| {
            at[axis] == 0
                || at[axis] + 1 == size[axis]
                || !inside[i - step[axis]]
                || !inside[i + step[axis]]
        };
        // An image of one voxel is all surface.
        inside[i] && (flat == [true; 3] || (0..3).any(|axis| !flat[axis] && bare(axis)))
    };
    (0..inside.len()).map(is_surface).collect()
}

fn directed_95(from: &[bool], to: &[bool], size: [usize; 3], spacing: [f64; 3]) -> f64 {
    let squared = squared_distances(to, size, spacing);
    let on_surface = from.iter().zip(squared).filter(|(surface, _)| **surface);
    let mut distances: Vec<f64> = on_surface.map(|(_, d)| d.sqrt()).collect();
    distances.sort_by(f64::total_cmp);
    // Neither surface is empty: both labels are present.
    let position = 0.95 * (distances.len() - 1) as f64;
    let below = distances[position.floor() as usize];
    let above = distances[position.ceil() as usize];
    below + (above - below) * position.fract()
}

/// Exact squared Euclidean distance to the nearest set voxel, in mm², in time linear in the
/// number of voxels (Felzenszwalb and Huttenlocher, Theory of Computing 8, 2012).
fn squared_distances(set: &[bool], size: [usize; 3], spacing: [f64; 3]) -> Vec<f64> {
    let mut squared: Vec<f64> = set.iter().map(|s| if *s { 0.0 } else { f64::INFINITY }).collect();
    let strides = [1, size[0], size[0] * size[1]];
    let mut line = Vec::new();
    let mut envelope = Envelope::default();
    for axis in 0..3 {
        let starts = (0..set.len()).filter(|i| (i / strides[axis]).is_multiple_of(size[axis]));
        for start in starts {
            let places = || (0..size[axis]).map(|i| start + i * strides[axis]);
            line.clear();
            line.extend(places().map(|i| squared[i]));
            envelope.lower(&mut line, spacing[axis]);
            places().zip(&line).for_each(|(i, value)| squared[i] = *value);
        }
    }
    squared
}

/// The lower envelope of parabolas, one over each sample of a line.
#[derive(Default)]
struct Envelope {
    /// Place and height of the visible parabolas' vertices, and where each becomes the lowest.
    parabolas: Vec<(f64, f64, f64)>,
}

impl Envelope {
    /// Replaces each value by min over j of (i − j)²·step² + value(j).
    fn lower(&mut self, line: &mut [f64], step: f64) {
        self.parabolas.clear();
        for (i, &height) in line.iter().enumerate().filter(|(_, height)| height.is_finite()) {
            let place = i as f64 * step;
            let mut start = f64::NEG_INFINITY;
            while let Some(&(other, other_height, other_start)) = self.parabolas.last() {
                start = ((height + place * place) - (other_height + other * other))
                    / (2.0 * (place - other));
                if start > other_start {
                    break;
                }
                self.parabolas.pop();
                start = f64::NEG_INFINITY;
            }
            self.parabolas.push((place, height, start));
        }
        let mut visible = self.parabolas.iter().peekable();
        let mut lowest = None;
        for (i, value) in line.iter_mut().enumerate() {
            let place = i as f64 * step;
            while let Some(next) = visible.next_if(|(_, _, start)| *start <= place) {
                lowest = Some(next);
            }
            if let Some((vertex, height, _)) = lowest {
                *value = (place - vertex) * (place - vertex) + height;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Frame, Geometry};
    use intraop_engine::Random;

    fn map(geometry: &Geometry, label: impl Fn([i32; 3]) -> i32) -> LabelMap {
        let [nx, ny, nz] = geometry.size;
        let at = |i: usize| [i % nx, i / nx % ny, i / (nx * ny)].map(|v| v as i32);
        LabelMap::new(geometry.clone(), (0..nx * ny * nz).map(|i| label(at(i))).collect())
    }

    #[test]
    fn agrees_with_scipy() {
        // z, y, x = np.mgrid[:18, :20, :22]
        // def surface(m): return m & ~ndimage.binary_erosion(m)
        // def directed(p, q):
        //     d = ndimage.distance_transform_edt(~q, sampling=(2.1, 1.3, 0.7))
        //     return np.percentile(d[p], 95)
        // def hd95(a, b):
        //     a, b = surface(a), surface(b)
        //     return max(directed(a, b), directed(b, a))
        // def ball(cx, cy, cz): return (x-cx)**2 + 2*(y-cy)**2 + 3*(z-cz)**2
        // hd95(ball(9, 8, 9) < 60, ball(12, 9, 7) < 90)
        // hd95((x < 4) & (y > 15) & (z < 7), (x < 6) & (y > 13) & (x + z < 9))
        let geometry = Geometry::new([22, 20, 18], [0.7, 1.3, 2.1]);
        let ball = |[x, y, z]: [i32; 3], [cx, cy, cz]: [i32; 3]| {
            (x - cx).pow(2) + 2 * (y - cy).pow(2) + 3 * (z - cz).pow(2)
        };
        let a = map(&geometry, |p| match p {
            p if ball(p, [9, 8, 9]) < 60 => 1,
            [x, y, z] if x < 4 && y > 15 && z < 7 => 2,
            _ => 0,
        });
        let b = map(&geometry, |p| match p {
            p if ball(p, [12, 9, 7]) < 90 => 1,
            [x, y, z] if x < 6 && y > 13 && x + z < 9 => 2,
            _ => 0,
        });
        let found = hd95(&a, &b).unwrap();
        assert_eq!(found.len(), 2);
        assert!((found[&1].unwrap() - 6.3).abs() < 1e-9, "{found:?}");
        assert!((found[&2].unwrap() - 2.95296461204668).abs() < 1e-9, "{found:?}");
    }

    #[test]
    fn frames_agree_with_scipy() {
        // As above in two dimensions, sampling=(1.3, 0.7): y, x = np.mgrid[:40, :50]
        // hd95((x-20)**2 + 2*(y-18)**2 < 200, (x-23)**2 + 3*(y-14)**2 < 170)
        let frame = |inside: &dyn Fn(i32, i32) -> bool| {
            let value = |i: i32| u8::from(inside(i % 50, i / 50));
            let frame = Frame::new(50, 40, (0..2000).map(value).collect());
            LabelMap::from(&Frame { spacing: Some([0.7, 1.3]), ..frame })
        };
        let a = frame(&|x, y| (x - 20).pow(2) + 2 * (y - 18).pow(2) < 200);
        let b = frame(&|x, y| (x - 23).pow(2) + 3 * (y - 14).pow(2) < 170);
        let found = hd95(&a, &b).unwrap()[&1].unwrap();
        assert!((found - 8.024161472818395).abs() < 1e-9, "{found}");
    }

    /// The definition, word by word, on the whole image.
    fn brute_force(a: &LabelMap, b: &LabelMap, label: i32) -> f64 {
        let size = a.geometry.size.map(|n| n as i32);
        let holds = |m: &LabelMap, p: [i32; 3]| {
            (0..3).all(|i| (0..size[i]).contains(&p[i]))
                && m.at(p[0] as usize, p[1] as usize, p[2] as usize) == label
        };
        let shifted = |mut p: [i32; 3], axis: usize, by: i32| {
            p[axis] += by;
            p
        };
        let surface = |m: &LabelMap| -> Vec<[i32; 3]> {
            let all = (0..size[2])
                .flat_map(|z| (0..size[1]).flat_map(move |y| (0..size[0]).map(move |x| [x, y, z])));
            all.filter(|p| holds(m, *p))
                .filter(|p| {
                    let bare = |i: usize| !holds(m, shifted(*p, i / 2, [-1, 1][i % 2]));
                    size == [1; 3] || (0..6).any(|i| size[i / 2] > 1 && bare(i))
                })
                .collect()
        };
        let distance = |p: &[i32; 3], q: &[i32; 3]| {
            let part = |i: usize| (f64::from(p[i] - q[i]) * a.geometry.spacing[i]).powi(2);
            (part(0) + part(1) + part(2)).sqrt()
        };
        let directed = |from: &[[i32; 3]], to: &[[i32; 3]]| {
            let nearest = |p| to.iter().map(|q| distance(p, q)).fold(f64::MAX, f64::min);
            let mut all: Vec<f64> = from.iter().map(nearest).collect();
            all.sort_by(f64::total_cmp);
            let position = 0.95 * (all.len() - 1) as f64;
            let (low, high) = (position.floor() as usize, position.ceil() as usize);
            all[low] * (1.0 - position.fract()) + all[high] * position.fract()
        };
        let (a, b) = (surface(a), surface(b));
        directed(&a, &b).max(directed(&b, &a))
    }

    #[test]
    fn agrees_with_brute_force_on_random_maps() {
        let mut random = Random::new(5);
        for round in 0..40 {
            let size = [0; 3].map(|_| random.range(1.0, 10.0) as usize);
            let spacing = [0; 3].map(|_| random.range(0.3, 4.0));
            let geometry = Geometry::new(size, spacing);
            // From single voxels to nearly full images.
            let share = random.uniform();
            let mut draw = || {
                let label = |_| if random.uniform() < share { 1 + (round % 2) } else { 0 };
                LabelMap::new(geometry.clone(), (0..geometry.voxels()).map(label).collect())
            };
            let (a, b) = (draw(), draw());
            for (label, found) in hd95(&a, &b).unwrap() {
                match found {
                    Some(found) => {
                        let expected = brute_force(&a, &b, label);
                        assert!((found - expected).abs() < 1e-9, "{found} {expected} {geometry}");
                    }
                    None => assert!(a.labels().is_empty() || b.labels().is_empty()),
                }
            }
        }
    }

    #[test]
    fn a_label_on_one_side_only_has_no_distance() {
        let geometry = Geometry::new([3, 1, 1], [2.0, 1.0, 1.0]);
        let a = LabelMap::new(geometry.clone(), vec![1, 0, 2]);
        let b = LabelMap::new(geometry.clone(), vec![0, 1, 3]);
        let expected = [(1, Some(2.0)), (2, None), (3, None)];
        assert_eq!(hd95(&a, &b).unwrap(), BTreeMap::from(expected));
        let empty = LabelMap::filled(geometry, 0);
        assert!(hd95(&empty, &empty).unwrap().is_empty());
        assert!(hd95(&a, &LabelMap::filled(Geometry::new([2, 1, 1], [1.0; 3]), 1)).is_err());
    }
}
