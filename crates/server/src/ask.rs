//! Turns are asked of a model: admission, the time on a thread that may block, and what is measured
//! of the answers. Dropping a `Reply` cancels what is left of it.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Instant;

use lucid_provider::{Answer, Answers, Delta, ProviderError, Turn, Usage};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use crate::app::{App, Caller};
use crate::metrics::Metrics;
use crate::options::Log;
use crate::refusal::Refusal;
use crate::registry::Lease;

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
        self.ask_all(caller, lease, vec![turn]).await
    }

    /// Asks a model for several turns at once.
    ///
    /// # Errors
    /// See `ask`. If one turn is refused, none is answered.
    pub(crate) async fn ask_all(
        &self,
        caller: &Caller,
        lease: Lease,
        mut turns: Vec<Turn>,
    ) -> Result<Reply, Refusal> {
        caller.account.tokens_left()?;
        let room: Vec<_> = turns.iter().map(|_| lease.admit()).collect::<Result<_, _>>()?;
        let mut samples = Vec::with_capacity(turns.len());
        for turn in &mut turns {
            turn.client = caller.client;
            turn.adapter = turn.adapter.take().or_else(|| lease.adapter.clone());
            samples.push(turn.samples.max(1));
        }
        let begin = move |provider: &dyn lucid_provider::Provider| {
            let begun = turns.into_iter().map(|turn| provider.generate(turn));
            begun.collect::<Result<Vec<Answers>, ProviderError>>()
        };
        let answers = lease.run(begin).await?;
        let mut first_sample = 0;
        let asked = answers.into_iter().zip(samples).map(|(answers, samples)| {
            let first = first_sample;
            first_sample += samples;
            Asked::new(answers, first, samples)
        });
        let asked: Vec<Asked> = asked.collect();
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
            self.asked.iter().map(|asked| part(&asked.usage)).sum()
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
            usage: Usage::default(),
        }
    }

    fn see(&mut self, delta: &Delta, caller: &Caller, metrics: &Metrics) {
        match delta {
            Delta::Begun { .. } | Delta::Prompt(_) | Delta::Signature { .. } => {}
            Delta::Finished { usage, .. } => {
                self.finished += 1;
                self.usage.prompt_tokens = usage.prompt_tokens;
                self.usage.cached_tokens = self.usage.cached_tokens.max(usage.cached_tokens);
                self.usage.new_tokens += usage.new_tokens;
            }
            Delta::Text { .. }
            | Delta::Reasoning { .. }
            | Delta::CallBegun { .. }
            | Delta::CallArguments { .. } => {
                let now = Instant::now();
                match self.last.replace(now) {
                    None => metrics.first_token.add(now - caller.arrived),
                    // Pieces of several samples come at once; the gap is not one between tokens.
                    Some(last) if self.samples == 1 => metrics.between_tokens.add(now - last),
                    Some(_) => {}
                }
            }
        }
    }

    fn is_whole(&self) -> bool {
        self.finished >= self.samples
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        for asked in &self.asked {
            if !asked.is_whole() {
                self.metrics.cancelled.fetch_add(1, Relaxed);
            }
            self.caller.account.spend(asked.usage.prompt_tokens + asked.usage.new_tokens);
            self.metrics.took(self.lease.name(), &asked.usage);
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
