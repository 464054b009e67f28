//! Simple rules of quality, and of language. All have mild defaults and can be set.
//!
//! Source: the rules of Gopher (Rae et al., arXiv:2112.11446, appendix A.1.1: words, their mean
//! length, symbols, words with letters, repeated lines and n-grams) and of C4 (Raffel et al.,
//! arXiv:1910.10683, section 2.2: filler text). Departures: (1) bounds are wider by default, and
//! there is none on length above; (2) of the n-grams only those of ten words are looked at; (3) no
//! rule about words looks at scripts that write none.

use std::collections::HashSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::words::{self, hash_of};
use crate::TrainError;

/// What a document must be. `None` turns a rule off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FilterOptions {
    /// Words, at least.
    pub words_min: Option<usize>,
    /// Characters of a word on average, from and to.
    pub word_length: Option<(f64, f64)>,
    /// `#` and ellipses for each word, at most.
    pub symbol_ratio_max: Option<f64>,
    /// Share of words with a letter, at least.
    pub alphabetic_min: Option<f64>,
    /// Share of characters in lines that stood before, at most.
    pub repeated_lines_max: Option<f64>,
    /// Share of words in runs of ten that stood before, at most.
    pub repeated_runs_max: Option<f64>,
    /// Whether filler text (lorem ipsum) may stand in it.
    pub filler: Filler,
    /// Languages to keep, by their ISO 639-3 codes; all, where there is none.
    pub languages: Vec<String>,
}

/// What happens to filler text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filler {
    /// Documents with it are dropped.
    Drop,
    /// They stay.
    Keep,
}

impl Default for FilterOptions {
    fn default() -> Self {
        Self {
            words_min: Some(5),
            word_length: Some((2.0, 14.0)),
            symbol_ratio_max: Some(0.3),
            alphabetic_min: Some(0.5),
            repeated_lines_max: Some(0.5),
            repeated_runs_max: Some(0.5),
            filler: Filler::Drop,
            languages: Vec::new(),
        }
    }
}

impl FilterOptions {
    /// Every document passes.
    pub fn none() -> Self {
        Self {
            words_min: None,
            word_length: None,
            symbol_ratio_max: None,
            alphabetic_min: None,
            repeated_lines_max: None,
            repeated_runs_max: None,
            filler: Filler::Keep,
            languages: Vec::new(),
        }
    }

    /// # Errors
    /// A language that is not known.
    pub(super) fn check(&self) -> Result<(), TrainError> {
        match self.languages.iter().find(|code| whatlang::Lang::from_code(*code).is_none()) {
            None => Ok(()),
            Some(code) => Err(TrainError::Option {
                option: "a language",
                found: code.clone(),
                expected: "a code of ISO 639-3, such as eng, deu, fra, spa, rus or cmn",
            }),
        }
    }
}

/// Why a document was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Too few words.
    Short,
    /// Words too short or too long.
    WordLength,
    /// Too many `#` and ellipses.
    Symbols,
    /// Too few words with letters.
    Alphabetic,
    /// The same lines again and again.
    RepeatedLines,
    /// The same words again and again.
    RepeatedRuns,
    /// Filler text.
    FillerText,
    /// None of the languages to keep.
    Language,
    /// The same text as an earlier document.
    ExactDuplicate,
    /// Nearly the same text as an earlier document.
    NearDuplicate,
    /// The same text as one to measure with.
    HeldOut,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Short => "too short",
            Self::WordLength => "words too short or too long",
            Self::Symbols => "too many symbols",
            Self::Alphabetic => "too few words with letters",
            Self::RepeatedLines => "repeated lines",
            Self::RepeatedRuns => "repeated runs of words",
            Self::FillerText => "filler text",
            Self::Language => "another language",
            Self::ExactDuplicate => "exact duplicate",
            Self::NearDuplicate => "near duplicate",
            Self::HeldOut => "in the text to measure with",
        })
    }
}

