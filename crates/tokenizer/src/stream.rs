//! Tokens to text one by one. Invariant: every piece handed out is complete UTF-8; the pieces
//! together are the decoded text, with U+FFFD where the bytes are no character.

use crate::{ShowSpecial, TokenId, Tokenizer};

/// Decodes tokens as they arrive. See `Tokenizer::stream_decoder`.
pub struct StreamDecoder<'a> {
    tokenizer: &'a Tokenizer,
    special: ShowSpecial,
    /// Nothing has been written: a leading space goes.
    first: bool,
    /// Bytes not yet handed out: at most the start of one character.
    pending: Vec<u8>,
    text: String,
}

impl<'a> StreamDecoder<'a> {
    pub(crate) fn new(tokenizer: &'a Tokenizer, special: ShowSpecial, first: bool) -> Self {
        Self { tokenizer, special, first, pending: Vec::new(), text: String::new() }
    }

    /// The characters that `id` completes; often empty in the middle of one.
    pub fn push(&mut self, id: TokenId) -> &str {
        self.tokenizer.spell(id, self.special, &mut self.first, &mut self.pending);
        self.text.clear();
        let mut rest = 0;
        for chunk in self.pending.utf8_chunks() {
            self.text.push_str(chunk.valid());
            rest += chunk.valid().len();
            // Only a start of a character at the very end may still become one.
            let at_end = rest + chunk.invalid().len() == self.pending.len();
            let waits = at_end && may_continue(chunk.invalid());
            if !chunk.invalid().is_empty() && !waits {
                self.text.push(char::REPLACEMENT_CHARACTER);
                rest += chunk.invalid().len();
            }
        }
        self.pending.drain(..rest);
        &self.text
    }

    /// What is left: U+FFFD for an unfinished character, otherwise nothing.
    pub fn finish(&mut self) -> &str {
        self.text.clear();
        if !self.pending.is_empty() {
            self.pending.clear();
            self.text.push(char::REPLACEMENT_CHARACTER);
        }
        &self.text
    }
}

/// Whether more bytes could make a character of these.
fn may_continue(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}
