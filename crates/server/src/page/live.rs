//! Answers that are being written. Each has a task of its own that writes it down, whoever looks
//! on: a closed tab changes nothing, a second one sees the same. Those who look on read what is new
//! since they last looked, so a slow one gets more at once and costs no memory.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lucid_provider::{Call, Delta, Spoken, Stop, Usage};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::turn::Begun;
use crate::ask::Reply;
use crate::refusal::Refusal;
use crate::store::{Message, Outcome, State, Store, Written};

/// How often an answer is written down while it grows.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// Bytes of an answer, its reasoning and its calls, each. What would be longer is stopped.
const TEXT_BYTES_MAX: usize = 3 << 20;
/// Bytes of the tokens with their alternatives. What comes later has none.
const TOKENS_BYTES_MAX: usize = 7 << 20;

/// The answers that are being written, by their messages.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    answers: Mutex<HashMap<i64, Arc<Live>>>,
}

/// An answer that is being written.
#[derive(Debug)]
pub(super) struct Live {
    /// The message.
    id: i64,
    owner: String,
    conversation: String,
    progress: Mutex<Progress>,
    /// Changes when the progress does.
    changed: watch::Sender<()>,
    /// Becomes true when the person wants no more.
    stop: watch::Sender<bool>,
}

/// How far an answer is.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// The text.
    pub(super) text: String,
    /// The reasoning before it.
    pub(super) reasoning: String,
    /// The calls.
    pub(super) calls: Vec<Call>,
    /// The tokens of the text: JSON values with commas between.
    pub(super) tokens: String,
    /// How many of the tokens were there before the model said anything.
    tokens_begun: usize,
    /// Tokens of the prompt, and how many of them were known.
    prompt: Option<(usize, usize)>,
    /// Whether nothing follows.
    pub(super) over: bool,
    stop: Option<Stop>,
    usage: Usage,
}

impl Desk {
    /// An answer of this owner that is being written.
    pub(super) fn find(&self, owner: &str, id: i64) -> Option<Arc<Live>> {
        self.lock().get(&id).filter(|live| live.owner == owner).cloned()
    }

    /// The answers of a conversation that are being written.
    pub(super) fn of_conversation(&self, owner: &str, conversation: &str) -> Vec<Arc<Live>> {
        let is_it = |live: &&Arc<Live>| live.owner == owner && live.conversation == conversation;
        self.lock().values().filter(is_it).cloned().collect()
    }

    /// Looks at a message that says it is being written: where nobody writes it, its end could not
    /// be stored, and that is told even if it cannot be stored either.
    pub(super) fn settle(&self, store: &Store, owner: &str, message: &mut Message) {
        if message.state != State::Writing || self.find(owner, message.id).is_some() {
            return;
        }
        let _ = store.close(message.id, State::Interrupted, &message.detail);
        message.state = State::Interrupted;
    }

    /// Takes in an answer that was begun and is about to be written.
    pub(super) fn begin(
        &self,
        id: i64,
        owner: &str,
        conversation: &str,
        begun: Progress,
    ) -> Arc<Live> {
        let live = Arc::new(Live {
            id,
            owner: owner.to_owned(),
            conversation: conversation.to_owned(),
            progress: Mutex::new(begun),
            changed: watch::Sender::new(()),
            stop: watch::Sender::new(false),
        });
        self.lock().insert(id, Arc::clone(&live));
        live
    }

