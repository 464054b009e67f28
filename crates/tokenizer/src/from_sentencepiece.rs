//! SentencePiece's `tokenizer.model`, a protocol-buffers message read by hand. Source:
//! google/sentencepiece `sentencepiece_model.proto`; the wire format of protocol buffers.

use crate::budget::Budget;
use crate::texts::TextBuilder;
use crate::{TokenId, TokenKind, TokenizerError, Vocabulary};

const FILE: &str = "tokenizer.model";
/// A piece beside its text: its place, its score, its kind.
const PIECE_COST: usize = 4 + 4 + 1;

/// One field of a message.
enum Field<'a> {
    Varint(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
    Skipped,
}

/// Reads a message's fields. `base` is where the message begins in the file.
struct Message<'a> {
    bytes: &'a [u8],
    at: usize,
    base: usize,
}

impl<'a> Message<'a> {
    fn next(&mut self) -> Result<Option<(u64, Field<'a>)>, TokenizerError> {
        if self.at >= self.bytes.len() {
            return Ok(None);
        }
        let key = self.varint()?;
        let field = match key & 7 {
            0 => Field::Varint(self.varint()?),
            1 => {
                self.take(8)?;
                Field::Skipped
            }
            2 => {
                let length = self.varint()?;
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                Field::Bytes(self.take(length)?)
            }
            5 => {
                let bytes = self.take(4)?;
                Field::Fixed32(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            }
            wire => {
                return Err(TokenizerError::BadEntry {
                    what: "tokenizer.model byte",
                    index: self.base + self.at,
                    found: format!("wire type {wire}"),
                    expected: "0, 1, 2 or 5",
                });
            }
        };
        Ok(Some((key >> 3, field)))
    }

    fn truncated(&self, expected: &'static str) -> TokenizerError {
        TokenizerError::Truncated { file: FILE, offset: self.base + self.bytes.len(), expected }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], TokenizerError> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| self.truncated("the field that is announced"))?;
        let bytes = &self.bytes[self.at..end];
        self.at = end;
        Ok(bytes)
    }

    fn varint(&mut self) -> Result<u64, TokenizerError> {
        let mut value = 0u64;
        for shift in 0..10 {
            let byte = *self.bytes.get(self.at).ok_or_else(|| self.truncated("a varint"))?;
            self.at += 1;
            value |= u64::from(byte & 0x7F) << (7 * shift);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(TokenizerError::BadEntry {
            what: "tokenizer.model byte",
            index: self.base + self.at,
            found: "a varint of more than 10 bytes".to_owned(),
            expected: "a varint",
        })
    }

    /// The message in a field just read.
    fn inner(&self, bytes: &'a [u8]) -> Message<'a> {
        Message { bytes, at: 0, base: self.base + self.at - bytes.len() }
    }
}

/// What the trainer's and normalizer's parts say.
struct Specs {
    unigram: bool,
    ids: [i32; 4],
}

/// The vocabulary of a model file.
pub(crate) fn read(model: &[u8], budget: &mut Budget) -> Result<Vocabulary, TokenizerError> {
    let (count, bytes) = size(model)?;
    budget.charge("memory for the pieces of tokenizer.model", count, PIECE_COST)?;
    budget.charge("memory for the texts of tokenizer.model", bytes, 1)?;
    let mut tokens = TextBuilder::with_capacity(count, bytes);
    let mut vocabulary = Vocabulary {
        scores: Vec::with_capacity(count),
        kinds: Vec::with_capacity(count),
        add_space_prefix: Some(true),
        remove_extra_whitespaces: Some(true),
        ..Vocabulary::default()
    };
    let mut specs = Specs { unigram: true, ids: [0, 1, 2, -1] };
    let mut message = Message { bytes: model, at: 0, base: 0 };
    while let Some((number, field)) = message.next()? {
        match (number, field) {
            (1, Field::Bytes(bytes)) => piece(message.inner(bytes), &mut tokens, &mut vocabulary)?,
            (2, Field::Bytes(bytes)) => trainer(message.inner(bytes), &mut specs)?,
            (3, Field::Bytes(bytes)) => normalizer(message.inner(bytes), &mut vocabulary, budget)?,
            _ => {}
        }
    }
    if specs.unigram { "t5" } else { "llama" }.clone_into(&mut vocabulary.model);
    vocabulary.tokens = tokens.finish();
    let len = vocabulary.tokens.len();
    let keys = [
        "trainer_spec.unk_id",
        "trainer_spec.bos_id",
        "trainer_spec.eos_id",
        "trainer_spec.pad_id",
    ];
    let mut ids = [None; 4];
    for ((slot, id), key) in ids.iter_mut().zip(specs.ids).zip(keys) {
        let Ok(id) = TokenId::try_from(id) else { continue };
        if id as usize >= len {
            return Err(TokenizerError::IdOutOfRange { key, id: u64::from(id), len });
        }
        *slot = Some(id);
    }
    [vocabulary.unk, vocabulary.bos, vocabulary.eos, vocabulary.pad] = ids;
    vocabulary.add_bos = Some(vocabulary.bos.is_some() && !specs.unigram);
    vocabulary.add_eos = Some(vocabulary.eos.is_some() && specs.unigram);
    Ok(vocabulary)
}

/// Number of pieces, and the bytes of their texts: at most those of their messages.
fn size(model: &[u8]) -> Result<(usize, usize), TokenizerError> {
    let (mut count, mut sum) = (0, 0);
    let mut message = Message { bytes: model, at: 0, base: 0 };
    while let Some((number, field)) = message.next()? {
        if let (1, Field::Bytes(bytes)) = (number, field) {
            (count, sum) = (count + 1, sum + bytes.len());
        }
    }
    Ok((count, sum))
}

fn piece(
    mut message: Message<'_>,
    tokens: &mut TextBuilder,
    vocabulary: &mut Vocabulary,
) -> Result<(), TokenizerError> {
    let (mut text, mut score, mut kind): (&[u8], f32, _) = (&[], 0.0, TokenKind::Normal);
    while let Some((number, field)) = message.next()? {
        match (number, field) {
            (1, Field::Bytes(bytes)) => text = bytes,
            (2, Field::Fixed32(bits)) => score = f32::from_bits(bits),
            (3, Field::Varint(value)) => {
                let number = i64::try_from(value).unwrap_or(-1);
                kind = TokenKind::from_gguf(number, tokens.len())?;
            }
            _ => {}
        }
    }
    tokens.push(text);
    vocabulary.scores.push(score);
    vocabulary.kinds.push(kind);
    Ok(())
}

fn trainer(mut message: Message<'_>, specs: &mut Specs) -> Result<(), TokenizerError> {
    while let Some((number, field)) = message.next()? {
        match (number, field) {
            (3, Field::Varint(1)) => specs.unigram = true,
            (3, Field::Varint(2)) => specs.unigram = false,
            (3, Field::Varint(other)) => {
                return Err(TokenizerError::Unsupported {
                    what: "SentencePiece model_type",
                    name: other.to_string(),
                    supported: "1 (unigram), 2 (BPE)",
                });
            }
            (id @ 40..=43, Field::Varint(value)) => specs.ids[(id - 40) as usize] = value as i32,
            _ => {}
        }
    }
    Ok(())
}

fn normalizer(
    mut message: Message<'_>,
    vocabulary: &mut Vocabulary,
    budget: &mut Budget,
) -> Result<(), TokenizerError> {
    while let Some((number, field)) = message.next()? {
        match (number, field) {
            (2, Field::Bytes(blob)) if !blob.is_empty() => {
                // As it is, and as a table.
                budget.charge("memory for precompiled_charsmap", blob.len(), 2)?;
                vocabulary.precompiled_charsmap = Some(blob.to_vec());
            }
            (3, Field::Varint(value)) => vocabulary.add_space_prefix = Some(value != 0),
            (4, Field::Varint(value)) => vocabulary.remove_extra_whitespaces = Some(value != 0),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_messages_name_the_byte() {
        // Piece `a`, score -1, normal; then cut at every byte.
        let read = |model: &[u8]| read(model, &mut Budget::of(1 << 20));
        let whole = [0x0A, 10, 0x0A, 1, b'a', 0x15, 0, 0, 0x80, 0xBF, 0x18, 1];
        let one = read(&whole);
        assert!(matches!(
            one,
            Err(TokenizerError::IdOutOfRange { key: "trainer_spec.bos_id", id: 1, .. })
        ));
        for cut in 1..whole.len() {
            assert!(matches!(read(&whole[..cut]), Err(TokenizerError::Truncated { .. })), "{cut}");
        }
        assert!(matches!(read(&[0x0B]), Err(TokenizerError::BadEntry { index: 1, .. })));
        assert!(matches!(read(&[0xFF; 12]), Err(TokenizerError::BadEntry { .. })));
        assert!(matches!(read(&[0x0A, 2, 0x18, 9]), Err(TokenizerError::BadEntry { .. })));
    }
}
