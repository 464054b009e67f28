//! Products of blocks of 256.

use super::super::activations::blocks256;
use super::super::sweep::opaque;
use super::{ByteArray, Group, Kernel, Lanes, TilePart, broadcast, broadcast_from, prefetch};
use crate::x86_64::avx512_vnni::{Avx512Vnni, F, I};

/// A format of blocks of 256, sixteen rows at a time.
pub(super) trait LargeFormat {
    /// The words of a block.
    type Block: ByteArray;
    /// The rest of a block.
    type Rest: ByteArray;
    /// Elements of a sub-block: 16 or 32.
    const LEN: usize;
    /// Elements are `scale * scales[i] * q - minimum * minimums[i]`; otherwise `scale * scales[i] *
    /// (q - 32)`.
    const MINIMUM: bool;
    /// The format as a panel.
    type Panel: Prepared<Block = PanelBlock, Rest = [u8; 0]>;
    /// Elements `32 * part + 4 * i ..` as unsigned bytes, `i` and `part` below 8.
    fn weights(v: Avx512Vnni, block: &Self::Block, part: usize, i: usize) -> I;
    /// Byte i of vector j of each: the scale and the minimum of sub-block 4 j + i.
    fn scales(v: Avx512Vnni, block: &Self::Block) -> ([I; 4], [I; 4]);
    /// Scale and minimum of the whole block.
    fn head(v: Avx512Vnni, block: &Self::Block, rest: &Self::Rest) -> (F, F);
}

/// What the product reads beside the bytes: for a format as packed, and for a panel.
pub(super) trait Prepared {
    type Block: ByteArray;
    type Rest: ByteArray;
    const LEN: usize;
    const MINIMUM: bool;
    type Panel: Prepared<Block = PanelBlock, Rest = [u8; 0]>;
    /// Whether unpacking is best compiled for each part by itself: for formats as packed.
    const UNROLL: bool;
    type Scales: Copy;
    fn prepare(v: Avx512Vnni, block: &Self::Block) -> Self::Scales;
    fn weights(v: Avx512Vnni, block: &Self::Block, part: usize, i: usize) -> I;
    fn scale(v: Avx512Vnni, block: &Self::Block, scales: Self::Scales, i: usize) -> F;
    /// Pairs of minimums as 16-bit numbers, in the order of the sums of activations.
    fn minimums(v: Avx512Vnni, block: &Self::Block, scales: Self::Scales, i: usize) -> I;
    fn head(v: Avx512Vnni, block: &Self::Block, rest: &Self::Rest) -> (F, F);
}

pub(super) struct Direct<W>(std::marker::PhantomData<W>);

impl<W: LargeFormat> Prepared for Direct<W> {
    type Block = W::Block;
    type Rest = W::Rest;
    const LEN: usize = W::LEN;
    const MINIMUM: bool = W::MINIMUM;
    type Panel = W::Panel;
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
        let bytes = if i.is_multiple_of(2) { v.left::<8>(bytes) } else { bytes };
        v.high_bytes(bytes)
    }
    #[inline(always)]
    fn head(v: Avx512Vnni, block: &W::Block, rest: &W::Rest) -> (F, F) {
        W::head(v, block, rest)
    }
}

/// A block unpacked: bytes, the sub-blocks' scales as f32, pairs of their minimums, scale, minimum.
pub(super) struct Panel<const LEN: usize, const MINIMUM: bool>;

pub(super) type PanelBlock = [[u8; 64]; 90];

impl<const LEN: usize, const MINIMUM: bool> Prepared for Panel<LEN, MINIMUM> {
    type Block = PanelBlock;
    type Rest = [u8; 0];
    const LEN: usize = LEN;
    const MINIMUM: bool = MINIMUM;
    type Panel = Self;
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

/// The kernel of a format as packed.
pub(super) type Large<W> = Whole<Direct<W>>;

/// The kernel of a format or a panel.
pub(super) struct Whole<W>(std::marker::PhantomData<W>);

impl<W: Prepared> Kernel for Whole<W> {
    type Block = W::Block;
    type Rest = W::Rest;
    type Panel = Whole<W::Panel>;
    const PANEL_BLOCKS: usize = 2;
    const X_BYTES: usize = blocks256::BYTES;

