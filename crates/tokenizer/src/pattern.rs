//! Regular expressions of pre-tokenizers, in the cheapest form that is exact: a scanner, an
//! automaton without backtracking, or a backtracking engine with a bound. Hostile text costs linear
//! time in the first two.
//!
//! Most families end in `\s+(?!\S)|\s+`, the only lookahead they hold; the automaton matches the
//! rest and white space as two patterns, and the lookahead is applied by hand.

use fancy_regex::{Regex as Backtracking, RegexBuilder};
use regex_automata::meta::Regex as Automaton;

use crate::TokenizerError;
use crate::error::excerpt;
use crate::scan::Scanner;
use crate::unicode::Classes;

const SOURCE_BYTES_MAX: usize = 1 << 14;
const COMPILED_BYTES_MAX: usize = 4 << 20;
const BACKTRACKS_MAX: usize = 20_000;

/// A compiled pattern.
pub(crate) enum Pattern {
    /// One of the hot ones.
    Scan(Scanner),
    /// Pattern 0 is the expression, pattern 1 (if any) white space under the lookahead.
    Automaton(Box<Automaton>),
    /// Anything else.
    Backtracking(Box<Backtracking>),
    /// A fixed text.
    Literal(String),
    /// Single characters.
    Char(fn(char) -> bool),
}

impl Pattern {
    /// Compiles `source`.
    pub(crate) fn new(source: &str) -> Result<Self, TokenizerError> {
        if source.len() > SOURCE_BYTES_MAX {
            let (what, limit) = ("length of a pre-tokenizer pattern", SOURCE_BYTES_MAX);
            return Err(TokenizerError::Limit { what, found: source.len(), limit });
        }
        if let Some(scanner) = Scanner::recognise(source) {
            return Ok(Self::Scan(scanner));
        }
        let head =
            source.strip_suffix(r"|\s+(?!\S)|\s+").or_else(|| source.strip_suffix(r"|\s+(?!\S)"));
        let patterns = head.map_or_else(|| vec![source], |head| vec![head, r"\s+"]);
        let config = Automaton::config()
            .nfa_size_limit(Some(COMPILED_BYTES_MAX))
            .onepass_size_limit(Some(1 << 20));
        if let Ok(regex) = Automaton::builder().configure(config).build_many(&patterns) {
            return Ok(Self::Automaton(Box::new(regex)));
        }
        let regex = RegexBuilder::new(source)
            .backtrack_limit(BACKTRACKS_MAX)
            .delegate_size_limit(COMPILED_BYTES_MAX)
            .build()
            .map_err(|error| TokenizerError::Pattern {
                pattern: excerpt(source.as_bytes()),
                reason: excerpt(error.to_string().as_bytes()),
            })?;
        Ok(Self::Backtracking(Box::new(regex)))
    }

    /// The first match at or after `from`. It may be empty. A search that exceeds its bound finds
    /// nothing.
    pub(crate) fn find(&self, text: &str, from: usize, classes: Classes) -> Option<(usize, usize)> {
        if from >= text.len() {
            return None;
        }
        match self {
            Self::Scan(scanner) => Some((from, scanner.next(text, from, classes))),
            Self::Automaton(regex) => {
                let found = regex.find(regex_automata::Input::new(text).range(from..))?;
                let (start, mut end) = (found.start(), found.end());
                if found.pattern().as_usize() == 1 && end < text.len() {
                    // `\s+(?!\S)`: white space before a word leaves its last character to the word.
                    let last = text[start..end].char_indices().next_back();
                    end = last
                        .filter(|(index, _)| *index > 0)
                        .map_or(end, |(index, _)| start + index);
                }
                Some((start, end))
            }
            Self::Backtracking(regex) => {
                let found = regex.find_from_pos(text, from).ok()??;
                Some((found.start(), found.end()))
            }
            Self::Literal(literal) => {
                let start = from + text[from..].find(literal.as_str())?;
                Some((start, start + literal.len()))
            }
            Self::Char(wanted) => {
                let (start, c) = text[from..].char_indices().find(|(_, c)| wanted(*c))?;
                Some((from + start, from + start + c.len_utf8()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(pattern: &str, text: &str) -> Vec<String> {
        let pattern = Pattern::new(pattern).unwrap();
        let (mut at, mut words) = (0, Vec::new());
        while let Some((start, end)) = pattern.find(text, at, Classes::new()) {
            words.push(text[start..end].to_owned());
            at = end.max(at + 1);
        }
        words
    }

    #[test]
    fn lookahead_at_the_end_is_applied() {
        assert_eq!(
            words(r"[a-z]+| ?[0-9]+|\s+(?!\S)|\s+", "ab   12 c  "),
            ["ab", "  ", " 12", " ", "c", "  "]
        );
    }

    #[test]
    fn hostile_patterns_are_errors_or_bounded() {
        assert!(matches!(Pattern::new("("), Err(TokenizerError::Pattern { .. })));
        assert!(matches!(Pattern::new(&"a".repeat(1 << 15)), Err(TokenizerError::Limit { .. })));
        assert!(Pattern::new(r"(\p{L}{1000}){1000}").is_err());
        let slow = Pattern::new(r"(?:a|a)*(?=b)").unwrap();
        assert_eq!(slow.find(&"a".repeat(200), 0, Classes::new()), None);
    }
}
