//! All sequences of a run, in memory, those to learn from and those held out.

use std::collections::BTreeMap;

use lucid_tokenizer::TokenId;
use lucid_tokenizer::template::Message;

use super::check::Refusal;
use super::compared::{Comparison, Verdict};
use super::render::{Sequence, Writer};
use super::{Conversation, Line};
use crate::random::first_u64;

/// Lines that are named of each kind of refusal.
const LINES_NAMED: usize = 5;

/// Tokens of conversations, and which of them are to be learned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examples {
    tokens: Vec<TokenId>,
    /// Of each token, whether the assistant said it.
    learned: Vec<bool>,
    /// Where each sequence ends.
    ends: Vec<usize>,
    /// What is compared, two sequences each; none where each stands for itself.
    kinds: Option<Vec<Kind>>,
}

/// What two sequences that are learned from together are to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A good answer, and a bad one to the same question.
    Pair,
    /// A good answer, and an answer to another question.
    Good,
    /// A bad answer, and an answer to another question.
    Bad,
}

/// A sequence of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Example<'a> {
    /// What it says.
    pub tokens: &'a [TokenId],
    /// Which of them the assistant said.
    pub learned: &'a [bool],
}

impl Examples {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Tokens of all.
    pub fn tokens(&self) -> u64 {
        self.tokens.len() as u64
    }

    /// Tokens that the assistant said.
    pub fn answer_tokens(&self) -> u64 {
        self.learned.iter().filter(|&&learned| learned).count() as u64
    }

    /// What is learned from together: two sequences where answers are compared, else one.
    pub fn unit_len(&self) -> usize {
        if self.kinds.is_some() { 2 } else { 1 }
    }

    /// How many units there are.
    pub fn units(&self) -> usize {
        self.len() / self.unit_len()
    }

    /// Tokens of a unit.
    pub(super) fn tokens_of_unit(&self, unit: usize) -> usize {
        let per_unit = self.unit_len();
        let begin = if unit == 0 { 0 } else { self.ends[unit * per_unit - 1] };
        self.ends[(unit + 1) * per_unit - 1] - begin
    }

    /// The tokens of the longest unit.
    pub fn longest_unit(&self) -> usize {
        (0..self.units()).map(|unit| self.tokens_of_unit(unit)).max().unwrap_or(0)
    }

    /// What a unit of compared answers is.
    ///
    /// # Panics
    /// Nothing is compared here, or there are not so many.
    pub fn kind(&self, unit: usize) -> Kind {
        self.kinds.as_ref().expect("compared answers")[unit]
    }

    /// One of them.
    ///
    /// # Panics
    /// There are not so many.
    pub fn get(&self, at: usize) -> Example<'_> {
        let begin = if at == 0 { 0 } else { self.ends[at - 1] };
        let range = begin..self.ends[at];
        Example { tokens: &self.tokens[range.clone()], learned: &self.learned[range] }
    }

    /// Rows of so many tokens that a pass over all of them has, about.
    pub fn rows(&self, row_tokens: usize, seed: u64) -> u64 {
        super::rows::plan(self, row_tokens, seed, Some(0)).len() as u64
    }

    /// Tells these from all others: a hash of them.
    pub fn identity(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("lucid conversations 1");
        for (token, learned) in self.tokens.iter().zip(&self.learned) {
            hasher.update(&token.to_le_bytes()).update(&[u8::from(*learned)]);
        }
        for end in &self.ends {
            hasher.update(&(*end as u64).to_le_bytes());
        }
        for kind in self.kinds.iter().flatten() {
            hasher.update(&[*kind as u8 + 1]);
        }
        *hasher.finalize().as_bytes()
    }

    pub(super) fn push(&mut self, sequence: &Sequence) {
        let begin = self.tokens.len();
        self.tokens.extend_from_slice(&sequence.tokens);
        self.learned.resize(self.tokens.len(), false);
        for answer in &sequence.answers {
            self.learned[begin + answer.start..begin + answer.end].fill(true);
        }
        self.ends.push(self.tokens.len());
    }

    /// Copies a unit of another.
    fn push_unit(&mut self, other: &Self, unit: usize) {
        for at in unit * other.unit_len()..(unit + 1) * other.unit_len() {
            self.push_example(other.get(at));
        }
        if let Some(kinds) = &other.kinds {
            self.kinds.get_or_insert_default().push(kinds[unit]);
        }
    }

    /// Appends two sequences that are learned from together.
    #[cfg(test)]
    pub(crate) fn push_compared(&mut self, pair: [Example<'_>; 2], kind: Kind) {
        for one in pair {
            self.push_example(one);
        }
        self.kinds.get_or_insert_default().push(kind);
    }

    fn push_example(&mut self, Example { tokens, learned }: Example<'_>) {
        self.tokens.extend_from_slice(tokens);
        self.learned.extend_from_slice(learned);
        self.ends.push(self.tokens.len());
    }

    /// Gives each answer that was judged alone an answer to another question beside it: that of the
    /// next unit that has one (its own where there is one question only), cut to the longest of all
    /// sequences.
    fn mismatch(self) -> Self {
        let (count, longest) = (self.units(), self.longest_unit() / 2);
        let parts: Vec<(&[TokenId], &[TokenId])> = (0..count)
            .map(|unit| {
                let example = self.get(2 * unit);
                let begin = example.learned.iter().position(|&learned| learned).unwrap_or(0);
                example.tokens.split_at(begin)
            })
            .collect();
        // The next unit of another question, found from the last one backwards, twice around: what
        // follows the last are the first ones.
        let mut next: Vec<usize> = (0..count).collect();
        for at in (0..2 * count).rev() {
            let (unit, follows) = (at % count, (at + 1) % count);
            let same = parts[unit].0 == parts[follows].0;
            next[unit] = if same { next[follows] } else { follows };
        }
        let mut all = Self { kinds: self.kinds.clone(), ..Self::default() };
        for unit in 0..count {
            all.push_example(self.get(2 * unit));
            let (asked, other) = (parts[unit].0, parts[next[unit]].1);
            let other = &other[..other.len().min(longest.saturating_sub(asked.len()))];
            let tokens = [asked, other].concat();
            let learned: Vec<bool> = (0..tokens.len()).map(|at| at >= asked.len()).collect();
            all.push_example(Example { tokens: &tokens, learned: &learned });
        }
        all
    }
}

