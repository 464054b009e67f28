//! The interface to whatever answers.

use std::path::Path;

use lucid_engine::sampler::SamplerConfig;
use lucid_engine::{ClientId, SchedulerStats};
use lucid_tokenizer::TokenId;

use crate::{Answers, Prompt, ProviderError, Turn};

/// Whatever answers. All methods may be called from many threads at once. Those that return
/// `Unsupported` by default are declared in `Card::capabilities`.
pub trait Provider: Send + Sync {
    /// What it is.
    fn card(&self) -> &Card;

    /// Begins to answer a turn. Returns as soon as the turn was checked; it may take the time of
    /// rendering and tokenising the prompt, so asynchronous code calls it on a thread of its own.
    ///
    /// # Errors
    /// The turn is refused. What goes wrong later comes out of `Answers`.
    fn generate(&self, turn: Turn) -> Result<Answers, ProviderError>;

    /// Whether `generate` would take a turn, as far as that is known without computing or sending
    /// anything.
    ///
    /// # Errors
    /// The turn is refused.
    fn check(&self, turn: &Turn) -> Result<(), ProviderError> {
        let _ = turn;
        Ok(())
    }

    /// The tokens of a turn's prompt, as `generate` would compute them.
    ///
    /// # Errors
    /// The turn is refused, or the provider does not tell.
    fn prompt_tokens(&self, turn: &Turn) -> Result<Vec<TokenId>, ProviderError> {
        let _ = turn;
        Err(self.unsupported("it does not tell its tokens"))
    }

    /// How many tokens a turn's prompt has.
    ///
    /// # Errors
    /// The turn is refused, or the provider does not tell.
    fn count_tokens(&self, turn: &Turn) -> Result<usize, ProviderError> {
        self.prompt_tokens(turn).map(|tokens| tokens.len())
    }

    /// The bytes of tokens, one after the other.
    ///
    /// # Errors
    /// A token does not exist, or the provider does not tell.
    fn decode(&self, tokens: &[TokenId]) -> Result<Vec<u8>, ProviderError> {
        let _ = tokens;
        Err(self.unsupported("it does not tell its tokens"))
    }

    /// One vector for each prompt, of length 1 if `kind` says so. Prompts are `Text` or `Tokens`.
    ///
    /// # Errors
    /// A prompt is refused, or the provider has no embeddings.
    fn embed(
        &self,
        prompts: &[Prompt],
        kind: EmbeddingKind,
        client: ClientId,
    ) -> Result<Embeddings, ProviderError> {
        let _ = (prompts, kind, client);
        Err(self.unsupported("it gives no embeddings"))
    }

    /// How relevant each document is to a query.
    ///
    /// # Errors
    /// A text is refused, or the provider does not rank.
    fn rank(
        &self,
        query: &str,
        documents: &[String],
        client: ClientId,
    ) -> Result<Ranking, ProviderError> {
        let _ = (query, documents, client);
        Err(self.unsupported("it does not rank documents"))
    }

    /// Computes a turn's prompt and keeps its keys and values where a restart does not lose them,
    /// so that `generate` of the same prompt, or one that goes on from it, begins at once. Returns
    /// the tokens that are kept.
    ///
    /// # Errors
    /// The turn is refused, nothing can be written, or the provider keeps nothing.
    fn snapshot(&self, turn: &Turn) -> Result<usize, ProviderError> {
        let _ = turn;
        Err(self.unsupported("it keeps no snapshots"))
    }

    /// Loads an adapter under a name; replaces one of that name for turns that begin later.
    ///
    /// # Errors
    /// It cannot be read, or does not suit the model.
    fn load_adapter(&self, name: &str, path: &Path, scale: f32) -> Result<Adapter, ProviderError> {
        let _ = (name, path, scale);
        Err(self.unsupported("it takes no adapters"))
    }

    /// Lets go of an adapter. Turns that use it end as they began. Returns whether there was one.
    ///
    /// # Errors
    /// The provider takes no adapters.
    fn drop_adapter(&self, name: &str) -> Result<bool, ProviderError> {
        let _ = name;
        Err(self.unsupported("it takes no adapters"))
    }

    /// The adapters that are loaded.
    fn adapters(&self) -> Vec<Adapter> {
        Vec::new()
    }

    /// Forgets what is known of clients' prompts, on disk as well.
    fn forget(&self) {}

    /// What it does at present.
    fn stats(&self) -> ProviderStats {
        ProviderStats::default()
    }

    /// What is wrong with it at present though it answers, in words: as when its folder cannot be
    /// written to.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// That something cannot be done.
    fn unsupported(&self, what: &str) -> ProviderError {
        ProviderError::Unsupported { provider: self.card().name.clone(), what: what.to_owned() }
    }
}

