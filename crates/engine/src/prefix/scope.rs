//! Who may find whose blocks: the time that a request takes tells whether its prompt was computed
//! before, so nobody may share what he may not know.

use std::sync::Arc;

use lucid_tensor::Adapter;

/// Whoever is served fairly among others, and alone finds again what he computed. The caller hands
/// out the numbers, one for each API key, say; where keys and values are kept on disk, the same
/// ones after a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub u64);

/// Sequences whose blocks may be shared: of one client, under one key, with one adapter or none.
/// Two scopes are the same only if all of it is identical.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    client: ClientId,
    key: Arc<[u8]>,
    /// The identity of the adapter that keys and values were computed with.
    adapter: Option<[u8; 32]>,
}

impl Scope {
    /// The scope of a client's sequences under a key: whatever else keys and values depend on, or
    /// must be kept apart by. Where they are kept on disk, the key tells contents apart, not names:
    /// what an adapter is called does not say what it holds.
    pub fn new(client: ClientId, key: &[u8]) -> Self {
        Self { client, key: key.into(), adapter: None }
    }

    /// The same scope for sequences with this adapter, or with none.
    pub(crate) fn with_adapter(&self, adapter: Option<&Adapter>) -> Self {
        Self { adapter: adapter.map(|adapter| *adapter.identity()), ..self.clone() }
    }

    /// What else keys and values depend on, or must be kept apart by.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The identity of the adapter that keys and values were computed with.
    pub(crate) fn adapter(&self) -> Option<&[u8; 32]> {
        self.adapter.as_ref()
    }

    /// The client.
    pub fn client(&self) -> ClientId {
        self.client
    }
}
