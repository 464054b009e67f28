//! A provider behind an HTTP API: a closed model, or a cluster of vLLM, SGLang, llama-server or
//! Lucid. Two dialects: OpenAI's and Anthropic's.
//!
//! Invariant: what an API cannot express is refused, never left out; whether an answer keeps to
//! what was demanded is judged here (`demand`). An API's answer is hostile input: its size is
//! bounded, and what it says of itself reaches a person only as text.
//!
//! A turn has a thread of its own while it is answered: `ureq` blocks, and a remote answer costs
//! seconds and money, not threads.

mod anthropic;
mod demand;
mod http;
mod openai;
mod sse;

use std::sync::Arc;
use std::time::Duration;

use lucid_hub::Route;
use serde_json::Value;

use crate::{
    Answers, Capabilities, Card, ClientId, EmbeddingKind, Embeddings, Prompt, Provider,
    ProviderError, Ranking, SAMPLES_MAX, Teller, ToolChoice, Turn, Usage, answers,
};
use demand::Demand;
use http::{Agents, Reply};
use sse::Broken;

/// Where a remote provider is, and how it is spoken to.
#[derive(Clone, Debug)]
pub struct RemoteOptions {
    /// The name by which it is asked for here.
    pub name: String,
    /// The address up to and without `/chat/completions` or `/messages`, such as
    /// `https://api.openai.com/v1`.
    pub url: String,
    /// Which protocol it speaks.
    pub dialect: Dialect,
    /// The model's name there.
    pub model: String,
    /// What lets us in.
    pub key: Option<Secret>,
    /// Whether it takes what open servers take beyond the protocol (`top_k`, `min_p`, token ids).
    pub extended: bool,
    /// Tokens that prompt and answer may have together, where that is known; 0 is not.
    pub context: usize,
    /// What it charges, where that is known.
    pub prices: Option<Prices>,
    /// How long to wait, and how often to try.
    pub patience: Patience,
    /// How it is reached.
    pub route: Route,
}

/// The protocols that are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's `chat/completions`, `completions` and `embeddings`.
    OpenAi,
    /// Anthropic's `messages`.
    Anthropic,
}

/// A key that no debug output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(...)")
    }
}

/// What an API charges, in US dollars per million tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prices {
    /// Tokens of prompts.
    pub prompt: f64,
    /// Tokens of prompts that the API had cached.
    pub cached: f64,
    /// Tokens of answers, reasoning included.
    pub answer: f64,
}

impl Prices {
    /// The price of an answer and its prompt.
    fn of(&self, usage: &Usage) -> f64 {
        let cached = usage.cached_tokens.min(usage.prompt_tokens);
        let fresh = usage.prompt_tokens - cached;
        (fresh as f64 * self.prompt
            + cached as f64 * self.cached
            + usage.new_tokens as f64 * self.answer)
            / 1e6
    }
}

/// How long to wait, and how often to try.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Until a connection stands.
    pub connect: Duration,
    /// Between two signs of life.
    pub silence: Duration,
    /// For an answer as a whole, from the first try on.
    pub whole: Duration,
    /// How often a request is tried that failed for a passing reason before anything was said.
    pub tries: u32,
    /// The wait before the second try; it doubles from try to try.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(120),
            whole: Duration::from_secs(1800),
            tries: 4,
            pause: Duration::from_millis(500),
        }
    }
}

/// A provider behind an HTTP API.
#[derive(Debug)]
pub struct Remote {
    shared: Arc<Shared>,
    card: Card,
}

/// What the threads of turns need.
#[derive(Debug)]
struct Shared {
    options: RemoteOptions,
    agents: Agents,
}

impl Remote {
    /// A provider of these options. Nothing is sent yet.
    ///
    /// # Errors
    /// The address, proxy or certificates cannot be used, or a key would go over the network in the
    /// clear.
    pub fn new(options: RemoteOptions) -> Result<Self, ProviderError> {
        let agents = Agents::new(&options)?;
        let open = options.dialect == Dialect::OpenAi;
        let capabilities = Capabilities {
            chat: true,
            text: open,
            tools: true,
            reasoning: true,
            formats: true,
            log_probs: open,
            embeddings: open,
            ranking: open && options.extended,
            prices: options.prices.is_some(),
            ..Capabilities::default()
        };
        let card = Card {
            name: options.name.clone(),
            description: format!("{} at {}", options.model, agents.origin()),
            context: options.context,
            capabilities,
            ..Card::default()
        };
        Ok(Self { shared: Arc::new(Shared { options, agents }), card })
    }

    /// Scheme, host and port of the API, without what else its address holds.
    pub fn origin(&self) -> String {
        self.shared.agents.origin().to_string()
    }
}

/// Whether an answer goes on.
enum Next {
    More,
    /// Nobody listens any more.
    Deserted,
    Over,
}

/// How a stream of events ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// As an event said.
    Said,
    /// Nobody listens any more.
    Deserted,
    /// Where the connection did.
    Cut,
}

/// A turn that is being answered.
struct Telling<'a> {
    shared: &'a Shared,
    turn: &'a Turn,
    demand: Demand,
    teller: &'a Teller,
}

impl Shared {
    fn unsupported(&self, what: &str) -> ProviderError {
        let provider = self.options.name.clone();
        ProviderError::Unsupported { provider, what: what.to_owned() }
    }

    /// That the API said something that it should not.
    fn nonsense(&self, what: &str) -> ProviderError {
        ProviderError::Unreachable {
            provider: self.options.name.clone(),
            reason: http::one_line(&format!("it does not speak the protocol: {what}")),
        }
    }

