//! RGB pictures, and how they and planes are brought to another size.

use crate::image::Frame;

/// Red, green, blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rgb(pub [u8; 3]);

/// A picture of 8-bit RGB, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    height: u32,
    pixels: Vec<Rgb>,
}

impl Picture {
    pub fn filled(width: u32, height: u32, color: Rgb) -> Picture {
        Picture { width, height, pixels: vec![color; width as usize * height as usize] }
    }

    /// The color of each column and row.
    pub fn from_fn(width: u32, height: u32, of: impl Fn(u32, u32) -> Rgb) -> Picture {
        let rows = 0..height;
        let pixels = rows.flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| of(x, y));
        Picture { width, height, pixels: pixels.collect() }
    }

    pub fn width(&self) -> u32 {
        self.width
    }

    pub fn height(&self) -> u32 {
        self.height
    }

    /// Row by row.
    pub fn pixels(&self) -> &[Rgb] {
        &self.pixels
    }

    pub(super) fn pixels_mut(&mut self) -> &mut [Rgb] {
        &mut self.pixels
    }

    /// Red, green, blue of every pixel.
    pub fn samples(&self) -> Vec<u8> {
        self.pixels.iter().flat_map(|p| p.0).collect()
    }

    /// `None` outside.
    pub fn pixel(&self, x: u32, y: u32) -> Option<Rgb> {
        let inside = x < self.width && y < self.height;
        inside.then(|| self.pixels[(y * self.width + x) as usize])
    }

    /// `None` outside.
    pub(super) fn pixel_mut(&mut self, x: u32, y: u32) -> Option<&mut Rgb> {
        let inside = x < self.width && y < self.height;
        inside.then(|| &mut self.pixels[(y * self.width + x) as usize])
    }

    /// Copies `other` with its top left corner at `at`; what falls outside is dropped.
    pub(super) fn place(&mut self, other: &Picture, at: (i32, i32)) {
        for (i, color) in other.pixels.iter().enumerate() {
            let (x, y) = (i as u32 % other.width, i as u32 / other.width);
            let to = (i64::from(at.0) + i64::from(x), i64::from(at.1) + i64::from(y));
            let (Ok(x), Ok(y)) = (u32::try_from(to.0), u32::try_from(to.1)) else { continue };
            if let Some(pixel) = self.pixel_mut(x, y) {
                *pixel = *color;
            }
        }
    }

    /// The picture in another size, linear between pixels.
    pub(super) fn resized(&self, width: u32, height: u32) -> Picture {
        let channels = [0, 1, 2].map(|c| {
            let plane = self.pixels.iter().map(|p| f32::from(p.0[c])).collect();
            let plane = Frame::new(self.width as usize, self.height as usize, plane);
            resized(&plane, [width as usize, height as usize], TRIANGLE)
        });
        let sample = |c: usize, at: usize| channels[c].data[at].clamp(0.0, 255.0).round() as u8;
        Picture::from_fn(width, height, |x, y| {
            let at = (y * width + x) as usize;
            Rgb([0, 1, 2].map(|c| sample(c, at)))
        })
    }
}

/// A weight for a distance in pixels, and the distance from which on it is 0.
pub(super) type Filter = (fn(f32) -> f32, f32);

const TRIANGLE: Filter = (|x| (1.0 - x.abs()).max(0.0), 1.0);

/// The cubic of Catmull and Rom: sharper than linear, through every sample.
pub(super) const CATMULL_ROM: Filter = (
    |x| match x.abs() {
        a if a < 1.0 => (9.0 * a.powi(3) - 15.0 * a.powi(2) + 6.0) / 6.0,
        a if a < 2.0 => (-3.0 * a.powi(3) + 15.0 * a.powi(2) - 24.0 * a + 12.0) / 6.0,
        _ => 0.0,
    },
    2.0,
);

