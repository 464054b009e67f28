//! Byte products with 256-bit registers: AVX2, with AVX-VNNI or without.

use super::avx2::Avx2;
use super::byte_vector::{BIAS, ByteVector, In16, In32, Sums};
#[allow(clippy::wildcard_imports, reason = "dozens of intrinsics, all with a prefix")]
use std::arch::x86_64::*;
use std::marker::PhantomData;

/// Proof that this CPU has AVX2, FMA and F16C, and AVX-VNNI for sums `In32`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ymm<S>(PhantomData<S>);

impl Ymm<In16> {
    pub(crate) fn new(_: Avx2) -> Self {
        Self(PhantomData)
    }
}

impl Ymm<In32> {
    /// Only if this CPU has AVX-VNNI and the token does not keep to AVX2.
    pub(crate) fn detect(avx2: Avx2) -> Option<Self> {
        (avx2.extensions() && is_x86_feature_detected!("avxvnni")).then_some(Self(PhantomData))
    }
}

/// One operation on registers.
macro_rules! op {
    ($op:path, $($v:expr),+) => {
        // SAFETY: the token proves that the CPU has AVX2, FMA and F16C; the operation is on
        // registers only.
        unsafe { $op($($v),+) }
    };
}

impl<S: Sums> ByteVector for Ymm<S> {
    type I = __m256i;
    type F = __m256;
    const PARTS: usize = 2;
    type Sums = S;

