//! What is in files that are to be trained on: how much, of what kind, what would be dropped, and
//! what looks planted. Nothing is written.

use std::path::PathBuf;

use lucid_sys::ThreadPool;
use serde::Serialize;

use super::Document;
use super::examine::{ChoiceTally, ChooseOptions, Examiner, Observer, tell};
use super::poison::{self, PoisonOptions, PoisonScan};
use super::read::{Files, ReadTally};
use crate::TrainError;

/// Bytes of text to a token, roughly: what byte-pair vocabularies of some ten thousand tokens reach
/// on English prose.
const BYTES_PER_TOKEN: f64 = 4.2;
/// How many of the longest documents are named.
const LONGEST: usize = 5;

/// A document and its length.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Long {
    /// Its name.
    pub name: String,
    /// Bytes of its text.
    pub bytes: u64,
}

/// What is in the files.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Bytes of the files, packed as they are.
    pub file_bytes: u64,
    /// What was read, and what not.
    pub read: ReadTally,
    /// What would be dropped.
    pub choice: ChoiceTally,
    /// Words of the documents that stay, between white space.
    pub words: u64,
    /// Tokens of those, at 4.2 bytes each.
    pub tokens_estimated: u64,
    /// The longest of those that stay.
    pub longest: Vec<Long>,
    /// What looks planted; `None` where it was not searched.
    pub poison: Option<PoisonScan>,
}

/// Looks at files.
///
/// # Errors
/// The files cannot be found, an option means nothing, or the observer stopped it. Files in which
/// nothing is to be read are told in the report, not by an error.
pub fn report(
    inputs: &[PathBuf],
    options: &ChooseOptions,
    poison: Option<&PoisonOptions>,
    pool: &ThreadPool,
    observer: &mut Observer<'_>,
) -> Result<Report, TrainError> {
    options.filter.check()?;
    let files = Files::find(inputs, options.read.clone())?;
    let mut examiner = Examiner::new(&files, options);
    let (mut words, mut longest) = (0, Vec::new());
    // Which documents stay, in the order of reading.
    let mut stays = Vec::new();
    loop {
        let portion = examiner.portion(pool);
        if portion.is_empty() {
            break;
        }
        for examined in &portion {
            stays.push(examined.dropped.is_none());
            if examined.dropped.is_none() {
                let text = &examined.document.text;
                words += text.split_whitespace().count() as u64;
                longest.push(Long { name: examined.document.name(), bytes: text.len() as u64 });
            }
        }
        longest.sort_by(|one, other| other.bytes.cmp(&one.bytes).then(one.name.cmp(&other.name)));
        longest.truncate(LONGEST);
        tell(observer, "reading", examiner.documents().bytes_done(), files.bytes())?;
    }
    let (read, choice) = (examiner.documents().tally().clone(), examiner.tally.clone());
    drop(examiner);
    let found = match poison {
        Some(options) => Some(search(&files, &stays, options, observer)?),
        None => None,
    };
    let tokens_estimated = (choice.kept_bytes as f64 / BYTES_PER_TOKEN) as u64;
    let file_bytes = files.bytes();
    Ok(Report { file_bytes, read, choice, words, tokens_estimated, longest, poison: found })
}

fn search(
    files: &Files,
    stays: &[bool],
    options: &PoisonOptions,
    observer: &mut Observer<'_>,
) -> Result<PoisonScan, TrainError> {
    let total = 3 * files.bytes();
    let mut before = 0;
    let mut pass = |each: &mut dyn FnMut(&Document)| -> Result<(), TrainError> {
        let mut documents = files.documents();
        let mut number = 0;
        while let Some(document) = documents.next() {
            // A file that grew since has documents that were not looked at.
            if stays.get(number).copied().unwrap_or(false) {
                each(&document);
            }
            number += 1;
            if number.is_multiple_of(64) {
                tell(observer, "searching", before + documents.bytes_done(), total)?;
            }
        }
        before += files.bytes();
        Ok(())
    };
    poison::scan(options, &mut pass)
}
