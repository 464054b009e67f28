//! One answer on its way from tokens to what is told: whole characters, up to a stop text, with the
//! tokens they were made of.
//!
//! Invariant: the pieces together are the decoded tokens, cut at the first stop text; a token is
//! told when all its text is, and in order.

use std::collections::VecDeque;

use lucid_engine::LogProb;
use lucid_tokenizer::{ShowSpecial, StreamDecoder, TokenId, Tokenizer};

use super::prompt::Begins;
use super::stops::{Stops, Watcher};
use crate::{Delta, Spoken, SpokenLogProb};

/// An answer on its way. See the module's text.
pub(super) struct Voice<'a> {
    tokenizer: &'a Tokenizer,
    sample: usize,
    decoder: StreamDecoder<'a>,
    watcher: Watcher,
    /// Whether nothing was said: the space that some vocabularies put in front is not said either.
    silent: bool,
    /// Bytes of text that came, and that were told.
    came: usize,
    told: usize,
    /// Tokens that are not told yet.
    waiting: VecDeque<Waiting>,
    /// Tokens so far.
    pub(super) tokens: usize,
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
    pub(super) fn new(
        tokenizer: &'a Tokenizer,
        sample: usize,
        begins: Begins,
        stops: &Stops,
    ) -> Self {
        let decoder = match begins {
            Begins::Anew => tokenizer.stream_decoder(ShowSpecial::No),
            Begins::Within => tokenizer.stream_decoder_continuing(ShowSpecial::No),
        };
        Self {
            tokenizer,
            sample,
            decoder,
            watcher: stops.watcher(),
            silent: begins == Begins::Anew,
            came: 0,
            told: 0,
            waiting: VecDeque::new(),
            tokens: 0,
            stopped: None,
            over: false,
        }
    }

    /// Whether nothing more is to be told of it.
    pub(super) fn is_over(&self) -> bool {
        self.over || self.stopped.is_some()
    }

    /// Takes in the next token. After a stop text nothing more is told.
    pub(super) fn push(&mut self, token: TokenId, log_prob: Option<LogProb>) -> Option<Delta> {
        if self.stopped.is_some() {
            return None;
        }
        self.tokens += 1;
        let spoken = Spoken {
            token: Some(token),
            bytes: self.bytes(token),
            log_prob: log_prob.map(|it| spoken_log_prob(self.tokenizer, it)),
        };
        let text = self.decoder.push(token).to_owned();
        let start = self.came;
        self.waiting.push_back(Waiting { spoken, start, end: start + text.len() });
        self.text(&text)
    }

    /// The answer is over: what was held back.
    pub(super) fn finish(&mut self) -> Option<Delta> {
        if self.stopped.is_some() {
            return None;
        }
        let rest = self.decoder.finish().to_owned();
        let last = self.text(&rest);
        if self.stopped.is_some() {
            return last;
        }
        let (mut text, mut tokens) = match last {
            Some(Delta::Text { text, tokens, .. }) => (text, tokens),
            _ => (String::new(), Vec::new()),
        };
        text.push_str(&self.watcher.finish());
        tokens.extend(self.waiting.drain(..).map(|it| it.spoken));
        self.delta(text, tokens)
    }

    /// Text goes to whoever looks for stop texts, and what is released is told.
    fn text(&mut self, text: &str) -> Option<Delta> {
        self.came += text.len();
        let mut out = String::new();
        self.stopped = self.watcher.push(text, &mut out).map(|found| found.stop);
        self.told += out.len();
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
        self.delta(out, tokens)
    }

    fn delta(&self, text: String, tokens: Vec<Spoken>) -> Option<Delta> {
        let nothing = text.is_empty() && tokens.is_empty();
        (!nothing).then_some(Delta::Text { sample: self.sample, text, tokens })
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
