//! Which bytes of a rendering may be control tokens. Invariant: a control token in the output that
//! overlaps none of the returned ranges consists of bytes that the template wrote.
//!
//! Method. Characters that occur in control tokens have two marked forms in Unicode's private-use
//! planes, which no input can contain (colliding input characters are moved to free code points and
//! back). Pass one marks the control tokens spelled in the template's own constants, and leaves
//! messages as they are: a control token found in the output that is marked throughout is the
//! template's; if there are no others, nothing is literal. Otherwise pass two also marks message
//! text. If it renders the same text, each byte's origin is known exactly, and the message's bytes
//! in the doubtful spellings are literal. If the marks change what the template does, all of their
//! unmarked bytes are literal: a token that a template assembles from pieces then stays text, the
//! safe side. Comparisons follow: a template's test for a control token never succeeds on message
//! text.

use super::TemplateError;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

/// First code point of Unicode's private-use planes 15 and 16.
const PRIVATE_FIRST: u32 = 0xF_0000;

fn is_private(c: char) -> bool {
    c as u32 >= PRIVATE_FIRST
}

/// The private-use code points of planes 15 and 16 that `used` lacks.
fn free_points(used: &BTreeSet<char>) -> impl Iterator<Item = char> {
    (PRIVATE_FIRST..=0x10_FFFD).filter_map(char::from_u32).filter(|c| !used.contains(c))
}

/// The two marked forms of every character of the control tokens.
#[derive(Debug, Default)]
pub(super) struct Marks {
    trusted: HashMap<char, char>,
    message: HashMap<char, char>,
    origin: HashMap<char, (char, Origin)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Trusted,
    Message,
}

impl Marks {
    fn new(tokens: &[String], source: &str) -> Result<Self, TemplateError> {
        let alphabet: BTreeSet<char> = tokens.iter().flat_map(|t| t.chars()).collect();
        let needed = alphabet.len() * 2;
        // Private-use characters in tokens stay as they are; their marks must differ from all of
        // them.
        let used: BTreeSet<char> =
            source.chars().chain(alphabet.iter().copied()).filter(|&c| is_private(c)).collect();
        let mut free = free_points(&used);
        let mut marks = Self::default();
        for c in alphabet {
            let pair = (free.next(), free.next());
            let (Some(trusted), Some(message)) = pair else {
                return Err(TemplateError::PrivateUseExhausted { needed });
            };
            marks.trusted.insert(c, trusted);
            marks.message.insert(c, message);
            marks.origin.insert(trusted, (c, Origin::Trusted));
            marks.origin.insert(message, (c, Origin::Message));
        }
        Ok(marks)
    }

    /// The marked form of a message's character (itself when it occurs in no control token).
    pub(super) fn message(&self, c: char) -> char {
        self.message.get(&c).copied().unwrap_or(c)
    }

    /// The character behind a mark.
    pub(super) fn plain(&self, c: char) -> char {
        if is_private(c) { self.origin.get(&c).map_or(c, |&(plain, _)| plain) } else { c }
    }

    /// `text` without marks, for error messages.
    pub(super) fn plain_text(&self, text: &str) -> String {
        text.chars().map(|c| self.plain(c)).collect()
    }
}

/// A trie over the spellings.
#[derive(Debug, Clone, Default)]
struct Trie {
    nodes: Vec<(BTreeMap<u8, usize>, bool)>,
}

impl Trie {
    fn new<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        let mut nodes = vec![(BTreeMap::new(), false)];
        for word in words {
            let mut at = 0;
            for &byte in word.as_bytes() {
                at = if let Some(&next) = nodes[at].0.get(&byte) {
                    next
                } else {
                    nodes.push((BTreeMap::new(), false));
                    let next = nodes.len() - 1;
                    nodes[at].0.insert(byte, next);
                    next
                };
            }
            nodes[at].1 = true;
        }
        Self { nodes }
    }

    /// Ends of all words that start at `start`, ascending.
    fn ends(&self, text: &[u8], start: usize) -> impl Iterator<Item = usize> {
        let mut at = Some(0);
        text[start..]
            .iter()
            .enumerate()
            .map_while(move |(i, byte)| {
                at = at.and_then(|node| self.nodes[node].0.get(byte).copied());
                at.map(|node| (start + i + 1, self.nodes[node].1))
            })
            .filter_map(|(end, is_word)| is_word.then_some(end))
    }
}

