//! How much memory the description of a file may take. Counts in a file are claims: a claim of 10^9
//! one-byte texts costs the writer little and the reader fifty times as much. So every allocation
//! that grows with the file is charged here first, and a file that asks for more than it justifies
//! is refused. What opening leaves is the vocabulary's.

/// Allowed beside twice the file's own length: room for small files with large vocabularies.
const ALLOWANCE: u64 = 14 << 20;

/// Memory that may still be taken on behalf of one checkpoint.
#[derive(Debug)]
pub(crate) struct Budget {
    left: u64,
    limit: u64,
}

impl Budget {
    /// The budget of a checkpoint whose files have this many bytes altogether.
    pub(crate) fn for_files(file_bytes: u64) -> Self {
        let limit = file_bytes.saturating_mul(2).saturating_add(ALLOWANCE);
        Self { left: limit, limit }
    }

    /// What has not been charged.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// Charges an allocation.
    ///
    /// # Errors
    /// The limit in bytes, if the allocation would exceed it.
    pub(crate) fn charge(&mut self, bytes: u64) -> Result<(), u64> {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(self.limit),
        }
    }
}

/// What a separately allocated buffer costs, with the allocator's own overhead.
pub(crate) fn heap_cost(len: usize) -> u64 {
    if len == 0 { 0 } else { (len as u64).saturating_add(16).max(32) }
}
