//! Which KV block belongs to whom: reference counts, so that sequences and the prefix cache share
//! what they have in common.
//!
//! Invariant: a block with more than one owner is never written; who wants to write copies it
//! first. The cache is an owner like a sequence, so what it keeps is never written either.

use lucid_tensor::KvBlockId;

use crate::EngineError;

/// Hands out the blocks of an executor's KV store.
#[derive(Debug)]
pub(crate) struct BlockAllocator {
    /// Owners per block; 0 means free.
    owners: Vec<u32>,
    /// Whether the prefix cache is among the owners.
    kept: Vec<bool>,
    /// How many of them nobody else owns.
    idle: usize,
    free: Vec<KvBlockId>,
    limit: usize,
}

impl BlockAllocator {
    pub(crate) fn new(limit: usize) -> Self {
        Self { owners: Vec::new(), kept: Vec::new(), idle: 0, free: Vec::new(), limit }
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
        self.kept.push(false);
        Ok(KvBlockId((self.owners.len() - 1) as u32))
    }

    /// One more owner.
    pub(crate) fn share(&mut self, block: KvBlockId) {
        let index = block.0 as usize;
        self.idle -= usize::from(self.is_idle(block));
        self.owners[index] += 1;
    }

    /// One owner less; the last one frees the block.
    pub(crate) fn release(&mut self, block: KvBlockId) {
        let owners = &mut self.owners[block.0 as usize];
        assert!(*owners > 0, "a free block was released");
        *owners -= 1;
        if *owners == 0 {
            assert!(!self.kept[block.0 as usize], "a block was taken from the prefix cache");
            self.free.push(block);
        }
        self.idle += usize::from(self.is_idle(block));
    }

    /// The prefix cache becomes an owner.
    pub(crate) fn keep(&mut self, block: KvBlockId) {
        assert!(!self.kept[block.0 as usize], "a block stands twice in the prefix cache");
        self.share(block);
        self.kept[block.0 as usize] = true;
    }

    /// The prefix cache gives a block up.
    pub(crate) fn discard(&mut self, block: KvBlockId) {
        assert!(self.kept[block.0 as usize], "the prefix cache does not have this block");
        self.idle -= usize::from(self.is_idle(block));
        self.kept[block.0 as usize] = false;
        self.release(block);
    }

    /// Whether only the prefix cache owns a block.
    pub(crate) fn is_idle(&self, block: KvBlockId) -> bool {
        self.kept[block.0 as usize] && self.owners[block.0 as usize] == 1
    }

    pub(crate) fn is_shared(&self, block: KvBlockId) -> bool {
        self.owners[block.0 as usize] > 1
    }

    /// Blocks that ever came into being: what the executor must hold.
    pub(crate) fn created(&self) -> usize {
        self.owners.len()
    }

    /// Blocks that a sequence owns.
    pub(crate) fn in_use(&self) -> usize {
        self.owners.len() - self.free.len() - self.idle
    }

    /// Blocks that only the prefix cache owns.
    pub(crate) fn idle(&self) -> usize {
        self.idle
    }

    /// Blocks that can be taken once the prefix cache has given up what it can.
    pub(crate) fn available(&self) -> usize {
        self.limit - self.in_use()
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

    #[test]
    fn what_only_the_cache_owns_is_idle() {
        let mut blocks = BlockAllocator::new(3);
        let counts = |blocks: &BlockAllocator| (blocks.in_use(), blocks.idle(), blocks.available());
        let block = blocks.take().unwrap();
        blocks.keep(block);
        assert!(blocks.is_shared(block));
        assert_eq!(counts(&blocks), (1, 0, 2));
        blocks.release(block);
        assert_eq!(counts(&blocks), (0, 1, 3));
        blocks.share(block);
        assert_eq!(counts(&blocks), (1, 0, 2));
        blocks.discard(block);
        assert_eq!(counts(&blocks), (1, 0, 2));
        blocks.keep(block);
        blocks.release(block);
        blocks.discard(block);
        assert_eq!(counts(&blocks), (0, 0, 3));
    }
}