    #[inline(always)]
    fn unpack(v: Avx512Vnni, block: &W::Block, rest: &W::Rest, out: &mut PanelBlock) {
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

    #[inline(always)]
    fn multiply<const M: usize, const N: usize>(
        v: Avx512Vnni,
        groups: [Group<'_, W::Block, W::Rest>; N],
        rows: TilePart<'_>,
        out: &mut [Lanes],
    ) {
        let TilePart { x, tile_rows, .. } = rows;
        rows.check::<M>();
        let mut sums = [[v.splat_f32(0.0); N]; M];
        for m in 0..M {
            for n in 0..N {
                sums[m][n] = v.load_f32(&out[m * N + n]);
            }
        }
        for (b, x) in x.chunks_exact(tile_rows * blocks256::BYTES).enumerate() {
            let block = std::array::from_fn(|n| &groups[n].blocks[b]);
            let rest = std::array::from_fn(|n| &groups[n].rests[b]);
            let ahead = std::array::from_fn(|n| groups[n].ahead(b + 1));
            one_block::<W, M, N>(v, block, rest, ahead, TilePart { x, ..rows }, &mut sums);
        }
        for m in 0..M {
            for n in 0..N {
                out[m * N + n] = v.floats(sums[m][n]);
            }
        }
    }
}

/// A block of each group, with a record of activations that has all rows of the tile.
#[inline(always)]
fn one_block<W: Prepared, const M: usize, const N: usize>(
    v: Avx512Vnni,
    block: [&W::Block; N],
    rest: [&W::Rest; N],
    ahead: [&W::Block; N],
    rows: TilePart<'_>,
    sums: &mut [[F; N]; M],
) {
    let TilePart { x, tile_rows, .. } = rows;
    // SAFETY: `x` has tile_rows * BYTES bytes (the caller cut it so), field after field with all
    // rows of each, and `row` gives numbers below tile_rows (the caller checked it).
    let at = |at: usize| unsafe { broadcast(v, x, at) };
    let mut scales = [W::prepare(v, block[0]); N];
    for n in 1..N {
        scales[n] = W::prepare(v, block[n]);
    }
    let mut parts = [[v.splat_f32(0.0); N]; M];
    each_part::<W>(
        #[inline(always)]
        |part| {
            if W::UNROLL {
                // The next block of each group, an eighth at a time.
                let lines = size_of::<W::Block>() / 64;
                for block in ahead {
                    prefetch(block, lines * part / 8..lines * (part + 1) / 8);
                }
            }
            let q = |m: usize| opaque(x.as_ptr().wrapping_add(256 * rows.row::<M>(m) + 32 * part));
            let (first, last) = (q(0), q(M - 1));
            for sub in 0..32 / W::LEN {
                let index = 32 / W::LEN * part + sub;
                let mut products = [[v.splat(0); N]; M];
                if !W::MINIMUM {
                    for (m, products) in products.iter_mut().enumerate() {
                        let from = tile_rows * blocks256::OFFSETS + 64 * rows.row::<M>(m);
                        *products = [at(from + 4 * index); N];
                    }
                }
                for i in W::LEN / 4 * sub..W::LEN / 4 * (sub + 1) {
                    let mut weights = [v.splat(0); N];
                    for n in 0..N {
                        weights[n] = W::weights(v, block[n], part, i);
                    }
                    for (m, products) in products.iter_mut().enumerate() {
                        let row = if m + 1 < M { first.wrapping_add(256 * m) } else { last };
                        // SAFETY: as for `at`.
                        let x = unsafe { broadcast_from(v, row.wrapping_add(4 * i)) };
                        for n in 0..N {
                            products[n] = v.dot_bytes(products[n], weights[n], x);
                        }
                    }
                }
                for n in 0..N {
                    let scale = W::scale(v, block[n], scales[n], index);
                    for m in 0..M {
                        parts[m][n] = v.fma(v.to_f32(products[m][n]), scale, parts[m][n]);
                    }
                }
            }
        },
    );
    for n in 0..N {
        let (scale, minimum) = W::head(v, block[n], rest[n]);
        for m in 0..M {
            let x_scale = v.as_f32(at(tile_rows * blocks256::SCALE + 4 * rows.row::<M>(m)));
            sums[m][n] = v.fma(parts[m][n], v.mul(scale, x_scale), sums[m][n]);
            if W::MINIMUM {
                let mut taken = v.splat(0);
                for i in 0..128 / W::LEN {
                    let (field, bytes) = if W::LEN == 32 {
                        (blocks256::SUMS32, 16)
                    } else {
                        (blocks256::SUMS16, 32)
                    };
                    let x_sums = at(tile_rows * field + bytes * rows.row::<M>(m) + 4 * i);
                    taken = v.dot_words(taken, W::minimums(v, block[n], scales[n], i), x_sums);
                }
                sums[m][n] = v.fnma(v.to_f32(taken), v.mul(minimum, x_scale), sums[m][n]);
            }
        }
    }
}
