//! What is asked of a scheduler, and what it answers.

use lucid_model::Pooling;
use lucid_tensor::TokenId;

use super::constraint::Constraint;
use crate::EngineError;
use crate::adapter::AdapterId;
use crate::prefix::ClientId;
use crate::sampler::SamplerConfig;

/// The most alternatives per token that can be asked for.
pub const ALTERNATIVES_MAX: usize = 20;

/// The most samples of one request.
pub const SAMPLES_MAX: usize = 128;

/// A prompt, and how it is to be continued.
pub struct Request {
    /// The prompt; at least one token.
    pub prompt: Vec<TokenId>,
    /// Where the answer ends at the latest. 0 computes the prompt and nothing else.
    pub new_tokens_max: usize,
    /// How tokens are chosen. Sample `i` draws with the seed `seed + i` (wrapping).
    pub sampler: SamplerConfig,
    /// Tokens that end the answer. They are neither part of it nor counted.
    pub stop_tokens: Vec<TokenId>,
    /// On whose behalf: clients are served fairly, and see nothing of each other.
    pub client: ClientId,
    /// What else, beside the client, prompts must agree in to share keys and values.
    pub scope: Vec<u8>,
    /// Log-probabilities, if they are wanted.
    pub log_probs: Option<WantedLogProbs>,
    /// What the answer must conform to.
    pub constraint: Option<Box<dyn Constraint>>,
    /// How many answers to the one prompt; 1 to `SAMPLES_MAX`.
    pub samples: usize,
    /// Whether tokens may be guessed ahead. The answer is the same.
    pub speculation: Speculation,
    /// What to compute with; the request keeps it until its end, even if it is let go of.
    pub adapter: Option<AdapterId>,
    /// What the prompt is for.
    pub purpose: Purpose,
}

/// What a prompt is computed for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// To be answered.
    #[default]
    Answer,
    /// For the joined states of its tokens. There is one sample, and it has no tokens.
    Embed(Pooling),
    /// For the score of the model's ranking head. There is one sample, and it has no tokens.
    Rank,
}

/// Whether what may follow is guessed, so that one pass can settle several tokens. It changes when
/// tokens come, never which, nor their log-probabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Speculation {
    /// Never.
    Off,
    /// While it gains time.
    #[default]
    Auto,
}

impl Default for Request {
    /// One unbounded answer of the default sampler to a prompt that is yet to be given.
    fn default() -> Self {
        Self {
            prompt: Vec::new(),
            new_tokens_max: usize::MAX,
            sampler: SamplerConfig::default(),
            stop_tokens: Vec::new(),
            client: ClientId::default(),
            scope: Vec::new(),
            log_probs: None,
            constraint: None,
            samples: 1,
            speculation: Speculation::Auto,
            adapter: None,
            purpose: Purpose::Answer,
        }
    }
}

/// Which log-probabilities come with an answer: natural logarithms in the model's own distribution,
/// before bias, penalties, constraint and sampling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WantedLogProbs {
    /// How many of the most probable tokens beside each token; at most `ALTERNATIVES_MAX`.
    pub alternatives: usize,
    /// Whether for the tokens of the prompt as well. Such a prompt is computed anew, not taken from
    /// what is known.
    pub prompt: bool,
}

/// A request of a scheduler; never given out twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub(super) u64);

/// How probable a token was.
#[derive(Clone, Debug, PartialEq)]
pub struct LogProb {
    /// The natural logarithm of the token's probability.
    pub value: f64,
    /// The most probable tokens at its place, as many as were asked for, the best first.
    pub alternatives: Vec<(TokenId, f64)>,
}

/// What became of a request in a pass.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A token of the prompt was looked at, where that was asked for. They come in order, and
    /// before all tokens of the answers.
    Prompt {
        /// The request.
        request: RequestId,
        /// The token's place in the prompt.
        index: usize,
        /// The token.
        token: TokenId,
        /// How probable it was; the first token has nothing before it.
        log_prob: Option<LogProb>,
    },
    /// An answer goes on.
    Token {
        /// The request.
        request: RequestId,
        /// Which of its answers, from 0.
        sample: usize,
        /// The token.
        token: TokenId,
        /// How probable it was, if that was asked for.
        log_prob: Option<LogProb>,
    },
    /// A prompt that was not to be answered is computed; its end follows.
    Embedded {
        /// The request.
        request: RequestId,
        /// The joined states, as long as the model is wide, not scaled to any length; of
        /// `Purpose::Rank` the score alone, greater for what is more relevant.
        values: Vec<f32>,
    },
    /// An answer is over; nothing more comes of it.
    Finished {
        /// The request.
        request: RequestId,
        /// Which of its answers, from 0.
        sample: usize,
        /// Why.
        reason: FinishReason,
        /// What it took.
        usage: Usage,
    },
}

/// Why an answer ended.
#[derive(Clone, Debug, PartialEq)]
pub enum FinishReason {
    /// The model chose, or the constraint demanded, this stop token.
    EndToken(TokenId),
    /// As many tokens as were asked for.
    Limit,
    /// Prompt and answer fill the context, or all KV blocks there are.
    ContextFull,
    /// `Scheduler::cancel`.
    Cancelled,
    /// The constraint is met, and lets nothing follow.
    Constraint,
    /// The answer cannot be continued.
    Error(EngineError),
}

/// What an answer took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt, which all answers to it share.
    pub prompt_tokens: usize,
    /// Of these, tokens whose keys and values were known.
    pub cached_tokens: usize,
    /// Of these, tokens that were read from disk.
    pub disk_tokens: usize,
    /// Tokens of this answer.
    pub new_tokens: usize,
    /// Tokens that speculation computed ahead.
    pub proposed_tokens: usize,
    /// Of these, tokens that came true.
    pub accepted_tokens: usize,
}
