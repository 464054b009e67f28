//! Sequences over one model: what they hold, and the passes that extend them.
//!
//! A pass takes any number of sequences, each with any number of new tokens: a prompt's chunk and
//! another sequence's single decoded token are the same thing. Logits of a sequence do not depend
//! on what else is in the pass.

mod disk;

use std::path::Path;
use std::sync::Arc;

use lucid_model::{Config, ModelError, Transformer};
use lucid_sys::ThreadPool;
use lucid_tensor::{
    Adapter, Eager, EagerOptions, Hook, KV_BLOCK_LEN, KvBlockId, KvDType, KvShape, Level,
    PackedFrom, Packing, Pass, PassRow, TokenId, WeightSource,
};

use crate::EngineError;
use crate::adapter::Adapters;
use crate::disk::{DiskTier, Weights};
use crate::kv::BlockAllocator;
use crate::prefix::{PrefixCache, Scope};
pub(crate) use disk::Reading;

/// How an engine is set up.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Tokens that one sequence may hold.
    pub context: usize,
    /// KV blocks that all sequences share; `kv_blocks_for` says how many a length needs.
    pub kv_blocks: usize,
    /// Number format of cached keys and values.
    pub kv_dtype: KvDType,
    /// Instruction set.
    pub level: Level,
    /// What happens to weights.
    pub packing: Packing,
}

/// Blocks that the keys and values of `tokens` tokens take.
pub fn kv_blocks_for(tokens: usize) -> usize {
    tokens.div_ceil(KV_BLOCK_LEN)
}

/// A sequence that an engine holds.
///
/// An id is never given out twice: what comes late for a closed sequence cannot touch another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId {
    slot: u32,
    generation: u32,
}

/// Which logits a feed wants back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// None: more of the prompt follows.
    None,
    /// Those after the last token.
    Last,
    /// Those after every token.
    All,
    /// Those after this token of the feed, counted from 0, and all later ones.
    From(usize),
    /// No logits: what the final norm makes of every token.
    Hidden,
}

impl Wanted {
    /// Whether something after token `step` of a feed of `len` are wanted.
    fn covers(self, step: usize, len: usize) -> bool {
        match self {
            Self::None => false,
            Self::Last => step + 1 == len,
            Self::All | Self::Hidden => true,
            Self::From(first) => step >= first,
        }
    }
}

/// New tokens for one sequence in a pass.
#[derive(Clone, Copy, Debug)]
pub struct Feed<'a> {
    /// The sequence; at most once in a pass.
    pub sequence: SequenceId,
    /// Its next tokens.
    pub tokens: &'a [TokenId],
    /// Which logits to return.
    pub wanted: Wanted,
}

/// The logits of a pass: `[rows, vocab_size]`, in the order of the feeds and their tokens.
#[derive(Clone, Copy, Debug)]
pub struct Logits<'a> {
    values: &'a [f32],
    vocab_size: usize,
    /// Where each feed's rows begin, and the end.
    bounds: &'a [usize],
    hidden: &'a [f32],
    width: usize,
    /// The same of what the final norm made.
    hidden_bounds: &'a [usize],
}

impl<'a> Logits<'a> {
    /// One row of `vocab_size` logits per wanted position.
    pub fn rows(&self) -> std::slice::ChunksExact<'a, f32> {
        self.values.chunks_exact(self.vocab_size)
    }

    /// The rows of one feed, by its index in the call: one, several or none, as it wanted.
    pub fn of(&self, feed: usize) -> std::slice::ChunksExact<'a, f32> {
        let rows = self.bounds[feed] * self.vocab_size..self.bounds[feed + 1] * self.vocab_size;
        self.values[rows].chunks_exact(self.vocab_size)
    }

    /// What the final norm made at the wanted positions of one feed, `width` elements each.
    pub fn hidden_of(&self, feed: usize) -> std::slice::ChunksExact<'a, f32> {
        let [start, end] = [feed, feed + 1].map(|index| self.hidden_bounds[index] * self.width);
        self.hidden[start..end].chunks_exact(self.width)
    }

    /// The last row, or an empty slice where nothing was wanted.
    pub fn last(&self) -> &'a [f32] {
        self.rows().next_back().unwrap_or_default()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Sequence {
    pub(crate) tokens: Vec<TokenId>,
    pub(crate) table: Vec<KvBlockId>,
    pub(crate) adapter: Option<Arc<Adapter>>,
    /// Whether a hook may have changed any of its keys and values.
    pub(crate) hooked: bool,
}

