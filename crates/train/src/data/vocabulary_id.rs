//! Which vocabulary tokens belong to. Ids mean nothing without it, so every shard carries it.

use std::fmt;

use lucid_tokenizer::{AddSpecial, ParseSpecial, TokenId, Tokenizer};

/// Text that brings out how a tokenizer normalises and splits, which its vocabulary does not say.
const PROBE: &str = "The  quick brown fox's 12345.67 \u{fb01}\u{2460} caf\u{e9} cafe\u{301} \
    \u{4f60}\u{597d}\t\u{3053}\u{3093} \u{1f600}\n\n  if (x_1 != 0) { return; }\r\n ALL-CAPS \
    don't  e\u{7}nd   ";

/// The identity of a vocabulary, and what a shard needs of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VocabularyId {
    /// BLAKE3 over tokens, their kinds, merges, special ids, and how a probe text is encoded.
    pub fingerprint: [u8; 32],
    /// Number of tokens: every id is below it.
    pub size: u32,
    /// The token before each document.
    pub begin: Option<TokenId>,
}

impl VocabularyId {
    /// That of a tokenizer.
    pub fn of(tokenizer: &Tokenizer) -> Self {
        let vocabulary = tokenizer.vocabulary();
        let mut hasher = blake3::Hasher::new_derive_key("lucid vocabulary fingerprint 1");
        let mut part = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        };
        part(vocabulary.model.as_bytes());
        part(vocabulary.pre.as_deref().unwrap_or_default().as_bytes());
        for id in 0..tokenizer.len() as u32 {
            part(tokenizer.token_text(id).unwrap_or_default());
            part(&[vocabulary.kind(id) as u8]);
            part(&vocabulary.score(id).to_bits().to_le_bytes());
        }
        for merge in vocabulary.merges.texts(&vocabulary.tokens) {
            part(&merge);
        }
        for id in [vocabulary.bos, vocabulary.eos, vocabulary.unk] {
            part(&id.map_or(u64::MAX, u64::from).to_le_bytes());
        }
        for id in tokenizer.encode(PROBE.as_bytes(), &[], AddSpecial::No, ParseSpecial::No) {
            part(&id.to_le_bytes());
        }
        Self {
            fingerprint: *hasher.finalize().as_bytes(),
            size: tokenizer.len() as u32,
            begin: tokenizer.bos(),
        }
    }

    /// Bytes that a token takes in a shard: 2 where every id fits into them, else 4.
    pub fn token_bytes(&self) -> u32 {
        if self.size <= 1 << 16 { 2 } else { 4 }
    }
}

impl fmt::Display for VocabularyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&digits(&self.fingerprint))
    }
}

/// The first digits of a fingerprint: enough for a person to tell two apart.
pub(super) fn digits(fingerprint: &[u8]) -> String {
    use fmt::Write as _;
    fingerprint.iter().take(6).fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// How many bytes of text each token stands for: 0 for control tokens. A loss in nats over targets,
/// divided by ln 2 and by their bytes, is bits per byte, which does not depend on the vocabulary.
#[derive(Clone, Debug)]
pub struct TokenBytes(Vec<u32>);

impl From<Vec<u32>> for TokenBytes {
    /// Bytes by token.
    fn from(bytes: Vec<u32>) -> Self {
        Self(bytes)
    }
}

impl TokenBytes {
    /// Those of a tokenizer.
    pub fn of(tokenizer: &Tokenizer) -> Self {
        let bytes = |id| {
            if tokenizer.is_control(id) {
                return 0;
            }
            tokenizer.piece(id).map_or(0, |piece| piece.len() as u32)
        };
        Self((0..tokenizer.len() as u32).map(bytes).collect())
    }

    /// Bytes of one token; 0 for an id that does not exist.
    pub fn len_of(&self, token: TokenId) -> u32 {
        self.0.get(token as usize).copied().unwrap_or(0)
    }
}
