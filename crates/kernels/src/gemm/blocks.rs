//! How a product walks through its operands (Goto and van de Geijn, "Anatomy of High-Performance
//! Matrix Multiplication"). A block of the right operand stays in the second-level cache; a tile
//! of rows of the left one in the first-level cache, while the block's panels pass by it. Either is
//! packed when it is its turn, or read where it lies if its words are there as they are and packing
//! would not pay.

use super::engine::{Tile, Tiles};
use super::panel::{
    ByRow, ByUnit, Form, Line, RowsInPlace, UNITS, UnitsInPlace, ZERO, ask_for, least,
    least_of_pairs, left_lines, pack_left, pack_right, widen, words,
};
use super::{Elements, Matrix, Onto, Order, Out, Products};
use std::ops::Range;

/// Tiles of the left operand that are packed at once, and k of them at a time where rows lie
/// across memory: so a line and its page serve several tiles.
const GROUP: usize = 4;
const SLICE: usize = 16;

/// Columns of a block.
const COLUMNS: usize = 512;

/// Panels and k of a block at most whose left tiles are read across memory: more panels pay for
/// packing, and more k take more lines, and pages, than are near.
const PANELS_IN_PLACE: usize = 4;
const UNITS_IN_PLACE: usize = 64;

/// Rows that begin at multiples of so many f32, a page of memory, share few places of the caches:
/// they are packed.
const CROWDED: usize = 1024;

/// The least sum of two biased exponents (the smallest of both operands) with which no sum of
/// products of bfloat16 is subnormal: (a - 127) + (b - 127) - 14 >= -126. (See
/// `packed/floats.rs`.)
const SAFE_EXPONENTS: u32 = 142;
/// What sums begin with must then be zero or a multiple of 2^-126: 2^-103 at least.
const SAFE_START: u32 = 24 << 23;

/// A right operand in panels: all units of the first columns, then of the next.
#[derive(Clone, Debug, Default)]
pub(super) struct Panels {
    lines: Vec<Line>,
    /// The least magnitude of each panel.
    least: Vec<u32>,
}

impl Panels {
    pub(super) fn pack<T: Tiles, F: Form>(&mut self, e: T, right: Matrix<'_>) {
        let (units, panels) = (F::units(right.rows), right.cols.div_ceil(16 * T::LINES));
        let len = units * T::LINES;
        // Every line is written below; of the same size nothing is made zero first.
        self.lines.resize(panels * len, ZERO);
        self.least.clear();
        for (index, panel) in self.lines.chunks_exact_mut(len.max(1)).enumerate() {
            let first = index * 16 * T::LINES;
            let columns = first..right.cols.min(first + 16 * T::LINES);
            let least = e.compiled(
                #[inline(always)]
                || {
                    pack_right::<F>(right, columns, 0..right.rows, panel, T::LINES);
                    least_of_pairs(panel)
                },
            );
            self.least.push(least);
        }
    }
}

/// Panels from one of them on, and of each its units from one of them on.
#[derive(Clone, Copy)]
pub(super) struct Window<'a> {
    pub(super) panels: &'a Panels,
    pub(super) panel: usize,
    pub(super) unit: usize,
    /// Lines of a whole panel.
    pub(super) len: usize,
}

impl Window<'_> {
    /// The lines of a panel from a unit of `lines` lines on.
    fn lines(&self, panel: usize, unit: usize, lines: usize) -> &[Line] {
        &self.panels.lines[(self.panel + panel) * self.len + (self.unit + unit) * lines..]
    }

    fn least(&self, panels: &Range<usize>) -> &[u32] {
        &self.panels.least[self.panel..][panels.clone()]
    }
}

/// The right operand.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    /// In the words that are multiplied.
    Panels(Window<'a>),
    /// In pairs of bfloat16, where the words are f32.
    Narrow(Window<'a>),
    Matrix(Matrix<'a>),
}

/// Working memory.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    left: Vec<Line>,
    right: Vec<Line>,
    least: Vec<u32>,
}

/// A product.
pub(super) struct Job<'a, T> {
    pub(super) e: T,
    pub(super) left: Matrix<'a>,
    pub(super) right: Source<'a>,
    pub(super) cols: usize,
    pub(super) onto: Onto,
}

