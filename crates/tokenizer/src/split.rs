//! Pre-tokenizers: a text is cut into words, step after step; each word then goes to the model
//! alone. A step sees the words of the step before as separate texts. Source of the semantics: the
//! `tokenizers` library's `pre_tokenizers`.

use std::borrow::Cow;

use crate::pattern::Pattern;
use crate::scan::Scanner;
use crate::unicode::{Classes, NUMBER, byte_to_char, char_to_byte, flags, unescape};

/// What becomes of a delimiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behavior {
    Removed,
    Isolated,
    MergedWithPrevious,
    MergedWithNext,
    Contiguous,
}

/// Which words get a space in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prepend {
    First,
    Never,
    Always,
}

/// One step.
pub(crate) enum Step {
    /// Words end where `pattern` matches; `invert`: where it does not.
    Split { pattern: Pattern, behavior: Behavior, invert: bool },
    /// To GPT-2's byte alphabet.
    ByteLevel { add_prefix_space: bool, words: bool },
    /// Spaces become `replacement`.
    Metaspace { replacement: char, prepend: Prepend, split: bool },
    /// Digits in threes, counted from the right. `boundary`: only where a word ends behind them.
    DigitTriples { boundary: bool },
    /// Words of `length` characters.
    FixedLength { length: usize },
}

/// A word for the model.
#[derive(Clone, Copy)]
pub(crate) enum Word<'a> {
    /// Text, in which bytes may be escaped.
    Text(&'a str),
    /// Plain bytes.
    Bytes(&'a [u8]),
}

/// What holds for a whole run.
pub(crate) struct Splitter<'a> {
    pub(crate) steps: &'a [Step],
    /// Bytes are escaped in the text.
    pub(crate) escaped: bool,
    pub(crate) classes: Classes,
}

