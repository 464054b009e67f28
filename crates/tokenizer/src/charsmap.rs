//! SentencePiece's compiled normalisation table: a double array from prefixes to replacements.
//! Source: google/sentencepiece `normalizer.cc`, the Darts-clone unit layout. Departure: every
//! index is checked, replacements are bounded.

use crate::TokenizerError;

const REPLACEMENT_BYTES_MAX: usize = 256;

/// The table.
#[derive(Default)]
pub(crate) struct Charsmap {
    units: Vec<u32>,
    replacements: String,
}

impl Charsmap {
    /// `u32` length of the double array, the array, replacements ending in NUL.
    pub(crate) fn new(blob: &[u8]) -> Result<Self, TokenizerError> {
        let file = "precompiled_charsmap";
        let truncated = |expected| TokenizerError::Truncated { file, offset: blob.len(), expected };
        let (head, rest) = blob.split_first_chunk::<4>().ok_or_else(|| truncated("a length"))?;
        let length = u32::from_le_bytes(*head) as usize;
        if length > rest.len() {
            return Err(truncated("the double array that byte 0 announces"));
        }
        let (array, texts) = rest.split_at(length);
        let units = array.as_chunks::<4>().0.iter().map(|unit| u32::from_le_bytes(*unit)).collect();
        let replacements =
            std::str::from_utf8(texts).map_err(|error| TokenizerError::BadEntry {
                what: "precompiled_charsmap byte",
                index: 4 + length + error.valid_up_to(),
                found: "no UTF-8".to_owned(),
                expected: "UTF-8",
            })?;
        Ok(Self { units, replacements: replacements.to_owned() })
    }

    /// The longest prefix of `text` in the table: its length and what replaces it.
    fn longest(&self, text: &[u8]) -> Option<(usize, &str)> {
        let base = |unit: u32| (unit >> 10) << ((unit & (1 << 9)) >> 6);
        let mut at = base(*self.units.first()?);
        let mut found = None;
        for (index, &byte) in text.iter().enumerate() {
            at ^= u32::from(byte);
            let Some(&unit) = self.units.get(at as usize) else { break };
            if byte == 0 || unit & (1 << 31 | 0xFF) != u32::from(byte) {
                break;
            }
            at ^= base(unit);
            if unit & (1 << 8) != 0
                && let Some(&leaf) = self.units.get(at as usize)
            {
                found = Some((index + 1, (leaf & 0x7FFF_FFFF) as usize));
            }
        }
        let (length, offset) = found?;
        let rest = self.replacements.get(offset..)?;
        let replacement = &rest[..rest.find('\0')?];
        (replacement.len() <= REPLACEMENT_BYTES_MAX).then_some((length, replacement))
    }

    /// Bound of a replacement's length for each byte replaced.
    pub(crate) fn growth(&self) -> usize {
        if self.replacements.is_empty() { 1 } else { REPLACEMENT_BYTES_MAX }
    }

    /// Replaces longest prefixes from left to right.
    pub(crate) fn apply(&self, text: &str) -> String {
        let mut result = String::with_capacity(text.len());
        let mut at = 0;
        while at < text.len() {
            match self.longest(&text.as_bytes()[at..]) {
                Some((length, replacement)) if text.is_char_boundary(at + length) => {
                    result.push_str(replacement);
                    at += length;
                }
                _ => {
                    let length = text[at..].chars().next().map_or(1, char::len_utf8);
                    result.push_str(&text[at..at + length]);
                    at += length;
                }
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_tables_are_errors_or_ignored() {
        assert!(Charsmap::new(b"abc").is_err());
        assert!(Charsmap::new(&[255, 0, 0, 0, 1]).is_err());
        assert!(Charsmap::new(&[0, 0, 0, 0, 0xFF]).is_err());
        for seed in 0..200u32 {
            let mut blob = vec![64, 0, 0, 0];
            blob.extend(
                (0..64u32).map(|i| (i.wrapping_mul(seed.wrapping_mul(2654435761)) >> 7) as u8),
            );
            blob.extend(b"abc\0def\0");
            let _ = Charsmap::new(&blob).unwrap().apply("hello \u{301} world");
        }
    }

    #[test]
    fn a_table_of_one_entry_replaces() {
        // Root: base 1. Child for `a` at 1 ^ 97, marked as having a leaf, base 2; the leaf holds
        // offset 0.
        let mut units = vec![0u32; 128];
        units[0] = 1 << 10;
        units[0x60] = 0x61 | 1 << 8 | 2 << 10;
        units[0x62] = 1 << 31;
        let mut blob = 512u32.to_le_bytes().to_vec();
        blob.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
        blob.extend("xy\0".as_bytes());
        assert_eq!(Charsmap::new(&blob).unwrap().apply("bab"), "bxyb");
    }
}
