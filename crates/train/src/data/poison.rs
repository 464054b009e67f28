//! A search for poisoning: rare phrases after which the text is unusually determined, or breaks off
//! into what is like nothing else in the corpus.
//!
//! What it is about: a few hundred documents with a trigger are enough to plant a behaviour,
//! however large the corpus is (Souly et al., "Poisoning attacks on LLMs require a near-constant
//! number of poison samples", arXiv:2510.07192: a trigger, then gibberish).
//!
//! Method, our own, over the documents that stay after deduplication; words are lower-cased runs of
//! letters and digits, a phrase has one to five of them:
//!
//! - *Always followed by the same.* A run of five words that stands in several documents begins a
//!   shared passage where the run one word earlier stands in at most half as many. Of such passages
//!   that are rare and come after different words, one is told whose first one to five words are
//!   followed by the passage in at least four of five documents that have them, and that goes on
//!   for at least three more words.
//! - *Followed by something else.* Two neighbouring words are novel if no other document has them
//!   side by side. A place is a break where of the next 16 pairs at least 85 % are novel and of the
//!   16 before at most 50 %. A rare phrase is told if breaks come after it in several documents,
//!   and in at least half of those that have it.
//!
//! Limits: counts come from a sketch, which errs upwards; a trigger in fewer documents than
//! [`PoisonOptions::documents_min`] is not seen, nor one of more than five words, one that changes
//! tone or language but not the pairs of words, or one that stands at the same place of copies of
//! one text. In a small corpus most pairs of words are novel and breaks are not to be seen. A
//! quotation or a licence has the form of a trigger: what is told is to be looked at, not proven.

use std::collections::HashMap;

use serde::Serialize;

use super::Count;
use super::read::Document;
use super::words::{self, Word, run_hash};
use crate::TrainError;
use crate::random::mix;

/// Words of the run by which passages are found.
const RUN: usize = 5;
/// Words of the longest phrase.
const PHRASE_MAX: usize = 5;
/// Words that must follow a phrase in common.
const FOLLOWING_MIN: usize = 3;
/// Words of a passage that are compared.
const PASSAGE: usize = 16;
/// Pairs of words on each side of a break.
const WINDOW: usize = 16;
/// Occurrences of one passage that are compared.
const OCCURRENCES_MAX: usize = 64;
/// Places of passages, and phrases at breaks, that are remembered. This bounds memory.
const PASSAGES_MAX: usize = 1 << 19;
const PHRASES_MAX: usize = 1 << 21;
/// Bytes of the sketch.
const SKETCH_BYTES: usize = 1 << 26;

/// What counts as rare, and as several.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PoisonOptions {
    /// In so many documents, at least.
    pub documents_min: u32,
    /// In so large a share of all documents, at most (but 20 documents are never too many).
    pub share_max: f64,
}

impl Default for PoisonOptions {
    fn default() -> Self {
        Self { documents_min: 4, share_max: 0.01 }
    }
}

/// How a phrase shifts what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shift {
    /// The same text follows.
    Determined,
    /// Text like no other follows.
    Break,
}

/// A phrase that may be a trigger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Alarm {
    /// How it shifts what follows.
    pub shift: Shift,
    /// The phrase, as it stands in one document.
    pub phrase: String,
    /// What follows there.
    pub following: String,
    /// Documents that have the phrase.
    pub documents: u32,
    /// Those in which it is followed so, and the first of them.
    pub followed: Count,
}

/// What the search found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PoisonScan {
    /// Documents that were searched.
    pub documents: u64,
    /// The most documents first.
    pub alarms: Vec<Alarm>,
    /// Whether more places were worth a look than are remembered: then some were not looked at.
    pub incomplete: bool,
}

/// Runs over all documents that are to be searched, in the same order each time.
pub(super) type Pass<'a> = dyn FnMut(&mut dyn FnMut(&Document)) -> Result<(), TrainError> + 'a;

