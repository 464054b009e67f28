//! Packs bound matrices into one piece of memory, or maps them from a cache beside the model.
//!
//! One piece for all that is packed at a time, because huge pages then cover matrices whatever
//! their size, and because it is what the cache holds. While a matrix is packed its pages of the
//! file are given back, band by band, so weights are not held twice.

use std::path::Path;

use lucid_kernels::{self as kernels, DType, Level};
use lucid_sys::{Access, Anonymous, Bytes, Pages, ThreadPool};

use super::packed_cache::{self, Identity};
use crate::{TensorError, TensorView};

/// Groups of sixteen rows that a thread packs at a time.
const BAND_GROUPS: usize = 8;

/// Where matrices begin in the packed memory: a page, so that none shares one with another.
const ALIGNMENT: usize = 4096;

/// Where packed weights came from, for those who watch a model being loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PackedFrom {
    /// Nothing is packed: not asked for, or no format has a fast kernel here.
    Nothing,
    /// From the model's file.
    Model {
        /// Why the cache could not be written, if it was asked for.
        cache_error: Option<String>,
    },
    /// Mapped from the cache.
    Cache,
}

/// Bytes of padding that no matrix is refused for.
const PADDING_FREE: usize = 1 << 16;

/// A matrix that waits to be packed.
pub(super) struct Pending {
    /// Its number among the bound parameters.
    pub(super) parameter: usize,
    pub(super) view: TensorView,
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// Bytes when packed.
    pub(super) bytes: usize,
}

impl Pending {
    /// `None` where the level has no fast kernel for the format, there is nothing to multiply, or
    /// padding to whole groups of rows would inflate it.
    pub(super) fn new(
        parameter: usize,
        level: Level,
        view: &TensorView,
        rows: usize,
        cols: usize,
    ) -> Option<Self> {
        if rows == 0 || cols == 0 || !kernels::packed_kernel(level, view.dtype) {
            return None;
        }
        let bytes = kernels::packed_bytes(view.dtype, rows, cols)?;
        if bytes > view.data.len() + view.data.len() / 50 + PADDING_FREE {
            return None;
        }
        Some(Self { parameter, view: view.clone(), rows, cols, bytes })
    }

    /// Packs into `out`, on all threads.
    fn pack(&self, pool: &ThreadPool, out: &mut [u8]) {
        let source = &self.view.data;
        let row_bytes = source.len() / self.rows;
        let band_bytes = BAND_GROUPS * kernels::PACKED_GROUP * row_bytes;
        let mut bands: Vec<_> = out.chunks_mut(band_bytes).collect();
        let dtype: DType = self.view.dtype;
        // In one run, so that each thread packs the share that it will read.
        pool.for_each(&mut bands, |index, out| {
            let start = index * band_bytes;
            let end = source.len().min(start + band_bytes);
            let rows = (end - start) / row_bytes;
            kernels::pack_rows(dtype, &source[start..end], rows, self.cols, out);
            // The file's pages have served their turn.
            if let Some(done) = source.slice(start..end) {
                done.advise(Access::Done);
            }
        });
        // A fault maps some pages around it, among them such as were given back.
        source.advise(Access::Done);
    }
}

/// The packed matrices in the order of `pending`, each with its own part of the memory.
///
/// `progress` is told the bytes that are done and those that there are.
pub(super) fn pack_all(
    pool: &ThreadPool,
    pending: &[Pending],
    cache: Option<&Path>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(Vec<Bytes>, PackedFrom), TensorError> {
    if pending.is_empty() {
        return Ok((Vec::new(), PackedFrom::Nothing));
    }
    let mut starts = Vec::with_capacity(pending.len());
    let mut total = 0usize;
    for matrix in pending {
        starts.push(total);
        total = (total + matrix.bytes).next_multiple_of(ALIGNMENT);
    }
    let parts = |memory: &Bytes| -> Option<Vec<Bytes>> {
        let part = |(&start, matrix): (&usize, &Pending)| memory.slice(start..start + matrix.bytes);
        starts.iter().zip(pending).map(part).collect()
    };
    let identity = cache.map(|_| Identity::new(pending, total));
    if let (Some(path), Some(identity)) = (cache, &identity)
        && let Some(memory) = packed_cache::open(path, identity, pool, pending)
        && let Some(parts) = parts(&memory)
    {
        return Ok((parts, PackedFrom::Cache));
    }
    let refused = |_| TensorError::Memory { bytes: total };
    let mut memory = Anonymous::new(total, Pages::Huge).map_err(refused)?;
    for (matrix, &start) in pending.iter().zip(&starts) {
        progress(start as u64, total as u64);
        matrix.pack(pool, &mut memory[start..start + matrix.bytes]);
    }
    progress(total as u64, total as u64);
    let written = match (cache, &identity) {
        (Some(path), Some(identity)) => packed_cache::save(path, identity, pool, pending, &memory),
        _ => Ok(()),
    };
    let cache_error = written.err().map(|error| error.to_string());
    let memory = Bytes::from(memory);
    let parts = parts(&memory).expect("each matrix was given its part");
    Ok((parts, PackedFrom::Model { cache_error }))
}
