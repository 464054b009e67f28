//! What can go wrong between a request and its logits.

use lucid_model::ModelError;
use lucid_tensor::{KvDType, TokenId};

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
    /// A sequence that was never opened or is closed.
    #[error("there is no sequence {0}")]
    Sequence(u32),
    /// The file was truncated or rewritten while it was in use.
    #[error("the weights file changed while it was in use; load the model again")]
    WeightsChanged,
    /// A sequence that stands twice in one pass.
    #[error("sequence {0} was fed twice in one pass")]
    Twice(u32),
    /// A pass without a row.
    #[error("there is nothing to compute: no sequence was given a token")]
    Empty,
}
