//! A file's block as the integers that packed products multiply: unsigned bytes `q`, sub-block
//! scales and minimums. Plain code; the specification of the vector kernels' unpacking.
//!
//! Formats with a signed range are shifted into bytes: blocks of 32 so that zero is at 128 (a Q4_0
//! nibble is multiplied by 16 and its scale divided by it), Q6_K and Q3_K so that it is at 32.

use crate::DType;
use half::f16;

/// 32 elements: element = `scale * (q - 128)`, or `scale * q + minimum`.
pub(super) struct SmallBlock {
    pub(super) q: [u8; 32],
    pub(super) scale: f32,
    /// `None`: zero is at 128.
    pub(super) minimum: Option<f32>,
}

/// 256 elements: element = `scale * scales[i] * (q - 32)`, or `scale * scales[i] * q - minimum *
/// minimums[i]`.
pub(super) struct LargeBlock {
    pub(super) q: [u8; 256],
    pub(super) scale: f32,
    /// One for each `len` elements.
    pub(super) scales: [i8; 16],
    /// Elements per sub-block: 16 or 32.
    pub(super) len: usize,
    /// `None`: zero is at 32.
    pub(super) minimum: Option<f32>,
    pub(super) minimums: [i8; 16],
}

/// The values of IQ4_NL and IQ4_XS (`kvalues_iq4nl` in `ggml-common.h`), plus 128.
pub(super) const TABLE_IQ4: [u8; 16] =
    [1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241];

/// Eight times the doubled values of E2M1, plus 128.
pub(super) const TABLE_MXFP4: [u8; 16] =
    [128, 136, 144, 152, 160, 176, 192, 224, 128, 120, 112, 104, 96, 80, 64, 32];

/// An eighth of half the power of two that E8M0 means (the table is doubled, and times eight).
pub(super) fn mxfp4_scale(e: u8) -> f32 {
    let e = u32::from(e);
    f32::from_bits(if e < 2 { 0x0020_0000 << e } else { (e - 1) << 23 }) * 0.125
}

fn half_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32_const()
}

/// The low nibbles, then the high ones.
fn nibbles(bytes: &[u8]) -> [u8; 32] {
    std::array::from_fn(|i| bytes[i % 16] >> (i / 16 * 4) & 15)
}

/// Adds the fifth bits.
fn fives(high: &[u8], low: &[u8]) -> [u8; 32] {
    let nibbles = nibbles(low);
    std::array::from_fn(|i| nibbles[i] | (high[i / 8] >> (i % 8) & 1) << 4)
}

impl SmallBlock {
    pub(super) fn read(dtype: DType, b: &[u8]) -> SmallBlock {
        let offset = |q: [u8; 32], scale: f32| SmallBlock { q, scale, minimum: None };
        let above =
            |q: [u8; 32]| SmallBlock { q, scale: half_at(b, 0), minimum: Some(half_at(b, 2)) };
        match dtype {
            DType::Q4_0 => offset(nibbles(&b[2..]).map(|q| q << 4), half_at(b, 0) / 16.0),
            DType::Q5_0 => offset(fives(&b[2..], &b[6..]).map(|q| q << 3), half_at(b, 0) / 8.0),
            DType::Q8_0 => offset(std::array::from_fn(|i| b[2 + i] ^ 128), half_at(b, 0)),
            DType::IQ4_NL => {
                offset(nibbles(&b[2..]).map(|q| TABLE_IQ4[usize::from(q)]), half_at(b, 0))
            }
            DType::MXFP4 => {
                offset(nibbles(&b[1..]).map(|q| TABLE_MXFP4[usize::from(q)]), mxfp4_scale(b[0]))
            }
            DType::Q4_1 => above(nibbles(&b[4..])),
            DType::Q5_1 => above(fives(&b[4..], &b[8..])),
            _ => unreachable!("{dtype} has no blocks of 32"),
        }
    }
}

