//! Normalizers: text to text before it is cut into words. Source of the semantics: the `tokenizers`
//! library's `normalizers`, SentencePiece's `normalizer.cc`, BERT's `BasicTokenizer`.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;

use crate::charsmap::Charsmap;
use crate::pattern::Pattern;
use crate::unicode::{Classes, MARK, NONSPACING, OTHER, SPACE, byte_to_char, unescape};

/// One normalizer.
pub(crate) enum Normalizer {
    Bert {
        clean: bool,
        chinese: bool,
        strip_accents: bool,
        lowercase: bool,
    },
    Nfc,
    Nfd,
    Nfkc,
    Nfkd,
    Nmt,
    Lowercase,
    StripAccents,
    Strip {
        left: bool,
        right: bool,
    },
    Prepend(String),
    Replace {
        pattern: Pattern,
        content: String,
    },
    Charsmap(Charsmap),
    /// Spaces at the ends go, runs of spaces become one.
    CollapseSpaces,
    ByteLevel,
}

impl Normalizer {
    /// How many times as long a text may become through what the file replaces.
    pub(crate) fn growth(&self) -> usize {
        match self {
            Self::Replace { pattern: Pattern::Literal(text), content } => {
                content.len().div_ceil(text.len().max(1)).max(1)
            }
            Self::Replace { content, .. } => content.len().max(1),
            Self::Charsmap(map) => map.growth(),
            _ => 1,
        }
    }

    /// `text` normalized. Empty text stays empty.
    pub(crate) fn apply<'a>(&self, text: Cow<'a, str>, escaped: bool) -> Cow<'a, str> {
        if text.is_empty() {
            return text;
        }
        let classes = Classes::new();
        match self {
            Self::Bert { clean, chinese, strip_accents, lowercase } => {
                let mut result = String::with_capacity(text.len());
                bert_clean(&text, *clean, *chinese, classes, &mut result);
                if *strip_accents {
                    let kept = |c: &char| classes.of(*c) & NONSPACING == 0;
                    result = result.nfd().filter(kept).collect();
                }
                Cow::Owned(if *lowercase { lower(&result) } else { result })
            }
            Self::Nfc => composed(text, |text| text.nfc().collect()),
            Self::Nfkc => composed(text, |text| text.nfkc().collect()),
            Self::Nfd => composed(text, |text| text.nfd().collect()),
            Self::Nfkd => composed(text, |text| text.nfkd().collect()),
            Self::Nmt => Cow::Owned(text.chars().filter_map(nmt).collect()),
            Self::Lowercase => Cow::Owned(lower(&text)),
            Self::StripAccents => {
                Cow::Owned(text.chars().filter(|&c| classes.of(c) & MARK == 0).collect())
            }
            Self::Strip { left, right } => {
                let mut kept = text.as_ref();
                if *left {
                    kept = kept.trim_start();
                }
                if *right {
                    kept = kept.trim_end();
                }
                Cow::Owned(kept.to_owned())
            }
            Self::Prepend(prefix) => Cow::Owned(format!("{prefix}{text}")),
            Self::Replace { pattern, content } => replace(text, pattern, content, classes),
            Self::Charsmap(map) => Cow::Owned(map.apply(&text)),
            Self::CollapseSpaces => {
                let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
                Cow::Owned(words.join(" "))
            }
            Self::ByteLevel => {
                let mut bytes = Vec::with_capacity(text.len());
                if escaped {
                    unescape(&text, &mut bytes);
                } else {
                    bytes.extend_from_slice(text.as_bytes());
                }
                Cow::Owned(bytes.into_iter().map(byte_to_char).collect())
            }
        }
    }
}

/// ASCII is in every normal form.
fn composed(text: Cow<'_, str>, form: impl Fn(&str) -> String) -> Cow<'_, str> {
    if text.is_ascii() { text } else { Cow::Owned(form(&text)) }
}

fn lower(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

fn replace<'a>(
    text: Cow<'a, str>,
    pattern: &Pattern,
    content: &str,
    classes: Classes,
) -> Cow<'a, str> {
    let mut result = String::new();
    let mut done = 0;
    let mut from = 0;
    while let Some((start, end)) = pattern.find(&text, from, classes) {
        from = if end > start {
            end
        } else {
            end + text[end..].chars().next().map_or(1, char::len_utf8)
        };
        if end == start {
            continue;
        }
        result.push_str(&text[done..start]);
        result.push_str(content);
        done = end;
    }
    if done == 0 {
        return text;
    }
    result.push_str(&text[done..]);
    Cow::Owned(result)
}

fn bert_clean(text: &str, clean: bool, chinese: bool, classes: Classes, out: &mut String) {
    for c in text.chars() {
        let mut c = c;
        if clean {
            if matches!(c, '\t' | '\n' | '\r') {
                c = ' ';
            } else if c == '\0' || c == '\u{FFFD}' || classes.of(c) & OTHER != 0 {
                continue;
            } else if classes.of(c) & SPACE != 0 {
                c = ' ';
            }
        }
        if chinese && is_chinese(c) {
            out.push(' ');
            out.push(c);
            out.push(' ');
        } else {
            out.push(c);
        }
    }
}

/// The CJK blocks as BERT's implementations list them (the fifth starts later than Unicode's
/// block).
fn is_chinese(c: char) -> bool {
    matches!(c as u32,
        0x4E00..=0x9FFF | 0x3400..=0x4DBF | 0x20000..=0x2A6DF | 0x2A700..=0x2B73F
        | 0x2B740..=0x2B81F | 0x2B920..=0x2CEAF | 0xF900..=0xFAFF | 0x2F800..=0x2FA1F)
}

/// The rules of machine translation's normalizer: controls go, odd white space becomes a space.
fn nmt(c: char) -> Option<char> {
    match c as u32 {
        0x01..=0x08 | 0x0B | 0x0E..=0x1F | 0x7F | 0x8F | 0x9F => None,
        0x09
        | 0x0A
        | 0x0C
        | 0x0D
        | 0x1680
        | 0x200B..=0x200F
        | 0x2028
        | 0x2029
        | 0x2581
        | 0xFEFF
        | 0xFFFD => Some(' '),
        _ => Some(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(normalizer: &Normalizer, text: &str, expected: &str) {
        assert_eq!(normalizer.apply(Cow::Borrowed(text), false), expected);
    }

    #[test]
    fn normalizers() {
        let bert =
            Normalizer::Bert { clean: true, chinese: true, strip_accents: true, lowercase: true };
        check(&bert, "Ünï\u{0}\tcode 中文", "uni code  中  文 ");
        check(&Normalizer::CollapseSpaces, "  a   b ", "a b");
        let content = "▁".to_owned();
        check(
            &Normalizer::Replace { pattern: Pattern::Literal(" ".to_owned()), content },
            " a b",
            "▁a▁b",
        );
        check(&Normalizer::Nfkc, "ﬁ½", "fi1⁄2");
        check(&Normalizer::Prepend("▁".to_owned()), "", "");
        check(&Normalizer::Nmt, "a\u{200b}\u{1}b", "a b");
    }
}
