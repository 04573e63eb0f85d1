use crate::image::{Ellipse, Frame};

/// The largest 4-connected part of a map that is above a level, its holes filled. Its outline runs
/// between pixels, where the values, linear along a pixel's edge, reach the level.
pub struct Part {
    inside: Vec<bool>,
    moments: Moments,
}

impl Part {
    /// `None` where nothing is above the level.
    pub fn largest(scores: &Frame<f32>, level: f32) -> Option<Part> {
        let inside = largest_part(scores, level)?;
        let mut moments = Moments::default();
        for y in 1..scores.height {
            for x in 1..scores.width {
                add_square(&mut moments, scores, &inside, level, [x, y]);
            }
        }
        Some(Part { inside, moments })
    }

    /// Which of the map's pixels are of it.
    pub fn inside(&self) -> &[bool] {
        &self.inside
    }

    /// The first and the last pixel along x and y of the map that it was found in.
    pub fn extent(&self, scores: &Frame<f32>) -> [[f64; 2]; 2] {
        let (mut first, mut last) = ([usize::MAX; 2], [0; 2]);
        for i in (0..self.inside.len()).filter(|i| self.inside[*i]) {
            for (axis, at) in [i % scores.width, i / scores.width].into_iter().enumerate() {
                first[axis] = first[axis].min(at);
                last[axis] = last[axis].max(at);
            }
        }
        [first, last].map(|corner| corner.map(|at| at as f64))
    }

    /// In pixels of the map, parts of pixels counted.
    pub fn area(&self) -> f64 {
        self.moments.0[0]
    }

    /// The ellipse with its moments; `None` where it is no area.
    pub fn ellipse(&self) -> Option<Ellipse> {
        let [area, rest @ ..] = self.moments.0;
        let [x, y, xx, xy, yy] = rest.map(|sum| sum / area);
        let xy = xy - x * y;
        Ellipse::from_moments([x, y], [[xx - x * x, xy], [xy, yy - y * y]])
    }
}

/// Which pixels are of the largest 4-connected part above the level, or in a hole of it.
fn largest_part(scores: &Frame<f32>, level: f32) -> Option<Vec<bool>> {
    let [width, height] = scores.size();
    let (part, sizes) = parts(width, scores.data.iter().map(|v| *v > level));
    // Of equals the first.
    let largest = (1..sizes.len()).rev().max_by_key(|number| sizes[*number])? as u32;
    let (rest, sizes) = parts(width, part.iter().map(|number| *number != largest));
    // What the frame's border does not reach is a hole.
    let mut outside = vec![false; sizes.len()];
    for (i, number) in rest.iter().enumerate() {
        let (x, y) = (i % width, i / width);
        outside[*number as usize] |= x == 0 || y == 0 || x + 1 == width || y + 1 == height;
    }
    outside[0] = false;
    Some(rest.iter().map(|number| !outside[*number as usize]).collect())
}

/// 4-connected parts: for each pixel the number of its part, from 1, or 0; and their sizes by
/// number. In one pass pixels get the number of a neighbor before them; where two numbers meet,
/// they become one in the end.
fn parts(width: usize, above: impl Iterator<Item = bool>) -> (Vec<u32>, Vec<usize>) {
    fn root(parents: &mut [u32], mut number: u32) -> u32 {
        while parents[number as usize] != number {
            let parent = parents[number as usize];
            parents[number as usize] = parents[parent as usize];
            number = parent;
        }
        number
    }
    let mut numbers: Vec<u32> = Vec::with_capacity(above.size_hint().0);
    let mut parents = vec![0];
    for (i, above) in above.enumerate() {
        let left = if i % width > 0 { numbers[i - 1] } else { 0 };
        let up = if i >= width { numbers[i - width] } else { 0 };
        numbers.push(match (left, up) {
            _ if !above => 0,
            (0, 0) => {
                parents.push(parents.len() as u32);
                parents.len() as u32 - 1
            }
            (number, 0) | (0, number) => number,
            (left, up) if left == up => left,
            (left, up) => {
                let (a, b) = (root(&mut parents, left), root(&mut parents, up));
                parents[a.max(b) as usize] = a.min(b);
                a.min(b)
            }
        });
    }
    let mut sizes = vec![0; parents.len()];
    for number in &mut numbers {
        *number = root(&mut parents, *number);
        sizes[*number as usize] += 1;
    }
    sizes[0] = 0;
    (numbers, sizes)
}

