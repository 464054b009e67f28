//! Products of blocks of 32.

use super::groups::{ByteArray, Column, Lanes, TilePart, word};
use super::{Kernel, Narrow, products};
use crate::packed::activations::blocks32;
use crate::x86_64::byte_vector::ByteVector;
use std::marker::PhantomData;

/// A format of blocks of 32, a vector of rows at a time.
pub(super) trait SmallFormat: Sized {
    /// The words of a block.
    type Block: ByteArray;
    /// The rest of a block.
    type Rest: ByteArray;
    /// Elements are `scale * q + minimum`; otherwise `scale * (q - 128)`.
    const MINIMUM: bool;
    const NARROW: Narrow;
    /// Elements `4 * i ..` as unsigned bytes, `i` below 8; as `NARROW` says unless `V::DOT_32`.
    fn weights<V: ByteVector>(v: V, block: &Self::Block, part: usize, i: usize) -> V::I;
    fn scale<V: ByteVector>(v: V, block: &Self::Block, rest: &Self::Rest, part: usize) -> V::F;
    fn minimum<V: ByteVector>(v: V, _block: &Self::Block, _part: usize) -> V::F {
        v.splat_f32(0.0)
    }
}

/// A block unpacked: eight lines of bytes, the scales and the minimums as f32.
pub(super) struct Panel<W>(PhantomData<W>);

pub(super) type PanelBlock = [[u8; 64]; 10];

impl<W: SmallFormat> SmallFormat for Panel<W> {
    type Block = PanelBlock;
    type Rest = [u8; 0];
    const MINIMUM: bool = W::MINIMUM;
    const NARROW: Narrow = W::NARROW;

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

/// The kernel of a format as packed.
pub(super) struct Small<W>(PhantomData<W>);

impl<V: ByteVector, W: SmallFormat> Kernel<V> for Small<W> {
    type Block = W::Block;
    type Rest = W::Rest;
    type Panel = Unpacked<W>;
    const PANEL_BLOCKS: usize = 16;
    const X_BYTES: usize = blocks32::BYTES;

    #[inline(always)]
    fn unpack(v: V, block: &W::Block, rest: &W::Rest, out: &mut PanelBlock) {
        for part in 0..V::PARTS {
            for (i, out) in out[..8].iter_mut().enumerate() {
                v.store(W::weights(v, block, part, i), out, part);
            }
            v.store(v.as_bytes(W::scale(v, block, rest, part)), &mut out[8], part);
            if W::MINIMUM {
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
        blocks::<V, W, M, N>(
            v,
            columns,
            rows,
            out,
            #[inline(always)]
            |b| columns.iter().step_by(V::PARTS).for_each(|column| column.prefetch(b)),
        );
    }
}

/// The kernel of its panel.
pub(super) struct Unpacked<W>(PhantomData<W>);

impl<V: ByteVector, W: SmallFormat> Kernel<V> for Unpacked<W> {
    type Block = PanelBlock;
    type Rest = [u8; 0];
    type Panel = Self;
    const PANEL_BLOCKS: usize = 16;
    const X_BYTES: usize = blocks32::BYTES;

    #[inline(always)]
    fn unpack(_: V, block: &PanelBlock, _: &[u8; 0], out: &mut PanelBlock) {
        *out = *block;
    }

    #[inline(always)]
    fn multiply<const M: usize, const N: usize>(
        v: V,
        columns: [Column<'_, PanelBlock, [u8; 0]>; N],
        rows: TilePart<'_>,
        out: &mut [Lanes],
    ) {
        blocks::<V, Panel<W>, M, N>(v, columns, rows, out, |_| {});
    }
}

#[inline(always)]
fn blocks<V: ByteVector, W: SmallFormat, const M: usize, const N: usize>(
    v: V,
    columns: [Column<'_, W::Block, W::Rest>; N],
    TilePart { x, tile_rows, start }: TilePart<'_>,
    out: &mut [Lanes],
    prefetch: impl Fn(usize),
) {
    assert!(start + M <= tile_rows, "rows {start} to {} of {tile_rows}", start + M);
    let groups = N / V::PARTS;
    let mut sums = [[v.splat_f32(0.0); N]; M];
    for m in 0..M {
        for n in 0..N {
            sums[m][n] = v.load_f32(&out[m * groups + n / V::PARTS], n % V::PARTS);
        }
    }
    let offset = !W::MINIMUM && (V::DOT_32 || !W::NARROW.signed);
    for (b, x) in x.chunks_exact(tile_rows * blocks32::BYTES).enumerate() {
        // SAFETY: here and below, `x` has tile_rows * BYTES bytes, field after field with all rows
        // of each, and start + M <= tile_rows.
        let at = |at: usize| v.splat(unsafe { word(x, at) });
        let field = |field: usize, m: usize| at(tile_rows * field + 4 * (start + m));
        let block: [&W::Block; N] = std::array::from_fn(|n| &columns[n].blocks[b]);
        prefetch(b);
        let mut first = [v.splat(0); M];
        if offset {
            for (m, first) in first.iter_mut().enumerate() {
                *first = field(blocks32::OFFSET, m);
            }
        }
        let products: [[V::F; N]; M] = products(
            v,
            W::NARROW,
            8,
            first,
            #[inline(always)]
            |n, i| W::weights(v, block[n], n % V::PARTS, i),
            #[inline(always)]
            |m, i| at(32 * (start + m) + 4 * i),
        );
        for n in 0..N {
            let scale = W::scale(v, block[n], &columns[n].rests[b], n % V::PARTS);
            for m in 0..M {
                let scale = v.mul(scale, v.as_f32(field(blocks32::SCALE, m)));
                sums[m][n] = v.fma(products[m][n], scale, sums[m][n]);
            }
            if W::MINIMUM {
                let minimum = W::minimum(v, block[n], n % V::PARTS);
                for (m, sums) in sums.iter_mut().enumerate() {
                    sums[n] = v.fma(minimum, v.as_f32(field(blocks32::SUM, m)), sums[n]);
                }
            }
        }
    }
    for m in 0..M {
        for n in 0..N {
            v.store_f32(sums[m][n], &mut out[m * groups + n / V::PARTS], n % V::PARTS);
        }
    }
}