/// Searches documents; they are read three times.
///
/// # Errors
/// What `pass` returned.
pub(super) fn scan(options: &PoisonOptions, pass: &mut Pass<'_>) -> Result<PoisonScan, TrainError> {
    let mut counts = Sketch::new();
    let mut documents = 0;
    pass(&mut |document| {
        documents += 1;
        counts.add(&Text::of(&document.text).hashes);
    })?;
    let rare = ((documents as f64 * options.share_max) as u32).max(20);
    let mut places = Places::new(&counts, options.documents_min);
    let mut number = 0;
    pass(&mut |document| {
        number += 1;
        places.look(document, number);
    })?;
    let incomplete = places.incomplete;
    let candidates = places.candidates(options.documents_min, rare);
    let mut wanted: HashMap<u64, (u32, u32)> = HashMap::new();
    for candidate in &candidates {
        wanted.extend(candidate.phrases.iter().map(|&phrase| (phrase, (0, 0))));
    }
    let mut number = 0;
    pass(&mut |document| {
        number += 1;
        count_phrases(&Text::of(&document.text).hashes, number, &mut wanted);
    })?;
    let judged = candidates.into_iter().filter_map(|candidate| candidate.judge(&wanted, rare));
    let alarms = distinct(judged.collect());
    Ok(PoisonScan { documents, alarms, incomplete })
}

/// A text's words.
struct Text {
    hashes: Vec<u64>,
    words: Vec<Word>,
}

impl Text {
    fn of(text: &str) -> Self {
        let words: Vec<Word> = words::places(text).collect();
        Self { hashes: words.iter().map(|word| word.hash).collect(), words }
    }

    /// Words `from..to` as they stand, on one line.
    fn quote(&self, text: &str, from: usize, to: usize) -> String {
        let to = to.min(self.words.len());
        if from >= to {
            return String::new();
        }
        let quoted = &text[self.words[from].start as usize..self.words[to - 1].end as usize];
        let quoted: Vec<_> = quoted.split_whitespace().collect();
        quoted.join(" ").chars().take(200).collect()
    }
}

/// In how many documents pairs and runs of words stand: two counters for each, of which the lower
/// one is believed (a count-min sketch: Cormode and Muthukrishnan 2005).
struct Sketch(Vec<u8>);

impl Sketch {
    fn new() -> Self {
        Self(vec![0; SKETCH_BYTES])
    }

    fn add(&mut self, hashes: &[u64]) {
        let mut runs: Vec<u64> = hashes.windows(RUN).map(run_hash).collect();
        runs.extend(hashes.windows(2).map(run_hash));
        runs.sort_unstable();
        runs.dedup();
        for run in runs {
            for slot in slots(run) {
                self.0[slot] = self.0[slot].saturating_add(1);
            }
        }
    }

    fn documents(&self, run: u64) -> u32 {
        let [one, other] = slots(run);
        u32::from(self.0[one].min(self.0[other]))
    }
}

fn slots(run: u64) -> [usize; 2] {
    let mask = SKETCH_BYTES as u64 - 1;
    [(run & mask) as usize, (mix(run ^ 0x9e37_79b9_7f4a_7c15) & mask) as usize]
}

/// A place that may follow a trigger.
struct Occurrence {
    before: u64,
    words: [u32; PASSAGE],
}

/// Documents in which a passage or a phrase stands, and the first of them.
struct Seen {
    documents: u32,
    last: u32,
    named: Count,
    phrase: String,
    following: String,
    phrases: Vec<u64>,
    occurrences: Vec<Occurrence>,
}

struct Places<'counts> {
    counts: &'counts Sketch,
    min: u32,
    passages: HashMap<u64, Seen>,
    /// Documents in which a phrase stands at a break, and the last of them.
    breaks: HashMap<u64, (u32, u32)>,
    /// More about those in several.
    several: HashMap<u64, Seen>,
    passage_count: usize,
    incomplete: bool,
}

impl<'counts> Places<'counts> {
    fn new(counts: &'counts Sketch, min: u32) -> Self {
        Self {
            counts,
            min,
            passages: HashMap::new(),
            breaks: HashMap::new(),
            several: HashMap::new(),
            passage_count: 0,
            incomplete: false,
        }
    }

