//! Which models can be served, and how one is loaded. Whoever starts the server knows.

use std::sync::Arc;
use std::time::SystemTime;

use lucid_provider::Provider;

/// The models that can be served.
pub trait Catalog: Send + Sync + 'static {
    /// The models there are, loaded or not. May look at the disk; called on a thread that may
    /// block.
    fn list(&self) -> Vec<Entry>;

    /// The name that `asked` stands for: an exact name, or what resolves to one. None where there
    /// is no such model.
    fn resolve(&self, asked: &str) -> Option<Entry>;

    /// Loads a model by its exact name. Takes as long as it takes; called on a thread that may
    /// block, at most once at a time for a name.
    ///
    /// # Errors
    /// It cannot be loaded.
    fn load(&self, name: &str) -> Result<Arc<dyn Provider>, LoadError>;
}

/// A model that can be served.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its exact name.
    pub name: String,
    /// Bytes of its files; 0 for what is served elsewhere.
    pub bytes: u64,
    /// Memory that it will take once loaded, as far as can be told before; 0 for what is served
    /// elsewhere.
    pub memory_bytes: u64,
    /// When it was put there.
    pub modified: Option<SystemTime>,
    /// Whose it is: the folder it lies in, or the API it is behind.
    pub source: String,
}

/// A model cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct LoadError {
    /// Why, and what to do next.
    pub reason: String,
    /// Bytes of memory it would need more, where that is the reason.
    pub memory_lacking: Option<u64>,
}
