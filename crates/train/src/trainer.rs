//! The loop of a run: rows in, gradients of all lanes, one sum, one step.
//!
//! Invariant: what a step computes follows from the plan, the data and the step's number alone.
//! Lane l of L takes micro-batches l, l + L, ... in this order, the lanes' gradients are added in a
//! fixed tree, losses in the order of micro-batches. Threads only decide who computes what.

use std::sync::Arc;

use lucid_kernels::{KvDType, Level, Products, sum_of_squares};
use lucid_model::Transformer;
use lucid_sys::ThreadPool;
use lucid_tensor::{
    ParameterId, Parameters, PassRow, Purpose, Recompute, Tape, TapeOptions, TokenId, WeightSource,
};
use serde::Serialize;

use crate::TrainError;
use crate::data::{Batch, Batches, PackOptions, Position, Shards, Share, TokenBytes};
use crate::guard::{Guard, Verdict};
use crate::network::Weights;
use crate::optimiser::{Optimiser, Pace};
use crate::plan::{Plan, Precision};

/// Elements of a gradient that a thread adds up at a time.
const PART: usize = 1 << 15;

/// What a run computes with, and on what.
pub struct Setup {
    /// Threads.
    pub threads: usize,
    /// Instruction set.
    pub level: Level,
    /// Text to learn, as tokens.
    pub shards: Arc<Shards>,
    /// How it becomes rows; their length is the plan's.
    pub packing: PackOptions,
    /// What each token stands for.
    pub bytes: TokenBytes,
}

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StepReport {
    /// Number of the step, from 1.
    pub step: u64,
    /// Mean cross-entropy of its targets before it, in nats.
    pub loss: f64,
    /// The same in bits per byte of text.
    pub bits_per_byte: f64,
    /// Norm of the gradient before clipping.
    pub norm: f64,
    /// Learning rate.
    pub rate: f64,
    /// Tokens that went in.
    pub tokens: u64,
    /// What became of it.
    pub verdict: Verdict,
}

/// How well text is predicted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Validation {
    /// Mean cross-entropy, in nats a token.
    pub loss: f64,
    /// Bits per byte of text: independent of the vocabulary.
    pub bits_per_byte: f64,
    /// Targets that were predicted.
    pub targets: u64,
    /// Bytes of the text that they stand for.
    pub bytes: u64,
}

/// Sums over targets.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    nats: f64,
    targets: u64,
    bytes: u64,
}

impl Sums {
    fn validation(self) -> Validation {
        Validation {
            loss: self.nats / self.targets as f64,
            bits_per_byte: self.nats / (std::f64::consts::LN_2 * self.bytes as f64),
            targets: self.targets,
            bytes: self.bytes,
        }
    }
}

/// One accumulator of gradients.
struct Lane {
    tape: Tape,
    rows: Vec<PassRow>,
    weights: Vec<f32>,
    /// Nats of its micro-batches, each a sum over targets.
    nats: Vec<f64>,
}

impl Lane {
    fn new(tape: Tape) -> Self {
        Self { tape, rows: Vec::new(), weights: Vec::new(), nats: Vec::new() }
    }

    /// Losses of a micro-batch, in nats; `scale` is the weight of each target in the step's loss,
    /// none where no gradients are wanted.
    fn compute(&mut self, model: &Transformer<Tape>, batch: &Batch, scale: Option<f32>) {
        self.rows.clear();
        let places = batch.tokens.iter().zip(&batch.positions).zip(&batch.sequences);
        self.rows.extend(places.map(|((&token, &position), &sequence)| PassRow {
            token,
            position,
            sequence,
        }));
        let purpose = if scale.is_some() { Purpose::Train } else { Purpose::Evaluate };
        self.tape.begin(&self.rows, purpose);
        let logits = model.forward(&mut self.tape).logits;
        let factor = scale.unwrap_or(1.0);
        self.weights.clear();
        self.weights.extend(batch.weights.iter().map(|weight| weight * factor));
        let losses = match purpose {
            Purpose::Train => self.tape.cross_entropy(logits, &batch.targets, &self.weights),
            Purpose::Evaluate => self.tape.losses(logits, &batch.targets, &self.weights),
        };
        let counted = losses.iter().zip(&batch.weights).filter(|&(_, &weight)| weight > 0.0);
        self.nats.push(counted.map(|(&loss, _)| f64::from(loss)).sum());
        if purpose == Purpose::Train {
            self.tape.backward();
        }
    }
}

