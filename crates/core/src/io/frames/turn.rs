use crate::image::{Frame, Pixels};

/// How a stored frame is brought upright: rows and columns exchanged first, then the flips.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Turn {
    pub transpose: bool,
    /// Left and right.
    pub flip_x: bool,
    /// Top and bottom.
    pub flip_y: bool,
}

impl Turn {
    /// Of an EXIF block (a TIFF header and its tags), as viewers and OpenCV's `imread` turn it.
    pub fn of_exif(exif: &[u8]) -> Turn {
        let code = orientation(exif).unwrap_or(1);
        // JEITA CP-3451, tag 274: where the stored first row and column lie in the picture.
        Turn {
            transpose: matches!(code, 5..=8),
            flip_x: matches!(code, 2 | 3 | 6 | 7),
            flip_y: matches!(code, 3 | 4 | 7 | 8),
        }
    }

    pub fn apply(self, pixels: Pixels) -> Pixels {
        match pixels {
            _ if self == Turn::default() => pixels,
            Pixels::Gray8(frame) => Pixels::Gray8(self.frame(&frame)),
            Pixels::Gray16(frame) => Pixels::Gray16(self.frame(&frame)),
            Pixels::Rgb8(frame) => Pixels::Rgb8(self.frame(&frame)),
            Pixels::Rgb16(frame) => Pixels::Rgb16(self.frame(&frame)),
            Pixels::Rgba8(frame) => Pixels::Rgba8(self.frame(&frame)),
            Pixels::Rgba16(frame) => Pixels::Rgba16(self.frame(&frame)),
            Pixels::Float(frame) => Pixels::Float(self.frame(&frame)),
        }
    }

    fn frame<T: Copy>(self, stored: &Frame<T>) -> Frame<T> {
        let (mut size, mut spacing) = (stored.size(), stored.spacing);
        if self.transpose {
            size.reverse();
            spacing = spacing.map(|[x, y]| [y, x]);
        }
        let [width, height] = size;
        let mut data = Vec::with_capacity(stored.data.len());
        for y in 0..height {
            for x in 0..width {
                let x = if self.flip_x { width - 1 - x } else { x };
                let y = if self.flip_y { height - 1 - y } else { y };
                let (column, row) = if self.transpose { (y, x) } else { (x, y) };
                data.push(stored.row(row)[column]);
            }
        }
        Frame { spacing, ..Frame::new(width, height, data) }
    }
}

/// The value of tag 274 in the first list of tags of a TIFF block, whichever its byte order.
fn orientation(exif: &[u8]) -> Option<u16> {
    let little = match exif.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let word = |at: usize| {
        let bytes = <[u8; 2]>::try_from(exif.get(at..at.checked_add(2)?)?).ok()?;
        Some(if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let long = |at: usize| {
        let [low, high] = if little { [at, at + 2] } else { [at + 2, at] };
        Some(u32::from(word(low)?) | u32::from(word(high)?) << 16)
    };
    let list = long(4)? as usize;
    // An entry is a tag, a type (3 is SHORT), a count and a value, in 12 bytes.
    let entry = |i: u16| list.saturating_add(2 + 12 * usize::from(i));
    let wanted =
        |at: &usize| (word(*at), word(at + 2), long(at + 4)) == (Some(274), Some(3), Some(1));
    let found = (0..word(list)?).map(entry).take_while(|at| *at < exif.len()).find(wanted)?;
    word(found + 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exif_codes_put_the_first_stored_pixel_where_the_standard_says() {
        // 3 columns, 2 rows; where the first row's two first pixels come to.
        let stored =
            Frame { spacing: Some([0.1, 0.2]), ..Frame::new(3, 2, vec![1, 2, 3, 4, 5, 6]) };
        let expected = [
            (1, vec![1, 2, 3, 4, 5, 6]),
            (2, vec![3, 2, 1, 6, 5, 4]),
            (3, vec![6, 5, 4, 3, 2, 1]),
            (4, vec![4, 5, 6, 1, 2, 3]),
            (5, vec![1, 4, 2, 5, 3, 6]),
            (6, vec![4, 1, 5, 2, 6, 3]),
            (7, vec![6, 3, 5, 2, 4, 1]),
            (8, vec![3, 6, 2, 5, 1, 4]),
        ];
        for (code, data) in expected {
            // One tag, 274, a SHORT.
            let exif = [b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0", &[code, 0, 0, 0][..]];
            let Pixels::Gray8(turned) =
                Turn::of_exif(&exif.concat()).apply(Pixels::Gray8(stored.clone()))
            else {
                panic!("another kind")
            };
            assert_eq!(turned.data, data, "{code}");
            let (size, spacing) =
                if code < 5 { ([3, 2], [0.1, 0.2]) } else { ([2, 3], [0.2, 0.1]) };
            assert_eq!((turned.size(), turned.spacing), (size, Some(spacing)));
        }
        let big = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x03\0\0";
        assert_eq!(Turn::of_exif(big), Turn { transpose: false, flip_x: true, flip_y: true });
        // Cut anywhere, and a list that is said to be far away.
        for end in 0..big.len() - 2 {
            assert_eq!(Turn::of_exif(&big[..end]), Turn::default(), "{end}");
        }
        for odd in [&b"nothing"[..], b"II*\0\xff\xff\xff\xff\x01\0"] {
            assert_eq!(Turn::of_exif(odd), Turn::default());
        }
    }
}
