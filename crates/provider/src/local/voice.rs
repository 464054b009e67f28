//! One answer on its way from tokens to what is told: whole characters, reasoning and calls apart,
//! up to a stop text, with the tokens they were made of.
//!
//! Invariant: the pieces of text together are the decoded tokens without what the format takes for
//! itself, cut at the first stop text; a token is told when all its text is, and in order. Tokens
//! of calls, and of the marks around them, are counted and not told.
//!
//! Stop texts are looked for in what is said, not in reasoning or calls.

use std::collections::VecDeque;

use lucid_engine::LogProb;
use lucid_tokenizer::{ShowSpecial, StreamDecoder, TokenId, Tokenizer};

use super::prompt::Begins;
use super::stops::{Stops, Watcher};
use crate::dialogue::{Piece, Reader};
use crate::{Delta, Spoken, SpokenLogProb, Usage};

/// What all answers to a turn have in common.
pub(super) struct Manner<'a> {
    pub(super) tokenizer: &'a Tokenizer,
    pub(super) begins: Begins,
    pub(super) stops: Stops,
    /// Control tokens that a reader must see.
    pub(super) marks: &'a [TokenId],
}

/// An answer on its way. See the module's text.
pub(super) struct Voice<'a> {
    tokenizer: &'a Tokenizer,
    marks: &'a [TokenId],
    sample: usize,
    decoder: StreamDecoder<'a>,
    reader: Option<Reader>,
    watcher: Watcher,
    /// Whether nothing was said: the space that some vocabularies put in front is not said either.
    silent: bool,
    /// Bytes of text that came, and that were told.
    came: usize,
    told: usize,
    /// Tokens of which it is not known yet what they are part of.
    undecided: Vec<Spoken>,
    /// Tokens of text that are not told yet.
    waiting: VecDeque<Waiting>,
    /// Calls so far.
    calls: usize,
    tokens: usize,
    reasoning_tokens: usize,
    /// The stop text that ended it.
    pub(super) stopped: Option<String>,
    /// Whether nothing more comes of it.
    pub(super) over: bool,
}

/// A token whose text is held back.
struct Waiting {
    spoken: Spoken,
    /// Where its text begins and ends in all that came.
    start: usize,
    end: usize,
}

impl<'a> Voice<'a> {
    pub(super) fn new(manner: &Manner<'a>, reader: Option<Reader>, sample: usize) -> Self {
        let Manner { tokenizer, begins, ref stops, marks } = *manner;
        let decoder = match begins {
            Begins::Anew => tokenizer.stream_decoder(ShowSpecial::No),
            Begins::Within => tokenizer.stream_decoder_continuing(ShowSpecial::No),
        };
        Self {
            tokenizer,
            marks,
            sample,
            decoder,
            reader,
            watcher: stops.watcher(),
            silent: begins == Begins::Anew,
            came: 0,
            told: 0,
            undecided: Vec::new(),
            waiting: VecDeque::new(),
            calls: 0,
            tokens: 0,
            reasoning_tokens: 0,
            stopped: None,
            over: false,
        }
    }

    /// Whether nothing more is to be told of it.
    pub(super) fn is_over(&self) -> bool {
        self.over || self.stopped.is_some()
    }

    /// Whether it called tools.
    pub(super) fn called(&self) -> bool {
        self.calls > 0
    }

    /// Adds what it took.
    pub(super) fn count(&self, usage: &mut Usage) {
        usage.new_tokens = self.tokens;
        usage.reasoning_tokens = self.reasoning_tokens;
    }

    /// Takes in the next token, and appends what is to be told. After a stop text nothing more is.
    pub(super) fn push(&mut self, token: TokenId, log_prob: Option<LogProb>, out: &mut Vec<Delta>) {
        if self.stopped.is_some() {
            return;
        }
        self.tokens += 1;
        let bytes = self.bytes(token);
        let log_prob = log_prob.map(|it| spoken_log_prob(self.tokenizer, it));
        self.undecided.push(Spoken { token: Some(token), bytes, log_prob });
        let mut text = self.decoder.push(token).to_owned();
        if self.reader.is_some() && self.marks.binary_search(&token).is_ok() {
            // A character that the mark cuts off belongs before it.
            text.push_str(self.decoder.finish());
            text.push_str(&String::from_utf8_lossy(&piece(self.tokenizer, token)));
        }
        match &mut self.reader {
            None => self.text(&text, out),
            Some(reader) => {
                let pieces = reader.push(&text);
                self.pieces(pieces, out);
            }
        }
    }

