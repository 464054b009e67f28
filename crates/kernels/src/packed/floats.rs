//! Products of plain floats by f32 multiply-adds, written once over the sixteen lanes of `Simd`: a
//! lane is a row. A few rows of activations meet the weights as they lie; more of them a panel, a
//! piece of some groups widened once for all tiles, which stays in the first-level cache.
//!
//! The order of bfloat16's sums is that of `vdpbf16ps`, which reads and writes numbers below 2^-126
//! as zero. Multiply-adds do not, yet mostly cannot differ: a product of two bfloat16 is a multiple
//! of 2^(a + b - 14) if none of them is below 2^a and 2^b, and so is every sum of such products,
//! rounded or not. Where this multiple is 2^-126 at least, no sum is below it but zero. Where it is
//! not, sums are flushed step by step, and so is all that is added to them later: larger numbers
//! may cancel and leave the small ones.

use super::layout::Layout;
use super::sweep::{BLOCK_GROUPS, CHUNK_TILES, Lanes, Shape, Sweep, opaque, prefetch};
use super::{ACTIVATION_TILE, Activations, PackedRows, Sink, activation_bytes};
use crate::dispatch::Compiled;
use crate::simd::{LANES, Simd};
use crate::{DType, Level};
use std::marker::PhantomData;
use std::ops::Range;

/// A pair of weights of sixteen rows.
type Line = [u8; 64];

/// Pairs of a panel, and groups where there are 32 registers: 24 KiB.
const PIECE: usize = 96;
const PANEL_GROUPS: usize = 2;
/// Of a block.
const PANELS_MAX: usize = BLOCK_GROUPS;

/// The least sum of two biased exponents (the smallest of all weights and of all activations) with
/// which no sum is subnormal: (a - 127) + (b - 127) - 14 >= -126.
const SAFE_EXPONENTS: u32 = 142;

/// In place of the smallest exponent where it plays no part.
const EXPONENT_NONE: u32 = 1 << 16;

/// How a format's lines are read.
trait Format {
    /// Whether activations are bfloat16, and sums as `vdpbf16ps` has them.
    const BF16: bool;
    /// The weights that come first in the order of sums (0) or second.
    fn half<S: Simd>(s: S, line: &Line, half: usize) -> S::F;
}

struct F16;

impl Format for F16 {
    const BF16: bool = false;

    #[inline(always)]
    fn half<S: Simd>(s: S, line: &Line, half: usize) -> S::F {
        let (halves, _) = line.as_chunks::<32>();
        s.load_f16_bytes(&halves[half])
    }
}

struct Bf16;

impl Format for Bf16 {
    const BF16: bool = true;

    #[inline(always)]
    fn half<S: Simd>(s: S, line: &Line, half: usize) -> S::F {
        s.load(&pairs(line).map(|pair| widen(pair, half)))
    }
}

/// Reads weights for a tile.
trait Read<B> {
    fn half<S: Simd>(s: S, block: &B, half: usize) -> S::F;
}

struct Direct<W>(PhantomData<W>);

impl<W: Format> Read<Line> for Direct<W> {
    #[inline(always)]
    fn half<S: Simd>(s: S, line: &Line, half: usize) -> S::F {
        W::half(s, line, half)
    }
}

struct Panel;

impl Read<[Lanes; 2]> for Panel {
    #[inline(always)]
    fn half<S: Simd>(s: S, pair: &[Lanes; 2], half: usize) -> S::F {
        s.load(&pair[half])
    }
}

#[inline(always)]
fn pairs(line: &Line) -> [u32; LANES] {
    let (words, _) = line.as_chunks::<4>();
    std::array::from_fn(|i| u32::from_le_bytes(words[i]))
}

/// The second bfloat16 of a pair (half 0: it comes first in the sum), or the first.
#[inline(always)]
fn widen(pair: u32, half: usize) -> f32 {
    f32::from_bits(if half == 0 { pair & 0xffff_0000 } else { pair << 16 })
}

