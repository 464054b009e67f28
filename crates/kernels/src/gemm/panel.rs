//! Panels: parts of operands as register tiles read them. A unit is what one step multiplies: one
//! k, or for `vdpbf16ps` a pair of them. Units follow in the order of sums.
//!
//! The right operand's panels are lines of sixteen columns; those of a unit follow one another.
//! The left operand's tile lies as its source does, so that neither is turned: some rows of units
//! (`ByRow`), or units of up to sixteen rows (`ByUnit`); or it is the source itself.

use super::Products;
use super::matrix::{Element, Elements, Matrix, Order};
use crate::packed::sweep::{opaque, prefetch};
use crate::packed::transpose::transpose;
use std::ops::Range;

/// Sixteen f32, or pairs of bfloat16 (the first in the low half).
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [u32; 16]);

pub(super) const ZERO: Line = Line([0; 16]);

/// How the left operand's tile lies: words from a row to the next, and from a unit to the next;
/// `None` for the stride of its matrix.
pub(super) trait Layout {
    const ROW: Option<usize>;
    const UNIT: Option<usize>;

    #[inline(always)]
    fn row(stride: usize) -> usize {
        Self::ROW.unwrap_or(stride)
    }
    #[inline(always)]
    fn unit(stride: usize) -> usize {
        Self::UNIT.unwrap_or(stride)
    }
}

/// Units of a panel at most.
pub(super) const UNITS: usize = 512;

pub(super) struct ByRow;

/// A line more than the units take: rows at a power of two share few places of the cache.
const ROW: usize = UNITS + 16;

impl Layout for ByRow {
    const ROW: Option<usize> = Some(ROW);
    const UNIT: Option<usize> = Some(1);
}

pub(super) struct ByUnit;

impl Layout for ByUnit {
    const ROW: Option<usize> = Some(1);
    const UNIT: Option<usize> = Some(16);
}

/// Rows of a matrix where it lies.
pub(super) struct RowsInPlace;

impl Layout for RowsInPlace {
    const ROW: Option<usize> = None;
    const UNIT: Option<usize> = Some(1);
}

/// Units of a matrix where it lies.
pub(super) struct UnitsInPlace;

impl Layout for UnitsInPlace {
    const ROW: Option<usize> = Some(1);
    const UNIT: Option<usize> = None;
}

/// Lines of a tile of either layout with up to `rows` rows.
pub(super) const fn left_lines(rows: usize) -> usize {
    let by_row = rows * ROW / 16;
    if by_row > UNITS { by_row } else { UNITS }
}

/// How numbers become words.
pub(super) trait Form {
    /// k of a unit.
    const LEN: usize;
    /// Whether an odd k is padded.
    const EVEN: bool;
    /// Whether words are f32 that were rounded to bfloat16, the second of each pair first; sums
    /// may have to be flushed then.
    const ROUNDED: bool;
    /// What it serves. Of f32 words are the numbers as they are.
    const PRODUCTS: Products;

    fn units(len: usize) -> usize {
        if Self::EVEN { len.next_multiple_of(2) / Self::LEN } else { len }
    }
}

/// f32, k ascending.
pub(super) struct Plain;

impl Form for Plain {
    const LEN: usize = 1;
    const EVEN: bool = false;
    const ROUNDED: bool = false;
    const PRODUCTS: Products = Products::F32;
}

/// bfloat16 widened again.
pub(super) struct Widened;

impl Form for Widened {
    const LEN: usize = 1;
    const EVEN: bool = true;
    const ROUNDED: bool = true;
    const PRODUCTS: Products = Products::Bf16;
}

/// Pairs of bfloat16.
pub(super) struct Pairs;

impl Form for Pairs {
    const LEN: usize = 2;
    const EVEN: bool = true;
    const ROUNDED: bool = false;
    const PRODUCTS: Products = Products::Bf16;
}

/// The bits of an f32 rounded to bfloat16, nearest and ties to even, subnormal ones to zero.
#[inline(always)]
fn round(bits: u32) -> u32 {
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    let nan = bits & 0x7fff_ffff > 0x7f80_0000;
    let rounded = if nan { bits | 0x0040_0000 } else { nearest };
    let subnormal = rounded & 0x7f80_0000 == 0;
    rounded & if subnormal { 0x8000_0000 } else { 0xffff_0000 }
}

