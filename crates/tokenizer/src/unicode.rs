//! Character classes, as one table of flags for each code point, and the private escape for bytes
//! that are not UTF-8. Source of the data: the Unicode tables of `regex-syntax`, so that
//! hand-written scanners and regular expressions agree.

use std::borrow::Cow;
use std::sync::OnceLock;

use regex_syntax::hir::{Class, HirKind};

/// `\p{L}`
pub(crate) const LETTER: u16 = 1;
/// `\p{N}`
pub(crate) const NUMBER: u16 = 2;
/// `\s`
pub(crate) const SPACE: u16 = 4;
/// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`
pub(crate) const UPPER: u16 = 8;
/// `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`
pub(crate) const LOWER: u16 = 16;
/// `\p{P}`
pub(crate) const PUNCTUATION: u16 = 32;
/// `\p{Mn}`
pub(crate) const NONSPACING: u16 = 64;
/// `[\p{Cc}\p{Cf}\p{Co}]`
pub(crate) const OTHER: u16 = 128;
/// `\w`
pub(crate) const WORD: u16 = 256;
/// `\p{M}`
pub(crate) const MARK: u16 = 512;

struct Table {
    /// Flags of the first 128, which most text is made of.
    ascii: [u16; 128],
    blocks: Vec<u16>,
    flags: Vec<[u16; 256]>,
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(build)
}

fn build() -> Table {
    let mut all = vec![0u16; 0x11_0000];
    for (pattern, flag) in [
        (r"\p{L}", LETTER),
        (r"\p{N}", NUMBER),
        (r"\s", SPACE),
        (r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", UPPER),
        (r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]", LOWER),
        (r"\p{P}", PUNCTUATION),
        (r"\p{Mn}", NONSPACING),
        (r"[\p{Cc}\p{Cf}\p{Co}]", OTHER),
        (r"\w", WORD),
        (r"\p{M}", MARK),
    ] {
        let Ok(hir) = regex_syntax::parse(pattern) else { continue };
        if let HirKind::Class(Class::Unicode(class)) = hir.kind() {
            for range in class.ranges() {
                for flags in &mut all[range.start() as usize..=range.end() as usize] {
                    *flags |= flag;
                }
            }
        }
    }
    let mut ascii = [0; 128];
    ascii.copy_from_slice(&all[..128]);
    let mut result = Table { ascii, blocks: Vec::with_capacity(0x1100), flags: Vec::new() };
    for block in all.chunks_exact(256) {
        let known = result.flags.iter().position(|known| known == block);
        let index = known.unwrap_or_else(|| {
            let mut fresh = [0u16; 256];
            fresh.copy_from_slice(block);
            result.flags.push(fresh);
            result.flags.len() - 1
        });
        result.blocks.push(index as u16);
    }
    result
}

/// Classes looked up many times: holds the table.
#[derive(Clone, Copy)]
pub(crate) struct Classes(&'static Table);

impl Classes {
    pub(crate) fn new() -> Self {
        Self(table())
    }

    /// Flags of an ASCII character; 0 for any other byte.
    #[inline]
    pub(crate) fn of_ascii(self, byte: u8) -> u16 {
        self.0.ascii.get(byte as usize).copied().unwrap_or(0)
    }

    /// Flags of a character.
    #[inline]
    pub(crate) fn of(self, c: char) -> u16 {
        let code = c as usize;
        self.0.flags[self.0.blocks[code >> 8] as usize][code & 255]
    }
}

/// Flags of a character.
pub(crate) fn flags(c: char) -> u16 {
    Classes::new().of(c)
}

/// Punctuation as BERT counts it: Unicode's and all of ASCII's.
pub(crate) fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation() || flags(c) & PUNCTUATION != 0
}

/// Length of the character at the start of `bytes`: 1 where they are no UTF-8.
pub(crate) fn char_len(bytes: &[u8]) -> usize {
    // ASCII and bytes that begin no character: 1.
    let expected = match bytes.first() {
        None => return 0,
        Some(0xC2..=0xDF) => 2,
        Some(0xE0..=0xEF) => 3,
        Some(0xF0..=0xF4) => 4,
        Some(_) => return 1,
    };
    match bytes.get(..expected) {
        Some(head) if std::str::from_utf8(head).is_ok() => expected,
        _ => 1,
    }
}

/// Plane 16 private use: byte `b` that is not UTF-8 becomes `ESCAPE + b` while it passes through
/// stages that need text.
const ESCAPE: u32 = 0x10_FF00;

/// Text for stages that need UTF-8. Valid text is borrowed. Otherwise each byte outside a
/// character, and each byte of a genuine character in the escape range, becomes an escape, so that
/// `unescape` restores the bytes exactly.
pub(crate) fn escape(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len() + 16);
    let push_byte = |text: &mut String, byte: u8| {
        text.extend(char::from_u32(ESCAPE + u32::from(byte)));
    };
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c as u32 >= ESCAPE {
                let mut buffer = [0u8; 4];
                for &byte in c.encode_utf8(&mut buffer).as_bytes() {
                    push_byte(&mut text, byte);
                }
            } else {
                text.push(c);
            }
        }
        for &byte in chunk.invalid() {
            push_byte(&mut text, byte);
        }
    }
    Cow::Owned(text)
}

