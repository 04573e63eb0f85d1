//! What a table makes of 8-bit samples.

#![allow(unsafe_code)]

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86;

use intraop_engine::Simd;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
use intraop_engine::SimdLevel;

/// `to` = `table[from]`, sample by sample. Exact at every level.
///
/// # Panics
/// If `from` and `to` are not of one length.
pub(super) fn look_up(simd: Simd, from: &[u8], table: &[u8; 256], to: &mut [u8]) {
    assert_eq!(from.len(), to.len(), "a result per sample");
    let done = match simd.level() {
        // SAFETY, of all: a `Simd` is given out only for a level that the CPU has, and VBMI is
        // asked for here.
        #[cfg(target_arch = "x86_64")]
        SimdLevel::Avx512 | SimdLevel::Vnni if is_x86_feature_detected!("avx512vbmi") => unsafe {
            x86::avx512_vbmi(from, table, to)
        },
        #[cfg(target_arch = "x86_64")]
        SimdLevel::Avx2 | SimdLevel::AvxVnni | SimdLevel::Avx512 | SimdLevel::Vnni => unsafe {
            x86::avx2(from, table, to)
        },
        #[cfg(target_arch = "aarch64")]
        SimdLevel::Neon | SimdLevel::DotProd => aarch64::neon(from, table, to),
        _ => 0,
    };
    for (to, v) in to[done..].iter_mut().zip(&from[done..]) {
        *to = table[usize::from(*v)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_reads_the_table() {
        let table: [u8; 256] = std::array::from_fn(|i| (i * 167 % 251) as u8);
        for len in [0, 1, 31, 64, 300, 1000] {
            let from: Vec<u8> = (0..len).map(|i| (i * 89 % 256) as u8).collect();
            let expected: Vec<u8> = from.iter().map(|v| table[usize::from(*v)]).collect();
            for simd in Simd::all() {
                let mut to = vec![7; len];
                look_up(simd, &from, &table, &mut to);
                assert_eq!(to, expected, "{simd}");
            }
        }
    }
}