/// Pairs of bfloat16 from their first and second.
#[inline(always)]
fn pair_up(first: [u32; 16], second: [u32; 16]) -> [u32; 16] {
    let mut pairs = [0; 16];
    for ((pair, first), second) in pairs.iter_mut().zip(first).zip(second) {
        *pair = round(first) >> 16 | round(second);
    }
    pairs
}

/// The magnitude less one, so that zero is above all.
#[inline(always)]
fn rank(bits: u32) -> u32 {
    (bits & 0x7fff_ffff).wrapping_sub(1)
}

/// The least rank of some numbers.
#[inline(always)]
pub(super) fn least(x: &[f32]) -> u32 {
    x.iter().fold(u32::MAX, |least, x| rank(x.to_bits()).min(least))
}

/// The least rank of the f32 that pairs of bfloat16 are.
#[inline(always)]
pub(super) fn least_of_pairs(lines: &[Line]) -> u32 {
    let least = |least: u32, pair: &u32| rank(pair << 16).min(rank(pair & 0xffff_0000)).min(least);
    words(lines).iter().fold(u32::MAX, least)
}

/// Rounds words in place and returns their least rank. (One plain loop over many lines: of single
/// lines the compiler makes something slow.)
#[inline(always)]
fn round_lines(lines: &mut [Line]) -> u32 {
    let mut least = u32::MAX;
    for word in words_mut(lines) {
        *word = round(*word);
        least = rank(*word).min(least);
    }
    least
}

/// The words of pairs change places.
#[inline(always)]
fn swap_pairs(lines: &mut [Line]) {
    // SAFETY: lines are plain numbers without gaps, and their alignment is 64 bytes.
    let pairs = unsafe {
        std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast::<u64>(), 8 * lines.len())
    };
    for pair in pairs {
        *pair = pair.rotate_left(32);
    }
}

#[inline(always)]
pub(super) fn words(lines: &[Line]) -> &[u32] {
    // SAFETY: lines are sixteen words each, without gaps.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), 16 * lines.len()) }
}

#[inline(always)]
fn words_mut(lines: &mut [Line]) -> &mut [u32] {
    // SAFETY: lines are sixteen words each, without gaps.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), 16 * lines.len()) }
}

/// Numbers as bits of f32. (Read from an address that the compiler does not follow: it would
/// treat several lines at once, and scatter and gather their words.)
#[inline(always)]
pub(super) fn bits<E: Element, const LEN: usize>(source: &[E; LEN]) -> [u32; LEN] {
    let at = opaque(source.as_ptr().cast()).cast::<[E; LEN]>();
    // SAFETY: the address of `source`.
    let source = unsafe { &*at };
    let mut bits = [0; LEN];
    for (bits, x) in bits.iter_mut().zip(source) {
        *bits = x.bits();
    }
    bits
}

/// The same of fewer; those that are missing are zero. (Kept apart: beside it the compiler would
/// put all numbers through memory.)
#[inline(never)]
pub(super) fn bits_of_some<E: Element, const LEN: usize>(source: &[E]) -> [u32; LEN] {
    let mut bits = [0; LEN];
    for (bits, x) in bits.iter_mut().zip(source) {
        *bits = x.bits();
    }
    bits
}

/// An operand's memory.
struct Source<'a, E> {
    elements: &'a [E],
    stride: usize,
}

impl<'a, E> Source<'a, E> {
    /// Some elements of a line in memory.
    #[inline(always)]
    fn part(&self, line: usize, within: Range<usize>) -> &'a [E] {
        &self.elements[line * self.stride..][within]
    }

    /// Sixteen from an element of a line on, past the end of the line too; `None` at the end of
    /// the memory.
    #[inline(always)]
    fn lanes(&self, line: usize, first: usize) -> Option<&'a [E; 16]> {
        self.elements[line * self.stride + first..].first_chunk()
    }

    /// The same at the end, with zeros.
    fn last_lanes(&self, line: usize, first: usize) -> [u32; 16]
    where
        E: Element,
    {
        bits_of_some(&self.elements[line * self.stride + first..])
    }
}

