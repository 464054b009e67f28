//! Sequences, KV blocks and sampling: token ids in, token ids and logits out. The engine knows
//! nothing about text.

#![forbid(unsafe_code)]

mod adapter;
mod disk;
mod engine;
mod error;
mod kv;
mod pooling;
mod prefix;
pub mod sampler;
mod scheduler;

pub use adapter::{AdapterId, AdapterInfo};
pub use disk::{DiskOptions, DiskStats};
pub use engine::{Engine, EngineOptions, Feed, Logits, SequenceId, Wanted, kv_blocks_for};
pub use error::EngineError;
pub use lucid_model::{Config, ModelError, Pooling};
pub use lucid_tensor::{Hook, HookRows, KvDType, Level, PackedFrom, Packing, Site};
pub use prefix::{ClientId, Scope};
pub use scheduler::{
    ALTERNATIVES_MAX, Clock, Constraint, Event, FinishReason, Keep, LogProb, Purpose, Request,
    RequestId, SAMPLES_MAX, Scheduler, SchedulerOptions, SchedulerStats, Speculation, TokenMask,
    Usage, WantedLogProbs,
};
