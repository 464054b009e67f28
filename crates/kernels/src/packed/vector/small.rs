//! Products of blocks of 32.

use super::groups::{ByteArray, Column, TilePart, prefetch, word};
use super::tiles::Tiles;
use super::{Kernel, Kind, load_sums, products, store_sums};
use crate::packed::activations::blocks32;
use crate::packed::sweep::Lanes;
use crate::x86_64::byte_vector::{ByteVector, Narrow, NarrowOf};
use std::marker::PhantomData;

/// A format of blocks of 32, a vector of rows at a time. Elements are `scale * q + minimum`;
/// without minimums, `scale * (q - 128)`.
pub(super) trait SmallFormat {
    /// The words of a block.
    type Block: ByteArray;
    /// The rest of a block.
    type Rest: ByteArray;
    type Kind: Kind;
    type Narrow: Narrow;
    /// How many blocks ahead are asked for: two to four KiB of each group. None of a panel.
    const AHEAD: usize = 8;
    /// Elements `4 * i ..` as unsigned bytes, `i` below 8; as `Narrow` says unless `V::DOT_32`.
    fn weights<V: ByteVector>(v: V, block: &Self::Block, part: usize, i: usize) -> V::I;
    fn scale<V: ByteVector>(v: V, block: &Self::Block, rest: &Self::Rest, part: usize) -> V::F;
    fn minimum<V: ByteVector>(v: V, _block: &Self::Block, _part: usize) -> V::F {
        v.splat_f32(0.0)
    }
}

/// A block unpacked: eight lines of bytes, the scales and the minimums as f32.
pub(super) struct Panel<K, B>(PhantomData<(K, B)>);

type PanelBlock = [[u8; 64]; 10];

impl<K: Kind, B: Narrow> SmallFormat for Panel<K, B> {
    type Block = PanelBlock;
    type Rest = [u8; 0];
    type Kind = K;
    type Narrow = B;
    const AHEAD: usize = 0;

    #[inline(always)]
    fn weights<V: ByteVector>(v: V, block: &PanelBlock, part: usize, i: usize) -> V::I {
        v.load(&block[i], part)
    }
    #[inline(always)]
    fn scale<V: ByteVector>(v: V, block: &PanelBlock, _: &[u8; 0], part: usize) -> V::F {
        v.as_f32(v.load(&block[8], part))
    }
    #[inline(always)]
    fn minimum<V: ByteVector>(v: V, block: &PanelBlock, part: usize) -> V::F {
        v.as_f32(v.load(&block[9], part))
    }
}

/// The kernel of a format, or of a panel.
pub(super) struct Small<W>(PhantomData<W>);

impl<V: Tiles, W: SmallFormat> Kernel<V> for Small<W> {
    type Block = W::Block;
    type Rest = W::Rest;
    type Panel = Small<Panel<W::Kind, NarrowOf<V, W::Narrow>>>;
    const PANEL_BLOCKS: usize = 16;
    const X_BYTES: usize = blocks32::BYTES;

    #[inline(always)]
    fn unpack(v: V, block: &W::Block, rest: &W::Rest, out: &mut PanelBlock) {
        for part in 0..V::PARTS {
            for (i, out) in out[..8].iter_mut().enumerate() {
                v.store(W::weights(v, block, part, i), out, part);
            }
            v.store(v.as_bytes(W::scale(v, block, rest, part)), &mut out[8], part);
            if W::Kind::MINIMUM {
                v.store(v.as_bytes(W::minimum(v, block, part)), &mut out[9], part);
            }
        }
    }

    #[inline(always)]
    fn multiply<const M: usize, const N: usize>(
        v: V,
        columns: [Column<'_, W::Block, W::Rest>; N],
        rows: TilePart<'_>,
        out: &mut [Lanes],
    ) {
        rows.check::<V, M>();
        let mut sums = load_sums::<V, M, N>(v, out);
        for (b, x) in rows.x.chunks_exact(rows.tile_rows * blocks32::BYTES).enumerate() {
            if W::AHEAD > 0 {
                for column in columns.iter().step_by(V::PARTS) {
                    prefetch(column.ahead(b + W::AHEAD), 0..size_of::<W::Block>() / 64);
                }
            }
            one_block::<V, W, M, N>(v, columns, b, TilePart { x, ..rows }, &mut sums);
        }
        store_sums(v, sums, out);
    }
}

/// Block `b` of each column, with a record of activations that has all rows of the tile.
#[inline(always)]
fn one_block<V: Tiles, W: SmallFormat, const M: usize, const N: usize>(
    v: V,
    columns: [Column<'_, W::Block, W::Rest>; N],
    b: usize,
    rows: TilePart<'_>,
    sums: &mut [[V::F; N]; M],
) {
    // SAFETY: the record has tile_rows * BYTES bytes (the caller cut it so), field after field with
    // all rows of each, and `row` gives numbers below tile_rows (the caller checked it).
    let at = |at: usize| v.splat(unsafe { word(rows.x, at) });
    let field = |field: usize, m: usize| at(rows.tile_rows * field + 4 * rows.row::<V, M>(m));
    // Here, since a check behind the products would have the compiler move them behind it.
    let block: [&W::Block; N] = std::array::from_fn(|n| &columns[n].blocks[b]);
    let rest: [&W::Rest; N] = std::array::from_fn(|n| &columns[n].rests[b]);
    let mut first = [v.splat(0); M];
    if !W::Kind::MINIMUM && !<NarrowOf<V, W::Narrow>>::SIGNED {
        for (m, first) in first.iter_mut().enumerate() {
            *first = field(blocks32::OFFSET, m);
        }
    }
    let q = rows.bytes::<V, M>(blocks32::LEN, 0);
    let products: [[V::F; N]; M] = products::<V, NarrowOf<V, W::Narrow>, M, N>(
        v,
        8,
        first,
        #[inline(always)]
        |n, i| W::weights(v, block[n], n % V::PARTS, i),
        // SAFETY: as for `at`.
        #[inline(always)]
        |m, i| v.splat(unsafe { q.word(m, 4 * i) }),
    );
    for n in 0..N {
        let scale = W::scale(v, block[n], rest[n], n % V::PARTS);
        for m in 0..M {
            let scale = v.mul(scale, v.as_f32(field(blocks32::SCALE, m)));
            sums[m][n] = v.fma(products[m][n], scale, sums[m][n]);
        }
        if W::Kind::MINIMUM {
            let minimum = W::minimum(v, block[n], n % V::PARTS);
            for (m, sums) in sums.iter_mut().enumerate() {
                sums[n] = v.fma(minimum, v.as_f32(field(blocks32::SUM, m)), sums[n]);
            }
        }
    }
}