    #[inline]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        #[inline]
        #[target_feature(enable = "avx2,fma,f16c")]
        fn plain<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        #[inline]
        #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
        fn vnni<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        // SAFETY: the token proves that the CPU has the three features, and AVX-VNNI if IN_32.
        unsafe { if S::IN_32 { vnni(f) } else { plain(f) } }
    }

    #[inline(always)]
    fn load(self, line: &[u8; 64], part: usize) -> __m256i {
        let half = &line.as_chunks::<32>().0[part];
        // SAFETY: the token proves AVX; `half` holds 32 bytes; the load is an unaligned one.
        unsafe { _mm256_loadu_si256(half.as_ptr().cast()) }
    }
    #[inline(always)]
    fn store(self, value: __m256i, line: &mut [u8; 64], part: usize) {
        let half = &mut line.as_chunks_mut::<32>().0[part];
        // SAFETY: as for `load`.
        unsafe { _mm256_storeu_si256(half.as_mut_ptr().cast(), value) }
    }
    #[inline(always)]
    fn load_f32(self, line: &[f32; 16], part: usize) -> __m256 {
        let half = &line.as_chunks::<8>().0[part];
        // SAFETY: the token proves AVX; `half` holds 8 floats; the load is an unaligned one.
        unsafe { _mm256_loadu_ps(half.as_ptr()) }
    }
    #[inline(always)]
    fn store_f32(self, value: __m256, line: &mut [f32; 16], part: usize) {
        let half = &mut line.as_chunks_mut::<8>().0[part];
        // SAFETY: as for `load_f32`.
        unsafe { _mm256_storeu_ps(half.as_mut_ptr(), value) }
    }
    #[inline(always)]
    fn halves(self, from: &[u8; 32], part: usize) -> __m256 {
        let half = &from.as_chunks::<16>().0[part];
        // SAFETY: the token proves F16C; `half` holds 16 bytes; the load is an unaligned one.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(half.as_ptr().cast())) }
    }
    #[inline(always)]
    fn half_powers(self, from: &[u8; 16], part: usize) -> __m256 {
        let half = &from.as_chunks::<8>().0[part];
        // SAFETY: the token proves AVX2; `half` holds 8 bytes; the load is an unaligned one.
        let e = unsafe { _mm256_cvtepu8_epi32(_mm_loadl_epi64(half.as_ptr().cast())) };
        let small = op!(_mm256_cmpgt_epi32, self.splat(2), e);
        let normal = self.left(op!(_mm256_sub_epi32, e, self.splat(1)), 23);
        let tiny = op!(_mm256_sllv_epi32, self.splat(0x0020_0000), e);
        self.as_f32(op!(_mm256_blendv_epi8, normal, tiny, small))
    }
    #[inline(always)]
    fn low_halves(self, a: __m256i) -> __m256 {
        let low = self.and(a, self.splat(0xffff));
        let packed = op!(_mm256_packus_epi32, low, low);
        let joined = op!(_mm256_permute4x64_epi64::<0b1000>, packed);
        let halves = op!(_mm256_castsi256_si128, joined);
        op!(_mm256_cvtph_ps, halves)
    }

    #[inline(always)]
    fn splat(self, x: i32) -> __m256i {
        op!(_mm256_set1_epi32, x)
    }
    #[inline(always)]
    fn splat_byte(self, x: u8) -> __m256i {
        op!(_mm256_set1_epi8, x as i8)
    }
    #[inline(always)]
    fn splat_f32(self, x: f32) -> __m256 {
        op!(_mm256_set1_ps, x)
    }

    #[inline(always)]
    fn begin_run(self, sum: __m256i) -> __m256i {
        if S::IN_32 { sum } else { self.splat(0) }
    }
    #[inline(always)]
    fn dot(self, run: __m256i, unsigned: __m256i, signed: __m256i) -> __m256i {
        if S::IN_32 {
            // SAFETY: the token proves AVX-VNNI; registers only.
            unsafe { _mm256_dpbusd_avx_epi32(run, unsigned, signed) }
        } else {
            let pairs = op!(_mm256_maddubs_epi16, unsigned, signed);
            op!(_mm256_add_epi16, run, pairs)
        }
    }
    #[inline(always)]
    fn dot_signed(self, run: __m256i, a: __m256i, b: __m256i) -> __m256i {
        let (magnitude, signed) = (op!(_mm256_abs_epi8, a), op!(_mm256_sign_epi8, b, a));
        self.dot(run, magnitude, signed)
    }
    #[inline(always)]
    fn end_run(self, run: __m256i, sum: __m256i) -> __m256i {
        if S::IN_32 { run } else { self.dot_words(sum, run, op!(_mm256_set1_epi16, 1)) }
    }
    #[inline(always)]
    fn dot_words(self, sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
        if S::IN_32 {
            // SAFETY: the token proves AVX-VNNI; registers only.
            unsafe { _mm256_dpwssd_avx_epi32(sum, a, b) }
        } else {
            self.add(sum, op!(_mm256_madd_epi16, a, b))
        }
    }

    #[inline(always)]
    fn add(self, a: __m256i, b: __m256i) -> __m256i {
        op!(_mm256_add_epi32, a, b)
    }
    #[inline(always)]
    fn and(self, a: __m256i, b: __m256i) -> __m256i {
        op!(_mm256_and_si256, a, b)
    }
    #[inline(always)]
    fn or(self, a: __m256i, b: __m256i) -> __m256i {
        op!(_mm256_or_si256, a, b)
    }
    #[inline(always)]
    fn xor(self, a: __m256i, b: __m256i) -> __m256i {
        op!(_mm256_xor_si256, a, b)
    }
    #[inline(always)]
    fn left(self, a: __m256i, n: u32) -> __m256i {
        op!(_mm256_sllv_epi32, a, self.splat(n as i32))
    }
    #[inline(always)]
    fn right(self, a: __m256i, n: u32) -> __m256i {
        op!(_mm256_srlv_epi32, a, self.splat(n as i32))
    }
    #[inline(always)]
    fn right_signed(self, a: __m256i, n: u32) -> __m256i {
        op!(_mm256_srav_epi32, a, self.splat(n as i32))
    }
    #[inline(always)]
    fn sub_bytes(self, a: __m256i, b: __m256i) -> __m256i {
        op!(_mm256_sub_epi8, a, b)
    }
    #[inline(always)]
    fn lookup(self, table: &[u8; 16], a: __m256i) -> __m256i {
        // SAFETY: the token proves AVX2; `table` holds 16 bytes; the load is an unaligned one.
        unsafe {
            let table = _mm_loadu_si128(table.as_ptr().cast());
            _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), a)
        }
    }
    #[inline(always)]
    fn high_bytes(self, a: __m256i) -> __m256i {
        op!(_mm256_srai_epi16::<8>, a)
    }

    #[inline(always)]
    fn to_f32(self, a: __m256i) -> __m256 {
        op!(_mm256_cvtepi32_ps, a)
    }
    #[inline(always)]
    fn bias(self, a: __m256i) -> __m256i {
        self.add(a, self.splat(BIAS))
    }
    #[inline(always)]
    fn unbias(self, a: __m256i) -> __m256 {
        let bias = self.as_f32(self.splat(BIAS));
        op!(_mm256_sub_ps, self.as_f32(a), bias)
    }
    #[inline(always)]
    fn as_f32(self, a: __m256i) -> __m256 {
        op!(_mm256_castsi256_ps, a)
    }
    #[inline(always)]
    fn as_bytes(self, a: __m256) -> __m256i {
        op!(_mm256_castps_si256, a)
    }
    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        op!(_mm256_mul_ps, a, b)
    }
    #[inline(always)]
    fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        op!(_mm256_fmadd_ps, a, b, c)
    }
    #[inline(always)]
    fn fnma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        op!(_mm256_fnmadd_ps, a, b, c)
    }
}