/// The smallest biased exponent of bfloat16 that are not zero, or less by one; large if all are.
#[inline(always)]
fn smallest_exponent(bytes: &[u8]) -> u32 {
    // One plain reduction: minimums by column were compiled to a gather of single numbers, which
    // took a third of the whole product.
    let ranks = bytes.as_chunks::<2>().0.iter().map(|bits| rank(*bits));
    let least = ranks.fold(u16::MAX, u16::min);
    u32::from(least >> 7)
}

/// The same, of what comes from memory: asks for the piece after it meanwhile, which keeps the
/// compiler from turning these loops round. (Past the end of the matrix this asks in vain, which is
/// no fault.)
#[inline(always)]
fn smallest_exponent_ahead(lines: &[Line]) -> u32 {
    let mut least = [u16::MAX; 32];
    for line in lines {
        prefetch(line.as_ptr().wrapping_add(PIECE * size_of::<Line>()));
        for (least, bits) in least.iter_mut().zip(line.as_chunks::<2>().0) {
            *least = rank(*bits).min(*least);
        }
    }
    u32::from(least.into_iter().fold(u16::MAX, u16::min) >> 7)
}

/// The magnitude; zero wraps to the largest.
#[inline(always)]
fn rank(bits: [u8; 2]) -> u16 {
    (u16::from_le_bytes(bits) & 0x7fff).wrapping_sub(1)
}

/// The whole product. False if the matrix has no columns or the level no vectors.
pub(super) fn multiply(
    level: Level,
    x: Activations<'_>,
    weights: PackedRows<'_>,
    sink: &mut Sink<'_, '_>,
    scratch: &mut Vec<f32>,
) -> bool {
    if weights.cols == 0 {
        return false;
    }
    let f16 = weights.dtype == DType::F16;
    match level {
        Level::Scalar => return false,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2(s) if f16 => multiply_format::<_, F16>(s, x, weights, sink, scratch),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2(s) => multiply_format::<_, Bf16>(s, x, weights, sink, scratch),
        #[cfg(target_arch = "x86_64")]
        Level::Avx512(s) if f16 => multiply_format::<_, F16>(s, x, weights, sink, scratch),
        #[cfg(target_arch = "x86_64")]
        Level::Avx512(s) => multiply_format::<_, Bf16>(s, x, weights, sink, scratch),
    }
    true
}

fn multiply_format<S: Compiled, W: Format>(
    s: S,
    x: Activations<'_>,
    weights: PackedRows<'_>,
    sink: &mut Sink<'_, '_>,
    scratch: &mut Vec<f32>,
) {
    s.compiled(
        #[inline(always)]
        || multiply_compiled::<S, W>(s, x, weights, sink, scratch),
    );
}

#[inline(always)]
fn multiply_compiled<S: Compiled, W: Format>(
    s: S,
    x: Activations<'_>,
    weights: PackedRows<'_>,
    sink: &mut Sink<'_, '_>,
    scratch: &mut Vec<f32>,
) {
    let job = Job::<S, W>::new(s, x, weights);
    match (S::WIDE, x.batch) {
        (true, ..=4) => job.few::<4>(sink, scratch),
        (true, ..=ACTIVATION_TILE) | (false, ..=2) => job.few::<2>(sink, scratch),
        (false, ..=6) => job.few::<1>(sink, scratch),
        (_, _) => job.many(sink, scratch),
    }
}

/// The operands, cut to groups and tiles.
struct Job<'a, S, W> {
    s: S,
    x: Activations<'a>,
    groups: Vec<&'a [Line]>,
    /// Of a row.
    pairs: usize,
    format: PhantomData<W>,
}

/// Activations of a tile for a piece: first and second factors of pairs begin at two places, and
/// follow at a stride, all rows of the tile at each.
#[derive(Clone, Copy)]
struct Inputs<'a> {
    halves: [&'a [u8]; 2],
    stride: usize,
    rows: usize,
    /// The row to begin with.
    start: usize,
}

