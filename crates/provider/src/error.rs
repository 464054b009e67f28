//! What can go wrong between a turn and its answer.

use std::time::Duration;

use lucid_tokenizer::TokenId;

/// A provider refuses a turn or cannot go on with it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ProviderError {
    /// A part of the turn is not what it must be: whoever asked can mend it.
    #[error("{field}: {reason}")]
    Invalid {
        /// The part, by its name in `Turn`.
        field: &'static str,
        /// What is wrong, and what is expected.
        reason: String,
    },
    /// The provider cannot do what is asked at all.
    #[error("{provider} cannot do this: {what}")]
    Unsupported {
        /// The provider's name.
        provider: String,
        /// What was asked for.
        what: String,
    },
    /// The prompt does not fit.
    #[error("the prompt has {prompt_tokens} tokens, and the context holds {context}")]
    PromptTooLong {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Tokens that fit, one of them the answer's.
        context: usize,
    },
    /// The grammar or schema cannot be used.
    #[error("the output format cannot be used: {reason}")]
    Grammar {
        /// What is wrong with it.
        reason: String,
    },
    /// The conversation cannot be written in the model's template.
    #[error("the chat template of {provider} refuses this conversation: {reason}")]
    Template {
        /// The provider's name.
        provider: String,
        /// What the template says.
        reason: String,
    },
    /// There is no such adapter.
    #[error("there is no adapter `{name}`; loaded are: {loaded}")]
    UnknownAdapter {
        /// What was asked for.
        name: String,
        /// Those there are, in words.
        loaded: String,
    },
    /// Too much waits already.
    #[error("too many requests wait; try again in {} s", .retry_after.as_secs().max(1))]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// A remote API does not let us in.
    #[error("{provider} refuses the API key: {reason}")]
    Unauthorized {
        /// The provider's name.
        provider: String,
        /// What it said.
        reason: String,
    },
    /// A remote API cannot be reached, or broke off.
    #[error("{provider} cannot be reached: {reason}")]
    Unreachable {
        /// The provider's name.
        provider: String,
        /// What happened.
        reason: String,
    },
    /// A remote API answered with an error.
    #[error("{provider} answered with status {status}: {reason}")]
    Remote {
        /// The provider's name.
        provider: String,
        /// The HTTP status.
        status: u16,
        /// What it said.
        reason: String,
    },
    /// A model, or a part of it, cannot be loaded.
    #[error("{what}: {reason}")]
    Unloadable {
        /// The part and its file.
        what: String,
        /// What is wrong with it, and what to do next.
        reason: String,
    },
    /// The model has stopped working; asking again will not help.
    #[error("{provider} does not work: {reason}")]
    Broken {
        /// The provider's name.
        provider: String,
        /// What happened.
        reason: String,
    },
}

impl ProviderError {
    /// A part of the turn that is not what it must be.
    pub fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid { field, reason: reason.into() }
    }

    pub(crate) fn unknown_token(field: &'static str, token: TokenId, vocab_size: usize) -> Self {
        let reason = format!("there is no token {token}: the vocabulary has {vocab_size} tokens");
        Self::invalid(field, reason)
    }
}