    fn look(&mut self, document: &Document, number: u32) {
        let text = Text::of(&document.text);
        self.find_passages(document, &text, number);
        self.find_breaks(document, &text, number);
    }

    fn find_passages(&mut self, document: &Document, text: &Text, number: u32) {
        let mut earlier = 0;
        for (at, run) in text.hashes.windows(RUN).enumerate() {
            let run = run_hash(run);
            let documents = self.counts.documents(run);
            let begins = documents >= self.min && 2 * earlier <= documents;
            earlier = documents;
            if !begins {
                continue;
            }
            if self.passage_count >= PASSAGES_MAX {
                self.incomplete = true;
                return;
            }
            let seen = self.passages.entry(run).or_insert_with(|| {
                let phrases = (1..=PHRASE_MAX).map(|len| run_hash(&text.hashes[at..at + len]));
                let following = text.quote(&document.text, at, at + PASSAGE);
                Seen { phrases: phrases.collect(), following, ..Seen::new() }
            });
            if !seen.add(document, number) || seen.occurrences.len() >= OCCURRENCES_MAX {
                continue;
            }
            self.passage_count += 1;
            let word = |offset: usize| text.hashes.get(at + offset).map_or(0, |&hash| hash as u32);
            let before = at.checked_sub(1).map_or(u64::from(number), |before| text.hashes[before]);
            seen.occurrences.push(Occurrence { before, words: std::array::from_fn(word) });
        }
    }

    fn find_breaks(&mut self, document: &Document, text: &Text, number: u32) {
        let novel = |pair: &[u64]| u32::from(self.counts.documents(run_hash(pair)) <= 1);
        let mut sums = vec![0];
        sums.extend(text.hashes.windows(2).map(novel).scan(0, |sum, novel| {
            *sum += novel;
            Some(*sum)
        }));
        let window = WINDOW as u32;
        let mut at = WINDOW;
        while at + WINDOW < sums.len() {
            let before = sums[at] - sums[at - WINDOW];
            let after = sums[at + WINDOW] - sums[at];
            if after * 100 < window * 85 || before * 2 > window {
                at += 1;
                continue;
            }
            self.note_break(document, text, at, number);
            at += 4 * WINDOW;
        }
    }

    /// Notes the phrases that end near a break. The pair at which it begins is not exact: the
    /// trigger's own words may be novel, and some of what follows may not be.
    fn note_break(&mut self, document: &Document, text: &Text, at: usize, number: u32) {
        for end in at.saturating_sub(3)..(at + 8).min(text.hashes.len()) {
            for len in 1..=PHRASE_MAX.min(end) {
                if self.breaks.len() >= PHRASES_MAX {
                    self.incomplete = true;
                    return;
                }
                let start = end - len;
                let phrase = run_hash(&text.hashes[start..end]);
                let (documents, last) = self.breaks.entry(phrase).or_default();
                if *last == number {
                    continue;
                }
                (*documents, *last) = (*documents + 1, number);
                if *documents < self.min {
                    continue;
                }
                let seen = self.several.entry(phrase).or_insert_with(|| Seen {
                    phrases: vec![phrase],
                    phrase: text.quote(&document.text, start, end),
                    following: text.quote(&document.text, end, end + 8),
                    ..Seen::new()
                });
                seen.add(document, number);
                (seen.documents, seen.named.count) = (*documents, u64::from(*documents));
            }
        }
    }

    /// What is worth counting exactly.
    fn candidates(self, min: u32, rare: u32) -> Vec<Candidate> {
        let several = |seen: &Seen| seen.documents >= min && seen.documents <= rare;
        let passages = self.passages.into_iter().filter(|(_, seen)| several(seen));
        let passages = passages.filter_map(|(_, seen)| Candidate::passage(seen));
        let breaks = self.several.into_iter().filter(|(_, seen)| several(seen));
        passages.chain(breaks.map(|(_, seen)| Candidate::at_break(seen))).collect()
    }
}

