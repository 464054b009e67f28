//! HTTP: the protocols that people's programs speak, and the page in the browser. Knows nothing
//! about engines, weights files, terminals or the environment: whoever starts it hands in a
//! `Catalog` of providers.

#![forbid(unsafe_code)]

mod access;
mod anthropic;
mod app;
mod ask;
mod body;
mod catalog;
mod compute;
mod doors;
mod error;
mod family;
mod guarded;
#[cfg(test)]
mod hostile;
mod identifiers;
mod json;
mod limits;
mod listen;
mod metrics;
mod native;
mod ollama;
mod openai;
mod openapi;
mod options;
mod page;
mod refusal;
mod registry;
mod routes;
mod status;
mod store;
mod stream;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use access::{KeyError, KeyFile, KeyInfo, Limits};
pub use catalog::{Catalog, Entry, LoadError};
pub use error::ServerError;
pub use identifiers::secret;
pub use listen::Server;
pub use options::{Access, Log, Options, Patience, TlsFiles};