/// A model ready to compute.
pub struct Engine {
    pub(crate) transformer: Transformer<Eager>,
    pub(crate) eager: Eager,
    pub(crate) adapters: Adapters,
    options: EngineOptions,
    pool: Arc<ThreadPool>,
    blocks: BlockAllocator,
    prefixes: PrefixCache,
    slots: Vec<Slot>,
    weights: Weights,
    disk: Option<DiskTier>,
    /// Whether a hook is installed: what it may change is not to be found by others.
    hooked: bool,
    pass: Pass,
    /// Of the last pass: where each feed's logits begin, and the end.
    bounds: Vec<usize>,
    hidden_bounds: Vec<usize>,
}

/// A place for a sequence, and how many have ended there.
#[derive(Debug, Default)]
struct Slot {
    sequence: Option<Sequence>,
    generation: u32,
}

impl Engine {
    /// Binds the weights. Matrices stay in the mapped file and nothing of them is read yet.
    ///
    /// # Errors
    /// The description or a tensor is refused, or the KV format does not suit the heads; the error
    /// names it.
    pub fn load(
        source: &dyn WeightSource,
        pool: Arc<ThreadPool>,
        options: EngineOptions,
    ) -> Result<Self, EngineError> {
        let config = Config::read(source)?;
        let kv = KvShape {
            dtype: options.kv_dtype,
            layers: config.layer_count,
            kv_heads: config.kv_head_count,
            head_dim: config.head_dim,
            value_dim: config.value_dim,
        };
        let block_len = kv.dtype.block_len();
        if !kv.head_dim.is_multiple_of(block_len) || !kv.value_dim.is_multiple_of(block_len) {
            let KvShape { dtype, head_dim, value_dim, .. } = kv;
            return Err(EngineError::KvFormat { dtype, head_dim, value_dim });
        }
        let eager_options = EagerOptions { level: options.level, kv, packing: options.packing };
        let mut eager = Eager::new(Arc::clone(&pool), eager_options);
        let transformer = Transformer::bind(source, &mut eager)?;
        Ok(Self {
            transformer,
            eager,
            adapters: Adapters::default(),
            blocks: BlockAllocator::new(options.kv_blocks),
            prefixes: PrefixCache::default(),
            options,
            pool,
            weights: Weights::of(source),
            disk: None,
            hooked: false,
            slots: Vec::new(),
            pass: Pass::default(),
            bounds: Vec::new(),
            hidden_bounds: Vec::new(),
        })
    }

