//! bfloat16 by pairs: a lane is a row, its weights are read where they lie. All rows of a tile of
//! activations meet two or four groups at once; a piece of the groups stays in the first-level
//! cache for all tiles.

use super::{CHUNK_BYTES, Job, Lanes, TilePart, workspace};
use crate::packed::{ACTIVATION_TILE, Activations, PACKED_GROUP, PackedRows, Sink};
use crate::x86_64::avx512_bf16::Avx512Bf16;

/// Pairs of a piece: two groups of it are 32 KiB.
const PIECE: usize = 256;

/// False if this CPU has no such instructions, or is faster without: on Intel's they give half of
/// what f32 multiply-adds do (170 of 345 GFLOP/s measured on two cores of Sapphire Rapids), on AMD's
/// from Zen 4 on twice as much. A few rows wait for memory anyway, and these need no widening.
pub(super) fn multiply(
    x: Activations<'_>,
    weights: PackedRows<'_>,
    sink: &mut Sink<'_, '_>,
    scratch: &mut Vec<f32>,
) -> bool {
    let Some(v) = Avx512Bf16::detect() else { return false };
    if x.batch > 4 && !v.outpaces_f32() {
        return false;
    }
    let job = Job::new(x, weights);
    if x.batch <= 4 {
        run(v, job, sink, scratch, job.layout.words, few);
    } else {
        run(v, job, sink, scratch, PIECE, many);
    }
    true
}

/// Multiplies rows of activations with a piece of `N` groups.
type Tile<const N: usize> = fn(Avx512Bf16, [&[[u8; 64]]; N], TilePart<'_>, &mut [Lanes]);

/// `N` groups at a time, in pieces of `piece` pairs.
fn run<const N: usize>(
    v: Avx512Bf16,
    job: Job<'_>,
    sink: &mut Sink<'_, '_>,
    scratch: &mut Vec<f32>,
    piece: usize,
    multiply: Tile<N>,
) {
    let (batch, pairs) = (job.x.batch, job.layout.words);
    let groups = job.weights.as_chunks::<64>().0.chunks_exact(pairs).collect::<Vec<_>>();
    let chunk_tiles = (CHUNK_BYTES / job.tile_bytes).max(1);
    let (_, sums) = workspace(scratch, 0, N * batch.min(chunk_tiles * ACTIVATION_TILE));
    for (index, x) in job.x.bytes.chunks(chunk_tiles * job.tile_bytes).enumerate() {
        let chunk_first = index * chunk_tiles * ACTIVATION_TILE;
        let sums = &mut sums[..N * (batch - chunk_first).min(chunk_tiles * ACTIVATION_TILE)];
        for first in (0..groups.len()).step_by(N) {
            sums.fill([0.0; PACKED_GROUP]);
            for from in (0..pairs).step_by(piece) {
                let count = piece.min(pairs - from);
                // Past the end, the last group again.
                let group: [&[[u8; 64]]; N] = std::array::from_fn(|n| {
                    &groups[(first + n).min(groups.len() - 1)][from..from + count]
                });
                let tiles = x.chunks(job.tile_bytes).zip(sums.chunks_mut(N * ACTIVATION_TILE));
                for (tile, sums) in tiles {
                    let tile_rows = sums.len() / N;
                    let x = &tile[from * 4 * tile_rows..][..count * 4 * tile_rows];
                    multiply(v, group, TilePart { x, tile_rows, start: 0 }, sums);
                }
            }
            for (m, sums) in sums.chunks_exact(N).enumerate() {
                for (n, sums) in sums.iter().enumerate().take(groups.len() - first) {
                    sink.write(chunk_first + m, first + n, sums);
                }
            }
        }
    }
}

/// One to four rows with four groups.
fn few(v: Avx512Bf16, groups: [&[[u8; 64]]; 4], rows: TilePart<'_>, sums: &mut [Lanes]) {
    match rows.tile_rows {
        1 => tile::<1, 4>(v, groups, rows, sums),
        2 => tile::<2, 4>(v, groups, rows, sums),
        3 => tile::<3, 4>(v, groups, rows, sums),
        _ => tile::<4, 4>(v, groups, rows, sums),
    }
}

/// All rows of a tile with two groups: twelve rows are 24 sums.
fn many(v: Avx512Bf16, groups: [&[[u8; 64]]; 2], mut rows: TilePart<'_>, sums: &mut [Lanes]) {
    while rows.start < rows.tile_rows {
        let sums = &mut sums[rows.start * 2..];
        let step = [0, 1, 2, 3, 4, 4, 4, 4, 8, 8, 8, 8, 12][rows.tile_rows - rows.start];
        match step {
            12 => tile::<12, 2>(v, groups, rows, sums),
            8 => tile::<8, 2>(v, groups, rows, sums),
            4 => tile::<4, 2>(v, groups, rows, sums),
            3 => tile::<3, 2>(v, groups, rows, sums),
            2 => tile::<2, 2>(v, groups, rows, sums),
            _ => tile::<1, 2>(v, groups, rows, sums),
        }
        rows.start += step;
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