/// Runs a function of the matrix's source, whatever its type of numbers.
macro_rules! with_source {
    ($matrix:expr, |$source:ident| $body:expr) => {
        match $matrix.elements {
            Elements::F32(elements) => {
                let $source = Source { elements, stride: $matrix.stride };
                $body
            }
            Elements::Bf16(elements) => {
                let $source = Source { elements, stride: $matrix.stride };
                $body
            }
        }
    };
}

/// Rows `rows` of k `within` as a tile of the matrix's own layout. Returns the least magnitude.
#[inline(always)]
pub(super) fn pack_left<F: Form>(
    matrix: Matrix<'_>,
    rows: Range<usize>,
    within: Range<usize>,
    tile: &mut [Line],
) -> u32 {
    let units = F::units(within.len());
    match matrix.order {
        Order::RowMajor => with_source!(matrix, |source| {
            let mut least = u32::MAX;
            for (row, lines) in rows.zip(tile.chunks_mut(ROW / 16)) {
                pack_row::<F, _>(source.part(row, within.clone()), lines);
                if F::ROUNDED {
                    let lines = &mut lines[..units.div_ceil(16)];
                    swap_pairs(lines);
                    least = round_lines(lines).min(least);
                }
            }
            least
        }),
        Order::Transposed => with_source!(matrix, |source| {
            pack_lanes::<F, _>(&source, rows.start, within, tile, 1);
            if F::ROUNDED { round_lines(&mut tile[..units]) } else { u32::MAX }
        }),
    }
}

/// Some k of a row; the rest of the last line is zero, or of an older tile.
#[inline(always)]
fn pack_row<F: Form, E: Element>(x: &[E], lines: &mut [Line]) {
    if F::LEN == 2 {
        let (whole, rest) = x.as_chunks::<2>();
        let words = words_mut(lines);
        for (pair, word) in whole.iter().zip(&mut *words) {
            *word = round(pair[0].bits()) >> 16 | round(pair[1].bits());
        }
        if let [first] = rest {
            words[whole.len()] = round(first.bits()) >> 16;
        }
        return;
    }
    let words = words_mut(lines);
    for (x, word) in x.iter().zip(&mut *words) {
        *word = x.bits();
    }
    if F::EVEN && x.len() % 2 == 1 {
        words[x.len()] = 0;
    }
}

/// Sixteen lanes of k `within` from memory where lanes are neighbours; those past the end of the
/// operand mean nothing. `tile`'s units are `width` lines apart.
#[inline(always)]
fn pack_lanes<F: Form, E: Element>(
    source: &Source<'_, E>,
    lane: usize,
    within: Range<usize>,
    tile: &mut [Line],
    width: usize,
) {
    let units = tile.chunks_mut(2 / F::LEN * width);
    for (k, tile) in within.clone().step_by(2).zip(units) {
        if k + 1 < within.end
            && let (Some(first), Some(second)) = (source.lanes(k, lane), source.lanes(k + 1, lane))
        {
            put_units::<F>(bits(first), bits(second), tile, width);
            continue;
        }
        let first = source.last_lanes(k, lane);
        let both = k + 1 < within.end;
        let second = if both { source.last_lanes(k + 1, lane) } else { [0; 16] };
        put_units::<F>(first, second, tile, width);
    }
}

/// The units of two k. (Of an odd k the second may have no place.)
#[inline(always)]
fn put_units<F: Form>(first: [u32; 16], second: [u32; 16], tile: &mut [Line], width: usize) {
    if F::LEN == 2 {
        tile[0].0 = pair_up(first, second);
        return;
    }
    let units = if F::ROUNDED { [second, first] } else { [first, second] };
    tile[0].0 = units[0];
    if tile.len() > width {
        tile[width].0 = units[1];
    }
}

/// Columns `columns` of k `within` as a panel of `width` lines per unit; columns that are missing
/// are zero. Returns the least magnitude.
#[inline(always)]
pub(super) fn pack_right<F: Form>(
    matrix: Matrix<'_>,
    columns: Range<usize>,
    within: Range<usize>,
    panel: &mut [Line],
    width: usize,
) -> u32 {
    for index in 0..width {
        let first = (columns.start + 16 * index).min(columns.end);
        let lanes = first..columns.end.min(first + 16);
        let (within, panel) = (within.clone(), &mut panel[index..]);
        match matrix.order {
            Order::RowMajor => with_source!(matrix, |source| {
                pack_lanes::<F, _>(&source, first, within, panel, width);
            }),
            Order::Transposed => with_source!(matrix, |source| {
                turn::<F, _>(&source, lanes, within, panel, width);
            }),
        }
    }
    if F::ROUNDED { round_lines(&mut panel[..F::units(within.len()) * width]) } else { u32::MAX }
}

