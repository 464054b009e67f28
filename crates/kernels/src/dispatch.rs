//! The one place where an instruction set is chosen, at run time. A level is a proof value: one
//! that names AVX-512 exists only where detection found it. Nothing depends on compile flags.

use crate::simd::Simd;
#[cfg(target_arch = "x86_64")]
use crate::x86_64::{avx2::Avx2, avx512::Avx512, avx512_bf16::Avx512Bf16};

/// The instructions that a kernel may use. Every level gives the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Plain Rust on any CPU; the specification of the others.
    Scalar,
    /// AVX2 + FMA + F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// AVX-512 F + BW + VL + DQ.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

impl Level {
    /// The fastest level of this CPU.
    pub fn detect() -> Level {
        Level::available().pop().unwrap_or(Level::Scalar)
    }

    /// Every level of this CPU, slowest first; the first is always `Scalar`.
    pub fn available() -> Vec<Level> {
        #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut, reason = "only scalar there"))]
        let mut levels = vec![Level::Scalar];
        #[cfg(target_arch = "x86_64")]
        {
            levels.extend(Avx2::detect().map(Level::Avx2));
            levels.extend(Avx512::detect().map(Level::Avx512));
        }
        levels
    }

    /// The levels and beside them what they fall back to on CPUs that have less (AVX2 without
    /// AVX-VNNI, AVX-512 without VNNI and BF16), with a name for each. For tests and measurements.
    pub fn variants() -> Vec<(&'static str, Level)> {
        let levels = Level::available().into_iter();
        #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut, reason = "only scalar there"))]
        let mut variants: Vec<_> = levels.map(|level| (level.name(), level)).collect();
        #[cfg(target_arch = "x86_64")]
        {
            let plain = |token: Avx2| ("avx2-plain", Level::Avx2(token.without_extensions()));
            variants.extend(Avx2::detect().map(plain));
            let plain = |token: Avx512| ("avx512-plain", Level::Avx512(token.without_extensions()));
            variants.extend(Avx512::detect().map(plain));
        }
        variants
    }

    /// Runs `f`, which is compiled for the level's instructions: plain loops on slices become
    /// vectors of its width, and `mul_add` one instruction. What `f` calls must be
    /// `#[inline(always)]`, and so must the closure itself, or it is compiled for the baseline.
    /// Bits do not depend on the level: the compiler reorders no sum.
    #[inline(always)]
    pub fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        match self {
            Level::Scalar => f(),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2(token) => token.vectorize(f),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512(token) => token.vectorize(f),
        }
    }

    /// Whether products of bfloat16 are faster than those of f32: where this CPU has instructions
    /// for them that are.
    pub fn bf16_outpaces_f32(self) -> bool {
        match self {
            Level::Scalar => false,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2(_) => false,
            #[cfg(target_arch = "x86_64")]
            Level::Avx512(token) => Avx512Bf16::detect(token).is_some_and(Avx512Bf16::outpaces_f32),
        }
    }

    /// `scalar`, `avx2` or `avx512`.
    pub fn name(self) -> &'static str {
        match self {
            Level::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512(_) => "avx512",
        }
    }
}

/// A token that compiles a function for its instructions.
pub(crate) trait Compiled: Simd {
    fn compiled<R>(self, f: impl FnOnce() -> R) -> R;
}

#[cfg(target_arch = "x86_64")]
impl Compiled for Avx2 {
    #[inline(always)]
    fn compiled<R>(self, f: impl FnOnce() -> R) -> R {
        self.vectorize(f)
    }
}

#[cfg(target_arch = "x86_64")]
impl Compiled for Avx512 {
    #[inline(always)]
    fn compiled<R>(self, f: impl FnOnce() -> R) -> R {
        self.vectorize(f)
    }
}

/// `dispatch!(level, kernel(a, b))` calls `kernel(token, a, b)`, compiled for the level's
/// instructions. The kernel must be `#[inline(always)]`, or it is compiled for the baseline.
macro_rules! dispatch {
    ($level:expr, $kernel:path, $($arg:expr),* $(,)?) => {
        match $level {
            $crate::Level::Scalar => $kernel($crate::scalar::Scalar, $($arg),*),
            #[cfg(target_arch = "x86_64")]
            $crate::Level::Avx2(token) => {
                token.vectorize(#[inline(always)] || $kernel(token, $($arg),*))
            }
            #[cfg(target_arch = "x86_64")]
            $crate::Level::Avx512(token) => {
                token.vectorize(#[inline(always)] || $kernel(token, $($arg),*))
            }
        }
    };
}
pub(crate) use dispatch;
