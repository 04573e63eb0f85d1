//! Crop and pad.

use serde::{Deserialize, Serialize};

use super::Sample;
use crate::image::Frame;
use crate::{Error, Result};

/// Keeps a part of the frame, such as a scanner's picture without the text around it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crop {
    /// In pixels, as is everything here.
    pub width: usize,
    pub height: usize,
    /// The first column that is kept; without it the middle is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x: Option<usize>,
    /// The first row that is kept; without it the middle is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub y: Option<usize>,
}

/// Puts the frame in the middle of a larger one; of an odd rest the larger half is on the right
/// and at the bottom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pad {
    pub width: usize,
    pub height: usize,
    /// The sample around the frame, in the frame's numbers at this place of the list.
    #[serde(default)]
    pub value: f32,
}

impl Crop {
    /// The part that is kept of a frame, and the place of its first pixel (x, y) in the frame.
    ///
    /// # Errors
    /// [`Error::Unusable`] when the frame has not all of that part.
    pub fn apply<T: Sample>(&self, frame: &Frame<T>, name: &str) -> Result<(Frame<T>, [usize; 2])> {
        let start = |at: Option<usize>, size: usize, of: usize| {
            let at = at.or(Some(of.checked_sub(size)? / 2))?;
            (at.checked_add(size)? <= of).then_some(at)
        };
        let corner = start(self.x, self.width, frame.width)
            .zip(start(self.y, self.height, frame.height))
            .map(|(x, y)| [x, y]);
        let Some([x, y]) = corner else {
            let [width, height] = frame.size();
            let problem = format!(
                "{width}×{height} pixels, too small for the package's crop of {}×{} at {:?}, {:?}",
                self.width, self.height, self.x, self.y
            );
            return Err(Error::unusable(name, problem, "give a frame as the package expects it"));
        };
        let mut data = Vec::with_capacity(self.width * self.height);
        for row in y..y + self.height {
            data.extend_from_slice(&frame.row(row)[x..x + self.width]);
        }
        let cropped = Frame { spacing: frame.spacing, ..Frame::new(self.width, self.height, data) };
        Ok((cropped, [x, y]))
    }
}

impl Pad {
    /// The larger frame, and the place of the frame's first pixel (x, y) in it.
    ///
    /// # Errors
    /// [`Error::Unusable`] when the frame is larger.
    pub fn apply<T: Sample>(&self, frame: &Frame<T>, name: &str) -> Result<(Frame<T>, [usize; 2])> {
        let [width, height] = frame.size();
        if width > self.width || height > self.height {
            let problem = format!(
                "{width}×{height} pixels, larger than the package's pad to {}×{}",
                self.width, self.height
            );
            return Err(Error::unusable(name, problem, "crop or resize the frame before"));
        }
        let [x, y] = [(self.width - width) / 2, (self.height - height) / 2];
        let value = T::rounded(self.value);
        let mut data = Vec::with_capacity(self.width * self.height);
        data.resize(y * self.width, value);
        for row in frame.data.chunks_exact(width) {
            data.resize(data.len() + x, value);
            data.extend_from_slice(row);
            data.resize(data.len() + self.width - width - x, value);
        }
        data.resize(self.width * self.height, value);
        let padded = Frame { spacing: frame.spacing, ..Frame::new(self.width, self.height, data) };
        Ok((padded, [x, y]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pad_undoes_crop_and_what_does_not_fit_is_refused() {
        let frame = Frame::new(5, 3, (0..15u8).collect());
        let crop = Crop { width: 2, height: 2, x: Some(3), y: None };
        let (part, corner) = crop.apply(&frame, "test").unwrap();
        assert_eq!((part.data, corner), (vec![3, 4, 8, 9], [3, 0]));
        let (larger, corner) =
            Pad { width: 8, height: 4, value: 300.0 }.apply(&frame, "test").unwrap();
        assert_eq!((corner, larger.data[0], larger.data[8 + 1]), ([1, 0], 255, 5));
        let crop = Crop { width: 5, height: 3, x: Some(1), y: Some(0) };
        assert_eq!(crop.apply(&larger, "test").unwrap().0, frame);
        for crop in [
            Crop { width: 6, height: 1, x: None, y: None },
            Crop { width: 5, height: 1, x: Some(1), y: None },
            Crop { width: 1, height: usize::MAX, x: None, y: Some(1) },
        ] {
            assert!(crop.apply(&frame, "test").is_err(), "{crop:?}");
        }
        assert!(Pad { width: 4, height: 9, value: 0.0 }.apply(&frame, "test").is_err());
    }
}
