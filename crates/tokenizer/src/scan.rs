//! Hand-written scanners for the hot pre-tokenizer patterns. Each takes a position and gives the
//! end of the word there; words cover the text without gaps, one pass, no backtracking beyond a
//! run. The tests hold them to the regular expressions. Sources of the patterns: openai/gpt-2's
//! `encoder.py`, openai/tiktoken's `openai_public.py`, the `tokenizer.json` of Llama 3 and Qwen 2.

use crate::unicode::{Classes, LETTER, LOWER, NUMBER, SPACE, UPPER};

/// Which pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scanner {
    /// GPT-2.
    Gpt2,
    /// cl100k, Llama 3 (`digits` 3), Qwen 2 (`digits` 1).
    Cl100k {
        /// Most digits in a word.
        digits: u32,
    },
    /// o200k, GPT-4o (`digits` 3, contractions), Tekken (`digits` 1, none).
    O200k {
        /// Most digits in a word.
        digits: u32,
        /// Whether `'s` and the like stay with their word.
        contractions: bool,
    },
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)";
const CL100K_HEAD: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|";
const CL100K_TAIL: &str = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const O200K_UPPER: &str = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]";
const O200K_LOWER: &str = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]";
const O200K_TAIL: &str = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

impl Scanner {
    /// All that have a name in some file.
    pub(crate) const KNOWN: [Self; 6] = [
        Self::Gpt2,
        Self::Cl100k { digits: 1 },
        Self::Cl100k { digits: 3 },
        Self::O200k { digits: 1, contractions: false },
        Self::O200k { digits: 1, contractions: true },
        Self::O200k { digits: 3, contractions: true },
    ];

    /// The regular expression that this scanner stands for.
    pub(crate) fn pattern(self) -> String {
        let number = |digits: u32| match digits {
            1 => r"\p{N}".to_owned(),
            most => format!(r"\p{{N}}{{1,{most}}}"),
        };
        match self {
            Self::Gpt2 => format!(r"{GPT2}|\s+"),
            Self::Cl100k { digits } => format!("{CL100K_HEAD}{}{CL100K_TAIL}", number(digits)),
            Self::O200k { digits, contractions } => {
                let (upper, lower) = (O200K_UPPER, O200K_LOWER);
                let suffix = if contractions { "(?i:'s|'t|'re|'ve|'m|'ll|'d)?" } else { "" };
                let prefix = r"[^\r\n\p{L}\p{N}]?";
                format!(
                    "{}|{}|{}{O200K_TAIL}",
                    format_args!("{prefix}{upper}*{lower}+{suffix}"),
                    format_args!("{prefix}{upper}+{lower}*{suffix}"),
                    number(digits)
                )
            }
        }
    }

    /// The scanner for a pattern as files write it.
    pub(crate) fn recognise(pattern: &str) -> Option<Self> {
        // The same alternatives as tiktoken and some converters write them.
        let spelled =
            pattern.replace("'(?:[sS]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL][lL]|[dD])", "'s").replace(
                "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])",
                "(?i:'s|'t|'re|'ve|'m|'ll|'d)",
            );
        if spelled == GPT2 {
            return Some(Self::Gpt2);
        }
        Self::KNOWN.into_iter().find(|scanner| scanner.pattern() == spelled)
    }

    /// End of the word that begins at `at` (`at < text.len()`, on a character boundary).
    #[inline]
    pub(crate) fn next(self, text: &str, at: usize, classes: Classes) -> usize {
        let view = View { text, classes };
        match self {
            Self::Gpt2 => view.gpt2(at),
            Self::Cl100k { digits } => view.cl100k(at, digits),
            Self::O200k { digits, contractions } => view.o200k(at, digits, contractions),
        }
    }
}

#[derive(Clone, Copy)]
struct View<'a> {
    text: &'a str,
    classes: Classes,
}