impl<'a, S: Compiled, W: Format> Job<'a, S, W> {
    #[inline(always)]
    fn new(s: S, x: Activations<'a>, weights: PackedRows<'a>) -> Self {
        let layout = Layout::new(weights.dtype, weights.cols).expect("a format that is packed");
        let pairs = layout.words;
        let groups = weights.bytes.as_chunks::<64>().0.chunks_exact(pairs).collect();
        Job { s, x, groups, pairs, format: PhantomData }
    }

    /// Some pairs of `N` groups; past the end, the last group again.
    #[inline(always)]
    fn lines<const N: usize>(&self, first: usize, units: Range<usize>) -> [&'a [Line]; N] {
        std::array::from_fn(|n| &self.groups[(first + n).min(self.groups.len() - 1)][units.clone()])
    }

    /// The activations of a tile for some pairs.
    #[inline(always)]
    fn tile(&self, tile: usize, units: Range<usize>) -> (&'a [u8], usize) {
        let first = tile * ACTIVATION_TILE;
        let rows = (self.x.batch - first).min(ACTIVATION_TILE);
        let pair = activation_bytes(self.x.class, 1, 2);
        let at = (first * self.pairs + units.start * rows) * pair;
        (&self.x.bytes[at..][..units.len() * rows * pair], rows)
    }

    /// At most a tile of activations, without a panel.
    #[inline(always)]
    fn few<const N: usize>(&self, sink: &mut Sink<'_, '_>, scratch: &mut Vec<f32>) {
        let batch = self.x.batch;
        let [wide_a, wide_b] = cut(scratch, wide_lines::<W>(batch, self.pairs));
        let mut wide = WideInputs::new([wide_a, wide_b], self.pairs);
        wide.fill(self, 0..1, 0..self.pairs);
        for first in (0..self.groups.len()).step_by(N) {
            let mut sums = [[[0.0; LANES]; N]; ACTIVATION_TILE];
            let sums = &mut sums.as_flattened_mut()[..batch * N];
            let mut flushes = false;
            for from in (0..self.pairs).step_by(PIECE) {
                let units = from..(from + PIECE).min(self.pairs);
                let lines = self.lines::<N>(first, units.clone());
                let mut exponent = EXPONENT_NONE;
                if W::BF16 {
                    for lines in lines {
                        exponent = exponent.min(smallest_exponent_ahead(lines));
                    }
                }
                let inputs = wide.inputs(self, 0, units);
                flushes |= !wide.safe(0, exponent);
                if flushes {
                    cover::<S, Direct<W>, _, N, true>(self.s, lines, inputs, sums);
                } else {
                    cover::<S, Direct<W>, _, N, false>(self.s, lines, inputs, sums);
                }
            }
            for (m, sums) in sums.chunks_exact(N).enumerate() {
                for (n, sums) in sums.iter().enumerate().take(self.groups.len() - first) {
                    sink.write(m, first + n, sums);
                }
            }
        }
    }

    /// Any number of rows, with panels.
    #[inline(always)]
    fn many(&self, sink: &mut Sink<'_, '_>, scratch: &mut Vec<f32>) {
        let (batch, groups) = (self.x.batch, self.groups.len());
        let width = if S::WIDE { PANEL_GROUPS } else { 1 };
        let shape = Shape { batch, groups, units: self.pairs, piece: PIECE, width };
        let wide = wide_lines::<W>(shape.rows_max(), PIECE);
        let lines = [wide[0], wide[1], 2 * PANEL_GROUPS * PIECE, shape.sums()];
        let [wide_a, wide_b, panel, sums] = cut(scratch, lines);
        let wide = WideInputs::new([wide_a, wide_b], PIECE);
        let panel = panel.as_chunks_mut().0;
        let flushes = [[false; PANELS_MAX]; CHUNK_TILES];
        let mut panels = Panels { job: self, panel, first: 0, exponent: 0, wide, flushes };
        shape.run(sink, sums, &mut panels);
    }
}

