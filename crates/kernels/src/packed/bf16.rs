//! bfloat16 by pairs: a lane is a row, its weights are read where they lie. All rows of a tile of
//! activations meet two or four groups at once; a piece of the groups stays in the first-level
//! cache for all tiles.

use super::sweep::{Lanes, Shape, Sweep};
use super::vector::groups::{Job, TilePart, workspace};
use super::{Activations, PACKED_GROUP, PackedRows, Sink};
use crate::x86_64::avx512::Avx512;
use crate::x86_64::avx512_bf16::Avx512Bf16;
use std::ops::Range;

/// Pairs of a piece: two groups of it are 32 KiB.
const PIECE: usize = 256;

/// Rows from which on the widening of weights for f32 multiply-adds is paid for.
const WIDENING_PAYS: usize = 24;

/// False if this CPU has no such instructions, or is faster without: on Intel's they give half of
/// what f32 multiply-adds do (170 of 345 GFLOP/s on two cores of Sapphire Rapids), on AMD's from
/// Zen 4 on twice as much. Some rows wait for memory anyway, and these need no widening.
pub(super) fn multiply(
    token: Avx512,
    x: Activations<'_>,
    weights: PackedRows<'_>,
    sink: &mut Sink<'_, '_>,
    scratch: &mut Vec<f32>,
) -> bool {
    let Some(v) = Avx512Bf16::detect(token) else { return false };
    if weights.cols == 0 || x.batch > WIDENING_PAYS && !v.outpaces_f32() {
        return false;
    }
    let job = Job::new(x, weights);
    let groups = job.weights.as_chunks::<64>().0.chunks_exact(job.layout.words).collect();
    let pairs = Pairs { v, job, groups };
    match x.batch {
        1 => pairs.few::<1>(sink),
        2 => pairs.few::<2>(sink),
        3 => pairs.few::<3>(sink),
        4 => pairs.few::<4>(sink),
        _ => pairs.many(sink, scratch),
    }
    true
}

/// The operands.
struct Pairs<'a> {
    v: Avx512Bf16,
    job: Job<'a>,
    groups: Vec<&'a [[u8; 64]]>,
}

impl Pairs<'_> {
    /// `M` rows with four groups at a time.
    fn few<const M: usize>(&self, sink: &mut Sink<'_, '_>) {
        for first in (0..self.groups.len()).step_by(4) {
            let mut sums = [[[0.0; PACKED_GROUP]; 4]; M];
            // Past the end, the last group again.
            let groups: [_; 4] =
                std::array::from_fn(|n| self.groups[(first + n).min(self.groups.len() - 1)]);
            let rows = TilePart { x: self.job.x.bytes, tile_rows: M, start: 0 };
            tile::<M, 4>(self.v, groups, rows, sums.as_flattened_mut());
            for (m, sums) in sums.iter().enumerate() {
                for (n, sums) in sums.iter().enumerate().take(self.groups.len() - first) {
                    sink.write(m, first + n, sums);
                }
            }
        }
    }

    fn many(&self, sink: &mut Sink<'_, '_>, scratch: &mut Vec<f32>) {
        let (batch, units) = (self.job.x.batch, self.job.layout.words);
        let groups = self.groups.len();
        let shape = Shape { batch, groups, units, piece: PIECE, width: 2 };
        let (_, sums) = workspace(scratch, 0, shape.sums());
        shape.run(sink, sums, &mut Panels { pairs: self, first: 0 });
    }

    /// All rows of a tile with some groups: twelve rows with two are 24 sums.
    fn cover<const N: usize>(
        &self,
        first: usize,
        units: Range<usize>,
        mut rows: TilePart<'_>,
        sums: &mut [Lanes],
    ) {
        let groups: [_; N] = std::array::from_fn(|n| &self.groups[first + n][units.clone()]);
        while rows.start < rows.tile_rows {
            let sums = &mut sums[rows.start * N..];
            let step = [0, 1, 2, 3, 4, 4, 4, 4, 8, 8, 8, 8, 12][rows.tile_rows - rows.start];
            match step {
                12 => tile::<12, N>(self.v, groups, rows, sums),
                8 => tile::<8, N>(self.v, groups, rows, sums),
                4 => tile::<4, N>(self.v, groups, rows, sums),
                3 => tile::<3, N>(self.v, groups, rows, sums),
                2 => tile::<2, N>(self.v, groups, rows, sums),
                _ => tile::<1, N>(self.v, groups, rows, sums),
            }
            rows.start += step;
        }
    }
}

/// Panels are the weights as they lie.
struct Panels<'a> {
    pairs: &'a Pairs<'a>,
    /// The first group.
    first: usize,
}

impl Sweep for Panels<'_> {
    fn start_piece(&mut self, _: Range<usize>, _: Range<usize>) {}

    fn fill(&mut self, first: usize, _: usize, _: Range<usize>) {
        self.first = first;
    }

    fn multiply(&mut self, tile: usize, width: usize, units: Range<usize>, sums: &mut [Lanes]) {
        let (tile_rows, job) = (sums.len() / width, self.pairs.job);
        let at = tile * job.tile_bytes + units.start * 4 * tile_rows;
        let x = &job.x.bytes[at..][..units.len() * 4 * tile_rows];
        let rows = TilePart { x, tile_rows, start: 0 };
        if width == 2 {
            self.pairs.cover::<2>(self.first, units, rows, sums);
        } else {
            self.pairs.cover::<1>(self.first, units, rows, sums);
        }
    }

    fn weights(&self, group: usize, units: Range<usize>) -> &[u8] {
        self.pairs.groups[group][units].as_flattened()
    }
}

/// `M` rows of activations with a piece of `N` groups, added to `out`, `[M, N]`.
#[inline(never)]
fn tile<const M: usize, const N: usize>(
    v: Avx512Bf16,
    groups: [&[[u8; 64]]; N],
    rows: TilePart<'_>,
    out: &mut [Lanes],
) {
    v.vectorize(
        #[inline(always)]
        || products::<M, N>(v, groups, rows, out),
    );
}

#[inline(always)]
fn products<const M: usize, const N: usize>(
    v: Avx512Bf16,
    groups: [&[[u8; 64]]; N],
    TilePart { x, tile_rows, start }: TilePart<'_>,
    out: &mut [Lanes],
) {
    let count = groups[0].len();
    assert!(start + M <= tile_rows && x.len() == count * 4 * tile_rows, "a tile of other size");
    for group in groups {
        assert_eq!(group.len(), count, "groups of other lengths");
    }
    let mut sums = [[v.zero(); N]; M];
    for m in 0..M {
        for n in 0..N {
            sums[m][n] = v.load_f32(&out[m * N + n]);
        }
    }
    for i in 0..count {
        let mut weights = [v.splat(0); N];
        for n in 0..N {
            // SAFETY: i < count, the length of every group (asserted above).
            weights[n] = v.load(unsafe { groups[n].get_unchecked(i) });
        }
        for (m, sums) in sums.iter_mut().enumerate() {
            let at = 4 * (i * tile_rows + start + m);
            // SAFETY: i < count and start + m < tile_rows, so the four bytes lie in the
            // count * tile_rows pairs of `x` (asserted above); the read is an unaligned one.
            let pair = unsafe { x.as_ptr().add(at).cast::<i32>().read_unaligned() };
            for n in 0..N {
                sums[n] = v.dot(sums[n], weights[n], v.splat(pair));
            }
        }
    }
    for m in 0..M {
        for n in 0..N {
            v.store_f32(sums[m][n], &mut out[m * N + n]);
        }
    }
}
