/// A 2-D image: `width` columns and `height` rows of samples, row by row. A sample is a number,
/// or in a color frame as it is read an array of them: red, green, blue, and opacity if any.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame<T = f32> {
    pub width: usize,
    pub height: usize,
    /// Millimeters per pixel along a row and down a column, where known. Without it nothing
    /// measured on the frame can be in millimeters.
    pub spacing: Option<[f64; 2]>,
    pub data: Vec<T>,
}

impl<T: Copy> Frame<T> {
    /// A frame without a known pixel size.
    ///
    /// # Panics
    /// If `data` does not hold one sample per pixel.
    pub fn new(width: usize, height: usize, data: Vec<T>) -> Self {
        assert_eq!(data.len(), width * height, "one sample per pixel");
        Frame { width, height, spacing: None, data }
    }

    /// A frame with the same sample everywhere.
    pub fn filled(width: usize, height: usize, value: T) -> Self {
        Frame { width, height, spacing: None, data: vec![value; width * height] }
    }

    /// Width and height.
    pub fn size(&self) -> [usize; 2] {
        [self.width, self.height]
    }

    /// The samples of row `y`, from left to right.
    ///
    /// # Panics
    /// If `y` is outside the frame.
    #[inline]
    pub fn row(&self, y: usize) -> &[T] {
        &self.data[y * self.width..][..self.width]
    }

    /// The same pixels with other samples.
    ///
    /// # Panics
    /// If `data` does not hold one sample per pixel.
    pub fn with<U: Copy>(&self, data: Vec<U>) -> Frame<U> {
        Frame { spacing: self.spacing, ..Frame::new(self.width, self.height, data) }
    }
}

/// A frame as a file, a camera or a scanner hands it over.
#[derive(Debug, Clone, PartialEq)]
pub enum Pixels {
    Gray8(Frame<u8>),
    Gray16(Frame<u16>),
    Rgb8(Frame<[u8; 3]>),
    Rgb16(Frame<[u16; 3]>),
    Rgba8(Frame<[u8; 4]>),
    Rgba16(Frame<[u16; 4]>),
    Float(Frame<f32>),
}

/// The same expression of a frame of any kind.
macro_rules! of_any {
    ($pixels:expr, $frame:ident => $make:expr) => {
        match $pixels {
            Pixels::Gray8($frame) => $make,
            Pixels::Gray16($frame) => $make,
            Pixels::Rgb8($frame) => $make,
            Pixels::Rgb16($frame) => $make,
            Pixels::Rgba8($frame) => $make,
            Pixels::Rgba16($frame) => $make,
            Pixels::Float($frame) => $make,
        }
    };
}

impl Pixels {
    /// Width and height.
    pub fn size(&self) -> [usize; 2] {
        of_any!(self, frame => frame.size())
    }

    /// Millimeters per pixel along a row and down a column, where known.
    pub fn spacing(&self) -> Option<[f64; 2]> {
        of_any!(self, frame => frame.spacing)
    }
}

/// Whether these millimeters along x and y can be a pixel's: no image of a body has pixels beyond
/// 0.0001 to 100 mm.
pub fn is_pixel_size(mm: [f64; 2]) -> bool {
    mm.iter().all(|mm| (1e-4..=100.0).contains(mm))
}