/// How answers that were judged are learned from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// In pairs, a good one beside a bad one.
    InPairs,
    /// Each by itself.
    Alone,
}

/// What was found in files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Lines, or members of lists.
    pub lines: u64,
    /// Conversations that are used.
    pub conversations: u64,
    /// Messages that were trimmed: before the first question, and after the last answer.
    pub trimmed_messages: u64,
    /// Answers that were left out because they end beyond a row.
    pub answers_left_out: u64,
    /// What was refused and why: how often, and the first places, `file:line`.
    pub refused: BTreeMap<Refusal, (u64, Vec<String>)>,
}

impl Tally {
    /// Lines that were refused.
    pub fn refused_count(&self) -> u64 {
        self.refused.values().map(|(count, _)| count).sum()
    }
}

/// What a run learns from, and what it is measured on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gathered {
    /// To learn from.
    pub training: Examples,
    /// Held out.
    pub held_out: Examples,
    /// A conversation that is held out (or else one to learn from), without its last answer: for
    /// samples.
    pub sample: Option<Conversation>,
    /// What was found.
    pub tally: Tally,
}

/// Takes conversations one after the other.
pub struct Gatherer<'a> {
    writer: &'a Writer<'a>,
    len_max: usize,
    held_out: f64,
    gathered: Gathered,
    /// What each unit to learn from is held out by, in case none is.
    places: Vec<u64>,
}

impl<'a> Gatherer<'a> {
    /// Sequences have `len_max` tokens at most; a share of all conversations is held out: whether
    /// one is follows from its words alone, so the same one twice is on one side.
    pub fn new(writer: &'a Writer<'a>, len_max: usize, held_out: f64) -> Self {
        Self { writer, len_max, held_out, gathered: Gathered::default(), places: Vec::new() }
    }

    /// Takes what a line of a file holds.
    pub fn take(&mut self, file: &str, line: Line) {
        let taken = line.found.and_then(|(conversation, trimmed)| {
            let (sequences, left_out) = self.writer.write(&conversation, self.len_max)?;
            let place = place_of(&conversation.messages);
            Ok(Taken { conversation, place, trimmed, sequences, left_out, kinds: None })
        });
        self.put(file, line.number, taken);
    }

    /// Takes the comparison that a line of a file holds.
    pub fn take_comparison(&mut self, file: &str, line: Line<Comparison>, judged: Judged) {
        let taken = line.found.and_then(|(comparison, trimmed)| {
            let (sequences, kinds) = self.compared(&comparison, judged)?;
            let conversation = comparison.conversation;
            // All answers to a question are on one side.
            let place = place_of(&conversation.messages[..conversation.messages.len() - 1]);
            let kinds = Some(kinds);
            Ok(Taken { conversation, place, trimmed, sequences, left_out: 0, kinds })
        });
        self.put(file, line.number, taken);
    }

