//! Unpacking of the formats of 32 elements per block: words as in the file, lane = row.
#![allow(non_camel_case_types, reason = "the formats' own names")]

use super::super::blocks::{TABLE_IQ4, TABLE_MXFP4};
use super::small::{Panel, SmallFormat};
use crate::x86_64::avx512_vnni::{Avx512Vnni, F, I};

/// Nibble `i / 4` of word `i % 4`, in the high half of each byte.
#[inline(always)]
fn high_nibbles(v: Avx512Vnni, words: &[[u8; 64]], i: usize) -> I {
    let word = v.load(&words[i % 4]);
    let word = if i < 4 { v.left::<4>(word) } else { word };
    v.and(word, v.splat_byte(0xf0))
}

/// The same, in the low half.
#[inline(always)]
fn nibbles(v: Avx512Vnni, words: &[[u8; 64]], i: usize) -> I {
    let word = v.load(&words[i % 4]);
    let word = if i < 4 { word } else { v.right::<4>(word) };
    v.and(word, v.splat_byte(0x0f))
}

/// With bit `i` of each byte of `fifths` as the fifth bit.
#[inline(always)]
fn fives(v: Avx512Vnni, fifths: &[u8; 64], words: &[[u8; 64]], i: usize) -> I {
    let fifths = v.left::<4>(v.right_by(v.load(fifths), i as u32));
    v.or(nibbles(v, words, i), v.and(fifths, v.splat_byte(0x10)))
}

pub(super) struct Q4_0;

impl SmallFormat for Q4_0 {
    type Block = [[u8; 64]; 4];
    type Rest = [u8; 32];
    const MINIMUM: bool = false;
    type Panel = Panel<false>;

    #[inline(always)]
    fn weights(v: Avx512Vnni, block: &Self::Block, i: usize) -> I {
        high_nibbles(v, block, i)
    }
    #[inline(always)]
    fn scale(v: Avx512Vnni, _: &Self::Block, rest: &[u8; 32]) -> F {
        v.mul(v.halves(rest), v.splat_f32(1.0 / 16.0))
    }
}

pub(super) struct Q4_1;

impl SmallFormat for Q4_1 {
    type Block = [[u8; 64]; 5];
    type Rest = [u8; 0];
    const MINIMUM: bool = true;
    type Panel = Panel<true>;

    #[inline(always)]
    fn weights(v: Avx512Vnni, block: &Self::Block, i: usize) -> I {
        nibbles(v, &block[1..], i)
    }
    #[inline(always)]
    fn scale(v: Avx512Vnni, block: &Self::Block, _: &[u8; 0]) -> F {
        v.low_halves(v.load(&block[0]))
    }
    #[inline(always)]
    fn minimum(v: Avx512Vnni, block: &Self::Block) -> F {
        v.high_halves(v.load(&block[0]))
    }
}

pub(super) struct Q5_0;

impl SmallFormat for Q5_0 {
    type Block = [[u8; 64]; 5];
    type Rest = [u8; 32];
    const MINIMUM: bool = false;
    type Panel = Panel<false>;

    #[inline(always)]
    fn weights(v: Avx512Vnni, block: &Self::Block, i: usize) -> I {
        v.left::<3>(fives(v, &block[0], &block[1..], i))
    }
    #[inline(always)]
    fn scale(v: Avx512Vnni, _: &Self::Block, rest: &[u8; 32]) -> F {
        v.mul(v.halves(rest), v.splat_f32(1.0 / 8.0))
    }
}

pub(super) struct Q5_1;

impl SmallFormat for Q5_1 {
    type Block = [[u8; 64]; 6];
    type Rest = [u8; 0];
    const MINIMUM: bool = true;
    type Panel = Panel<true>;

    #[inline(always)]
    fn weights(v: Avx512Vnni, block: &Self::Block, i: usize) -> I {
        fives(v, &block[1], &block[2..], i)
    }
    #[inline(always)]
    fn scale(v: Avx512Vnni, block: &Self::Block, _: &[u8; 0]) -> F {
        v.low_halves(v.load(&block[0]))
    }
    #[inline(always)]
    fn minimum(v: Avx512Vnni, block: &Self::Block) -> F {
        v.high_halves(v.load(&block[0]))
    }
}

pub(super) struct Q8_0;

impl SmallFormat for Q8_0 {
    type Block = [[u8; 64]; 8];
    type Rest = [u8; 32];
    const MINIMUM: bool = false;
    type Panel = Panel<false>;

    #[inline(always)]
    fn weights(v: Avx512Vnni, block: &Self::Block, i: usize) -> I {
        v.xor(v.load(&block[i]), v.splat_byte(0x80))
    }
    #[inline(always)]
    fn scale(v: Avx512Vnni, _: &Self::Block, rest: &[u8; 32]) -> F {
        v.halves(rest)
    }
}

pub(super) struct IQ4_NL;

impl SmallFormat for IQ4_NL {
    type Block = [[u8; 64]; 4];
    type Rest = [u8; 32];
    const MINIMUM: bool = false;
    type Panel = Panel<false>;

    #[inline(always)]
    fn weights(v: Avx512Vnni, block: &Self::Block, i: usize) -> I {
        v.lookup(&TABLE_IQ4, nibbles(v, block, i))
    }
    #[inline(always)]
    fn scale(v: Avx512Vnni, _: &Self::Block, rest: &[u8; 32]) -> F {
        v.halves(rest)
    }
}

pub(super) struct MXFP4;

impl SmallFormat for MXFP4 {
    type Block = [[u8; 64]; 4];
    type Rest = [u8; 16];
    const MINIMUM: bool = false;
    type Panel = Panel<false>;

    #[inline(always)]
    fn weights(v: Avx512Vnni, block: &Self::Block, i: usize) -> I {
        v.lookup(&TABLE_MXFP4, nibbles(v, block, i))
    }
    #[inline(always)]
    fn scale(v: Avx512Vnni, _: &Self::Block, rest: &[u8; 16]) -> F {
        v.mul(v.half_powers(rest), v.splat_f32(0.125))
    }
}
