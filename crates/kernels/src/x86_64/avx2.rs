//! Sixteen lanes as two 256-bit registers: AVX2 + FMA + F16C (x86-64-v3, since 2013).

#![allow(clippy::cast_ptr_alignment, reason = "every load and store here is an unaligned one")]

use crate::simd::{LANES, Simd};
#[allow(clippy::wildcard_imports, reason = "dozens of intrinsics, all with a prefix")]
use std::arch::x86_64::*;

/// Proof that this CPU has AVX2, FMA and F16C. Only detection makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx2 {
    extensions: bool,
}

impl Avx2 {
    /// The same without what some of these CPUs have beside it (AVX-VNNI). For tests.
    #[must_use]
    pub fn without_extensions(self) -> Self {
        Self { extensions: false }
    }

    /// Whether kernels may use what this CPU has beside what the token proves.
    pub(crate) fn extensions(self) -> bool {
        self.extensions
    }

    pub(crate) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        has.then_some(Self { extensions: true })
    }

    /// Runs `f`, and what inlines into it, compiled for these instructions.
    #[inline]
    #[expect(clippy::unused_self, reason = "the token is the proof")]
    pub(crate) fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        #[inline]
        #[target_feature(enable = "avx2,fma,f16c")]
        fn run<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        // SAFETY: the token proves that the CPU has the three features.
        unsafe { run(f) }
    }
}

/// Two halves of eight lanes.
#[derive(Clone, Copy)]
pub(crate) struct F(__m256, __m256);

/// One operation on both halves.
macro_rules! both {
    ($op:ident, $($v:expr),+) => {
        // SAFETY: the token proves that the CPU has AVX2, FMA and F16C; the operation is on
        // registers only.
        unsafe { F($op($($v.0),+), $op($($v.1),+)) }
    };
}

impl Simd for Avx2 {
    type F = F;
    type B = __m128i;
    const WIDE: bool = false;

