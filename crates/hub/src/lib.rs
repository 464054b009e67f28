//! Finds weights files on this machine and fetches them from a hub. Knows nothing about what is in
//! them.
//!
//! Prints nothing and reads no environment variables: whoever calls passes a [`HubConfig`].
//!
//! - [`installed`] lists what already lies on disk: Lucid's own cache and the caches of Hugging
//!   Face, Ollama and LM Studio, which are read in place and never copied or changed.
//! - [`resolve`] turns what a person typed (a path, a name from the list, `ORG/REPO[:FILE]`) into
//!   a path, or says why it cannot.
//! - [`plan_pull`] and [`pull`] (feature `pull`, on by default) fetch a model: resumable,
//!   checksummed, cancellable. Without the feature the crate contains no network code.
//! - [`Route`] and [`Origin`] are how connections go out, for whoever else makes some.
//! - [`remove`] deletes a model from Lucid's own cache, and from nowhere else.
//!
//! Why not the crate `hf-hub`: 1.0.0 brings 235 crates (tokio, reqwest, xet, aws-lc with cmake);
//! 0.5.0 brings 58, compares no checksum, cannot be cancelled and draws its own progress bar. The
//! protocol is two addresses, so `ureq` with rustls and ring (28 crates, blocking, no OpenSSL, no
//! cmake) speaks it here. Everything the hub answers is hostile input: names, sizes, redirects and
//! bodies are checked before they touch the disk.

#![forbid(unsafe_code)]

mod config;
#[cfg(feature = "pull")]
mod connection;
mod error;
mod installed;
mod names;
#[cfg(feature = "pull")]
mod pull;
mod remove;
mod resolve;
mod walk;

pub use config::{ApiKey, HubConfig, Retry, Route};
#[cfg(feature = "pull")]
pub use connection::Origin;
pub use error::HubError;
pub use installed::{LocalModel, Source, installed};
pub use names::{PullSpec, RepoId, printable};
#[cfg(feature = "pull")]
pub use pull::{Checksum, PlannedFile, PullEvent, PullPlan, plan_pull, pull};
pub use remove::{Removable, Removed, packed_beside, removable, remove};
pub use resolve::{Resolved, resolve};