/// The language of a text as an ISO 639-3 code; `und` where it cannot be told.
///
/// Looked at are three samples of a long text. Method: whatlang (trigrams and scripts, after
/// Cavnar and Trenkle 1994).
pub fn language(text: &str) -> &'static str {
    const SAMPLE: usize = 1200;
    let info = if text.len() <= 3 * SAMPLE {
        whatlang::detect(text)
    } else {
        let sample = |place: usize| {
            let boundary = |from: usize| (from..text.len()).find(|&at| text.is_char_boundary(at));
            let start = boundary(place).unwrap_or(0);
            &text[start..boundary(start + SAMPLE).unwrap_or(text.len())]
        };
        // Three samples are shorter than the text, so the last one ends within it.
        let places = [0, text.len() / 2 - SAMPLE / 2, text.len() - SAMPLE - 4];
        let samples = places.map(sample);
        whatlang::detect(&samples.join(" "))
    };
    info.filter(|info| info.confidence() > 0.2).map_or("und", |info| info.lang().code())
}

/// The first rule that drops a document of this language, and what it found.
pub(super) fn judge(text: &str, language: &str, options: &FilterOptions) -> Option<(Rule, String)> {
    if !options.languages.is_empty() && !options.languages.iter().any(|code| code == language) {
        return Some((Rule::Language, language.to_owned()));
    }
    let counts = Counts::of(text);
    if let Some((rule, found)) = by_words(&counts, options) {
        return Some((rule, found));
    }
    if options.filler == Filler::Drop && has_filler(text) {
        return Some((Rule::FillerText, "lorem ipsum".to_owned()));
    }
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    if let Some(max) = options.repeated_lines_max {
        let share = repeated_lines(text);
        if share > max {
            return Some((Rule::RepeatedLines, percent(share)));
        }
    }
    if let Some(max) = options.repeated_runs_max {
        let share = repeated_runs(text);
        if share > max {
            return Some((Rule::RepeatedRuns, percent(share)));
        }
    }
    None
}

fn by_words(counts: &Counts, options: &FilterOptions) -> Option<(Rule, String)> {
    let words = counts.words;
    if let Some(min) = options.words_min
        && words + counts.dense / 2 < min
    {
        return Some((Rule::Short, format!("{words} words")));
    }
    // Of a script without spaces nothing can be said by words.
    if words == 0 || counts.dense * 4 > counts.characters {
        return None;
    }
    let per_word = |count: usize| count as f64 / words as f64;
    if let Some((from, to)) = options.word_length {
        let mean = per_word(counts.characters);
        if mean < from || mean > to {
            return Some((Rule::WordLength, format!("{mean:.1} characters a word")));
        }
    }
    if let Some(max) = options.symbol_ratio_max {
        let ratio = per_word(counts.symbols);
        if ratio > max {
            return Some((Rule::Symbols, format!("{ratio:.2} symbols a word")));
        }
    }
    if let Some(min) = options.alphabetic_min {
        let share = per_word(counts.alphabetic);
        if share < min {
            return Some((Rule::Alphabetic, format!("{:.0} % have letters", share * 100.0)));
        }
    }
    None
}

#[derive(Default)]
struct Counts {
    words: usize,
    /// Outside white space.
    characters: usize,
    /// Of scripts that put no spaces between words.
    dense: usize,
    symbols: usize,
    alphabetic: usize,
}

impl Counts {
    fn of(text: &str) -> Self {
        let mut counts = Self::default();
        for word in text.split_whitespace() {
            counts.words += 1;
            let mut letter = false;
            for c in word.chars() {
                counts.characters += 1;
                counts.dense += usize::from(words::is_dense(c));
                counts.symbols += usize::from(c == '#' || c == '\u{2026}');
                letter |= c.is_alphabetic();
            }
            counts.symbols += word.matches("...").count();
            counts.alphabetic += usize::from(letter);
        }
        counts
    }
}

