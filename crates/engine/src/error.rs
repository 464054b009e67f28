//! What can go wrong between a request and its logits.

use std::path::PathBuf;

use lucid_model::ModelError;
use lucid_tensor::{KvDType, TokenId};

use crate::sampler::SamplerError;

/// The engine refuses a request or a model.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EngineError {
    /// The weights file does not describe a model that runs.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Heads that do not divide into the blocks of the KV format.
    #[error(
        "keys and values cannot be stored as {}: it takes blocks of {} elements, and heads of this \
         model have {head_dim} (keys) and {value_dim} (values); choose f16, bf16 or f32",
        .dtype.name(),
        .dtype.block_len()
    )]
    KvFormat {
        /// The format that was asked for.
        dtype: KvDType,
        /// Elements of a key head.
        head_dim: usize,
        /// Elements of a value head.
        value_dim: usize,
    },
    /// A token that the vocabulary does not have.
    #[error("token {token} is out of range: the model has {vocab_size} tokens")]
    Token {
        /// The token.
        token: TokenId,
        /// Rows of the embedding.
        vocab_size: usize,
    },
    /// The sequence would outgrow the context.
    #[error("{needed} tokens do not fit into a context of {context} tokens")]
    ContextFull {
        /// Tokens that the sequence would have.
        needed: usize,
        /// Tokens that fit.
        context: usize,
    },
    /// No KV block is free.
    #[error("all {limit} KV blocks are in use")]
    OutOfBlocks {
        /// The blocks there are.
        limit: usize,
    },
    /// A request that all blocks together cannot hold.
    #[error(
        "prompt and answer take at least {needed} KV blocks, and there are {limit}; shorten the \
         prompt or give the engine more blocks"
    )]
    TooFewBlocks {
        /// The blocks of the prompt and one token.
        needed: usize,
        /// The blocks there are.
        limit: usize,
    },
    /// A request without a prompt.
    #[error("the prompt is empty: at least one token is needed to continue from")]
    EmptyPrompt,
    /// A number of samples out of its range.
    #[error("{found} samples were asked for, expected 1 to {most}")]
    Samples {
        /// What was asked for.
        found: usize,
        /// The most.
        most: usize,
    },
    /// A ranking head that the model lacks.
    #[error(
        "this model has no head that ranks texts (the tensor `cls.output.weight`); compare its \
         embeddings instead"
    )]
    NoRankingHead,
    /// What belongs to an answer, in a request for something else.
    #[error("a text that is embedded or ranked is not answered: {what} cannot be asked for")]
    NotAnswered {
        /// What was asked for.
        what: &'static str,
    },
    /// More alternatives per token than are given.
    #[error("{found} alternatives per token were asked for, expected at most {most}")]
    Alternatives {
        /// What was asked for.
        found: usize,
        /// The most.
        most: usize,
    },
    /// Settings of the sampler, or logits that nothing can be chosen from.
    #[error(transparent)]
    Sampler(#[from] SamplerError),
    /// A constraint cannot go on.
    #[error("the answer cannot be constrained any further: {reason}")]
    Constraint {
        /// What the constraint says.
        reason: String,
    },
    /// A constraint that contradicts itself, or the stop tokens.
    #[error(
        "the constraint allows no token here, and the answer may not end; loosen it, or take the \
         tokens it needs out of the stop tokens"
    )]
    NoTokenAllowed,
    /// An adapter that was never loaded, or let go of.
    #[error("there is no adapter {0}; load it first")]
    UnknownAdapter(u64),
    /// An adapter for another kind of network.
    #[error("{}: the adapter is for `{found}`, and this model is `{expected}`", file.display())]
    AdapterArchitecture {
        /// The adapter's file.
        file: PathBuf,
        /// The architecture that it names.
        found: String,
        /// The model's.
        expected: String,
    },
    /// An adapter of something that the model does not have.
    #[error(
        "{}: the adapter adds to `{tensor}` (at byte {offset}), which is no matrix of this model",
        file.display()
    )]
    AdapterTensor {
        /// The adapter's file.
        file: PathBuf,
        /// The name of the matrix.
        tensor: String,
        /// Where its first factor starts.
        offset: u64,
    },
    /// An adapter of a matrix of another shape.
    #[error(
        "{}: the adapter adds {found:?} to `{tensor}` (at byte {offset}), which is {expected:?}; \
         it was made for another model",
        file.display()
    )]
    AdapterShape {
        /// The adapter's file.
        file: PathBuf,
        /// The name of the matrix.
        tensor: String,
        /// Where its first factor starts.
        offset: u64,
        /// The shape of the model's matrix, `[rows, cols]`.
        expected: [usize; 2],
        /// The shape of what is added.
        found: [usize; 2],
    },
    /// A factor for an adapter's effect that is no number.
    #[error("the scale of an adapter is {0}, expected a finite number")]
    AdapterScale(String),
    /// A sequence that was never opened or is closed.
    #[error("there is no sequence {0}")]
    Sequence(u32),
    /// A scheduler was given an engine that somebody still uses.
    #[error(
        "the engine has {open} open sequences; close them before a scheduler takes the engine over"
    )]
    OpenSequences {
        /// How many there are.
        open: usize,
    },
    /// A draft model that speaks of other tokens.
    #[error("the draft model has {found} tokens, and the model it is to speed up has {expected}")]
    DraftVocabulary {
        /// Tokens of the model.
        expected: usize,
        /// Tokens of the draft.
        found: usize,
    },
    /// The file was truncated or rewritten while it was in use.
    #[error("the weights file changed while it was in use; load the model again")]
    WeightsChanged,
    /// The folder that keys and values are to be kept in cannot be used.
    #[error(
        "cannot keep keys and values in {folder}: {reason}; choose another folder, or do without"
    )]
    Disk {
        /// The folder.
        folder: String,
        /// What the system said.
        reason: String,
    },
    /// A sequence that stands twice in one pass.
    #[error("sequence {0} was fed twice in one pass")]
    Twice(u32),
    /// A pass without a row.
    #[error("there is nothing to compute: no sequence was given a token")]
    Empty,
}