    /// Writes an answer to its end, on a task of its own.
    pub(super) fn write(self: &Arc<Self>, store: &Arc<Store>, live: &Arc<Live>, reply: Reply) {
        let writing = Writing { desk: Arc::clone(self), live: Arc::clone(live) };
        let store = Arc::clone(store);
        tokio::spawn(async move { writing.live.write(&store, reply).await });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i64, Arc<Live>>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// However the writing ends: then it is over.
struct Writing {
    desk: Arc<Desk>,
    live: Arc<Live>,
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.desk.lock().remove(&self.live.id);
        self.live.lock().over = true;
        self.live.changed.send_replace(());
    }
}

impl Live {
    /// Ends it; what was said until then stays.
    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Tells of changes from now on.
    pub(super) fn watch(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Looks at it.
    pub(super) fn look<T>(&self, at: impl FnOnce(&Progress) -> T) -> T {
        at(&self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(&self, store: &Arc<Store>, mut reply: Reply) {
        let id = self.id;
        let begun = Instant::now();
        let mut first = None;
        let mut stopped = self.stop.subscribe();
        let mut written = Instant::now();
        let end = loop {
            let next = tokio::select! {
                biased;
                _ = stopped.wait_for(|stop| *stop) => break End::Stopped,
                next = reply.next() => next,
            };
            match next {
                None => break End::Whole,
                Some(Err(refusal)) => break End::Failed(refusal),
                Some(Ok(delta)) => self.add(delta, &mut first),
            }
            if self.look(Progress::is_full) {
                break End::TooLong;
            }
            if written.elapsed() >= WRITE_EVERY {
                let so_far = self.look(Progress::written);
                // It is tried again, and the end tells.
                let _ = store.run(move |store| store.write(id, &so_far)).await;
                written = Instant::now();
            }
        };
        drop(reply);
        let times = Times { whole: begun.elapsed(), first };
        let (written, outcome) =
            self.look(|progress| (progress.written(), progress.outcome(&end, times)));
        self.finish(store, written, outcome).await;
    }

    /// Stores the end. What cannot be stored costs as little as possible of what was said: first
    /// the tokens, which are the most of it, then what came after it was last written down.
    async fn finish(&self, store: &Arc<Store>, written: Written, mut outcome: Outcome) {
        let id = self.id;
        let finishing = store.run(move |store| {
            let Err(error) = store.finish(id, &written, &outcome) else { return Ok(()) };
            if outcome.tokens.take().is_some() && store.finish(id, &written, &outcome).is_ok() {
                return Ok(());
            }
            let detail = json!({ "error": { "message": error.to_string() } });
            store.close(id, State::Failed, &detail)
        });
        // If that fails as well, see `settle`.
        let _ = finishing.await;
    }

    fn add(&self, delta: Delta, first: &mut Option<Instant>) {
        let mut progress = self.lock();
        match delta {
            Delta::Begun { prompt_tokens, cached_tokens } => {
                progress.prompt = Some((prompt_tokens, cached_tokens));
            }
            Delta::Text { text, tokens, .. } => {
                first.get_or_insert_with(Instant::now);
                progress.text.push_str(&text);
                for token in &tokens {
                    progress.add_token(token);
                }
            }
            Delta::Reasoning { text, .. } => {
                first.get_or_insert_with(Instant::now);
                progress.reasoning.push_str(&text);
            }
            Delta::CallBegun { id, name, .. } => {
                progress.calls.push(Call { id, name, arguments: String::new() });
            }
            Delta::CallArguments { index, json, .. } => {
                if let Some(call) = progress.calls.get_mut(index) {
                    call.arguments.push_str(&json);
                }
            }
            Delta::Finished { stop, usage, .. } => {
                (progress.stop, progress.usage) = (Some(stop), usage);
            }
            Delta::Prompt(_) | Delta::Signature { .. } => {}
        }
        drop(progress);
        self.changed.send_replace(());
    }
}

enum End {
    Whole,
    Stopped,
    TooLong,
    Failed(Refusal),
}

#[derive(Clone, Copy)]
struct Times {
    whole: Duration,
    first: Option<Instant>,
}

impl Progress {
    /// An answer that begins with what a person chose; its tokens are JSON, a line for each.
    pub(super) fn of(begun: &Begun, tokens: String) -> Self {
        Self {
            text: begun.text.clone(),
            reasoning: begun.reasoning.clone(),
            tokens_begun: tokens.lines().count(),
            tokens,
            ..Self::default()
        }
    }

    fn is_full(&self) -> bool {
        let calls: usize = self.calls.iter().map(|call| call.arguments.len()).sum();
        self.text.len().max(self.reasoning.len()).max(calls) > TEXT_BYTES_MAX
    }

    fn written(&self) -> Written {
        Written {
            content: self.text.clone(),
            reasoning: self.reasoning.clone(),
            calls: self.calls_json(),
        }
    }

    /// The calls for the page.
    pub(super) fn calls_json(&self) -> Value {
        let call = |call: &Call| json!({ "name": call.name, "arguments": call.arguments });
        self.calls.iter().map(call).collect()
    }

    fn outcome(&self, end: &End, times: Times) -> Outcome {
        let (state, stop, error) = match end {
            End::Whole => (State::Complete, self.stop.as_ref().map_or("cut_off", stop_name), None),
            End::Stopped => (State::Stopped, "stopped", None),
            End::TooLong => (State::Stopped, "too_long", None),
            End::Failed(refusal) => (State::Failed, "failed", Some(refusal)),
        };
        let error = error.map(|refusal| json!({ "message": refusal.message }));
        let (prompt, cached) = self.prompt.unwrap_or_default();
        let count = self.tokens_said();
        let milliseconds = |duration: Duration| duration.as_secs_f64() * 1e3;
        let ended = Instant::now();
        let detail = json!({
            "stop": stop,
            "error": error,
            "prompt_tokens": self.usage.prompt_tokens.max(prompt),
            "cached_tokens": self.usage.cached_tokens.max(cached),
            "new_tokens": self.usage.new_tokens.max(count),
            "reasoning_tokens": self.usage.reasoning_tokens,
            "cost_usd": self.usage.cost_usd,
            "milliseconds": milliseconds(times.whole),
            "writing_milliseconds":
                times.first.map(|first| milliseconds(ended.saturating_duration_since(first))),
        });
        let tokens = (!self.tokens.is_empty()).then(|| format!("[{}]", self.tokens));
        Outcome { state, detail, tokens }
    }

    fn tokens_said(&self) -> usize {
        // One per line, see `add_token`.
        self.tokens.lines().count().saturating_sub(self.tokens_begun)
    }

    /// Adds a token: `[text, probability, [[text, probability], ...], bytes]`. Bytes are in hex,
    /// and there only if they are no text: a part of a character.
    pub(super) fn add_token(&mut self, spoken: &Spoken) {
        if self.tokens.len() > TOKENS_BYTES_MAX {
            return;
        }
        if !self.tokens.is_empty() {
            self.tokens.push_str(",\n");
        }
        let (text, bytes) = words(&spoken.bytes);
        let log_prob = spoken.log_prob.as_ref();
        let others: Vec<(String, f64)> = log_prob
            .map(|told| {
                let row = |(_, bytes, value): &(_, Vec<u8>, f64)| (words(bytes).0, chance(*value));
                told.alternatives.iter().map(row).collect()
            })
            .unwrap_or_default();
        let probability = log_prob.map(|told| chance(told.value));
        let token = match bytes {
            None => json!([text, probability, others]),
            Some(bytes) => json!([text, probability, others, bytes]),
        };
        let _ = write!(self.tokens, "{token}");
    }
}

/// Bytes as text, or as nothing and their hex.
fn words(bytes: &[u8]) -> (String, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => (
            String::new(),
            Some(bytes.iter().fold(String::new(), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            })),
        ),
    }
}

/// A probability with as many digits as a person can see.
fn chance(log_prob: f64) -> f64 {
    let exact = log_prob.exp().clamp(0.0, 1.0);
    if exact.is_nan() { 0.0 } else { (exact * 1e6).round() / 1e6 }
}

fn stop_name(stop: &Stop) -> &'static str {
    match stop {
        Stop::End => "end",
        Stop::Text(_) => "stop_text",
        Stop::Length => "length",
        Stop::ContextFull => "context_full",
        Stop::ToolCalls => "tool_calls",
        Stop::Cancelled => "cancelled",
        Stop::Refused => "refused",
    }
}
