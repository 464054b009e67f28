//! Byte products into 32-bit sums: AVX-512 VNNI, on top of AVX-512.

use super::avx512::Avx512;
#[allow(clippy::wildcard_imports, reason = "dozens of intrinsics, all with a prefix")]
use std::arch::x86_64::*;

/// Proof that this CPU has AVX-512 VNNI beside what `Avx512` proves. Only detection makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx512Vnni(());

/// One operation on registers.
macro_rules! op {
    ($op:path, $($v:expr),+) => {
        // SAFETY: the token proves that the CPU has AVX-512 F, BW, VL, DQ and VNNI; the operation
        // is on registers only.
        unsafe { $op($($v),+) }
    };
}

pub(crate) type I = __m512i;
pub(crate) type F = __m512;

#[expect(clippy::unused_self, reason = "the token is the proof")]
impl Avx512Vnni {
    pub(crate) fn detect() -> Option<Self> {
        let has = Avx512::detect().is_some() && is_x86_feature_detected!("avx512vnni");
        has.then_some(Self(()))
    }

    /// Runs `f`, and what inlines into it, compiled for these instructions.
    #[inline]
    pub(crate) fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        #[inline]
        #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
        fn run<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        // SAFETY: the token proves that the CPU has all of these features.
        unsafe { run(f) }
    }

    /// 64 bytes at any address.
    #[inline(always)]
    pub(crate) fn load(self, from: &[u8; 64]) -> I {
        // SAFETY: the token proves AVX-512 F; `from` holds 64 bytes; the load is an unaligned one.
        unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
    }
    #[inline(always)]
    pub(crate) fn load_f32(self, from: &[f32; 16]) -> F {
        // SAFETY: the token proves AVX-512 F; `from` holds 16 floats; the load is an unaligned one.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }
    #[inline(always)]
    pub(crate) fn store(self, value: I, to: &mut [u8; 64]) {
        // SAFETY: as for `load`.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), value) }
    }
    /// Sixteen binary16, widened.
    #[inline(always)]
    pub(crate) fn halves(self, from: &[u8; 32]) -> F {
        // SAFETY: the token proves AVX-512 F; `from` holds 32 bytes; the load is an unaligned one.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())) }
    }
    /// The low binary16 of each lane, widened.
    #[inline(always)]
    pub(crate) fn low_halves(self, a: I) -> F {
        let halves = op!(_mm512_cvtepi32_epi16, a);
        op!(_mm512_cvtph_ps, halves)
    }
    /// The high binary16 of each lane, widened.
    #[inline(always)]
    pub(crate) fn high_halves(self, a: I) -> F {
        self.low_halves(self.right::<16>(a))
    }
    #[inline(always)]
    pub(crate) fn splat(self, x: i32) -> I {
        op!(_mm512_set1_epi32, x)
    }
    #[inline(always)]
    pub(crate) fn splat_byte(self, x: u8) -> I {
        op!(_mm512_set1_epi8, x as i8)
    }
    #[inline(always)]
    pub(crate) fn splat_f32(self, x: f32) -> F {
        op!(_mm512_set1_ps, x)
    }
    /// Four unsigned times four signed bytes per lane, added to the lane.
    #[inline(always)]
    pub(crate) fn dot_bytes(self, sum: I, unsigned: I, signed: I) -> I {
        op!(_mm512_dpbusd_epi32, sum, unsigned, signed)
    }
    /// Two products of signed 16-bit numbers per lane, added to the lane.
    #[inline(always)]
    pub(crate) fn dot_words(self, sum: I, a: I, b: I) -> I {
        op!(_mm512_dpwssd_epi32, sum, a, b)
    }
    #[inline(always)]
    pub(crate) fn and(self, a: I, b: I) -> I {
        op!(_mm512_and_si512, a, b)
    }
    #[inline(always)]
    pub(crate) fn or(self, a: I, b: I) -> I {
        op!(_mm512_or_si512, a, b)
    }
    #[inline(always)]
    pub(crate) fn xor(self, a: I, b: I) -> I {
        op!(_mm512_xor_si512, a, b)
    }
    /// Of each 32-bit lane.
    #[inline(always)]
    pub(crate) fn left<const N: u32>(self, a: I) -> I {
        op!(_mm512_slli_epi32::<N>, a)
    }
    /// Of each 32-bit lane, zeros from above.
    #[inline(always)]
    pub(crate) fn right<const N: u32>(self, a: I) -> I {
        op!(_mm512_srli_epi32::<N>, a)
    }
    /// By a number that only inlining makes a constant.
    #[inline(always)]
    pub(crate) fn right_by(self, a: I, n: u32) -> I {
        let n = self.splat(n as i32);
        op!(_mm512_srlv_epi32, a, n)
    }
    #[inline(always)]
    pub(crate) fn left_by(self, a: I, n: u32) -> I {
        let n = self.splat(n as i32);
        op!(_mm512_sllv_epi32, a, n)
    }
    /// The sign comes from above.
    #[inline(always)]
    pub(crate) fn right_signed<const N: u32>(self, a: I) -> I {
        op!(_mm512_srai_epi32::<N>, a)
    }
    #[inline(always)]
    pub(crate) fn sub_bytes(self, a: I, b: I) -> I {
        op!(_mm512_sub_epi8, a, b)
    }
    /// `table[a]` of each byte; all are below 16.
    #[inline(always)]
    pub(crate) fn lookup(self, table: &[u8; 16], a: I) -> I {
        // SAFETY: the token proves AVX-512 BW; `table` holds 16 bytes; the load is unaligned.
        unsafe {
            let table = _mm_loadu_si128(table.as_ptr().cast());
            _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), a)
        }
    }
    /// Bytes 1 and 3 of each lane as two signed 16-bit numbers.
    #[inline(always)]
    pub(crate) fn high_bytes(self, a: I) -> I {
        op!(_mm512_srai_epi16::<8>, a)
    }
    /// `2^(e - 128)` of sixteen bytes e, down to the smallest subnormals.
    #[inline(always)]
    pub(crate) fn half_powers(self, from: &[u8; 16]) -> F {
        // SAFETY: the token proves AVX-512 F; `from` holds 16 bytes; the load is an unaligned one.
        let e = unsafe { _mm512_cvtepu8_epi32(_mm_loadu_si128(from.as_ptr().cast())) };
        let one = self.splat(1);
        let small = op!(_mm512_cmplt_epi32_mask, e, self.splat(2));
        let normal = self.left::<23>(op!(_mm512_sub_epi32, e, one));
        let tiny = op!(_mm512_sllv_epi32, self.splat(0x0020_0000), e);
        self.as_f32(op!(_mm512_mask_blend_epi32, small, normal, tiny))
    }
    /// The bits of the largest magnitude; a NaN is above all.
    #[inline(always)]
    pub(crate) fn max_magnitude(self, a: F, b: F) -> u32 {
        let magnitude = self.splat(0x7fff_ffff);
        let (a, b) = (self.and(self.as_bytes(a), magnitude), self.and(self.as_bytes(b), magnitude));
        let max = op!(_mm512_max_epu32, a, b);
        op!(_mm512_reduce_max_epu32, max)
    }
    #[inline(always)]
    pub(crate) fn sum_i32(self, a: I, b: I) -> i32 {
        let sum = op!(_mm512_add_epi32, a, b);
        op!(_mm512_reduce_add_epi32, sum)
    }
    /// To the nearest, ties to even; a NaN is zero.
    #[inline(always)]
    pub(crate) fn round_to_i32(self, a: F) -> I {
        let numbers = op!(_mm512_cmp_ps_mask::<_CMP_ORD_Q>, a, a);
        op!(_mm512_maskz_cvtps_epi32, numbers, a)
    }
    #[inline(always)]
    pub(crate) fn store_low_bytes(self, a: I, to: &mut [i8; 16]) {
        // SAFETY: the token proves AVX-512 F; `to` holds 16 bytes; the store is an unaligned one.
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(a)) };
    }
    #[inline(always)]
    pub(crate) fn to_f32(self, a: I) -> F {
        op!(_mm512_cvtepi32_ps, a)
    }
    #[inline(always)]
    pub(crate) fn as_f32(self, a: I) -> F {
        op!(_mm512_castsi512_ps, a)
    }
    #[inline(always)]
    pub(crate) fn as_bytes(self, a: F) -> I {
        op!(_mm512_castps_si512, a)
    }
    #[inline(always)]
    pub(crate) fn mul(self, a: F, b: F) -> F {
        op!(_mm512_mul_ps, a, b)
    }
    /// `a * b + c`, rounded once.
    #[inline(always)]
    pub(crate) fn fma(self, a: F, b: F, c: F) -> F {
        op!(_mm512_fmadd_ps, a, b, c)
    }
    /// `c - a * b`, rounded once.
    #[inline(always)]
    pub(crate) fn fnma(self, a: F, b: F, c: F) -> F {
        op!(_mm512_fnmadd_ps, a, b, c)
    }
    #[inline(always)]
    pub(crate) fn floats(self, a: F) -> [f32; 16] {
        let mut out = [0.0; 16];
        // SAFETY: the token proves AVX-512 F; `out` holds 16 floats; the store is an unaligned one.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), a) };
        out
    }
}