impl LargeBlock {
    pub(super) fn read(dtype: DType, b: &[u8]) -> LargeBlock {
        match dtype {
            DType::Q2_K => q2_k(b),
            DType::Q3_K => q3_k(b),
            DType::Q4_K => q4_k(b, |e| b[16 + e / 64 * 32 + e % 32] >> (e / 32 % 2 * 4) & 15),
            DType::Q5_K => q4_k(b, |e| {
                let low = b[48 + e / 64 * 32 + e % 32] >> (e / 32 % 2 * 4) & 15;
                low | (b[16 + e % 32] >> (e / 32) & 1) << 4
            }),
            DType::Q6_K => q6_k(b),
            DType::IQ4_XS => iq4_xs(b),
            _ => unreachable!("{dtype} has no blocks of 256"),
        }
    }
}

fn q2_k(b: &[u8]) -> LargeBlock {
    LargeBlock {
        q: std::array::from_fn(|e| b[16 + e / 128 * 32 + e % 32] >> (e % 128 / 32 * 2) & 3),
        scale: half_at(b, 80),
        scales: std::array::from_fn(|i| (b[i] & 15) as i8),
        len: 16,
        minimum: Some(half_at(b, 82)),
        minimums: std::array::from_fn(|i| (b[i] >> 4) as i8),
    }
}

fn q3_k(b: &[u8]) -> LargeBlock {
    let q = |e: usize| {
        let low = b[32 + e / 128 * 32 + e % 32] >> (e % 128 / 32 * 2) & 3;
        (low | (b[e % 32] >> (e / 32) & 1) << 2) << 3
    };
    let scale = |i: usize| {
        let low = b[96 + i % 8] >> (i / 8 * 4) & 15;
        let high = b[104 + i % 4] >> (i / 4 * 2) & 3;
        (low | high << 4) as i8 - 32
    };
    LargeBlock {
        q: std::array::from_fn(q),
        scale: half_at(b, 108) / 8.0,
        scales: std::array::from_fn(scale),
        len: 16,
        minimum: None,
        minimums: [0; 16],
    }
}

/// Q4_K and Q5_K, which share their scales and minimums.
fn q4_k(b: &[u8], q: impl Fn(usize) -> u8) -> LargeBlock {
    let (mut scales, mut minimums) = ([0; 16], [0; 16]);
    for i in 0..4 {
        let (scale, minimum, rest) = (b[4 + i], b[8 + i], b[12 + i]);
        scales[i] = (scale & 63) as i8;
        minimums[i] = (minimum & 63) as i8;
        scales[i + 4] = (rest & 0x0f | scale >> 2 & 0x30) as i8;
        minimums[i + 4] = (rest >> 4 | minimum >> 2 & 0x30) as i8;
    }
    LargeBlock {
        q: std::array::from_fn(q),
        scale: half_at(b, 0),
        scales,
        len: 32,
        minimum: Some(half_at(b, 2)),
        minimums,
    }
}

fn q6_k(b: &[u8]) -> LargeBlock {
    let q = |e: usize| {
        let (half, quarter, i) = (e / 128, e % 128 / 32, e % 32);
        let low = b[half * 64 + quarter % 2 * 32 + i] >> (quarter / 2 * 4) & 15;
        low | (b[128 + half * 32 + i] >> (quarter * 2) & 3) << 4
    };
    LargeBlock {
        q: std::array::from_fn(q),
        scale: half_at(b, 208),
        scales: std::array::from_fn(|i| b[192 + i] as i8),
        len: 16,
        minimum: None,
        minimums: [0; 16],
    }
}

/// The table's zero is at 128: 128 times each scale is the sub-block's minimum.
fn iq4_xs(b: &[u8]) -> LargeBlock {
    let upper = u16::from_le_bytes([b[2], b[3]]);
    let mut scales = [0; 16];
    for (i, scale) in scales[..8].iter_mut().enumerate() {
        let low = b[4 + i / 2] >> (i % 2 * 4) & 15;
        *scale = (low | ((upper >> (2 * i) & 3) << 4) as u8) as i8 - 32;
    }
    let q = |e: usize| TABLE_IQ4[usize::from(b[8 + e / 32 * 16 + e % 16] >> (e / 16 % 2 * 4) & 15)];
    LargeBlock {
        q: std::array::from_fn(q),
        scale: half_at(b, 0),
        scales,
        len: 32,
        minimum: Some(half_at(b, 0) * 128.0),
        minimums: scales,
    }
}
