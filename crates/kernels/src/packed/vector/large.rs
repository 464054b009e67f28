//! Products of blocks of 256.

use super::groups::{ByteArray, Column, Lanes, TilePart, word};
use super::{Kernel, Narrow, products};
use crate::packed::activations::{blocks256, sum_place};
use crate::x86_64::byte_vector::ByteVector;
use std::marker::PhantomData;

/// Byte i of vector j of each: the scale and the minimum of sub-block 4 j + i.
pub(super) type Scales<I> = ([I; 4], [I; 4]);

/// A format of blocks of 256, a vector of rows at a time.
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
    const NARROW: Narrow;
    /// Elements `32 * eighth + 4 * i ..` as unsigned bytes, `i` and `eighth` below 8; as `NARROW`
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
}

/// A vector of rows of a block, as packed or unpacked.
trait Source<V: ByteVector, W: LargeFormat>: Copy {
    /// Whether unpacking is best compiled for each eighth by itself.
    const UNROLL: bool;
    fn weights(self, v: V, eighth: usize, i: usize) -> V::I;
    fn scale(self, v: V, i: usize) -> V::F;
    /// Pairs of minimums as 16-bit numbers, in the order of the sums of activations.
    fn minimums(self, v: V, i: usize) -> V::I;
    fn head(self, v: V) -> (V::F, V::F);
}

/// A block as packed.
struct Direct<'a, V: ByteVector, W: LargeFormat> {
    block: &'a W::Block,
    rest: &'a W::Rest,
    part: usize,
    scales: Scales<V::I>,
}

impl<V: ByteVector, W: LargeFormat> Clone for Direct<'_, V, W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V: ByteVector, W: LargeFormat> Copy for Direct<'_, V, W> {}

impl<'a, V: ByteVector, W: LargeFormat> Direct<'a, V, W> {
    #[inline(always)]
    fn new(v: V, block: &'a W::Block, rest: &'a W::Rest, part: usize) -> Self {
        Self { block, rest, part, scales: W::scales(v, block, part) }
    }
}

impl<V: ByteVector, W: LargeFormat> Source<V, W> for Direct<'_, V, W> {
    const UNROLL: bool = true;

    #[inline(always)]
    fn weights(self, v: V, eighth: usize, i: usize) -> V::I {
        W::weights(v, self.block, self.part, eighth, i)
    }
    #[inline(always)]
    fn scale(self, v: V, i: usize) -> V::F {
        let byte = v.left(self.scales.0[i / 4], 24 - 8 * (i as u32 % 4));
        v.to_f32(v.right_signed(byte, 24))
    }
    #[inline(always)]
    fn minimums(self, v: V, i: usize) -> V::I {
        let bytes = self.scales.1[i / 2];
        let bytes = if i.is_multiple_of(2) { v.left(bytes, 8) } else { bytes };
        v.high_bytes(bytes)
    }
    #[inline(always)]
    fn head(self, v: V) -> (V::F, V::F) {
        W::head(v, self.block, self.rest, self.part)
    }
}

/// A block unpacked: bytes, the sub-blocks' scales as f32, pairs of their minimums, scale, minimum.
pub(super) type PanelBlock = [[u8; 64]; 90];

/// A vector of rows of it.
#[derive(Clone, Copy)]
struct Panel<'a> {
    block: &'a PanelBlock,
    part: usize,
}

impl<V: ByteVector, W: LargeFormat> Source<V, W> for Panel<'_> {
    const UNROLL: bool = false;

    #[inline(always)]
    fn weights(self, v: V, eighth: usize, i: usize) -> V::I {
        v.load(&self.block[8 * eighth + i], self.part)
    }
    #[inline(always)]
    fn scale(self, v: V, i: usize) -> V::F {
        v.as_f32(v.load(&self.block[64 + i], self.part))
    }
    #[inline(always)]
    fn minimums(self, v: V, i: usize) -> V::I {
        v.load(&self.block[80 + i], self.part)
    }
    #[inline(always)]
    fn head(self, v: V) -> (V::F, V::F) {
        let (scale, minimum) =
            (v.load(&self.block[88], self.part), v.load(&self.block[89], self.part));
        (v.as_f32(scale), v.as_f32(minimum))
    }
}

/// The kernel of a format as packed.
pub(super) struct Large<W>(PhantomData<W>);

impl<V: ByteVector, W: LargeFormat> Kernel<V> for Large<W> {
    type Block = W::Block;
    type Rest = W::Rest;
    type Panel = Unpacked<W>;
    const PANEL_BLOCKS: usize = 2;
    const X_BYTES: usize = blocks256::BYTES;

    #[inline(always)]
    fn unpack(v: V, block: &W::Block, rest: &W::Rest, out: &mut PanelBlock) {
        for part in 0..V::PARTS {
            let source = Direct::<V, W>::new(v, block, rest, part);
            each_eighth(
                true,
                #[inline(always)]
                |eighth| {
                    for i in 0..8 {
                        v.store(source.weights(v, eighth, i), &mut out[8 * eighth + i], part);
                    }
                },
            );
            for i in 0..256 / W::LEN {
                v.store(v.as_bytes(source.scale(v, i)), &mut out[64 + i], part);
            }
            let (scale, minimum) = source.head(v);
            v.store(v.as_bytes(scale), &mut out[88], part);
            if W::MINIMUM {
                for i in 0..128 / W::LEN {
                    v.store(source.minimums(v, i), &mut out[80 + i], part);
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
        blocks::<V, W, Direct<'_, V, W>, M, N>(
            v,
            rows,
            out,
            #[inline(always)]
            |n, b| {
                if n % V::PARTS == 0 {
                    columns[n].prefetch(b);
                }
                Direct::new(v, &columns[n].blocks[b], &columns[n].rests[b], n % V::PARTS)
            },
        );
    }
}

/// The kernel of its panel.
pub(super) struct Unpacked<W>(PhantomData<W>);

impl<V: ByteVector, W: LargeFormat> Kernel<V> for Unpacked<W> {
    type Block = PanelBlock;
    type Rest = [u8; 0];
    type Panel = Self;
    const PANEL_BLOCKS: usize = 2;
    const X_BYTES: usize = blocks256::BYTES;

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
        blocks::<V, W, Panel<'_>, M, N>(
            v,
            rows,
            out,
            #[inline(always)]
            |n, b| Panel { block: &columns[n].blocks[b], part: n % V::PARTS },
        );
    }
}