/// A run.
pub struct Trainer {
    plan: Plan,
    /// Over the parameters that all lanes share; computes nothing itself.
    root: Tape,
    model: Transformer<Tape>,
    lanes: Vec<Lane>,
    batches: Batches,
    /// The micro-batches of a step.
    micro: Vec<Batch>,
    bytes: TokenBytes,
    optimiser: Optimiser,
    guard: Guard,
    pool: ThreadPool,
    /// Steps whose rows were consumed.
    step: u64,
    /// Steps that were taken.
    updates: u64,
}

/// What a checkpoint holds besides tensors.
pub(crate) struct Progress {
    pub(crate) step: u64,
    pub(crate) updates: u64,
    pub(crate) position: Position,
    pub(crate) guard: Guard,
}

impl Trainer {
    /// A run from its beginning.
    ///
    /// # Errors
    /// The network cannot be built, or the data cannot be read.
    pub fn new(plan: Plan, setup: Setup) -> Result<Self, TrainError> {
        let weights = Weights::initial(&plan.network, plan.seed)?;
        Self::over(plan, setup, &weights)
    }

    /// A run over given weights, at its beginning.
    pub(crate) fn over(
        plan: Plan,
        setup: Setup,
        weights: &dyn WeightSource,
    ) -> Result<Self, TrainError> {
        let products = match plan.precision {
            Precision::Bf16 => Products::Bf16,
            Precision::F32 => Products::F32,
        };
        let options = TapeOptions {
            level: setup.level,
            products,
            kv: KvDType::F32,
            recompute: Recompute::Nothing,
        };
        let mut root = Tape::new(options);
        let model = Transformer::bind(weights, &mut root)?;
        let optimiser = Optimiser::new(setup.level, &plan, &root.parameters());
        let packing =
            PackOptions { row_tokens: plan.network.context_length as u32, ..setup.packing };
        let rows = plan.rows_per_micro_batch as u32;
        let batches = Batches::new(setup.shards, packing, rows, Share::ALL)?;
        Ok(Self {
            lanes: (0..plan.lanes).map(|_| Lane::new(root.lane())).collect(),
            plan,
            root,
            model,
            batches,
            micro: Vec::new(),
            bytes: setup.bytes,
            optimiser,
            guard: Guard::default(),
            pool: ThreadPool::new(setup.threads),
            step: 0,
            updates: 0,
        })
    }

    /// The run's plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Gives the run another number of steps; see `Plan::with_steps`.
    pub fn set_steps(&mut self, steps: u64) {
        self.plan.with_steps(steps);
    }

    /// Gives every step another number of rows.
    pub(crate) fn set_rows(&mut self, rows: usize) {
        self.plan.rows_per_step = rows;
    }

    /// Steps done, those that were left out included.
    pub fn steps_done(&self) -> u64 {
        self.step
    }

    /// Where the run stands in its data.
    pub fn position(&self) -> Position {
        self.batches.position()
    }

    /// All parameters, for reading.
    pub fn parameters(&self) -> impl std::ops::Deref<Target = Parameters> {
        self.root.parameters()
    }

    pub(crate) fn optimiser(&self) -> &Optimiser {
        &self.optimiser
    }

    pub(crate) fn progress(&self) -> Progress {
        let Self { step, updates, guard, .. } = *self;
        Progress { step, updates, position: self.batches.position(), guard }
    }

    /// Goes to where a checkpoint stood; `fill` fills each of the optimiser's tensors by its name.
    pub(crate) fn restore(
        &mut self,
        progress: &Progress,
        mut fill: impl FnMut(&str, &mut [f32]) -> Result<(), TrainError>,
    ) -> Result<(), TrainError> {
        self.batches.seek(&progress.position)?;
        for (name, values) in self.optimiser.tensors_mut(&self.root.parameters()) {
            fill(&name, values)?;
        }
        (self.step, self.updates, self.guard) = (progress.step, progress.updates, progress.guard);
        Ok(())
    }

    /// Weights, averages and judgement of an earlier state of this run, and its own place in the
    /// data: what went wrong since is passed over.
    pub(crate) fn roll_back(
        &mut self,
        weights: &dyn WeightSource,
        progress: &Progress,
        mut fill: impl FnMut(&str, &mut [f32]) -> Result<(), TrainError>,
    ) -> Result<(), TrainError> {
        {
            let mut parameters = self.root.parameters_mut();
            let ids: Vec<ParameterId> = parameters.ids().collect();
            for id in ids {
                let name = parameters.name(id).to_owned();
                let view = weights.tensor(&name).ok_or_else(|| TrainError::missing(&name))?;
                crate::saved::read_floats(&name, &view, parameters.values_mut(id))?;
            }
            parameters.repack(&self.pool);
            for (name, values) in self.optimiser.tensors_mut(&parameters) {
                fill(&name, values)?;
            }
        }
        (self.updates, self.guard) = (progress.updates, progress.guard);
        Ok(())
    }