/// A block's place.
#[derive(Clone)]
struct Block {
    /// Panels of the right operand.
    panels: Range<usize>,
    units: Range<usize>,
    /// k of the units.
    within: Range<usize>,
}

impl<T: Tiles> Job<'_, T> {
    const WIDTH: usize = 16 * T::LINES;

    pub(super) fn run<F: Form>(&self, out: &mut Out<'_>, scratch: &mut Scratch) {
        let units = F::units(self.left.cols);
        let panels = self.cols.div_ceil(Self::WIDTH);
        // As even parts as there are, of whole chunks.
        let step = units.div_ceil(units.div_ceil(UNITS)).next_multiple_of(16);
        for first in (0..panels).step_by(COLUMNS / Self::WIDTH) {
            for start in (0..units).step_by(step) {
                let end = units.min(start + step);
                let within = start * F::LEN..self.left.cols.min(end * F::LEN);
                let last = panels.min(first + COLUMNS / Self::WIDTH);
                let block = Block { panels: first..last, units: start..end, within };
                self.block::<F>(&block, out, scratch);
            }
        }
    }

    fn block<F: Form>(&self, block: &Block, out: &mut Out<'_>, scratch: &mut Scratch) {
        let lies = match self.right {
            Source::Matrix(matrix) => lines_in_place::<T>(F::PRODUCTS, matrix),
            Source::Panels(_) | Source::Narrow(_) => None,
        };
        if lies.is_none() {
            self.fill::<F>(block, scratch);
        }
        let tile = left_lines(T::ROWS);
        let in_place = self.in_place::<F>(block);
        if in_place.is_none() && scratch.left.len() < GROUP * tile {
            scratch.left.resize(GROUP * tile, ZERO);
        }
        let Scratch { left, right, least } = scratch;
        let (lines, stride, right_stride) = self.lines(block, lies, right);
        let least = match &self.right {
            Source::Panels(window) | Source::Narrow(window) => window.least(&block.panels),
            Source::Matrix(_) if lies.is_some() => &[],
            Source::Matrix(_) => &least[..],
        };
        let onto = if block.units.start > 0 { Onto::Add } else { self.onto };
        let mut tiles = Rows { all: self.left.rows, step: T::ROWS, next: 0 };
        loop {
            let group: [_; GROUP] = std::array::from_fn(|_| tiles.following());
            let Some(first) = &group[0] else { break };
            let len = group.iter().flatten().map(Range::len).sum::<usize>();
            let later = first.start + len..self.left.rows.min(first.start + 2 * len);
            let count_of_group = group.iter().flatten().count();
            let left_least = match in_place {
                Some(_) => [u32::MAX; GROUP],
                None => self.pack_group::<F>(&group, &block.within, left, tile),
            };
            for (place, rows) in group.into_iter().flatten().enumerate() {
                let left = match in_place {
                    Some(left) => &left[self.place(rows.start, block.within.start)..],
                    None => words(&left[place * tile..][..tile]),
                };
                let count = block.panels.len();
                for index in 0..count {
                    let right_least = if lies.is_some() { u32::MAX } else { least[index] };
                    let (parts, part) = (count_of_group * count, place * count + index);
                    if in_place.is_none() {
                        ask_for(self.left, later.clone(), block.within.clone(), part, parts);
                    }
                    let sum = (left_least[place] >> 23) + (right_least >> 23);
                    let part = Part {
                        left,
                        right: &lines[index * stride..],
                        right_stride,
                        rows: rows.clone(),
                        column: (block.panels.start + index) * Self::WIDTH,
                        units: block.units.len(),
                        onto,
                        flushes: F::ROUNDED && sum < SAFE_EXPONENTS,
                        checks: F::ROUNDED,
                    };
                    match (self.left.order, in_place.is_some()) {
                        (Order::RowMajor, false) => self.part::<ByRow>(part, out),
                        (Order::Transposed, false) => self.part::<ByUnit>(part, out),
                        (Order::RowMajor, true) => self.part::<RowsInPlace>(part, out),
                        (Order::Transposed, true) => self.part::<UnitsInPlace>(part, out),
                    }
                }
            }
        }
    }

    /// The block's lines of the right operand, and how many from a panel and from a unit to the
    /// next; `packed` holds what `fill` has made.
    fn lines<'b>(
        &'b self,
        block: &Block,
        lies: Option<(&'b [Line], usize)>,
        packed: &'b [Line],
    ) -> (&'b [Line], usize, usize) {
        match (&self.right, lies) {
            (Source::Panels(window), _) => {
                let lines = window.lines(block.panels.start, block.units.start, T::LINES);
                (lines, window.len, T::LINES)
            }
            (_, Some((lines, stride))) => {
                let first = block.within.start * stride + block.panels.start * T::LINES;
                (&lines[first..], T::LINES, stride)
            }
            _ => (packed, block.units.len() * T::LINES, T::LINES),
        }
    }

    /// The words of the left operand, if tiles are read where they lie.
    fn in_place<F: Form>(&self, block: &Block) -> Option<&[u32]> {
        let Elements::F32(elements) = self.left.elements else { return None };
        let near = match self.left.order {
            Order::RowMajor => !self.left.stride.is_multiple_of(CROWDED),
            Order::Transposed => {
                block.panels.len() <= PANELS_IN_PLACE && block.units.len() <= UNITS_IN_PLACE
            }
        };
        // SAFETY: f32 are as large and aligned as words, and any bits are a word.
        let words = unsafe { std::slice::from_raw_parts(elements.as_ptr().cast(), elements.len()) };
        (F::PRODUCTS == Products::F32 && near).then_some(words)
    }

    /// Where an element of the left operand lies.
    fn place(&self, row: usize, k: usize) -> usize {
        match self.left.order {
            Order::RowMajor => row * self.left.stride + k,
            Order::Transposed => k * self.left.stride + row,
        }
    }

    /// Packs the tiles of a group, some k of all at a time where that is how they lie in memory.
    fn pack_group<F: Form>(
        &self,
        group: &[Option<Range<usize>>; GROUP],
        within: &Range<usize>,
        left: &mut [Line],
        tile: usize,
    ) -> [u32; GROUP] {
        let mut least = [u32::MAX; GROUP];
        let step = if self.left.order == Order::RowMajor { within.len() } else { SLICE };
        self.e.compiled(
            #[inline(always)]
            || {
                for start in within.clone().step_by(step.max(1)) {
                    let slice = start..within.end.min(start + step);
                    let at = (start - within.start) / F::LEN;
                    let tiles = group.iter().flatten().zip(left.chunks_mut(tile));
                    for ((rows, tile), least) in tiles.zip(&mut least) {
                        let tile = &mut tile[at..];
                        *least = pack_left::<F>(self.left, rows.clone(), slice.clone(), tile)
                            .min(*least);
                    }
                }
            },
        );
        least
    }

    /// Packs or widens the block.
    fn fill<F: Form>(&self, block: &Block, scratch: &mut Scratch) {
        let count = block.units.len() * T::LINES;
        if matches!(self.right, Source::Panels(_)) {
            return;
        }
        let lines = block.panels.len() * count;
        if scratch.right.len() < lines {
            scratch.right.resize(lines, ZERO);
        }
        scratch.least.clear();
        let panels = block.panels.clone().zip(scratch.right.chunks_exact_mut(count));
        match self.right {
            Source::Panels(_) => {}
            Source::Narrow(window) => {
                for (index, out) in panels {
                    // Units are single k here, pairs there.
                    let pairs = window.lines(index, block.units.start / 2, T::LINES);
                    let pairs = &pairs[..count / 2];
                    self.e.compiled(
                        #[inline(always)]
                        || widen(pairs, T::LINES, out),
                    );
                }
            }
            Source::Matrix(matrix) => {
                scratch.least.resize(block.panels.len(), u32::MAX);
                let within = block.within.clone();
                let step = if matrix.order == Order::RowMajor { SLICE } else { within.len() };
                for start in within.clone().step_by(step.max(1)) {
                    let slice = start..within.end.min(start + step);
                    let at = (start - within.start) / F::LEN * T::LINES;
                    let panels = block.panels.clone().zip(scratch.right.chunks_exact_mut(count));
                    for ((index, out), least) in panels.zip(&mut scratch.least) {
                        let first = index * Self::WIDTH;
                        let columns = first..self.cols.min(first + Self::WIDTH);
                        let (slice, out) = (slice.clone(), &mut out[at..]);
                        *least = (*least).min(self.e.compiled(
                            #[inline(always)]
                            || pack_right::<F>(matrix, columns, slice, out, T::LINES),
                        ));
                    }
                }
            }
        }
    }

    /// One tile, to `out` or, where the panel is wider than what is left, by way of a copy.
    fn part<L: super::panel::Layout>(&self, part: Part<'_>, out: &mut Out<'_>) {
        let Part { left, right, right_stride, rows, column, units, onto, mut flushes, checks } =
            part;
        let left_stride = self.left.stride;
        let width = (self.cols - column).min(Self::WIDTH);
        let (at, stride) = (rows.start * out.stride + column, out.stride);
        let count = rows.len();
        if checks && onto == Onto::Add {
            flushes |= !self.e.compiled(
                #[inline(always)]
                || safe(&out.elements[at..], stride, count, width),
            );
        }
        let multiply = |out: &mut [f32], stride: usize| {
            let rows = count;
            let tile = Tile {
                left,
                left_stride,
                first: 0,
                rows,
                right,
                right_stride,
                units,
                onto,
                out,
                stride,
            };
            if flushes {
                self.e.tile_flushed::<L>(tile);
            } else {
                self.e.tile::<L>(tile);
            }
        };
        if width == Self::WIDTH {
            return multiply(&mut out.elements[at..], stride);
        }
        let mut copy = [[0.0; 32]; 16];
        let copy = copy.as_flattened_mut();
        if onto == Onto::Add {
            for m in 0..count {
                copy[m * 32..][..width].copy_from_slice(&out.elements[at + m * stride..][..width]);
            }
        }
        multiply(copy, 32);
        for m in 0..count {
            out.elements[at + m * stride..][..width].copy_from_slice(&copy[m * 32..][..width]);
        }
    }
}

