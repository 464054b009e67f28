//! Where an argument comes from: an exact span of a text that the process was given.
//!
//! A span counts only if it stands there as a whole: `ann@example.org` does not stand in
//! `joann@example.org`, nor `/tmp` in `/tmp/x`. Nothing is decoded, folded or trimmed: what is not
//! written there byte by byte does not stand there.

use serde::{Deserialize, Serialize};

use crate::label::{Integrity, Label};

/// A text that the process was given.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Its number, for the grounds of a decision.
    pub number: u64,
    /// Its text.
    pub text: &'a str,
    /// What is known of it.
    pub label: &'a Label,
}

/// Where an argument comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// It stands in this segment, the most believed one in which it stands.
    Span {
        /// The segment.
        segment: u64,
        /// How far it may be believed.
        integrity: Integrity,
    },
    /// A look-up in what belongs to the person gave it: an address book, own accounts.
    LookUp {
        /// The segment that holds what the look-up gave.
        segment: u64,
    },
    /// A person approved it for this call.
    Approved,
    /// The tool's description fixes it.
    Fixed,
    /// It is the content of a segment that is passed on without being read.
    Held {
        /// The segment.
        segment: u64,
        /// How far it may be believed.
        integrity: Integrity,
    },
    /// It stands nowhere: the process wrote it.
    Written,
}

impl Origin {
    /// How far the argument may be believed on account of where it comes from; none if only the
    /// process speaks for it.
    pub fn integrity(&self) -> Option<Integrity> {
        match self {
            Self::Span { integrity, .. } | Self::Held { integrity, .. } => Some(*integrity),
            Self::LookUp { .. } | Self::Approved => Some(Integrity::Person),
            Self::Fixed => Some(Integrity::System),
            Self::Written => None,
        }
    }

    /// Where from, for people.
    pub fn in_words(&self) -> String {
        match self {
            Self::Span { segment, .. } => format!("it stands in page {segment}"),
            Self::LookUp { segment } => format!("a look-up gave it, in page {segment}"),
            Self::Approved => "a person approved it".to_owned(),
            Self::Fixed => "the tool fixes it".to_owned(),
            Self::Held { segment, .. } => format!("it is page {segment}, passed on unread"),
            Self::Written => "the process wrote it".to_owned(),
        }
    }

    /// Whether it may decide where information goes.
    pub fn is_trusted(&self) -> bool {
        self.integrity().is_some_and(Integrity::is_trusted)
    }

    /// The segment in which it stands.
    pub fn segment(&self) -> Option<u64> {
        match self {
            Self::Span { segment, .. } | Self::LookUp { segment } | Self::Held { segment, .. } => {
                Some(*segment)
            }
            Self::Approved | Self::Fixed | Self::Written => None,
        }
    }
}

/// The origin of a value among segments: the most believed one in which it stands, of several the
/// first. An empty value stands nowhere.
pub fn find<'a>(value: &str, segments: impl IntoIterator<Item = Segment<'a>>) -> Origin {
    let standing = segments.into_iter().filter(|segment| stands_in(value, segment.text));
    let best = standing.map(|segment| (segment.label.integrity(), segment.number));
    // `min_by_key` takes the first of several.
    match best.min_by_key(|(integrity, _)| *integrity) {
        Some((integrity, segment)) => Origin::Span { segment, integrity },
        None => Origin::Written,
    }
}

/// Whether a value stands in a text as a whole.
pub fn stands_in(value: &str, text: &str) -> bool {
    if value.is_empty() {
        return false;
    }
    // Of places that overlap each counts, which `match_indices` does not give.
    text.char_indices().any(|(at, _)| {
        let (before, rest) = text.split_at(at);
        let whole = |after: &str| !goes_on(before.chars().rev()) && !goes_on(after.chars());
        rest.strip_prefix(value).is_some_and(whole)
    })
}

/// Whether what stands next, seen from a value's edge, is a part of the same word. A sentence ends
/// at a full stop before white space; between letters it is a part of a name.
fn goes_on(mut outwards: impl Iterator<Item = char>) -> bool {
    outwards.next().is_some_and(|next| {
        joins(next) || pauses(next) && outwards.next().is_some_and(|c| joins(c) || pauses(c))
    })
}

/// Belongs to a word, an address or a path wherever it stands.
fn joins(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '@' | '_' | '-' | '+' | '/' | '\\' | '%' | '=' | '&' | '#')
        || matches!(c, '~' | '$' | '*' | '|' | '^')
        // Marks and invisible characters that attach to their neighbours.
        || matches!(c, '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
}