    #[inline(always)]
    fn splat(self, x: f32) -> F {
        // SAFETY: the token proves AVX; registers only.
        let v = unsafe { _mm256_set1_ps(x) };
        F(v, v)
    }
    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> F {
        let at = from.as_ptr();
        // SAFETY: the token proves AVX; `from` holds 16 floats; the loads are unaligned ones.
        unsafe { F(_mm256_loadu_ps(at), _mm256_loadu_ps(at.add(8))) }
    }
    #[inline(always)]
    fn store(self, value: F, to: &mut [f32; LANES]) {
        let at = to.as_mut_ptr();
        // SAFETY: the token proves AVX; `to` holds 16 floats; the stores are unaligned ones.
        unsafe {
            _mm256_storeu_ps(at, value.0);
            _mm256_storeu_ps(at.add(8), value.1);
        }
    }
    #[inline(always)]
    fn load_f32_bytes(self, from: &[u8; 4 * LANES]) -> F {
        let at = from.as_ptr().cast::<f32>();
        // SAFETY: the token proves AVX; `from` holds 64 bytes; the loads are unaligned ones.
        unsafe { F(_mm256_loadu_ps(at), _mm256_loadu_ps(at.add(8))) }
    }
    #[inline(always)]
    fn load_f16_bytes(self, from: &[u8; 2 * LANES]) -> F {
        let at = from.as_ptr().cast::<__m128i>();
        // SAFETY: the token proves AVX and F16C; `from` holds 32 bytes; the loads are unaligned
        // ones.
        unsafe {
            F(_mm256_cvtph_ps(_mm_loadu_si128(at)), _mm256_cvtph_ps(_mm_loadu_si128(at.add(1))))
        }
    }
    #[inline(always)]
    fn load_bf16_bytes(self, from: &[u8; 2 * LANES]) -> F {
        let at = from.as_ptr().cast::<__m128i>();
        // SAFETY: the token proves AVX2; `from` holds 32 bytes; the loads are unaligned ones.
        unsafe {
            let low = _mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(at)));
            let high = _mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(at.add(1))));
            F(_mm256_castsi256_ps(low), _mm256_castsi256_ps(high))
        }
    }
    #[inline(always)]
    fn load_f16(self, from: &[u16; LANES]) -> F {
        let at = from.as_ptr().cast::<__m128i>();
        // SAFETY: the token proves AVX and F16C; `from` holds 32 bytes; the loads are unaligned
        // ones.
        unsafe {
            F(_mm256_cvtph_ps(_mm_loadu_si128(at)), _mm256_cvtph_ps(_mm_loadu_si128(at.add(1))))
        }
    }
    #[inline(always)]
    fn store_f16(self, value: F, to: &mut [u16; LANES]) {
        let at = to.as_mut_ptr().cast::<__m128i>();
        // SAFETY: the token proves AVX and F16C; `to` holds 32 bytes; the stores are unaligned
        // ones.
        unsafe {
            _mm_storeu_si128(at, _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(value.0));
            _mm_storeu_si128(at.add(1), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(value.1));
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
        // SAFETY: the token proves AVX2; registers only.
        unsafe {
            let (low, high) =
                (_mm256_cvtepu8_epi32(a), _mm256_cvtepu8_epi32(_mm_srli_si128::<8>(a)));
            F(_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high))
        }
    }
    #[inline(always)]
    fn signed(self, a: __m128i) -> F {
        // SAFETY: the token proves AVX2; registers only.
        unsafe {
            let (low, high) =
                (_mm256_cvtepi8_epi32(a), _mm256_cvtepi8_epi32(_mm_srli_si128::<8>(a)));
            F(_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high))
        }
    }
    #[inline(always)]
    fn lookup(self, table: F, a: __m128i) -> F {
        #[inline(always)]
        fn half(table: F, index: __m256i) -> __m256 {
            // SAFETY: only called below, where the token proves AVX2; registers only.
            unsafe {
                let low = _mm256_permutevar8x32_ps(table.0, index);
                let high = _mm256_permutevar8x32_ps(table.1, index);
                // Bit 3 of the index becomes the sign bit, by which the blend chooses.
                let choice = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(index));
                _mm256_blendv_ps(low, high, choice)
            }
        }
        // SAFETY: the token proves AVX2; registers only.
        let (low, high) =
            unsafe { (_mm256_cvtepu8_epi32(a), _mm256_cvtepu8_epi32(_mm_srli_si128::<8>(a))) };
        F(half(table, low), half(table, high))
    }

    #[inline(always)]
    fn add(self, a: F, b: F) -> F {
        both!(_mm256_add_ps, a, b)
    }
    #[inline(always)]
    fn sub(self, a: F, b: F) -> F {
        both!(_mm256_sub_ps, a, b)
    }
    #[inline(always)]
    fn mul(self, a: F, b: F) -> F {
        both!(_mm256_mul_ps, a, b)
    }
    #[inline(always)]
    fn div(self, a: F, b: F) -> F {
        both!(_mm256_div_ps, a, b)
    }
    #[inline(always)]
    fn fma(self, a: F, b: F, c: F) -> F {
        both!(_mm256_fmadd_ps, a, b, c)
    }
    #[inline(always)]
    fn min(self, a: F, b: F) -> F {
        both!(_mm256_min_ps, a, b)
    }
    #[inline(always)]
    fn max(self, a: F, b: F) -> F {
        both!(_mm256_max_ps, a, b)
    }
    #[inline(always)]
    fn round(self, a: F) -> F {
        const MODE: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        // SAFETY: the token proves AVX; registers only.
        unsafe { F(_mm256_round_ps::<MODE>(a.0), _mm256_round_ps::<MODE>(a.1)) }
    }
    #[inline(always)]
    fn pow2(self, n: F) -> F {
        #[inline(always)]
        fn half(n: __m256) -> __m256 {
            // SAFETY: only called below, where the token proves AVX2; registers only.
            unsafe {
                let biased = _mm256_add_epi32(_mm256_cvttps_epi32(n), _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
            }
        }
        F(half(n.0), half(n.1))
    }
    #[inline(always)]
    fn abs(self, a: F) -> F {
        let sign = self.splat(-0.0);
        both!(_mm256_andnot_ps, sign, a)
    }
    #[inline(always)]
    fn copysign(self, a: F, sign: F) -> F {
        let bit = self.splat(-0.0);
        let sign = both!(_mm256_and_ps, bit, sign);
        let a = self.abs(a);
        both!(_mm256_or_ps, a, sign)
    }

    #[inline(always)]
    fn sum(self, a: F) -> f32 {
        // SAFETY: the token proves AVX; registers only.
        unsafe {
            let v = _mm256_add_ps(a.0, a.1);
            let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_add_ss(v, _mm_shuffle_ps::<1>(v, v)))
        }
    }
    #[inline(always)]
    fn sum4(self, a: [F; 4]) -> [f32; 4] {
        #[inline(always)]
        fn halve(a: F) -> __m256 {
            // SAFETY: only called below, where the token proves AVX; registers only.
            unsafe { _mm256_add_ps(a.0, a.1) }
        }
        // SAFETY: the token proves AVX.
        unsafe { sum4_of_8([halve(a[0]), halve(a[1]), halve(a[2]), halve(a[3])]) }
    }
    #[inline(always)]
    fn max_lane(self, a: F) -> f32 {
        // SAFETY: the token proves AVX; registers only.
        unsafe { max_of_8(_mm256_max_ps(a.0, a.1)) }
    }
}

