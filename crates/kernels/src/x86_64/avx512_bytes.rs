//! Byte products with 512-bit registers: AVX-512, with VNNI or without (Skylake).

use super::avx512::Avx512;
use super::byte_vector::{BIAS, ByteVector, In16, In32, Sums};
#[allow(clippy::wildcard_imports, reason = "dozens of intrinsics, all with a prefix")]
use std::arch::x86_64::*;
use std::marker::PhantomData;

/// Proof that this CPU has AVX-512 F, BW, VL and DQ, and VNNI for sums `In32`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Zmm<S>(PhantomData<S>);

impl Zmm<In16> {
    pub(crate) fn new(_: Avx512) -> Self {
        Self(PhantomData)
    }
}

impl Zmm<In32> {
    /// Only if this CPU has VNNI and the token does not keep to AVX-512.
    pub(crate) fn detect(avx512: Avx512) -> Option<Self> {
        (avx512.extensions() && is_x86_feature_detected!("avx512vnni")).then_some(Self(PhantomData))
    }
}

/// One operation on registers.
macro_rules! op {
    ($op:path, $($v:expr),+) => {
        // SAFETY: the token proves that the CPU has AVX-512 F, BW, VL and DQ; the operation is on
        // registers only.
        unsafe { $op($($v),+) }
    };
}

impl<S: Sums> ByteVector for Zmm<S> {
    type I = __m512i;
    type F = __m512;
    const PARTS: usize = 1;
    type Sums = S;

    #[inline]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        #[inline]
        #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")]
        fn plain<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        #[inline]
        #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
        fn vnni<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        // SAFETY: the token proves that the CPU has all of these features, VNNI if IN_32.
        unsafe { if S::IN_32 { vnni(f) } else { plain(f) } }
    }

    #[inline(always)]
    fn load(self, line: &[u8; 64], _: usize) -> __m512i {
        // SAFETY: the token proves AVX-512 F; `line` holds 64 bytes; the load is an unaligned one.
        unsafe { _mm512_loadu_si512(line.as_ptr().cast()) }
    }
    #[inline(always)]
    fn store(self, value: __m512i, line: &mut [u8; 64], _: usize) {
        // SAFETY: as for `load`.
        unsafe { _mm512_storeu_si512(line.as_mut_ptr().cast(), value) }
    }
    #[inline(always)]
    fn load_f32(self, line: &[f32; 16], _: usize) -> __m512 {
        // SAFETY: the token proves AVX-512 F; `line` holds 16 floats; the load is an unaligned one.
        unsafe { _mm512_loadu_ps(line.as_ptr()) }
    }
    #[inline(always)]
    fn store_f32(self, value: __m512, line: &mut [f32; 16], _: usize) {
        // SAFETY: as for `load_f32`.
        unsafe { _mm512_storeu_ps(line.as_mut_ptr(), value) }
    }
    #[inline(always)]
    fn halves(self, from: &[u8; 32], _: usize) -> __m512 {
        // SAFETY: the token proves AVX-512 F; `from` holds 32 bytes; the load is an unaligned one.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())) }
    }
    #[inline(always)]
    fn half_powers(self, from: &[u8; 16], _: usize) -> __m512 {
        // SAFETY: the token proves AVX-512 F; `from` holds 16 bytes; the load is an unaligned one.
        let e = unsafe { _mm512_cvtepu8_epi32(_mm_loadu_si128(from.as_ptr().cast())) };
        let small = op!(_mm512_cmplt_epi32_mask, e, self.splat(2));
        let normal = self.left(op!(_mm512_sub_epi32, e, self.splat(1)), 23);
        let tiny = op!(_mm512_sllv_epi32, self.splat(0x0020_0000), e);
        self.as_f32(op!(_mm512_mask_blend_epi32, small, normal, tiny))
    }
    #[inline(always)]
    fn low_halves(self, a: __m512i) -> __m512 {
        let halves = op!(_mm512_cvtepi32_epi16, a);
        op!(_mm512_cvtph_ps, halves)
    }

    #[inline(always)]
    fn splat(self, x: i32) -> __m512i {
        op!(_mm512_set1_epi32, x)
    }
    #[inline(always)]
    fn splat_byte(self, x: u8) -> __m512i {
        op!(_mm512_set1_epi8, x as i8)
    }
    #[inline(always)]
    fn splat_f32(self, x: f32) -> __m512 {
        op!(_mm512_set1_ps, x)
    }

    #[inline(always)]
    fn begin_run(self, sum: __m512i) -> __m512i {
        if S::IN_32 { sum } else { self.splat(0) }
    }
    #[inline(always)]
    fn dot(self, run: __m512i, unsigned: __m512i, signed: __m512i) -> __m512i {
        if S::IN_32 {
            // SAFETY: the token proves AVX-512 VNNI; registers only.
            unsafe { _mm512_dpbusd_epi32(run, unsigned, signed) }
        } else {
            let pairs = op!(_mm512_maddubs_epi16, unsigned, signed);
            op!(_mm512_add_epi16, run, pairs)
        }
    }
    #[inline(always)]
    fn dot_signed(self, run: __m512i, a: __m512i, b: __m512i) -> __m512i {
        let negative = op!(_mm512_movepi8_mask, a);
        let b = op!(_mm512_mask_sub_epi8, b, negative, self.splat(0), b);
        self.dot(run, op!(_mm512_abs_epi8, a), b)
    }
    #[inline(always)]
    fn end_run(self, run: __m512i, sum: __m512i) -> __m512i {
        if S::IN_32 { run } else { self.dot_words(sum, run, op!(_mm512_set1_epi16, 1)) }
    }
    #[inline(always)]
    fn dot_words(self, sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        if S::IN_32 {
            // SAFETY: the token proves AVX-512 VNNI; registers only.
            unsafe { _mm512_dpwssd_epi32(sum, a, b) }
        } else {
            self.add(sum, op!(_mm512_madd_epi16, a, b))
        }
    }

    #[inline(always)]
    fn add(self, a: __m512i, b: __m512i) -> __m512i {
        op!(_mm512_add_epi32, a, b)
    }
    #[inline(always)]
    fn and(self, a: __m512i, b: __m512i) -> __m512i {
        op!(_mm512_and_si512, a, b)
    }
    #[inline(always)]
    fn or(self, a: __m512i, b: __m512i) -> __m512i {
        op!(_mm512_or_si512, a, b)
    }
    #[inline(always)]
    fn xor(self, a: __m512i, b: __m512i) -> __m512i {
        op!(_mm512_xor_si512, a, b)
    }
    #[inline(always)]
    fn left(self, a: __m512i, n: u32) -> __m512i {
        op!(_mm512_sllv_epi32, a, self.splat(n as i32))
    }
    #[inline(always)]
    fn right(self, a: __m512i, n: u32) -> __m512i {
        op!(_mm512_srlv_epi32, a, self.splat(n as i32))
    }
    #[inline(always)]
    fn right_signed(self, a: __m512i, n: u32) -> __m512i {
        op!(_mm512_srav_epi32, a, self.splat(n as i32))
    }
    #[inline(always)]
    fn sub_bytes(self, a: __m512i, b: __m512i) -> __m512i {
        op!(_mm512_sub_epi8, a, b)
    }
    #[inline(always)]
    fn lookup(self, table: &[u8; 16], a: __m512i) -> __m512i {
        // SAFETY: the token proves AVX-512 BW; `table` holds 16 bytes; the load is unaligned.
        unsafe {
            let table = _mm_loadu_si128(table.as_ptr().cast());
            _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), a)
        }
    }
    #[inline(always)]
    fn high_bytes(self, a: __m512i) -> __m512i {
        op!(_mm512_srai_epi16::<8>, a)
    }

    #[inline(always)]
    fn to_f32(self, a: __m512i) -> __m512 {
        op!(_mm512_cvtepi32_ps, a)
    }
    #[inline(always)]
    fn bias(self, a: __m512i) -> __m512i {
        if S::IN_32 { a } else { self.add(a, self.splat(BIAS)) }
    }
    #[inline(always)]
    fn unbias(self, a: __m512i) -> __m512 {
        if S::IN_32 {
            return self.to_f32(a);
        }
        let bias = self.as_f32(self.splat(BIAS));
        op!(_mm512_sub_ps, self.as_f32(a), bias)
    }
    #[inline(always)]
    fn as_f32(self, a: __m512i) -> __m512 {
        op!(_mm512_castsi512_ps, a)
    }
    #[inline(always)]
    fn as_bytes(self, a: __m512) -> __m512i {
        op!(_mm512_castps_si512, a)
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_mul_ps, a, b)
    }
    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        op!(_mm512_fmadd_ps, a, b, c)
    }
    #[inline(always)]
    fn fnma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        op!(_mm512_fnmadd_ps, a, b, c)
    }
}

