//! One Transformer and one mapping table per architecture. Knows nothing about files, threads,
//! memory or text.
//!
//! `Config::read` turns metadata into a `Config` through the table of the architecture (`arch/`);
//! `Transformer::bind` takes the tensors into an executor, checking each shape;
//! `Transformer::forward` runs a pass on any `Ops`.

#![forbid(unsafe_code)]

mod arch;
mod bind;
mod config;
mod error;
mod keys;
mod layers;
mod rotary;
mod transformer;

pub use arch::names as architecture_names;
pub use config::{Config, Pooling, RotaryConfig, RotaryScaling, Window};
pub use error::ModelError;
pub use layers::Classifier;
pub use transformer::{Computed, Transformer};
