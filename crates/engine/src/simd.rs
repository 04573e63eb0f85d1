//! Which vector instructions the kernels use.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};

/// A set of vector instructions that kernels are written for. The narrower comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SimdLevel {
    /// Plain Rust: the oracle of every other level.
    Scalar,
    /// x86-64: AVX2 and FMA.
    Avx2,
    /// x86-64: AVX2 and the 256-bit int8 dot product.
    AvxVnni,
    /// x86-64: AVX-512 F, BW, DQ, VL.
    Avx512,
    /// x86-64: AVX-512 and its int8 dot product.
    Vnni,
    /// aarch64: the baseline vectors.
    Neon,
    /// aarch64: NEON and the int8 dot product.
    DotProd,
}

impl SimdLevel {
    pub const ALL: [SimdLevel; 7] = [
        SimdLevel::Scalar,
        SimdLevel::Avx2,
        SimdLevel::AvxVnni,
        SimdLevel::Avx512,
        SimdLevel::Vnni,
        SimdLevel::Neon,
        SimdLevel::DotProd,
    ];

    /// As `--simd` and the reports write it.
    pub fn name(self) -> &'static str {
        match self {
            SimdLevel::Scalar => "scalar",
            SimdLevel::Avx2 => "avx2",
            SimdLevel::AvxVnni => "avxvnni",
            SimdLevel::Avx512 => "avx512",
            SimdLevel::Vnni => "vnni",
            SimdLevel::Neon => "neon",
            SimdLevel::DotProd => "dotprod",
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn on_this_cpu(self) -> bool {
        use std::arch::is_x86_feature_detected as has;
        let avx2 = has!("avx2") && has!("fma");
        let avx512 =
            avx2 && has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
        match self {
            SimdLevel::Scalar => true,
            SimdLevel::Avx2 => avx2,
            SimdLevel::AvxVnni => avx2 && has!("avxvnni"),
            SimdLevel::Avx512 => avx512,
            SimdLevel::Vnni => avx512 && has!("avx512vnni"),
            SimdLevel::Neon | SimdLevel::DotProd => false,
        }
    }

    #[cfg(target_arch = "aarch64")]
    fn on_this_cpu(self) -> bool {
        use std::arch::is_aarch64_feature_detected as has;
        match self {
            SimdLevel::Scalar => true,
            SimdLevel::Neon => has!("neon"),
            SimdLevel::DotProd => has!("neon") && has!("dotprod"),
            _ => false,
        }
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn on_this_cpu(self) -> bool {
        self == SimdLevel::Scalar
    }
}

impl fmt::Display for SimdLevel {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A [`SimdLevel`] that this CPU has. Kernels take this, not a `SimdLevel`: whoever holds one has
/// asked the CPU, which is what makes calling a kernel safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Simd(SimdLevel);

impl Simd {
    pub const SCALAR: Simd = Simd(SimdLevel::Scalar);

    /// The widest level of this CPU.
    pub fn detect() -> Simd {
        Simd::all().pop().unwrap_or(Simd::SCALAR)
    }

    /// Every level of this CPU, [`SimdLevel::Scalar`] first.
    pub fn all() -> Vec<Simd> {
        SimdLevel::ALL.into_iter().filter(|l| l.on_this_cpu()).map(Simd).collect()
    }

    pub fn level(self) -> SimdLevel {
        self.0
    }
}

impl fmt::Display for Simd {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// # Errors
/// [`Error::Option`] for a level that this CPU has not, naming those it has.
impl FromStr for Simd {
    type Err = Error;

    fn from_str(name: &str) -> Result<Simd> {
        Simd::all().into_iter().find(|s| s.0.name() == name).ok_or_else(|| {
            let names: Vec<_> = Simd::all().iter().map(|s| s.0.name()).collect();
            Error::Option {
                option: "simd",
                expected: format!("one of this CPU's levels: {}", names.join(", ")),
                found: name.into(),
            }
        })
    }
}

/// Defines functions that are compiled for each level and choose by a [`Simd`]: plain loops that
/// the compiler vectorizes. Rust never fuses or reorders floating-point operations, so every level
/// gives the same bits. Generics are written in brackets: `fn name[T: Bound](…)`.
#[macro_export]
macro_rules! vectorized {
    ($(
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident $([$($generics:tt)*])?
        ($($arg:ident: $type:ty),* $(,)?) $(-> $out:ty)? $body:block
    )*) => { $(
        $(#[$attribute])*
        #[allow(unsafe_code)]
        $visibility fn $name $(<$($generics)*>)? (simd: $crate::Simd, $($arg: $type),*) $(-> $out)? {
            #[inline(always)]
            fn plain $(<$($generics)*>)? ($($arg: $type),*) $(-> $out)? $body
            #[cfg(target_arch = "x86_64")]
            {
                use $crate::SimdLevel;
                #[target_feature(enable = "avx2,fma")]
                fn avx2 $(<$($generics)*>)? ($($arg: $type),*) $(-> $out)? {
                    plain($($arg),*)
                }
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
                fn avx512 $(<$($generics)*>)? ($($arg: $type),*) $(-> $out)? {
                    plain($($arg),*)
                }
                match simd.level() {
                    // SAFETY: a `Simd` exists only for levels that the CPU has.
                    SimdLevel::Avx512 | SimdLevel::Vnni => return unsafe { avx512($($arg),*) },
                    SimdLevel::Avx2 | SimdLevel::AvxVnni => return unsafe { avx2($($arg),*) },
                    _ => (),
                }
            }
            let _ = simd;
            plain($($arg),*)
        }
    )* };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_strangers_refused() {
        for simd in Simd::all() {
            assert_eq!(simd.to_string().parse::<Simd>().unwrap(), simd);
        }
        assert_eq!(Simd::all()[0], Simd::SCALAR);
        let foreign = if cfg!(target_arch = "x86_64") { "neon" } else { "avx2" };
        let message = foreign.parse::<Simd>().unwrap_err().to_string();
        assert!(message.contains("scalar") && message.contains(foreign), "{message}");
    }
}
