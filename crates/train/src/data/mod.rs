//! From files to rows of tokens.
//!
//! files → readers → documents → filters and deduplication → held-out split → tokens in shards →
//! rows of a micro-batch. Each step is of a fixed order and depends on seeds alone, so that the
//! same files give the same rows on any machine with any number of threads.

mod error;
mod pack;
mod shard;
mod vocabulary_id;

pub use error::DataError;
pub use pack::{Batch, Batches, Lead, Leftover, PackOptions, Packing, Position, Share, Span};
pub use shard::{Check, ShardEntry, ShardWriter, Shards};
pub use vocabulary_id::{TokenBytes, VocabularyId};