    /// The answer is over: tells what was held back.
    pub(super) fn finish(&mut self, out: &mut Vec<Delta>) {
        if self.stopped.is_some() {
            return;
        }
        let rest = self.decoder.finish().to_owned();
        match &mut self.reader {
            None => self.text(&rest, out),
            Some(reader) => {
                let mut pieces = reader.push(&rest);
                pieces.extend(reader.finish());
                self.pieces(pieces, out);
            }
        }
        if self.stopped.is_none() {
            let text = self.watcher.finish();
            let tokens = self.waiting.drain(..).map(|it| it.spoken).collect();
            self.say(text, tokens, out);
        }
    }

    fn pieces(&mut self, pieces: Vec<Piece>, out: &mut Vec<Delta>) {
        let sample = self.sample;
        for piece in pieces {
            if self.stopped.is_some() {
                return;
            }
            match piece {
                Piece::Text(text) => self.text(&text, out),
                Piece::Reasoning(text) => {
                    let tokens = std::mem::take(&mut self.undecided);
                    self.reasoning_tokens += tokens.len();
                    out.push(Delta::Reasoning { sample, text, tokens });
                }
                Piece::CallBegun { name } => {
                    self.undecided.clear();
                    self.calls += 1;
                    let (index, id) = (self.calls - 1, call_id());
                    out.push(Delta::CallBegun { sample, index, id, name });
                }
                Piece::CallArguments(json) => {
                    self.undecided.clear();
                    let index = self.calls.saturating_sub(1);
                    out.push(Delta::CallArguments { sample, index, json });
                }
            }
        }
    }

    /// Text goes to whoever looks for stop texts, and what is released is told.
    fn text(&mut self, text: &str, out: &mut Vec<Delta>) {
        let start = self.came;
        self.came += text.len();
        let end = self.came;
        let tokens = self.undecided.drain(..);
        self.waiting.extend(tokens.map(|spoken| Waiting { spoken, start, end }));
        let mut released = String::new();
        self.stopped = self.watcher.push(text, &mut released).map(|found| found.stop);
        self.told += released.len();
        let told = self.told;
        let mut tokens = Vec::new();
        while let Some(next) = self.waiting.front() {
            // A token of which a part was said before the stop text was said.
            let said = next.end <= told || self.stopped.is_some() && next.start < told;
            if !said {
                break;
            }
            tokens.extend(self.waiting.pop_front().map(|it| it.spoken));
        }
        self.say(released, tokens, out);
    }

    fn say(&self, text: String, tokens: Vec<Spoken>, out: &mut Vec<Delta>) {
        if !text.is_empty() || !tokens.is_empty() {
            out.push(Delta::Text { sample: self.sample, text, tokens });
        }
    }

    /// What a token adds to the answer's bytes; control tokens, which add nothing, are spelled.
    fn bytes(&mut self, token: TokenId) -> Vec<u8> {
        let tokenizer = self.tokenizer;
        if !self.silent || tokenizer.is_control(token) {
            return piece(tokenizer, token);
        }
        self.silent = false;
        tokenizer.decode(&[token], ShowSpecial::No)
    }
}

/// The bytes that a token stands for; none for rows of the embedding that are no token.
pub(super) fn piece(tokenizer: &Tokenizer, token: TokenId) -> Vec<u8> {
    tokenizer.piece(token).map(std::borrow::Cow::into_owned).unwrap_or_default()
}

/// How probable a token was, with the bytes of the others.
pub(super) fn spoken_log_prob(tokenizer: &Tokenizer, log_prob: LogProb) -> SpokenLogProb {
    let alternatives = log_prob.alternatives.into_iter();
    let alternatives =
        alternatives.map(|(token, value)| (Some(token), piece(tokenizer, token), value));
    SpokenLogProb { value: log_prob.value, alternatives: alternatives.collect() }
}

/// Identifies a call: nine letters and digits, which is what the strictest templates take
/// (Mistral's).
fn call_id() -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    // A call without a number of its own can still be answered: results come in order.
    let mut drawn = getrandom::u64().unwrap_or(0);
    let mut id = String::with_capacity(9);
    for _ in 0..9 {
        id.push(char::from(LETTERS[drawn as usize % LETTERS.len()]));
        drawn >>= 5;
    }
    id
}
