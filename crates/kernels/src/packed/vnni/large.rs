//! Products of blocks of 256.

use super::super::activations::blocks256;
use super::{DIRECT_BATCH_MAX, Group, Job, Sink, broadcast, by_rows, panel, write};
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

#[inline(always)]
pub(super) fn multiply_large<W: Large>(
    v: Avx512Vnni,
    job: Job<'_>,
    sink: &mut Sink<'_, '_>,
    scratch: &mut Vec<f32>,
) {
    if job.x.batch <= DIRECT_BATCH_MAX {
        for (index, group) in job.groups::<W::Block, W::Rest>() {
            by_rows!(
                job.x.batch,
                [1, 2, 3, 4],
                tile::<Direct<W>>,
                (v, &group, job.x.bytes, 0, index, sink)
            );
        }
        return;
    }
    let blocks = job.layout.blocks;
    let panel = panel::<PanelBlock>(scratch, blocks);
    let rests = vec![[]; blocks];
    for (index, group) in job.groups::<W::Block, W::Rest>() {
        unpack::<Direct<W>>(v, &group, panel);
        let group = Group { blocks: &*panel, rests: &rests };
        match (W::LEN, W::MINIMUM) {
            (32, _) => tiles::<Panel<32, true>>(v, job, &group, index, sink),
            (_, true) => tiles::<Panel<16, true>>(v, job, &group, index, sink),
            (_, false) => tiles::<Panel<16, false>>(v, job, &group, index, sink),
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
        for part in 0..8 {
            for i in 0..8 {
                v.store(W::weights(v, block, part, i), &mut out[8 * part + i]);
            }
        }
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

fn tiles<W: Prepared>(
    v: Avx512Vnni,
    job: Job<'_>,
    group: &Group<'_, W::Block, W::Rest>,
    index: usize,
    sink: &mut Sink<'_, '_>,
) {
    v.vectorize(
        #[inline(always)]
        || {
            for (first, rows, x) in job.tiles() {
                by_rows!(
                    rows,
                    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
                    tile::<W>,
                    (v, group, x, first, index, sink)
                );
            }
        },
    );
}

/// `M` rows of activations with a group.
fn tile<W: Prepared, const M: usize>(
    v: Avx512Vnni,
    group: &Group<'_, W::Block, W::Rest>,
    x: &[u8],
    first: usize,
    index: usize,
    sink: &mut Sink<'_, '_>,
) {
    v.vectorize(
        #[inline(always)]
        || write(sink, first, index, &products::<W, M>(v, group, x)),
    );
}

#[inline(always)]
fn products<W: Prepared, const M: usize>(
    v: Avx512Vnni,
    group: &Group<'_, W::Block, W::Rest>,
    x: &[u8],
) -> [[f32; PACKED_GROUP]; M] {
    let mut sums = [v.splat_f32(0.0); M];
    let records = x.chunks_exact(M * blocks256::BYTES);
    for ((block, rest), x) in group.blocks.iter().zip(group.rests).zip(records) {
        // SAFETY: here and below, `x` has M * BYTES bytes: M of each field, field after field.
        let at = |at: usize| unsafe { broadcast(v, x, at) };
        let scales = W::prepare(v, block);
        let mut parts = [v.splat_f32(0.0); M];
        for index in 0..256 / W::LEN {
            let mut products = [v.splat(0); M];
            if !W::MINIMUM {
                for (m, product) in products.iter_mut().enumerate() {
                    *product = at(M * blocks256::OFFSETS + 64 * m + 4 * index);
                }
            }
            for i in 0..W::LEN / 4 {
                let element = W::LEN * index + 4 * i;
                let weights = W::weights(v, block, element / 32, element % 32 / 4);
                for (m, product) in products.iter_mut().enumerate() {
                    *product = v.dot_bytes(*product, weights, at(256 * m + element));
                }
            }
            let scale = W::scale(v, block, scales, index);
            for m in 0..M {
                parts[m] = v.fma(v.to_f32(products[m]), scale, parts[m]);
            }
        }
        let (scale, minimum) = W::head(v, block, rest);
        for m in 0..M {
            let x_scale = v.as_f32(at(M * blocks256::SCALE + 4 * m));
            sums[m] = v.fma(parts[m], v.mul(scale, x_scale), sums[m]);
            if W::MINIMUM {
                let mut taken = v.splat(0);
                for i in 0..128 / W::LEN {
                    let x_sums = if W::LEN == 32 {
                        at(M * blocks256::SUMS32 + 16 * m + 4 * i)
                    } else {
                        at(M * blocks256::SUMS16 + 32 * m + 4 * i)
                    };
                    taken = v.dot_words(taken, W::minimums(v, block, scales, i), x_sums);
                }
                sums[m] = v.fnma(v.to_f32(taken), v.mul(minimum, x_scale), sums[m]);
            }
        }
    }
    sums.map(|sum| v.floats(sum))
}