/// The control tokens of a vocabulary, ready to mark templates and to judge renderings.
#[derive(Debug, Clone)]
pub(super) struct ControlTokens {
    every: Trie,
    markable: Trie,
    pub(super) marks: std::sync::Arc<Marks>,
}

impl ControlTokens {
    pub(super) fn new(
        tokens: impl IntoIterator<Item = String>,
        source: &str,
    ) -> Result<Self, TemplateError> {
        let tokens: Vec<String> = tokens
            .into_iter()
            .filter(|t| !t.is_empty())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let marks = std::sync::Arc::new(Marks::new(&tokens, source)?);
        let words = || tokens.iter().map(String::as_str);
        let markable = Trie::new(words().filter(|t| is_markable(t)));
        Ok(Self { every: Trie::new(words()), markable, marks })
    }

    /// `constant`, a text of the template itself, with the control tokens in it marked; `None`:
    /// there are none.
    pub(super) fn trust(&self, constant: &str) -> Option<String> {
        let bytes = constant.as_bytes();
        let mut out = String::new();
        let (mut copied, mut at) = (0, 0);
        while at < bytes.len() {
            let Some(end) = self.markable.ends(bytes, at).last() else {
                at += 1;
                continue;
            };
            out.push_str(&constant[copied..at]);
            out.extend(
                constant[at..end].chars().map(|c| self.marks.trusted.get(&c).copied().unwrap_or(c)),
            );
            (copied, at) = (end, end);
        }
        (copied > 0).then(|| out + &constant[copied..])
    }

    /// Occurrences of control tokens that are not one run of the template's marks, as (start, end).
    pub(super) fn doubtful(&self, rendering: &Unmarked) -> Vec<Range<usize>> {
        let bytes = rendering.text.as_bytes();
        let mut trusted = rendering.trusted.iter().peekable();
        let mut found = Vec::new();
        for start in 0..bytes.len() {
            while trusted.next_if(|range| range.end <= start).is_some() {}
            let safe_until = trusted.peek().filter(|r| r.start <= start).map_or(0, |r| r.end);
            found.extend(
                self.every.ends(bytes, start).filter(|&end| end > safe_until).map(|end| start..end),
            );
        }
        found
    }
}

/// Words and whitespace are compared with message text all the time, quotes and braces delimit a
/// template's own syntax: a token made of them is not marked in constants (it is still caught in
/// the output).
fn is_markable(token: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || c == '_';
    token.chars().any(|c| !plain(c))
        && !token.contains(|c: char| c.is_whitespace() || "'\"\\".contains(c))
}

/// A rendering without its marks.
#[derive(Debug, Default)]
pub(super) struct Unmarked {
    pub(super) text: String,
    trusted: Vec<Range<usize>>,
    message: Vec<Range<usize>>,
}

fn extend(ranges: &mut Vec<Range<usize>>, range: Range<usize>) {
    match ranges.last_mut() {
        Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
        _ => ranges.push(range),
    }
}

impl Unmarked {
    pub(super) fn new(rendered: &str, marks: &Marks, moved: &Moved) -> Self {
        let mut out = Self { text: String::with_capacity(rendered.len()), ..Self::default() };
        for c in rendered.chars() {
            let start = out.text.len();
            let known = if is_private(c) { marks.origin.get(&c).copied() } else { None };
            let (plain, origin) = match known {
                Some((plain, origin)) => (plain, Some(origin)),
                None => (moved.back(c), None),
            };
            out.text.push(plain);
            let range = start..out.text.len();
            match origin {
                Some(Origin::Trusted) => extend(&mut out.trusted, range),
                Some(Origin::Message) => extend(&mut out.message, range),
                None => {}
            }
        }
        out
    }

