//! Just enough of Rust's lexical grammar to tell code from comments and from the inside of
//! literals. Source: The Rust Reference, chapters "Comments" and "Tokens".
//!
//! Own code rather than `syn`, because the rules need tokens and their lines only, and must also
//! see inside the bodies of macros, where `syn` stops; and because `syn` with all its features
//! would be the largest thing in this program.

/// A file, taken apart.
pub(crate) struct Source<'text> {
    pub(crate) text: &'text str,
    /// Identifiers and keywords, single punctuation characters, and literals; in order.
    pub(crate) tokens: Vec<Token<'text>>,
    pub(crate) comments: Vec<Comment<'text>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'text> {
    /// As written; empty for string and character literals and for lifetimes.
    pub(crate) text: &'text str,
    /// From 1.
    pub(crate) line: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Comment<'text> {
    pub(crate) text: &'text str,
    pub(crate) first_line: usize,
    pub(crate) last_line: usize,
    /// How many tokens come before it.
    pub(crate) tokens_before: usize,
}

impl<'text> Source<'text> {
    pub(crate) fn new(text: &'text str) -> Self {
        let mut source = Self { text, tokens: Vec::new(), comments: Vec::new() };
        let (mut at, mut line) = (0, 1);
        while let Some(first) = text[at..].chars().next() {
            let rest = &text[at..];
            let (kind, length) = next(rest, first);
            let piece = &rest[..length];
            match kind {
                Kind::Space => {}
                Kind::Comment => source.comments.push(Comment {
                    text: piece,
                    first_line: line,
                    last_line: line + piece.matches('\n').count(),
                    tokens_before: source.tokens.len(),
                }),
                Kind::Code => source.tokens.push(Token { text: piece, line }),
                Kind::Opaque => source.tokens.push(Token { text: "", line }),
            }
            line += piece.matches('\n').count();
            at += length;
        }
        source
    }

    /// The text of token number `index`; empty past the end.
    pub(crate) fn token(&self, index: usize) -> &'text str {
        self.tokens.get(index).map_or("", |token| token.text)
    }

    /// The number of the token that closes the bracket at `open`; the last token if nothing does.
    pub(crate) fn closing(&self, open: usize) -> usize {
        let mut depth = 0usize;
        for (index, token) in self.tokens.iter().enumerate().skip(open) {
            match token.text {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                return index;
            }
        }
        self.tokens.len().saturating_sub(1)
    }
}

enum Kind {
    Space,
    Comment,
    Code,
    /// A literal whose inside must not be mistaken for code.
    Opaque,
}

fn is_word(letter: char) -> bool {
    letter == '_' || letter.is_alphanumeric()
}

/// The piece that `rest` begins with, and its length in bytes, at least 1.
fn next(rest: &str, first: char) -> (Kind, usize) {
    if first.is_whitespace() {
        return (Kind::Space, first.len_utf8());
    }
    if rest.starts_with("//") {
        return (Kind::Comment, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (Kind::Comment, block_comment(rest));
    }
    if let Some(length) = string(rest) {
        return (Kind::Opaque, length);
    }
    if first == '\'' {
        return (Kind::Opaque, quote(rest));
    }
    if is_word(first) {
        let raw = if rest.starts_with("r#") { 2 } else { 0 };
        let end = rest[raw..].find(|letter| !is_word(letter)).map_or(rest.len(), |end| raw + end);
        return (Kind::Code, end.max(1));
    }
    (Kind::Code, first.len_utf8())
}

/// The length of a block comment; they nest.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// The length of the string literal of any kind that `rest` begins with.
fn string(rest: &str) -> Option<usize> {
    let prefix = ["br", "cr", "b", "c", "r"].into_iter().find(|prefix| rest.starts_with(prefix));
    let prefix = prefix.unwrap_or_default();
    let after = &rest[prefix.len()..];
    if prefix.ends_with('r') {
        let hashes = after.len() - after.trim_start_matches('#').len();
        let inside = after[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", "#".repeat(hashes));
        let start = rest.len() - inside.len();
        return Some(inside.find(&end).map_or(rest.len(), |found| start + found + end.len()));
    }
    if prefix == "b" && after.starts_with('\'') {
        return Some(1 + quote(after));
    }
    after.starts_with('"').then(|| prefix.len() + escaped(after, b'"'))
}

/// The length of what begins with a `'`: a character literal or a lifetime.
fn quote(rest: &str) -> usize {
    let mut letters = rest[1..].chars();
    let first = letters.next().unwrap_or(' ');
    if first == '\\' || letters.next() == Some('\'') {
        return escaped(rest, b'\'');
    }
    1 + rest[1..].find(|letter| !is_word(letter)).unwrap_or(rest.len() - 1)
}

/// The length of a literal that ends at the next `end` without a backslash.
fn escaped(rest: &str, end: u8) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == end => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, tokens: &[&str], comments: &[&str]) {
        let source = Source::new(text);
        let found: Vec<_> = source.tokens.iter().map(|token| token.text).collect();
        assert_eq!(found, tokens, "{text}");
        let found: Vec<_> = source.comments.iter().map(|comment| comment.text).collect();
        assert_eq!(found, comments, "{text}");
    }

    #[test]
    fn code_and_comments() {
        check("a // b\nc", &["a", "c"], &["// b"]);
        check("a /* b /* c */ d */ e", &["a", "e"], &["/* b /* c */ d */"]);
        check("/* open", &[], &["/* open"]);
        check("r#fn(x1)", &["r#fn", "(", "x1", ")"], &[]);
    }

    #[test]
    fn the_inside_of_literals_is_not_code() {
        check(r#""unsafe // {" x"#, &["", "x"], &[]);
        check(r#""a\"unsafe" b"unsafe" c"unsafe" x"#, &["", "", "", "x"], &[]);
        check(r###"r#"unsafe " { "# x br"unsafe" r##"a"#b"## y"###, &["", "x", "", "", "y"], &[]);
        check(r"'{' '\'' b'{' b'\\' '\u{7d}' x", &["", "", "", "", "", "x"], &[]);
        check("&'a T '_ 'static 'x'", &["&", "", "T", "", "", ""], &[]);
        check("\"open", &[""], &[]);
        check("'é' 'é", &["", ""], &[]);
    }

    #[test]
    fn lines_are_counted_through_everything() {
        let source = Source::new("/* 1\n2 */\n\"3\n4\"\nx // y\nz");
        let at = |text: &str| source.tokens.iter().find(|token| token.text == text).unwrap().line;
        assert_eq!((at("x"), at("z")), (5, 6));
        assert_eq!((source.comments[0].first_line, source.comments[0].last_line), (1, 2));
        assert_eq!(source.comments[1].tokens_before, 2);
    }

    #[test]
    fn brackets_match() {
        let source = Source::new("a { b ( { } ) [ ] } c");
        assert_eq!((source.closing(1), source.closing(3)), (9, 6));
        let source = Source::new("{ ( ) [ x ] } y");
        assert_eq!(source.closing(0), 6);
        assert_eq!(Source::new("{ x").closing(0), 1);
    }
}
