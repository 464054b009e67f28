//! Added tokens: matched in the text before everything else. Invariant: a match never touches a
//! literal range, except tokens of white space alone, which are no structure. Source of the flags:
//! the `tokenizers` library's `AddedToken`.

use std::ops::Range;

use crate::TokenId;
use crate::texts::TextList;
use crate::trie::Trie;
use crate::unicode::{MARK, SPACE, WORD, flags};

/// One added token.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "the flags are the file format's")]
pub(crate) struct AddedToken {
    pub(crate) id: TokenId,
    /// The number of its text in the list that goes with it.
    pub(crate) text: u32,
    /// Control (or unknown): matched only where special tokens are parsed.
    pub(crate) special: bool,
    /// Takes the white space before it.
    pub(crate) lstrip: bool,
    /// Takes the white space behind it.
    pub(crate) rstrip: bool,
    /// Only between word boundaries.
    pub(crate) single_word: bool,
    /// Matched after normalization.
    pub(crate) normalized: bool,
}

/// Longest added token: longer ones have no use and make matching slow.
pub(crate) const ADDED_BYTES_MAX: usize = 1024;

/// A set of added tokens, ready to match.
#[derive(Default)]
pub(crate) struct AddedSet {
    texts: TextList,
    /// In the order of their texts' numbers.
    tokens: Vec<AddedToken>,
    trie: Trie,
}

/// A match: the token and the range that it takes.
pub(crate) struct Match {
    pub(crate) id: TokenId,
    pub(crate) range: Range<usize>,
}

impl AddedSet {
    /// Bytes for each token.
    pub(crate) const COST: usize = size_of::<AddedToken>() * 3 / 2 + Trie::COST;

    /// Of tokens whose texts are in `texts`.
    pub(crate) fn new(texts: &TextList, mut tokens: Vec<AddedToken>) -> Self {
        if !tokens.is_sorted_by_key(|token| token.text) {
            tokens.sort_by_key(|token| token.text);
        }
        let keys = tokens.iter().map(|token| token.text).collect();
        Self { trie: Trie::new(texts, 0, keys), texts: texts.clone(), tokens }
    }

    /// The token with this text.
    fn token(&self, text: u32) -> &AddedToken {
        &self.tokens[self.tokens.partition_point(|token| token.text < text)]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.trie.is_empty()
    }

    /// The leftmost, there longest, match at or after `from`. `special`: control tokens may match.
    pub(crate) fn find(
        &self,
        text: &[u8],
        from: usize,
        literal: &Literal,
        special: bool,
    ) -> Option<Match> {
        let mut at = from;
        while at < text.len() {
            if !self.trie.begins(text[at]) {
                at += 1;
                continue;
            }
            let limit = literal.next_edge(at).min(text.len());
            let inside = literal.contains(at);
            // The longest that is allowed here; candidates arrive shortest first.
            let mut best = None;
            self.trie.prefixes(&text[at..], |length, key| {
                let token = self.token(key);
                let free = (!inside && at + length <= limit) || is_space(&self.texts[key as usize]);
                if free && (special || !token.special) && word_edges(token, text, at, length) {
                    best = Some((length, token));
                }
            });
            if let Some((length, token)) = best {
                return Some(stretch(token, text, from, at..at + length));
            }
            at += 1;
        }
        None
    }
}

/// The match with the white space that the token takes.
fn stretch(token: &AddedToken, text: &[u8], from: usize, range: Range<usize>) -> Match {
    let is_space = |c: char| flags(c) & SPACE != 0;
    let (mut start, mut end) = (range.start, range.end);
    while token.lstrip
        && let Some(c) = char_before(text, start).filter(|c| is_space(*c))
        && start - c.len_utf8() >= from
    {
        start -= c.len_utf8();
    }
    while token.rstrip
        && let Some(c) = char_after(text, end).filter(|c| is_space(*c))
    {
        end += c.len_utf8();
    }
    Match { id: token.id, range: start..end }
}

