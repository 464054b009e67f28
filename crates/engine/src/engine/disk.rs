//! An engine's blocks on disk: what is published is written, and found again by sequences that
//! begin alike.

use lucid_tensor::{ARITHMETIC_VERSION, KV_BLOCK_LEN, Level, Packing, TokenId};

use super::{Engine, Sequence, SequenceId, take_block};
use crate::EngineError;
use crate::disk::{DiskOptions, DiskStats, DiskTier, Name, Wanted};
use crate::prefix::Scope;

/// Blocks that are read at a time: some for each thread, and not long on any disk.
const READ_AT_ONCE: usize = 8;

/// A sequence that may go on on disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// The last block that it has, or where it begins.
    last: Name,
}

impl Engine {
    /// Keeps published blocks on disk from now on, and finds those that an engine of the same
    /// weights, level, packing and formats wrote there, before a restart or beside this one. What
    /// was published before is forgotten.
    ///
    /// # Errors
    /// The folder cannot be made, or no thread started. What goes wrong later is no error: blocks
    /// are computed instead, and `disk_stats` says why nothing is written.
    pub fn open_disk(&mut self, options: DiskOptions) -> Result<(), EngineError> {
        let constants = self.arithmetic();
        let identity = move |weights: [u8; 32]| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&weights).update(constants.as_bytes());
            *hasher.finalize().as_bytes()
        };
        // The old one first: it may be of the same folder.
        self.disk = None;
        self.prefixes.clear(&mut self.blocks);
        self.disk = Some(DiskTier::open(options, self.weights.clone(), Box::new(identity))?);
        Ok(())
    }

    /// What keys and values depend on beside weights and tokens, to the bit.
    fn arithmetic(&self) -> String {
        let Self { options, eager, .. } = self;
        let level: Level = options.level;
        // What is packed in passing is computed to the same numbers as what is kept packed.
        let packed = match options.packing {
            Packing::Keep => "as it is",
            Packing::InPassing | Packing::Pack => "packed",
        };
        format!(
            "arithmetic {ARITHMETIC_VERSION}, {}, {packed}, {}, {} bytes for {KV_BLOCK_LEN}, {:?}",
            level.name(),
            options.kv_dtype.name(),
            eager.kv_block_bytes(),
            self.config()
        )
    }

    /// Waits until what was published is on disk, also what there was no room for when it was: it
    /// is there after the process was killed. (After a loss of power some of it may be computed
    /// again.) What the folder cannot take is not waited for; see `DiskStats::trouble`.
    pub fn flush_disk(&mut self) {
        loop {
            let (taken, all) = self.save_rest();
            let Some(disk) = &self.disk else { return };
            disk.flush();
            if all || taken == 0 {
                return;
            }
        }
    }

    /// Whether there is a folder to look into.
    pub(crate) fn has_disk(&self) -> bool {
        self.disk.is_some()
    }

    /// What became of blocks on disk; nothing where `open_disk` was not called.
    pub fn disk_stats(&self) -> DiskStats {
        self.disk.as_ref().map(DiskTier::stats).unwrap_or_default()
    }

    /// Of these tokens, how many a sequence of the scope would find on disk; those that wait to be
    /// written are not counted.
    pub fn tokens_on_disk(&self, scope: &Scope, tokens: &[TokenId]) -> usize {
        let Some(disk) = &self.disk else { return 0 };
        let mut name = disk.keys.root(scope);
        let there = tokens.as_chunks().0.iter().take_while(|tokens| {
            name = disk.keys.child(&name, tokens);
            disk.has(&name)
        });
        there.count() * KV_BLOCK_LEN
    }

    /// Lets the blocks of a published path be written.
    pub(super) fn save(&mut self, scope: &Scope, path: &[usize]) {
        let Some(disk) = self.disk.as_ref().filter(|_| self.can_save()) else { return };
        let eager = &self.eager;
        self.prefixes.save(scope, path, disk, |block| eager.kv_block(block));
    }

    /// Lets blocks be written that there was no room for. Returns how many there was room for now,
    /// and whether that is all.
    fn save_rest(&mut self) -> (usize, bool) {
        let Some(disk) = self.disk.as_ref().filter(|_| self.can_save()) else { return (0, true) };
        let eager = &self.eager;
        self.prefixes.save_rest(disk, |block| eager.kv_block(block))
    }

    /// A file that changed during a pass may have given any numbers.
    fn can_save(&self) -> bool {
        !self.eager.weights_changed()
    }

    /// Where a sequence of the scope, of whole blocks, goes on on disk, if its next block seems to
    /// be there: the next one of `tokens`, and not the last of these.
    pub(crate) fn begin_reading(
        &self,
        id: SequenceId,
        scope: &Scope,
        tokens: &[TokenId],
    ) -> Option<Reading> {
        let disk = self.disk.as_ref().filter(|_| !self.hooked)?;
        let (blocks, rest) = self.sequence(id).ok()?.tokens.as_chunks();
        if !rest.is_empty() {
            return None;
        }
        let root = disk.keys.root(scope);
        let last = blocks.iter().fold(root, |last, tokens| disk.keys.child(&last, tokens));
        self.goes_on(id, tokens, last)
    }

    /// The same of a sequence whose last block is called `last`.
    fn goes_on(&self, id: SequenceId, tokens: &[TokenId], last: Name) -> Option<Reading> {
        let disk = self.disk.as_ref()?;
        let have = self.sequence(id).ok()?.tokens.len();
        let next = tokens.get(have..tokens.len().saturating_sub(1))?.first_chunk()?;
        disk.has(&disk.keys.child(&last, next)).then_some(Reading { last })
    }

    /// Reads the next few blocks of a sequence that is to have `all` these tokens, but not the last
    /// of them, and publishes them. Returns whether and where it may go on.
    pub(crate) fn read_on(
        &mut self,
        id: SequenceId,
        scope: &Scope,
        all: &[TokenId],
        reading: Reading,
    ) -> Option<Reading> {
        let have = self.sequence(id).ok()?.table.len();
        let most = all.len().saturating_sub(1).max(have * KV_BLOCK_LEN);
        let next = all.get(have * KV_BLOCK_LEN..most)?.as_chunks().0;
        let mut wanted = self.wanted(next, have, reading);
        let mut own = Vec::with_capacity(wanted.len());
        while own.len() < wanted.len()
            && let Ok(block) = take_block(&mut self.blocks, &mut self.prefixes)
        {
            own.push(block);
        }
        wanted.truncate(own.len());
        self.eager.reserve_kv(self.blocks.created());
        let payloads = self.eager.kv_blocks_mut(&own);
        let there = self.disk.as_ref()?.read(&self.pool, &wanted, payloads);
        for block in own.drain(there..) {
            self.blocks.release(block);
        }
        let slot = &mut self.slots[id.slot as usize];
        if let Some(Sequence { tokens, table, .. }) = &mut slot.sequence {
            tokens.extend(wanted[..there].iter().flat_map(|wanted| wanted.tokens));
            table.extend(own);
            let path = self.prefixes.publish(scope, tokens, table, &mut self.blocks);
            let names: Vec<Name> = wanted[..there].iter().map(|wanted| wanted.name).collect();
            if let Some(disk) = self.disk.as_ref().filter(|_| path.len() == have + there) {
                self.prefixes.note_saved(&path, &names, disk);
            }
        }
        let last = wanted.get(READ_AT_ONCE - 1).filter(|_| there == READ_AT_ONCE)?.name;
        self.goes_on(id, all, last)
    }

    /// The next blocks that seem to be there, a few.
    fn wanted(
        &self,
        next: &[[TokenId; KV_BLOCK_LEN]],
        have: usize,
        Reading { mut last }: Reading,
    ) -> Vec<Wanted> {
        let Some(disk) = &self.disk else { return Vec::new() };
        let next = next.iter().take(READ_AT_ONCE).enumerate();
        let wanted = next.map(|(index, tokens)| {
            last = disk.keys.child(&last, tokens);
            Wanted { name: last, tokens: *tokens, index: have + index }
        });
        wanted.take_while(|wanted| disk.has(&wanted.name)).collect()
    }
}