/// Adds the part that is inside of the square between the centers of four pixels, the last of them
/// at (x, y).
fn add_square(
    moments: &mut Moments,
    scores: &Frame<f32>,
    inside: &[bool],
    level: f32,
    [x, y]: [usize; 2],
) {
    let at = |x: usize, y: usize| y * scores.width + x;
    let corners = [(x - 1, y - 1), (x, y - 1), (x, y), (x - 1, y)];
    match corners.iter().filter(|(x, y)| inside[at(*x, *y)]).count() {
        0 => return,
        4 => return moments.add_whole_square([x as f64 - 0.5, y as f64 - 0.5]),
        _ => {}
    }
    let corners = corners.map(|(x, y)| {
        let i = at(x, y);
        // Of other parts and of holes the other side of the level counts.
        let above = f64::from(scores.data[i] - level).abs();
        ([x as f64, y as f64], if inside[i] { above } else { -above })
    });
    let mut outline = Vec::with_capacity(8);
    for (i, (p, v)) in corners.iter().enumerate() {
        let (q, w) = corners[(i + 1) % 4];
        if *v > 0.0 {
            outline.push(*p);
        }
        if (*v > 0.0) != (w > 0.0) {
            let share = v / (v - w);
            outline.push([p[0] + share * (q[0] - p[0]), p[1] + share * (q[1] - p[1])]);
        }
    }
    moments.add(&outline);
}

/// Integrals over an area of 1, x, y, x², xy, y².
#[derive(Default)]
struct Moments([f64; 6]);

impl Moments {
    /// Adds a square of side 1 around a place.
    fn add_whole_square(&mut self, [x, y]: [f64; 2]) {
        let terms = [1.0, x, y, x * x + 1.0 / 12.0, x * y, y * y + 1.0 / 12.0];
        self.0.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
    }

    /// Adds a polygon, by Green's theorem.
    fn add(&mut self, polygon: &[[f64; 2]]) {
        for (i, &[x, y]) in polygon.iter().enumerate() {
            let [u, v] = polygon[(i + 1) % polygon.len()];
            let cross = x * v - u * y;
            let terms = [
                cross / 2.0,
                cross * (x + u) / 6.0,
                cross * (y + v) / 6.0,
                cross * (x * x + x * u + u * u) / 12.0,
                cross * (2.0 * x * y + x * v + u * y + 2.0 * u * v) / 24.0,
                cross * (y * y + y * v + v * v) / 12.0,
            ];
            self.0.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ellipse(scores: &Frame<f32>) -> Option<Ellipse> {
        Part::largest(scores, 0.0)?.ellipse()
    }

    fn close(a: &Ellipse, b: &Ellipse, within: f64) {
        for (p, q) in a.ends().iter().zip(b.ends()) {
            assert!((p[0] - q[0]).hypot(p[1] - q[1]) < within, "{a:?} {b:?}");
        }
    }

    #[test]
    fn scores_of_an_ellipse_give_that_ellipse() {
        for (number, angle) in [-1.5, -0.8, 0.0, 0.3, 0.77, 1.4].into_iter().enumerate() {
            let truth = Ellipse {
                center: [50.3 + number as f64, 45.9],
                semi_axes: [31.7, 22.2 + number as f64],
                angle,
            };
            let mut scores = Frame::filled(107, 93, 0.0f32);
            for (i, score) in scores.data.iter_mut().enumerate() {
                let at = [(i % 107) as f64, (i / 107) as f64];
                *score = (1.0 - truth.level(at)) as f32 * 20.0;
            }
            close(&ellipse(&scores).unwrap(), &truth, 0.02);
            // Another part, and a hole, do not count.
            scores.data[107 * 3..][..9].fill(2.0);
            scores.data[107 * 46 + 50] = -3.0;
            close(&ellipse(&scores).unwrap(), &truth, 0.02);
        }
        let scores = Frame::filled(9, 9, -1.0f32);
        assert_eq!(ellipse(&scores), None);
        assert_eq!(ellipse(&Frame::filled(0, 0, 1.0)), None);
        assert_eq!(ellipse(&Frame::filled(9, 9, f32::NAN)), None);
        let mut line = scores;
        line.data[40] = f32::INFINITY;
        assert_eq!(ellipse(&line), None);
    }
}
