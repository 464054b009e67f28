//! Adapters of a live engine: loaded beside it, wanted by the sequence, let go of when the last
//! sequence that has one ends.
//!
//! Invariants: a sequence keeps the adapter it was opened with, whatever becomes of its id; keys
//! and values of different adapters are never shared, for an adapter's identity is part of the
//! scope.

use std::sync::{Arc, Weak};

use lucid_checkpoint::{AdapterFile, AdapterPart};
use lucid_model::Config;
use lucid_tensor::{Adapter, AdapterTarget, Factor, LowRank, RotaryPairing, TensorView};

use crate::EngineError;
use crate::engine::{Engine, Sequence, SequenceId};

/// An adapter that an engine has loaded. An id is never given out twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AdapterId(u64);

/// What an adapter is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdapterInfo {
    /// Its id.
    pub id: AdapterId,
    /// The highest rank of its parts.
    pub rank: usize,
    /// Bytes of its factors.
    pub bytes: usize,
    /// By what its effect is multiplied, beside its own scaling.
    pub scale: f32,
}

/// The adapters of an engine.
#[derive(Default)]
pub(crate) struct Adapters {
    loaded: Vec<(AdapterInfo, Arc<Adapter>)>,
    /// All that somebody may still hold.
    known: Vec<Weak<Adapter>>,
    count: u64,
}

impl Engine {
    /// Takes an adapter in, its effect multiplied by `scale`. Sequences that are open stay as they
    /// are.
    ///
    /// # Errors
    /// The adapter is for another architecture, a matrix is unknown to the model or of another
    /// shape, or the scale, by itself or times the adapter's own, is not finite; the error names
    /// it.
    pub fn load_adapter(
        &mut self,
        file: &AdapterFile,
        scale: f32,
    ) -> Result<AdapterId, EngineError> {
        if !scale.is_finite() {
            return Err(EngineError::AdapterScale(scale.to_string()));
        }
        let config = self.config();
        if let Some(found) = file.architecture().filter(|&found| found != config.architecture) {
            let expected = config.architecture.clone();
            let (file, found) = (file.file().to_owned(), found.to_owned());
            return Err(EngineError::AdapterArchitecture { file, found, expected });
        }
        let parts = file.parts().iter().map(|part| self.bind_part(file, part, scale));
        let adapter = Arc::new(Adapter::new(
            self.options().level,
            parts.collect::<Result<_, EngineError>>()?,
        ));
        let Adapters { loaded, known, count } = &mut self.adapters;
        let id = AdapterId(*count);
        *count += 1;
        known.retain(|adapter| adapter.strong_count() > 0);
        known.push(Arc::downgrade(&adapter));
        let info = AdapterInfo { id, rank: adapter.rank(), bytes: adapter.bytes(), scale };
        loaded.push((info, adapter));
        Ok(id)
    }

    /// Lets go of an adapter. Sequences that have it end as they began.
    ///
    /// # Errors
    /// There is no such adapter.
    pub fn drop_adapter(&mut self, id: AdapterId) -> Result<(), EngineError> {
        self.lease(id)?;
        self.adapters.loaded.retain(|(info, _)| info.id != id);
        Ok(())
    }

    /// The adapters that can be asked for, the oldest first.
    pub fn adapters(&self) -> impl Iterator<Item = AdapterInfo> {
        self.adapters.loaded.iter().map(|(info, _)| *info)
    }

    /// Bytes of all adapters, those included that are only held by sequences.
    pub fn adapter_bytes(&self) -> usize {
        self.adapters.known.iter().filter_map(Weak::upgrade).map(|adapter| adapter.bytes()).sum()
    }

    /// An empty sequence with an adapter, or with none.
    ///
    /// # Errors
    /// There is no such adapter.
    pub fn open_with(&mut self, adapter: Option<AdapterId>) -> Result<SequenceId, EngineError> {
        let adapter = adapter.map(|id| self.lease(id)).transpose()?;
        Ok(self.insert(Sequence { adapter, ..Sequence::default() }))
    }

    /// An adapter, for whoever will want it even after it was let go of.
    pub(crate) fn lease(&self, id: AdapterId) -> Result<Arc<Adapter>, EngineError> {
        let found = self.adapters.loaded.iter().find(|(info, _)| info.id == id);
        found.map(|(_, adapter)| Arc::clone(adapter)).ok_or(EngineError::UnknownAdapter(id.0))
    }

    /// A part of an adapter as the executor takes it.
    fn bind_part(
        &self,
        file: &AdapterFile,
        part: &AdapterPart,
        scale: f32,
    ) -> Result<LowRank, EngineError> {
        let (_, found) = part.shape();
        let product = part.scale * scale;
        if !product.is_finite() {
            let product = format!("{} times {scale}", part.scale);
            return Err(EngineError::AdapterScale(product));
        }
        let Some((weight, expected)) = self.transformer.matrix(&part.tensor) else {
            return Err(EngineError::AdapterTensor {
                file: file.file().to_owned(),
                tensor: part.tensor.clone(),
                offset: part.a.offset,
            });
        };
        if found != expected {
            return Err(EngineError::AdapterShape {
                file: file.file().to_owned(),
                tensor: part.tensor.clone(),
                offset: part.a.offset,
                expected,
                found,
            });
        }
        let target = if part.is_embedding() {
            AdapterTarget::Embedding
        } else {
            AdapterTarget::Product(weight)
        };
        let Config { head_dim, rotary, .. } = self.config();
        let rotates = [".attn_q.weight", ".attn_k.weight"].iter().any(|q| part.tensor.ends_with(q));
        let moves = rotates && file.pairing() != rotary.pairing && head_dim.is_multiple_of(2);
        let row = |row| if moves { reorder(rotary.pairing, *head_dim, row) } else { row };
        let (a, b) = (factor(&part.a, |row| row), factor(&part.b, row));
        Ok(LowRank { target, a, b, scale: product })
    }
}

/// Which row of a factor for heads of the other pairing becomes a row of one for `pairing`.
fn reorder(pairing: RotaryPairing, head_dim: usize, row: usize) -> usize {
    let (head, within, half) = (row / head_dim, row % head_dim, head_dim / 2);
    head * head_dim
        + match pairing {
            RotaryPairing::Neighbours => within % 2 * half + within / 2,
            RotaryPairing::Halves => within % half * 2 + within / half,
        }
}

/// A copy of a factor, whose file may go away.
fn factor(view: &TensorView, source: impl Fn(usize) -> usize) -> Factor {
    let (rows, cols) = (view.shape[0], view.shape[1]);
    let row_bytes = view.data.len() / rows;
    let mut bytes = Vec::with_capacity(view.data.len());
    for row in 0..rows {
        bytes.extend_from_slice(&view.data[source(row) * row_bytes..][..row_bytes]);
    }
    Factor { dtype: view.dtype, rows, cols, bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs (i, i + half) of the one order stand at (2 i, 2 i + 1) of the other.
    #[test]
    fn orders_of_rows_are_inverse() {
        let [neighbours, halves] = [RotaryPairing::Neighbours, RotaryPairing::Halves];
        assert_eq!([0, 1, 2, 7, 9].map(|row| reorder(neighbours, 8, row)), [0, 4, 1, 7, 12]);
        for row in 0..24 {
            assert_eq!(reorder(halves, 8, reorder(neighbours, 8, row)), row);
        }
    }
}
