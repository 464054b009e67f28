//! What blocks are called on disk, by their content.
//!
//! A name is a keyed hash of the name before it and the block's tokens; the first one follows from
//! the scope. So equal names mean the same tokens from the beginning on, of the same client, under
//! the same key; and without the installation's key no name tells, or can be guessed from, tokens.

use std::fmt;

use lucid_tensor::{KV_BLOCK_LEN, TokenId};

use crate::prefix::Scope;

/// Keeps these keys apart from all others that are made of the same secret.
const NAMES: &str = "lucid kv names v1";
const CHECKSUMS: &str = "lucid kv checksums v1";
const WEIGHTS: &str = "lucid kv weights v1";

/// The name of a block.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Name(pub(super) [u8; 32]);

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(blake3::Hash::from_bytes(self.0).to_hex().as_str())
    }
}

/// The keys that follow from the installation's.
#[derive(Clone)]
pub(crate) struct Keys {
    names: [u8; 32],
    pub(super) checksums: [u8; 32],
    pub(super) weights: [u8; 32],
}

impl Keys {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self {
            names: blake3::derive_key(NAMES, key),
            checksums: blake3::derive_key(CHECKSUMS, key),
            weights: blake3::derive_key(WEIGHTS, key),
        }
    }

    /// What the first block of a scope's sequences follows.
    pub(crate) fn root(&self, scope: &Scope) -> Name {
        let mut hasher = blake3::Hasher::new_keyed(&self.names);
        // As long as no block's: those have 32 bytes and `KV_BLOCK_LEN` tokens.
        hasher.update(b"scope").update(&scope.client().0.to_le_bytes());
        hasher.update(blake3::hash(scope.key()).as_bytes());
        hasher.update(scope.adapter().map_or(&[], <[u8; 32]>::as_slice));
        Name(*hasher.finalize().as_bytes())
    }

    /// The block of these tokens behind another one.
    pub(crate) fn child(&self, parent: &Name, tokens: &[TokenId; KV_BLOCK_LEN]) -> Name {
        let mut bytes = [0; 32 + 4 * KV_BLOCK_LEN];
        let (first, rest) = bytes.split_at_mut(32);
        first.copy_from_slice(&parent.0);
        for (place, token) in rest.as_chunks_mut::<4>().0.iter_mut().zip(tokens) {
            *place = token.to_le_bytes();
        }
        Name(*blake3::keyed_hash(&self.names, &bytes).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use lucid_tensor::{Adapter, AdapterTarget, DType, Factor, Level, LowRank};

    use super::*;
    use crate::prefix::ClientId;

    #[test]
    fn a_name_follows_from_key_scope_parent_and_tokens() {
        let keys = [1, 2].map(|key| Keys::new(&[key; 32]));
        let scope = |client, key: &[u8]| Scope::new(ClientId(client), key);
        let mut other = [7; KV_BLOCK_LEN];
        other[KV_BLOCK_LEN - 1] = 8;
        let mut names = vec![keys[0].root(&scope(1, b"a"))];
        names.push(keys[0].child(&names[0], &[7; KV_BLOCK_LEN]));
        assert_eq!(names[1], keys[0].child(&names[0], &[7; KV_BLOCK_LEN]));
        names.push(keys[0].child(&names[0], &other));
        names.push(keys[0].child(&names[1], &[7; KV_BLOCK_LEN]));
        names.push(keys[1].child(&names[0], &[7; KV_BLOCK_LEN]));
        names.push(keys[1].root(&scope(1, b"a")));
        let adapted = |scale: f32| {
            let factor = || Factor { dtype: DType::F32, rows: 1, cols: 1, bytes: vec![0; 4] };
            let (target, a, b) = (AdapterTarget::Embedding, factor(), factor());
            let adapter = Adapter::new(Level::detect(), vec![LowRank { target, a, b, scale }]);
            scope(1, b"a").with_adapter(Some(&adapter))
        };
        names.extend([1.0, 0.5].map(|scale| keys[0].root(&adapted(scale))));
        for stranger in [scope(2, b"a"), scope(1, b"b"), scope(1, b""), scope(1, b"a\0")] {
            names.push(keys[0].root(&stranger));
        }
        for (index, name) in names.iter().enumerate() {
            assert!(!names[..index].contains(name), "{name:?} stands twice");
        }
    }
}
