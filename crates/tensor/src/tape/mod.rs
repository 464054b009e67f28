//! The training executor: records the operations of a pass and runs them backward, each with a
//! hand-written derivative.
//!
//! One tape computes one micro-batch on the thread that calls it, and on others that it was given
//! (`set_threads`), which then share out rows. Several tapes (`lane`) share the parameters, for
//! reading, and sum gradients of their own; whoever owns them adds those in an order of his choice.
//! Every sum of a tape runs in an order that shapes fix, so a run is the same to the bit whatever
//! computes beside it.
//!
//! A step of training:
//! 1. `begin` says what the rows are; `Transformer::forward` runs on the tape.
//! 2. `cross_entropy` on the logits gives the rows' losses, and the gradient that backward starts
//!    from. Logits are never in memory as a whole: what `linear` makes of `select_scored` is only
//!    remembered.
//! 3. `backward` adds to `gradients`. More micro-batches may follow.
//! 4. The optimiser reads `gradients`, changes `parameters_mut`, and calls `Parameters::repack`;
//!    then `zero_gradients` or `forget_gradients`.
//!
//! Precision: masters, activations, gradients and sums are f32. With `Products::Bf16` the operands
//! of every product with a parameter are rounded to bfloat16, forward and backward, and the token
//! embedding is too, so that forward gives the bits of `Eager` on the same weights in bfloat16.
//! With `Products::F32` results agree with `Eager` up to rounding: its f32 products sum in another
//! order, which would cost a training product several times the registers.
//!
//! Memory: all activations that backward needs, in buffers that the next pass uses again. With
//! `Recompute::Scopes` only what scopes hand on is kept, and the inside of a scope is computed
//! again when backward reaches it.

mod attention;
mod backward;
mod elementwise;
mod forward;
mod gradients;
mod head;
mod linear;
mod ops;
mod parameters;
mod record;
mod rotary;
mod team;
mod values;

use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use lucid_kernels::{GemmScratch, KvDType, Level, Products};

use crate::eager::{Hook, HookRows};
use crate::ops::Site;
use crate::{Pass, PassRow};

use gradients::Gradients;
pub use parameters::{ParameterId, Parameters};
use record::Record;
use rotary::Rotaries;
pub use rotary::RotaryHandle;
use team::Team;
pub use values::TapeValue;
use values::{Kind, ValueId, Values};

/// What a tape computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TapeOptions {
    /// Which instruction set to use.
    pub level: Level,
    /// How operands of products with parameters enter.
    pub products: Products,
    /// How attention holds keys and values; `F32` rounds nothing.
    pub kv: KvDType,
    /// What is kept for backward.
    pub recompute: Recompute,
}

/// What backward finds, and what it computes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recompute {
    /// All that backward needs is kept.
    Nothing,
    /// Of a scope (a layer) only what goes in and out is kept: about a third more to compute, to
    /// the same bits, and memory for one layer's activations instead of all. Not while a hook is
    /// installed, which would be called twice.
    Scopes,
}

/// What a pass is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Backward will follow.
    Train,
    /// Only losses or logits are wanted: nothing is kept.
    Evaluate,
}

/// Records of a scope whose values were not kept.
#[derive(Clone, Debug)]
struct Segment {
    records: Range<usize>,
    /// Where the scope's own values begin.
    values: usize,
}

/// Working memory.
#[derive(Default)]
struct Scratch {
    /// Of each thread.
    gemm: Vec<GemmScratch>,
    /// Of each thread.
    attention: Vec<attention::Scratch>,
    head: head::Scratch,
}

impl Scratch {
    fn of(threads: usize) -> Self {
        let mut scratch = Self::default();
        scratch.gemm.resize_with(threads, GemmScratch::default);
        scratch.attention.resize_with(threads, attention::Scratch::default);
        scratch
    }
}

/// The training executor. See the module's text.
pub struct Tape {
    options: TapeOptions,
    shared: Arc<RwLock<Parameters>>,
    rotaries: Rotaries,
    /// Its rows; a tape has no block tables.
    pass: Pass,
    /// The rows of each document.
    documents: Vec<Range<usize>>,
    purpose: Purpose,
    /// Of the parameters, when the pass began.
    version: u64,
    values: Values,
    records: Vec<Record>,
    segments: Vec<Segment>,
    /// How many scopes are open, and where the outermost one's values begin.
    depth: usize,
    scope_values: usize,
    head: Option<head::Head>,
    gradients: Gradients,
    team: Team,
    scratch: Scratch,
    hook: Option<Hook>,
}

impl Tape {
    /// A tape without parameters: bind a model next.
    pub fn new(options: TapeOptions) -> Self {
        let parameters = Parameters::new(options.level, options.products);
        Self::over(options, Arc::new(RwLock::new(parameters)), Rotaries::default())
    }

    fn over(options: TapeOptions, shared: Arc<RwLock<Parameters>>, rotaries: Rotaries) -> Self {
        Self {
            options,
            shared,
            rotaries,
            pass: Pass::default(),
            documents: Vec::new(),
            purpose: Purpose::Evaluate,
            version: 0,
            values: Values::default(),
            records: Vec::new(),
            segments: Vec::new(),
            depth: 0,
            scope_values: 0,
            head: None,
            gradients: Gradients::default(),
            team: Team::new(1),
            scratch: Scratch::of(1),
            hook: None,
        }
    }