    /// The last answers of a comparison, two sequences for each of its units.
    fn compared(
        &self,
        comparison: &Comparison,
        judged: Judged,
    ) -> Result<(Vec<Sequence>, Vec<Kind>), Refusal> {
        let write = |of: &Conversation| self.writer.write_last(of, self.len_max);
        let first = write(&comparison.conversation)?;
        let twice = |one: Sequence| [one.clone(), one];
        Ok(match (&comparison.verdict, judged) {
            (Verdict::Over(other), Judged::InPairs) => {
                (vec![first, write(other)?], vec![Kind::Pair])
            }
            // `finish` puts answers to other questions in the second places.
            (Verdict::Over(other), Judged::Alone) => {
                let sequences = [twice(first), twice(write(other)?)].concat();
                (sequences, vec![Kind::Good, Kind::Bad])
            }
            (Verdict::Good, Judged::Alone) => (twice(first).to_vec(), vec![Kind::Good]),
            (Verdict::Bad, Judged::Alone) => (twice(first).to_vec(), vec![Kind::Bad]),
            (Verdict::Good | Verdict::Bad, Judged::InPairs) => return Err(Refusal::Unpaired),
        })
    }

    fn put(&mut self, file: &str, number: u64, taken: Result<Taken, Refusal>) {
        self.gathered.tally.lines += 1;
        let Taken { conversation, place, trimmed, sequences, left_out, kinds } = match taken {
            Ok(taken) => taken,
            Err(refusal) => {
                let (count, places) = self.gathered.tally.refused.entry(refusal).or_default();
                *count += 1;
                if places.len() < LINES_NAMED {
                    places.push(format!("{file}:{number}"));
                }
                return;
            }
        };
        let tally = &mut self.gathered.tally;
        tally.conversations += 1;
        tally.trimmed_messages += trimmed as u64;
        tally.answers_left_out += left_out as u64;
        let is_held = (place as f64) < self.held_out * u64::MAX as f64;
        let Gathered { training, held_out, sample, .. } = &mut self.gathered;
        if sample.is_none() || is_held && held_out.is_empty() {
            let last = conversation.messages.iter().rposition(|it| it.role == "assistant");
            let messages = conversation.messages[..last.unwrap_or(0)].to_vec();
            *sample = Some(Conversation { messages, ..conversation });
        }
        let side = if is_held { held_out } else { training };
        if !is_held {
            let units = kinds.as_ref().map_or(sequences.len(), Vec::len);
            self.places.extend(std::iter::repeat_n(place, units));
        }
        for sequence in &sequences {
            side.push(sequence);
        }
        if let Some(kinds) = kinds {
            side.kinds.get_or_insert_default().extend(kinds);
        }
    }

    /// All of it. Where so few were given that none is held out by its words, the one nearest to it
    /// is, if anything is left to learn from then.
    pub fn finish(mut self) -> Gathered {
        let Gathered { training, held_out, .. } = &mut self.gathered;
        if let Some(nearest) = self.places.iter().min()
            && held_out.is_empty()
            && self.held_out > 0.0
            && self.places.iter().any(|place| place != nearest)
        {
            let all = std::mem::take(training);
            for (unit, place) in self.places.iter().enumerate() {
                let side = if place == nearest { &mut *held_out } else { &mut *training };
                side.push_unit(&all, unit);
            }
        }
        for side in [training, held_out] {
            if side.kinds.as_ref().is_some_and(|kinds| !kinds.contains(&Kind::Pair)) {
                *side = std::mem::take(side).mismatch();
            }
        }
        self.gathered
    }
}

/// What a line came to.
struct Taken {
    conversation: Conversation,
    /// A number that follows from what is held out together.
    place: u64,
    trimmed: usize,
    sequences: Vec<Sequence>,
    left_out: usize,
    kinds: Option<Vec<Kind>>,
}

/// A number that follows from what was said.
fn place_of(messages: &[Message]) -> u64 {
    let mut hasher = blake3::Hasher::new_derive_key("lucid held-out conversations 1");
    for message in messages {
        for part in [&message.role, message.content.as_deref().unwrap_or_default()] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        for call in &message.tool_calls {
            hasher.update(call.name.as_bytes()).update(call.arguments.to_string().as_bytes());
        }
    }
    first_u64(hasher.finalize().as_bytes())
}