    /// The parts of `doubtful` that came from messages.
    pub(super) fn messages_in(&self, doubtful: &[Range<usize>]) -> Vec<Range<usize>> {
        merge(doubtful.iter().flat_map(|found| overlaps(&self.message, found)))
    }

    /// The parts of `doubtful` that the template did not certainly write.
    pub(super) fn untrusted_in(&self, doubtful: &[Range<usize>]) -> Vec<Range<usize>> {
        merge(doubtful.iter().flat_map(|found| {
            let mut at = found.start;
            let mut gaps = Vec::new();
            for trusted in overlaps(&self.trusted, found) {
                gaps.push(at..trusted.start);
                at = trusted.end;
            }
            gaps.push(at..found.end);
            gaps
        }))
    }
}

/// The parts of the ascending, disjoint `ranges` that lie within `found`.
fn overlaps(ranges: &[Range<usize>], found: &Range<usize>) -> Vec<Range<usize>> {
    let first = ranges.partition_point(|r| r.end <= found.start);
    ranges[first..]
        .iter()
        .take_while(|r| r.start < found.end)
        .map(|r| r.start.max(found.start)..r.end.min(found.end))
        .collect()
}

fn merge(ranges: impl Iterator<Item = Range<usize>>) -> Vec<Range<usize>> {
    let mut all: Vec<_> = ranges.filter(|r| !r.is_empty()).collect();
    all.sort_by_key(|r| (r.start, r.end));
    let mut merged = Vec::new();
    for range in all {
        extend(&mut merged, range);
    }
    merged
}

/// Input characters that collide with marks, moved to free code points for the time of the
/// rendering.
#[derive(Debug, Default)]
pub(super) struct Moved {
    there: HashMap<char, char>,
    back: HashMap<char, char>,
}

impl Moved {
    /// Plans the moves for the private-use characters `used` by the input; `source` keeps its own.
    pub(super) fn new(
        marks: &Marks,
        source: &str,
        used: &BTreeSet<char>,
    ) -> Result<Self, TemplateError> {
        let mut moved = Self::default();
        let colliding: Vec<char> =
            used.iter().copied().filter(|c| marks.origin.contains_key(c)).collect();
        if colliding.is_empty() {
            return Ok(moved);
        }
        let mut taken: BTreeSet<char> = used.clone();
        taken.extend(marks.origin.keys());
        taken.extend(marks.message.keys());
        taken.extend(source.chars().filter(|&c| is_private(c)));
        let mut free = free_points(&taken);
        for &from in &colliding {
            let to = free
                .next()
                .ok_or(TemplateError::PrivateUseExhausted { needed: colliding.len() })?;
            moved.there.insert(from, to);
            moved.back.insert(to, from);
        }
        Ok(moved)
    }

    fn back(&self, c: char) -> char {
        if is_private(c) { self.back.get(&c).copied().unwrap_or(c) } else { c }
    }

    /// Gathers the private-use characters of `text`.
    pub(super) fn note(text: &str, used: &mut BTreeSet<char>) {
        // Planes 15 and 16 begin with these bytes in UTF-8.
        if text.bytes().any(|b| b >= 0xF3) {
            used.extend(text.chars().filter(|&c| is_private(c)));
        }
    }

    /// An input text as the template gets to see it.
    pub(super) fn input(&self, text: &str, marks: Option<&Marks>) -> String {
        if self.there.is_empty() && marks.is_none() {
            return text.to_owned();
        }
        let step = |c: char| {
            let c = self.there.get(&c).copied().unwrap_or(c);
            marks.map_or(c, |marks| marks.message(c))
        };
        text.chars().map(step).collect()
    }
}