/// Undoes `escape`.
pub(crate) fn unescape(text: &str, out: &mut Vec<u8>) {
    let mut buffer = [0u8; 4];
    for c in text.chars() {
        match (c as u32).checked_sub(ESCAPE) {
            Some(byte) => out.push(byte as u8),
            None => out.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes()),
        }
    }
}

/// GPT-2's byte alphabet: printable Latin-1 stands for itself, the other 68 bytes for U+0100
/// onwards. Source: `bytes_to_unicode` in openai/gpt-2's `encoder.py`.
pub(crate) fn byte_to_char(byte: u8) -> char {
    let code = u32::from(byte);
    let shifted = match byte {
        0..=0x20 => 0x100 + code,
        0x7F..=0xA0 => 0x121 + code - 0x7F,
        0xAD => 0x143,
        _ => code,
    };
    char::from_u32(shifted).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The inverse of `byte_to_char`.
pub(crate) fn char_to_byte(c: char) -> Option<u8> {
    match c as u32 {
        code @ (0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF) => Some(code as u8),
        code @ 0x100..=0x120 => Some((code - 0x100) as u8),
        code @ 0x121..=0x142 => Some((code - 0x121 + 0x7F) as u8),
        0x143 => Some(0xAD),
        _ => None,
    }
}

/// Text in the byte alphabet back to bytes; none where a character is outside it.
pub(crate) fn from_byte_alphabet(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    from_byte_alphabet_into(text, &mut bytes).then_some(bytes)
}

/// The same, appended; false where a character is outside the alphabet.
pub(crate) fn from_byte_alphabet_into(text: &[u8], bytes: &mut Vec<u8>) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    bytes.reserve_exact(text.len());
    text.chars().all(|c| char_to_byte(c).map(|byte| bytes.push(byte)).is_some())
}

/// Whether text in the byte alphabet stands for these bytes.
pub(crate) fn alphabet_equals(text: &[u8], bytes: &[u8]) -> bool {
    let mut rest = text;
    // Characters of the alphabet have one or two bytes.
    bytes.iter().all(|&byte| {
        let mut buffer = [0; 4];
        let c: &[u8] = byte_to_char(byte).encode_utf8(&mut buffer).as_bytes();
        let found = rest.starts_with(c);
        rest = rest.get(c.len()..).unwrap_or_default();
        found
    }) && rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_alphabet_is_a_bijection() {
        let mut seen = std::collections::BTreeSet::new();
        for byte in 0..=255u8 {
            let c = byte_to_char(byte);
            assert_eq!(char_to_byte(c), Some(byte));
            assert!(seen.insert(c) && flags(c) & SPACE == 0);
        }
        assert_eq!(byte_to_char(b' '), 'Ġ');
        assert_eq!(byte_to_char(b'\n'), 'Ċ');
    }

    #[test]
    fn escapes_restore_every_byte() {
        for bytes in [&b"a\xFFb\xC3"[..], "x\u{10FF41}".as_bytes(), b"\xF4\x8F\xBD\x81\x80", b"ok"]
        {
            let mut back = Vec::new();
            match escape(bytes) {
                Cow::Borrowed(text) => back.extend_from_slice(text.as_bytes()),
                Cow::Owned(text) => unescape(&text, &mut back),
            }
            assert_eq!(back, bytes);
        }
    }

    #[test]
    fn classes_are_unicode() {
        assert_eq!(flags('a') & (LETTER | UPPER | LOWER), LETTER | LOWER);
        assert_eq!(flags('中') & (UPPER | LOWER), UPPER | LOWER);
        assert_ne!(flags('\u{3000}') & SPACE, 0);
        assert_ne!(flags('½') & NUMBER, 0);
        assert_eq!(char_len("中".as_bytes()), 3);
        assert_eq!(char_len(&"中".as_bytes()[..2]), 1);
    }
}
