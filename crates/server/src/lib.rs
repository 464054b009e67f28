//! HTTP: the protocols that people's programs speak, and the page in the browser. Knows nothing
//! about engines, weights files, terminals or the environment: whoever starts it hands in a
//! `Catalog` of providers.

#![forbid(unsafe_code)]

mod catalog;
#[expect(dead_code, reason = "the protocols come next")]
mod refusal;

pub use catalog::{Catalog, Entry, LoadError};
