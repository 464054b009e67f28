//! Turns are asked of a model: admission, the time on a thread that may block, and what is measured
//! of the answers. Dropping a `Reply` cancels what is left of it.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Instant;

use futures_util::FutureExt as _;
use lucid_provider::{Answer, Answers, Delta, Provider, ProviderError, Turn, Usage};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use crate::app::{App, Caller};
use crate::metrics::{End, Metrics};
use crate::options::Log;
use crate::refusal::Refusal;
use crate::registry::Lease;

/// Pieces that are looked for at most when a caller went away.
const UNHEARD_MAX: usize = 1 << 16;

/// The pieces of the answers to one turn or several, as they are made. Samples are numbered
/// through: those of the second turn follow those of the first.
pub(crate) struct Reply {
    asked: Vec<Asked>,
    /// Which turn the last piece belongs to.
    turn: usize,
    /// A piece that was looked at and not taken.
    ahead: Option<Delta>,
    lease: Lease,
    caller: Caller,
    metrics: Arc<Metrics>,
    log: Option<Log>,
    _room: Vec<OwnedSemaphorePermit>,
}

/// One turn, and what is measured of it.
struct Asked {
    answers: Answers,
    is_over: bool,
    first_sample: usize,
    samples: usize,
    finished: usize,
    last: Option<Instant>,
    /// Tokens of the pieces so far, as far as the provider tells; at least one for each.
    pieces: usize,
    usage: Usage,
}

impl App {
    /// Asks a model for a turn. The caller's client and the adapter that the model's name asked for
    /// are put in here.
    ///
    /// # Errors
    /// The queue is full, the caller's limits are used up, or the provider refuses the turn.
    pub(crate) async fn ask(
        &self,
        caller: &Caller,
        lease: Lease,
        turn: Turn,
    ) -> Result<Reply, Refusal> {
        self.ask_all(caller, lease, std::iter::once(turn)).await
    }

    /// Asks a model for several turns at once. They are made one by one, as the model takes them.
    ///
    /// # Errors
    /// See `ask`. If one turn is refused, none is answered.
    pub(crate) async fn ask_all(
        &self,
        caller: &Caller,
        lease: Lease,
        turns: impl ExactSizeIterator<Item = Turn> + Send + 'static,
    ) -> Result<Reply, Refusal> {
        caller.account.tokens_left()?;
        let room: Vec<_> = (0..turns.len()).map(|_| lease.admit()).collect::<Result<_, _>>()?;
        let (client, adapter) = (caller.client, lease.adapter.clone());
        let begin = move |provider: &dyn Provider| {
            let mut first_sample = 0;
            let begun = turns.map(|mut turn| {
                turn.client = client;
                turn.adapter = turn.adapter.take().or_else(|| adapter.clone());
                let (first, samples) = (first_sample, turn.samples.max(1));
                first_sample += samples;
                Ok(Asked::new(provider.generate(turn)?, first, samples))
            });
            begun.collect::<Result<Vec<Asked>, ProviderError>>()
        };
        let asked = lease.run(begin).await?;
        lease.model().serve(caller.name(), asked.len());
        Ok(Reply {
            asked,
            turn: 0,
            ahead: None,
            lease,
            caller: caller.clone(),
            metrics: Arc::clone(&self.metrics),
            log: self.options.log.clone(),
            _room: room,
        })
    }
}

impl Reply {
    /// The next piece; none after the last. After an error nothing follows.
    pub(crate) async fn next(&mut self) -> Option<Result<Delta, Refusal>> {
        if let Some(delta) = self.ahead.take() {
            return Some(Ok(delta));
        }
        let (turn, piece) = poll_fn(|context| {
            let mut waits = false;
            for (turn, asked) in self.asked.iter_mut().enumerate() {
                if asked.is_over {
                    continue;
                }
                match pin!(asked.answers.next()).poll(context) {
                    Poll::Ready(Some(piece)) => return Poll::Ready(Some((turn, piece))),
                    Poll::Ready(None) => asked.is_over = true,
                    Poll::Pending => waits = true,
                }
            }
            if waits { Poll::Pending } else { Poll::Ready(None) }
        })
        .await?;
        self.turn = turn;
        let asked = &mut self.asked[turn];
        let mut delta = match piece {
            Ok(delta) => delta,
            Err(error) => {
                asked.finished = asked.samples;
                self.asked.iter_mut().for_each(|asked| asked.is_over = true);
                return Some(Err(error.into()));
            }
        };
        asked.see(&delta, &self.caller, &self.metrics);
        if asked.is_whole() {
            self.lease.note(self.caller.arrived.elapsed());
        }
        number_through(&mut delta, asked.first_sample);
        Some(Ok(delta))
    }

    /// Waits for the first piece, so that what goes wrong before it can be told with a status of
    /// its own. `next` gives the piece all the same.
    ///
    /// # Errors
    /// The provider failed before it said anything.
    pub(crate) async fn begun(&mut self) -> Result<(), Refusal> {
        if self.ahead.is_none() {
            self.ahead = self.next().await.transpose()?;
        }
        Ok(())
    }

