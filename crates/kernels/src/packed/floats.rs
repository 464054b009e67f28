//! Products of plain floats by f32 multiply-adds, written once over the sixteen lanes of `Simd`: a
//! lane is a row. A few rows of activations meet the weights as they lie; more of them a panel, a
//! piece of some groups widened once for all tiles, which stays in the first-level cache.
//!
//! The order of bfloat16's sums is that of `vdpbf16ps`, which reads and writes numbers below 2^-126
//! as zero. Multiply-adds do not, yet mostly cannot differ: a product of two bfloat16 is a multiple
//! of 2^(a + b - 14) if none of them is below 2^a and 2^b, and so is every sum of such products,
//! rounded or not. Where this multiple is 2^-126 at least, no sum is below it but zero. Where it is
//! not, sums are flushed step by step.

use super::layout::Layout;
use super::{ACTIVATION_TILE, Activations, PACKED_GROUP, PackedRows, Sink, activation_bytes};
use crate::simd::{LANES, Simd};
#[cfg(target_arch = "x86_64")]
use crate::x86_64::{avx2::Avx2, avx512::Avx512};
use crate::{DType, Level};
use std::marker::PhantomData;

/// Products of sixteen rows with one row of activations.
type Lanes = [f32; PACKED_GROUP];

/// A pair of weights of sixteen rows.
type Line = [u8; 64];

/// Bytes of activations that the groups of a band are multiplied with in turn: they stay in the
/// second-level cache.
const CHUNK_BYTES: usize = 1 << 20;

/// Tiles of a chunk at most.
const CHUNK_TILES: usize = 32;

/// Pairs of a piece.
const PIECE: usize = 96;

/// The least sum of two biased exponents (the smallest of all weights and of all activations) with
/// which no sum is subnormal: (a - 127) + (b - 127) - 14 >= -126.
const SAFE_EXPONENTS: u32 = 142;

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
    let (lines, rest) = bytes.as_chunks::<64>();
    // Zero wraps to the largest.
    let rank = |bits: &[u8; 2]| (u16::from_le_bytes(*bits) & 0x7fff).wrapping_sub(1);
    let mut least = [u16::MAX; 32];
    for line in lines {
        for (least, bits) in least.iter_mut().zip(line.as_chunks::<2>().0) {
            *least = rank(bits).min(*least);
        }
    }
    let rest = rest.as_chunks::<2>().0.iter().map(rank).min().unwrap_or(u16::MAX);
    u32::from(least.into_iter().fold(rest, u16::min) >> 7)
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
        (true, ..=4) => job.run::<4, false>(sink, scratch),
        (true, ..=ACTIVATION_TILE) | (false, ..=2) => job.run::<2, false>(sink, scratch),
        (true, _) => job.run::<2, true>(sink, scratch),
        (false, ..=6) => job.run::<1, false>(sink, scratch),
        (false, _) => job.run::<1, true>(sink, scratch),
    }
}

