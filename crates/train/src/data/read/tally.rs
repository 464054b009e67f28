//! What was read, and what was not and why.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::Kind;

/// How many of a kind are named.
const EXAMPLES: usize = 3;

/// Why something is no document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The system does not give the file.
    Unreadable,
    /// No text: a program, a picture, weights.
    Binary,
    /// UTF-16 or UTF-32.
    OtherEncoding,
    /// More than one byte in a hundred is no UTF-8.
    NotUtf8,
    /// Compressed, and broken off or damaged; what came before is kept.
    Damaged,
    /// Unpacks to far more than texts do; what came before is kept.
    Bomb,
    /// Longer than the longest document.
    TooLong,
    /// No space or line break as far as the longest document goes.
    EndlessWord,
    /// Nothing in it but white space.
    Empty,
    /// A line that is no JSON object.
    NotJson,
    /// A JSON file of which a line is no value: lines of JSON are needed.
    NotJsonLines,
    /// A line without the field, or in which it is no text.
    NoField,
    /// A line with `messages`: for fine-tuning.
    Conversation,
    /// A page without a main text.
    NoMainText,
    /// A record of a web archive that does not follow the format.
    BadRecord,
    /// A record whose payload is no text and no page.
    OtherRecord,
    /// A table without the column, or one that cannot be read.
    BadTable,
    /// A format that this program was built without.
    NeedsFeature,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreadable => "unreadable",
            Self::Binary => "binary",
            Self::OtherEncoding => "not in UTF-8 but UTF-16 or UTF-32",
            Self::NotUtf8 => "not UTF-8",
            Self::Damaged => "compressed and damaged",
            Self::Bomb => "unpacks to too much",
            Self::TooLong => "too long",
            Self::EndlessWord => "one endless line",
            Self::Empty => "empty",
            Self::NotJson => "not JSON",
            Self::NotJsonLines => "JSON that is not a value a line",
            Self::NoField => "without the text's field",
            Self::Conversation => "conversation, for fine-tuning",
            Self::NoMainText => "page without main text",
            Self::BadRecord => "broken record of a web archive",
            Self::OtherRecord => "record without text",
            Self::BadTable => "table without a readable text column",
            Self::NeedsFeature => "needs a feature of this program",
        })
    }
}

/// How many of a kind, and the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// How many.
    pub count: u64,
    /// The first few, by name.
    pub examples: Vec<String>,
}

impl Count {
    pub(in crate::data) fn add(&mut self, example: impl FnOnce() -> String) {
        self.count += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(example());
        }
    }
}

/// Counts of a reading.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReadTally {
    /// Files that were looked at.
    pub files: u64,
    /// Of those that could be opened, how many of each kind.
    pub file_kinds: BTreeMap<Kind, u64>,
    /// Documents of each kind.
    pub documents: BTreeMap<Kind, u64>,
    /// Bytes of their texts.
    pub text_bytes: u64,
    /// Bytes that were no UTF-8 and were replaced.
    pub replaced_bytes: u64,
    /// Cuts through texts that were too long for one document.
    pub cut: u64,
    /// What is no document.
    pub refused: BTreeMap<Refusal, Count>,
}

impl ReadTally {
    /// Documents of all kinds.
    pub fn document_count(&self) -> u64 {
        self.documents.values().sum()
    }

    /// The counts of what is no document, in words.
    pub fn refusals(&self) -> String {
        if self.refused.is_empty() {
            return "nothing was refused".to_owned();
        }
        let counts = self.refused.iter().map(|(why, count)| match count.examples.first() {
            Some(example) => format!("{} {why}, as {example}", count.count),
            None => format!("{} {why}", count.count),
        });
        counts.collect::<Vec<_>>().join("; ")
    }

    pub(super) fn refuse(&mut self, why: Refusal, example: impl FnOnce() -> String) {
        self.refused.entry(why).or_default().add(example);
    }

    pub(super) fn document(&mut self, kind: Kind, bytes: usize) {
        *self.documents.entry(kind).or_default() += 1;
        self.text_bytes += bytes as u64;
    }
}