/// What a provider is.
#[derive(Clone, Debug, Default)]
pub struct Card {
    /// The name by which it is asked for.
    pub name: String,
    /// The model's own name, its architecture and the format of its weights, for people; empty
    /// where it is not known.
    pub description: String,
    /// The architecture, as GGUF names it; empty where it is not known.
    pub architecture: String,
    /// The format most weights are in, such as `Q4_K`; empty where it is not known.
    pub quantisation: String,
    /// Parameters; 0 where it is not known.
    pub parameters: u64,
    /// Bytes of its weights file; 0 where there is none.
    pub file_bytes: u64,
    /// blake3 of its weights' description (names, shapes, sizes, sampled bytes), in hex; empty
    /// where there is none.
    pub digest: String,
    /// Tokens that prompt and answer may have together; 0 where it is not known.
    pub context: usize,
    /// Tokens of the vocabulary; 0 where it is not known.
    pub vocab_size: usize,
    /// Elements of an embedding; 0 where it is not known.
    pub embedding_len: usize,
    /// Source of the chat template, if there is one.
    pub template: Option<String>,
    /// What is used where a turn sets nothing.
    pub sampling: SamplerConfig,
    /// What it can do.
    pub capabilities: Capabilities,
    /// What people should know before they use it.
    pub warnings: Vec<String>,
}

/// What a provider can do beside answering turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a list of independent abilities")]
pub struct Capabilities {
    /// Conversations: it has a template, or its API has.
    pub chat: bool,
    /// Continues texts as they stand.
    pub text: bool,
    /// Fills gaps.
    pub infill: bool,
    /// Calls tools.
    pub tools: bool,
    /// Thinks before it answers.
    pub reasoning: bool,
    /// Keeps to output formats.
    pub formats: bool,
    /// Tells log-probabilities.
    pub log_probs: bool,
    /// Tells its tokens.
    pub tokens: bool,
    /// Several answers for one prompt, computed once.
    pub fork: bool,
    /// Sets turns aside at any token.
    pub holds: bool,
    /// Keeps prompts over restarts.
    pub snapshot: bool,
    /// Embeddings.
    pub embeddings: bool,
    /// Ranks documents.
    pub ranking: bool,
    /// Adapters.
    pub adapters: bool,
    /// Answers do not depend on what else runs: the same seed gives the same tokens.
    pub reproducible: bool,
    /// Tells what an answer costs.
    pub prices: bool,
}

/// How an embedding is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EmbeddingKind {
    /// Elements to keep, the first ones; none keeps all.
    pub dimensions: Option<usize>,
    /// Whether the vector stays as it is instead of being scaled to length 1.
    pub raw: bool,
}

/// One vector for each text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Embeddings {
    /// The vectors, in the order of the texts.
    pub list: Vec<Embedding>,
    /// Tokens of all texts.
    pub tokens: usize,
}

/// A text's vector.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Embedding {
    /// Its elements.
    pub values: Vec<f32>,
    /// Tokens of the text.
    pub tokens: usize,
}

/// How relevant documents are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ranking {
    /// A score for each document, in their order; greater is more relevant. Scores of one provider
    /// can be compared with each other.
    pub scores: Vec<f32>,
    /// Tokens of all texts.
    pub tokens: usize,
}

/// An adapter that is loaded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Adapter {
    /// Its name.
    pub name: String,
    /// Its rank.
    pub rank: usize,
    /// Its bytes in memory.
    pub bytes: u64,
    /// By what its effect is multiplied, beside its own scaling.
    pub scale: f32,
}

/// What a provider does at present. Counters only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProviderStats {
    /// What waits and runs, and what was computed.
    pub scheduler: SchedulerStats,
    /// Bytes of memory it takes: weights that are its own, keys and values, adapters.
    pub memory_bytes: u64,
    /// KV blocks of sequences that run.
    pub kv_blocks_used: usize,
    /// KV blocks that are known and can be given up.
    pub kv_blocks_known: usize,
    /// KV blocks there are.
    pub kv_blocks: usize,
    /// Tokens of prompts that were computed.
    pub prompt_tokens: u64,
    /// Tokens of prompts that were known, in memory or on disk.
    pub cached_tokens: u64,
    /// Of these, tokens that were read from disk.
    pub disk_tokens: u64,
    /// Tokens of answers.
    pub new_tokens: u64,
    /// Tokens that speculation proposed.
    pub proposed_tokens: u64,
    /// Of these, tokens that were right.
    pub accepted_tokens: u64,
    /// Bytes of keys and values on disk.
    pub disk_bytes: u64,
}