    /// Lets so many threads work on each micro-batch, the caller among them: where there are more
    /// cores than lanes. No bit depends on it.
    ///
    /// # Panics
    /// `threads` is 0.
    pub fn set_threads(&mut self, threads: usize) {
        self.team = Team::new(threads);
        self.scratch = Scratch::of(threads);
    }

    /// Another tape over the same parameters, with gradients of its own, for another thread. A
    /// model that was bound to one runs on all of them.
    #[must_use]
    pub fn lane(&self) -> Self {
        let rotaries = self.rotaries.clone();
        let mut lane = Self::over(self.options, Arc::clone(&self.shared), rotaries);
        lane.gradients.fit(&linear::read(&self.shared));
        lane
    }

    /// The options.
    pub fn options(&self) -> TapeOptions {
        self.options
    }

    /// The parameters that all lanes share, for reading. Let go of them before anything is computed
    /// or changed: a lane may have to wait.
    pub fn parameters(&self) -> RwLockReadGuard<'_, Parameters> {
        linear::read(&self.shared)
    }

    /// The same, for changing, while no lane is between `begin` and the end of `backward`: a pass
    /// that finds other parameters than it began with panics.
    pub fn parameters_mut(&self) -> RwLockWriteGuard<'_, Parameters> {
        self.shared.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a pass over documents that stand one after the other: rows of one `sequence` are
    /// consecutive and have the positions 0, 1, 2 and so on. Attention sees nothing of other
    /// documents. Values of earlier passes are dead from here on.
    ///
    /// # Panics
    /// Positions are not as said, or parameters were changed and not packed anew.
    pub fn begin(&mut self, rows: &[PassRow], purpose: Purpose) {
        self.pass.rows.clear();
        self.pass.rows.extend_from_slice(rows);
        self.pass.outputs.clear();
        self.pass.outputs.extend(0..rows.len() as u32);
        self.documents.clear();
        for (index, row) in rows.iter().enumerate() {
            match self.documents.last_mut() {
                Some(last) if rows[last.start].sequence == row.sequence => last.end += 1,
                _ => self.documents.push(index..index + 1),
            }
            let start = self.documents.last().map_or(0, |document| document.start);
            assert_eq!(row.position as usize, index - start, "the position of row {index}");
        }
        let longest = self.documents.iter().map(Range::len).max().unwrap_or(0);
        self.rotaries.reach(longest);
        self.purpose = purpose;
        self.values.begin(rows.len());
        self.records.clear();
        self.segments.clear();
        self.depth = 0;
        self.head = None;
        let parameters = linear::read(&self.shared);
        assert!(!parameters.is_stale(), "parameters were changed and not packed anew");
        self.version = parameters.version();
        if purpose == Purpose::Train {
            self.gradients.fit(&parameters);
        }
    }

    /// A value's elements, `[rows, width]` row-major.
    ///
    /// # Panics
    /// The value is dead, or stands for logits.
    pub fn read(&self, value: TapeValue) -> &[f32] {
        self.values.data(self.values.check(value, Kind::Plain))
    }

    /// What backward has summed for a parameter since `zero_gradients`, laid out as its master;
    /// zeros before the first backward. None of these looks at the shared parameters, so they may
    /// be read while those are being changed.
    ///
    /// # Panics
    /// The parameter was bound after this lane was made, and no pass has trained since.
    pub fn gradients(&self, id: ParameterId) -> &[f32] {
        self.gradients.of(id)
    }

    /// The gradients of all parameters, in the order of binding, to change: for clipping, and for
    /// adding those of other lanes. None if nothing has trained on the tape that a model was bound
    /// to.
    pub fn gradients_mut(&mut self) -> Vec<(ParameterId, &mut [f32])> {
        self.gradients.each_mut()
    }

    /// The same as two flat pieces, of all matrices and of all vectors: two lanes' have the same
    /// layout, so sums over lanes may be cut anywhere.
    pub fn gradients_flat_mut(&mut self) -> [&mut [f32]; 2] {
        self.gradients.all_mut()
    }

    /// The two flat pieces for reading.
    pub fn gradients_flat(&self) -> [&[f32]; 2] {
        self.gradients.all()
    }

    /// Forgets what backward has summed.
    pub fn zero_gradients(&mut self) {
        self.gradients.zero();
    }

    /// The same, cheaper, where a backward follows: it begins all sums anew. Until then gradients
    /// may not be read.
    pub fn forget_gradients(&mut self) {
        self.gradients.forget();
    }

    /// Installs or removes the inspection hook. It sees the rows of the micro-batch, and what it
    /// changes takes effect; backward passes the gradient on as if a constant had been added.
    pub fn set_hook(&mut self, hook: Option<Hook>) {
        self.hook = hook;
    }

    fn show(&mut self, site: Site, id: ValueId) {
        if let Some(hook) = &mut self.hook {
            let (_, width) = self.values.shape(id);
            let values = self.values.data_mut(id);
            hook(HookRows { site, pass: &self.pass, values, width });
        }
    }
}
