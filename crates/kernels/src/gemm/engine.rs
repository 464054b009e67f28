//! The register tile: some rows of the left operand with a panel of the right one, each element
//! of the product in its own lane of a register for all units.

use super::Onto;
use super::panel::{Layout, Line};
use crate::dispatch::Compiled;
use crate::packed::sweep::{opaque, prefetch};
#[cfg(target_arch = "x86_64")]
use crate::x86_64::{avx2::Avx2, avx512::Avx512, avx512_bf16::Avx512Bf16};
use std::marker::PhantomData;

/// What multiplies.
pub(super) trait Engine: Copy {
    /// Sixteen sums.
    type Sum: Copy;
    /// Sixteen words.
    type Words: Copy;

    /// Runs `f`, and what inlines into it, compiled for this engine's instructions.
    fn compiled<R>(self, f: impl FnOnce() -> R) -> R;

    fn zero(self) -> Self::Sum;
    fn load(self, from: &[f32; 16]) -> Self::Sum;
    fn store(self, sum: Self::Sum, to: &mut [f32; 16]);
    fn words(self, line: &Line) -> Self::Words;
    /// One word in all lanes.
    fn splat(self, word: u32) -> Self::Words;
    fn step(self, sum: Self::Sum, left: Self::Words, right: Self::Words) -> Self::Sum;
}

/// An engine with its register tile.
pub(super) trait Tiles: Engine {
    /// Rows of a tile, at most sixteen.
    const ROWS: usize;
    /// Lines of a unit of the right operand's panels.
    const LINES: usize;

    fn tile<L: Layout>(self, tile: Tile<'_>);
    /// The same with numbers below 2^-126 read and written as zero.
    fn tile_flushed<L: Layout>(self, tile: Tile<'_>);
}

/// A tile to be computed.
pub(super) struct Tile<'a> {
    /// The left operand's, of which some rows are meant.
    pub(super) left: &'a [u32],
    /// Of the left operand where it lies.
    pub(super) left_stride: usize,
    pub(super) first: usize,
    pub(super) rows: usize,
    pub(super) right: &'a [Line],
    /// Lines from a unit of the right operand to the next.
    pub(super) right_stride: usize,
    pub(super) units: usize,
    pub(super) onto: Onto,
    /// Whole lines of each row.
    pub(super) out: &'a mut [f32],
    pub(super) stride: usize,
}

/// f32 by fused multiply-adds.
#[derive(Clone, Copy)]
pub(super) struct Floats<S>(pub(super) S);

/// The same with numbers below 2^-126 read and written as zero.
#[derive(Clone, Copy)]
pub(super) struct Flushed<S>(S);

impl<S: Compiled> Engine for Floats<S> {
    type Sum = S::F;
    type Words = S::F;

    #[inline(always)]
    fn compiled<R>(self, f: impl FnOnce() -> R) -> R {
        self.0.compiled(f)
    }
    #[inline(always)]
    fn zero(self) -> S::F {
        self.0.zero()
    }
    #[inline(always)]
    fn load(self, from: &[f32; 16]) -> S::F {
        self.0.load(from)
    }
    #[inline(always)]
    fn store(self, sum: S::F, to: &mut [f32; 16]) {
        self.0.store(sum, to);
    }
    #[inline(always)]
    fn words(self, line: &Line) -> S::F {
        self.0.load(line.floats())
    }
    #[inline(always)]
    fn splat(self, word: u32) -> S::F {
        self.0.splat(f32::from_bits(word))
    }
    #[inline(always)]
    fn step(self, sum: S::F, left: S::F, right: S::F) -> S::F {
        self.0.fma(left, right, sum)
    }
}

impl<S: Compiled> Engine for Flushed<S> {
    type Sum = S::F;
    type Words = S::F;

