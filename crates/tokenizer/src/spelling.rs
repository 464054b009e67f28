//! From a token's stored text to the bytes that it stands for.

use std::borrow::Cow;

use crate::model::byte_of;
use crate::unicode::from_byte_alphabet;

/// How a vocabulary stores its pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// GPT-2's byte alphabet.
    ByteLevel,
    /// U+2581 for a space, `<0xAB>` for a byte.
    Marked,
    /// U+2581 before the first piece of a word, continuations bare.
    WordPiece,
    /// As they are.
    Plain,
}

impl Spelling {
    /// The bytes of `text`.
    pub(crate) fn bytes(self, text: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Self::Plain => Cow::Borrowed(text),
            Self::ByteLevel => from_byte_alphabet(text).map_or(Cow::Borrowed(text), Cow::Owned),
            Self::Marked | Self::WordPiece => match byte_of(text) {
                Some(byte) if self == Self::Marked => Cow::Owned(vec![byte]),
                _ => unmark(text),
            },
        }
    }
}

fn unmark(text: &[u8]) -> Cow<'_, [u8]> {
    const MARK: &[u8] = "\u{2581}".as_bytes();
    if !text.windows(MARK.len()).any(|window| window == MARK) {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with(MARK) {
            bytes.push(b' ');
            at += MARK.len();
        } else {
            bytes.push(text[at]);
            at += 1;
        }
    }
    Cow::Owned(bytes)
}

/// Takes the space off a mark that stands behind a word, as BERT's decoders do.
pub(crate) fn tidy(piece: &[u8]) -> &[u8] {
    match piece {
        [b' ', b'.' | b'?' | b'!' | b','] => &piece[1..],
        _ => piece,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        let check = |spelling: Spelling, text: &str, expected: &[u8]| {
            assert_eq!(spelling.bytes(text.as_bytes()), expected);
        };
        check(Spelling::ByteLevel, "ĠaÃ", b" a\xC3");
        check(Spelling::ByteLevel, "中", "中".as_bytes());
        check(Spelling::Marked, "▁a▁", b" a ");
        check(Spelling::Marked, "<0xfF>", b"\xFF");
        check(Spelling::WordPiece, "<0xFF>", b"<0xFF>");
        assert_eq!(tidy(b" ?"), b"?");
    }
}