fn word_edges(token: &AddedToken, text: &[u8], at: usize, length: usize) -> bool {
    if !token.single_word {
        return true;
    }
    let is_word = |c: Option<char>| c.is_some_and(|c| flags(c) & (WORD | MARK) != 0);
    !is_word(char_before(text, at)) && !is_word(char_after(text, at + length))
}

fn char_after(text: &[u8], at: usize) -> Option<char> {
    let rest = text.get(at..)?;
    let length = crate::unicode::char_len(rest);
    std::str::from_utf8(&rest[..length]).ok()?.chars().next()
}

fn char_before(text: &[u8], at: usize) -> Option<char> {
    (1..=4.min(at)).find_map(|back| std::str::from_utf8(&text[at - back..at]).ok()?.chars().next())
}

/// Spaces, tabs, line ends and SentencePiece's mark alone.
pub(crate) fn is_space(content: &[u8]) -> bool {
    std::str::from_utf8(content)
        .is_ok_and(|text| text.chars().all(|c| c == '\u{2581}' || flags(c) & SPACE != 0))
}

/// Literal ranges: sorted, apart, not empty.
#[derive(Default)]
pub(crate) struct Literal(Vec<Range<usize>>);

impl Literal {
    pub(crate) fn new(ranges: &[Range<usize>], length: usize) -> Self {
        let mut sorted: Vec<Range<usize>> = ranges
            .iter()
            .map(|range| range.start.min(length)..range.end.min(length))
            .filter(|range| range.start < range.end)
            .collect();
        sorted.sort_by_key(|range| range.start);
        let mut merged: Vec<Range<usize>> = Vec::with_capacity(sorted.len());
        for range in sorted {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        Self(merged)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn after(&self, at: usize) -> Option<&Range<usize>> {
        self.0.get(self.0.partition_point(|range| range.end <= at))
    }

    /// Whether `at` lies in a literal range.
    fn contains(&self, at: usize) -> bool {
        self.after(at).is_some_and(|range| range.start <= at)
    }

    /// Where the next literal range begins (at or after `at`).
    fn next_edge(&self, at: usize) -> usize {
        self.after(at).map_or(usize::MAX, |range| range.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(texts: &[&str], change: impl Fn(&mut AddedToken)) -> AddedSet {
        let tokens = (0..texts.len() as u32).map(|text| {
            let mut token =
                AddedToken { id: text + 1, text, special: true, ..AddedToken::default() };
            change(&mut token);
            token
        });
        AddedSet::new(&texts.iter().collect(), tokens.collect())
    }

    fn check(
        set: &AddedSet,
        text: &str,
        literal: &[Range<usize>],
        expected: &[(TokenId, Range<usize>)],
    ) {
        let literal = Literal::new(literal, text.len());
        let (mut at, mut found) = (0, Vec::new());
        while let Some(hit) = set.find(text.as_bytes(), at, &literal, true) {
            at = hit.range.end;
            found.push((hit.id, hit.range));
        }
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn longest_first_and_never_in_literals() {
        let set = set(&["<s>", "<s><s>", "<"], |_| {});
        check(&set, "a<s><s><s>", &[], &[(2, 1..7), (1, 7..10)]);
        check(&set, "<s><s>", std::slice::from_ref(&(3..6)), &[(1, 0..3)]);
        check(&set, "<s>", std::slice::from_ref(&(1..2)), &[(3, 0..1)]);
        check(&set, "<s>", std::slice::from_ref(&(0..3)), &[]);
        check(&set, "<s>", &[2..9, 0..2], &[]);
    }

    #[test]
    fn flags_of_added_tokens() {
        let set = set(&["M", "ab"], |token| {
            (token.lstrip, token.rstrip) = (token.id == 1, token.id == 1);
            token.single_word = token.id == 2;
        });
        check(&set, "x \u{3000}M\n ab", &[], &[(1, 1..8), (2, 8..10)]);
        check(&set, "abc éab ab", &[], &[(2, 9..11)]);
    }
}
