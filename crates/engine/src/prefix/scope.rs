//! Who may find whose blocks: the time that a request takes tells whether its prompt was computed
//! before, so nobody may share what he may not know.

use std::sync::Arc;

/// Whoever is served fairly among others, and alone finds again what he computed. The caller hands
/// out the numbers, one for each API key, say; where keys and values are kept on disk, the same
/// ones after a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub u64);

/// Sequences whose blocks may be shared: of one client, under one key. Two scopes are the same only
/// if both are identical.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    client: ClientId,
    key: Arc<[u8]>,
}

impl Scope {
    /// The scope of a client's sequences under a key: whatever else keys and values depend on, or
    /// must be kept apart by. Where they are kept on disk, the key tells contents apart, not names:
    /// what an adapter is called does not say what it holds.
    pub fn new(client: ClientId, key: &[u8]) -> Self {
        Self { client, key: key.into() }
    }

    /// What else keys and values depend on, or must be kept apart by.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The client.
    pub fn client(&self) -> ClientId {
        self.client
    }
}
