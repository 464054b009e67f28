//! Products of blocks of 256.

use super::super::activations::blocks256;
use super::{DIRECT_BATCH_MAX, Group, Job, Rows, Sink, broadcast, cover, few, panel, write};
use crate::packed::layout::PACKED_GROUP;
use crate::x86_64::avx512_vnni::{Avx512Vnni, F, I};

/// A format of blocks of 256, sixteen rows at a time.
pub(super) trait Large {
    /// The words of a block.
    type Block;
    /// The rest of a block.
    type Rest;
    /// Elements of a sub-block: 16 or 32.
    const LEN: usize;
    /// Elements are `scale * scales[i] * q - minimum * minimums[i]`; otherwise `scale * scales[i] *
    /// (q - 32)`.
    const MINIMUM: bool;
    /// Elements `32 * part + 4 * i ..` as unsigned bytes, `i` and `part` below 8.
    fn weights(v: Avx512Vnni, block: &Self::Block, part: usize, i: usize) -> I;
    /// Byte i of vector j of each: the scale and the minimum of sub-block 4 j + i.
    fn scales(v: Avx512Vnni, block: &Self::Block) -> ([I; 4], [I; 4]);
    /// Scale and minimum of the whole block.
    fn head(v: Avx512Vnni, block: &Self::Block, rest: &Self::Rest) -> (F, F);
}

/// What the product reads beside the bytes: for a format as packed, and for a panel.
trait Prepared {
    type Block;
    type Rest;
    const LEN: usize;
    const MINIMUM: bool;
    /// Whether unpacking is best compiled for each part by itself.
    const UNROLL: bool;
    type Scales: Copy;
    fn prepare(v: Avx512Vnni, block: &Self::Block) -> Self::Scales;
    fn weights(v: Avx512Vnni, block: &Self::Block, part: usize, i: usize) -> I;
    fn scale(v: Avx512Vnni, block: &Self::Block, scales: Self::Scales, i: usize) -> F;
    /// Pairs of minimums as 16-bit numbers, in the order of the sums of activations.
    fn minimums(v: Avx512Vnni, block: &Self::Block, scales: Self::Scales, i: usize) -> I;
    fn head(v: Avx512Vnni, block: &Self::Block, rest: &Self::Rest) -> (F, F);
}

struct Direct<W>(std::marker::PhantomData<W>);

impl<W: Large> Prepared for Direct<W> {
    type Block = W::Block;
    type Rest = W::Rest;
    const LEN: usize = W::LEN;
    const MINIMUM: bool = W::MINIMUM;
    const UNROLL: bool = true;
    type Scales = ([I; 4], [I; 4]);

    #[inline(always)]
    fn prepare(v: Avx512Vnni, block: &W::Block) -> Self::Scales {
        W::scales(v, block)
    }
    #[inline(always)]
    fn weights(v: Avx512Vnni, block: &W::Block, part: usize, i: usize) -> I {
        W::weights(v, block, part, i)
    }
    #[inline(always)]
    fn scale(v: Avx512Vnni, _: &W::Block, scales: Self::Scales, i: usize) -> F {
        let byte = v.left_by(scales.0[i / 4], 24 - 8 * (i as u32 % 4));
        v.to_f32(v.right_signed::<24>(byte))
    }
    #[inline(always)]
    fn minimums(v: Avx512Vnni, _: &W::Block, scales: Self::Scales, i: usize) -> I {
        let bytes = scales.1[i / 2];
        let bytes = if i % 2 == 0 { v.left::<8>(bytes) } else { bytes };
        v.high_bytes(bytes)
    }
    #[inline(always)]
    fn head(v: Avx512Vnni, block: &W::Block, rest: &W::Rest) -> (F, F) {
        W::head(v, block, rest)
    }
}

/// A block unpacked: bytes, the sub-blocks' scales as f32, pairs of their minimums, scale, minimum.
struct Panel<const LEN: usize, const MINIMUM: bool>;

type PanelBlock = [[u8; 64]; 90];

impl<const LEN: usize, const MINIMUM: bool> Prepared for Panel<LEN, MINIMUM> {
    type Block = PanelBlock;
    type Rest = [u8; 0];
    const LEN: usize = LEN;
    const MINIMUM: bool = MINIMUM;
    const UNROLL: bool = false;
    type Scales = ();

    #[inline(always)]
    fn prepare(_: Avx512Vnni, _: &PanelBlock) {}
    #[inline(always)]
    fn weights(v: Avx512Vnni, block: &PanelBlock, part: usize, i: usize) -> I {
        v.load(&block[8 * part + i])
    }
    #[inline(always)]
    fn scale(v: Avx512Vnni, block: &PanelBlock, (): (), i: usize) -> F {
        v.as_f32(v.load(&block[64 + i]))
    }
    #[inline(always)]
    fn minimums(v: Avx512Vnni, block: &PanelBlock, (): (), i: usize) -> I {
        v.load(&block[80 + i])
    }
    #[inline(always)]
    fn head(v: Avx512Vnni, block: &PanelBlock, _: &[u8; 0]) -> (F, F) {
        (v.as_f32(v.load(&block[88])), v.as_f32(v.load(&block[89])))
    }
}

/// Calls `body` for each 32 elements of a block; unrolled, the part is a constant in each copy.
#[inline(always)]
fn each_part<W: Prepared>(mut body: impl FnMut(usize)) {
    if W::UNROLL {
        body(0);
        body(1);
        body(2);
        body(3);
        body(4);
        body(5);
        body(6);
        body(7);
    } else {
        for part in 0..8 {
            body(part);
        }
    }
}