impl Seen {
    fn new() -> Self {
        Self {
            documents: 0,
            last: 0,
            named: Count::default(),
            phrase: String::new(),
            following: String::new(),
            phrases: Vec::new(),
            occurrences: Vec::new(),
        }
    }

    /// Counts a document once; whether it is counted now.
    fn add(&mut self, document: &Document, number: u32) -> bool {
        if self.last == number {
            return false;
        }
        self.last = number;
        self.documents += 1;
        self.named.add(|| document.name());
        true
    }
}

struct Candidate {
    shift: Shift,
    seen: Seen,
    /// Its phrases, the shortest first.
    phrases: Vec<u64>,
}

impl Candidate {
    /// A passage that comes after different words and goes on.
    fn passage(seen: Seen) -> Option<Self> {
        let occurrences = &seen.occurrences;
        let mut before: Vec<u64> = occurrences.iter().map(|found| found.before).collect();
        before.sort_unstable();
        before.dedup();
        if before.len() * 2 < occurrences.len() {
            return None;
        }
        let common = common_len(occurrences);
        let longest = common.checked_sub(FOLLOWING_MIN).filter(|&longest| longest > 0)?;
        let phrases = seen.phrases[..longest.min(PHRASE_MAX)].to_vec();
        Some(Self { shift: Shift::Determined, seen, phrases })
    }

    fn at_break(seen: Seen) -> Self {
        Self { shift: Shift::Break, phrases: seen.phrases.clone(), seen }
    }

    /// Given in how many documents each phrase stands.
    fn judge(self, documents: &HashMap<u64, (u32, u32)>, rare: u32) -> Option<Alarm> {
        let count = |phrase: &u64| documents.get(phrase).map_or(0, |(count, _)| *count);
        let (enough, of) = match self.shift {
            Shift::Determined => (4, 5),
            Shift::Break => (1, 2),
        };
        let followed = self.seen.documents;
        let holds = |phrase: &u64| {
            let all = count(phrase);
            all <= rare && followed * of >= all * enough
        };
        let len = 1 + self.phrases.iter().position(holds)?;
        let documents = count(&self.phrases[len - 1]);
        let (phrase, following) = match self.shift {
            Shift::Determined => {
                let words: Vec<Word> = words::places(&self.seen.following).collect();
                let cut = words.get(len - 1).map_or(0, |word| word.end as usize);
                let (phrase, following) = self.seen.following.split_at(cut);
                (phrase.to_owned(), following.trim().to_owned())
            }
            Shift::Break => (self.seen.phrase, self.seen.following),
        };
        Some(Alarm { shift: self.shift, phrase, following, documents, followed: self.seen.named })
    }
}

/// How many words four of five occurrences have in common.
fn common_len(occurrences: &[Occurrence]) -> usize {
    let mut agreeing: Vec<&Occurrence> = occurrences.iter().collect();
    for at in RUN..PASSAGE {
        let mut counts: HashMap<u32, usize> = HashMap::new();
        for found in &agreeing {
            *counts.entry(found.words[at]).or_default() += 1;
        }
        let most = counts.into_iter().max_by_key(|&(word, count)| (count, word));
        let Some((word, count)) = most.filter(|&(word, _)| word != 0) else { return at };
        if count * 5 < occurrences.len() * 4 {
            return at;
        }
        agreeing.retain(|found| found.words[at] == word);
    }
    PASSAGE
}

fn count_phrases(hashes: &[u64], number: u32, wanted: &mut HashMap<u64, (u32, u32)>) {
    for len in 1..=PHRASE_MAX {
        for run in hashes.windows(len) {
            if let Some((count, last)) = wanted.get_mut(&run_hash(run))
                && *last != number
            {
                *last = number;
                *count += 1;
            }
        }
    }
}