/// A product with panels.
struct Panels<'a, 'b, S, W> {
    job: &'b Job<'a, S, W>,
    /// `PIECE` pairs of each group.
    panel: &'b mut [[Lanes; 2]],
    /// The panel's first group.
    first: usize,
    /// The smallest of the panel's weights.
    exponent: u32,
    wide: WideInputs<'b>,
    /// Whether the sums of a tile of the chunk with a panel of the block are flushed.
    flushes: [[bool; PANELS_MAX]; CHUNK_TILES],
}

impl<S: Compiled, W: Format> Sweep for Panels<'_, '_, S, W> {
    #[inline(always)]
    fn start_piece(&mut self, rows: Range<usize>, units: Range<usize>) {
        let tiles = rows.start / ACTIVATION_TILE..rows.end.div_ceil(ACTIVATION_TILE);
        self.wide.fill(self.job, tiles, units);
    }

    #[inline(always)]
    fn fill(&mut self, first: usize, width: usize, units: Range<usize>) {
        let s = self.job.s;
        (self.first, self.exponent) = (first, EXPONENT_NONE);
        for n in 0..width {
            let [lines] = self.job.lines::<1>(first + n, units.clone());
            for (line, out) in lines.iter().zip(&mut self.panel[n * PIECE..]) {
                s.store(W::half(s, line, 0), &mut out[0]);
                s.store(W::half(s, line, 1), &mut out[1]);
            }
            if W::BF16 {
                self.exponent = self.exponent.min(smallest_exponent(lines.as_flattened()));
            }
        }
    }

    #[inline(always)]
    fn multiply(&mut self, tile: usize, width: usize, units: Range<usize>, sums: &mut [Lanes]) {
        if width == PANEL_GROUPS {
            self.multiply_groups::<PANEL_GROUPS>(tile, units, sums);
        } else {
            self.multiply_groups::<1>(tile, units, sums);
        }
    }

    #[inline(always)]
    fn weights(&self, group: usize, units: Range<usize>) -> &[u8] {
        self.job.groups[group][units].as_flattened()
    }
}

impl<S: Compiled, W: Format> Panels<'_, '_, S, W> {
    #[inline(always)]
    fn multiply_groups<const N: usize>(
        &mut self,
        tile: usize,
        units: Range<usize>,
        sums: &mut [Lanes],
    ) {
        let (s, count) = (self.job.s, units.len());
        let panel: [&[[Lanes; 2]]; N] = std::array::from_fn(|n| &self.panel[n * PIECE..][..count]);
        // Those of a block are consecutive and no more than `PANELS_MAX`.
        let flushes = &mut self.flushes[tile - self.wide.first_tile][self.first % PANELS_MAX];
        *flushes &= units.start > 0;
        *flushes |= !self.wide.safe(tile, self.exponent);
        let flushes = *flushes;
        let inputs = self.wide.inputs(self.job, tile, units);
        if flushes {
            cover::<S, Panel, _, N, true>(s, panel, inputs, sums);
        } else {
            cover::<S, Panel, _, N, false>(s, panel, inputs, sums);
        }
    }
}

/// Bfloat16 activations as f32; of other formats, nothing.
struct WideInputs<'a> {
    /// First factors of pairs, and second.
    halves: [&'a mut [u8]; 2],
    /// Pairs of a row at most.
    pairs: usize,
    first_tile: usize,
    /// The smallest of each tile.
    exponents: [u32; CHUNK_TILES],
}

/// Lines of 64 bytes that they need.
fn wide_lines<W: Format>(rows: usize, pairs: usize) -> [usize; 2] {
    [if W::BF16 { (rows * pairs).div_ceil(LANES) } else { 0 }; 2]
}

