//! From files to rows of tokens.
//!
//! files → readers → documents → filters and deduplication → held-out split → tokens in shards →
//! rows of a micro-batch. Each step is of a fixed order and depends on seeds alone, so that the
//! same files give the same rows on any machine with any number of threads.

mod dedup;
mod examine;
mod filter;
mod pack;
mod poison;
mod prepare;
mod read;
mod report;
mod shard;
mod split;
mod vocabulary_id;
mod words;

pub use dedup::{DedupOptions, Duplicates, content_hash};
pub use examine::{ChoiceTally, ChooseOptions, Observer, Progress};
pub use filter::{Filler, FilterOptions, Rule, language};
pub use pack::{Batch, Batches, Lead, Leftover, PackOptions, Packing, Position, Share, Span};
pub use poison::{Alarm, PoisonOptions, PoisonScan, Shift};
pub use prepare::{Inputs, Preparation, Prepared, Recipe, prepare};
pub use read::{
    Count, Document, Documents, Files, Kind, ReadOptions, ReadTally, Refusal, SourceFile, Split,
    main_text,
};
pub use report::{Long, Report, report};
pub use shard::{Check, ShardEntry, ShardWriter, Shards};
pub use split::{Side, side, usual_share};
pub use vocabulary_id::{TokenBytes, VocabularyId};