/// The same from memory where k are neighbours.
#[inline(always)]
fn turn<F: Form, E: Element>(
    source: &Source<'_, E>,
    lanes: Range<usize>,
    within: Range<usize>,
    panel: &mut [Line],
    width: usize,
) {
    let mut lines = [[0; 64]; 16];
    let mut words = [ZERO; 16];
    for chunk in within.clone().step_by(16 * F::LEN) {
        let part = chunk..within.end.min(chunk + 16 * F::LEN);
        for (row, words) in lanes.clone().zip(words.chunks_mut(1)) {
            pack_row::<F, _>(source.part(row, part.clone()), words);
        }
        transpose(bytes(&words), 64, &mut lines);
        let first = (chunk - within.start) / F::LEN * width;
        let units = F::units(part.len());
        for unit in 0..units {
            let line = if F::ROUNDED { unit ^ 1 } else { unit };
            *panel[first + unit * width].bytes_mut() = lines[line];
        }
    }
}

fn bytes(lines: &[Line; 16]) -> &[u8; 1024] {
    // SAFETY: sixteen lines of 64 bytes of plain numbers, one after the other.
    unsafe { &*std::ptr::from_ref(lines).cast() }
}

/// Pairs as f32: the second of each, and the first.
#[inline(always)]
pub(super) fn unpair(pairs: &Line) -> [[u32; 16]; 2] {
    let pairs = bits(pairs.floats());
    let (mut first, mut second) = (pairs, pairs);
    for (first, second) in first.iter_mut().zip(&mut second) {
        *first <<= 16;
        *second &= 0xffff_0000;
    }
    [second, first]
}

/// A panel of pairs as f32.
#[inline(always)]
pub(super) fn widen(pairs: &[Line], width: usize, panel: &mut [Line]) {
    for (pairs, units) in pairs.chunks_exact(width).zip(panel.chunks_exact_mut(2 * width)) {
        for (index, pair) in pairs.iter().enumerate() {
            let [second, first] = unpair(pair);
            units[index].0 = second;
            units[index + width].0 = first;
        }
    }
}

impl Line {
    #[inline(always)]
    pub(super) fn floats(&self) -> &[f32; 16] {
        // SAFETY: both are sixteen numbers of 32 bits, and any bits are one.
        unsafe { &*std::ptr::from_ref(&self.0).cast() }
    }

    #[inline(always)]
    pub(super) fn bytes(&self) -> &[u8; 64] {
        // SAFETY: 64 bytes of plain numbers.
        unsafe { &*std::ptr::from_ref(&self.0).cast() }
    }
    #[inline(always)]
    fn bytes_mut(&mut self) -> &mut [u8; 64] {
        // SAFETY: 64 bytes of plain numbers, of which any are one.
        unsafe { &mut *std::ptr::from_mut(&mut self.0).cast() }
    }
}

/// Asks for a part of a tile of the left operand that is packed later: part `part` of `parts`.
#[inline(always)]
pub(super) fn ask_for(
    matrix: Matrix<'_>,
    rows: Range<usize>,
    within: Range<usize>,
    part: usize,
    parts: usize,
) {
    let (lines, within) = match matrix.order {
        Order::RowMajor => (rows, within),
        Order::Transposed => (within, rows),
    };
    let (start, len) = (lines.start, lines.len());
    for line in start + len * part / parts..start + len * (part + 1) / parts {
        let (at, size) = match matrix.elements {
            Elements::F32(elements) => (elements.as_ptr().cast::<u8>(), 4),
            Elements::Bf16(elements) => (elements.as_ptr().cast::<u8>(), 2),
        };
        let at = at.wrapping_add((line * matrix.stride + within.start) * size);
        for offset in (0..within.len() * size).step_by(64) {
            prefetch(at.wrapping_add(offset));
        }
    }
}