/// The last three steps of the tree (i+4, i+2, i+1) of a maximum; the second operand where one is
/// NaN, as in the scalar tree.
///
/// # Safety
/// The CPU has AVX.
#[inline(always)]
pub(super) unsafe fn max_of_8(v: __m256) -> f32 {
    // SAFETY: the caller promises AVX; registers only.
    unsafe {
        let v = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
        let v = _mm_max_ps(v, _mm_movehl_ps(v, v));
        _mm_cvtss_f32(_mm_max_ss(v, _mm_shuffle_ps::<1>(v, v)))
    }
}

/// The last three steps of the tree (i+4, i+2, i+1) for four vectors at once.
///
/// # Safety
/// The CPU has AVX.
#[inline(always)]
pub(super) unsafe fn sum4_of_8(v: [__m256; 4]) -> [f32; 4] {
    // SAFETY: the caller promises AVX; the only access to memory is the store to `sums`.
    unsafe {
        // Quarters of vectors 0 and 1, then 2 and 3, side by side.
        let low = _mm256_permute2f128_ps::<0x20>(v[0], v[1]);
        let a = _mm256_add_ps(low, _mm256_permute2f128_ps::<0x31>(v[0], v[1]));
        let low = _mm256_permute2f128_ps::<0x20>(v[2], v[3]);
        let b = _mm256_add_ps(low, _mm256_permute2f128_ps::<0x31>(v[2], v[3]));
        // Pairs of vectors (0, 2 | 1, 3).
        let low = _mm256_shuffle_ps::<0b01_00_01_00>(a, b);
        let c = _mm256_add_ps(low, _mm256_shuffle_ps::<0b11_10_11_10>(a, b));
        let even = _mm256_shuffle_ps::<0b10_00_10_00>(c, c);
        let d = _mm256_add_ps(even, _mm256_shuffle_ps::<0b11_01_11_01>(c, c));
        let ordered = _mm_unpacklo_ps(_mm256_castps256_ps128(d), _mm256_extractf128_ps::<1>(d));
        let mut sums = [0.0; 4];
        _mm_storeu_ps(sums.as_mut_ptr(), ordered);
        sums
    }
}