/// A plane in another size, each axis by itself, the outlines kept; where it becomes smaller the
/// filter is widened, so that every sample counts.
pub(super) fn resized(plane: &Frame, size: [usize; 2], filter: Filter) -> Frame {
    if plane.size() == size {
        return plane.clone();
    }
    let columns = taps(plane.height, size[1], filter);
    let mut tall = Vec::with_capacity(plane.width * size[1]);
    for (first, weights) in &columns {
        for x in 0..plane.width {
            let rows = weights.iter().enumerate();
            tall.push(rows.fold(0.0, |sum, (i, w)| sum + plane.row(first + i)[x] * w));
        }
    }
    let rows = taps(plane.width, size[0], filter);
    let row = |line: &[f32], (first, weights): &(usize, Vec<f32>)| {
        line[*first..].iter().zip(weights).fold(0.0, |sum, (v, w)| sum + v * w)
    };
    let lines = tall.chunks_exact(plane.width);
    let data = lines.flat_map(|line| rows.iter().map(move |taps| row(line, taps)));
    Frame { spacing: None, ..Frame::new(size[0], size[1], data.collect()) }
}

/// For each of `to` samples the first of `from` that counts, and the weights from there on.
fn taps(from: usize, to: usize, (weight, support): Filter) -> Vec<(usize, Vec<f32>)> {
    let ratio = from as f32 / to as f32;
    let widened = ratio.max(1.0);
    let reach = support * widened;
    let one = |at: usize| {
        let middle = (at as f32 + 0.5) * ratio;
        let first = ((middle - reach).floor() as i64).clamp(0, from as i64 - 1) as usize;
        let end = ((middle + reach).ceil() as i64).clamp(first as i64 + 1, from as i64) as usize;
        let weights = (first..end).map(|i| weight((i as f32 - (middle - 0.5)) / widened));
        let mut weights: Vec<f32> = weights.collect();
        let sum = weights.iter().sum::<f32>();
        weights.iter_mut().for_each(|w| *w /= sum);
        (first, weights)
    };
    (0..to).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Random;
    use ::image::imageops::{FilterType, resize};
    use ::image::{ImageBuffer, Luma, RgbImage};

    /// The crate image is the oracle, to the last bit.
    #[test]
    fn pictures_and_planes_are_resized_as_the_crate_image_does() {
        let mut random = Random::new(5);
        for (from, to) in
            [([7, 5], [21, 15]), ([12, 9], [5, 4]), ([1, 6], [4, 6]), ([3, 3], [3, 3])]
        {
            let count = from[0] * from[1];
            let data: Vec<f32> = (0..count).map(|_| random.range(0.0, 1.0) as f32).collect();
            let [width, height] = from.map(|n| n as u32);
            let theirs = ImageBuffer::<Luma<f32>, _>::from_raw(width, height, data.clone());
            let [wide, high] = to.map(|n| n as u32);
            let theirs = resize(&theirs.unwrap(), wide, high, FilterType::CatmullRom);
            let ours = resized(&Frame::new(from[0], from[1], data), to, CATMULL_ROM);
            let ours: Vec<f32> = ours.data.iter().map(|v| v.clamp(0.0, 1.0)).collect();
            assert_eq!(ours, theirs.into_raw());

            let color = |_: u32, _: u32| Rgb([7, 90, 255]);
            let mut picture = Picture::from_fn(width, height, color);
            picture.pixels.iter_mut().for_each(|p| p.0[1] = random.next_u64() as u8);
            let theirs = RgbImage::from_raw(width, height, picture.samples()).unwrap();
            let theirs = resize(&theirs, wide, high, FilterType::Triangle);
            assert_eq!(picture.resized(wide, high).samples(), theirs.into_raw());
        }
    }

    #[test]
    fn what_falls_outside_is_dropped() {
        let (black, white) = (Rgb([0; 3]), Rgb([255; 3]));
        let mut picture = Picture::filled(4, 3, black);
        picture.place(&Picture::filled(3, 3, white), (-2, 1));
        picture.place(&Picture::filled(1, 1, white), (4, 0));
        let lit = picture.pixels().iter().map(|p| u8::from(*p == white)).collect::<Vec<_>>();
        assert_eq!(lit, [0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]);
    }
}
