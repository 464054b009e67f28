//! What can be wrong with a vocabulary. Invariant: each error names the key or file part, the
//! index, and what was expected; outside data never panics.

/// Why a vocabulary was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TokenizerError {
    /// Two arrays that describe the same tokens differ in length.
    #[error("`{key}` has {found} entries, expected {expected} (one for each token)")]
    Length {
        /// The array with the wrong length.
        key: &'static str,
        /// Number of tokens.
        expected: usize,
        /// Its length.
        found: usize,
    },
    /// A token id does not exist.
    #[error("`{key}` is token {id}, but the vocabulary has {len} tokens")]
    IdOutOfRange {
        /// Which id.
        key: &'static str,
        /// Its value.
        id: u64,
        /// Number of tokens.
        len: usize,
    },
    /// Two tokens share one text.
    #[error("tokens {first} and {second} are both {text:?}")]
    DuplicateToken {
        /// The text.
        text: String,
        /// The earlier id.
        first: u32,
        /// The later id.
        second: u32,
    },
    /// A merge is not two pieces.
    #[error("merge {index} is {text:?}, expected two pieces with one space between")]
    BadMerge {
        /// Index in the list of merges.
        index: usize,
        /// The entry.
        text: String,
    },
    /// A merge names a piece that the vocabulary lacks.
    #[error("merge {index} needs the piece {piece:?}, which is not in the vocabulary")]
    UnknownMergePiece {
        /// Index in the list of merges.
        index: usize,
        /// The missing piece.
        piece: String,
    },
    /// An entry has a value outside its domain.
    #[error("{what} {index} is {found}, expected {expected}")]
    BadEntry {
        /// The list or part.
        what: &'static str,
        /// Index in it (or byte offset).
        index: usize,
        /// What stands there.
        found: String,
        /// What should.
        expected: &'static str,
    },
    /// A needed part is missing.
    #[error("the {what} is missing (expected {expected})")]
    Missing {
        /// Which part.
        what: &'static str,
        /// What it should hold.
        expected: &'static str,
    },
    /// The file ends too early.
    #[error("{file} ends at byte {offset}, expected {expected}")]
    Truncated {
        /// Kind of file.
        file: &'static str,
        /// Where it ended.
        offset: usize,
        /// What should follow.
        expected: &'static str,
    },
    /// Not the JSON that was expected.
    #[error("{file}: {reason}")]
    Json {
        /// Kind of file.
        file: &'static str,
        /// The parser's words, with line and column.
        reason: String,
    },
    /// A regular expression does not compile or is too large.
    #[error("pre-tokenizer pattern {pattern:?}: {reason}")]
    Pattern {
        /// The pattern, shortened.
        pattern: String,
        /// The compiler's words.
        reason: String,
    },
    /// Valid, but not built here.
    #[error("{what} {name:?} is not supported (supported: {supported})")]
    Unsupported {
        /// Kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
        /// What is.
        supported: &'static str,
    },
    /// A vocabulary to train that has no room for what it must hold.
    #[error(
        "a vocabulary of {found} tokens has no room for {special} special tokens and {bytes} \
         bytes; {} is the least",
        special + bytes
    )]
    VocabSize {
        /// The size that was asked for.
        found: usize,
        /// Special tokens.
        special: usize,
        /// Bytes with a token of their own.
        bytes: usize,
    },
    /// A bound of this implementation.
    #[error("{what} is {found}, the limit is {limit}")]
    Limit {
        /// What.
        what: &'static str,
        /// Its size.
        found: usize,
        /// The bound.
        limit: usize,
    },
}
/// Text for an error message: lossy, at most 80 characters.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    let end = bytes.len().min(320);
    let text = String::from_utf8_lossy(&bytes[..end]);
    let mut short: String = text.chars().take(80).collect();
    if short.len() < bytes.len() {
        short.push('…');
    }
    short
}
