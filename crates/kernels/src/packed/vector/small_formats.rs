//! Unpacking of the formats of 32 elements per block: words as in the file, lane = row.
#![allow(non_camel_case_types, reason = "the formats' own names")]

use super::small::SmallFormat;
use super::{Minimums, Offset};
use crate::packed::blocks::{TABLE_IQ4, TABLE_MXFP4};
use crate::x86_64::byte_vector::{ByteVector, Signed, Unsigned};

/// Nibble `i / 4` of word `i % 4`.
#[inline(always)]
fn nibbles<V: ByteVector>(v: V, words: &[[u8; 64]], part: usize, i: usize) -> V::I {
    let word = v.load(&words[i % 4], part);
    v.and(v.right(word, i as u32 / 4 * 4), v.splat_byte(15))
}

/// With bit `i` of each byte of `fifths` as the fifth bit.
#[inline(always)]
fn fives<V: ByteVector>(v: V, words: &[[u8; 64]], part: usize, i: usize) -> V::I {
    let fifths = v.left(v.right(v.load(&words[0], part), i as u32), 4);
    v.or(nibbles(v, &words[1..], part, i), v.and(fifths, v.splat_byte(16)))
}

/// Bytes of a table of unsigned ones; less 128 unless `V::DOT_32`.
#[inline(always)]
pub(super) fn lookup<V: ByteVector>(v: V, table: &[u8; 16], index: V::I) -> V::I {
    v.lookup(&if V::DOT_32 { *table } else { signed(table) }, index)
}

const fn signed(table: &[u8; 16]) -> [u8; 16] {
    let mut out = [0; 16];
    let mut i = 0;
    while i < 16 {
        out[i] = table[i] ^ 128;
        i += 1;
    }
    out
}

pub(super) struct Q4_0;

impl SmallFormat for Q4_0 {
    type Block = [[u8; 64]; 4];
    type Rest = [u8; 32];
    type Kind = Offset<32>;
    type Narrow = Unsigned<15, 4>;

    #[inline(always)]
    fn weights<V: ByteVector>(v: V, block: &Self::Block, part: usize, i: usize) -> V::I {
        if !V::DOT_32 {
            return nibbles(v, block, part, i);
        }
        v.and(v.left(v.load(&block[i % 4], part), 4 - i as u32 / 4 * 4), v.splat_byte(0xf0))
    }
    #[inline(always)]
    fn scale<V: ByteVector>(v: V, _: &Self::Block, rest: &[u8; 32], part: usize) -> V::F {
        v.mul(v.halves(rest, part), v.splat_f32(1.0 / 16.0))
    }
}

pub(super) struct Q4_1;

impl SmallFormat for Q4_1 {
    type Block = [[u8; 64]; 5];
    type Rest = [u8; 0];
    type Kind = Minimums<32>;
    type Narrow = Unsigned<15, 0>;

    #[inline(always)]
    fn weights<V: ByteVector>(v: V, block: &Self::Block, part: usize, i: usize) -> V::I {
        nibbles(v, &block[1..], part, i)
    }
    #[inline(always)]
    fn scale<V: ByteVector>(v: V, block: &Self::Block, _: &[u8; 0], part: usize) -> V::F {
        v.low_halves(v.load(&block[0], part))
    }
    #[inline(always)]
    fn minimum<V: ByteVector>(v: V, block: &Self::Block, part: usize) -> V::F {
        v.low_halves(v.right(v.load(&block[0], part), 16))
    }
}

pub(super) struct Q5_0;

impl SmallFormat for Q5_0 {
    type Block = [[u8; 64]; 5];
    type Rest = [u8; 32];
    type Kind = Offset<32>;
    type Narrow = Unsigned<31, 3>;

    #[inline(always)]
    fn weights<V: ByteVector>(v: V, block: &Self::Block, part: usize, i: usize) -> V::I {
        let fives = fives(v, block, part, i);
        if V::DOT_32 { v.left(fives, 3) } else { fives }
    }
    #[inline(always)]
    fn scale<V: ByteVector>(v: V, _: &Self::Block, rest: &[u8; 32], part: usize) -> V::F {
        v.mul(v.halves(rest, part), v.splat_f32(1.0 / 8.0))
    }
}

pub(super) struct Q5_1;

impl SmallFormat for Q5_1 {
    type Block = [[u8; 64]; 6];
    type Rest = [u8; 0];
    type Kind = Minimums<32>;
    type Narrow = Unsigned<31, 0>;

    #[inline(always)]
    fn weights<V: ByteVector>(v: V, block: &Self::Block, part: usize, i: usize) -> V::I {
        fives(v, &block[1..], part, i)
    }
    #[inline(always)]
    fn scale<V: ByteVector>(v: V, block: &Self::Block, _: &[u8; 0], part: usize) -> V::F {
        v.low_halves(v.load(&block[0], part))
    }
    #[inline(always)]
    fn minimum<V: ByteVector>(v: V, block: &Self::Block, part: usize) -> V::F {
        v.low_halves(v.right(v.load(&block[0], part), 16))
    }
}

pub(super) struct Q8_0;

impl SmallFormat for Q8_0 {
    type Block = [[u8; 64]; 8];
    type Rest = [u8; 32];
    type Kind = Offset<32>;
    type Narrow = Signed;

    #[inline(always)]
    fn weights<V: ByteVector>(v: V, block: &Self::Block, part: usize, i: usize) -> V::I {
        let bytes = v.load(&block[i], part);
        if V::DOT_32 { v.xor(bytes, v.splat_byte(128)) } else { bytes }
    }
    #[inline(always)]
    fn scale<V: ByteVector>(v: V, _: &Self::Block, rest: &[u8; 32], part: usize) -> V::F {
        v.halves(rest, part)
    }
}

pub(super) struct IQ4_NL;

impl SmallFormat for IQ4_NL {
    type Block = [[u8; 64]; 4];
    type Rest = [u8; 32];
    type Kind = Offset<32>;
    type Narrow = Signed;

    #[inline(always)]
    fn weights<V: ByteVector>(v: V, block: &Self::Block, part: usize, i: usize) -> V::I {
        lookup(v, &TABLE_IQ4, nibbles(v, block, part, i))
    }
    #[inline(always)]
    fn scale<V: ByteVector>(v: V, _: &Self::Block, rest: &[u8; 32], part: usize) -> V::F {
        v.halves(rest, part)
    }
}

pub(super) struct MXFP4;

impl SmallFormat for MXFP4 {
    type Block = [[u8; 64]; 4];
    type Rest = [u8; 16];
    type Kind = Offset<32>;
    type Narrow = Signed;

    #[inline(always)]
    fn weights<V: ByteVector>(v: V, block: &Self::Block, part: usize, i: usize) -> V::I {
        lookup(v, &TABLE_MXFP4, nibbles(v, block, part, i))
    }
    #[inline(always)]
    fn scale<V: ByteVector>(v: V, _: &Self::Block, rest: &[u8; 16], part: usize) -> V::F {
        v.mul(v.half_powers(rest, part), v.splat_f32(0.125))
    }
}
