//! How much memory a vocabulary may take: twice its file plus 16 MiB at the peak of reading it.
//! Counts in a file are claims, and a byte in a file can ask its reader for forty; so everything
//! that grows with the file is charged here before it is allocated, and a file that asks for more
//! than it justifies is refused.

use crate::TokenizerError;

/// What all that grows with the file may take beside twice its length. Two of the 16 MiB are for
/// what does not grow with it, tables of characters above all.
const ALLOWANCE: usize = 14 << 20;

/// The largest file of a vocabulary; its texts are addressed with 32 bits.
const FILE_BYTES_MAX: usize = 1 << 30;

/// What a file's contents may cost in memory.
pub(crate) struct Budget {
    limit: usize,
    spent: usize,
}

impl Budget {
    /// For files of this many bytes altogether.
    ///
    /// # Errors
    /// `Limit` above 1 GiB.
    pub(crate) fn for_files(file_bytes: usize) -> Result<Self, TokenizerError> {
        if file_bytes > FILE_BYTES_MAX {
            return Err(TokenizerError::Limit {
                what: "length of the vocabulary's file",
                found: file_bytes,
                limit: FILE_BYTES_MAX,
            });
        }
        Ok(Self::of(2 * file_bytes + ALLOWANCE))
    }

    /// Of this many bytes.
    pub(crate) fn of(limit: usize) -> Self {
        Self { limit, spent: 0 }
    }

    /// Takes `count` things of `each` bytes.
    ///
    /// # Errors
    /// `Limit` with `what`, by convention `memory for` a key or part.
    pub(crate) fn charge(
        &mut self,
        what: &'static str,
        count: usize,
        each: usize,
    ) -> Result<(), TokenizerError> {
        self.spent = self.spent.saturating_add(count.saturating_mul(each));
        if self.spent > self.limit {
            return Err(TokenizerError::Limit { what, found: self.spent, limit: self.limit });
        }
        Ok(())
    }

    /// Bytes that may still be charged.
    pub(crate) fn left(&self) -> usize {
        self.limit.saturating_sub(self.spent)
    }

    /// Gives back what was charged for a while.
    pub(crate) fn release(&mut self, bytes: usize) {
        self.spent = self.spent.saturating_sub(bytes);
    }
}
