//! What filters and deduplication say about the documents of a corpus, in the order of reading.
//!
//! Documents are gathered into portions; what concerns one document alone is computed for all of a
//! portion by all threads, what concerns several is decided in order. So the number of threads
//! changes nothing but the time.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use lucid_sys::ThreadPool;
use serde::{Deserialize, Serialize};

use super::dedup::{DedupOptions, Earlier, Index, MinHash, Signature, content_hash};
use super::filter::{FilterOptions, Rule, judge, language};
use super::read::{Document, Documents, Files, name};
use super::{Count, Duplicates, ReadOptions};
use crate::TrainError;

/// How documents are chosen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChooseOptions {
    /// How files are read.
    pub read: ReadOptions,
    /// What a document must be.
    pub filter: FilterOptions,
    /// Which duplicates go.
    pub dedup: DedupOptions,
}

/// What is being done, and how far it is, in bytes of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// In words.
    pub what: &'static str,
    /// So far.
    pub done: u64,
    /// In all.
    pub total: u64,
}

/// Told of progress; whoever breaks stops the work.
pub type Observer<'a> = dyn FnMut(Progress) -> ControlFlow<()> + 'a;

/// A document that was looked at.
pub(super) struct Examined {
    pub(super) document: Document,
    pub(super) content: [u8; 32],
    pub(super) language: &'static str,
    signature: Option<Signature>,
    /// What drops it, and what was found.
    pub(super) dropped: Option<(Rule, String)>,
}

/// What was dropped, and the languages of all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ChoiceTally {
    /// Documents that stay.
    pub kept: u64,
    /// Bytes of their texts.
    pub kept_bytes: u64,
    /// Documents by what dropped them, with the first few.
    pub dropped: BTreeMap<Rule, Count>,
    /// Documents by language.
    pub languages: BTreeMap<&'static str, u64>,
}

impl ChoiceTally {
    /// The counts of what was dropped, in words.
    pub fn in_words(&self) -> String {
        let counts = self.dropped.iter().map(|(rule, count)| format!("{} {rule}", count.count));
        counts.collect::<Vec<_>>().join("; ")
    }
}

/// Documents of a portion, and bytes of their texts.
const PORTION_DOCUMENTS: usize = 2048;
const PORTION_BYTES: usize = 1 << 24;

/// Reads, judges and compares the documents of files.
pub(super) struct Examiner<'files> {
    documents: Documents<'files>,
    options: &'files ChooseOptions,
    minhash: MinHash,
    index: Index,
    /// File and number of each document that stayed.
    kept: Vec<(Arc<PathBuf>, u64)>,
    /// Contents of texts to measure with: what equals one is dropped.
    held_out: HashSet<[u8; 32]>,
    pub(super) tally: ChoiceTally,
}

impl<'files> Examiner<'files> {
    pub(super) fn new(files: &'files Files, options: &'files ChooseOptions) -> Self {
        Self {
            documents: files.documents(),
            options,
            minhash: MinHash::new(),
            index: Index::default(),
            kept: Vec::new(),
            held_out: HashSet::new(),
            tally: ChoiceTally::default(),
        }
    }

    /// Drops what has one of these contents.
    pub(super) fn without(self, held_out: HashSet<[u8; 32]>) -> Self {
        Self { held_out, ..self }
    }

    /// The next documents, those that are dropped too; none at the end.
    pub(super) fn portion(&mut self, pool: &ThreadPool) -> Vec<Examined> {
        let mut portion = gather(&mut self.documents);
        let (minhash, options) = (&self.minhash, self.options);
        pool.for_each(&mut portion, |_, examined| look(examined, minhash, options));
        for examined in &mut portion {
            self.decide(examined);
        }
        portion
    }

    pub(super) fn documents(&self) -> &Documents<'files> {
        &self.documents
    }

    fn decide(&mut self, examined: &mut Examined) {
        *self.tally.languages.entry(examined.language).or_default() += 1;
        if self.held_out.contains(&examined.content) {
            examined.dropped = Some((Rule::HeldOut, "also among them".to_owned()));
        }
        if examined.dropped.is_none() {
            let signature = examined.signature.take();
            let earlier =
                self.index.add(&examined.content, signature.as_ref(), &self.options.dedup);
            let named = |number: u32| {
                let (file, number) = &self.kept[number as usize];
                name(file, *number)
            };
            examined.dropped = earlier.map(|earlier| match earlier {
                Earlier::Exact(number) => (Rule::ExactDuplicate, format!("of {}", named(number))),
                Earlier::Near(number, similarity) => {
                    let percent = similarity * 100.0;
                    (Rule::NearDuplicate, format!("{percent:.0} % of {}", named(number)))
                }
            });
        }
        let Examined { document, dropped, .. } = examined;
        if let Some((rule, found)) = dropped {
            let example = || format!("{}: {found}", document.name());
            self.tally.dropped.entry(*rule).or_default().add(example);
        } else {
            self.tally.kept += 1;
            self.tally.kept_bytes += document.text.len() as u64;
            self.kept.push((Arc::clone(&document.file), document.number));
        }
    }
}

fn gather(documents: &mut Documents<'_>) -> Vec<Examined> {
    let mut portion = Vec::new();
    let mut bytes = 0;
    while portion.len() < PORTION_DOCUMENTS && bytes < PORTION_BYTES {
        let Some(document) = documents.next() else { break };
        bytes += document.text.len();
        portion.push(Examined {
            document,
            content: [0; 32],
            language: "und",
            signature: None,
            dropped: None,
        });
    }
    portion
}

fn look(examined: &mut Examined, minhash: &MinHash, options: &ChooseOptions) {
    let text = &examined.document.text;
    examined.content = content_hash(text);
    examined.language = language(text);
    examined.dropped = judge(text, examined.language, &options.filter);
    if examined.dropped.is_none() && options.dedup.near == Duplicates::Drop {
        examined.signature = minhash.signature(text);
    }
}

/// # Errors
/// `Stopped` where the observer breaks.
pub(super) fn tell(
    observer: &mut Observer<'_>,
    what: &'static str,
    done: u64,
    total: u64,
) -> Result<(), TrainError> {
    match observer(Progress { what, done, total }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(TrainError::Stopped),
    }
}
