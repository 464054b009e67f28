//! What a vocabulary is, in GGUF's terms (`tokenizer.ggml.*`), whatever file it came from; also
//! what a conversion writes back. Source: the keys of ggml's `docs/gguf.md` and of llama.cpp's
//! `llama-arch.cpp`.

use std::borrow::Cow;
use std::sync::Arc;

use crate::{TextList, TokenId, TokenizerError};

/// What a token is for: GGUF's `tokenizer.ggml.token_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TokenKind {
    /// A piece of text.
    Normal = 1,
    /// Stands for what no piece covers.
    Unknown = 2,
    /// Structure (`<s>`, `<|im_end|>`): never made from a user's text.
    Control = 3,
    /// Added by hand; matched before everything else.
    UserDefined = 4,
    /// Reserved.
    Unused = 5,
    /// One byte (`<0x0A>`).
    Byte = 6,
}

impl TokenKind {
    /// From GGUF's number. 0 ("undefined") counts as normal.
    ///
    /// # Errors
    /// `BadEntry` with `index` when the number is none of 0..=6.
    pub fn from_gguf(number: i64, index: usize) -> Result<Self, TokenizerError> {
        Ok(match number {
            0 | 1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => {
                return Err(TokenizerError::BadEntry {
                    what: "tokenizer.ggml.token_type entry",
                    index,
                    found: number.to_string(),
                    expected: "0 to 6",
                });
            }
        })
    }
}

/// One merge of byte-pair encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merge {
    /// The left piece.
    pub left: TokenId,
    /// The right piece.
    pub right: TokenId,
    /// What they make.
    pub whole: TokenId,
}

/// Merges in order of rank, as their file has them.
#[derive(Clone, Debug, PartialEq)]
pub enum Merges {
    /// `left right`.
    Texts(TextList),
    /// Looked up.
    Ids(Arc<Vec<Merge>>),
}

impl Merges {
    /// Number of merges.
    pub fn len(&self) -> usize {
        match self {
            Self::Texts(texts) => texts.len(),
            Self::Ids(ids) => ids.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Each as `left right`, given the vocabulary's tokens; without those whose tokens are not
    /// there.
    pub fn texts<'a>(&'a self, tokens: &'a TextList) -> impl Iterator<Item = Cow<'a, [u8]>> {
        let text = |id: TokenId| tokens.get(id as usize);
        (0..self.len()).filter_map(move |rank| match self {
            Self::Texts(texts) => texts.get(rank).map(Cow::Borrowed),
            Self::Ids(ids) => {
                let merge = ids[rank];
                Some(Cow::Owned([text(merge.left)?, b" ", text(merge.right)?].concat()))
            }
        })
    }
}

impl Default for Merges {
    fn default() -> Self {
        Self::Texts(TextList::default())
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for Merges {
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Self {
        Self::Texts(texts.into_iter().collect())
    }
}

/// Tokens, their attributes and the settings that go with them. Optional fields are absent keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vocabulary {
    /// `tokenizer.ggml.model`: `gpt2` (byte-level BPE), `llama` (SentencePiece BPE), `t5`
    /// (unigram), `bert` (WordPiece).
    pub model: String,
    /// `tokenizer.ggml.pre`: the family of the pre-tokenizer.
    pub pre: Option<String>,
    /// Texts as GGUF stores them: byte-level BPE in GPT-2's byte alphabet, SentencePiece and
    /// WordPiece with U+2581.
    pub tokens: TextList,
    /// One for each token, or empty.
    pub scores: Vec<f32>,
    /// One for each token, or empty (all normal).
    pub kinds: Vec<TokenKind>,
    /// In order of rank.
    pub merges: Merges,
    /// Begin of text.
    pub bos: Option<TokenId>,
    /// End of text.
    pub eos: Option<TokenId>,
    /// End of turn.
    pub eot: Option<TokenId>,
    /// End of message.
    pub eom: Option<TokenId>,
    /// Unknown.
    pub unk: Option<TokenId>,
    /// Separator.
    pub sep: Option<TokenId>,
    /// Padding.
    pub pad: Option<TokenId>,
    /// Class token.
    pub cls: Option<TokenId>,
    /// Mask.
    pub mask: Option<TokenId>,
    /// Put `bos` first.
    pub add_bos: Option<bool>,
    /// Put `eos` last.
    pub add_eos: Option<bool>,
    /// Put `sep` last.
    pub add_sep: Option<bool>,
    /// SentencePiece: a text starts with a space that is not written.
    pub add_space_prefix: Option<bool>,
    /// SentencePiece: runs of spaces count as one.
    pub remove_extra_whitespaces: Option<bool>,
    /// WordPiece: lower-case first (default: yes).
    pub lowercase: Option<bool>,
    /// WordPiece: remove accents (default: as `lowercase`).
    pub strip_accents: Option<bool>,
    /// SentencePiece: the compiled normalisation table.
    pub precompiled_charsmap: Option<Vec<u8>>,
    /// Jinja source.
    pub chat_template: Option<String>,
}

impl Vocabulary {
    /// Kind of a token; normal where the file gives none.
    pub fn kind(&self, id: TokenId) -> TokenKind {
        self.kinds.get(id as usize).copied().unwrap_or(TokenKind::Normal)
    }

    /// Score of a token; 0 where the file gives none.
    pub fn score(&self, id: TokenId) -> f32 {
        self.scores.get(id as usize).copied().unwrap_or(0.0)
    }

    /// What its own numbers take, in bytes; texts are shared.
    pub(crate) fn number_bytes(&self) -> usize {
        self.kinds.len() + self.scores.len() * size_of::<f32>()
    }

    /// Array lengths and ids are consistent.
    ///
    /// # Errors
    /// `Length`, `IdOutOfRange`, `Limit` or `Missing`, naming the key.
    pub(crate) fn check(&self) -> Result<(), TokenizerError> {
        let len = self.tokens.len();
        if len == 0 {
            return Err(TokenizerError::Missing {
                what: "tokenizer.ggml.tokens",
                expected: "at least one token",
            });
        }
        if u32::try_from(len).is_err() || len == u32::MAX as usize {
            return Err(TokenizerError::Limit {
                what: "number of tokens",
                found: len,
                limit: u32::MAX as usize - 1,
            });
        }
        for (key, found) in [
            ("tokenizer.ggml.scores", self.scores.len()),
            ("tokenizer.ggml.token_type", self.kinds.len()),
        ] {
            if found != 0 && found != len {
                return Err(TokenizerError::Length { key, expected: len, found });
            }
        }
        for (key, id) in self.special_ids() {
            if let Some(id) = id
                && id as usize >= len
            {
                return Err(TokenizerError::IdOutOfRange { key, id: u64::from(id), len });
            }
        }
        Ok(())
    }

    fn special_ids(&self) -> [(&'static str, Option<TokenId>); 9] {
        [
            ("tokenizer.ggml.bos_token_id", self.bos),
            ("tokenizer.ggml.eos_token_id", self.eos),
            ("tokenizer.ggml.eot_token_id", self.eot),
            ("tokenizer.ggml.eom_token_id", self.eom),
            ("tokenizer.ggml.unknown_token_id", self.unk),
            ("tokenizer.ggml.seperator_token_id", self.sep),
            ("tokenizer.ggml.padding_token_id", self.pad),
            ("tokenizer.ggml.cls_token_id", self.cls),
            ("tokenizer.ggml.mask_token_id", self.mask),
        ]
    }
}