/// The lines of a right operand and how many a row takes, if panels are read where they lie.
pub(super) fn lines_in_place<T: Tiles>(
    products: Products,
    right: Matrix<'_>,
) -> Option<(&[Line], usize)> {
    let Elements::F32(elements) = right.elements else { return None };
    // SAFETY: a line is sixteen words, and any bits are a word; what is not aligned is apart.
    let (before, lines, _) = unsafe { elements.align_to::<Line>() };
    let whole = right.cols.is_multiple_of(16 * T::LINES) && right.stride.is_multiple_of(16);
    let whole = whole && !right.stride.is_multiple_of(CROWDED);
    let lies = right.order == Order::RowMajor && before.is_empty() && whole;
    (products == Products::F32 && lies).then_some((lines, right.stride / 16))
}

/// A tile of a block.
struct Part<'a> {
    left: &'a [u32],
    right: &'a [Line],
    right_stride: usize,
    rows: Range<usize>,
    column: usize,
    units: usize,
    onto: Onto,
    /// Whether sums are flushed, and whether that depends on what they begin with.
    flushes: bool,
    checks: bool,
}

/// Whether sums that begin with these numbers need no flushing on their account.
#[inline(always)]
fn safe(out: &[f32], stride: usize, rows: usize, width: usize) -> bool {
    let row = |m: usize| least(&out[m * stride..][..width]);
    (0..rows).map(row).fold(u32::MAX, u32::min) >= SAFE_START - 1
}

/// Row tiles, as even as there are.
struct Rows {
    all: usize,
    step: usize,
    next: usize,
}

impl Rows {
    fn following(&mut self) -> Option<Range<usize>> {
        let left = self.all - self.next;
        if left == 0 {
            return None;
        }
        let start = self.next;
        self.next += left.div_ceil(left.div_ceil(self.step));
        Some(start..self.next)
    }
}
