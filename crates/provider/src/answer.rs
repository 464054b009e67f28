//! What comes back: pieces of answers as they are made, and answers as a whole.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::mpsc;

use lucid_tokenizer::TokenId;
use lucid_tokenizer::template::ToolCall;

use crate::ProviderError;

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Delta {
    /// The prompt was accepted; comes once, first.
    Begun {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Of these, tokens whose keys and values were known. (A remote API tells it at the end
        /// only; then it is 0 here.)
        cached_tokens: usize,
    },
    /// A token of the prompt, where its log-probabilities were asked for. They come in order.
    Prompt(Spoken),
    /// The answer goes on.
    Text {
        /// Which of the answers, from 0.
        sample: usize,
        /// What is added; whole characters. May be empty where a token adds none yet.
        text: String,
        /// The tokens it was made of, as far as the provider tells.
        tokens: Vec<Spoken>,
    },
    /// The reasoning before the answer goes on.
    Reasoning {
        /// Which of the answers, from 0.
        sample: usize,
        /// What is added; whole characters.
        text: String,
        /// The tokens it was made of, as far as the provider tells.
        tokens: Vec<Spoken>,
    },
    /// A remote API's proof that a reasoning is its own; to be sent back with it.
    Signature {
        /// Which of the answers, from 0.
        sample: usize,
        /// The proof.
        signature: String,
    },
    /// A call of a tool begins.
    CallBegun {
        /// Which of the answers, from 0.
        sample: usize,
        /// Which of its calls, from 0.
        index: usize,
        /// Identifies the call.
        id: String,
        /// The tool's name.
        name: String,
    },
    /// The arguments of a call go on.
    CallArguments {
        /// Which of the answers, from 0.
        sample: usize,
        /// Which of its calls, from 0.
        index: usize,
        /// A part of their JSON text.
        json: String,
    },
    /// An answer is over.
    Finished {
        /// Which of the answers, from 0.
        sample: usize,
        /// Why.
        stop: Stop,
        /// What it took.
        usage: Usage,
    },
}

/// A token as it was said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spoken {
    /// Its id, where the provider has ids.
    pub token: Option<TokenId>,
    /// Its bytes, which may be a part of a character.
    pub bytes: Vec<u8>,
    /// How probable it was, if that was asked for; the first token of a prompt has none.
    pub log_prob: Option<SpokenLogProb>,
}

/// How probable a token was.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpokenLogProb {
    /// The natural logarithm of its probability.
    pub value: f64,
    /// The most probable tokens at its place: id, bytes, log-probability; the best first.
    pub alternatives: Vec<(Option<TokenId>, Vec<u8>, f64)>,
}

/// Why an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The model said so, or its format lets nothing follow.
    End,
    /// This stop text, or the spelling of a stop token.
    Text(String),
    /// As many tokens as were asked for.
    Length,
    /// Prompt and answer fill the context.
    ContextFull,
    /// It called tools and waits for their results.
    ToolCalls,
    /// Nobody wanted it any more.
    Cancelled,
    /// A remote API held it back.
    Refused,
}

/// What an answer took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Tokens of the prompt, which all answers to it share.
    pub prompt_tokens: usize,
    /// Of these, tokens whose keys and values were known.
    pub cached_tokens: usize,
    /// Tokens of this answer, its reasoning included.
    pub new_tokens: usize,
    /// Of these, tokens of reasoning.
    pub reasoning_tokens: usize,
    /// Tokens that speculation proposed, and of these, how many were right.
    pub proposed_tokens: usize,
    /// See `proposed_tokens`.
    pub accepted_tokens: usize,
    /// What a remote API charges, in US dollars, where prices are known.
    pub cost_usd: Option<f64>,
    /// The seed it was drawn with, where that is known: the same one gives it again.
    pub seed: Option<u64>,
}

/// What a wait for the next piece brought.
#[derive(Clone, Debug, PartialEq)]
pub enum Waited {
    /// The next piece, or what went wrong.
    Delta(Result<Delta, ProviderError>),
    /// Nothing yet.
    Nothing,
    /// There are no more pieces.
    Over,
}

/// The pieces of the answers to one turn, as they are made. Whoever drops it cancels what is left.
#[derive(Debug)]
pub struct Answers {
    deltas: mpsc::UnboundedReceiver<Result<Delta, ProviderError>>,
}

/// Where a provider puts the pieces.
#[derive(Clone, Debug)]
pub struct Teller {
    deltas: mpsc::UnboundedSender<Result<Delta, ProviderError>>,
}

/// A teller that does not keep an answer open.
#[derive(Clone, Debug)]
pub(crate) struct WeakTeller {
    deltas: mpsc::WeakUnboundedSender<Result<Delta, ProviderError>>,
}

/// The two ends of an answer's way.
pub fn answers() -> (Teller, Answers) {
    // Unbounded, because an engine waits for nobody: an answer is as long as its tokens at most.
    let (teller, deltas) = mpsc::unbounded_channel();
    (Teller { deltas: teller }, Answers { deltas })
}

