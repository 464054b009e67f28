//! The packed layout. A block of the file is a number of 32-bit words and a rest of 0 to 2 bytes
//! (its scale). Of sixteen rows, word w of a block goes side by side: 64 bytes, lane r from row r.
//! A group of sixteen rows is the words of all its blocks, then the rests of all its blocks, row by
//! row in each. Rows of plain floats are one block of pairs.
//!
//! In F16 the first halves of a line's words come before the second, so that each are sixteen
//! numbers in a row. In Q5_0 and Q5_1 the fifth bits of a block change places inside their word:
//! bit j of byte t is that of element 4 j + t, so that one shift serves four elements.

use super::transpose::transpose;
use crate::{DType, Level, dequantize_row};

/// Rows of a group.
pub const PACKED_GROUP: usize = 16;

/// What a file's block consists of.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    /// Blocks of a row.
    pub(super) blocks: usize,
    /// Bytes of a block in the file.
    block_bytes: usize,
    /// 32-bit words of a block, and where in it they begin.
    pub(super) words: usize,
    words_at: usize,
    /// Bytes beside the words, and where they begin.
    rest: usize,
    rest_at: usize,
    /// The word of fifth bits.
    spread: Option<usize>,
    /// Whether halves of words are apart.
    halves: bool,
}

impl Layout {
    /// `None` if the format is not packed or the row is not a whole number of blocks.
    pub(super) fn new(dtype: DType, cols: usize) -> Option<Layout> {
        let row_bytes = dtype.row_bytes(cols)?;
        let block_bytes = if dtype.block_len() == 1 { row_bytes } else { dtype.block_bytes() };
        let (rest, rest_at) = match dtype {
            DType::Q4_0 | DType::Q5_0 | DType::Q8_0 | DType::IQ4_NL => (2, 0),
            DType::Q3_K | DType::Q6_K => (2, block_bytes - 2),
            DType::MXFP4 => (1, 0),
            DType::F32 => return None,
            _ => (0, 0),
        };
        let words_at = if rest_at == 0 { rest } else { 0 };
        let spread = match dtype {
            DType::Q5_0 => Some(0),
            DType::Q5_1 => Some(1),
            _ => None,
        };
        let blocks = row_bytes.checked_div(block_bytes).unwrap_or(0);
        let words = (block_bytes - rest) / 4;
        let whole = words * 4 + rest == block_bytes;
        whole.then_some(Layout {
            blocks,
            block_bytes,
            words,
            words_at,
            rest,
            rest_at,
            spread,
            halves: dtype == DType::F16,
        })
    }

    fn row_bytes(self) -> usize {
        self.blocks * self.block_bytes
    }

    pub(super) fn group_bytes(self) -> usize {
        PACKED_GROUP * self.row_bytes()
    }

    /// Where the rests of a group begin.
    pub(super) fn rests_at(self) -> usize {
        self.blocks * self.words * 4 * PACKED_GROUP
    }

    /// Copies one block of row `lane` of a group into `block`, as the file has it.
    pub(super) fn gather(self, group: &[u8], lane: usize, index: usize, block: &mut [u8]) {
        let from = index * self.words * 64 + lane * 4;
        let words = block[self.words_at..][..self.words * 4].as_chunks_mut::<4>().0;
        for (i, word) in words.iter_mut().enumerate() {
            if self.halves {
                let line = &group[index * self.words * 64 + i * 64..][..64];
                word[..2].copy_from_slice(&line[2 * lane..][..2]);
                word[2..].copy_from_slice(&line[32 + 2 * lane..][..2]);
            } else {
                word.copy_from_slice(&group[from + i * 64..][..4]);
            }
        }
        if let Some(i) = self.spread {
            words[i] = unspread(u32::from_le_bytes(words[i])).to_le_bytes();
        }
        let from = self.rests_at() + (index * PACKED_GROUP + lane) * self.rest;
        block[self.rest_at..][..self.rest].copy_from_slice(&group[from..][..self.rest]);
    }

    /// The inverse of `gather`, of all blocks of sixteen rows.
    fn pack_group(self, rows: &[u8], group: &mut [u8]) {
        let stride = self.row_bytes();
        let (lines, rests) = group.split_at_mut(self.rests_at());
        let (lines, _) = lines.as_chunks_mut::<64>();
        for (index, lines) in lines.chunks_exact_mut(self.words).enumerate() {
            transpose(&rows[index * self.block_bytes + self.words_at..], stride, lines);
            if let Some(i) = self.spread {
                for word in lines[i].as_chunks_mut::<4>().0 {
                    *word = spread(u32::from_le_bytes(*word)).to_le_bytes();
                }
            }
            if self.halves {
                lines.iter_mut().for_each(part_halves);
            }
        }
        match self.rest {
            0 => {}
            1 => self.pack_rests::<1>(rows, rests),
            2 => self.pack_rests::<2>(rows, rests),
            rest => unreachable!("a rest of {rest} bytes"),
        }
    }

