//! Products of blocks of 256.

use super::groups::{ByteArray, Column, TilePart, prefetch, word};
use super::tiles::Tiles;
use super::{Kernel, Kind, load_sums, products, store_sums};
use crate::packed::activations::{blocks256, sum_place};
use crate::packed::sweep::Lanes;
use crate::x86_64::byte_vector::{ByteVector, Narrow, NarrowOf};
use std::marker::PhantomData;

/// Byte i of vector j of each: the scale and the minimum of sub-block 4 j + i.
pub(super) type Scales<I> = ([I; 4], [I; 4]);

/// A format of blocks of 256, a vector of rows at a time. Elements are `scale * scales[i] * q -
/// minimum * minimums[i]`, without minimums `scale * scales[i] * (q - 32)`.
pub(super) trait LargeFormat {
    /// The words of a block.
    type Block: ByteArray;
    /// The rest of a block.
    type Rest: ByteArray;
    type Kind: Kind;
    type Narrow: Narrow;
    /// Whether it has yet to be unpacked, which is best compiled for each eighth by itself.
    const PACKED: bool = true;
    /// Elements `32 * eighth + 4 * i ..` as unsigned bytes, `i` and `eighth` below 8; as `Narrow`
    /// says unless `V::DOT_32`.
    fn weights<V: ByteVector>(
        v: V,
        block: &Self::Block,
        part: usize,
        eighth: usize,
        i: usize,
    ) -> V::I;
    fn scales<V: ByteVector>(v: V, block: &Self::Block, part: usize) -> Scales<V::I>;
    /// Scale and minimum of the whole block.
    fn head<V: ByteVector>(
        v: V,
        block: &Self::Block,
        rest: &Self::Rest,
        part: usize,
    ) -> (V::F, V::F);
    /// Scale `i` of what `scales` gave.
    #[inline(always)]
    fn scale<V: ByteVector>(
        v: V,
        _block: &Self::Block,
        _part: usize,
        scales: &Scales<V::I>,
        i: usize,
    ) -> V::F {
        let byte = v.left(scales.0[i / 4], 24 - 8 * (i as u32 % 4));
        v.to_f32(v.right_signed(byte, 24))
    }
    /// Pairs of minimums as 16-bit numbers, in the order of the sums of activations.
    #[inline(always)]
    fn minimums<V: ByteVector>(
        v: V,
        _block: &Self::Block,
        _part: usize,
        scales: &Scales<V::I>,
        i: usize,
    ) -> V::I {
        let bytes = scales.1[i / 2];
        let bytes = if i.is_multiple_of(2) { v.left(bytes, 8) } else { bytes };
        v.high_bytes(bytes)
    }
}

/// A block unpacked: bytes, the sub-blocks' scales as f32, pairs of their minimums, scale, minimum.
pub(super) struct Panel<K, B>(PhantomData<(K, B)>);

type PanelBlock = [[u8; 64]; 90];

impl<K: Kind, B: Narrow> LargeFormat for Panel<K, B> {
    type Block = PanelBlock;
    type Rest = [u8; 0];
    type Kind = K;
    type Narrow = B;
    const PACKED: bool = false;

    #[inline(always)]
    fn weights<V: ByteVector>(v: V, b: &PanelBlock, part: usize, eighth: usize, i: usize) -> V::I {
        v.load(&b[8 * eighth + i], part)
    }
    /// None that are looked at.
    #[inline(always)]
    fn scales<V: ByteVector>(v: V, _: &PanelBlock, _: usize) -> Scales<V::I> {
        ([v.splat(0); 4], [v.splat(0); 4])
    }
    #[inline(always)]
    fn head<V: ByteVector>(v: V, b: &PanelBlock, _: &[u8; 0], part: usize) -> (V::F, V::F) {
        (v.as_f32(v.load(&b[88], part)), v.as_f32(v.load(&b[89], part)))
    }
    #[inline(always)]
    fn scale<V: ByteVector>(
        v: V,
        block: &PanelBlock,
        part: usize,
        _: &Scales<V::I>,
        i: usize,
    ) -> V::F {
        v.as_f32(v.load(&block[64 + i], part))
    }
    #[inline(always)]
    fn minimums<V: ByteVector>(
        v: V,
        block: &PanelBlock,
        part: usize,
        _: &Scales<V::I>,
        i: usize,
    ) -> V::I {
        v.load(&block[80 + i], part)
    }
}

/// The kernel of a format, or of a panel.
pub(super) struct Large<W>(PhantomData<W>);

impl<V: Tiles, W: LargeFormat> Kernel<V> for Large<W> {
    type Block = W::Block;
    type Rest = W::Rest;
    type Panel = Large<Panel<W::Kind, NarrowOf<V, W::Narrow>>>;
    const PANEL_BLOCKS: usize = 2;
    const X_BYTES: usize = blocks256::BYTES;