impl<'a> WideInputs<'a> {
    fn new(halves: [&'a mut [Lanes]; 2], pairs: usize) -> Self {
        let halves = halves.map(|half| bytes_mut(half.as_flattened_mut()));
        WideInputs { halves, pairs, first_tile: 0, exponents: [0; CHUNK_TILES] }
    }

    /// Bytes of a half before those of a tile.
    fn place(&self, tile: usize) -> usize {
        (tile - self.first_tile) * ACTIVATION_TILE * self.pairs * 4
    }

    #[inline(always)]
    fn fill<S: Compiled, W: Format>(
        &mut self,
        job: &Job<'_, S, W>,
        tiles: Range<usize>,
        units: Range<usize>,
    ) {
        self.first_tile = tiles.start;
        if !W::BF16 {
            return;
        }
        for tile in tiles {
            let (x, _) = job.tile(tile, units.clone());
            let place = self.place(tile);
            let [first, second] =
                self.halves.each_mut().map(|half| half[place..][..x.len()].as_chunks_mut::<4>().0);
            for ((pair, first), second) in x.as_chunks::<4>().0.iter().zip(first).zip(second) {
                let pair = u32::from_le_bytes(*pair);
                *first = widen(pair, 0).to_le_bytes();
                *second = widen(pair, 1).to_le_bytes();
            }
            self.exponents[tile - self.first_tile] = smallest_exponent(x);
        }
    }

    /// Of the units that were filled in; if of all, of any part of them.
    #[inline(always)]
    fn inputs<'b, S: Compiled, W: Format>(
        &'b self,
        job: &Job<'b, S, W>,
        tile: usize,
        units: Range<usize>,
    ) -> Inputs<'b> {
        let (x, rows) = job.tile(tile, units.clone());
        if !W::BF16 {
            return Inputs { halves: [x, &x[4 * rows..]], stride: 8 * rows, rows, start: 0 };
        }
        let from = if self.pairs == job.pairs { units.start } else { 0 };
        let at = self.place(tile) + from * rows * 4;
        let halves = self.halves.each_ref().map(|half| &half[at..][..x.len()]);
        Inputs { halves, stride: 4 * rows, rows, start: 0 }
    }

    /// Whether no sum of products with weights of this smallest exponent can be subnormal.
    #[inline(always)]
    fn safe(&self, tile: usize, exponent: u32) -> bool {
        let inputs = self.exponents[tile - self.first_tile];
        exponent == EXPONENT_NONE
            || inputs > 0 && exponent > 0 && inputs + exponent >= SAFE_EXPONENTS
    }
}

/// Consecutive parts of `scratch`, of so many lines of 64 bytes each, from such a boundary on.
fn cut<const N: usize>(scratch: &mut Vec<f32>, lines: [usize; N]) -> [&mut [Lanes]; N] {
    let floats = lines.iter().sum::<usize>() * LANES;
    if scratch.len() < floats + LANES {
        scratch.resize(floats + LANES, 0.0);
    }
    let offset = scratch.as_ptr().align_offset(64).min(LANES);
    let mut rest = scratch[offset..][..floats].as_chunks_mut::<LANES>().0;
    lines.map(|lines| {
        let (part, after) = std::mem::take(&mut rest).split_at_mut(lines);
        rest = after;
        part
    })
}

/// Floats as bytes.
fn bytes_mut(floats: &mut [f32]) -> &mut [u8] {
    // SAFETY: f32 has no padding and any bytes are one; the borrow is exclusive.
    unsafe { std::slice::from_raw_parts_mut(floats.as_mut_ptr().cast(), 4 * floats.len()) }
}

/// All rows of a tile, some at a time.
#[inline(always)]
fn cover<S: Compiled, R: Read<B>, B, const N: usize, const FLUSH: bool>(
    s: S,
    blocks: [&[B]; N],
    mut inputs: Inputs<'_>,
    sums: &mut [Lanes],
) {
    while inputs.start < inputs.rows {
        let sums = &mut sums[inputs.start * N..];
        let left = inputs.rows - inputs.start;
        if FLUSH {
            tile::<S, R, B, 1, N, true>(s, blocks, inputs, sums);
            inputs.start += 1;
            continue;
        }
        let step = if !S::WIDE {
            [1, 2, 3, 4, 5, 6, 4, 4, 5, 5, 6, 6][left - 1]
        } else if N > 2 {
            left.min(4)
        } else {
            left
        };
        match step {
            1 => tile::<S, R, B, 1, N, false>(s, blocks, inputs, sums),
            2 => tile::<S, R, B, 2, N, false>(s, blocks, inputs, sums),
            3 => tile::<S, R, B, 3, N, false>(s, blocks, inputs, sums),
            4 => tile::<S, R, B, 4, N, false>(s, blocks, inputs, sums),
            5 => tile::<S, R, B, 5, N, false>(s, blocks, inputs, sums),
            6 => tile::<S, R, B, 6, N, false>(s, blocks, inputs, sums),
            7 => tile::<S, R, B, 7, N, false>(s, blocks, inputs, sums),
            8 => tile::<S, R, B, 8, N, false>(s, blocks, inputs, sums),
            9 => tile::<S, R, B, 9, N, false>(s, blocks, inputs, sums),
            10 => tile::<S, R, B, 10, N, false>(s, blocks, inputs, sums),
            11 => tile::<S, R, B, 11, N, false>(s, blocks, inputs, sums),
            _ => tile::<S, R, B, 12, N, false>(s, blocks, inputs, sums),
        }
        inputs.start += step;
    }
}