impl View<'_> {
    /// Flags and length of the character at `at`; length 0 at the end.
    #[inline]
    fn at(self, at: usize) -> (u16, usize) {
        match self.text.as_bytes().get(at) {
            None => (0, 0),
            Some(&byte) if byte < 0x80 => (self.classes.of_ascii(byte), 1),
            Some(_) => match self.text[at..].chars().next() {
                Some(c) => (self.classes.of(c), c.len_utf8()),
                None => (0, 0),
            },
        }
    }

    /// End of the run of characters with any of `wanted`.
    #[inline]
    fn run(self, mut at: usize, wanted: u16) -> usize {
        loop {
            let rest = &self.text.as_bytes()[at..];
            let other = rest.iter().position(|&byte| self.classes.of_ascii(byte) & wanted == 0);
            at += other.unwrap_or(rest.len());
            if self.text.as_bytes().get(at).is_none_or(u8::is_ascii) {
                return at;
            }
            let (flags, len) = self.at(at);
            if flags & wanted == 0 {
                return at;
            }
            at += len;
        }
    }

    /// End of the run of characters that are neither space, letter nor number.
    fn symbols(self, mut at: usize) -> usize {
        loop {
            let (flags, len) = self.at(at);
            if len == 0 || flags & (SPACE | LETTER | NUMBER) != 0 {
                return at;
            }
            at += len;
        }
    }

    /// End of at most `most` numbers.
    fn numbers(self, mut at: usize, most: u32) -> usize {
        for _ in 0..most {
            let (flags, len) = self.at(at);
            if flags & NUMBER == 0 {
                break;
            }
            at += len;
        }
        at
    }

    /// End of the run of bytes in `wanted`.
    fn bytes(self, mut at: usize, wanted: &[u8]) -> usize {
        while self.text.as_bytes().get(at).is_some_and(|byte| wanted.contains(byte)) {
            at += 1;
        }
        at
    }

    fn byte(self, at: usize) -> u8 {
        self.text.as_bytes().get(at).copied().unwrap_or(0)
    }

    /// `\s+(?!\S)|\s+` on the run of white space `at..end`: one character stays behind for the word
    /// that follows.
    fn spaces(self, at: usize, end: usize) -> usize {
        if end == self.text.len() {
            return end;
        }
        let last = self.text[at..end].char_indices().next_back().map_or(0, |(index, _)| index);
        if last == 0 { end } else { at + last }
    }

    /// `\s*[\r\n]+`, otherwise as `spaces`.
    fn lines_or_spaces(self, at: usize) -> usize {
        let end = self.run(at, SPACE);
        let run = &self.text.as_bytes()[at..end];
        match run.iter().rposition(|&byte| byte == b'\n' || byte == b'\r') {
            Some(last) => at + last + 1,
            None => self.spaces(at, end),
        }
    }

    /// End of `'s`, `'t`, `'re`, `'ve`, `'m`, `'ll`, `'d` at `at`, or `at`. Without case, U+017F
    /// counts as `s`, as in regular expressions.
    fn contraction(self, at: usize, any_case: bool) -> usize {
        if self.byte(at) != b'\'' {
            return at;
        }
        let fold = |byte: u8| if any_case { byte.to_ascii_lowercase() } else { byte };
        match (fold(self.byte(at + 1)), fold(self.byte(at + 2))) {
            (b's' | b't' | b'm' | b'd', _) => at + 2,
            (b'r' | b'v', b'e') | (b'l', b'l') => at + 3,
            _ if any_case && self.text.as_bytes()[at + 1..].starts_with("ſ".as_bytes()) => at + 3,
            _ => at,
        }
    }

    fn gpt2(self, at: usize) -> usize {
        let end = self.contraction(at, false);
        if end > at {
            return end;
        }
        let start = at + usize::from(self.byte(at) == b' ');
        let (flags, len) = self.at(start);
        if flags & LETTER != 0 {
            return self.run(start, LETTER);
        }
        if flags & NUMBER != 0 {
            return self.run(start, NUMBER);
        }
        if len != 0 && flags & SPACE == 0 {
            return self.symbols(start);
        }
        self.spaces(at, self.run(at, SPACE))
    }

    fn cl100k(self, at: usize, digits: u32) -> usize {
        let end = self.contraction(at, true);
        if end > at {
            return end;
        }
        let (flags, len) = self.at(at);
        if flags & LETTER != 0 {
            return self.run(at, LETTER);
        }
        if flags & NUMBER != 0 {
            return self.numbers(at, digits);
        }
        if !matches!(self.byte(at), b'\r' | b'\n') {
            let end = self.run(at + len, LETTER);
            if end > at + len {
                return end;
            }
        }
        self.symbols_or_spaces(at, b"\r\n")
    }

    /// ` ?[^\s\p{L}\p{N}]+` with `tail` after it, otherwise white space.
    fn symbols_or_spaces(self, at: usize, tail: &[u8]) -> usize {
        let start = at + usize::from(self.byte(at) == b' ');
        let end = self.symbols(start);
        if end > start {
            return self.bytes(end, tail);
        }
        self.lines_or_spaces(at)
    }

    fn o200k(self, at: usize, digits: u32, contractions: bool) -> usize {
        let (flags, len) = self.at(at);
        let line_end = matches!(self.byte(at), b'\r' | b'\n');
        let may_lead = !line_end && flags & (LETTER | NUMBER) == 0;
        let lead = may_lead.then_some(at + len);
        let end = lead
            .and_then(|start| self.mixed_case(start))
            .or_else(|| self.mixed_case(at))
            .or_else(|| lead.and_then(|start| self.upper_case(start)))
            .or_else(|| self.upper_case(at));
        if let Some(end) = end {
            return if contractions { self.contraction(end, true) } else { end };
        }
        if flags & NUMBER != 0 {
            return self.numbers(at, digits);
        }
        self.symbols_or_spaces(at, b"\r\n/")
    }

    /// `[Lu Lt Lm Lo M]*[Ll Lm Lo M]+`. Where the first run leaves nothing for the second, it gives
    /// back up to its last character that is in both.
    fn mixed_case(self, start: usize) -> Option<usize> {
        let (mut at, mut both) = (start, None);
        loop {
            let (flags, len) = self.at(at);
            if flags & UPPER == 0 {
                break;
            }
            at += len;
            if flags & LOWER != 0 {
                both = Some(at);
            }
        }
        let end = self.run(at, LOWER);
        if end > at { Some(end) } else { both }
    }

    /// `[Lu Lt Lm Lo M]+[Ll Lm Lo M]*`
    fn upper_case(self, start: usize) -> Option<usize> {
        let end = self.run(start, UPPER);
        (end > start).then(|| self.run(end, LOWER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The scanner's words equal the pattern's matches.
    fn check(scanner: Scanner, regex: &fancy_regex::Regex, text: &str) {
        let (mut at, mut words) = (0, Vec::new());
        while at < text.len() {
            let end = scanner.next(text, at, Classes::new());
            assert!(end > at, "{scanner:?} stands still in {text:?} at {at}");
            words.push(&text[at..end]);
            at = end;
        }
        let expected: Vec<&str> = regex.find_iter(text).map(|m| m.unwrap().as_str()).collect();
        assert_eq!(words, expected, "{scanner:?} on {text:?}");
    }

    #[test]
    fn scanners_equal_their_patterns() {
        let alphabet: Vec<char> = concat!(
            "aZbs tT'dlL reVE\n\r\t .,/!1234½²中文ǅʰ\u{301}\u{200d}👍é\u{3000}",
            "\u{85}ſÀß٣'ـ\u{94d}\u{10ff80}_"
        )
        .chars()
        .collect();
        let mut state = 0x1234_5678_9abc_def1_u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as usize
        };
        for scanner in Scanner::KNOWN {
            let regex = fancy_regex::Regex::new(&scanner.pattern()).unwrap();
            for _ in 0..4000 {
                let length = random() % 24;
                let text: String =
                    (0..length).map(|_| alphabet[random() % alphabet.len()]).collect();
                check(scanner, &regex, &text);
            }
        }
    }

    #[test]
    fn patterns_are_recognised() {
        for scanner in Scanner::KNOWN {
            assert_eq!(Scanner::recognise(&scanner.pattern()), Some(scanner));
        }
        assert_eq!(Scanner::recognise("a+"), None);
    }
}
