//! Unpacking of the formats of 256 elements per block: words as in the file, lane = row.
#![allow(non_camel_case_types, reason = "the formats' own names")]

use super::large::{LargeFormat, Scales};
use super::small_formats::lookup;
use super::{Minimums, Offset};
use crate::packed::blocks::TABLE_IQ4;
use crate::x86_64::byte_vector::{ByteVector, Signed, Unsigned};

/// `(a >> shift) & mask` of each byte; `mask << shift` fits in a byte.
#[inline(always)]
fn bits<V: ByteVector>(v: V, a: V::I, shift: usize, mask: u8) -> V::I {
    v.and(v.right(a, shift as u32), v.splat_byte(mask))
}

/// Bit `shift` of each byte, at bit `to`; `to` is at most 4.
#[inline(always)]
fn bit<V: ByteVector>(v: V, a: V::I, shift: usize, to: usize) -> V::I {
    let a =
        if shift < to { v.left(a, (to - shift) as u32) } else { v.right(a, (shift - to) as u32) };
    v.and(a, v.splat_byte(1 << to))
}

/// The scale and the minimum that a lane's first word holds.
#[inline(always)]
fn head<V: ByteVector>(v: V, word: &[u8; 64], part: usize) -> (V::F, V::F) {
    let word = v.load(word, part);
    (v.low_halves(word), v.low_halves(v.right(word, 16)))
}

/// The three words of scales and minimums of Q4_K and Q5_K.
#[inline(always)]
fn six_bits<V: ByteVector>(v: V, words: &[[u8; 64]], part: usize) -> Scales<V::I> {
    let scale = v.load(&words[0], part);
    let minimum = v.load(&words[1], part);
    let rest = v.load(&words[2], part);
    let upper_scale = v.and(v.right(scale, 2), v.splat_byte(0x30));
    let upper_minimum = v.and(v.right(minimum, 2), v.splat_byte(0x30));
    let (mut scales, mut minimums) = ([v.splat(0); 4], [v.splat(0); 4]);
    scales[0] = bits(v, scale, 0, 63);
    scales[1] = v.or(bits(v, rest, 0, 15), upper_scale);
    minimums[0] = bits(v, minimum, 0, 63);
    minimums[1] = v.or(bits(v, rest, 4, 15), upper_minimum);
    (scales, minimums)
}

pub(super) struct Q4_K;

impl LargeFormat for Q4_K {
    type Block = [[u8; 64]; 36];
    type Rest = [u8; 0];
    type Kind = Minimums<32>;
    type Narrow = Unsigned<15, 0>;

    #[inline(always)]
    fn weights<V: ByteVector>(v: V, b: &Self::Block, part: usize, eighth: usize, i: usize) -> V::I {
        bits(v, v.load(&b[4 + eighth / 2 * 8 + i], part), eighth % 2 * 4, 15)
    }
    #[inline(always)]
    fn scales<V: ByteVector>(v: V, block: &Self::Block, part: usize) -> Scales<V::I> {
        six_bits(v, &block[1..], part)
    }
    #[inline(always)]
    fn head<V: ByteVector>(v: V, b: &Self::Block, _: &[u8; 0], part: usize) -> (V::F, V::F) {
        head(v, &b[0], part)
    }
}

pub(super) struct Q5_K;

impl LargeFormat for Q5_K {
    type Block = [[u8; 64]; 44];
    type Rest = [u8; 0];
    type Kind = Minimums<32>;
    type Narrow = Unsigned<31, 0>;

    #[inline(always)]
    fn weights<V: ByteVector>(v: V, b: &Self::Block, part: usize, eighth: usize, i: usize) -> V::I {
        let low = bits(v, v.load(&b[12 + eighth / 2 * 8 + i], part), eighth % 2 * 4, 15);
        v.or(low, bit(v, v.load(&b[4 + i], part), eighth, 4))
    }
    #[inline(always)]
    fn scales<V: ByteVector>(v: V, block: &Self::Block, part: usize) -> Scales<V::I> {
        six_bits(v, &block[1..], part)
    }
    #[inline(always)]
    fn head<V: ByteVector>(v: V, b: &Self::Block, _: &[u8; 0], part: usize) -> (V::F, V::F) {
        head(v, &b[0], part)
    }
}

pub(super) struct Q6_K;

impl LargeFormat for Q6_K {
    type Block = [[u8; 64]; 52];
    type Rest = [u8; 32];
    type Kind = Offset<16>;
    type Narrow = Unsigned<63, 0>;

    #[inline(always)]
    fn weights<V: ByteVector>(v: V, b: &Self::Block, part: usize, eighth: usize, i: usize) -> V::I {
        let (half, quarter) = (eighth / 4, eighth % 4);
        let low = v.load(&b[half * 16 + quarter % 2 * 8 + i], part);
        let high = v.load(&b[32 + half * 8 + i], part);
        let high = match quarter {
            0 => v.left(high, 4),
            1 => v.left(high, 2),
            2 => high,
            _ => v.right(high, 2),
        };
        v.or(bits(v, low, quarter / 2 * 4, 15), v.and(high, v.splat_byte(0x30)))
    }
    #[inline(always)]
    fn scales<V: ByteVector>(v: V, block: &Self::Block, part: usize) -> Scales<V::I> {
        let mut scales = [v.splat(0); 4];
        for (i, scales) in scales.iter_mut().enumerate() {
            *scales = v.load(&block[48 + i], part);
        }
        (scales, [v.splat(0); 4])
    }
    #[inline(always)]
    fn head<V: ByteVector>(v: V, _: &Self::Block, rest: &[u8; 32], part: usize) -> (V::F, V::F) {
        (v.halves(rest, part), v.splat_f32(0.0))
    }
}

