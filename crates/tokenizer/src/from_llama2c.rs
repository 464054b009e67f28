//! llama2.c's `tokenizer.bin`: the longest piece's length, then score, length and bytes of each
//! piece. Source: karpathy/llama2.c `tokenizer.py` and `run.c`. Spaces are written as such there,
//! and the two control tokens carry line ends; both are put back into SentencePiece's spelling.

use crate::budget::Budget;
use crate::model::byte_of;
use crate::texts::TextBuilder;
use crate::{TokenKind, TokenizerError, Vocabulary};

/// A piece beside its text: its place, its score, its kind.
const PIECE_COST: usize = 4 + 4 + 1;

/// The vocabulary of `vocab_size` pieces.
pub(crate) fn read(
    bin: &[u8],
    vocab_size: usize,
    budget: &mut Budget,
) -> Result<Vocabulary, TokenizerError> {
    let mut vocabulary = Vocabulary { model: "llama".to_owned(), ..Vocabulary::default() };
    // No more than there can be: each piece has a score and a length.
    let count = vocab_size.min(bin.len() / 8);
    budget.charge("memory for the pieces of tokenizer.bin", count, PIECE_COST)?;
    let spaces = bin.split(|byte| *byte == b' ').count() - 1;
    // The three control tokens may be longer than what stands for them.
    let bytes = bin.len() + 2 * spaces + 16;
    budget.charge("memory for the texts of tokenizer.bin", bytes, 1)?;
    let mut tokens = TextBuilder::with_capacity(count, bytes);
    vocabulary.scores.reserve_exact(count);
    vocabulary.kinds.reserve_exact(count);
    let mut at = 4;
    for index in 0..vocab_size {
        let word = |from: usize| bin.get(from..from + 4).map(|b| [b[0], b[1], b[2], b[3]]);
        let truncated = |expected| TokenizerError::Truncated {
            file: "tokenizer.bin",
            offset: bin.len(),
            expected,
        };
        let score = word(at).ok_or_else(|| truncated("the score of a piece"))?;
        let length = word(at + 4).ok_or_else(|| truncated("the length of a piece"))?;
        let length = u32::from_le_bytes(length) as usize;
        at += 8;
        let end = at.checked_add(length).filter(|end| *end <= bin.len());
        let text = &bin[at..end.ok_or_else(|| truncated("the bytes of a piece"))?];
        at += length;
        let kind = match (index, byte_of(text)) {
            (0, _) => TokenKind::Unknown,
            (1 | 2, _) => TokenKind::Control,
            (_, Some(_)) => TokenKind::Byte,
            _ => TokenKind::Normal,
        };
        match index {
            0..3 => tokens.push([&b"<unk>"[..], b"<s>", b"</s>"][index]),
            _ => marked(text, &mut tokens),
        }
        vocabulary.scores.push(f32::from_le_bytes(score));
        vocabulary.kinds.push(kind);
    }
    if vocab_size < 3 {
        return Err(TokenizerError::Missing {
            what: "first three pieces",
            expected: "unknown, begin-of-text, end-of-text",
        });
    }
    vocabulary.tokens = tokens.finish();
    (vocabulary.unk, vocabulary.bos, vocabulary.eos) = (Some(0), Some(1), Some(2));
    (vocabulary.add_bos, vocabulary.add_eos) = (Some(true), Some(false));
    vocabulary.add_space_prefix = Some(true);
    Ok(vocabulary)
}

/// Appends a text with U+2581 for spaces.
fn marked(text: &[u8], tokens: &mut TextBuilder) {
    for (index, part) in text.split(|byte| *byte == b' ').enumerate() {
        if index > 0 {
            tokens.extend("\u{2581}".as_bytes());
        }
        tokens.extend(part);
    }
    tokens.end();
}
