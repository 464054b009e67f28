//! Byte products with 512-bit registers on CPUs that have AVX-512 but not its VNNI (Skylake).

use super::avx512::Avx512;
use super::byte_vector::{BIAS, ByteVector};
#[allow(clippy::wildcard_imports, reason = "dozens of intrinsics, all with a prefix")]
use std::arch::x86_64::*;

/// Proof that this CPU has AVX-512 F, BW, VL and DQ.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Zmm(Avx512);

impl Zmm {
    pub(crate) fn new(avx512: Avx512) -> Self {
        Self(avx512)
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

impl ByteVector for Zmm {
    type I = __m512i;
    type F = __m512;
    const PARTS: usize = 1;
    const DOT_32: bool = false;

    #[inline]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        self.0.vectorize(f)
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
    fn begin_run(self, _: __m512i) -> __m512i {
        self.splat(0)
    }
    #[inline(always)]
    fn dot(self, run: __m512i, unsigned: __m512i, signed: __m512i) -> __m512i {
        let pairs = op!(_mm512_maddubs_epi16, unsigned, signed);
        op!(_mm512_add_epi16, run, pairs)
    }
    #[inline(always)]
    fn dot_signed(self, run: __m512i, a: __m512i, b: __m512i) -> __m512i {
        let negative = op!(_mm512_movepi8_mask, a);
        let b = op!(_mm512_mask_sub_epi8, b, negative, self.splat(0), b);
        self.dot(run, op!(_mm512_abs_epi8, a), b)
    }
    #[inline(always)]
    fn end_run(self, run: __m512i, sum: __m512i) -> __m512i {
        self.dot_words(sum, run, op!(_mm512_set1_epi16, 1))
    }
    #[inline(always)]
    fn dot_words(self, sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        self.add(sum, op!(_mm512_madd_epi16, a, b))
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
    fn unbias(self, a: __m512i) -> __m512 {
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