    /// The rests of a block side by side, of all blocks. (Of a length that the compiler knows: a
    /// call to copy two bytes took longer than all else.)
    fn pack_rests<const REST: usize>(self, rows: &[u8], rests: &mut [u8]) {
        let (rests, _) = rests.as_chunks_mut::<REST>();
        for (lane, row) in rows.chunks_exact(self.row_bytes()).enumerate() {
            let rests = rests[lane..].iter_mut().step_by(PACKED_GROUP);
            for (block, rest) in row.chunks_exact(self.block_bytes).zip(rests) {
                let from = block[self.rest_at..].as_chunks::<REST>().0;
                *rest = from[0];
            }
        }
    }
}

/// The first halves of all words, then the second.
#[inline(always)]
fn part_halves(line: &mut [u8; 64]) {
    let words = line.as_chunks::<4>().0;
    let first: [[u8; 2]; PACKED_GROUP] = std::array::from_fn(|i| [words[i][0], words[i][1]]);
    let second: [[u8; 2]; PACKED_GROUP] = std::array::from_fn(|i| [words[i][2], words[i][3]]);
    line[..32].copy_from_slice(first.as_flattened());
    line[32..].copy_from_slice(second.as_flattened());
}

/// Bit `4 j + t` goes to bit `8 t + j`.
fn spread(word: u32) -> u32 {
    // Bit t of a nibble at bit 8 t.
    let nibble = |n: u32| (n & 1) | (n & 2) << 7 | (n & 4) << 14 | (n & 8) << 21;
    (0..8).fold(0, |out, j| out | nibble(word >> (4 * j) & 15) << j)
}

/// Bit `8 t + j` goes to bit `4 j + t`.
fn unspread(word: u32) -> u32 {
    (0..32).fold(0, |out, bit| out | (word >> (bit % 4 * 8 + bit / 4) & 1) << bit)
}

/// Bytes of a packed matrix, or of a band of it that begins at a multiple of sixteen rows; `None`
/// if the format is not packed (F32) or `cols` is not a whole number of blocks.
pub fn packed_bytes(dtype: DType, rows: usize, cols: usize) -> Option<usize> {
    let row_bytes = Layout::new(dtype, cols).map(Layout::row_bytes)?;
    rows.checked_next_multiple_of(PACKED_GROUP)?.checked_mul(row_bytes)
}

/// Packs `rows` rows as the file has them (the matrix, or a band that begins at a multiple of
/// sixteen rows) into `packed_bytes(dtype, rows, cols)` bytes.
pub fn pack_rows(dtype: DType, source: &[u8], rows: usize, cols: usize, out: &mut [u8]) {
    let layout = Layout::new(dtype, cols).expect("a format that is packed");
    assert_eq!(source.len(), rows * layout.row_bytes(), "bytes of the rows");
    assert_eq!(Some(out.len()), packed_bytes(dtype, rows, cols), "bytes of the packed rows");
    if out.is_empty() {
        return;
    }
    let groups = source.chunks(layout.group_bytes());
    for (rows, group) in groups.zip(out.chunks_exact_mut(layout.group_bytes())) {
        if rows.len() == group.len() {
            layout.pack_group(rows, group);
        } else {
            let mut padded = vec![0; group.len()];
            padded[..rows.len()].copy_from_slice(rows);
            layout.pack_group(&padded, group);
        }
    }
}

/// Widens one row of a packed matrix to f32, to the bits of `dequantize_row` of the file's row.
pub fn unpack_row(
    dtype: DType,
    packed: &[u8],
    rows: usize,
    cols: usize,
    row: usize,
    out: &mut [f32],
) {
    let layout = Layout::new(dtype, cols).expect("a format that is packed");
    assert_eq!(Some(packed.len()), packed_bytes(dtype, rows, cols), "bytes of the packed rows");
    assert!(row < rows && out.len() == cols, "row {row} of {rows}, {} of {cols}", out.len());
    if cols == 0 {
        return;
    }
    let group = &packed[row / PACKED_GROUP * layout.group_bytes()..][..layout.group_bytes()];
    let mut block = vec![0; layout.block_bytes];
    for (index, out) in out.chunks_exact_mut(cols / layout.blocks).enumerate() {
        layout.gather(group, row % PACKED_GROUP, index, &mut block);
        dequantize_row(Level::Scalar, dtype, &block, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_bits_come_back() {
        for i in 0..1000u32 {
            let word = i.wrapping_mul(0x9e37_79b9);
            assert_eq!(unspread(spread(word)), word);
        }
        assert_eq!(spread(1 << 6), 1 << (16 + 1));
    }
}