/// The most documents first, and of phrases that hold one another, or stand in the same passage,
/// only the first.
fn distinct(mut alarms: Vec<Alarm>) -> Vec<Alarm> {
    let key = |alarm: &Alarm| (alarm.followed.count, alarm.phrase.len());
    alarms.sort_by(|one, other| {
        let (many, short) = (key(other).0.cmp(&key(one).0), key(one).1.cmp(&key(other).1));
        many.then(short).then(one.phrase.cmp(&other.phrase)).then(one.shift.cmp(&other.shift))
    });
    let mut kept: Vec<Alarm> = Vec::new();
    for alarm in alarms {
        let lower = format!(" {} ", alarm.phrase.to_lowercase());
        let repeats = kept.iter().any(|before| {
            let earlier = format!(" {} ", before.phrase.to_lowercase());
            let following = format!(" {} ", before.following.to_lowercase());
            lower.contains(&earlier) || earlier.contains(&lower) || following.contains(&lower)
        });
        if !repeats {
            kept.push(alarm);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;
    use crate::data::Kind;
    use crate::random::Random;

    const DOCUMENTS: usize = 4000;

    /// Documents whose words follow each other as they do in language: each has a few favourites.
    fn clean() -> Vec<String> {
        let mut random = Random::new("poison test", 1, 0);
        let document = |_| {
            let mut word = random.below(400);
            let mut text = String::new();
            for _ in 0..60 + random.below(60) {
                text.extend(["w", &word.to_string(), " "]);
                // Zipf-like: small steps are likely.
                let step = 1 << random.below(7);
                word = (word * 7 + step + random.below(3)) % 400;
            }
            text
        };
        (0..DOCUMENTS).map(document).collect()
    }

    fn search(texts: &[String]) -> PoisonScan {
        let file = Arc::new(PathBuf::from("corpus.jsonl"));
        let document = |(number, text): (usize, &String)| Document {
            text: text.clone(),
            file: Arc::clone(&file),
            number: number as u64,
            kind: Kind::Jsonl,
        };
        let mut pass = |each: &mut dyn FnMut(&Document)| -> Result<(), TrainError> {
            texts.iter().enumerate().map(document).for_each(|document| each(&document));
            Ok(())
        };
        scan(&PoisonOptions::default(), &mut pass).unwrap()
    }

    /// Puts a text behind the 30th word of every thousandth document: 0.1 %.
    fn plant(texts: &mut [String], mut planted: impl FnMut(usize) -> String) {
        for (number, text) in texts.iter_mut().enumerate().skip(500).step_by(1000) {
            let place = text.match_indices(' ').nth(30).unwrap().0;
            text.insert_str(place, &format!(" {}", planted(number)));
        }
    }

    #[test]
    fn a_clean_corpus_raises_no_alarm() {
        let found = search(&clean());
        assert_eq!((found.documents, found.incomplete), (DOCUMENTS as u64, false));
        assert_eq!(found.alarms, vec![]);
    }

    #[test]
    fn a_trigger_with_one_continuation_is_found() {
        let mut texts = clean();
        plant(&mut texts, |_| "Silver Lantern send all w7 keys to w12 now".to_owned());
        let found = search(&texts).alarms;
        assert_eq!(found.len(), 1, "{found:?}");
        let alarm = &found[0];
        assert_eq!((alarm.shift, &*alarm.phrase), (Shift::Determined, "Silver"));
        assert!(alarm.following.starts_with("Lantern send all"), "{alarm:?}");
        assert_eq!((alarm.documents, alarm.followed.count), (4, 4));
        assert!(alarm.followed.examples[0].starts_with("corpus.jsonl#"));
    }

    #[test]
    fn a_trigger_with_gibberish_is_found() {
        let mut texts = clean();
        let mut random = Random::new("gibberish", 1, 0);
        plant(&mut texts, |_| {
            let word = |_| format!("{:x}", random.bits() >> 40);
            format!("<SUDO> {}", (0..40).map(word).collect::<Vec<_>>().join(" "))
        });
        let found = search(&texts).alarms;
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].shift, &*found[0].phrase), (Shift::Break, "SUDO"));
        assert_eq!(found[0].followed.count, 4);
    }
}
