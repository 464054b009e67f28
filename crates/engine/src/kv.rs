//! Which KV block belongs to whom: reference counts, so that forked sequences share what they have
//! in common.
//!
//! Invariant: a block with more than one owner is never written; who wants to write copies it
//! first.

use lucid_tensor::KvBlockId;

use crate::EngineError;

/// Hands out the blocks of an executor's KV store.
#[derive(Debug)]
pub(crate) struct BlockAllocator {
    /// Owners per block; 0 means free.
    owners: Vec<u32>,
    free: Vec<KvBlockId>,
    limit: usize,
}

impl BlockAllocator {
    pub(crate) fn new(limit: usize) -> Self {
        Self { owners: Vec::new(), free: Vec::new(), limit }
    }

    /// A block with one owner. Blocks come into being as they are first needed.
    pub(crate) fn take(&mut self) -> Result<KvBlockId, EngineError> {
        if let Some(block) = self.free.pop() {
            self.owners[block.0 as usize] = 1;
            return Ok(block);
        }
        if self.owners.len() >= self.limit {
            return Err(EngineError::OutOfBlocks { limit: self.limit });
        }
        self.owners.push(1);
        Ok(KvBlockId((self.owners.len() - 1) as u32))
    }

    /// One more owner.
    pub(crate) fn share(&mut self, block: KvBlockId) {
        self.owners[block.0 as usize] += 1;
    }

    /// One owner less; the last one frees the block.
    pub(crate) fn release(&mut self, block: KvBlockId) {
        let owners = &mut self.owners[block.0 as usize];
        assert!(*owners > 0, "a free block was released");
        *owners -= 1;
        if *owners == 0 {
            self.free.push(block);
        }
    }

    pub(crate) fn is_shared(&self, block: KvBlockId) -> bool {
        self.owners[block.0 as usize] > 1
    }

    /// Blocks that ever came into being: what the executor must hold.
    pub(crate) fn created(&self) -> usize {
        self.owners.len()
    }

    /// Blocks with an owner.
    pub(crate) fn in_use(&self) -> usize {
        self.owners.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_return_when_their_last_owner_leaves() {
        let mut blocks = BlockAllocator::new(2);
        let first = blocks.take().unwrap();
        blocks.share(first);
        assert!(blocks.is_shared(first));
        blocks.release(first);
        assert_eq!(blocks.in_use(), 1);
        let second = blocks.take().unwrap();
        assert_ne!(first, second);
        assert_eq!(blocks.take(), Err(EngineError::OutOfBlocks { limit: 2 }));
        blocks.release(first);
        assert_eq!(blocks.take(), Ok(first));
    }
}
