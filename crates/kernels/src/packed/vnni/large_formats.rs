//! Unpacking of the formats of 256 elements per block: words as in the file, lane = row.
#![allow(non_camel_case_types, reason = "the formats' own names")]

use super::super::blocks::TABLE_IQ4;
use super::large::{LargeFormat, Panel};
use crate::x86_64::avx512_vnni::{Avx512Vnni, F, I};

/// `(a >> shift) & mask` of each byte; `mask << shift` fits in a byte.
#[inline(always)]
fn bits(v: Avx512Vnni, a: I, shift: usize, mask: u8) -> I {
    v.and(v.right_by(a, shift as u32), v.splat_byte(mask))
}

/// Bit `shift` of each byte, at bit `to`; `to` is at most 4.
#[inline(always)]
fn bit(v: Avx512Vnni, a: I, shift: usize, to: usize) -> I {
    let a = if shift < to {
        v.left_by(a, (to - shift) as u32)
    } else {
        v.right_by(a, (shift - to) as u32)
    };
    v.and(a, v.splat_byte(1 << to))
}

/// The scale and the minimum that a lane's first word holds.
#[inline(always)]
fn head(v: Avx512Vnni, word: &[u8; 64]) -> (F, F) {
    let word = v.load(word);
    (v.low_halves(word), v.high_halves(word))
}

/// The three words of scales and minimums of Q4_K and Q5_K.
#[inline(always)]
fn six_bits(v: Avx512Vnni, words: &[[u8; 64]]) -> ([I; 4], [I; 4]) {
    let (scale, minimum, rest) = (v.load(&words[0]), v.load(&words[1]), v.load(&words[2]));
    let upper = |a| v.and(v.right::<2>(a), v.splat_byte(0x30));
    let scales = [bits(v, scale, 0, 63), v.or(bits(v, rest, 0, 15), upper(scale))];
    let minimums = [bits(v, minimum, 0, 63), v.or(bits(v, rest, 4, 15), upper(minimum))];
    let zero = v.splat(0);
    ([scales[0], scales[1], zero, zero], [minimums[0], minimums[1], zero, zero])
}

pub(super) struct Q4_K;

impl LargeFormat for Q4_K {
    type Block = [[u8; 64]; 36];
    type Rest = [u8; 0];
    const LEN: usize = 32;
    const MINIMUM: bool = true;
    type Panel = Panel<32, true>;

    #[inline(always)]
    fn weights(v: Avx512Vnni, block: &Self::Block, part: usize, i: usize) -> I {
        bits(v, v.load(&block[4 + part / 2 * 8 + i]), part % 2 * 4, 15)
    }
    #[inline(always)]
    fn scales(v: Avx512Vnni, block: &Self::Block) -> ([I; 4], [I; 4]) {
        six_bits(v, &block[1..])
    }
    #[inline(always)]
    fn head(v: Avx512Vnni, block: &Self::Block, _: &[u8; 0]) -> (F, F) {
        head(v, &block[0])
    }
}

pub(super) struct Q5_K;

impl LargeFormat for Q5_K {
    type Block = [[u8; 64]; 44];
    type Rest = [u8; 0];
    const LEN: usize = 32;
    const MINIMUM: bool = true;
    type Panel = Panel<32, true>;

    #[inline(always)]
    fn weights(v: Avx512Vnni, block: &Self::Block, part: usize, i: usize) -> I {
        let low = bits(v, v.load(&block[12 + part / 2 * 8 + i]), part % 2 * 4, 15);
        v.or(low, bit(v, v.load(&block[4 + i]), part, 4))
    }
    #[inline(always)]
    fn scales(v: Avx512Vnni, block: &Self::Block) -> ([I; 4], [I; 4]) {
        six_bits(v, &block[1..])
    }
    #[inline(always)]
    fn head(v: Avx512Vnni, block: &Self::Block, _: &[u8; 0]) -> (F, F) {
        head(v, &block[0])
    }
}

pub(super) struct Q6_K;

impl LargeFormat for Q6_K {
    type Block = [[u8; 64]; 52];
    type Rest = [u8; 32];
    const LEN: usize = 16;
    const MINIMUM: bool = false;
    type Panel = Panel<16, false>;

    #[inline(always)]
    fn weights(v: Avx512Vnni, block: &Self::Block, part: usize, i: usize) -> I {
        let (half, quarter) = (part / 4, part % 4);
        let low = bits(v, v.load(&block[half * 16 + quarter % 2 * 8 + i]), quarter / 2 * 4, 15);
        let high = v.load(&block[32 + half * 8 + i]);
        let high = match quarter {
            0 => v.left::<4>(high),
            1 => v.left::<2>(high),
            2 => high,
            _ => v.right::<2>(high),
        };
        v.or(low, v.and(high, v.splat_byte(0x30)))
    }
    #[inline(always)]
    fn scales(v: Avx512Vnni, block: &Self::Block) -> ([I; 4], [I; 4]) {
        let word = |i: usize| v.load(&block[48 + i]);
        ([word(0), word(1), word(2), word(3)], [v.splat(0); 4])
    }
    #[inline(always)]
    fn head(v: Avx512Vnni, _: &Self::Block, rest: &[u8; 32]) -> (F, F) {
        (v.halves(rest), v.splat_f32(0.0))
    }
}

