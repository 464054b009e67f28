//! How text is cut into words before pairs are counted, by name or by a regular expression; and
//! how `tokenizer.json` writes it.

use serde_json::Value;

use crate::TokenizerError;
use crate::budget::Budget;
use crate::pattern::Pattern;
use crate::scan::Scanner;
use crate::split::{Behavior, Step};
use crate::to_json::{Words, byte_level, pre_tokenizer};

/// The names, and what they stand for.
const NAMES: [(&str, Scanner); 8] = [
    ("gpt2", Scanner::Gpt2),
    ("gpt4", Scanner::Cl100k { digits: 3 }),
    ("cl100k", Scanner::Cl100k { digits: 3 }),
    ("llama3", Scanner::Cl100k { digits: 3 }),
    ("qwen2", Scanner::Cl100k { digits: 1 }),
    ("gpt4o", Scanner::O200k { digits: 3, contractions: true }),
    ("o200k", Scanner::O200k { digits: 3, contractions: true }),
    ("tekken", Scanner::O200k { digits: 1, contractions: false }),
];

/// What cuts a text into words; no token reaches across a cut.
pub struct SplitPattern {
    source: String,
    pub(super) cut: Cut,
}

pub(super) enum Cut {
    /// By hand: fast, and a text can be read in pieces.
    Scan(Scanner),
    /// By a regular expression, which may look anywhere.
    Steps(Vec<Step>),
}

impl SplitPattern {
    /// The names that [`parse`](Self::parse) knows: `gpt2`, `llama3` (the same words as `gpt4` and
    /// `cl100k`), `qwen2` (single digits), `o200k` (`gpt4o`), `tekken`.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(name, _)| *name)
    }

    /// A name, or a regular expression whose matches are words; text between matches is a word too.
    ///
    /// # Errors
    /// `Pattern` for what is neither; a single plain word is taken for a name.
    pub fn parse(text: &str) -> Result<Self, TokenizerError> {
        if let Some((_, scanner)) = NAMES.iter().find(|(name, _)| *name == text) {
            return Ok(Self { source: scanner.pattern(), cut: Cut::Scan(*scanner) });
        }
        if text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            let names: Vec<_> = Self::names().collect();
            let reason = format!("no such name (there are {})", names.join(", "));
            return Err(TokenizerError::Pattern { pattern: text.to_owned(), reason });
        }
        let cut = match Pattern::new(text, &mut Budget::for_files(0)?)? {
            Pattern::Scan(scanner) => Cut::Scan(scanner),
            pattern => {
                let (behavior, invert) = (Behavior::Isolated, false);
                Cut::Steps(vec![Step::Split { pattern, behavior, invert }])
            }
        };
        Ok(Self { source: text.to_owned(), cut })
    }

    /// The regular expression.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The part `pre_tokenizer` of a `tokenizer.json`.
    pub(super) fn to_json(&self) -> Value {
        if let Cut::Scan(Scanner::Gpt2) = self.cut {
            return byte_level(Words::Gpt2);
        }
        pre_tokenizer([self.source.clone()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_expressions() {
        let source = |text: &str| SplitPattern::parse(text).map(|it| it.source().to_owned());
        assert_eq!(source("llama3"), source("gpt4"));
        assert!(source("qwen2").is_ok_and(|source| source.contains(r"\p{N}| ?")));
        assert_eq!(source(r"\w+").as_deref(), Ok(r"\w+"));
        let refused = source("gpt5").unwrap_err().to_string();
        assert!(refused.contains("gpt2, gpt4, cl100k"), "{refused}");
        assert!(source("(").is_err() && source("").is_err());
        let named = SplitPattern::parse(&Scanner::Gpt2.pattern()).ok().unwrap();
        assert_eq!(named.to_json()["type"], "ByteLevel");
    }
}