/// `M` rows of activations with a piece of `N` groups, added to `out`, `[M, N]`.
#[inline(never)]
fn tile<S: Compiled, R: Read<B>, B, const M: usize, const N: usize, const FLUSH: bool>(
    s: S,
    blocks: [&[B]; N],
    inputs: Inputs<'_>,
    out: &mut [Lanes],
) {
    s.compiled(
        #[inline(always)]
        || products::<S, R, B, M, N, FLUSH>(s, blocks, inputs, out),
    );
}

#[inline(always)]
fn products<S: Simd, R: Read<B>, B, const M: usize, const N: usize, const FLUSH: bool>(
    s: S,
    blocks: [&[B]; N],
    Inputs { halves, stride, rows, start }: Inputs<'_>,
    out: &mut [Lanes],
) {
    let count = blocks[0].len();
    assert!(start + M <= rows, "rows {start} to {} of {rows}", start + M);
    for half in halves {
        assert!(count == 0 || half.len() >= (count - 1) * stride + 4 * rows, "activations");
    }
    for blocks in blocks {
        assert_eq!(blocks.len(), count, "groups of other lengths");
    }
    let mut sums = [[s.zero(); N]; M];
    for m in 0..M {
        for n in 0..N {
            sums[m][n] = s.load(&out[m * N + n]);
        }
    }
    for i in 0..count {
        for (half, inputs) in halves.iter().enumerate() {
            let mut weights = [s.zero(); N];
            for n in 0..N {
                // SAFETY: i < count, the length of every group (asserted above).
                weights[n] = R::half(s, unsafe { blocks[n].get_unchecked(i) }, half);
                if FLUSH {
                    weights[n] = flush_lanes(s, weights[n]);
                }
            }
            let inputs = opaque(inputs.as_ptr().wrapping_add(i * stride + 4 * start));
            for (m, sums) in sums.iter_mut().enumerate() {
                // SAFETY: i < count and start + m < rows, so these four bytes lie in the part of
                // `inputs` that the assertion above has measured; the read is an unaligned one.
                let x = unsafe { inputs.add(4 * m).cast::<f32>().read_unaligned() };
                let x = s.splat(if FLUSH { flush(x) } else { x });
                for n in 0..N {
                    sums[n] = s.fma(weights[n], x, sums[n]);
                    if FLUSH {
                        sums[n] = flush_lanes(s, sums[n]);
                    }
                }
            }
        }
    }
    for m in 0..M {
        for n in 0..N {
            s.store(sums[m][n], &mut out[m * N + n]);
        }
    }
}

/// Numbers below 2^-126 become zero.
#[inline(always)]
pub(super) fn flush(x: f32) -> f32 {
    let keep = if x.to_bits() & 0x7f80_0000 == 0 { 0x8000_0000 } else { u32::MAX };
    f32::from_bits(x.to_bits() & keep)
}

#[inline(always)]
fn flush_lanes<S: Simd>(s: S, a: S::F) -> S::F {
    let mut lanes = [0.0; LANES];
    s.store(a, &mut lanes);
    s.load(&lanes.map(flush))
}