    /// One step.
    ///
    /// # Errors
    /// The data cannot be read any more. The run then stands where it stood.
    pub fn step(&mut self) -> Result<StepReport, TrainError> {
        let before = self.batches.position();
        let sums = self.fetch().inspect_err(|_| {
            // A place that it came from is there.
            let _ = self.batches.seek(&before);
        });
        let Sums { targets, bytes, .. } = sums?;
        let scale = (1.0 / targets.max(1) as f64) as f32;
        let (model, micro, stride) = (&self.model, &self.micro, self.lanes.len());
        self.pool.for_each(&mut self.lanes, |index, lane| {
            if index < micro.len() {
                lane.tape.forget_gradients();
            } else {
                lane.tape.zero_gradients();
            }
            lane.nats.clear();
            for batch in micro.iter().skip(index).step_by(stride) {
                lane.compute(model, batch, Some(scale));
            }
        });
        let nats = self.nats(self.micro.len());
        let loss = nats / targets.max(1) as f64;
        self.sum_lanes();
        let norm = self.norm();
        let rate = self.plan.learning_rate * self.plan.schedule.factor(self.step);
        let verdict = self.guard.judge(loss, norm);
        if verdict == Verdict::Taken {
            self.updates += 1;
            let scale = if norm > self.plan.clip { self.plan.clip / norm } else { 1.0 };
            let pace = Pace { rate, scale, count: self.updates };
            let gradients = self.lanes[0].tape.gradients_mut();
            let mut parameters = self.root.parameters_mut();
            self.optimiser.step(&mut parameters, gradients, pace, &self.pool);
            parameters.repack(&self.pool);
        }
        self.step += 1;
        let tokens = self.micro.iter().map(|batch| batch.tokens.len() as u64).sum();
        let bits_per_byte = nats / (std::f64::consts::LN_2 * bytes.max(1) as f64);
        Ok(StepReport { step: self.step, loss, bits_per_byte, norm, rate, tokens, verdict })
    }

    /// Fills the micro-batches of a step.
    fn fetch(&mut self) -> Result<Sums, TrainError> {
        let count = self.plan.rows_per_step.div_ceil(self.plan.rows_per_micro_batch);
        self.micro.resize_with(count, Batch::default);
        let mut sums = Sums::default();
        for batch in &mut self.micro {
            self.batches.next_batch(batch)?;
            sums.targets += batch.target_count() as u64;
            sums.bytes += batch.target_bytes(&self.bytes);
        }
        Ok(sums)
    }

    /// Nats of `count` micro-batches, added in their order.
    fn nats(&self, count: usize) -> f64 {
        let stride = self.lanes.len();
        (0..count).map(|m| self.lanes[m % stride].nats[m / stride]).sum()
    }

    /// Adds the gradients of all lanes up in the first: a tree over the lanes' numbers.
    fn sum_lanes(&mut self) {
        let level = self.root.options().level;
        let count = self.lanes.len();
        let mut stride = 1;
        while stride < count {
            let mut parts = Vec::new();
            for pair in self.lanes.chunks_mut(2 * stride) {
                let Some((onto, from)) = pair.split_at_mut_checked(stride) else { continue };
                let Some(from) = from.first_mut() else { continue };
                let onto = onto[0].tape.gradients_flat_mut();
                for (onto, from) in onto.into_iter().zip(from.tape.gradients_flat()) {
                    parts.extend(onto.chunks_mut(PART).zip(from.chunks(PART)));
                }
            }
            self.pool.for_each(&mut parts, |_, (onto, from)| accumulate(level, onto, from));
            stride *= 2;
        }
    }

    /// The gradient's norm, its parts added in their order.
    fn norm(&self) -> f64 {
        let level = self.root.options().level;
        let pieces = self.lanes[0].tape.gradients_flat();
        let parts = pieces.iter().flat_map(|piece| piece.chunks(PART));
        let mut parts: Vec<(&[f32], f64)> = parts.map(|part| (part, 0.0)).collect();
        self.pool.for_each(&mut parts, |_, (part, sum)| *sum = sum_of_squares(level, part));
        parts.iter().map(|(_, sum)| sum).sum::<f64>().sqrt()
    }

