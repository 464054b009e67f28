//! Products of bytes and of bfloat16 pairs with nothing around them. `None` where the processor
//! lacks the instruction.

#[allow(clippy::wildcard_imports, reason = "dozens of intrinsics, all with a prefix")]
use std::arch::x86_64::*;
use std::hint::black_box;

/// Independent sums with 32 and with 16 registers.
const SUMS_512: usize = 24;
const SUMS_256: usize = 12;

/// `vdpbf16ps zmm`.
pub(super) fn bf16_512(rounds: usize) -> Option<u64> {
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn run(rounds: usize) {
        let ones = _mm512_set1_ps(black_box(0.5));
        let (a, b) = (_mm512_cvtne2ps_pbh(ones, ones), _mm512_cvtne2ps_pbh(ones, ones));
        let mut sums = [_mm512_setzero_ps(); SUMS_512];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, a, b);
            }
        }
        let total = sums.into_iter().fold(_mm512_setzero_ps(), |a, b| _mm512_add_ps(a, b));
        black_box(_mm512_reduce_add_ps(total));
    }
    if !is_x86_feature_detected!("avx512f") || !is_x86_feature_detected!("avx512bf16") {
        return None;
    }
    // SAFETY: the processor has these features.
    unsafe { run(rounds) };
    Some((rounds * SUMS_512 * 32 * 2) as u64)
}

/// `vpdpbusd zmm`, or what stands in for it without VNNI.
pub(super) fn int8_512(rounds: usize) -> Option<u64> {
    #[target_feature(enable = "avx512f,avx512vnni")]
    fn vnni(rounds: usize) {
        let (a, b) = (_mm512_set1_epi8(black_box(3)), _mm512_set1_epi8(black_box(5)));
        let mut sums = [_mm512_setzero_si512(); SUMS_512];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, a, b);
            }
        }
        let total = sums.into_iter().fold(_mm512_setzero_si512(), |a, b| _mm512_add_epi32(a, b));
        black_box(_mm512_reduce_add_epi32(total));
    }
    #[target_feature(enable = "avx512f,avx512bw")]
    fn three_steps(rounds: usize) {
        let (a, ones) = (_mm512_set1_epi8(black_box(3)), _mm512_set1_epi16(1));
        let mut factors = [_mm512_set1_epi8(5); 8];
        let mut sums = [_mm512_setzero_si512(); 8];
        for _ in 0..rounds {
            // From the first-level cache, or the products would be formed once for all rounds.
            factors = black_box(factors);
            for (sum, factor) in sums.iter_mut().zip(factors) {
                let pairs = _mm512_maddubs_epi16(a, factor);
                *sum = _mm512_add_epi32(*sum, _mm512_madd_epi16(pairs, ones));
            }
        }
        let total = sums.into_iter().fold(_mm512_setzero_si512(), |a, b| _mm512_add_epi32(a, b));
        black_box(_mm512_reduce_add_epi32(total));
    }
    if !is_x86_feature_detected!("avx512f") || !is_x86_feature_detected!("avx512bw") {
        return None;
    }
    if is_x86_feature_detected!("avx512vnni") {
        // SAFETY: the processor has these features.
        unsafe { vnni(rounds) };
        return Some((rounds * SUMS_512 * 64 * 2) as u64);
    }
    // SAFETY: the processor has these features.
    unsafe { three_steps(rounds) };
    Some((rounds * 8 * 64 * 2) as u64)
}

/// `vpdpbusd ymm` (AVX-VNNI), or what stands in for it without.
pub(super) fn int8_256(rounds: usize) -> Option<u64> {
    #[target_feature(enable = "avx2,avxvnni")]
    fn vnni(rounds: usize) {
        let (a, b) = (_mm256_set1_epi8(black_box(3)), _mm256_set1_epi8(black_box(5)));
        let mut sums = [_mm256_setzero_si256(); SUMS_256];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm256_dpbusd_avx_epi32(*sum, a, b);
            }
        }
        black_box(sums.into_iter().fold(_mm256_setzero_si256(), |a, b| _mm256_add_epi32(a, b)));
    }
    #[target_feature(enable = "avx2")]
    fn three_steps(rounds: usize) {
        let (a, ones) = (_mm256_set1_epi8(black_box(3)), _mm256_set1_epi16(1));
        let mut factors = [_mm256_set1_epi8(5); 8];
        let mut sums = [_mm256_setzero_si256(); 8];
        for _ in 0..rounds {
            // From the first-level cache, or the products would be formed once for all rounds.
            factors = black_box(factors);
            for (sum, factor) in sums.iter_mut().zip(factors) {
                let pairs = _mm256_maddubs_epi16(a, factor);
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
            }
        }
        black_box(sums.into_iter().fold(_mm256_setzero_si256(), |a, b| _mm256_add_epi32(a, b)));
    }
    if !is_x86_feature_detected!("avx2") {
        return None;
    }
    if is_x86_feature_detected!("avxvnni") {
        // SAFETY: the processor has these features.
        unsafe { vnni(rounds) };
        return Some((rounds * SUMS_256 * 32 * 2) as u64);
    }
    // SAFETY: the processor has this feature.
    unsafe { three_steps(rounds) };
    Some((rounds * 8 * 32 * 2) as u64)
}