    /// Packs all weights now (with `Packing::Pack`; else there is nothing to do), instead of a part
    /// in each pass that follows: for those who measure, and for a cache of packed weights at
    /// `cache`, which is mapped if it fits and else written. `progress` is told how many bytes are
    /// packed, and of how many.
    ///
    /// # Errors
    /// There is no memory for them. A cache that cannot be written is no error; the value says so.
    pub fn pack(
        &mut self,
        cache: Option<&Path>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<PackedFrom, EngineError> {
        Ok(self.eager.pack(cache, progress).map_err(ModelError::from)?)
    }

    /// The model's hyper-parameters.
    pub fn config(&self) -> &Config {
        self.transformer.config()
    }

    /// How the engine was set up.
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// The threads that passes run on; between passes they are free for other work.
    pub(crate) fn pool(&self) -> &Arc<ThreadPool> {
        &self.pool
    }

    /// An empty sequence. It costs nothing until it is fed.
    pub fn open(&mut self) -> SequenceId {
        self.insert(Sequence::default())
    }

    /// A sequence that begins with what is known of `tokens`: the blocks that sequences of the same
    /// scope published, and those that follow on disk. How much that is, `Engine::tokens` says; it
    /// is less than all of `tokens`, so that there is something to compute logits from.
    pub fn adopt(&mut self, scope: &Scope, tokens: &[TokenId]) -> SequenceId {
        let scope = &scope.with_adapter(None);
        let id = self.adopt_published(scope, tokens, None);
        let mut reading = self.begin_reading(id, scope, tokens);
        while let Some(from) = reading {
            reading = self.read_on(id, scope, tokens, from);
        }
        id
    }

    /// The same without the disk, for a sequence with an adapter or with none.
    pub(crate) fn adopt_published(
        &mut self,
        scope: &Scope,
        tokens: &[TokenId],
        adapter: Option<Arc<Adapter>>,
    ) -> SequenceId {
        let scope = scope.with_adapter(adapter.as_deref());
        // A hook is promised all rows.
        let most = if self.hooked { 0 } else { tokens.len().saturating_sub(1) };
        let most = &tokens[..most];
        let table = self.prefixes.adopt(&scope, most, &mut self.blocks);
        let tokens = tokens[..table.len() * KV_BLOCK_LEN].to_vec();
        self.insert(Sequence { tokens, table, adapter, hooked: false })
    }

    /// Lets later sequences of the scope adopt the full blocks of this one. They stay after its
    /// end, until blocks are needed and they are the least recently used ones; on disk, if
    /// `open_disk` was called, longer. A block belongs to the first scope under which it is
    /// published, and one that a fork holds as well is not kept. Nor is anything of a sequence that
    /// was extended while a hook was installed.
    ///
    /// # Errors
    /// There is no such sequence.
    pub fn publish(&mut self, id: SequenceId, scope: &Scope) -> Result<(), EngineError> {
        self.sequence(id)?;
        let slot = &mut self.slots[id.slot as usize];
        if let Some(Sequence { tokens, table, adapter, hooked: false }) = &mut slot.sequence {
            let scope = scope.with_adapter(adapter.as_deref());
            let path = self.prefixes.publish(&scope, tokens, table, &mut self.blocks);
            self.save(&scope, &path);
        }
        Ok(())
    }

    /// Forgets all that was published, and removes all blocks of its folder on disk.
    pub fn forget_published(&mut self) {
        self.prefixes.clear(&mut self.blocks);
        if let Some(disk) = &self.disk {
            disk.forget();
        }
    }

    /// A second sequence with the same past; the two share its blocks until one of them writes.
    ///
    /// # Errors
    /// There is no such sequence.
    pub fn fork(&mut self, id: SequenceId) -> Result<SequenceId, EngineError> {
        let sequence = self.sequence(id)?;
        let &Sequence { ref tokens, ref table, ref adapter, hooked } = sequence;
        let (tokens, table, adapter) = (tokens.clone(), table.clone(), adapter.clone());
        let copy = Sequence { tokens, table, adapter, hooked };
        for &block in &copy.table {
            self.blocks.share(block);
        }
        Ok(self.insert(copy))
    }

    /// Ends a sequence and frees what only it held.
    ///
    /// # Errors
    /// There is no such sequence.
    pub fn close(&mut self, id: SequenceId) -> Result<(), EngineError> {
        self.sequence(id)?;
        let slot = &mut self.slots[id.slot as usize];
        slot.generation += 1;
        for block in slot.sequence.take().unwrap_or_default().table {
            self.blocks.release(block);
        }
        Ok(())
    }

    /// The tokens that a sequence holds.
    ///
    /// # Errors
    /// There is no such sequence.
    pub fn tokens(&self, id: SequenceId) -> Result<&[TokenId], EngineError> {
        Ok(&self.sequence(id)?.tokens)
    }

    /// Forgets a sequence's tokens from `len` on.
    ///
    /// # Errors
    /// There is no such sequence.
    pub fn truncate(&mut self, id: SequenceId, len: usize) -> Result<(), EngineError> {
        self.sequence(id)?;
        let Some(sequence) = &mut self.slots[id.slot as usize].sequence else { return Ok(()) };
        sequence.tokens.truncate(len);
        let blocks = sequence.tokens.len().div_ceil(KV_BLOCK_LEN);
        for block in sequence.table.drain(blocks.min(sequence.table.len())..) {
            self.blocks.release(block);
        }
        Ok(())
    }

    /// Sequences that are open.
    pub fn sequence_count(&self) -> usize {
        self.slots.iter().filter(|slot| slot.sequence.is_some()).count()
    }

    /// Bytes of keys and values that live sequences hold.
    pub fn kv_bytes(&self) -> usize {
        self.blocks.in_use() * self.eager.kv_block_bytes()
    }

    /// Bytes of keys and values that were published and belong to no live sequence.
    pub fn published_bytes(&self) -> usize {
        self.blocks.idle() * self.eager.kv_block_bytes()
    }

    /// How many published blocks were given up because others were needed.
    pub fn evictions(&self) -> u64 {
        self.prefixes.evictions()
    }

    /// Blocks that sequences can still take; what was published makes room for them.
    pub(crate) fn available_blocks(&self) -> usize {
        self.blocks.available()
    }

    /// The blocks of a sequence; none if there is no such sequence.
    pub(crate) fn table(&self, id: SequenceId) -> &[KvBlockId] {
        self.sequence(id).map_or(&[], |sequence| &sequence.table)
    }

    /// How many blocks a feed of `rows` tokens will take at most: those it adds, and a copy of one
    /// that it shares and writes to.
    pub(crate) fn blocks_for(&self, id: SequenceId, rows: usize) -> usize {
        let Ok(Sequence { tokens, table, .. }) = self.sequence(id) else { return 0 };
        let added = kv_blocks_for(tokens.len() + rows).saturating_sub(table.len());
        let written = table.get(tokens.len() / KV_BLOCK_LEN);
        added + usize::from(rows > 0 && written.is_some_and(|&block| self.blocks.is_shared(block)))
    }

    /// Installs or removes a hook that reads or changes activations. While there is one, nothing
    /// that was published is adopted, so that it sees all rows; what it may have changed is found
    /// by nobody, neither in memory nor on disk.
    pub fn set_hook(&mut self, hook: Option<Hook>) {
        self.hooked = hook.is_some();
        self.eager.set_hook(hook);
    }

    /// Extends sequences by their feeds in one pass. On an error no sequence has changed.
    ///
    /// # Errors
    /// Nothing was fed, a token or sequence does not exist, a context or the KV store is full, the
    /// weights file changed meanwhile. (A change *during* a pass may still end the process: the
    /// system signals a read beyond the end of a shortened file.)
    pub fn forward(&mut self, feeds: &[Feed<'_>]) -> Result<Logits<'_>, EngineError> {
        self.check(feeds)?;
        if self.eager.weights_changed() {
            return Err(EngineError::WeightsChanged);
        }
        if let Err(error) = self.reserve(feeds) {
            // What the other feeds were given already goes back.
            for feed in feeds {
                let len = self.sequence(feed.sequence)?.tokens.len();
                self.truncate(feed.sequence, len)?;
            }
            return Err(error);
        }
        self.plan(feeds)?;
        self.eager.reserve_kv(self.blocks.created());
        self.eager.begin(&self.pass);
        let computed = self.transformer.forward(&mut self.eager);
        self.pass.adapters.clear();
        self.eager.end();
        let config = self.transformer.config();
        Ok(Logits {
            values: self.eager.read(computed.logits),
            vocab_size: config.vocab_size,
            bounds: &self.bounds,
            hidden: self.eager.read(computed.hidden),
            width: config.width,
            hidden_bounds: &self.hidden_bounds,
        })
    }

    /// Refuses feeds that cannot be computed, before anything changes.
    fn check(&self, feeds: &[Feed<'_>]) -> Result<(), EngineError> {
        let vocab_size = self.config().vocab_size;
        if feeds.iter().all(|feed| feed.tokens.is_empty()) {
            return Err(EngineError::Empty);
        }
        for (index, feed) in feeds.iter().enumerate() {
            if feeds[..index].iter().any(|earlier| earlier.sequence == feed.sequence) {
                return Err(EngineError::Twice(feed.sequence.slot));
            }
            let needed = self.sequence(feed.sequence)?.tokens.len() + feed.tokens.len();
            if needed > self.options.context {
                return Err(EngineError::ContextFull { needed, context: self.options.context });
            }
            if let Some(&token) = feed.tokens.iter().find(|&&token| token as usize >= vocab_size) {
                return Err(EngineError::Token { token, vocab_size });
            }
        }
        Ok(())
    }

    /// Gives each fed sequence the blocks that its new tokens will be written to, all its own.
    fn reserve(&mut self, feeds: &[Feed<'_>]) -> Result<(), EngineError> {
        for feed in feeds.iter().filter(|feed| !feed.tokens.is_empty()) {
            let slot = &mut self.slots[feed.sequence.slot as usize];
            let Some(sequence) = &mut slot.sequence else { continue };
            let len = sequence.tokens.len();
            let first_written = len / KV_BLOCK_LEN;
            if let Some(block) = sequence.table.get_mut(first_written)
                && self.blocks.is_shared(*block)
            {
                let own = take_block(&mut self.blocks, &mut self.prefixes)?;
                self.eager.reserve_kv(self.blocks.created());
                self.eager.copy_kv(*block, own);
                self.blocks.release(*block);
                *block = own;
            }
            while sequence.table.len() * KV_BLOCK_LEN < len + feed.tokens.len() {
                sequence.table.push(take_block(&mut self.blocks, &mut self.prefixes)?);
            }
            let mut written = sequence.table[first_written..].iter();
            debug_assert!(!written.any(|&block| self.blocks.is_shared(block)), "a shared block");
        }
        Ok(())
    }

    /// Writes the pass and appends the tokens to their sequences.
    fn plan(&mut self, feeds: &[Feed<'_>]) -> Result<(), EngineError> {
        let mut pass = std::mem::take(&mut self.pass);
        pass.clear();
        for bounds in [&mut self.bounds, &mut self.hidden_bounds] {
            bounds.clear();
            bounds.push(0);
        }
        for feed in feeds {
            let index = pass.tables.len() as u32;
            let slot = &mut self.slots[feed.sequence.slot as usize];
            let missing = EngineError::Sequence(feed.sequence.slot);
            let sequence = slot.sequence.as_mut().ok_or(missing)?;
            pass.tables.push(sequence.table.clone());
            pass.adapters.push(sequence.adapter.clone());
            for (step, &token) in feed.tokens.iter().enumerate() {
                let position = (sequence.tokens.len() + step) as u32;
                if feed.wanted.covers(step, feed.tokens.len()) {
                    pass.outputs.push(pass.rows.len() as u32);
                    if feed.wanted == Wanted::Hidden {
                        pass.unscored.push(pass.rows.len() as u32);
                    }
                }
                pass.rows.push(PassRow { token, position, sequence: index });
            }
            sequence.tokens.extend_from_slice(feed.tokens);
            sequence.hooked |= self.hooked;
            self.bounds.push(pass.outputs.len() - pass.unscored.len());
            self.hidden_bounds.push(pass.outputs.len());
        }
        if pass.adapters.iter().all(Option::is_none) {
            pass.adapters.clear();
        }
        self.pass = pass;
        Ok(())
    }

    pub(crate) fn insert(&mut self, sequence: Sequence) -> SequenceId {
        let vacant = self.slots.iter().position(|slot| slot.sequence.is_none());
        let index = vacant.unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() - 1
        });
        let slot = &mut self.slots[index];
        slot.sequence = Some(sequence);
        SequenceId { slot: index as u32, generation: slot.generation }
    }

    fn sequence(&self, id: SequenceId) -> Result<&Sequence, EngineError> {
        let slot = self.slots.get(id.slot as usize);
        let slot = slot.filter(|slot| slot.generation == id.generation);
        slot.and_then(|slot| slot.sequence.as_ref()).ok_or(EngineError::Sequence(id.slot))
    }
}

/// A block with one owner; the prefix cache gives one up where none is free.
fn take_block(
    blocks: &mut BlockAllocator,
    prefixes: &mut PrefixCache,
) -> Result<KvBlockId, EngineError> {
    let taken = blocks.take();
    if taken.is_err() && prefixes.evict(blocks) { blocks.take() } else { taken }
}
