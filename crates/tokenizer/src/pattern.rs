//! Regular expressions of pre-tokenizers, in the cheapest form that is exact: a scanner, an
//! automaton without backtracking, or a backtracking engine with a bound. Hostile text costs linear
//! time in the first two.
//!
//! Most families end in `\s+(?!\S)|\s+`, the only lookahead they hold; the automaton matches the
//! rest and white space as two patterns, and the lookahead is applied by hand.

use fancy_regex::{Regex as Backtracking, RegexBuilder};
use regex_automata::meta::Regex as Automaton;
use regex_automata::nfa::thompson::{Compiler, Config, WhichCaptures};

use crate::TokenizerError;
use crate::budget::Budget;
use crate::error::excerpt;
use crate::scan::Scanner;
use crate::unicode::Classes;

const SOURCE_BYTES_MAX: usize = 1 << 14;
/// With lookaround, where every part is compiled alone.
const LOOKAROUND_BYTES_MAX: usize = 1 << 11;
const COMPILED_BYTES_MAX: usize = 4 << 20;
const BACKTRACKS_MAX: usize = 20_000;
const CACHE_BYTES_MAX: usize = 2 << 20;
const WHAT: &str = "memory for patterns";

// What compiling takes, in bytes, rounded up from measurements of allocations.
/// A byte of source as a tree; 300 is the most, for `$`.
const TREE_COST: usize = 512;
/// A class of characters: 6 KB for `\p{L}`, 43 KB where case is folded.
const CLASS_COST: [usize; 2] = [12 << 10, 64 << 10];
/// Whatever the pattern; 350 KB.
const COMPILER_COST: usize = 512 << 10;
/// Peak of compiling over the limit of a compiled pattern; 2.6 is the most.
const COMPILER_FACTOR: usize = 3;
/// What a pattern with lookaround holds over its size as plain groups, the peak of compiling its
/// largest part included.
const PARTS_FACTOR: usize = 4;
/// A part of it: what an engine takes beside its size, and its notes of where it has been in a
/// text (which may reach 256 KB on long texts where its lazy automaton gives up).
const PART_COST: usize = 96 << 10;

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
    /// Compiles `source`. What that takes at its peak must fit `budget`; what the pattern holds,
    /// its caches of a search included, stays charged.
    ///
    /// # Errors
    /// `Pattern` for what does not compile or becomes too large; `Limit` where the source is too
    /// long or the budget is spent.
    pub(crate) fn new(source: &str, budget: &mut Budget) -> Result<Self, TokenizerError> {
        within(source, SOURCE_BYTES_MAX)?;
        if let Some(scanner) = Scanner::recognise(source) {
            return Ok(Self::Scan(scanner));
        }
        let parsing = parsing_cost(source) + COMPILER_COST;
        budget.charge(WHAT, parsing, 1)?;
        let built = Self::automaton(source, budget.left());
        budget.release(parsing);
        if let Some((regex, held)) = built.map_err(|reason| refused(source, &reason))? {
            budget.charge(WHAT, held, 1)?;
            return Ok(Self::Automaton(Box::new(regex)));
        }
        Self::backtracking(source, parsing, budget)
    }

    /// The automaton and what it holds, where an automaton can match `source`, within `room`.
    fn automaton(source: &str, room: usize) -> Result<Option<(Automaton, usize)>, String> {
        let head =
            source.strip_suffix(r"|\s+(?!\S)|\s+").or_else(|| source.strip_suffix(r"|\s+(?!\S)"));
        let patterns = head.map_or_else(|| vec![source], |head| vec![head, r"\s+"]);
        // One cache for each direction; a share of the room, so that many patterns share it.
        let cache = (room / 16).min(CACHE_BYTES_MAX);
        let limit = (room / COMPILER_FACTOR).min(COMPILED_BYTES_MAX);
        let config = Automaton::config()
            .nfa_size_limit(Some(limit))
            .hybrid_cache_capacity(cache)
            // Only the ends of a match are asked for: slots of groups would be allocated for every
            // state, and one-pass automata and backtracking never used or bounded by the text.
            .which_captures(WhichCaptures::Implicit)
            .onepass(false)
            .backtrack(false);
        match Automaton::builder().configure(config).build_many(&patterns) {
            Ok(regex) => {
                let held = 2 * regex.memory_usage() + 2 * cache;
                Ok(Some((regex, held)))
            }
            Err(error) if error.syntax_error().is_some() => Ok(None),
            Err(error) if error.size_limit().is_some() => {
                Err(format!("compiled, it exceeds its limit of {limit} bytes"))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// The engine for lookaround. It bounds each of its parts alone, so their sum is bounded by
    /// compiling the pattern with its lookaround as plain groups first.
    fn backtracking(
        source: &str,
        parsing: usize,
        budget: &mut Budget,
    ) -> Result<Self, TokenizerError> {
        within(source, LOOKAROUND_BYTES_MAX)?;
        let (plain, groups) = without_lookaround(source);
        let parts = 1 + 2 * groups + source.matches('|').count();
        let (parsing, notes) = (2 * parsing, parts * PART_COST);
        budget.charge(WHAT, parsing, 1)?;
        budget.charge(WHAT, notes, 1)?;
        let room = budget.left();
        let limit = (room / (2 * PARTS_FACTOR)).min(COMPILED_BYTES_MAX);
        let config = Config::new().nfa_size_limit(Some(limit)).which_captures(WhichCaptures::None);
        let size = Compiler::new().configure(config).build(&plain).map(|nfa| nfa.memory_usage());
        let size = size.map_err(|error| refused(source, &error.to_string()))?;
        let cache = (room / 4 / parts).min(CACHE_BYTES_MAX);
        let regex = RegexBuilder::new(source)
            .backtrack_limit(BACKTRACKS_MAX)
            .delegate_size_limit(limit)
            .delegate_dfa_size_limit(cache)
            .build()
            .map_err(|error| refused(source, &error.to_string()))?;
        budget.release(parsing);
        budget.charge(WHAT, PARTS_FACTOR * size + 2 * parts * cache, 1)?;
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

fn within(source: &str, limit: usize) -> Result<(), TokenizerError> {
    if source.len() <= limit {
        return Ok(());
    }
    let what = "length of a pre-tokenizer pattern";
    Err(TokenizerError::Limit { what, found: source.len(), limit })
}

fn refused(source: &str, reason: &str) -> TokenizerError {
    TokenizerError::Pattern {
        pattern: excerpt(source.as_bytes()),
        reason: excerpt(reason.as_bytes()),
    }
}

/// What the tree of `source` may take. Classes are `[`, and a backslash before a letter that does
/// not stand for one character.
fn parsing_cost(source: &str) -> usize {
    // Under `x` there may be spaces before `?i`.
    let flag = |flag: u8| flag == b'i' || flag == b'x';
    let flags = |text: &str| text.bytes().take_while(u8::is_ascii_alphabetic).any(flag);
    let folded = source.split("(?").skip(1).any(flags);
    let mut classes = source.matches('[').count();
    let mut bytes = source.bytes();
    while let Some(byte) = bytes.next() {
        let class = |b: u8| b.is_ascii_alphabetic() && !b"abfnrtuvxzABUZ".contains(&b);
        classes += usize::from(byte == b'\\' && bytes.next().is_some_and(class));
    }
    source.len() * TREE_COST + classes * CLASS_COST[usize::from(folded)]
}

/// `source` with lookaround and atomic groups as plain groups, and how many there were. Where this
/// misreads a source, lookaround remains, and what compiles the outcome refuses it.
fn without_lookaround(source: &str) -> (String, usize) {
    let (mut plain, mut rest, mut groups) = (String::with_capacity(source.len()), source, 0);
    while let Some(at) = rest.find(['\\', '(']) {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        let openers = ["(?=", "(?!", "(?>", "(?<=", "(?<!"];
        if let Some(opener) = openers.iter().find(|opener| rest.starts_with(**opener)) {
            plain.push_str("(?:");
            rest = &rest[opener.len()..];
            groups += 1;
        } else {
            let pair: usize = rest
                .chars()
                .take(if rest.starts_with('\\') { 2 } else { 1 })
                .map(char::len_utf8)
                .sum();
            plain.push_str(&rest[..pair]);
            rest = &rest[pair..];
        }
    }
    plain.push_str(rest);
    (plain, groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled(source: &str) -> Result<Pattern, TokenizerError> {
        Pattern::new(source, &mut Budget::for_files(0).unwrap())
    }

    fn words(pattern: &str, text: &str) -> Vec<String> {
        let pattern = compiled(pattern).unwrap();
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
    fn lookaround_becomes_plain_groups() {
        let (plain, groups) = without_lookaround(r"(?<=\w)\((?>b)(?i:c)(?!d)");
        assert_eq!((plain.as_str(), groups), (r"(?:\w)\((?:b)(?i:c)(?:d)", 3));
        assert_eq!(parsing_cost(r"\p{L}[a]\n") / CLASS_COST[0], 2);
        assert_eq!(parsing_cost(r"(?s-u)(?i:\w)") / CLASS_COST[1], 1);
    }

    #[test]
    fn hostile_patterns_are_errors_or_bounded() {
        assert!(matches!(compiled("("), Err(TokenizerError::Pattern { .. })));
        assert!(matches!(compiled(&"a".repeat(1 << 15)), Err(TokenizerError::Limit { .. })));
        assert!(compiled(r"(\p{L}{1000}){1000}").is_err());
        let slow = compiled(r"(?:a|a)*(?=b)").unwrap();
        assert_eq!(slow.find(&"a".repeat(200), 0, Classes::new()), None);
    }
}
