//! The tokenizer: text in, `TokenId`s out, and back. Invariant: only text outside the `literal`
//! ranges can become a control or user-defined token; what a person typed encodes as plain text
//! whatever it spells.
//!
//! The stages are those of the `tokenizers` library (added tokens, normalizers, pre-tokenizers,
//! model, post-processor); every file format is translated into them.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use crate::added::{AddedSet, Literal};
use crate::budget::Budget;
use crate::index::TokenIndex;
use crate::model::{Model, Scratch};
use crate::normalize::Normalizer;
use crate::pattern::Pattern;
use crate::scan::Scanner;
use crate::spaces::SpaceCut;
use crate::spelling::Spelling;
use crate::split::{Behavior, Splitter, Step, Word};
use crate::unicode::{Classes, escape, unescape};
use crate::{Encoder, StreamDecoder, TokenId, TokenKind, TokenizerError, Vocabulary};

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
    /// No: control tokens are plain text. User-defined tokens still match outside the literal
    /// ranges.
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
    pub(crate) vocabulary: Vocabulary,
    pub(crate) warnings: Vec<String>,
    pub(crate) pipeline: Pipeline,
    pub(crate) ids: TokenIndex,
    pub(crate) ends: Vec<TokenId>,
}

/// The stages.
pub(crate) struct Pipeline {
    /// Matched in the text as it comes.
    pub(crate) raw: Arc<AddedSet>,
    /// Matched after normalization.
    pub(crate) normalized: AddedSet,
    /// Both, matched in the text as it comes: where there are literal ranges.
    pub(crate) all: Arc<AddedSet>,
    pub(crate) normalizers: Vec<Normalizer>,
    pub(crate) steps: Vec<Step>,
    pub(crate) model: Model,
    /// For models that see whole texts: where those may be cut.
    pub(crate) cut: Option<SpaceCut>,
    pub(crate) prefix: Vec<TokenId>,
    pub(crate) suffix: Vec<TokenId>,
    pub(crate) spelling: Spelling,
    /// A text starts with a space that was not written.
    pub(crate) leading_space: bool,
}

impl Tokenizer {
    /// From a `Vocabulary` that is trusted not to be larger than it should.
    ///
    /// # Errors
    /// Every inconsistency, naming key and index.
    pub fn new(vocabulary: Vocabulary) -> Result<Self, TokenizerError> {
        Self::within(vocabulary, u64::MAX)
    }

    /// From GGUF metadata, gathered into a `Vocabulary`, with at most `memory_bytes` of memory at
    /// any time for the vocabulary's numbers, tables and settings, texts apart.
    ///
    /// # Errors
    /// Every inconsistency, naming key and index; `Limit` for a vocabulary that needs more.
    pub fn within(vocabulary: Vocabulary, memory_bytes: u64) -> Result<Self, TokenizerError> {
        let mut budget = Budget::of(usize::try_from(memory_bytes).unwrap_or(usize::MAX));
        budget.charge(crate::model::TOKENS, vocabulary.number_bytes(), 1)?;
        crate::from_gguf::build(vocabulary, &mut budget)
    }

    /// From Hugging Face's `tokenizer.json`, with `tokenizer_config.json` where there is one.
    ///
    /// # Errors
    /// Not JSON, parts missing or of the wrong kind, or a component that is not built here.
    pub fn from_tokenizer_json(
        json: &[u8],
        tokenizer_config: Option<&[u8]>,
    ) -> Result<Self, TokenizerError> {
        crate::from_json::read(json, tokenizer_config)
    }

    /// From SentencePiece's `tokenizer.model`.
    ///
    /// # Errors
    /// Not that protobuf message, or a broken one.
    pub fn from_sentencepiece(model: &[u8]) -> Result<Self, TokenizerError> {
        let mut budget = Budget::for_files(model.len())?;
        let vocabulary = crate::from_sentencepiece::read(model, &mut budget)?;
        crate::from_gguf::build(vocabulary, &mut budget)
    }

    /// From llama2.c's `tokenizer.bin`, which does not say how many tokens it holds.
    ///
    /// # Errors
    /// Truncation, with the byte offset.
    pub fn from_llama2c(bin: &[u8], vocab_size: usize) -> Result<Self, TokenizerError> {
        let mut budget = Budget::for_files(bin.len())?;
        let vocabulary = crate::from_llama2c::read(bin, vocab_size, &mut budget)?;
        crate::from_gguf::build(vocabulary, &mut budget)
    }

    /// From a tiktoken file of ranks (`base64 rank` a line); `family` is a name of
    /// `tokenizer.ggml.pre` (or `cl100k`), which also decides the special tokens that follow the
    /// ranks.
    ///
    /// # Errors
    /// Lines that do not parse, ranks that are missing or doubled.
    pub fn from_tiktoken(ranks: &[u8], family: &str) -> Result<Self, TokenizerError> {
        crate::from_tiktoken::read(ranks, family)
    }