#[inline(always)]
pub(super) fn multiply_large<W: Large>(
    v: Avx512Vnni,
    job: Job<'_>,
    sink: &mut Sink<'_, '_>,
    scratch: &mut Vec<f32>,
) {
    if job.x.batch <= DIRECT_BATCH_MAX {
        for (index, group) in job.groups::<W::Block, W::Rest>() {
            few!(tile::<Direct<W>>, v, &group, job.only_tile(), index, sink);
        }
        return;
    }
    let blocks = job.layout.blocks;
    let panel = panel::<PanelBlock>(scratch, blocks);
    let rests = vec![[]; blocks];
    for chunk in job.chunks() {
        for (index, group) in job.groups::<W::Block, W::Rest>() {
            unpack::<Direct<W>>(v, &group, panel);
            let group = Group { blocks: &*panel, rests: &rests };
            let tiles = job.tiles(chunk);
            match (W::LEN, W::MINIMUM) {
                (32, _) => run::<Panel<32, true>>(v, tiles, &group, index, sink),
                (_, true) => run::<Panel<16, true>>(v, tiles, &group, index, sink),
                (_, false) => run::<Panel<16, false>>(v, tiles, &group, index, sink),
            }
        }
    }
}

#[inline(always)]
fn unpack<W: Prepared>(
    v: Avx512Vnni,
    group: &Group<'_, W::Block, W::Rest>,
    panel: &mut [PanelBlock],
) {
    const { assert!(W::LEN == 16 || W::MINIMUM, "no format is otherwise") };
    for ((block, rest), out) in group.blocks.iter().zip(group.rests).zip(panel) {
        each_part::<W>(
            #[inline(always)]
            |part| {
                for i in 0..8 {
                    v.store(W::weights(v, block, part, i), &mut out[8 * part + i]);
                }
            },
        );
        let scales = W::prepare(v, block);
        for i in 0..256 / W::LEN {
            v.store(v.as_bytes(W::scale(v, block, scales, i)), &mut out[64 + i]);
        }
        let (scale, minimum) = W::head(v, block, rest);
        v.store(v.as_bytes(scale), &mut out[88]);
        if W::MINIMUM {
            for i in 0..128 / W::LEN {
                v.store(W::minimums(v, block, scales, i), &mut out[80 + i]);
            }
            v.store(v.as_bytes(minimum), &mut out[89]);
        }
    }
}

/// A chunk of tiles with a group.
fn run<'a, W: Prepared>(
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
fn tile<W: Prepared, const M: usize>(
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
fn products<W: Prepared, const M: usize>(
    v: Avx512Vnni,
    group: &Group<'_, W::Block, W::Rest>,
    rows: Rows<'_>,
) -> [[f32; PACKED_GROUP]; M] {
    let mut sums = [v.splat_f32(0.0); M];
    let Rows { x, tile_rows, start, .. } = rows;
    assert!(start + M <= tile_rows, "rows {start} to {} of {tile_rows}", start + M);
    let records = x.chunks_exact(tile_rows * blocks256::BYTES);
    for ((block, rest), x) in group.blocks.iter().zip(group.rests).zip(records) {
        // SAFETY: here and below, `x` has tile_rows * BYTES bytes, field after field with all rows
        // of each, and start + M <= tile_rows.
        let at = |at: usize| unsafe { broadcast(v, x, at) };
        let scales = W::prepare(v, block);
        let mut parts = [v.splat_f32(0.0); M];
        each_part::<W>(
            #[inline(always)]
            |part| {
                for sub in 0..32 / W::LEN {
                    let index = 32 / W::LEN * part + sub;
                    let mut products = [v.splat(0); M];
                    if !W::MINIMUM {
                        for (m, product) in products.iter_mut().enumerate() {
                            *product =
                                at(tile_rows * blocks256::OFFSETS + 64 * (start + m) + 4 * index);
                        }
                    }
                    for i in W::LEN / 4 * sub..W::LEN / 4 * (sub + 1) {
                        let weights = W::weights(v, block, part, i);
                        for (m, product) in products.iter_mut().enumerate() {
                            let x = at(256 * (start + m) + 32 * part + 4 * i);
                            *product = v.dot_bytes(*product, weights, x);
                        }
                    }
                    let scale = W::scale(v, block, scales, index);
                    for m in 0..M {
                        parts[m] = v.fma(v.to_f32(products[m]), scale, parts[m]);
                    }
                }
            },
        );
        let (scale, minimum) = W::head(v, block, rest);
        for m in 0..M {
            let x_scale = v.as_f32(at(tile_rows * blocks256::SCALE + 4 * (start + m)));
            sums[m] = v.fma(parts[m], v.mul(scale, x_scale), sums[m]);
            if W::MINIMUM {
                let mut taken = v.splat(0);
                for i in 0..128 / W::LEN {
                    let x_sums = if W::LEN == 32 {
                        at(tile_rows * blocks256::SUMS32 + 16 * (start + m) + 4 * i)
                    } else {
                        at(tile_rows * blocks256::SUMS16 + 32 * (start + m) + 4 * i)
                    };
                    taken = v.dot_words(taken, W::minimums(v, block, scales, i), x_sums);
                }
                sums[m] = v.fnma(v.to_f32(taken), v.mul(minimum, x_scale), sums[m]);
            }
        }
    }
    sums.map(|sum| v.floats(sum))
}
