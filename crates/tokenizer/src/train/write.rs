//! What training made, as `tokenizer.json` and as a tokenizer. Source of the format: the
//! `tokenizers` library's serialisation.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::pattern::SplitPattern;
use super::words::{Pair, sides};
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
        let special: Vec<Value> = (0..self.special)
            .map(|id| {
                json!({
                    "id": id, "content": self.tokens[id], "single_word": false, "lstrip": false,
                    "rstrip": false, "normalized": false, "special": true
                })
            })
            .collect();
        let vocab: Map<String, Value> =
            self.tokens.iter().enumerate().map(|(id, text)| (text.clone(), id.into())).collect();
        let merges = self.merges.iter().map(|&(left, right)| json!([text(left), text(right)]));
        json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": special,
            "normalizer": null,
            "pre_tokenizer": self.pre_tokenizer,
            "post_processor": self.begin.map_or(Value::Null, |id| begins(text(id), id)),
            "decoder": {
                "type": "ByteLevel", "add_prefix_space": true,
                "trim_offsets": true, "use_regex": true
            },
            "model": {
                "type": "BPE",
                "dropout": null,
                "unk_token": null,
                "continuing_subword_prefix": null,
                "end_of_word_suffix": null,
                "fuse_unk": false,
                "byte_fallback": false,
                "ignore_merges": false,
                "vocab": vocab,
                "merges": merges.collect::<Vec<_>>()
            }
        })
    }
}

/// A post-processor that puts a token before a text, and before the second of a pair.
fn begins(name: &str, id: TokenId) -> Value {
    let token = |kind: u8| json!({"SpecialToken": {"id": name, "type_id": kind}});
    let text = |name: &str, kind: u8| json!({"Sequence": {"id": name, "type_id": kind}});
    json!({
        "type": "TemplateProcessing",
        "single": [token(0), text("A", 0)],
        "pair": [token(0), text("A", 0), token(1), text("B", 1)],
        "special_tokens": {name: {"id": name, "ids": [id], "tokens": [name]}}
    })
}
