//! Sixteen rows of 32-bit words to lines of sixteen lanes.

use super::PACKED_GROUP;

/// Word w of row r, which begins at byte `r * stride` of `source`, becomes lane r of line w.
pub(crate) fn transpose(source: &[u8], stride: usize, lines: &mut [[u8; 64]]) {
    // All sixteen words of a line of the cache at once, of four rows: rows that lie a power of two
    // apart share few places in the first-level cache.
    for (index, lines) in lines.chunks_mut(16).enumerate() {
        for quad in 0..PACKED_GROUP / 4 {
            let rows: [&[u8]; 4] = std::array::from_fn(|r| {
                let from = (4 * quad + r) * stride + 64 * index;
                &source[from..][..4 * lines.len()]
            });
            let (whole, rest) = lines.as_chunks_mut::<4>();
            let rows = rows.map(<[u8]>::as_chunks::<16>);
            for (i, lines) in whole.iter_mut().enumerate() {
                let words = four_by_four(rows.map(|(words, _)| words[i]));
                for (line, words) in lines.iter_mut().zip(words) {
                    line[16 * quad..][..16].copy_from_slice(&words);
                }
            }
            for (i, line) in rest.iter_mut().enumerate() {
                for (r, (_, words)) in rows.iter().enumerate() {
                    line[4 * (4 * quad + r)..][..4].copy_from_slice(&words[4 * i..][..4]);
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn four_by_four(rows: [[u8; 16]; 4]) -> [[u8; 16]; 4] {
    #[allow(clippy::wildcard_imports, reason = "intrinsics, all with a prefix")]
    use std::arch::x86_64::*;
    // SAFETY: SSE2 is in the baseline; both types are 128 bits of plain numbers.
    unsafe {
        let [a, b, c, d] = rows.map(|row| std::mem::transmute::<[u8; 16], __m128i>(row));
        let (ab, cd) = (_mm_unpacklo_epi32(a, b), _mm_unpacklo_epi32(c, d));
        let (ef, gh) = (_mm_unpackhi_epi32(a, b), _mm_unpackhi_epi32(c, d));
        let columns = [
            _mm_unpacklo_epi64(ab, cd),
            _mm_unpackhi_epi64(ab, cd),
            _mm_unpacklo_epi64(ef, gh),
            _mm_unpackhi_epi64(ef, gh),
        ];
        columns.map(|column| std::mem::transmute::<__m128i, [u8; 16]>(column))
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn four_by_four(rows: [[u8; 16]; 4]) -> [[u8; 16]; 4] {
    std::array::from_fn(|column| {
        let mut words = [0; 16];
        for (word, row) in words.chunks_exact_mut(4).zip(&rows) {
            word.copy_from_slice(&row[4 * column..][..4]);
        }
        words
    })
}
