//! llama2.c's `tokenizer.bin`: the longest piece's length, then score, length and bytes of each
//! piece. Source: karpathy/llama2.c `tokenizer.py` and `run.c`. Spaces are written as such there,
//! and the two control tokens carry line ends; both are put back into SentencePiece's spelling.

use crate::model::byte_of;
use crate::{TokenKind, TokenizerError, Vocabulary};

/// The vocabulary of `vocab_size` pieces.
pub(crate) fn read(bin: &[u8], vocab_size: usize) -> Result<Vocabulary, TokenizerError> {
    let mut vocabulary = Vocabulary { model: "llama".to_owned(), ..Vocabulary::default() };
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
        let (text, kind) = match (index, byte_of(text)) {
            (0, _) => (b"<unk>".to_vec(), TokenKind::Unknown),
            (1, _) => (b"<s>".to_vec(), TokenKind::Control),
            (2, _) => (b"</s>".to_vec(), TokenKind::Control),
            (_, Some(_)) => (text.to_vec(), TokenKind::Byte),
            _ => (marked(text), TokenKind::Normal),
        };
        vocabulary.tokens.push(text);
        vocabulary.scores.push(f32::from_le_bytes(score));
        vocabulary.kinds.push(kind);
    }
    if vocab_size < 3 {
        return Err(TokenizerError::Missing {
            what: "first three pieces",
            expected: "unknown, begin-of-text, end-of-text",
        });
    }
    (vocabulary.unk, vocabulary.bos, vocabulary.eos) = (Some(0), Some(1), Some(2));
    (vocabulary.add_bos, vocabulary.add_eos) = (Some(true), Some(false));
    vocabulary.add_space_prefix = Some(true);
    Ok(vocabulary)
}

fn marked(text: &[u8]) -> Vec<u8> {
    let mark = "\u{2581}".as_bytes();
    text.iter()
        .flat_map(
            |byte| if *byte == b' ' { mark.iter() } else { std::slice::from_ref(byte).iter() },
        )
        .copied()
        .collect()
}