    /// From `vocab.json` and `merges.txt`; `family` is a name of `tokenizer.ggml.pre`;
    /// `tokenizer_config` is `tokenizer_config.json` (added tokens, template).
    ///
    /// # Errors
    /// As for `tokenizer.json`.
    pub fn from_vocab_and_merges(
        vocab: &[u8],
        merges: &[u8],
        family: &str,
        tokenizer_config: Option<&[u8]>,
    ) -> Result<Self, TokenizerError> {
        let config = tokenizer_config.unwrap_or_default().len();
        let mut budget = Budget::for_files(vocab.len() + merges.len() + config)?;
        let vocabulary = crate::from_lists::vocab_and_merges(
            [vocab, merges],
            family,
            tokenizer_config,
            &mut budget,
        )?;
        crate::from_gguf::build(vocabulary, &mut budget)
    }

    /// From BERT's `vocab.txt`, a piece a line.
    ///
    /// # Errors
    /// Duplicates; `[UNK]`, `[CLS]` or `[SEP]` missing.
    pub fn from_bert_vocab(vocab: &[u8], lowercase: bool) -> Result<Self, TokenizerError> {
        let mut budget = Budget::for_files(vocab.len())?;
        let vocabulary = crate::from_lists::bert(vocab, lowercase, &mut budget)?;
        crate::from_gguf::build(vocabulary, &mut budget)
    }

    /// The vocabulary in GGUF's terms.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// What a person should know about this vocabulary (an unknown pre-tokenizer, for example).
    /// Often empty.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The warnings about the tokenizer itself; the others say what a conversion to GGUF loses.
    pub fn warnings_for_use(&self) -> impl Iterator<Item = &str> {
        let all = self.warnings.iter().map(String::as_str);
        all.filter(|warning| !warning.starts_with(crate::to_gguf::LOST))
    }

    /// Number of tokens.
    #[expect(clippy::len_without_is_empty, reason = "a vocabulary has at least one token")]
    pub fn len(&self) -> usize {
        self.vocabulary.tokens.len()
    }

    /// Text to tokens. `text` need not be UTF-8. `literal` are byte ranges of `text` in which no
    /// control or user-defined token may begin, end or pass (runs of white space excepted); any
    /// order, they may overlap.
    pub fn encode(
        &self,
        text: &[u8],
        literal: &[Range<usize>],
        add: AddSpecial,
        special: ParseSpecial,
    ) -> Vec<TokenId> {
        let mut out = Vec::with_capacity(text.len() / 4 + 2);
        self.encoder().encode(text, literal, add, special, &mut out);
        out
    }

    /// For many texts: the same ids, found sooner, because it remembers words.
    pub fn encoder(&self) -> Encoder<'_> {
        Encoder::new(self)
    }

    /// Tokens to bytes. Ids that do not exist are skipped. The space that SentencePiece puts before
    /// a text is removed.
    pub fn decode(&self, ids: &[TokenId], special: ShowSpecial) -> Vec<u8> {
        let mut out = Vec::with_capacity(ids.len() * 4);
        let mut first = true;
        for &id in ids {
            self.spell(id, special, &mut first, &mut out);
        }
        out
    }

    /// Appends one token. `first`: nothing has been written yet, so a leading space goes.
    pub(crate) fn spell(
        &self,
        id: TokenId,
        special: ShowSpecial,
        first: &mut bool,
        out: &mut Vec<u8>,
    ) {
        let Some(piece) = self.piece(id) else { return };
        if self.is_control(id) {
            if special == ShowSpecial::No {
                return;
            }
            let spaced = self.pipeline.spelling == Spelling::WordPiece && !*first;
            if spaced {
                out.push(b' ');
            }
            out.extend_from_slice(&piece);
            *first &= self.pipeline.spelling != Spelling::WordPiece;
            return;
        }
        let strip = *first && self.pipeline.leading_space && piece.first() == Some(&b' ');
        let piece = if strip { &piece[1..] } else { &piece[..] };
        *first = false;
        match self.pipeline.spelling {
            Spelling::WordPiece => out.extend_from_slice(crate::spelling::tidy(piece)),
            _ => out.extend_from_slice(piece),
        }
    }

    /// The bytes that a token stands for (control tokens: their spelling).
    pub fn piece(&self, id: TokenId) -> Option<Cow<'_, [u8]>> {
        let text = self.token_text(id)?;
        Some(match self.vocabulary.kind(id) {
            TokenKind::Normal | TokenKind::Unused | TokenKind::Byte => {
                self.pipeline.spelling.bytes(text)
            }
            TokenKind::UserDefined if self.pipeline.spelling == Spelling::Marked => {
                self.pipeline.spelling.bytes(text)
            }
            TokenKind::UserDefined | TokenKind::Control | TokenKind::Unknown => Cow::Borrowed(text),
        })
    }

    /// The token as the vocabulary stores it.
    pub fn token_text(&self, id: TokenId) -> Option<&[u8]> {
        self.vocabulary.tokens.get(id as usize)
    }

    /// The id of a token by its stored text.
    pub fn token_id(&self, text: &[u8]) -> Option<TokenId> {
        self.ids.id(text)
    }

    /// A decoder for tokens that arrive one by one, at the start of a text (equal to `decode` of
    /// all of them).
    pub fn stream_decoder(&self, special: ShowSpecial) -> StreamDecoder<'_> {
        StreamDecoder::new(self, special, true)
    }

    /// The same for a text that continues another: the first token keeps its leading space.
    pub fn stream_decoder_continuing(&self, special: ShowSpecial) -> StreamDecoder<'_> {
        StreamDecoder::new(self, special, false)
    }

    /// Whether a token is structure (control or unknown), not text.
    pub fn is_control(&self, id: TokenId) -> bool {
        matches!(self.vocabulary.kind(id), TokenKind::Control | TokenKind::Unknown)
    }

    /// Whether a token ends an answer: `eos`, `eot`, `eom` and the names that models use for them.
    pub fn is_end_of_generation(&self, id: TokenId) -> bool {
        self.ends.binary_search(&id).is_ok()
    }

    /// Begin of text.
    pub fn bos(&self) -> Option<TokenId> {
        self.vocabulary.bos
    }

    /// Whether a text begins with begin-of-text where special tokens are added.
    pub fn adds_bos(&self) -> bool {
        let first = self.pipeline.prefix.first().copied();
        first.is_some() && first == self.bos()
    }

    /// End of text.
    pub fn eos(&self) -> Option<TokenId> {
        self.vocabulary.eos
    }
}