fn has_filler(text: &str) -> bool {
    memchr::memmem::find(text.as_bytes(), b"orem ipsum").is_some()
}

/// The share of characters that stand in lines which stood before.
fn repeated_lines(text: &str) -> f64 {
    let mut seen = HashSet::new();
    let (mut all, mut again) = (0, 0);
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        all += line.len();
        if !seen.insert(hash_of(line.as_bytes())) {
            again += line.len();
        }
    }
    f64::from(again as u32) / f64::from((all as u32).max(1))
}

/// The share of words that stand in a run of ten that stood before.
fn repeated_runs(text: &str) -> f64 {
    const RUN: usize = 10;
    let hashes: Vec<u64> = words::hashes(text).collect();
    let mut seen = HashSet::new();
    let (mut again, mut covered) = (0, 0);
    for (at, run) in hashes.windows(RUN).enumerate() {
        if !seen.insert(words::run_hash(run)) {
            let end = at + RUN;
            again += end - at.max(covered);
            covered = end;
        }
    }
    again as f64 / hashes.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, options: &FilterOptions, expected: Option<Rule>) {
        let found = judge(text, language(text), options);
        assert_eq!(found.as_ref().map(|(rule, _)| *rule), expected, "{text:.60}: {found:?}");
    }

    fn prose() -> String {
        let nouns = "river stone garden letter winter horse window song fire road table mountain \
            bread market silver tree island castle dragon summer lantern bridge ribbon kettle";
        let nouns: Vec<_> = nouns.split(' ').collect();
        let mut random = crate::random::Random::new("prose", 1, 0);
        let mut word = || nouns[random.below(24) as usize];
        let sentence = |_| format!("The {} was near a {} and the {}.\n", word(), word(), word());
        (0..40).map(sentence).collect::<Vec<_>>().concat()
    }

    #[test]
    fn each_rule_drops_what_it_is_for_and_can_be_turned_off() {
        let mild = FilterOptions::default();
        check(&prose(), &mild, None);
        for (text, rule) in [
            ("two words".to_owned(), Rule::Short),
            ("a b c d e f g h".to_owned(), Rule::WordLength),
            ("x".repeat(40) + " " + &"y".repeat(50) + " a b c d", Rule::WordLength),
            ("# one # two # three ... four five".to_owned(), Rule::Symbols),
            ("12.5 33.1 99.7 12.0 4.75 word 0.55".to_owned(), Rule::Alphabetic),
            ("the very same line again\n".repeat(9), Rule::RepeatedLines),
            (prose().replace('\n', " ").repeat(4), Rule::RepeatedRuns),
            (prose() + "Lorem ipsum dolor sit amet", Rule::FillerText),
        ] {
            check(&text, &mild, Some(rule));
            check(&text, &FilterOptions::none(), None);
        }
        let japanese = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。";
        check(japanese, &mild, None);
    }

    #[test]
    fn languages_are_told_and_kept() {
        let german = "Der Müller hatte drei Söhne, eine Mühle, einen Esel und einen Kater; die \
            Söhne mussten mahlen, der Esel Getreide holen und Mehl forttragen.";
        let english = "A certain miller had three sons, a mill, an ass and a cat; the sons had to \
            grind, the ass had to carry the corn home and take the flour away.";
        assert_eq!((language(german), language(english)), ("deu", "eng"));
        assert_eq!(language("12 + 34 = 46"), "und");
        assert_eq!(language(&german.repeat(90)), "deu");
        let only = FilterOptions { languages: vec!["eng".to_owned()], ..FilterOptions::none() };
        check(english, &only, None);
        check(german, &only, Some(Rule::Language));
        let wrong = FilterOptions { languages: vec!["english".to_owned()], ..only };
        assert!(wrong.check().unwrap_err().to_string().contains("ISO 639-3"));
    }
}
