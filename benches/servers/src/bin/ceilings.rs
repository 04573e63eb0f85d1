//! What one core of this machine can do at best: f32 multiply-adds, int8 multiply-adds and copying.
//! Prints JSON. Every figure is the fastest of many short repetitions.

#![allow(unsafe_code)]

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Independent chains of operations: above latency × throughput of the cores that we know (4 × 2
/// to 5 × 2), and within the 16 registers of AVX2.
const CHAINS: usize = 12;
const STEPS: u64 = 100_000;

/// A loop of `CHAINS` independent operations `$step(sum, x, y)`, repeated `STEPS` times.
macro_rules! kernel {
    ($name:ident, $features:literal, $zero:expr, $one:expr, $step:expr) => {
        #[target_feature(enable = $features)]
        fn $name() {
            let (x, y) = (black_box($one), black_box($one));
            let mut sums = [$zero; CHAINS];
            for _ in 0..STEPS {
                for sum in &mut sums {
                    *sum = $step(*sum, x, y);
                }
            }
            black_box(sums);
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod kernels {
    use super::*;
    use std::arch::is_x86_feature_detected as has;
    use std::arch::x86_64::*;

    kernel!(fma_avx512, "avx512f", _mm512_setzero_ps(), _mm512_set1_ps(0.5), |s, x, y| {
        _mm512_fmadd_ps(s, x, y)
    });
    kernel!(fma_avx2, "avx2,fma", _mm256_setzero_ps(), _mm256_set1_ps(0.5), |s, x, y| {
        _mm256_fmadd_ps(s, x, y)
    });
    kernel!(dot_avx512, "avx512vnni", _mm512_setzero_si512(), _mm512_set1_epi8(1), |s, x, y| {
        _mm512_dpbusd_epi32(s, x, y)
    });
    kernel!(dot_avx2, "avxvnni", _mm256_setzero_si256(), _mm256_set1_epi8(1), |s, x, y| {
        _mm256_dpbusd_avx_epi32(s, x, y)
    });

    /// The widest f32 multiply-add, and its lanes.
    pub fn f32() -> Option<(&'static str, u64, fn())> {
        // SAFETY: each function is called only where its features were found.
        match () {
            () if has!("avx512f") => Some(("avx512", 16, || unsafe { fma_avx512() })),
            () if has!("avx2") && has!("fma") => Some(("avx2", 8, || unsafe { fma_avx2() })),
            () => None,
        }
    }

    /// The widest int8 dot product, and its multiply-adds.
    pub fn int8() -> Option<(&'static str, u64, fn())> {
        // SAFETY: as in `f32`.
        match () {
            () if has!("avx512vnni") => Some(("avx512vnni", 64, || unsafe { dot_avx512() })),
            () if has!("avxvnni") => Some(("avxvnni", 32, || unsafe { dot_avx2() })),
            () => None,
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod kernels {
    use super::*;
    use std::arch::aarch64::*;
    use std::arch::asm;
    use std::arch::is_aarch64_feature_detected as has;

    kernel!(fma_neon, "neon", vdupq_n_f32(0.0), vdupq_n_f32(0.5), |s, x, y| vfmaq_f32(s, x, y));
    kernel!(dot_neon, "dotprod", vdupq_n_s32(0), vdupq_n_s8(1), |s, x, y| dot(s, x, y));

    /// `sdot`, whose intrinsic is not stable yet.
    #[target_feature(enable = "dotprod")]
    fn dot(mut sum: int32x4_t, x: int8x16_t, y: int8x16_t) -> int32x4_t {
        // SAFETY: registers only, and the caller has the instruction.
        unsafe {
            asm!("sdot {0:v}.4s, {1:v}.16b, {2:v}.16b", inout(vreg) sum, in(vreg) x, in(vreg) y,
                 options(pure, nomem, nostack, preserves_flags));
        }
        sum
    }

    pub fn f32() -> Option<(&'static str, u64, fn())> {
        // SAFETY: called only where the feature was found.
        has!("neon").then_some(("neon", 4, || unsafe { fma_neon() }))
    }

    pub fn int8() -> Option<(&'static str, u64, fn())> {
        // SAFETY: called only where the feature was found.
        has!("dotprod").then_some(("dotprod", 16, || unsafe { dot_neon() }))
    }
}

/// The shortest time of one call, of as many as fit into a second.
fn fastest(mut work: impl FnMut()) -> Duration {
    let begin = Instant::now();
    let mut best = Duration::MAX;
    while begin.elapsed() < Duration::from_secs(1) {
        let start = Instant::now();
        work();
        best = best.min(start.elapsed());
    }
    best
}

/// Billions of multiply-adds per second, as JSON.
fn multiply_adds(kernel: Option<(&'static str, u64, fn())>) -> serde_json::Value {
    kernel.map_or(serde_json::Value::Null, |(name, lanes, work)| {
        let operations = (STEPS * CHAINS as u64 * lanes) as f64;
        let rate = operations / fastest(work).as_nanos() as f64;
        serde_json::json!({ "instructions": name, "gmac_per_s": rate })
    })
}

/// Cycles of a core per nanosecond, by additions that wait for each other.
fn gigahertz() -> f64 {
    const ADDITIONS: u64 = 10;
    let best = fastest(|| {
        let mut sum = 0u64;
        for _ in 0..STEPS {
            // SAFETY: registers only.
            #[cfg(target_arch = "x86_64")]
            unsafe {
                std::arch::asm!(".rept 10", "add {0}, {1}", ".endr", inout(reg) sum, in(reg) 3u64);
            }
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            unsafe {
                std::arch::asm!(".rept 10", "add {0}, {0}, {1}", ".endr", inout(reg) sum, in(reg) 3u64);
            }
        }
        black_box(sum);
    });
    (STEPS * ADDITIONS) as f64 / best.as_nanos() as f64
}

/// Billions of bytes copied per second: each of them read once and written once.
fn copied(bytes: usize) -> f64 {
    // Written with other than zeros, which would leave the pages to the first copy to get.
    let (source, mut target) = (vec![1u8; bytes], vec![2u8; bytes]);
    let best = fastest(|| black_box(&mut target).copy_from_slice(black_box(&source)));
    bytes as f64 / best.as_nanos() as f64
}

fn main() {
    let ceilings = serde_json::json!({
        "f32": multiply_adds(kernels::f32()),
        "int8": multiply_adds(kernels::int8()),
        "gigahertz": gigahertz(),
        "copied_gb_per_s": { "4 MiB": copied(4 << 20), "256 MiB": copied(256 << 20) },
    });
    println!("{ceilings}");
}