    /// That an answer did not come to its end.
    fn cut(&self, why: &str) -> ProviderError {
        http::unreachable(&self.options.name, why)
    }

    /// An error that an API told in the middle of an answer.
    fn told(&self, status: u16, reason: &str) -> ProviderError {
        let (provider, reason) = (self.options.name.clone(), http::one_line(reason));
        ProviderError::Remote { provider, status, reason }
    }

    /// What is sent for a turn, and where.
    fn request(&self, turn: &Turn) -> Result<(&'static str, Value), ProviderError> {
        if turn.samples > SAMPLES_MAX {
            let reason = format!("{} answers, expected 1 to {SAMPLES_MAX}", turn.samples);
            return Err(ProviderError::invalid("samples", reason));
        }
        let must = matches!(turn.tools.choice, ToolChoice::Required | ToolChoice::Named(_));
        if must && turn.tools.list.is_empty() {
            return Err(ProviderError::invalid(
                "tools",
                "a call is required, but there is no tool",
            ));
        }
        match self.options.dialect {
            Dialect::OpenAi => openai::request(self, turn),
            Dialect::Anthropic => anthropic::request(self, turn),
        }
    }

    /// Hands on the events of an answer.
    fn each_event(
        &self,
        reply: Reply,
        take: &mut dyn FnMut(&str) -> Result<Next, ProviderError>,
    ) -> Result<Ended, ProviderError> {
        let mut events = reply.events();
        loop {
            let event = events.next().map_err(|broken| match broken {
                Broken::Io(error) => self.cut(&format!("the answer broke off: {error}")),
                Broken::Text(what) => self.nonsense(what),
            })?;
            let Some(event) = event else { return Ok(Ended::Cut) };
            match take(&event)? {
                Next::More => {}
                Next::Deserted => return Ok(Ended::Deserted),
                Next::Over => return Ok(Ended::Said),
            }
        }
    }

    /// An event's data.
    fn parsed(&self, event: &str) -> Result<Value, ProviderError> {
        serde_json::from_str(event).map_err(|error| self.nonsense(&error.to_string()))
    }

    /// Adds what the API charges.
    fn priced(&self, usage: Usage) -> Usage {
        let cost_usd = self.options.prices.map(|prices| prices.of(&usage));
        Usage { cost_usd, ..usage }
    }

    /// Sends a request and reads its whole answer.
    fn ask(&self, path: &str, body: &Value) -> Result<Value, ProviderError> {
        let agent = self.agents.agent();
        let mut reply: Reply = self.agents.post(&agent, &self.options, path, body, &|| false)?;
        let text = reply.text(http::ANSWER_BYTES_MAX)?;
        serde_json::from_slice(&text).map_err(|error| self.nonsense(&error.to_string()))
    }
}

impl Provider for Remote {
    fn card(&self) -> &Card {
        &self.card
    }

    fn generate(&self, turn: Turn) -> Result<Answers, ProviderError> {
        let shared = Arc::clone(&self.shared);
        let (path, body) = shared.request(&turn)?;
        let demand = Demand::of(&turn)?;
        let (teller, answers) = answers();
        let work = move || {
            let agent = shared.agents.agent();
            let _watched = shared.agents.watch(&agent, &teller);
            let options = &shared.options;
            let telling = Telling { shared: &shared, turn: &turn, demand, teller: &teller };
            let outcome = shared
                .agents
                .post(&agent, options, path, &body, &|| teller.is_deserted())
                .and_then(|reply| match options.dialect {
                    Dialect::OpenAi => openai::read(&telling, reply),
                    Dialect::Anthropic => anthropic::read(&telling, reply),
                });
            if let Err(error) = outcome {
                teller.tell(Err(error));
            }
        };
        let spawned = std::thread::Builder::new().name("lucid-remote".to_owned()).spawn(work);
        match spawned {
            Ok(_) => Ok(answers),
            Err(_) => Err(ProviderError::Busy { retry_after: Duration::from_secs(5) }),
        }
    }

    fn check(&self, turn: &Turn) -> Result<(), ProviderError> {
        self.shared.request(turn)?;
        Demand::of(turn).map(drop)
    }

    fn count_tokens(&self, turn: &Turn) -> Result<usize, ProviderError> {
        match self.shared.options.dialect {
            Dialect::OpenAi => Err(self.unsupported("it does not count tokens")),
            Dialect::Anthropic => anthropic::count(&self.shared, turn),
        }
    }

    fn embed(
        &self,
        prompts: &[Prompt],
        kind: EmbeddingKind,
        _: ClientId,
    ) -> Result<Embeddings, ProviderError> {
        match self.shared.options.dialect {
            Dialect::OpenAi => openai::embed(&self.shared, prompts, kind),
            Dialect::Anthropic => Err(self.unsupported("it gives no embeddings")),
        }
    }

    fn rank(
        &self,
        query: &str,
        documents: &[String],
        _: ClientId,
    ) -> Result<Ranking, ProviderError> {
        if !self.card.capabilities.ranking {
            return Err(self.unsupported("it does not rank documents"));
        }
        openai::rank(&self.shared, query, documents)
    }
}

/// A number as it was written, not as f32 is printed in f64's digits.
fn number(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

/// A count of tokens that an API tells: no more than can be added to others.
fn tokens_of(count: &Value) -> usize {
    const MOST: u64 = u32::MAX as u64;
    count.as_u64().unwrap_or(0).min(MOST) as usize
}

#[cfg(test)]
mod tests;