/// Rounding of activations, 32 at a time.
#[expect(clippy::unused_self, reason = "the token is the proof")]
impl<S: Sums> Zmm<S> {
    /// The bits of the largest magnitude; a NaN is above all.
    #[inline(always)]
    pub(crate) fn max_magnitude(self, a: __m512, b: __m512) -> u32 {
        let magnitude = self.splat(0x7fff_ffff);
        let (a, b) = (self.and(self.as_bytes(a), magnitude), self.and(self.as_bytes(b), magnitude));
        let max = op!(_mm512_max_epu32, a, b);
        op!(_mm512_reduce_max_epu32, max)
    }
    #[inline(always)]
    pub(crate) fn sum_i32(self, a: __m512i, b: __m512i) -> i32 {
        let sum = op!(_mm512_add_epi32, a, b);
        op!(_mm512_reduce_add_epi32, sum)
    }
    /// To the nearest, ties to even; a NaN is zero.
    #[inline(always)]
    pub(crate) fn round_to_i32(self, a: __m512) -> __m512i {
        let numbers = op!(_mm512_cmp_ps_mask::<_CMP_ORD_Q>, a, a);
        op!(_mm512_maskz_cvtps_epi32, numbers, a)
    }
    #[inline(always)]
    pub(crate) fn store_low_bytes(self, a: __m512i, to: &mut [i8; 16]) {
        // SAFETY: the token proves AVX-512 F; `to` holds 16 bytes; the store is an unaligned one.
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(a)) };
    }
}