    /// How well the network predicts text that it does not learn from: all of it, or about
    /// `targets_max` tokens that are spread over it, always the same ones.
    ///
    /// Each document is cut into rows from its beginning, so each token of the text (but the first
    /// of a document, where the vocabulary has no token that begins one) is predicted once, from
    /// what stands before it in its row. Bits per byte are the nats of all these tokens, divided by
    /// ln 2 and by the bytes that they stand for; ends of documents are not predicted.
    ///
    /// # Errors
    /// The text cannot be read, or holds nothing to predict.
    pub fn validate(
        &mut self,
        shards: &Arc<Shards>,
        targets_max: Option<u64>,
    ) -> Result<Validation, TrainError> {
        let rows = self.plan.rows_per_micro_batch as u32;
        let packing = PackOptions {
            row_tokens: self.plan.network.context_length as u32,
            packing: crate::data::Packing::InOrder,
            seed: 0,
            end: None,
        };
        let mut batches = Batches::once(Arc::clone(shards), packing, rows, Share::ALL)?;
        if let Some(most) = targets_max {
            let tokens = batches.epoch_rows().saturating_mul(u64::from(packing.row_tokens));
            let ranks = u32::try_from(tokens / most.max(1)).unwrap_or(u32::MAX).max(1);
            let share = Share { rank: 0, ranks };
            batches = Batches::once(Arc::clone(shards), packing, rows, share)?;
        }
        let mut sums = Sums::default();
        loop {
            let mut count = 0;
            self.micro.resize_with(self.lanes.len().max(self.micro.len()), Batch::default);
            for batch in &mut self.micro[..self.lanes.len()] {
                if !batches.next_batch(batch)? {
                    break;
                }
                sums.targets += batch.target_count() as u64;
                sums.bytes += batch.target_bytes(&self.bytes);
                count += 1;
            }
            if count == 0 {
                break;
            }
            let (model, micro) = (&self.model, &self.micro);
            self.pool.for_each(&mut self.lanes[..count], |index, lane| {
                lane.nats.clear();
                lane.compute(model, &micro[index], None);
            });
            sums.nats += self.nats(count);
        }
        if sums.targets == 0 || sums.bytes == 0 {
            return Err(TrainError::NothingToPredict);
        }
        Ok(sums.validation())
    }

    /// Continues a text by up to `count` tokens, each drawn at `temperature` (0: the most probable
    /// one); the same for the same seed. Ends early at `end` and at the length of a row.
    pub fn sample(
        &mut self,
        prompt: &[TokenId],
        count: usize,
        temperature: f64,
        end: Option<TokenId>,
    ) -> Vec<TokenId> {
        let mut random =
            crate::random::Random::new("lucid: samples of a run", self.plan.seed, self.step);
        let mut tokens = prompt.to_vec();
        let lane = &mut self.lanes[0];
        while tokens.len() < (prompt.len() + count).min(self.plan.network.context_length) {
            let rows = tokens.iter().enumerate().map(|(position, &token)| PassRow {
                token,
                position: position as u32,
                sequence: 0,
            });
            lane.rows.clear();
            lane.rows.extend(rows);
            if lane.rows.is_empty() {
                break;
            }
            lane.tape.begin(&lane.rows, Purpose::Evaluate);
            let logits = self.model.forward(&mut lane.tape).logits;
            let logits = lane.tape.logits(logits);
            let last = &logits[logits.len() - self.plan.network.vocab_size..];
            let token = draw(last, temperature, &mut random);
            if Some(token) == end {
                break;
            }
            tokens.push(token);
        }
        tokens.split_off(prompt.len())
    }
}

/// `onto += from`.
fn accumulate(level: Level, onto: &mut [f32], from: &[f32]) {
    level.vectorize(
        #[inline(always)]
        || onto.iter_mut().zip(from).for_each(|(onto, from)| *onto += from),
    );
}

fn draw(logits: &[f32], temperature: f64, random: &mut crate::random::Random) -> TokenId {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let first = || logits.iter().position(|&logit| logit == most).unwrap_or(0) as TokenId;
    if temperature <= 0.0 || !most.is_finite() {
        return first();
    }
    let weight = |logit: f32| (f64::from(logit - most) / temperature).exp();
    let total: f64 = logits.iter().map(|&logit| weight(logit)).sum();
    // 53 bits of a number below 1.
    let mut left = (random.bits() >> 11) as f64 / (1_u64 << 53) as f64 * total;
    for (token, &logit) in logits.iter().enumerate() {
        left -= weight(logit);
        if left < 0.0 {
            return token as TokenId;
        }
    }
    first()
}
