//! What an operation does to its sums before they are written.

use super::Quant;

/// In units of a scale: every code is nearer to 0, and i32 and f32 hold all whole numbers below.
pub const LARGEST_SUM: f32 = 1_048_576.0;

/// What follows the sum: `y = min(v < 0 ? negative_slope · v : v, max)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Activation {
    pub negative_slope: f32,
    pub max: f32,
}

impl Activation {
    pub const NONE: Activation = Activation { negative_slope: 1.0, max: f32::INFINITY };

    /// The same for values in units of this number format's scale.
    pub fn in_units_of(self, quant: Option<Quant>) -> Activation {
        Activation { max: self.max / quant.map_or(1.0, |q| q.scale), ..self }
    }

    /// For values that become codes: what is done to them, in units of the format's scale, and the
    /// lowest one then. A Relu is that bound alone, unless a bias is no number, which must become
    /// the lowest code; beyond [`LARGEST_SUM`] codes are clamped anyway.
    pub fn of_codes(self, quant: Quant, bias: &[f32]) -> (Activation, f32) {
        let max = (self.max / quant.scale).min(LARGEST_SUM);
        let numbers = !bias.iter().any(|b| b.is_nan());
        if self.negative_slope == 0.0 && max >= 0.0 && numbers {
            return (Activation { negative_slope: 1.0, max }, 0.0);
        }
        (Activation { max, ..self }, -LARGEST_SUM)
    }

    #[inline(always)]
    pub fn apply(self, v: f32) -> f32 {
        let v = if v < 0.0 { v * self.negative_slope } else { v };
        if v > self.max { self.max } else { v }
    }
}
