//! Sixteen lanes as one 512-bit register: AVX-512 F + BW + VL + DQ, with AVX2, FMA and F16C
//! (x86-64-v4).

#![allow(clippy::cast_ptr_alignment, reason = "every load and store here is an unaligned one")]

use crate::simd::{LANES, Simd};
#[allow(clippy::wildcard_imports, reason = "dozens of intrinsics, all with a prefix")]
use std::arch::x86_64::*;

/// Proof that this CPU has AVX-512 F, BW, VL and DQ, AVX2, FMA and F16C. Only detection makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx512 {
    extensions: bool,
}

impl Avx512 {
    /// The same without what some of these CPUs have beside it (VNNI, BF16). For tests.
    #[must_use]
    pub fn without_extensions(self) -> Self {
        Self { extensions: false }
    }

    /// Whether kernels may use what this CPU has beside what the token proves.
    pub(crate) fn extensions(self) -> bool {
        self.extensions
    }

    pub(crate) fn detect() -> Option<Self> {
        let has = super::avx2::Avx2::detect().is_some()
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq");
        has.then_some(Self { extensions: true })
    }

    /// Runs `f`, and what inlines into it, compiled for these instructions.
    #[inline]
    #[expect(clippy::unused_self, reason = "the token is the proof")]
    pub(crate) fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        #[inline]
        #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")]
        fn run<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        // SAFETY: the token proves that the CPU has all of these features.
        unsafe { run(f) }
    }
}

type F = __m512;

/// One operation on registers.
macro_rules! op {
    ($op:ident, $($v:expr),+) => {
        // SAFETY: the token proves that the CPU has AVX-512 F and DQ; the operation is on registers
        // only.
        unsafe { $op($($v),+) }
    };
}

/// The first `len` lanes.
#[inline(always)]
fn mask(len: usize) -> __mmask16 {
    debug_assert!(len <= LANES);
    ((1u32 << len) - 1) as __mmask16
}

impl Simd for Avx512 {
    type F = F;
    type B = __m128i;
    const WIDE: bool = true;

