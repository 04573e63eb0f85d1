//! `sin` and `exp` without branches, so that the compiler computes several at once: most of a
//! phantom's time is theirs. Within 2⁻⁵¹ of the C library's, `exp` of its value's size.

/// π and ln 2 in two parts: whole multiples of the first are exact.
const PI: [f64; 2] = [3.1415926534682512, 1.2154201013012384e-10];
const LN_2: [f64; 2] = [0.6931471803691238, 1.9082149292705877e-10];

/// Added to a number below 2⁵¹ and taken away again it leaves the nearest whole one, which is in
/// the lowest bits of the sum.
const WHOLE: f64 = 6755399441055744.0; // 1.5 · 2⁵²

/// sin(x)/x in x², for |x| ≤ π/2 (Chebyshev; within 2.1e-19).
const SIN: [f64; 9] = [
    1.0,
    -0.16666666666666666,
    0.008333333333333186,
    -0.00019841269841208638,
    2.7557319211223257e-06,
    -2.505210688997513e-08,
    1.6058940847832492e-10,
    -7.643025738964345e-13,
    2.7215660921125597e-15,
];

/// exp(x), for |x| ≤ ln(2)/2 (Chebyshev; within 3.2e-18).
const EXP: [f64; 12] = [
    1.0,
    1.0,
    0.5000000000000019,
    0.1666666666666668,
    0.04166666666648795,
    0.008333333333319589,
    0.0013888888952352863,
    0.00019841269890076403,
    2.4801485441561313e-05,
    2.755724088722987e-06,
    2.763265472252779e-07,
    2.5110049204818658e-08,
];

/// The sine of −10⁶ to 10⁶.
#[inline(always)]
pub fn sin(x: f64) -> f64 {
    let shifted = x * std::f64::consts::FRAC_1_PI + WHOLE;
    let n = shifted - WHOLE;
    let r = (x - n * PI[0]) - n * PI[1];
    let odd = shifted.to_bits() << 63;
    f64::from_bits((r * polynomial(&SIN, r * r)).to_bits() ^ odd)
}

/// e to the power of −700 to 700; below, as of −700.
#[inline(always)]
pub fn exp(x: f64) -> f64 {
    let x = if x < -700.0 { -700.0 } else { x };
    let shifted = x * std::f64::consts::LOG2_E + WHOLE;
    let n = shifted - WHOLE;
    let r = (x - n * LN_2[0]) - n * LN_2[1];
    let power = f64::from_bits((shifted.to_bits() << 52).wrapping_add(1023 << 52));
    polynomial(&EXP, r) * power
}

#[inline(always)]
fn polynomial<const N: usize>(coefficients: &[f64; N], x: f64) -> f64 {
    let mut sum = coefficients[N - 1];
    for c in coefficients[..N - 1].iter().rev() {
        sum = sum * x + c;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use intraop_engine::Random;

    #[test]
    fn they_are_those_of_the_c_library() {
        let near = 2f64.powi(-51);
        let mut random = Random::new(1);
        for range in [2.0, 1e3, 1e6] {
            for _ in 0..300_000 {
                let x = random.range(-range, range);
                assert!((sin(x) - x.sin()).abs() < near, "sin {x}");
                let x = random.range(-700.0, 700.0);
                assert!((exp(x) / x.exp() - 1.0).abs() < near, "exp {x}");
            }
        }
        assert!(exp(-1e300) < 1e-300);
    }
}