impl Splitter<'_> {
    /// Cuts `text`; `first` says that it stands at the very start.
    pub(crate) fn run(&self, text: &str, first: bool, sink: &mut dyn FnMut(Word<'_>)) {
        self.step(0, false, text, first, sink);
    }

    /// `mapped`: the text is in the byte alphabet.
    fn step(
        &self,
        index: usize,
        mapped: bool,
        text: &str,
        first: bool,
        sink: &mut dyn FnMut(Word<'_>),
    ) {
        if text.is_empty() {
            return;
        }
        let Some(step) = self.steps.get(index) else {
            if mapped {
                let bytes: Vec<u8> = text.chars().filter_map(char_to_byte).collect();
                sink(Word::Bytes(&bytes));
            } else {
                sink(Word::Text(text));
            }
            return;
        };
        let mut next = |from: usize, to: usize, text: &str| {
            if from < to {
                self.step(index + 1, mapped, &text[from..to], first && from == 0, sink);
            }
        };
        match step {
            Step::Split {
                pattern: Pattern::Scan(scanner),
                behavior: Behavior::Isolated,
                invert: false,
            } => {
                self.scan(*scanner, text, &mut |from, to| next(from, to, text));
            }
            Step::Split { pattern, behavior, invert } => {
                split(text, pattern, *behavior, *invert, self.classes, &mut |a, b| {
                    next(a, b, text);
                });
            }
            Step::ByteLevel { add_prefix_space, words } => {
                let text = if *add_prefix_space && !text.starts_with(' ') {
                    Cow::Owned(format!(" {text}"))
                } else {
                    Cow::Borrowed(text)
                };
                self.byte_level(index, *words, &text, first, sink);
            }
            Step::Metaspace { replacement, prepend, split: cut } => {
                let text = metaspace(text, *replacement, *prepend, first);
                if *cut {
                    let pattern = Pattern::Literal(replacement.to_string());
                    let behavior = Behavior::MergedWithNext;
                    split(&text, &pattern, behavior, false, self.classes, &mut |a, b| {
                        next(a, b, &text);
                    });
                } else {
                    next(0, text.len(), &text);
                }
            }
            Step::DigitTriples { boundary } => {
                triples(text, *boundary, &mut |a, b| next(a, b, text));
            }
            Step::FixedLength { length } => {
                fixed(text, *length, &mut |a, b| next(a, b, text));
            }
        }
    }

    fn scan(&self, scanner: Scanner, text: &str, emit: &mut dyn FnMut(usize, usize)) {
        let mut at = 0;
        while at < text.len() {
            let end = scanner.next(text, at, self.classes).max(at + 1);
            emit(at, end);
            at = end;
        }
    }

    /// The last step hands plain bytes to the model; before other steps the text is mapped.
    fn byte_level(
        &self,
        index: usize,
        words: bool,
        text: &str,
        first: bool,
        sink: &mut dyn FnMut(Word<'_>),
    ) {
        let last = index + 1 == self.steps.len();
        let mut word = |from: usize, to: usize| {
            if last {
                return sink(Word::Text(&text[from..to]));
            }
            let mut bytes = Vec::new();
            if self.escaped {
                unescape(&text[from..to], &mut bytes);
            } else {
                bytes.extend_from_slice(&text.as_bytes()[from..to]);
            }
            let mapped: String = bytes.into_iter().map(byte_to_char).collect();
            self.step(index + 1, true, &mapped, first && from == 0, sink);
        };
        if words {
            self.scan(Scanner::Gpt2, text, &mut word);
        } else {
            word(0, text.len());
        }
    }
}

fn metaspace(text: &str, replacement: char, prepend: Prepend, first: bool) -> String {
    let mut buffer = [0u8; 4];
    let mark: &str = replacement.encode_utf8(&mut buffer);
    let mut result = String::with_capacity(text.len() + text.len() / 2 + 3);
    let starts = text.starts_with([' ', replacement]);
    if !starts && (prepend == Prepend::Always || (prepend == Prepend::First && first)) {
        result.push_str(mark);
    }
    for (index, part) in text.split(' ').enumerate() {
        if index != 0 {
            result.push_str(mark);
        }
        result.push_str(part);
    }
    result
}

/// Calls `emit` with each word's range, in order.
fn split(
    text: &str,
    pattern: &Pattern,
    behavior: Behavior,
    invert: bool,
    classes: Classes,
    emit: &mut dyn FnMut(usize, usize),
) {
    // What was last seen and not yet handed out: its range, and whether it is a delimiter.
    let mut held: Option<(usize, usize, bool)> = None;
    let mut part = |from: usize, to: usize, matched: bool| {
        let delimiter = matched != invert;
        let joins = match (behavior, held) {
            (Behavior::Contiguous, Some((.., before))) => before == delimiter,
            (Behavior::MergedWithPrevious, Some((.., before))) => delimiter && !before,
            (Behavior::MergedWithNext, Some((.., before))) => before && !delimiter,
            _ => false,
        };
        match held {
            Some((start, ..)) if joins => held = Some((start, to, delimiter)),
            _ => {
                if let Some((start, end, before)) = held
                    && !(before && behavior == Behavior::Removed)
                {
                    emit(start, end);
                }
                held = Some((from, to, delimiter));
            }
        }
    };
    let (mut done, mut from) = (0, 0);
    while let Some((start, end)) = pattern.find(text, from, classes) {
        if done < start {
            part(done, start, false);
        }
        part(start, end, true);
        done = end;
        from = if end > start {
            end
        } else {
            end + text[end..].chars().next().map_or(1, char::len_utf8)
        };
    }
    if done < text.len() {
        part(done, text.len(), false);
    }
    if let Some((start, end, before)) = held
        && !(before && behavior == Behavior::Removed)
    {
        emit(start, end);
    }
}

/// Words of `length` characters.
fn fixed(text: &str, length: usize, emit: &mut dyn FnMut(usize, usize)) {
    let mut from = 0;
    for (count, (at, _)) in text.char_indices().enumerate() {
        if count != 0 && count % length == 0 {
            emit(from, at);
            from = at;
        }
    }
    emit(from, text.len());
}

/// Numbers apart from the rest, in threes from the right.
fn triples(text: &str, boundary: bool, emit: &mut dyn FnMut(usize, usize)) {
    let is_word = |c: char| flags(c) & crate::unicode::WORD != 0;
    let mut plain = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let run = rest.find(|c| flags(c) & NUMBER == 0).unwrap_or(rest.len());
        if run == 0 {
            at += rest.chars().next().map_or(1, char::len_utf8);
            continue;
        }
        let end = at + run;
        if !(boundary && text[end..].starts_with(is_word)) {
            emit(plain, at);
            let starts: Vec<usize> =
                text[at..end].char_indices().map(|(index, _)| at + index).collect();
            let mut from = 0;
            for index in 1..=starts.len() {
                if (starts.len() - index).is_multiple_of(3) {
                    emit(starts[from], starts.get(index).copied().unwrap_or(end));
                    from = index;
                }
            }
            plain = end;
        }
        at = end;
    }
    emit(plain, text.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(steps: &[Step], text: &str, expected: &[&str]) {
        let splitter = Splitter { steps, escaped: false, classes: Classes::new() };
        let mut words = Vec::new();
        splitter.run(text, true, &mut |word| match word {
            Word::Text(text) => words.push(text.to_owned()),
            Word::Bytes(bytes) => words.push(String::from_utf8_lossy(bytes).into_owned()),
        });
        assert_eq!(words, expected, "{text:?}");
    }

    fn at_commas(behavior: Behavior) -> Vec<Step> {
        vec![Step::Split { pattern: Pattern::Literal(",".to_owned()), behavior, invert: false }]
    }

    #[test]
    fn behaviors_of_a_delimiter() {
        let text = "a,b,,c";
        check(&at_commas(Behavior::Removed), text, &["a", "b", "c"]);
        check(&at_commas(Behavior::Isolated), text, &["a", ",", "b", ",", ",", "c"]);
        check(&at_commas(Behavior::MergedWithPrevious), text, &["a,", "b,", ",", "c"]);
        check(&at_commas(Behavior::MergedWithNext), text, &["a", ",b", ",", ",c"]);
        check(&at_commas(Behavior::Contiguous), text, &["a", ",", "b", ",,", "c"]);
    }

    #[test]
    fn steps_in_sequence() {
        let byte_level = || Step::ByteLevel { add_prefix_space: false, words: true };
        check(&[byte_level()], "it's 1  é", &["it", "'s", " 1", " ", " é"]);
        check(
            &[byte_level(), Step::DigitTriples { boundary: false }],
            "é 1234",
            &["é", " ", "1", "234"],
        );
        check(
            &[Step::DigitTriples { boundary: true }],
            "12345a 67 8",
            &["12345a ", "67", " ", "8"],
        );
        let metaspace =
            Step::Metaspace { replacement: '▁', prepend: Prepend::First, split: true };
        check(&[metaspace], "a  b", &["▁a", "▁", "▁b"]);
    }
}
