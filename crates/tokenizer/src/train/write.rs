//! What training made, as `tokenizer.json` and as a tokenizer. Source of the format: the
//! `tokenizers` library's serialisation.

use std::io::{self, Write};

use serde_json::Value;

use super::pattern::SplitPattern;
use super::words::{Pair, sides};
use crate::to_json::{Document, Special};
use crate::unicode::byte_to_char;
use crate::{TokenId, Tokenizer, TokenizerError};

/// A trained vocabulary.
pub struct Trained {
    /// As they are stored: special tokens as they are, the others in the byte alphabet.
    tokens: Vec<String>,
    special: usize,
    merges: Vec<(TokenId, TokenId)>,
    begin: Option<TokenId>,
    pre_tokenizer: Value,
}

impl Trained {
    pub(super) fn new(
        special: &[String],
        bytes: &[Box<[u8]>],
        merges: Vec<Pair>,
        begin: Option<TokenId>,
        pattern: &SplitPattern,
    ) -> Self {
        let spelled = |bytes: &[u8]| bytes.iter().map(|&byte| byte_to_char(byte)).collect();
        let pieces = bytes.iter().skip(special.len()).map(|bytes| spelled(bytes));
        Self {
            tokens: special.iter().cloned().chain(pieces).collect(),
            special: special.len(),
            merges: merges.into_iter().map(sides).collect(),
            begin,
            pre_tokenizer: pattern.to_json(),
        }
    }

    /// Number of tokens.
    #[expect(clippy::len_without_is_empty, reason = "a vocabulary has at least one token")]
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Tokens by id, as `tokenizer.json` spells them.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// Merges in order of rank.
    pub fn merges(&self) -> &[(TokenId, TokenId)] {
        &self.merges
    }

    /// Writes `tokenizer.json`.
    ///
    /// # Errors
    /// What the writer reports.
    pub fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, &self.to_json()).map_err(io::Error::from)?;
        out.write_all(b"\n")
    }

    /// The tokenizer that reading `tokenizer.json` gives.
    ///
    /// # Errors
    /// As [`Tokenizer::from_tokenizer_json`]; none is expected.
    pub fn tokenizer(&self) -> Result<Tokenizer, TokenizerError> {
        Tokenizer::from_tokenizer_json(self.to_json().to_string().as_bytes(), None)
    }

    fn to_json(&self) -> Value {
        let text = |id: TokenId| self.tokens[id as usize].as_str();
        let numbered = || self.tokens.iter().zip(0_u32..);
        let special = numbered().take(self.special);
        let begin = self.begin.map(|id| (text(id), id));
        let document = Document {
            added: special.map(|(text, id)| (text.as_str(), id, Special::Yes)).collect(),
            vocab: numbered().map(|(text, id)| (text.clone(), id.into())).collect(),
            merges: self.merges.iter().map(|&(left, right)| [text(left), text(right)]).collect(),
            around: [begin.into_iter().collect(), Vec::new()],
            pre_tokenizer: self.pre_tokenizer.clone(),
            ignore_merges: false,
        };
        document.into_json()
    }
}
