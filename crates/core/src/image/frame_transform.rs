/// Where the pixels of a prepared frame lie in the frame that it was made of: along each axis
/// `original = scale · prepared + offset`. Vectors are (x, y), in pixels; whole numbers are the
/// centers of pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FrameTransform {
    pub scale: [f64; 2],
    pub offset: [f64; 2],
}

impl FrameTransform {
    pub const IDENTITY: FrameTransform = FrameTransform { scale: [1.0; 2], offset: [0.0; 2] };

    /// From a point of the prepared frame to the original.
    pub fn to_original(&self, prepared: [f64; 2]) -> [f64; 2] {
        [0, 1].map(|axis| self.scale[axis] * prepared[axis] + self.offset[axis])
    }

    /// From a point of the original to the prepared frame.
    pub fn to_prepared(&self, original: [f64; 2]) -> [f64; 2] {
        [0, 1].map(|axis| (original[axis] - self.offset[axis]) / self.scale[axis])
    }

    /// After a further step that cuts the frame so that its pixel `corner` becomes the first;
    /// where `corner` is negative, the frame was padded.
    pub fn cut(&self, corner: [f64; 2]) -> Self {
        FrameTransform { scale: self.scale, offset: self.to_original(corner) }
    }

    /// After a further step that brings the whole frame from one size (width, height) to another.
    /// The frames' outlines match and not the centers of their corner pixels, as in OpenCV:
    /// `x_from = (x_to + ½) · from / to − ½`.
    pub fn resized(&self, from: [usize; 2], to: [usize; 2]) -> Self {
        let scale = [0, 1].map(|axis| from[axis] as f64 / to[axis] as f64);
        let offset = self.to_original(scale.map(|s| 0.5 * s - 0.5));
        FrameTransform { scale: [0, 1].map(|axis| self.scale[axis] * scale[axis]), offset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_compose_and_are_undone() {
        // Cut at (10, 20), halve the width and triple the height, then pad by 3 and 4.
        let t = FrameTransform::IDENTITY.cut([10.0, 20.0]);
        let t = t.resized([8, 4], [4, 12]).cut([-3.0, -4.0]);
        // The first pixel of the resized frame covers columns 10 and 11 and a third of row 20.
        let [x, y] = t.to_original([3.0, 4.0]);
        assert!((x - 10.5).abs() < 1e-12 && (y - (20.0 - 1.0 / 3.0)).abs() < 1e-12, "{x} {y}");
        let back = t.to_prepared(t.to_original([1.25, 7.5]));
        assert!((back[0] - 1.25).abs() < 1e-12 && (back[1] - 7.5).abs() < 1e-12);
    }
}