pub(super) struct Q2_K;

impl LargeFormat for Q2_K {
    type Block = [[u8; 64]; 21];
    type Rest = [u8; 0];
    type Kind = Minimums<16>;
    type Narrow = Unsigned<3, 0>;

    #[inline(always)]
    fn weights<V: ByteVector>(v: V, b: &Self::Block, part: usize, eighth: usize, i: usize) -> V::I {
        bits(v, v.load(&b[4 + eighth / 4 * 8 + i], part), eighth % 4 * 2, 3)
    }
    #[inline(always)]
    fn scales<V: ByteVector>(v: V, block: &Self::Block, part: usize) -> Scales<V::I> {
        let (mut scales, mut minimums) = ([v.splat(0); 4], [v.splat(0); 4]);
        for i in 0..4 {
            let word = v.load(&block[i], part);
            (scales[i], minimums[i]) = (bits(v, word, 0, 15), bits(v, word, 4, 15));
        }
        (scales, minimums)
    }
    #[inline(always)]
    fn head<V: ByteVector>(v: V, b: &Self::Block, _: &[u8; 0], part: usize) -> (V::F, V::F) {
        head(v, &b[20], part)
    }
}

pub(super) struct Q3_K;

impl LargeFormat for Q3_K {
    type Block = [[u8; 64]; 27];
    type Rest = [u8; 32];
    type Kind = Offset<16>;
    type Narrow = Unsigned<7, 3>;

    #[inline(always)]
    fn weights<V: ByteVector>(v: V, b: &Self::Block, part: usize, eighth: usize, i: usize) -> V::I {
        let low = bits(v, v.load(&b[8 + eighth / 4 * 8 + i], part), eighth % 4 * 2, 3);
        let bytes = v.or(low, bit(v, v.load(&b[i], part), eighth, 2));
        if V::DOT_32 { v.left(bytes, 3) } else { bytes }
    }
    #[inline(always)]
    fn scales<V: ByteVector>(v: V, block: &Self::Block, part: usize) -> Scales<V::I> {
        let upper = v.load(&block[26], part);
        let mut scales = [v.splat(0); 4];
        for (i, scales) in scales.iter_mut().enumerate() {
            let low = bits(v, v.load(&block[24 + i % 2], part), i / 2 * 4, 15);
            let high = v.left(bits(v, upper, 2 * i, 3), 4);
            *scales = v.sub_bytes(v.or(low, high), v.splat_byte(32));
        }
        (scales, [v.splat(0); 4])
    }
    #[inline(always)]
    fn head<V: ByteVector>(v: V, _: &Self::Block, rest: &[u8; 32], part: usize) -> (V::F, V::F) {
        (v.mul(v.halves(rest, part), v.splat_f32(0.125)), v.splat_f32(0.0))
    }
}

pub(super) struct IQ4_XS;

impl LargeFormat for IQ4_XS {
    type Block = [[u8; 64]; 34];
    type Rest = [u8; 0];
    type Kind = Minimums<32>;
    type Narrow = Signed;

    #[inline(always)]
    fn weights<V: ByteVector>(v: V, b: &Self::Block, part: usize, eighth: usize, i: usize) -> V::I {
        let word = v.load(&b[2 + eighth * 4 + i % 4], part);
        lookup(v, &TABLE_IQ4, bits(v, word, i / 4 * 4, 15))
    }
    #[inline(always)]
    fn scales<V: ByteVector>(v: V, block: &Self::Block, part: usize) -> Scales<V::I> {
        // Nibble i of a lane's second word and bit pair i of its first's upper half.
        let upper = v.right(v.load(&block[0], part), 16);
        let lower = v.load(&block[1], part);
        let mut scales = [v.splat(0); 4];
        for i in 0..8 {
            let low = v.and(v.right(lower, 4 * i as u32), v.splat(15));
            let high = v.and(v.right(upper, 2 * i as u32), v.splat(3));
            let scale = v.left(v.or(low, v.left(high, 4)), 8 * (i as u32 % 4));
            scales[i / 4] = v.or(scales[i / 4], scale);
        }
        for scales in &mut scales[..2] {
            *scales = v.sub_bytes(*scales, v.splat_byte(32));
        }
        (scales, scales)
    }
    #[inline(always)]
    fn head<V: ByteVector>(v: V, b: &Self::Block, _: &[u8; 0], part: usize) -> (V::F, V::F) {
        let scale = v.low_halves(v.load(&b[0], part));
        (scale, v.mul(scale, v.splat_f32(128.0)))
    }
}