    /// Gathers the answers whole, one for each sample of each turn. The tokens of a turn's prompt,
    /// where they are told, are with its first answer.
    ///
    /// # Errors
    /// The provider failed.
    pub(crate) async fn gather(mut self) -> Result<Vec<Answer>, Refusal> {
        let mut whole = Vec::new();
        while let Some(delta) = self.next().await {
            match delta? {
                // These two name no sample and would all go to the first.
                Delta::Begun { .. } => {}
                Delta::Prompt(spoken) => {
                    let first = self.asked[self.turn].first_sample;
                    if whole.len() <= first {
                        whole.resize_with(first + 1, Answer::default);
                    }
                    whole[first].prompt.push(spoken);
                }
                delta => Answer::add(&mut whole, delta),
            }
        }
        Ok(whole)
    }

    /// Which turn the last piece belongs to, from 0.
    pub(crate) fn turn(&self) -> usize {
        self.turn
    }
}

impl Reply {
    /// A line for the log, at the end.
    fn line(&self) -> String {
        let sum = |part: fn(&Usage) -> usize| -> usize {
            self.asked.iter().map(|asked| part(&asked.took())).sum()
        };
        json!({
            "request": &*self.caller.request,
            "key": self.caller.key.as_deref(),
            "model": self.lease.name(),
            "turns": self.asked.len(),
            "prompt_tokens": sum(|usage| usage.prompt_tokens),
            "cached_tokens": sum(|usage| usage.cached_tokens),
            "new_tokens": sum(|usage| usage.new_tokens),
            "cancelled": self.asked.iter().any(|asked| !asked.is_whole()),
            "milliseconds": self.caller.arrived.elapsed().as_millis() as u64,
        })
        .to_string()
    }
}

impl Asked {
    fn new(answers: Answers, first_sample: usize, samples: usize) -> Self {
        Self {
            answers,
            is_over: false,
            first_sample,
            samples,
            finished: 0,
            last: None,
            pieces: 0,
            usage: Usage::default(),
        }
    }

    fn see(&mut self, delta: &Delta, caller: &Caller, metrics: &Metrics) {
        match delta {
            Delta::Begun { prompt_tokens, cached_tokens } => {
                self.usage.prompt_tokens = *prompt_tokens;
                self.usage.cached_tokens = *cached_tokens;
            }
            Delta::Prompt(_) | Delta::Signature { .. } => {}
            Delta::Finished { usage, .. } => {
                self.finished += 1;
                self.usage.prompt_tokens = usage.prompt_tokens;
                self.usage.cached_tokens = self.usage.cached_tokens.max(usage.cached_tokens);
                self.usage.new_tokens += usage.new_tokens;
            }
            Delta::Text { tokens, .. } | Delta::Reasoning { tokens, .. } => {
                self.heard(tokens.len(), caller, metrics);
            }
            Delta::CallBegun { .. } | Delta::CallArguments { .. } => {
                self.heard(1, caller, metrics);
            }
        }
    }

    /// A piece of an answer, of so many tokens as far as the provider tells.
    fn heard(&mut self, tokens: usize, caller: &Caller, metrics: &Metrics) {
        self.pieces += tokens.max(1);
        let now = Instant::now();
        match self.last.replace(now) {
            None => metrics.first_token.add(now - caller.arrived),
            // Pieces of several samples come at once; the gap is not one between tokens.
            Some(last) if self.samples == 1 => metrics.between_tokens.add(now - last),
            Some(_) => {}
        }
    }

    /// Counts what was made and not heard, because the caller went away.
    fn drain(&mut self) {
        for _ in 0..UNHEARD_MAX {
            match self.answers.next().now_or_never() {
                Some(Some(Ok(Delta::Begun { prompt_tokens, .. }))) => {
                    self.usage.prompt_tokens = prompt_tokens;
                }
                Some(Some(Ok(Delta::Text { tokens, .. } | Delta::Reasoning { tokens, .. }))) => {
                    self.pieces += tokens.len().max(1);
                }
                Some(Some(Ok(_))) => {}
                _ => return,
            }
        }
    }

    /// What it took. Of answers that were broken off, as much as was told of them.
    fn took(&self) -> Usage {
        let told = if self.is_whole() { 0 } else { self.pieces };
        Usage { new_tokens: self.usage.new_tokens.max(told), ..self.usage }
    }

    fn is_whole(&self) -> bool {
        self.finished >= self.samples
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        for asked in &mut self.asked {
            let end = if asked.is_whole() { End::Whole } else { End::BrokenOff };
            if end == End::BrokenOff {
                asked.drain();
                self.metrics.cancelled.fetch_add(1, Relaxed);
            }
            let took = asked.took();
            self.caller.account.spend(took.prompt_tokens + took.new_tokens);
            self.metrics.took(self.lease.name(), &took, end);
        }
        self.lease.model().served(self.caller.name(), self.asked.len());
        if let Some(log) = &self.log {
            log(&self.line());
        }
        self.metrics.whole.add(self.caller.arrived.elapsed());
    }
}

/// Adds to the number of a piece's sample.
fn number_through(delta: &mut Delta, first: usize) {
    match delta {
        Delta::Begun { .. } | Delta::Prompt(_) => {}
        Delta::Text { sample, .. }
        | Delta::Reasoning { sample, .. }
        | Delta::Signature { sample, .. }
        | Delta::CallBegun { sample, .. }
        | Delta::CallArguments { sample, .. }
        | Delta::Finished { sample, .. } => *sample += first,
    }
}
