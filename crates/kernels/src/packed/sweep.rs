//! The order in which a product of many rows walks through its operands. A panel (a piece of some
//! groups, unpacked) meets all tiles of activations before the next; all groups of a block meet
//! the same piece of the activations, which thus stays in the second-level cache, and so do the
//! block's sums. Each weight is unpacked once for up to `CHUNK_TILES` tiles; what the next panel
//! reads is asked for between tiles.

use super::{ACTIVATION_TILE, PACKED_GROUP, Sink};
use std::ops::Range;

/// Products of sixteen rows with one row of activations.
pub(super) type Lanes = [f32; PACKED_GROUP];

/// Tiles of a chunk, and groups of a block: at most.
pub(super) const CHUNK_TILES: usize = 48;
pub(super) const BLOCK_GROUPS: usize = 12;

/// What is multiplied.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) batch: usize,
    pub(super) groups: usize,
    /// Blocks, or pairs, of a row.
    pub(super) units: usize,
    /// Units of a panel.
    pub(super) piece: usize,
    /// Groups of a panel.
    pub(super) width: usize,
}

/// The parts of a product.
pub(super) trait Sweep {
    /// These units of these rows of activations are what comes next.
    fn start_piece(&mut self, rows: Range<usize>, units: Range<usize>);
    /// Unpacks `width` groups.
    fn fill(&mut self, first: usize, width: usize, units: Range<usize>);
    /// Adds the products of a tile with the panel to `sums`, `[tile_rows, width]`.
    fn multiply(&mut self, tile: usize, width: usize, units: Range<usize>, sums: &mut [Lanes]);
    /// What `fill` reads of a group.
    fn weights(&self, group: usize, units: Range<usize>) -> &[u8];
}

/// As even steps as there are, none above `max`; multiples of `of`.
fn step(len: usize, max: usize, of: usize) -> usize {
    len.div_ceil(len.div_ceil(max).max(1)).next_multiple_of(of)
}

impl Shape {
    fn chunk_rows(self) -> usize {
        step(self.batch.div_ceil(ACTIVATION_TILE), CHUNK_TILES, 1) * ACTIVATION_TILE
    }

    fn block_groups(self) -> usize {
        step(self.groups, BLOCK_GROUPS, self.width)
    }

    /// Rows of activations of a chunk: `start_piece` is told of no more.
    pub(super) fn rows_max(self) -> usize {
        self.chunk_rows().min(self.batch)
    }

    /// Sums that `run` needs.
    pub(super) fn sums(self) -> usize {
        self.rows_max() * self.block_groups()
    }

    /// The whole product.
    #[inline(always)]
    pub(super) fn run(self, sink: &mut Sink<'_, '_>, sums: &mut [Lanes], sweep: &mut impl Sweep) {
        for row in (0..self.batch).step_by(self.chunk_rows()) {
            let rows = row..(row + self.chunk_rows()).min(self.batch);
            for group in (0..self.groups).step_by(self.block_groups()) {
                let groups = group..(group + self.block_groups()).min(self.groups);
                self.run_block(rows.clone(), groups, sink, sums, sweep);
            }
        }
    }

    #[inline(always)]
    fn run_block(
        self,
        rows: Range<usize>,
        groups: Range<usize>,
        sink: &mut Sink<'_, '_>,
        sums: &mut [Lanes],
        sweep: &mut impl Sweep,
    ) {
        let width = |first: usize| self.width.min(groups.end - first);
        let place = |first: usize| (first - groups.start) * rows.len();
        sums[..place(groups.end)].fill([0.0; PACKED_GROUP]);
        for from in (0..self.units).step_by(self.piece) {
            let units = from..(from + self.piece).min(self.units);
            sweep.start_piece(rows.clone(), units.clone());
            for first in groups.clone().step_by(self.width) {
                let width = width(first);
                sweep.fill(first, width, units.clone());
                let sums = &mut sums[place(first)..][..rows.len() * width];
                let tiles = sums.chunks_mut(width * ACTIVATION_TILE);
                let count = tiles.len();
                let next = self.next(&groups, first, &units);
                for (index, sums) in tiles.enumerate() {
                    prefetch_share(sweep, &next, index, count);
                    let tile = rows.start / ACTIVATION_TILE + index;
                    sweep.multiply(tile, width, units.clone(), sums);
                }
            }
        }
        for first in groups.clone().step_by(self.width) {
            let width = width(first);
            let sums = &sums[place(first)..][..rows.len() * width];
            for (m, sums) in rows.clone().zip(sums.chunks_exact(width)) {
                for (n, sums) in sums.iter().enumerate() {
                    sink.write(m, first + n, sums);
                }
            }
        }
    }

    /// The groups and units of the panel after that of `first`.
    fn next(
        self,
        groups: &Range<usize>,
        first: usize,
        units: &Range<usize>,
    ) -> (Range<usize>, Range<usize>) {
        let (first, units) = if first + self.width < groups.end {
            (first + self.width, units.clone())
        } else {
            (groups.start, units.end..(units.end + self.piece).min(self.units))
        };
        (first..(first + self.width).min(groups.end), units)
    }
}

/// Asks for part `index` of `count` of what the next panel reads.
#[inline(always)]
fn prefetch_share(
    sweep: &impl Sweep,
    (groups, units): &(Range<usize>, Range<usize>),
    index: usize,
    count: usize,
) {
    for group in groups.clone() {
        let lines = sweep.weights(group, units.clone()).as_chunks::<64>().0;
        let share = lines.len() * index / count..lines.len() * (index + 1) / count;
        lines[share].iter().for_each(|line| prefetch(line.as_ptr()));
    }
}

/// An address in one register: left to itself the compiler adds it up from two in each of the
/// instructions that read there, and each of those is two to the processor then.
#[inline(always)]
#[allow(clippy::pointers_in_nomem_asm_block, reason = "nothing is read or written in it")]
pub(crate) fn opaque(at: *const u8) -> *const u8 {
    #[cfg(target_arch = "x86_64")]
    let at = {
        let mut at = at;
        // SAFETY: no instruction; the register keeps its value.
        unsafe {
            std::arch::asm!(
                "/* {0} */",
                inout(reg) at,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        at
    };
    at
}

/// Asks for a line to come to the second-level cache.
#[inline(always)]
pub(crate) fn prefetch(line: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a prefetch reads nothing that the program sees and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

#[cfg(test)]
mod tests {
    use super::step;

    #[test]
    fn steps_are_even() {
        for (len, max, of, expected) in
            [(43, 48, 1, 43), (86, 48, 1, 43), (49, 48, 1, 25), (11, 12, 2, 12), (43, 12, 2, 12)]
        {
            assert_eq!(step(len, max, of), expected, "{len} by {max}");
        }
    }
}