    #[inline(always)]
    fn compiled<R>(self, f: impl FnOnce() -> R) -> R {
        self.0.compiled(f)
    }
    #[inline(always)]
    fn zero(self) -> S::F {
        self.0.zero()
    }
    #[inline(always)]
    fn load(self, from: &[f32; 16]) -> S::F {
        self.0.load(&flush_all(*from))
    }
    #[inline(always)]
    fn store(self, sum: S::F, to: &mut [f32; 16]) {
        self.0.store(sum, to);
    }
    #[inline(always)]
    fn words(self, line: &Line) -> S::F {
        self.0.load(line.floats())
    }
    #[inline(always)]
    fn splat(self, word: u32) -> S::F {
        self.0.splat(f32::from_bits(word))
    }
    #[inline(always)]
    fn step(self, sum: S::F, left: S::F, right: S::F) -> S::F {
        let mut lanes = [0.0; 16];
        self.0.store(self.0.fma(left, right, sum), &mut lanes);
        self.0.load(&flush_all(lanes))
    }
}

#[inline(always)]
fn flush_all(mut lanes: [f32; 16]) -> [f32; 16] {
    for lane in &mut lanes {
        *lane = super::spec::flush(*lane);
    }
    lanes
}

#[cfg(target_arch = "x86_64")]
impl Engine for Avx512Bf16 {
    type Sum = std::arch::x86_64::__m512;
    type Words = crate::x86_64::avx512_bf16::Pairs;