/// Calls `body` for each 32 elements of a block; unrolled, the eighth is a constant in each copy.
#[inline(always)]
fn each_eighth(unroll: bool, mut body: impl FnMut(usize)) {
    if unroll {
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

/// All blocks of some columns, block b of column n being `source(n, b)`.
#[inline(always)]
fn blocks<V: ByteVector, W: LargeFormat, S: Source<V, W>, const M: usize, const N: usize>(
    v: V,
    rows: TilePart<'_>,
    out: &mut [Lanes],
    source: impl Fn(usize, usize) -> S,
) {
    let TilePart { x, tile_rows, start } = rows;
    assert!(start + M <= tile_rows, "rows {start} to {} of {tile_rows}", start + M);
    let groups = N / V::PARTS;
    let mut sums = [[v.splat_f32(0.0); N]; M];
    for m in 0..M {
        for n in 0..N {
            sums[m][n] = v.load_f32(&out[m * groups + n / V::PARTS], n % V::PARTS);
        }
    }
    for (b, x) in x.chunks_exact(tile_rows * blocks256::BYTES).enumerate() {
        let mut sources = [source(0, b); N];
        for (n, later) in sources.iter_mut().enumerate().skip(1) {
            *later = source(n, b);
        }
        one_block::<V, W, S, M, N>(v, sources, TilePart { x, ..rows }, &mut sums);
    }
    for m in 0..M {
        for n in 0..N {
            v.store_f32(sums[m][n], &mut out[m * groups + n / V::PARTS], n % V::PARTS);
        }
    }
}

/// A block of each column, with a record of activations that has all rows of the tile.
#[inline(always)]
fn one_block<V: ByteVector, W: LargeFormat, S: Source<V, W>, const M: usize, const N: usize>(
    v: V,
    sources: [S; N],
    TilePart { x, tile_rows, start }: TilePart<'_>,
    sums: &mut [[V::F; N]; M],
) {
    // SAFETY: `x` has tile_rows * BYTES bytes (the caller cut it so), field after field with all
    // rows of each, and start + M <= tile_rows (the caller asserts it).
    let at = |at: usize| unsafe { word(x, at) };
    let mut parts = [[v.splat_f32(0.0); N]; M];
    each_eighth(
        S::UNROLL,
        #[inline(always)]
        |eighth| {
            for sub in 0..32 / W::LEN {
                let index = 32 / W::LEN * eighth + sub;
                let mut first = [v.splat(0); M];
                for (m, first) in first.iter_mut().enumerate() {
                    let offset = tile_rows * blocks256::OFFSETS + 64 * (start + m) + 4 * index;
                    if !W::MINIMUM {
                        *first = v.splat(at(offset));
                    } else if W::NARROW.signed && !V::DOT_32 {
                        let sums = tile_rows * blocks256::SUMS32 + 16 * (start + m);
                        // The word with this sum; in it, the lower or the upper half.
                        let (word, upper) = (sum_place(index) / 2, sum_place(index) % 2);
                        let sum = at(sums + 4 * word) >> (16 * upper);
                        *first = v.splat(128 * i32::from(sum as i16));
                    }
                }
                let products: [[V::F; N]; M] = products(
                    v,
                    W::NARROW,
                    W::LEN / 4,
                    first,
                    #[inline(always)]
                    |n, i| sources[n].weights(v, eighth, W::LEN / 4 * sub + i),
                    #[inline(always)]
                    |m, i| v.splat(at(256 * (start + m) + 32 * eighth + W::LEN * sub + 4 * i)),
                );
                for n in 0..N {
                    let scale = sources[n].scale(v, index);
                    for m in 0..M {
                        parts[m][n] = v.fma(products[m][n], scale, parts[m][n]);
                    }
                }
            }
        },
    );
    for n in 0..N {
        let (scale, minimum) = sources[n].head(v);
        for m in 0..M {
            let x_scale = v.as_f32(v.splat(at(tile_rows * blocks256::SCALE + 4 * (start + m))));
            sums[m][n] = v.fma(parts[m][n], v.mul(scale, x_scale), sums[m][n]);
            if W::MINIMUM {
                let (field, bytes) =
                    if W::LEN == 32 { (blocks256::SUMS32, 16) } else { (blocks256::SUMS16, 32) };
                let mut taken = v.splat(0);
                for i in 0..128 / W::LEN {
                    let x_sums = v.splat(at(tile_rows * field + bytes * (start + m) + 4 * i));
                    taken = v.dot_words(taken, sources[n].minimums(v, i), x_sums);
                }
                sums[m][n] = v.fnma(v.to_f32(taken), v.mul(minimum, x_scale), sums[m][n]);
            }
        }
    }
}