impl Pipeline {
    /// Encodes text between added tokens. `first`: at the very start; `after`: added tokens that
    /// match after normalization are still to be found.
    pub(crate) fn segment(
        &self,
        bytes: &[u8],
        first: bool,
        after: bool,
        special: bool,
        scratch: &mut Scratch,
        out: &mut Vec<TokenId>,
    ) {
        if bytes.is_empty() {
            return;
        }
        let text = escape(bytes);
        let escaped = matches!(text, Cow::Owned(_));
        let mut text = text;
        for normalizer in &self.normalizers {
            text = normalizer.apply(text, escaped);
        }
        let mut at = 0;
        if after && !self.normalized.is_empty() {
            let none = Literal::default();
            while let Some(found) = self.normalized.find(text.as_bytes(), at, &none, special) {
                let plain = &text[at..found.range.start];
                self.words(plain, escaped, first && at == 0, scratch, out);
                out.push(found.id);
                at = found.range.end;
            }
        }
        self.words(&text[at..], escaped, first && at == 0, scratch, out);
    }

    /// The one scanner that cuts text into words, where nothing else does.
    fn scanner(&self) -> Option<Scanner> {
        let (cut, rest) = self.steps.split_first()?;
        match cut {
            Step::Split {
                pattern: Pattern::Scan(scanner),
                behavior: Behavior::Isolated,
                invert: false,
            } => match rest {
                [] | [Step::ByteLevel { add_prefix_space: false, words: false }] => Some(*scanner),
                _ => None,
            },
            Step::ByteLevel { add_prefix_space: false, words: true } if rest.is_empty() => {
                Some(Scanner::Gpt2)
            }
            _ => None,
        }
    }

    fn words(
        &self,
        text: &str,
        escaped: bool,
        first: bool,
        scratch: &mut Scratch,
        out: &mut Vec<TokenId>,
    ) {
        let classes = Classes::new();
        if let Some(scanner) = self.scanner().filter(|_| !escaped && self.cut.is_none()) {
            let mut at = 0;
            while at < text.len() {
                let end = scanner.next(text, at, classes).max(at + 1);
                self.model.encode(&text.as_bytes()[at..end], scratch, out);
                at = end;
            }
            return;
        }
        let splitter = Splitter { steps: &self.steps, escaped, classes };
        let mut buffer = Vec::new();
        splitter.run(text, first, &mut |word| {
            let bytes = match word {
                Word::Bytes(bytes) => bytes,
                Word::Text(text) if escaped => {
                    buffer.clear();
                    unescape(text, &mut buffer);
                    &buffer
                }
                Word::Text(text) => text.as_bytes(),
            };
            match &self.cut {
                None => self.model.encode(bytes, scratch, out),
                Some(cut) => cut.each(bytes, &mut |part| self.model.encode(part, scratch, out)),
            }
        });
    }
}