/// A thread that waits for a piece.
struct Sleeper(Thread);

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl Teller {
    /// Hands a piece on. Returns whether anybody still listens.
    pub fn tell(&self, delta: Result<Delta, ProviderError>) -> bool {
        self.deltas.send(delta).is_ok()
    }

    /// Whether nobody listens any more.
    pub fn is_deserted(&self) -> bool {
        self.deltas.is_closed()
    }

    pub(crate) fn downgrade(&self) -> WeakTeller {
        WeakTeller { deltas: self.deltas.downgrade() }
    }
}

impl WeakTeller {
    /// Whether nobody listens any more, though somebody tells.
    pub(crate) fn is_deserted(&self) -> bool {
        self.deltas.upgrade().is_some_and(|deltas| deltas.is_closed())
    }
}

impl Answers {
    /// The next piece; none after the last. After an error nothing follows.
    pub async fn next(&mut self) -> Option<Result<Delta, ProviderError>> {
        self.deltas.recv().await
    }

    /// The same for a thread of its own. Must not be called where asynchronous code runs.
    pub fn wait(&mut self) -> Option<Result<Delta, ProviderError>> {
        self.deltas.blocking_recv()
    }

    /// The same, but waits no longer than this.
    pub fn wait_for(&mut self, patience: Duration) -> Waited {
        let waker = Waker::from(Arc::new(Sleeper(thread::current())));
        let mut context = Context::from_waker(&waker);
        let until = Instant::now() + patience;
        loop {
            match self.deltas.poll_recv(&mut context) {
                Poll::Ready(Some(delta)) => return Waited::Delta(delta),
                Poll::Ready(None) => return Waited::Over,
                Poll::Pending => {}
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Waited::Nothing;
            }
            thread::park_timeout(left);
        }
    }

    /// Gathers the answers whole, one for each sample, on a thread of its own.
    ///
    /// # Errors
    /// The provider failed; what was said until then is lost.
    pub fn gather_here(mut self) -> Result<Vec<Answer>, ProviderError> {
        let mut whole = Vec::new();
        while let Some(delta) = self.wait() {
            Answer::add(&mut whole, delta?);
        }
        Ok(whole)
    }
}

/// An answer as a whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// What was said.
    pub text: String,
    /// The reasoning before it.
    pub reasoning: String,
    /// A remote API's proof that the reasoning is its own.
    pub signature: Option<String>,
    /// Tokens of the text.
    pub tokens: Vec<Spoken>,
    /// Tokens of the reasoning.
    pub reasoning_tokens: Vec<Spoken>,
    /// Tokens of the prompt, with the first answer, where they were asked for.
    pub prompt: Vec<Spoken>,
    /// Calls of tools: the arguments are the JSON text as it came.
    pub calls: Vec<Call>,
    /// Why it ended; none while it goes on.
    pub stop: Option<Stop>,
    /// What it took.
    pub usage: Usage,
}

/// A call as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// Identifies the call.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// The JSON text of its arguments.
    pub arguments: String,
}

impl Call {
    /// The call with its arguments parsed; text that is no JSON stays a string.
    pub fn parsed(&self) -> ToolCall {
        let arguments = match serde_json::from_str(&self.arguments) {
            Ok(value) => value,
            Err(_) => Value::String(self.arguments.clone()),
        };
        ToolCall { id: self.id.clone(), name: self.name.clone(), arguments }
    }
}

impl Answer {
    /// Adds a piece to the answers so far.
    pub fn add(whole: &mut Vec<Self>, delta: Delta) {
        let at = |whole: &mut Vec<Self>, sample: usize| {
            if whole.len() <= sample {
                whole.resize_with(sample + 1, Self::default);
            }
            sample
        };
        match delta {
            Delta::Begun { prompt_tokens, cached_tokens } => {
                let index = at(whole, 0);
                whole[index].usage = Usage { prompt_tokens, cached_tokens, ..whole[index].usage };
            }
            Delta::Prompt(spoken) => {
                let index = at(whole, 0);
                whole[index].prompt.push(spoken);
            }
            Delta::Text { sample, text, tokens } => {
                let index = at(whole, sample);
                whole[index].text.push_str(&text);
                whole[index].tokens.extend(tokens);
            }
            Delta::Reasoning { sample, text, tokens } => {
                let index = at(whole, sample);
                whole[index].reasoning.push_str(&text);
                whole[index].reasoning_tokens.extend(tokens);
            }
            Delta::Signature { sample, signature } => {
                let index = at(whole, sample);
                whole[index].signature.get_or_insert_default().push_str(&signature);
            }
            Delta::CallBegun { sample, index, id, name } => {
                let at = at(whole, sample);
                let calls = &mut whole[at].calls;
                if calls.len() <= index {
                    calls.resize_with(index + 1, Call::default);
                }
                calls[index] = Call { id, name, arguments: String::new() };
            }
            Delta::CallArguments { sample, index, json } => {
                let at = at(whole, sample);
                if let Some(call) = whole[at].calls.get_mut(index) {
                    call.arguments.push_str(&json);
                }
            }
            Delta::Finished { sample, stop, usage } => {
                let index = at(whole, sample);
                whole[index].stop = Some(stop);
                whole[index].usage = usage;
            }
        }
    }
}
