//! How many rows and columns a tile has: as many sums as an instruction set has registers for. (Few
//! sizes, since each is compiled for each format.)

use super::Kernel;
use super::groups::{Column, Job, TilePart};
use crate::packed::sweep::Lanes;
use crate::packed::{PACKED_GROUP, Sink};
use crate::x86_64::avx2_bytes::Ymm;
use crate::x86_64::avx512_bytes::Zmm;
use crate::x86_64::byte_vector::{ByteVector, In16, In32, Sums};
use std::arch::x86_64::__m512i;
use std::mem::MaybeUninit;

/// The largest of `PANEL_GROUPS`.
pub(super) const PANEL_GROUPS_MAX: usize = 4;

/// The tiles of an instruction set.
pub(super) trait Tiles: ByteVector {
    /// Groups of a panel, which share the broadcasts of activations.
    const PANEL_GROUPS: usize;
    /// The last row of a tile of more may be one that does not exist.
    const EXACT_ROWS: usize = usize::MAX;
    /// Whether a multiplication itself reads and broadcasts, which is best from an address in one
    /// register.
    const BROADCASTS: bool = false;

    /// The whole product without a panel; false, and nothing done, if the batch is too large.
    fn few<W: Kernel<Self>>(self, job: Job<'_>, sink: &mut Sink<'_, '_>) -> bool;

    /// All rows of a tile with the groups of a panel.
    fn cover<W: Kernel<Self>>(
        self,
        groups: &[Column<'_, W::Block, W::Rest>],
        rows: TilePart<'_>,
        sums: &mut [Lanes],
    );
}

/// Sixteen registers: a panel is one group, two columns of 8 rows, and meets six rows of
/// activations at once, which makes twelve sums, two vectors of weights, one broadcast. The sums of
/// floats wait in the first-level cache meanwhile. Sums of 16 bits need registers beside the wider
/// ones.
impl<S: Sums> Tiles for Ymm<S> {
    const PANEL_GROUPS: usize = 1;

    #[inline(always)]
    fn few<W: Kernel<Self>>(self, job: Job<'_>, sink: &mut Sink<'_, '_>) -> bool {
        match job.x.batch {
            1 => few::<Self, W, 1, 2>(self, job, sink),
            2 if S::IN_32 => few::<Self, W, 2, 2>(self, job, sink),
            _ => return false,
        }
        true
    }

    #[inline(always)]
    fn cover<W: Kernel<Self>>(
        self,
        groups: &[Column<'_, W::Block, W::Rest>],
        rows: TilePart<'_>,
        sums: &mut [Lanes],
    ) {
        if S::IN_32 {
            cover::<Self, W, 6, 2, 2>(self, groups, rows, sums);
        } else {
            cover::<Self, W, 4, 1, 2>(self, groups, rows, sums);
        }
    }
}

impl Tiles for Zmm<In16> {
    const PANEL_GROUPS: usize = 2;

    #[inline(always)]
    fn few<W: Kernel<Self>>(self, job: Job<'_>, sink: &mut Sink<'_, '_>) -> bool {
        if job.x.batch > 1 {
            return false;
        }
        few::<Self, W, 1, 2>(self, job, sink);
        true
    }

    #[inline(always)]
    fn cover<W: Kernel<Self>>(
        self,
        groups: &[Column<'_, W::Block, W::Rest>],
        rows: TilePart<'_>,
        sums: &mut [Lanes],
    ) {
        match groups.len() {
            2 => cover::<Self, W, 4, 1, 2>(self, groups, rows, sums),
            _ => cover::<Self, W, 4, 1, 1>(self, groups, rows, sums),
        }
    }
}

/// Three rows by four groups did 51 to 54 % of the int8 peak on Q8_0 and Q4_K, where six by two did
/// 36 to 43 % and twelve by one 31 to 41 %: one thread, 512 rows.
impl Tiles for Zmm<In32> {
    const PANEL_GROUPS: usize = 4;
    const EXACT_ROWS: usize = 4;
    const BROADCASTS: bool = true;

    #[inline(always)]
    fn few<W: Kernel<Self>>(self, job: Job<'_>, sink: &mut Sink<'_, '_>) -> bool {
        match job.x.batch {
            1 => few::<Self, W, 1, 4>(self, job, sink),
            2 => few::<Self, W, 2, 2>(self, job, sink),
            3 => few::<Self, W, 3, 2>(self, job, sink),
            4 => few::<Self, W, 4, 2>(self, job, sink),
            5 | 6 => few::<Self, W, 6, 1>(self, job, sink),
            7 | 8 => few::<Self, W, 8, 1>(self, job, sink),
            9 | 10 => few::<Self, W, 10, 1>(self, job, sink),
            11 | 12 => few::<Self, W, 12, 1>(self, job, sink),
            _ => return false,
        }
        true
    }

    #[inline(always)]
    fn cover<W: Kernel<Self>>(
        self,
        groups: &[Column<'_, W::Block, W::Rest>],
        rows: TilePart<'_>,
        sums: &mut [Lanes],
    ) {
        match groups.len() {
            4 => cover::<Self, W, 3, 2, 4>(self, groups, rows, sums),
            3 => cover::<Self, W, 3, 2, 3>(self, groups, rows, sums),
            2 => cover::<Self, W, 3, 2, 2>(self, groups, rows, sums),
            _ => cover::<Self, W, 3, 2, 1>(self, groups, rows, sums),
        }
    }
}

/// The whole batch at once, without a panel: `M` rows, or one less, of which the last stands twice
/// then.
#[inline(never)]
fn few<V: Tiles, W: Kernel<V>, const M: usize, const N: usize>(
    v: V,
    job: Job<'_>,
    sink: &mut Sink<'_, '_>,
) {
    let (groups, step) = (job.groups(), N / V::PARTS);
    for first in (0..groups).step_by(step) {
        let mut sums = [[[0.0; PACKED_GROUP]; N]; M];
        let sums = &mut sums.as_flattened_mut()[..M * step];
        let rows = TilePart { x: job.x.bytes, tile_rows: job.x.batch, start: 0 };
        let columns = std::array::from_fn(|n| Column {
            next: job.group::<W::Block, W::Rest>(first + step + n / V::PARTS).blocks,
            ..job.group(first + n / V::PARTS)
        });
        tile::<V, W, M, N>(v, columns, rows, sums);
        for (m, sums) in sums.chunks_exact(step).enumerate().take(job.x.batch) {
            for (n, sums) in sums.iter().enumerate().take(groups - first) {
                sink.write(m, first + n, sums);
            }
        }
    }
}

/// All rows of a tile: `M` at a time, then `L`, then one; rather twice `L` than `M` and one.
#[inline(always)]
fn cover<V: Tiles, W: Kernel<V>, const M: usize, const L: usize, const N: usize>(
    v: V,
    groups: &[Column<'_, W::Block, W::Rest>],
    mut rows: TilePart<'_>,
    sums: &mut [Lanes],
) {
    let columns: [_; N] = std::array::from_fn(|n| groups[n / V::PARTS]);
    while rows.start < rows.tile_rows {
        let sums = &mut sums[rows.start * (N / V::PARTS)..];
        let left = rows.tile_rows - rows.start;
        rows.start += if left >= M && left != 2 * L {
            tile::<V, W, M, N>(v, columns, rows, sums);
            M
        } else if left >= L {
            tile::<V, W, L, N>(v, columns, rows, sums);
            L
        } else {
            tile::<V, W, 1, N>(v, columns, rows, sums);
            1
        };
    }
}

/// `M` rows of activations with `N` columns.
#[inline(never)]
fn tile<V: Tiles, W: Kernel<V>, const M: usize, const N: usize>(
    v: V,
    columns: [Column<'_, W::Block, W::Rest>; N],
    rows: TilePart<'_>,
    sums: &mut [Lanes],
) {
    v.vectorize(
        #[inline(always)]
        || {
            align_stack();
            W::multiply::<M, N>(v, columns, rows, sums);
        },
    );
}

/// Has the caller's stack begin at a line of the cache. The compiler learns too late that vectors
/// are spilled there, and half of those that do not fit in a line would lie across two.
#[inline(always)]
#[expect(clippy::pointers_in_nomem_asm_block, reason = "nothing is read or written in it")]
fn align_stack() {
    let line = MaybeUninit::<__m512i>::uninit();
    // SAFETY: no instruction; the address has to exist, that is all.
    unsafe {
        std::arch::asm!(
            "/* {0} */",
            in(reg) line.as_ptr(),
            options(nomem, nostack, preserves_flags)
        );
    }
}
