//! What one forward pass computes: its rows, and where each row's sequence keeps its keys and
//! values.

use std::sync::Arc;

use crate::{Adapter, TokenId};

/// Positions per KV block, and per attention chunk. A constant, because the order in which
/// attention adds up depends on it: changing it changes the last bits of every logit.
pub const KV_BLOCK_LEN: usize = 64;

/// The number of a block in the executor's KV store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KvBlockId(pub u32);

/// One token of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassRow {
    /// The token to embed.
    pub token: TokenId,
    /// Its position in its sequence, from 0.
    pub position: u32,
    /// Its sequence: an index into `Pass::tables`.
    pub sequence: u32,
}

/// One forward pass over rows of one or several sequences.
///
/// Rows of one sequence stand in ascending order of position, and every position before a row's own
/// was either computed by an earlier pass or stands earlier in this one.
#[derive(Clone, Debug, Default)]
pub struct Pass {
    /// The tokens, in order.
    pub rows: Vec<PassRow>,
    /// Block table per sequence: block `i` holds positions `i * KV_BLOCK_LEN ..`.
    pub tables: Vec<Vec<KvBlockId>>,
    /// Indices of the rows of which something is wanted, ascending: what the final norm makes of
    /// them and, except for those in `unscored`, their logits.
    pub outputs: Vec<u32>,
    /// Those of `outputs` whose logits are not wanted, ascending.
    pub unscored: Vec<u32>,
    /// The adapter of each sequence, if it has one; empty where none has.
    pub adapters: Vec<Option<Arc<Adapter>>>,
}

impl Pass {
    /// Indices of the rows whose logits are wanted, ascending.
    pub fn scored(&self) -> impl Iterator<Item = u32> {
        let scored = |row: &&u32| self.unscored.binary_search(row).is_err();
        self.outputs.iter().filter(scored).copied()
    }

    /// Empties the pass, keeping its memory.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.tables.clear();
        self.outputs.clear();
        self.unscored.clear();
        self.adapters.clear();
    }
}
