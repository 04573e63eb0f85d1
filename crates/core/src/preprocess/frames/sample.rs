/// A number that a frame can be made of.
pub trait Sample: Copy + Default + PartialEq + std::fmt::Debug + 'static {
    fn real(self) -> f32;

    /// The nearest sample, halves to even, beyond the range its end; for f32 the number itself.
    fn rounded(value: f32) -> Self;
}

/// 1.5 · 2²³: in the sum with it a number below 2²² is rounded to a whole number, halves to even,
/// that the low bits then hold. Every CPU adds several numbers at once, not all can round them.
const WHOLE: f32 = 12_582_912.0;

/// The nearest whole number, halves to even; of a number between −2²² and 2²².
#[inline(always)]
pub(super) fn nearest(value: f32) -> i32 {
    (value + WHOLE).to_bits() as i32 - WHOLE.to_bits() as i32
}

/// The nearest whole number of `value` brought into 0 to `max` ≤ 65535.
#[inline(always)]
fn whole(value: f32, max: f32) -> i32 {
    // Not `clamp`, whose rule for NaN costs more than this one, which gives 0.
    let value = if value > 0.0 { value } else { 0.0 };
    nearest(if value < max { value } else { max })
}

impl Sample for u8 {
    #[inline(always)]
    fn real(self) -> f32 {
        f32::from(self)
    }

    #[inline(always)]
    fn rounded(value: f32) -> u8 {
        whole(value, 255.0) as u8
    }
}

impl Sample for u16 {
    #[inline(always)]
    fn real(self) -> f32 {
        f32::from(self)
    }

    #[inline(always)]
    fn rounded(value: f32) -> u16 {
        whole(value, 65535.0) as u16
    }
}

impl Sample for f32 {
    #[inline(always)]
    fn real(self) -> f32 {
        self
    }

    #[inline(always)]
    fn rounded(value: f32) -> f32 {
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_go_to_even_and_the_rest_to_the_ends() {
        let bytes = [-3.0, 0.5, 1.5, 2.5, 254.5, 255.5, 1e9, f32::NAN, f32::INFINITY];
        assert_eq!(bytes.map(u8::rounded), [0, 0, 2, 2, 254, 255, 255, 0, 255]);
        let words = [-1.0, 65534.5, 65533.5, 65535.5, 1e9, f32::NEG_INFINITY];
        assert_eq!(words.map(u16::rounded), [0, 65534, 65534, 65535, 65535, 0]);
    }
}