    #[inline(always)]
    fn unpack(v: V, block: &W::Block, rest: &W::Rest, out: &mut PanelBlock) {
        for part in 0..V::PARTS {
            each_eighth::<W>(
                #[inline(always)]
                |eighth| {
                    for i in 0..8 {
                        let weights = W::weights(v, block, part, eighth, i);
                        v.store(weights, &mut out[8 * eighth + i], part);
                    }
                },
            );
            let scales = W::scales(v, block, part);
            for i in 0..256 / W::Kind::LEN {
                let scale = W::scale(v, block, part, &scales, i);
                v.store(v.as_bytes(scale), &mut out[64 + i], part);
            }
            let (scale, minimum) = W::head(v, block, rest, part);
            v.store(v.as_bytes(scale), &mut out[88], part);
            if W::Kind::MINIMUM {
                for i in 0..128 / W::Kind::LEN {
                    v.store(W::minimums(v, block, part, &scales, i), &mut out[80 + i], part);
                }
                v.store(v.as_bytes(minimum), &mut out[89], part);
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
        for (b, x) in rows.x.chunks_exact(rows.tile_rows * blocks256::BYTES).enumerate() {
            one_block::<V, W, M, N>(v, &columns, b, TilePart { x, ..rows }, &mut sums);
        }
        store_sums(v, sums, out);
    }
}

/// Calls `body` for each 32 elements of a block; where that is packed, the eighth is a constant in
/// each copy.
#[inline(always)]
fn each_eighth<W: LargeFormat>(mut body: impl FnMut(usize)) {
    if W::PACKED {
        body(0);
        body(1);
        body(2);
        body(3);
        body(4);
        body(5);
        body(6);
        body(7);
    } else {
        for eighth in 0..8 {
            body(eighth);
        }
    }
}

/// What the products of sub-block `index` start at, with a row of a record whose words are `at`.
#[inline(always)]
fn start<B: Narrow, K: Kind>(
    row: usize,
    index: usize,
    tile_rows: usize,
    at: impl Fn(usize) -> i32,
) -> i32 {
    if !K::MINIMUM {
        return at(tile_rows * blocks256::OFFSETS + 64 * row + 4 * index);
    }
    if !B::SIGNED {
        return 0;
    }
    // The word with the sum; in it, the lower or the upper half.
    let (word, upper) = (sum_place(index) / 2, sum_place(index) % 2);
    let sum = at(tile_rows * blocks256::SUMS32 + 16 * row + 4 * word) >> (16 * upper);
    128 * i32::from(sum as i16)
}

/// Block `b` of each column, with a record of activations that has all rows of the tile.
#[inline(always)]
fn one_block<V: Tiles, W: LargeFormat, const M: usize, const N: usize>(
    v: V,
    columns: &[Column<'_, W::Block, W::Rest>; N],
    b: usize,
    rows: TilePart<'_>,
    sums: &mut [[V::F; N]; M],
) {
    let (len, tile_rows) = (W::Kind::LEN, rows.tile_rows);
    // SAFETY: the record has tile_rows * BYTES bytes (the caller cut it so), field after field with
    // all rows of each, and `row` gives numbers below tile_rows (the caller checked it).
    let at = |at: usize| unsafe { word(rows.x, at) };
    // Here, since a check behind the products would have the compiler move them behind it.
    let block: [&W::Block; N] = std::array::from_fn(|n| &columns[n].blocks[b]);
    let rest: [&W::Rest; N] = std::array::from_fn(|n| &columns[n].rests[b]);
    let ahead: [&W::Block; N] = std::array::from_fn(|n| columns[n].ahead(b + 1));
    let mut scales = [W::scales(v, block[0], 0); N];
    for n in 1..N {
        scales[n] = W::scales(v, block[n], n % V::PARTS);
    }
    let mut parts = [[v.splat_f32(0.0); N]; M];
    each_eighth::<W>(
        #[inline(always)]
        |eighth| {
            if W::PACKED {
                // The next block of each group, an eighth at a time.
                let lines = size_of::<W::Block>() / 64;
                for block in ahead.iter().step_by(V::PARTS) {
                    prefetch(*block, lines * eighth / 8..lines * (eighth + 1) / 8);
                }
            }
            let q = rows.bytes::<V, M>(blocks256::LEN, 32 * eighth);
            for sub in 0..32 / len {
                let index = 32 / len * eighth + sub;
                let mut first = [v.splat(0); M];
                for (m, first) in first.iter_mut().enumerate() {
                    *first = v.splat(start::<NarrowOf<V, W::Narrow>, W::Kind>(
                        rows.row::<V, M>(m),
                        index,
                        tile_rows,
                        at,
                    ));
                }
                let products: [[V::F; N]; M] = products::<V, NarrowOf<V, W::Narrow>, M, N>(
                    v,
                    len / 4,
                    first,
                    #[inline(always)]
                    |n, i| W::weights(v, block[n], n % V::PARTS, eighth, len / 4 * sub + i),
                    // SAFETY: as for `at`.
                    #[inline(always)]
                    |m, i| v.splat(unsafe { q.word(m, len * sub + 4 * i) }),
                );
                for n in 0..N {
                    let scale = W::scale(v, block[n], n % V::PARTS, &scales[n], index);
                    for m in 0..M {
                        parts[m][n] = v.fma(products[m][n], scale, parts[m][n]);
                    }
                }
            }
        },
    );
    for n in 0..N {
        let part = n % V::PARTS;
        let (scale, minimum) = W::head(v, block[n], rest[n], part);
        for m in 0..M {
            let row = rows.row::<V, M>(m);
            let x_scale = v.as_f32(v.splat(at(tile_rows * blocks256::SCALE + 4 * row)));
            sums[m][n] = v.fma(parts[m][n], v.mul(scale, x_scale), sums[m][n]);
            if W::Kind::MINIMUM {
                let (field, bytes) =
                    if len == 32 { (blocks256::SUMS32, 16) } else { (blocks256::SUMS16, 32) };
                let mut taken = v.splat(0);
                for i in 0..128 / len {
                    let x_sums = v.splat(at(tile_rows * field + bytes * row + 4 * i));
                    let minimums = W::minimums(v, block[n], part, &scales[n], i);
                    taken = v.dot_words(taken, minimums, x_sums);
                }
                sums[m][n] = v.fnma(v.to_f32(taken), v.mul(minimum, x_scale), sums[m][n]);
            }
        }
    }
}