    #[inline(always)]
    fn splat(self, x: f32) -> F {
        op!(_mm512_set1_ps, x)
    }
    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> F {
        // SAFETY: the token proves AVX-512 F; `from` holds 16 floats; the load is an unaligned one.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }
    #[inline(always)]
    fn store(self, value: F, to: &mut [f32; LANES]) {
        // SAFETY: the token proves AVX-512 F; `to` holds 16 floats; the store is an unaligned one.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), value) }
    }
    #[inline(always)]
    fn load_f32_bytes(self, from: &[u8; 4 * LANES]) -> F {
        // SAFETY: the token proves AVX-512 F; `from` holds 64 bytes; the load is an unaligned one.
        unsafe { _mm512_loadu_ps(from.as_ptr().cast()) }
    }
    #[inline(always)]
    fn load_f16_bytes(self, from: &[u8; 2 * LANES]) -> F {
        // SAFETY: the token proves AVX-512 F; `from` holds 32 bytes; the load is an unaligned one.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())) }
    }
    #[inline(always)]
    fn load_bf16_bytes(self, from: &[u8; 2 * LANES]) -> F {
        // SAFETY: the token proves AVX-512 F; `from` holds 32 bytes; the load is an unaligned one.
        unsafe {
            let bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
        }
    }
    #[inline(always)]
    fn load_f16(self, from: &[u16; LANES]) -> F {
        // SAFETY: the token proves AVX-512 F; `from` holds 32 bytes; the load is an unaligned one.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())) }
    }
    #[inline(always)]
    fn store_f16(self, value: F, to: &mut [u16; LANES]) {
        // SAFETY: the token proves AVX-512 F; `to` holds 32 bytes; the store is an unaligned one.
        unsafe {
            let bits = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(value);
            _mm256_storeu_si256(to.as_mut_ptr().cast(), bits);
        }
    }
    #[inline(always)]
    fn f16(self, bits: u16) -> f32 {
        // SAFETY: the token proves F16C; registers only.
        unsafe { _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(bits)))) }
    }

    #[inline(always)]
    fn bytes(self, from: &[u8; LANES]) -> __m128i {
        // SAFETY: `from` holds 16 bytes; the load is an unaligned one of the baseline.
        unsafe { _mm_loadu_si128(from.as_ptr().cast()) }
    }
    #[inline(always)]
    fn bits(self, a: __m128i, shift: u32, mask: u8) -> __m128i {
        // Pairs of bytes are shifted; the mask removes what crosses between them.
        debug_assert!(u32::from(mask) << shift < 256);
        // SAFETY: SSE2 is in the baseline; registers only.
        unsafe {
            let shifted = _mm_srl_epi16(a, _mm_cvtsi32_si128(shift as i32));
            _mm_and_si128(shifted, _mm_set1_epi8(mask as i8))
        }
    }
    #[inline(always)]
    fn join(self, low: __m128i, high: __m128i, shift: u32) -> __m128i {
        // SAFETY: SSE2 is in the baseline; registers only.
        unsafe { _mm_or_si128(low, _mm_sll_epi16(high, _mm_cvtsi32_si128(shift as i32))) }
    }
    #[inline(always)]
    fn unsigned(self, a: __m128i) -> F {
        // SAFETY: the token proves AVX-512 F; registers only.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(a)) }
    }
    #[inline(always)]
    fn signed(self, a: __m128i) -> F {
        // SAFETY: the token proves AVX-512 F; registers only.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(a)) }
    }
    #[inline(always)]
    fn lookup(self, table: F, a: __m128i) -> F {
        // SAFETY: the token proves AVX-512 F; registers only.
        unsafe { _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(a), table) }
    }

    #[inline(always)]
    fn add(self, a: F, b: F) -> F {
        op!(_mm512_add_ps, a, b)
    }
    #[inline(always)]
    fn sub(self, a: F, b: F) -> F {
        op!(_mm512_sub_ps, a, b)
    }
    #[inline(always)]
    fn mul(self, a: F, b: F) -> F {
        op!(_mm512_mul_ps, a, b)
    }
    #[inline(always)]
    fn div(self, a: F, b: F) -> F {
        op!(_mm512_div_ps, a, b)
    }
    #[inline(always)]
    fn fma(self, a: F, b: F, c: F) -> F {
        op!(_mm512_fmadd_ps, a, b, c)
    }
    #[inline(always)]
    fn min(self, a: F, b: F) -> F {
        op!(_mm512_min_ps, a, b)
    }
    #[inline(always)]
    fn max(self, a: F, b: F) -> F {
        op!(_mm512_max_ps, a, b)
    }
    #[inline(always)]
    fn round(self, a: F) -> F {
        const MODE: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        // SAFETY: the token proves AVX-512 F; registers only.
        unsafe { _mm512_roundscale_ps::<MODE>(a) }
    }
    #[inline(always)]
    fn pow2(self, n: F) -> F {
        // SAFETY: the token proves AVX-512 F; registers only.
        unsafe {
            let biased = _mm512_add_epi32(_mm512_cvttps_epi32(n), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
        }
    }
    #[inline(always)]
    fn abs(self, a: F) -> F {
        op!(_mm512_abs_ps, a)
    }
    #[inline(always)]
    fn copysign(self, a: F, sign: F) -> F {
        let bit = self.splat(-0.0);
        let sign = op!(_mm512_and_ps, bit, sign);
        let a = self.abs(a);
        op!(_mm512_or_ps, a, sign)
    }

    #[inline(always)]
    fn sum(self, a: F) -> f32 {
        // SAFETY: the token proves AVX-512 F and DQ; registers only.
        unsafe {
            let v = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a));
            let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_add_ss(v, _mm_shuffle_ps::<1>(v, v)))
        }
    }
    #[inline(always)]
    fn sum4(self, a: [F; 4]) -> [f32; 4] {
        #[inline(always)]
        fn halve(a: F) -> __m256 {
            // SAFETY: only called below, where the token proves AVX-512 F and DQ; registers only.
            unsafe { _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a)) }
        }
        let halves = [halve(a[0]), halve(a[1]), halve(a[2]), halve(a[3])];
        // SAFETY: the token proves AVX.
        unsafe { super::avx2::sum4_of_8(halves) }
    }
    #[inline(always)]
    fn max_lane(self, a: F) -> f32 {
        // SAFETY: the token proves AVX-512 DQ; registers only. Each step is the scalar tree's:
        // the second operand where one is NaN.
        unsafe {
            let high = _mm512_extractf32x8_ps::<1>(a);
            super::avx2::max_of_8(_mm256_max_ps(_mm512_castps512_ps256(a), high))
        }
    }
    #[inline(always)]
    fn load_partial(self, from: &[f32]) -> F {
        // SAFETY: the token proves AVX-512 F; lanes beyond `from.len()` are masked and not touched.
        unsafe { _mm512_maskz_loadu_ps(mask(from.len()), from.as_ptr()) }
    }
    #[inline(always)]
    fn store_partial(self, value: F, to: &mut [f32]) {
        // SAFETY: the token proves AVX-512 F; lanes beyond `to.len()` are masked and not touched.
        unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr(), mask(to.len()), value) }
    }
}