/// The operands, cut to groups, tiles and chunks.
struct Job<'a, S, W> {
    s: S,
    x: Activations<'a>,
    groups: Vec<&'a [Line]>,
    /// Of a row.
    pairs: usize,
    /// Bytes of a pair of activations.
    pair_bytes: usize,
    chunk_rows: usize,
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
        let tile_bytes = 8 * pairs * ACTIVATION_TILE;
        let chunk_rows = (CHUNK_BYTES / tile_bytes).clamp(1, CHUNK_TILES) * ACTIVATION_TILE;
        let pair_bytes = activation_bytes(x.class, 1, 2);
        Job { s, x, groups, pairs, pair_bytes, chunk_rows, format: PhantomData }
    }

    /// All products, `N` groups at a time; `PANEL`: weights are widened before.
    #[inline(always)]
    fn run<const N: usize, const PANEL: bool>(
        &self,
        sink: &mut Sink<'_, '_>,
        scratch: &mut Vec<f32>,
    ) {
        let rows_max = self.chunk_rows.min(self.x.batch);
        let mut memory = Memory::new(
            scratch,
            if PANEL { N * PIECE } else { 0 },
            if W::BF16 { rows_max * self.pairs } else { 0 },
            rows_max * N,
        );
        let row_bytes = self.pairs * self.pair_bytes;
        for (index, x) in self.x.bytes.chunks(self.chunk_rows * row_bytes).enumerate() {
            let rows = x.len() / row_bytes;
            let exponents = memory.widen_inputs::<W>(x, ACTIVATION_TILE * row_bytes);
            for first in (0..self.groups.len()).step_by(N) {
                memory.sums[..rows * N].fill([0.0; LANES]);
                for from in (0..self.pairs).step_by(PIECE) {
                    self.add_piece::<N, PANEL>(&mut memory, x, &exponents, first, from);
                }
                for (m, sums) in memory.sums[..rows * N].chunks_exact(N).enumerate() {
                    for (n, sums) in sums.iter().enumerate().take(self.groups.len() - first) {
                        sink.write(index * self.chunk_rows + m, first + n, sums);
                    }
                }
            }
        }
    }

    /// Adds the products of the pairs from `from` of `N` groups with a chunk of activations.
    #[inline(always)]
    fn add_piece<const N: usize, const PANEL: bool>(
        &self,
        memory: &mut Memory<'_>,
        x: &[u8],
        exponents: &[u32; CHUNK_TILES],
        first: usize,
        from: usize,
    ) {
        let count = PIECE.min(self.pairs - from);
        // Past the end, the last group again.
        let lines: [&[Line]; N] = std::array::from_fn(|n| {
            &self.groups[(first + n).min(self.groups.len() - 1)][from..from + count]
        });
        let mut exponent = u32::MAX / 2;
        for (n, lines) in lines.iter().enumerate() {
            if PANEL {
                for (line, out) in lines.iter().zip(&mut memory.panel[n * PIECE..]) {
                    self.s.store(W::half(self.s, line, 0), &mut out[0]);
                    self.s.store(W::half(self.s, line, 1), &mut out[1]);
                }
            }
            if W::BF16 {
                exponent = exponent.min(smallest_exponent(lines.as_flattened()));
            }
        }
        let panel =
            std::array::from_fn(|n| if PANEL { &memory.panel[n * PIECE..][..count] } else { &[] });
        let rows = x.len() / (self.pairs * self.pair_bytes);
        for (tile, sums) in memory.sums[..rows * N].chunks_mut(N * ACTIVATION_TILE).enumerate() {
            let rows = sums.len() / N;
            let at = (tile * ACTIVATION_TILE * self.pairs + from * rows) * self.pair_bytes;
            let inputs = if W::BF16 {
                let len = count * rows * 4;
                let halves = memory.wide.each_ref().map(|half| &half[at..][..len]);
                Inputs { halves, stride: 4 * rows, rows, start: 0 }
            } else {
                let x = &x[at..][..count * rows * 8];
                Inputs { halves: [x, &x[4 * rows..]], stride: 8 * rows, rows, start: 0 }
            };
            let safe = !W::BF16
                || exponent > 0
                    && exponents[tile] > 0
                    && exponent + exponents[tile] >= SAFE_EXPONENTS;
            match (safe, PANEL) {
                (true, true) => cover::<S, Panel, _, N, false>(self.s, panel, inputs, sums),
                (true, false) => cover::<S, Direct<W>, _, N, false>(self.s, lines, inputs, sums),
                (false, _) => cover::<S, Direct<W>, _, N, true>(self.s, lines, inputs, sums),
            }
        }
    }
}

/// Working memory.
struct Memory<'a> {
    /// Weights, widened: `PIECE` pairs of each group.
    panel: &'a mut [[Lanes; 2]],
    /// Activations, widened: the first factors of pairs, and the second.
    wide: [&'a mut [u8]; 2],
    /// `[rows, N]`.
    sums: &'a mut [Lanes],
}

impl<'a> Memory<'a> {
    fn new(scratch: &'a mut Vec<f32>, panel: usize, wide: usize, sums: usize) -> Self {
        let lines = 2 * panel + 2 * wide.div_ceil(LANES) + sums;
        if scratch.len() < (lines + 1) * LANES {
            scratch.resize((lines + 1) * LANES, 0.0);
        }
        let offset = scratch.as_ptr().align_offset(64).min(LANES);
        let lines = &mut scratch[offset..].as_chunks_mut::<LANES>().0[..lines];
        let (panel, lines) = lines.split_at_mut(2 * panel);
        let (first, lines) = lines.split_at_mut(wide.div_ceil(LANES));
        let (second, sums) = lines.split_at_mut(wide.div_ceil(LANES));
        let wide = [first, second].map(|half| bytes_mut(half.as_flattened_mut()));
        Memory { panel: panel.as_chunks_mut().0, wide, sums }
    }

    /// Widens pairs of bfloat16; the smallest exponent of each tile.
    #[inline(always)]
    fn widen_inputs<W: Format>(&mut self, x: &[u8], tile_bytes: usize) -> [u32; CHUNK_TILES] {
        let mut exponents = [0; CHUNK_TILES];
        if !W::BF16 {
            return exponents;
        }
        let [first, second] = self.wide.each_mut().map(|half| half.as_chunks_mut::<4>().0);
        for ((pair, first), second) in x.as_chunks::<4>().0.iter().zip(first).zip(second) {
            let pair = u32::from_le_bytes(*pair);
            *first = widen(pair, 0).to_le_bytes();
            *second = widen(pair, 1).to_le_bytes();
        }
        for (tile, exponent) in x.chunks(tile_bytes).zip(&mut exponents) {
            *exponent = smallest_exponent(tile);
        }
        exponents
    }
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
            for (m, sums) in sums.iter_mut().enumerate() {
                // SAFETY: i < count and start + m < rows, so these four bytes lie in the part of
                // `inputs` that the assertion above has measured; the read is an unaligned one.
                let x = unsafe {
                    inputs.as_ptr().add(i * stride + 4 * (start + m)).cast::<f32>().read_unaligned()
                };
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

/// A token that compiles a function for its instructions.
trait Compiled: Simd {
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
