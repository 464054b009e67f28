//! All sequences of a run, in memory, those to learn from and those held out.

use std::collections::{BTreeMap, BTreeSet};

use lucid_tokenizer::TokenId;

use super::check::Refusal;
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

    /// The tokens of the longest.
    pub fn longest(&self) -> usize {
        (0..self.len()).map(|at| self.get(at).tokens.len()).max().unwrap_or(0)
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
    /// The one whose number is the lowest, in case none is held out.
    nearest: Option<(u64, usize, usize)>,
}

impl<'a> Gatherer<'a> {
    /// Sequences have `len_max` tokens at most; a share of all conversations is held out: whether
    /// one is follows from its words alone, so the same one twice is on one side.
    pub fn new(writer: &'a Writer<'a>, len_max: usize, held_out: f64) -> Self {
        Self { writer, len_max, held_out, gathered: Gathered::default(), nearest: None }
    }

    /// Takes what a line of a file holds.
    pub fn take(&mut self, file: &str, line: Line) {
        self.gathered.tally.lines += 1;
        let number = line.number;
        let taken = line.found.and_then(|(conversation, trimmed)| {
            let written = self.writer.write(&conversation, self.len_max)?;
            Ok((conversation, trimmed, written))
        });
        let (conversation, trimmed, (sequences, left_out)) = match taken {
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
        let place = place_of(&conversation);
        let is_held = (place as f64) < self.held_out * u64::MAX as f64;
        let Gathered { training, held_out, sample, .. } = &mut self.gathered;
        if sample.is_none() || is_held && held_out.is_empty() {
            let last = conversation.messages.iter().rposition(|it| it.role == "assistant");
            let messages = conversation.messages[..last.unwrap_or(0)].to_vec();
            *sample = Some(Conversation { messages, ..conversation });
        }
        let side = if is_held { held_out } else { training };
        if !is_held && self.nearest.is_none_or(|(nearest, ..)| place < nearest) {
            self.nearest = Some((place, side.len(), sequences.len()));
        }
        for sequence in &sequences {
            side.push(sequence);
        }
    }

    /// All of it. Where so few were given that none is held out by its words, the one nearest to it
    /// is, if anything is left to learn from then.
    pub fn finish(mut self) -> Gathered {
        let Gathered { training, held_out, .. } = &mut self.gathered;
        if let Some((_, first, count)) = self.nearest
            && held_out.is_empty()
            && self.held_out > 0.0
            && training.len() > count
        {
            let all = std::mem::take(training);
            // The same conversation may stand there more than once.
            let apart: BTreeSet<&[TokenId]> =
                (first..first + count).map(|at| all.get(at).tokens).collect();
            for at in 0..all.len() {
                let Example { tokens, learned } = all.get(at);
                let side = if apart.contains(tokens) { &mut *held_out } else { &mut *training };
                side.tokens.extend_from_slice(tokens);
                side.learned.extend_from_slice(learned);
                side.ends.push(side.tokens.len());
            }
        }
        self.gathered
    }
}

/// A number that follows from a conversation's words.
fn place_of(conversation: &Conversation) -> u64 {
    let mut hasher = blake3::Hasher::new_derive_key("lucid held-out conversations 1");
    for message in &conversation.messages {
        for part in [&message.role, message.content.as_deref().unwrap_or_default()] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        for call in &message.tool_calls {
            hasher.update(call.name.as_bytes()).update(call.arguments.to_string().as_bytes());
        }
    }
    first_u64(hasher.finalize().as_bytes())
}