pub(super) struct Q2_K;

impl LargeFormat for Q2_K {
    type Block = [[u8; 64]; 21];
    type Rest = [u8; 0];
    const LEN: usize = 16;
    const MINIMUM: bool = true;
    type Panel = Panel<16, true>;

    #[inline(always)]
    fn weights(v: Avx512Vnni, block: &Self::Block, part: usize, i: usize) -> I {
        bits(v, v.load(&block[4 + part / 4 * 8 + i]), part % 4 * 2, 3)
    }
    #[inline(always)]
    fn scales(v: Avx512Vnni, block: &Self::Block) -> ([I; 4], [I; 4]) {
        let four = |shift: usize| {
            let word = |i: usize| bits(v, v.load(&block[i]), shift, 15);
            [word(0), word(1), word(2), word(3)]
        };
        (four(0), four(4))
    }
    #[inline(always)]
    fn head(v: Avx512Vnni, block: &Self::Block, _: &[u8; 0]) -> (F, F) {
        head(v, &block[20])
    }
}

pub(super) struct Q3_K;

impl LargeFormat for Q3_K {
    type Block = [[u8; 64]; 27];
    type Rest = [u8; 32];
    const LEN: usize = 16;
    const MINIMUM: bool = false;
    type Panel = Panel<16, false>;

    #[inline(always)]
    fn weights(v: Avx512Vnni, block: &Self::Block, part: usize, i: usize) -> I {
        let low = bits(v, v.load(&block[8 + part / 4 * 8 + i]), part % 4 * 2, 3);
        v.left::<3>(v.or(low, bit(v, v.load(&block[i]), part, 2)))
    }
    #[inline(always)]
    fn scales(v: Avx512Vnni, block: &Self::Block) -> ([I; 4], [I; 4]) {
        let (a, b, upper) = (v.load(&block[24]), v.load(&block[25]), v.load(&block[26]));
        let scales = [(a, 0), (b, 0), (a, 4), (b, 4)];
        let join = |i: usize| {
            let (low, shift) = scales[i];
            let high = v.left::<4>(bits(v, upper, 2 * i, 3));
            v.sub_bytes(v.or(bits(v, low, shift, 15), high), v.splat_byte(32))
        };
        ([join(0), join(1), join(2), join(3)], [v.splat(0); 4])
    }
    #[inline(always)]
    fn head(v: Avx512Vnni, _: &Self::Block, rest: &[u8; 32]) -> (F, F) {
        (v.mul(v.halves(rest), v.splat_f32(0.125)), v.splat_f32(0.0))
    }
}

pub(super) struct IQ4_XS;

impl LargeFormat for IQ4_XS {
    type Block = [[u8; 64]; 34];
    type Rest = [u8; 0];
    const LEN: usize = 32;
    const MINIMUM: bool = true;
    type Panel = Panel<32, true>;

    #[inline(always)]
    fn weights(v: Avx512Vnni, block: &Self::Block, part: usize, i: usize) -> I {
        let word = v.load(&block[2 + part * 4 + i % 4]);
        v.lookup(&TABLE_IQ4, bits(v, word, i / 4 * 4, 15))
    }
    #[inline(always)]
    fn scales(v: Avx512Vnni, block: &Self::Block) -> ([I; 4], [I; 4]) {
        // Nibble i of a lane's second word and bit pair i of its first's upper half.
        let (upper, lower) = (v.right::<16>(v.load(&block[0])), v.load(&block[1]));
        let scale = |i: usize| {
            let low = v.and(v.right_by(lower, 4 * i as u32), v.splat(15));
            let high = v.and(v.right_by(upper, 2 * i as u32), v.splat(3));
            v.left_by(v.or(low, v.left::<4>(high)), 8 * (i as u32 % 4))
        };
        let four = |i: usize| {
            let scales = v.or(v.or(scale(i), scale(i + 1)), v.or(scale(i + 2), scale(i + 3)));
            v.sub_bytes(scales, v.splat_byte(32))
        };
        let scales = [four(0), four(4), v.splat(0), v.splat(0)];
        (scales, scales)
    }
    #[inline(always)]
    fn head(v: Avx512Vnni, block: &Self::Block, _: &[u8; 0]) -> (F, F) {
        let scale = v.low_halves(v.load(&block[0]));
        (scale, v.mul(scale, v.splat_f32(128.0)))
    }
}