/// Of each four, 0, 2, 1, 3.
const ORDER: i32 = 0b11_01_10_00;

/// Rounding of activations, 32 at a time.
#[expect(clippy::unused_self, reason = "the token is the proof")]
impl<S: Sums> Ymm<S> {
    /// In each lane the larger of `max` and the magnitudes of four numbers, as bits: a NaN is above
    /// all.
    #[inline(always)]
    pub(crate) fn max_magnitudes(self, max: __m256i, x: &[f32; 32]) -> __m256i {
        let magnitude = self.splat(0x7fff_ffff);
        x.as_chunks::<8>().0.iter().fold(max, |max, x| {
            // SAFETY: the token proves AVX; `x` holds 8 floats; the load is an unaligned one.
            let x = unsafe { _mm256_loadu_si256(x.as_ptr().cast()) };
            let x = self.and(x, magnitude);
            op!(_mm256_max_epu32, max, x)
        })
    }
    /// The largest lane.
    #[inline(always)]
    pub(crate) fn largest(self, a: __m256i) -> u32 {
        // SAFETY: the token proves AVX2; registers only.
        unsafe {
            let a = _mm_max_epu32(_mm256_castsi256_si128(a), _mm256_extracti128_si256::<1>(a));
            let a = _mm_max_epu32(a, _mm_shuffle_epi32::<0b1110>(a));
            let a = _mm_max_epu32(a, _mm_shuffle_epi32::<0b01>(a));
            _mm_cvtsi128_si32(a) as u32
        }
    }
    /// `x * inverse` to the nearest, ties to even, as bytes in order; a NaN is zero.
    #[inline(always)]
    pub(crate) fn round_bytes(self, x: &[f32; 32], inverse: f32) -> __m256i {
        let inverse = self.splat_f32(inverse);
        let zeros = 0x8080_8080_8080_8080_u64 as i64;
        let mut joined = self.splat(0);
        for (i, x) in x.as_chunks::<8>().0.iter().enumerate() {
            // SAFETY: the token proves AVX; `x` holds 8 floats; the load is an unaligned one.
            let x = unsafe { _mm256_loadu_ps(x.as_ptr()) };
            let x = self.mul(x, inverse);
            let x = op!(_mm256_cvtps_epi32, x);
            // The low bytes of each half as its 32-bit lane i. (That of a NaN is zero.)
            let low = 0x0c08_0400;
            let (a, b) = match i {
                0 => (zeros & !0xffff_ffff | low, zeros),
                1 => (zeros & 0xffff_ffff | low << 32, zeros),
                2 => (zeros, zeros & !0xffff_ffff | low),
                _ => (zeros, zeros & 0xffff_ffff | low << 32),
            };
            let places = op!(_mm256_setr_epi64x, a, b, a, b);
            joined = self.or(joined, op!(_mm256_shuffle_epi8, x, places));
        }
        self.interleave_halves(joined)
    }
    /// Lanes 0, 4, 1, 5, 2, 6, 3, 7.
    #[inline(always)]
    fn interleave_halves(self, a: __m256i) -> __m256i {
        let order = op!(_mm256_setr_epi32, 0, 4, 1, 5, 2, 6, 3, 7);
        op!(_mm256_permutevar8x32_epi32, a, order)
    }
    #[inline(always)]
    pub(crate) fn store_bytes(self, a: __m256i, to: &mut [u8; 32]) {
        // SAFETY: the token proves AVX; `to` holds 32 bytes; the store is an unaligned one.
        unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), a) }
    }
    /// Sums of four signed bytes each.
    #[inline(always)]
    pub(crate) fn sums_of_four(self, bytes: __m256i) -> __m256i {
        let pairs = op!(_mm256_maddubs_epi16, self.splat_byte(1), bytes);
        let ones = op!(_mm256_set1_epi16, 1);
        op!(_mm256_madd_epi16, pairs, ones)
    }
    #[inline(always)]
    pub(crate) fn sum(self, a: __m256i) -> i32 {
        // SAFETY: the token proves AVX2; registers only.
        unsafe {
            let a = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256::<1>(a));
            let a = _mm_add_epi32(a, _mm_shuffle_epi32::<0b1110>(a));
            _mm_cvtsi128_si32(_mm_add_epi32(a, _mm_shuffle_epi32::<0b01>(a)))
        }
    }
    /// From the sums of four of eight times 32 bytes: sixteen times the sum of 16 bytes, times -32.
    /// Then those sums, and the eight of 32 bytes, as 16-bit numbers; of each four in the order 0,
    /// 2, 1, 3.
    #[inline(always)]
    pub(crate) fn sums_of_block(self, fours: [__m256i; 8]) -> ([__m256i; 2], __m256i, __m128i) {
        // Lane i of each half: 16 bytes of the i-th; the first half has the first ones.
        let (a, b) = (self.four_sums(fours, 0), self.four_sums(fours, 4));
        // SAFETY: the token proves AVX2; registers only.
        unsafe {
            let wholes = _mm_packs_epi32(
                _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256::<1>(a)),
                _mm_add_epi32(_mm256_castsi256_si128(b), _mm256_extracti128_si256::<1>(b)),
            );
            let (a, b) = (self.interleave_halves(a), self.interleave_halves(b));
            let sums = _mm256_permute4x64_epi64::<ORDER>(_mm256_packs_epi32(a, b));
            let sums = _mm256_shufflehi_epi16::<ORDER>(_mm256_shufflelo_epi16::<ORDER>(sums));
            let wholes = _mm_shufflehi_epi16::<ORDER>(_mm_shufflelo_epi16::<ORDER>(wholes));
            let zero = _mm256_setzero_si256();
            let offsets = [
                _mm256_sub_epi32(zero, _mm256_slli_epi32::<5>(a)),
                _mm256_sub_epi32(zero, _mm256_slli_epi32::<5>(b)),
            ];
            (offsets, sums, wholes)
        }
    }
    /// Lane i of each half: the sum of that half of vector `from + i`.
    #[inline(always)]
    fn four_sums(self, a: [__m256i; 8], from: usize) -> __m256i {
        let low = op!(_mm256_hadd_epi32, a[from], a[from + 1]);
        let high = op!(_mm256_hadd_epi32, a[from + 2], a[from + 3]);
        op!(_mm256_hadd_epi32, low, high)
    }
    #[inline(always)]
    pub(crate) fn store_half(self, a: __m128i, to: &mut [u8; 16]) {
        // SAFETY: `to` holds 16 bytes; the store is an unaligned one of the baseline.
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), a) }
    }
}