/// Ends a sentence or belongs to an address, by what stands beyond.
fn pauses(c: char) -> bool {
    matches!(c, '.' | ',' | ':' | ';' | '!' | '?' | '\'')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::label::{Limits, Readers, SourceName};

    fn label(integrity: Integrity) -> Label {
        let limits = Limits { integrity, readers: Readers::Anyone };
        Label::of(SourceName::new("it"), limits)
    }

    #[test]
    fn a_value_stands_only_where_it_stands_as_a_whole() {
        let whole = [
            ("ann@example.org", "Write to ann@example.org."),
            ("ann@example.org", "(ann@example.org)"),
            ("ann@example.org", "ann@example.org, bob@example.org"),
            ("ann@example.org", "ann@example.org"),
            ("/tmp", "in /tmp, or elsewhere"),
            ("https://a.org/x", "see <https://a.org/x>!"),
            ("50", "pay 50 today"),
            ("50", "pay \"50\""),
            ("report.txt", "is it report.txt?"),
        ];
        for (value, text) in whole {
            assert!(stands_in(value, text), "{value} in {text}");
        }
        let not = [
            ("ann@example.org", "joann@example.org"),
            ("ann@example.org", "ann@example.organ"),
            ("ann@example.org", "ann@example.org.evil.com"),
            ("ann@example.org", "x-ann@example.org"),
            ("ann@example.org", "o'ann@example.org"),
            ("example.org", "ann@example.org"),
            ("example.org", "www.example.org"),
            ("/tmp", "/tmp/x"),
            ("/tmp", "a/tmp"),
            ("https://a.org/x", "https://a.org/x?y=1"),
            ("https://a.org", "https://a.org:80"),
            ("50", "500"),
            ("50", "1,50"),
            ("50", "50.1"),
            ("50", "-50"),
            ("ann", "ann\u{200b}@example.org"),
            ("ann", "ann\u{301}"),
            ("", "anything"),
            ("Ann", "ann"),
        ];
        for (value, text) in not {
            assert!(!stands_in(value, text), "{value} in {text}");
        }
    }

    #[test]
    fn a_later_whole_one_counts() {
        assert!(stands_in("ann", "joann, ann"));
        assert!(stands_in("x x", "ax x x"));
    }

    #[test]
    fn the_most_believed_segment_is_the_origin() {
        let [good, bad] = [Integrity::Person, Integrity::Untrusted].map(label);
        let segment = |number, text, label| Segment { number, text, label };
        let segments =
            [segment(3, "to bob", &bad), segment(5, "to bob", &good), segment(7, "bob", &good)];
        let want = Origin::Span { segment: 5, integrity: Integrity::Person };
        assert_eq!(find("bob", segments), want);
        let want = Origin::Span { segment: 3, integrity: Integrity::Untrusted };
        assert_eq!(find("bob", [segments[0]]), want);
        assert_eq!(find("eve", segments), Origin::Written);
    }

    #[test]
    fn who_speaks_for_an_argument() {
        let span = |integrity| Origin::Span { segment: 1, integrity };
        let held = |integrity| Origin::Held { segment: 2, integrity };
        let trusted = [
            (span(Integrity::System), true),
            (span(Integrity::Person), true),
            (span(Integrity::Value), false),
            (span(Integrity::Untrusted), false),
            (held(Integrity::Person), true),
            (held(Integrity::Untrusted), false),
            (Origin::LookUp { segment: 4 }, true),
            (Origin::Approved, true),
            (Origin::Fixed, true),
            (Origin::Written, false),
        ];
        for (origin, want) in trusted {
            assert_eq!(origin.is_trusted(), want, "{origin:?}");
        }
        assert_eq!(Origin::LookUp { segment: 4 }.segment(), Some(4));
        assert_eq!(held(Integrity::Value).segment(), Some(2));
        assert_eq!(Origin::Fixed.segment(), None);
        assert_eq!(Origin::Fixed.integrity(), Some(Integrity::System));
        assert_eq!(Origin::Approved.integrity(), Some(Integrity::Person));
    }

    proptest! {
        #[test]
        fn what_is_written_between_spaces_stands_there(
            value in "[a-z0-9@./:-]{1,12}", before in "[a-z ]{0,8}", after in "[a-z ]{0,8}",
        ) {
            let text = format!("{before} {value} {after}");
            prop_assert!(stands_in(&value, &text));
        }

        #[test]
        fn a_part_of_a_word_does_not(value in "[a-z]{1,6}", more in "[A-Z]{1,4}") {
            let after = format!("{value}{more}");
            let before = format!("{more}{value}");
            prop_assert!(!stands_in(&value, &after));
            prop_assert!(!stands_in(&value, &before));
        }
    }
}
