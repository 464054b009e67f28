//! The specification: sixteen lanes as an array of f32, on any CPU. Every other level must give the
//! same bits.

use crate::simd::{LANES, Simd};
use half::{bf16, f16};

/// The level that every CPU has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scalar;

type Lanes = [f32; LANES];

#[inline(always)]
fn zip(a: Lanes, b: Lanes, f: impl Fn(f32, f32) -> f32) -> Lanes {
    std::array::from_fn(|i| f(a[i], b[i]))
}

#[inline(always)]
fn tree(mut a: Lanes, f: impl Fn(f32, f32) -> f32) -> f32 {
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            a[i] = f(a[i], a[i + half]);
        }
    }
    a[0]
}

impl Simd for Scalar {
    type F = Lanes;
    type B = [u8; LANES];
    const WIDE: bool = false;

    #[inline(always)]
    fn splat(self, x: f32) -> Lanes {
        [x; LANES]
    }
    #[inline(always)]
    fn load(self, from: &Lanes) -> Lanes {
        *from
    }
    #[inline(always)]
    fn store(self, value: Lanes, to: &mut Lanes) {
        *to = value;
    }
    #[inline(always)]
    fn load_f32_bytes(self, from: &[u8; 4 * LANES]) -> Lanes {
        let (words, _) = from.as_chunks::<4>();
        std::array::from_fn(|i| f32::from_le_bytes(words[i]))
    }
    #[inline(always)]
    fn load_f16_bytes(self, from: &[u8; 2 * LANES]) -> Lanes {
        let (words, _) = from.as_chunks::<2>();
        std::array::from_fn(|i| f16::from_le_bytes(words[i]).to_f32_const())
    }
    #[inline(always)]
    fn load_bf16_bytes(self, from: &[u8; 2 * LANES]) -> Lanes {
        let (words, _) = from.as_chunks::<2>();
        std::array::from_fn(|i| f32::from_bits(u32::from(u16::from_le_bytes(words[i])) << 16))
    }
    #[inline(always)]
    fn load_f16(self, from: &[u16; LANES]) -> Lanes {
        from.map(|bits| f16::from_bits(bits).to_f32_const())
    }
    #[inline(always)]
    fn store_f16(self, value: Lanes, to: &mut [u16; LANES]) {
        *to = value.map(|x| f16::from_f32_const(x).to_bits());
    }
    #[inline(always)]
    fn f16(self, bits: u16) -> f32 {
        f16::from_bits(bits).to_f32_const()
    }

    #[inline(always)]
    fn bytes(self, from: &[u8; LANES]) -> [u8; LANES] {
        *from
    }
    #[inline(always)]
    fn bits(self, a: [u8; LANES], shift: u32, mask: u8) -> [u8; LANES] {
        a.map(|a| a >> shift & mask)
    }
    #[inline(always)]
    fn join(self, low: [u8; LANES], high: [u8; LANES], shift: u32) -> [u8; LANES] {
        std::array::from_fn(|i| low[i] | high[i] << shift)
    }
    #[inline(always)]
    fn unsigned(self, a: [u8; LANES]) -> Lanes {
        a.map(f32::from)
    }
    #[inline(always)]
    fn signed(self, a: [u8; LANES]) -> Lanes {
        a.map(|a| f32::from(a as i8))
    }
    #[inline(always)]
    fn lookup(self, table: Lanes, a: [u8; LANES]) -> Lanes {
        a.map(|a| table[usize::from(a & 15)])
    }

    #[inline(always)]
    fn add(self, a: Lanes, b: Lanes) -> Lanes {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: Lanes, b: Lanes) -> Lanes {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: Lanes, b: Lanes) -> Lanes {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: Lanes, b: Lanes) -> Lanes {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn fma(self, a: Lanes, b: Lanes, c: Lanes) -> Lanes {
        std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
    }
    #[inline(always)]
    fn min(self, a: Lanes, b: Lanes) -> Lanes {
        zip(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn max(self, a: Lanes, b: Lanes) -> Lanes {
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn round(self, a: Lanes) -> Lanes {
        a.map(f32::round_ties_even)
    }
    #[inline(always)]
    fn pow2(self, n: Lanes) -> Lanes {
        n.map(|n| f32::from_bits(((n as i32).wrapping_add(127) as u32) << 23))
    }
    #[inline(always)]
    fn abs(self, a: Lanes) -> Lanes {
        a.map(f32::abs)
    }
    #[inline(always)]
    fn copysign(self, a: Lanes, sign: Lanes) -> Lanes {
        zip(a, sign, f32::copysign)
    }

    #[inline(always)]
    fn sum(self, a: Lanes) -> f32 {
        tree(a, |a, b| a + b)
    }
    #[inline(always)]
    fn max_lane(self, a: Lanes) -> f32 {
        tree(a, |a, b| if a > b { a } else { b })
    }
}

/// Narrows to bfloat16, ties to even; NaN stays NaN.
pub(crate) fn bf16_bits(x: f32) -> u16 {
    bf16::from_f32_const(x).to_bits()
}