    #[inline(always)]
    fn compiled<R>(self, f: impl FnOnce() -> R) -> R {
        self.vectorize(f)
    }
    #[inline(always)]
    fn zero(self) -> Self::Sum {
        Avx512Bf16::zero(self)
    }
    #[inline(always)]
    fn load(self, from: &[f32; 16]) -> Self::Sum {
        self.load_f32(from)
    }
    #[inline(always)]
    fn store(self, sum: Self::Sum, to: &mut [f32; 16]) {
        self.store_f32(sum, to);
    }
    #[inline(always)]
    fn words(self, line: &Line) -> Self::Words {
        Avx512Bf16::load(self, line.bytes())
    }
    #[inline(always)]
    fn splat(self, word: u32) -> Self::Words {
        Avx512Bf16::splat(self, word as i32)
    }
    #[inline(always)]
    fn step(self, sum: Self::Sum, left: Self::Words, right: Self::Words) -> Self::Sum {
        self.dot(sum, left, right)
    }
}

/// Calls the kernel whose number of rows is the tile's.
macro_rules! by_rows {
    ($e:expr, $tile:expr, [$($rows:literal)+], $lines:literal) => {
        match $tile.rows {
            $($rows => kernel::<_, L, $rows, $lines>($e, $tile),)+
            rows => unreachable!("a tile of {rows} rows"),
        }
    };
}

/// A tile some rows at a time: flushing needs registers.
#[inline(always)]
fn piecewise(mut tile: Tile<'_>, step: usize, mut f: impl FnMut(Tile<'_>)) {
    let (rows, stride) = (tile.first + tile.rows, tile.stride);
    while tile.first < rows {
        let step = if rows - tile.first >= step { step } else { 1 };
        f(Tile { rows: step, out: &mut *tile.out, ..tile });
        tile.first += step;
        if tile.first < rows {
            tile.out = &mut tile.out[step * stride..];
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Tiles for Floats<Avx512> {
    const ROWS: usize = 14;
    const LINES: usize = 2;

    fn tile<L: Layout>(self, tile: Tile<'_>) {
        by_rows!(self, tile, [1 2 3 4 5 6 7 8 9 10 11 12 13 14], 2);
    }
    fn tile_flushed<L: Layout>(self, tile: Tile<'_>) {
        piecewise(tile, 4, |tile| by_rows!(Flushed(self.0), tile, [1 4], 2));
    }
}

#[cfg(target_arch = "x86_64")]
impl Tiles for Floats<Avx2> {
    const ROWS: usize = 6;
    const LINES: usize = 1;

    fn tile<L: Layout>(self, tile: Tile<'_>) {
        by_rows!(self, tile, [1 2 3 4 5 6], 1);
    }
    fn tile_flushed<L: Layout>(self, tile: Tile<'_>) {
        piecewise(tile, 2, |tile| by_rows!(Flushed(self.0), tile, [1 2], 1));
    }
}

#[cfg(target_arch = "x86_64")]
impl Tiles for Avx512Bf16 {
    const ROWS: usize = 14;
    const LINES: usize = 2;

    fn tile<L: Layout>(self, tile: Tile<'_>) {
        by_rows!(self, tile, [1 2 3 4 5 6 7 8 9 10 11 12 13 14], 2);
    }
    fn tile_flushed<L: Layout>(self, tile: Tile<'_>) {
        // The instruction flushes by itself.
        self.tile::<L>(tile);
    }
}

#[inline(never)]
fn kernel<E: Engine, L: Layout, const M: usize, const N: usize>(e: E, tile: Tile<'_>) {
    e.compiled(
        #[inline(always)]
        || products::<E, L, M, N>(e, tile),
    );
}

/// Lines of the right operand's panel that are asked for ahead.
const AHEAD: usize = 32;

/// Asks for a line to come to the first-level cache.
#[inline(always)]
fn prefetch_near(line: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing that the program sees and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

/// The operands of a tile.
struct Step<L> {
    /// Its first row.
    left: *const u32,
    left_stride: usize,
    right: *const Line,
    right_stride: usize,
    layout: PhantomData<L>,
}

/// Rows that are addressed from one register.
const NEAR: usize = 3;

impl<L: Layout> Step<L> {
    /// Multiplies a unit.
    ///
    /// # Safety
    /// `left` has the unit of `M` rows, and `right` has `N` lines of it.
    #[inline(always)]
    unsafe fn run<E: Engine, const M: usize, const N: usize>(
        &self,
        e: E,
        unit: usize,
        sums: &mut [[E::Sum; N]; M],
    ) {
        let mut panel = [e.splat(0); N];
        let right = self.right.wrapping_add(unit * self.right_stride);
        let later = right.wrapping_add(AHEAD / N * self.right_stride);
        for (n, words) in panel.iter_mut().enumerate() {
            // SAFETY: the caller promises these lines.
            *words = e.words(unsafe { &*right.add(n) });
            prefetch_near(later.wrapping_add(n).cast());
        }
        let row = L::row(self.left_stride);
        let mut near = self.left.wrapping_add(unit * L::unit(self.left_stride));
        for (m, sums) in sums.iter_mut().enumerate() {
            let far = L::ROW.is_none();
            let step = if far { m % NEAR } else { m };
            if far && m > 0 && step == 0 {
                // Otherwise the compiler would keep a register for each row, or rather memory.
                near = opaque(near.wrapping_add(NEAR * row).cast()).cast();
            }
            // SAFETY: the caller promises this row.
            let word = e.splat(unsafe { *near.add(step * row) });
            for (sum, words) in sums.iter_mut().zip(panel) {
                *sum = e.step(*sum, word, words);
            }
        }
    }
}

/// `M` rows, `N` lines.
#[inline(always)]
#[expect(
    clippy::needless_range_loop,
    reason = "iterators put sums into memory and take a fifth more"
)]
fn products<E: Engine, L: Layout, const M: usize, const N: usize>(
    e: E,
    Tile { left, left_stride, first, right, right_stride, units, onto, out, stride, .. }: Tile<'_>,
) {
    let row = L::row(left_stride);
    let last = (first + M - 1) * row + units.saturating_sub(1) * L::unit(left_stride);
    assert!(last < left.len(), "a left tile of other size");
    let last = units.saturating_sub(1) * right_stride + N;
    assert!(last <= right.len(), "a panel of other size");
    debug_assert!(right_stride >= N || units == 1, "units that overlap");
    assert!((M - 1) * stride + 16 * N <= out.len(), "out ends inside a tile");
    let out = out.as_mut_ptr();
    let mut sums = [[e.zero(); N]; M];
    if onto == Onto::Add {
        for m in 0..M {
            for n in 0..N {
                // SAFETY: row m < M begins at m * stride and has 16 * N elements (asserted).
                sums[m][n] = e.load(unsafe { &*out.add(m * stride + 16 * n).cast() });
            }
        }
    }
    let left = left[first * row..].as_ptr();
    let right = right.as_ptr();
    let step = Step::<L> { left, left_stride, right, right_stride, layout: PhantomData };
    // The next panel's tile is asked for, a row at a time.
    let rows = units.min(M);
    for unit in 0..rows {
        for n in 0..N {
            prefetch(out.wrapping_add(unit * stride + 16 * (N + n)).cast());
        }
        // SAFETY: the tile and the panel hold `units` units (asserted), and this is one of them.
        unsafe { step.run(e, unit, &mut sums) };
    }
    for unit in rows..units {
        // SAFETY: the tile and the panel hold `units` units (asserted), and this is one of them.
        unsafe { step.run(e, unit, &mut sums) };
    }
    for m in 0..M {
        for n in 0..N {
            // SAFETY: as for the loads; `out` is borrowed exclusively.
            e.store(sums[m][n], unsafe { &mut *out.add(m * stride + 16 * n).cast() });
        }
    }
}
