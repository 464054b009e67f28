//! Products of blocks of 32.

use super::super::activations::blocks32;
use super::{DIRECT_BATCH_MAX, Group, Job, Rows, Sink, broadcast, cover, few, panel, write};
use crate::packed::layout::PACKED_GROUP;
use crate::x86_64::avx512_vnni::{Avx512Vnni, F, I};

/// A format of blocks of 32, sixteen rows at a time.
pub(super) trait Small {
    /// The words of a block.
    type Block;
    /// The rest of a block.
    type Rest;
    /// Elements are `scale * q + minimum`; otherwise `scale * (q - 128)`.
    const MINIMUM: bool;
    /// Elements `4 * i ..` as unsigned bytes, `i` below 8.
    fn weights(v: Avx512Vnni, block: &Self::Block, i: usize) -> I;
    fn scale(v: Avx512Vnni, block: &Self::Block, rest: &Self::Rest) -> F;
    fn minimum(v: Avx512Vnni, _block: &Self::Block) -> F {
        v.splat_f32(0.0)
    }
}

/// A block unpacked: eight vectors of bytes, the scales and the minimums as f32.
struct Panel<const MINIMUM: bool>;

type PanelBlock = [[u8; 64]; 10];

impl<const MINIMUM: bool> Small for Panel<MINIMUM> {
    type Block = PanelBlock;
    type Rest = [u8; 0];
    const MINIMUM: bool = MINIMUM;

    #[inline(always)]
    fn weights(v: Avx512Vnni, block: &PanelBlock, i: usize) -> I {
        v.load(&block[i])
    }
    #[inline(always)]
    fn scale(v: Avx512Vnni, block: &PanelBlock, _: &[u8; 0]) -> F {
        v.as_f32(v.load(&block[8]))
    }
    #[inline(always)]
    fn minimum(v: Avx512Vnni, block: &PanelBlock) -> F {
        v.as_f32(v.load(&block[9]))
    }
}

#[inline(always)]
pub(super) fn multiply_small<W: Small>(
    v: Avx512Vnni,
    job: Job<'_>,
    sink: &mut Sink<'_, '_>,
    scratch: &mut Vec<f32>,
) {
    if job.x.batch <= DIRECT_BATCH_MAX {
        for (index, group) in job.groups::<W::Block, W::Rest>() {
            few!(tile::<W>, v, &group, job.only_tile(), index, sink);
        }
        return;
    }
    let blocks = job.layout.blocks;
    let panel = panel::<PanelBlock>(scratch, blocks);
    let rests = vec![[]; blocks];
    for chunk in job.chunks() {
        for (index, group) in job.groups::<W::Block, W::Rest>() {
            unpack::<W>(v, &group, panel);
            let group = Group { blocks: &*panel, rests: &rests };
            if W::MINIMUM {
                tiles::<Panel<true>>(v, job.tiles(chunk), &group, index, sink);
            } else {
                tiles::<Panel<false>>(v, job.tiles(chunk), &group, index, sink);
            }
        }
    }
}

#[inline(always)]
fn unpack<W: Small>(v: Avx512Vnni, group: &Group<'_, W::Block, W::Rest>, panel: &mut [PanelBlock]) {
    for ((block, rest), out) in group.blocks.iter().zip(group.rests).zip(panel) {
        for (i, out) in out[..8].iter_mut().enumerate() {
            v.store(W::weights(v, block, i), out);
        }
        v.store(v.as_bytes(W::scale(v, block, rest)), &mut out[8]);
        if W::MINIMUM {
            v.store(v.as_bytes(W::minimum(v, block)), &mut out[9]);
        }
    }
}

/// A chunk of tiles with a group.
fn tiles<'a, W: Small>(
    v: Avx512Vnni,
    chunk: impl Iterator<Item = Rows<'a>>,
    group: &Group<'_, W::Block, W::Rest>,
    index: usize,
    sink: &mut Sink<'_, '_>,
) {
    for rows in chunk {
        cover!(tile::<W>, v, group, rows, index, sink);
    }
}

/// `M` rows of activations with a group.
#[inline(never)]
fn tile<W: Small, const M: usize>(
    v: Avx512Vnni,
    group: &Group<'_, W::Block, W::Rest>,
    rows: Rows<'_>,
    index: usize,
    sink: &mut Sink<'_, '_>,
) {
    v.vectorize(
        #[inline(always)]
        || write(sink, rows.first, index, &products::<W, M>(v, group, rows)),
    );
}

#[inline(always)]
fn products<W: Small, const M: usize>(
    v: Avx512Vnni,
    group: &Group<'_, W::Block, W::Rest>,
    rows: Rows<'_>,
) -> [[f32; PACKED_GROUP]; M] {
    let mut sums = [v.splat_f32(0.0); M];
    let Rows { x, tile_rows, start, .. } = rows;
    assert!(start + M <= tile_rows, "rows {start} to {} of {tile_rows}", start + M);
    let records = x.chunks_exact(tile_rows * blocks32::BYTES);
    for ((block, rest), x) in group.blocks.iter().zip(group.rests).zip(records) {
        // SAFETY: here and below, `x` has tile_rows * BYTES bytes, field after field with all rows
        // of each, and start + M <= tile_rows.
        let at = |at: usize| unsafe { broadcast(v, x, at) };
        let mut products = [v.splat(0); M];
        if !W::MINIMUM {
            for (m, product) in products.iter_mut().enumerate() {
                *product = at(tile_rows * blocks32::OFFSET + 4 * (start + m));
            }
        }
        for i in 0..8 {
            let weights = W::weights(v, block, i);
            for (m, product) in products.iter_mut().enumerate() {
                *product = v.dot_bytes(*product, weights, at(32 * (start + m) + 4 * i));
            }
        }
        let scale = W::scale(v, block, rest);
        for m in 0..M {
            let scale = v.mul(scale, v.as_f32(at(tile_rows * blocks32::SCALE + 4 * (start + m))));
            sums[m] = v.fma(v.to_f32(products[m]), scale, sums[m]);
        }
        if W::MINIMUM {
            let minimum = W::minimum(v, block);
            for (m, sum) in sums.iter_mut().enumerate() {
                *sum =
                    v.fma(minimum, v.as_f32(at(tile_rows * blocks32::SUM + 4 * (start + m))), *sum);
            }
        }
    }
    sums.map(|sum| v.floats(sum))
}
