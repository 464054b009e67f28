//! The tokenizer: text in, `TokenId`s out, and back. Invariant: only text outside the `literal` ranges can become a
//! control or user-defined token; what a person typed encodes as plain text whatever it spells.
//!
//! The stages are those of the `tokenizers` library (added tokens, normalizers, pre-tokenizers, model, post-processor);
//! every file format is translated into them.

use std::borrow::Cow;
use std::ops::Range;

use crate::{StreamDecoder, TokenId, TokenizerError, Vocabulary};

/// Whether to put begin-of-text and the like around the text, as the vocabulary asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddSpecial {
    /// As the vocabulary's settings say.
    Yes,
    /// Never.
    No,
}

/// Whether the spelling of a control token in the text becomes that token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseSpecial {
    /// Outside the literal ranges, yes: for the output of a chat template.
    Yes,
    /// No: control tokens are plain text. User-defined tokens still match outside the literal ranges.
    No,
}

/// Whether control tokens appear in decoded text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShowSpecial {
    /// As their spelling.
    Yes,
    /// Not at all.
    No,
}

/// A vocabulary ready for use. Immutable; share it between threads.
pub struct Tokenizer {
    vocabulary: Vocabulary,
    warnings: Vec<String>,
}

fn later(name: &str) -> TokenizerError {
    TokenizerError::Unsupported { what: "reader", name: name.to_owned(), supported: "none yet" }
}

impl Tokenizer {
    /// From GGUF metadata, gathered into a `Vocabulary`.
    ///
    /// # Errors
    /// Every inconsistency, naming key and index.
    pub fn new(vocabulary: Vocabulary) -> Result<Self, TokenizerError> {
        vocabulary.check()?;
        Ok(Self { vocabulary, warnings: Vec::new() })
    }

    /// From Hugging Face's `tokenizer.json`, with `tokenizer_config.json` where there is one.
    ///
    /// # Errors
    /// Not JSON, parts missing or of the wrong kind, or a component that is not built here.
    pub fn from_tokenizer_json(
        _json: &[u8],
        _tokenizer_config: Option<&[u8]>,
    ) -> Result<Self, TokenizerError> {
        Err(later("tokenizer.json"))
    }

    /// From SentencePiece's `tokenizer.model`.
    ///
    /// # Errors
    /// Not that protobuf message, or a broken one.
    pub fn from_sentencepiece(_model: &[u8]) -> Result<Self, TokenizerError> {
        Err(later("tokenizer.model"))
    }

    /// From llama2.c's `tokenizer.bin`, which does not say how many tokens it holds.
    ///
    /// # Errors
    /// Truncation, with the byte offset.
    pub fn from_llama2c(_bin: &[u8], _vocab_size: usize) -> Result<Self, TokenizerError> {
        Err(later("tokenizer.bin"))
    }

    /// From a tiktoken file of ranks (`base64 rank` a line); `family` is a name of `tokenizer.ggml.pre`, which also
    /// decides the special tokens that follow the ranks.
    ///
    /// # Errors
    /// Lines that do not parse, ranks that are missing or doubled.
    pub fn from_tiktoken(_ranks: &[u8], _family: &str) -> Result<Self, TokenizerError> {
        Err(later("tiktoken"))
    }

    /// From `vocab.json` and `merges.txt`; `family` is a name of `tokenizer.ggml.pre`; `tokenizer_config` is
    /// `tokenizer_config.json` (added tokens, template).
    ///
    /// # Errors
    /// As for `tokenizer.json`.
    pub fn from_vocab_and_merges(
        _vocab: &[u8],
        _merges: &[u8],
        _family: &str,
        _tokenizer_config: Option<&[u8]>,
    ) -> Result<Self, TokenizerError> {
        Err(later("vocab.json"))
    }

    /// From BERT's `vocab.txt`, a piece a line.
    ///
    /// # Errors
    /// Duplicates; `[UNK]`, `[CLS]` or `[SEP]` missing.
    pub fn from_bert_vocab(_vocab: &[u8], _lowercase: bool) -> Result<Self, TokenizerError> {
        Err(later("vocab.txt"))
    }

    /// The vocabulary in GGUF's terms.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// What a person should know about this vocabulary (an unknown pre-tokenizer, for example). Often empty.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Number of tokens.
    #[expect(clippy::len_without_is_empty, reason = "a vocabulary has at least one token")]
    pub fn len(&self) -> usize {
        self.vocabulary.tokens.len()
    }

    /// Text to tokens. `text` need not be UTF-8. `literal` are byte ranges of `text` in which no control or user-defined
    /// token may begin, end or pass (runs of white space excepted); any order, they may overlap.
    pub fn encode(
        &self,
        _text: &[u8],
        _literal: &[Range<usize>],
        _add: AddSpecial,
        _special: ParseSpecial,
    ) -> Vec<TokenId> {
        Vec::new()
    }

    /// Tokens to bytes. Ids that do not exist are skipped. The space that SentencePiece puts before a text is removed.
    pub fn decode(&self, _ids: &[TokenId], _special: ShowSpecial) -> Vec<u8> {
        Vec::new()
    }

    /// The bytes that a token stands for (control tokens: their spelling).
    pub fn piece(&self, _id: TokenId) -> Option<Cow<'_, [u8]>> {
        None
    }

    /// The token as the vocabulary stores it.
    pub fn token_text(&self, id: TokenId) -> Option<&[u8]> {
        self.vocabulary.tokens.get(id as usize).map(Vec::as_slice)
    }

    /// The id of a token by its stored text.
    pub fn token_id(&self, _text: &[u8]) -> Option<TokenId> {
        None
    }

    /// A decoder for tokens that arrive one by one, at the start of a text (equal to `decode` of all of them).
    pub fn stream_decoder(&self, special: ShowSpecial) -> StreamDecoder<'_> {
        StreamDecoder::new(self, special)
    }

    /// The same for a text that continues another: the first token keeps its leading space.
    pub fn stream_decoder_continuing(&self, special: ShowSpecial) -> StreamDecoder<'_> {
        StreamDecoder::new(self, special)
    }

    /// Whether a token is structure (control or unknown), not text.
    pub fn is_control(&self, _id: TokenId) -> bool {
        false
    }

    /// Whether a token ends an answer: `eos`, `eot`, `eom` and the names that models use for them.
    pub fn is_end_of_generation(&self, _id: TokenId) -> bool {
        false
    }

    /// Begin of text.
    pub fn bos(&self) -> Option<TokenId> {
        self.vocabulary.bos
    }

    /// End of text.
    pub fn eos(&self) -> Option<TokenId> {
        self.vocabulary.eos
    }
}
