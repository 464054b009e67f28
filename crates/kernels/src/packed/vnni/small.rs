//! Products of blocks of 32.

use super::super::activations::blocks32;
use super::super::sweep::opaque;
use super::{ByteArray, Group, Kernel, Lanes, TilePart, broadcast, broadcast_from, prefetch};
use crate::x86_64::avx512_vnni::{Avx512Vnni, F, I};

/// A format of blocks of 32, sixteen rows at a time.
pub(super) trait SmallFormat {
    /// The words of a block.
    type Block: ByteArray;
    /// The rest of a block.
    type Rest: ByteArray;
    /// Elements are `scale * q + minimum`; otherwise `scale * (q - 128)`.
    const MINIMUM: bool;
    /// How many blocks ahead are asked for: two to four KiB of each group.
    const AHEAD: usize = 8;
    /// The format as a panel.
    type Panel: SmallFormat<Block = PanelBlock, Rest = [u8; 0]>;
    /// Elements `4 * i ..` as unsigned bytes, `i` below 8.
    fn weights(v: Avx512Vnni, block: &Self::Block, i: usize) -> I;
    fn scale(v: Avx512Vnni, block: &Self::Block, rest: &Self::Rest) -> F;
    fn minimum(v: Avx512Vnni, _block: &Self::Block) -> F {
        v.splat_f32(0.0)
    }
}

/// A block unpacked: eight vectors of bytes, the scales and the minimums as f32.
pub(super) struct Panel<const MINIMUM: bool>;

pub(super) type PanelBlock = [[u8; 64]; 10];

impl<const MINIMUM: bool> SmallFormat for Panel<MINIMUM> {
    type Block = PanelBlock;
    type Rest = [u8; 0];
    const MINIMUM: bool = MINIMUM;
    const AHEAD: usize = 0;
    type Panel = Self;

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

/// The kernel of a format.
pub(super) struct Small<W>(std::marker::PhantomData<W>);

impl<W: SmallFormat> Kernel for Small<W> {
    type Block = W::Block;
    type Rest = W::Rest;
    type Panel = Small<W::Panel>;
    const PANEL_BLOCKS: usize = 16;
    const X_BYTES: usize = blocks32::BYTES;

    #[inline(always)]
    fn unpack(v: Avx512Vnni, block: &W::Block, rest: &W::Rest, out: &mut PanelBlock) {
        for (i, out) in out[..8].iter_mut().enumerate() {
            v.store(W::weights(v, block, i), out);
        }
        v.store(v.as_bytes(W::scale(v, block, rest)), &mut out[8]);
        if W::MINIMUM {
            v.store(v.as_bytes(W::minimum(v, block)), &mut out[9]);
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
        for (b, x) in x.chunks_exact(tile_rows * blocks32::BYTES).enumerate() {
            // SAFETY: here and below, `x` has tile_rows * BYTES bytes, field after field with all
            // rows of each, and `row` gives numbers below tile_rows (checked above).
            let at = |at: usize| unsafe { broadcast(v, x, at) };
            let field = |field: usize, m: usize| at(tile_rows * field + 4 * rows.row::<M>(m));
            let block: [&W::Block; N] = std::array::from_fn(|n| &groups[n].blocks[b]);
            if W::AHEAD > 0 {
                for group in &groups {
                    let lines = size_of::<W::Block>() / 64;
                    prefetch(group.ahead(b + W::AHEAD), 0..lines);
                }
            }
            let mut products = [[v.splat(0); N]; M];
            if !W::MINIMUM {
                for (m, products) in products.iter_mut().enumerate() {
                    *products = [field(blocks32::OFFSET, m); N];
                }
            }
            let q = |m: usize| opaque(x.as_ptr().wrapping_add(32 * rows.row::<M>(m)));
            let (first, last) = (q(0), q(M - 1));
            for i in 0..8 {
                let mut weights = [v.splat(0); N];
                for n in 0..N {
                    weights[n] = W::weights(v, block[n], i);
                }
                for (m, products) in products.iter_mut().enumerate() {
                    let row = if m + 1 < M { first.wrapping_add(32 * m) } else { last };
                    // SAFETY: as for `at`.
                    let x = unsafe { broadcast_from(v, row.wrapping_add(4 * i)) };
                    for n in 0..N {
                        products[n] = v.dot_bytes(products[n], weights[n], x);
                    }
                }
            }
            for n in 0..N {
                let scale = W::scale(v, block[n], &groups[n].rests[b]);
                for m in 0..M {
                    let scale = v.mul(scale, v.as_f32(field(blocks32::SCALE, m)));
                    sums[m][n] = v.fma(v.to_f32(products[m][n]), scale, sums[m][n]);
                }
                if W::MINIMUM {
                    let minimum = W::minimum(v, block[n]);
                    for (m, sums) in sums.iter_mut().enumerate() {
                        let x_sum = v.as_f32(field(blocks32::SUM, m));
                        sums[n] = v.fma(minimum, x_sum, sums[n]);
                    }
                }
            }
        }
        for m in 0..M {
            for n in 0..N {
                out[m * N + n] = v.floats(sums[m][n]);
            }
        }
    }
}
