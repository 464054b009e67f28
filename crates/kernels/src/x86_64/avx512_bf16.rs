//! Products of pairs of bfloat16 into f32 sums: AVX-512 BF16, on top of AVX-512.

use super::avx512::Avx512;
#[allow(clippy::wildcard_imports, reason = "dozens of intrinsics, all with a prefix")]
use std::arch::x86_64::*;
use std::sync::LazyLock;

/// Proof that this CPU has AVX-512 BF16 beside what `Avx512` proves. Only detection makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx512Bf16(());

/// Thirty-two bfloat16.
pub(crate) type Pairs = __m512bh;

#[expect(clippy::unused_self, reason = "the token is the proof")]
impl Avx512Bf16 {
    /// Only if this CPU has them and the token does not keep to AVX-512.
    pub(crate) fn detect(avx512: Avx512) -> Option<Self> {
        (avx512.extensions() && is_x86_feature_detected!("avx512bf16")).then_some(Self(()))
    }

    /// Runs `f`, and what inlines into it, compiled for these instructions.
    #[inline]
    pub(crate) fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        #[inline]
        #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
        fn run<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        // SAFETY: the token proves that the CPU has all of these features.
        unsafe { run(f) }
    }

    /// Whether `dot` multiplies more per second than f32 multiply-adds: by the maker, Intel's do
    /// not. (A measurement would tell it of any CPU, but differently from run to run.)
    pub(crate) fn outpaces_f32(self) -> bool {
        // Asked once: on a virtual machine the instruction takes ten thousands of cycles.
        static OUTPACES: LazyLock<bool> = LazyLock::new(|| {
            let leaf = __cpuid(0);
            [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).as_flattened() != b"GenuineIntel"
        });
        *OUTPACES
    }

    #[inline(always)]
    pub(crate) fn load(self, from: &[u8; 64]) -> Pairs {
        // SAFETY: the token proves AVX-512 F; `from` holds 64 bytes; the load is an unaligned one;
        // both types are 512 bits of plain numbers.
        unsafe { std::mem::transmute(_mm512_loadu_si512(from.as_ptr().cast())) }
    }
    /// One pair in all lanes.
    #[inline(always)]
    pub(crate) fn splat(self, pair: i32) -> Pairs {
        // SAFETY: the token proves AVX-512 F; both types are 512 bits of plain numbers.
        unsafe { std::mem::transmute(_mm512_set1_epi32(pair)) }
    }
    #[inline(always)]
    pub(crate) fn zero(self) -> __m512 {
        // SAFETY: the token proves AVX-512 F; registers only.
        unsafe { _mm512_setzero_ps() }
    }
    /// The products of the high halves, then of the low ones, added to each lane.
    #[inline(always)]
    pub(crate) fn dot(self, sum: __m512, a: Pairs, b: Pairs) -> __m512 {
        // SAFETY: the token proves AVX-512 BF16; registers only.
        unsafe { _mm512_dpbf16_ps(sum, a, b) }
    }
    #[inline(always)]
    pub(crate) fn load_f32(self, from: &[f32; 16]) -> __m512 {
        // SAFETY: the token proves AVX-512 F; `from` holds 16 floats; the load is an unaligned one.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }
    #[inline(always)]
    pub(crate) fn store_f32(self, value: __m512, to: &mut [f32; 16]) {
        // SAFETY: the token proves AVX-512 F; `to` holds 16 floats; the store is an unaligned one.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), value) }
    }
}
