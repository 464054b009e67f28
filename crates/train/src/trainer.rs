//! The loop of a run: rows in, gradients of all lanes, one sum, one step.
//!
//! Invariant: what a step computes follows from the plan, the data and the step's number alone.
//! Threads and ranks only decide who computes what; see `lanes` and `group`.

#[cfg(test)]
mod tests;

use std::rc::Rc;

use lucid_kernels::{KvDType, Level, Products};
use lucid_model::Transformer;
use lucid_sys::ThreadPool;
use lucid_tensor::{
    Metadata, ParameterId, Parameters, Recompute, Tape, TapeOptions, TensorView, TokenId,
    WeightSource,
};
use serde::Serialize;

use crate::TrainError;
use crate::data::{Batch, PackOptions, Position, TokenBytes};
use crate::feed::{Compared, Feed, Material};
use crate::group::{self, Group};
use crate::guard::{Guard, Verdict};
use crate::lanes::Lanes;
use crate::network::Weights;
use crate::optimiser::{Held, Optimiser, Pace};
use crate::plan::{Plan, Precision};
use crate::preference::{Judge, Objective, Outcome, Reference, Told};

/// What a run computes with, and on what.
pub struct Setup {
    /// Threads.
    pub threads: usize,
    /// Instruction set.
    pub level: Level,
    /// What is learned.
    pub material: Material,
    /// How text becomes rows; their length is the plan's.
    pub packing: PackOptions,
    /// What each token stands for.
    pub bytes: TokenBytes,
    /// The processes that make the model together; [`Alone`](crate::Alone) without others.
    pub group: Rc<dyn Group>,
}

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StepReport {
    /// Number of the step, from 1.
    pub step: u64,
    /// The objective before it: mean cross-entropy of its targets in nats, or the mean loss of its
    /// comparisons.
    pub loss: f64,
    /// What its targets (of comparisons the good answers) took, in bits per byte of text.
    pub bits_per_byte: f64,
    /// How well its comparisons were told apart.
    pub told: Option<Told>,
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
    /// Mean cross-entropy, in nats a token; of comparisons the mean of their loss.
    pub loss: f64,
    /// Bits per byte of text (of good answers): independent of the vocabulary.
    pub bits_per_byte: f64,
    /// How well comparisons were told apart.
    pub told: Option<Told>,
    /// Tokens that were read.
    pub tokens: u64,
    /// Targets that were predicted.
    pub targets: u64,
    /// Bytes of the text that they stand for.
    pub bytes: u64,
}

/// Sums over targets.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    targets: u64,
    bytes: u64,
    tokens: u64,
    /// What the objective is a mean over: targets, or comparisons.
    units: u64,
}

impl Sums {
    fn add(&mut self, batch: &Batch, judge: Option<Judge<'_>>, bytes: &TokenBytes) {
        let (targets, of_bytes, units) = match judge {
            None => {
                let targets = batch.target_count() as u64;
                (targets, batch.target_bytes(bytes), targets)
            }
            Some(judge) => judge.good(batch, bytes),
        };
        self.tokens += batch.tokens.len() as u64;
        self.targets += targets;
        self.bytes += of_bytes;
        self.units += units;
    }

    fn bits_per_byte(self, outcome: Outcome) -> f64 {
        outcome.nats / (std::f64::consts::LN_2 * self.bytes.max(1) as f64)
    }

    fn validation(self, outcome: Outcome) -> Validation {
        Validation {
            loss: outcome.loss / self.units as f64,
            bits_per_byte: self.bits_per_byte(outcome),
            told: outcome.told(self.units),
            tokens: self.tokens,
            targets: self.targets,
            bytes: self.bytes,
        }
    }
}

/// A run.
pub struct Trainer {
    plan: Plan,
    /// Over the parameters that all lanes share; computes nothing itself.
    root: Tape,
    model: Transformer<Tape>,
    lanes: Lanes,
    group: Rc<dyn Group>,
    feed: Feed,
    /// What is compared, where that is what is learned from.
    compared: Option<Compared>,
    /// What the weights came with.
    metadata: Metadata,
    /// Tensors that belong to the weights and are not trained.
    extras: Vec<TensorView>,
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

    /// A run over given weights, at its beginning: they are tuned to other material.
    ///
    /// # Errors
    /// The weights are not what the model needs (quantised ones cannot be trained), or the data
    /// cannot be read.
    pub fn over(plan: Plan, setup: Setup, weights: &dyn WeightSource) -> Result<Self, TrainError> {
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
        let group = Rc::clone(&setup.group);
        if group.ranks() > plan.lanes {
            return Err(TrainError::Ranks { ranks: group.ranks(), lanes: plan.lanes });
        }
        let mut root = Tape::new(options);
        let model = Transformer::bind(weights, &mut root)?;
        let optimiser = Optimiser::new(setup.level, &plan, &root.parameters(), &*group);
        let feed = Feed::endless(&setup.material, setup.packing, &plan)?;
        let compared = compared(&plan, &setup.material)?.cloned();
        let bound = |name: &String| root.parameters().find(name).is_none();
        let extras = weights.tensor_names().into_iter().filter(bound);
        let extras = extras.filter_map(|name| weights.tensor(&name)).collect();
        Ok(Self {
            lanes: Lanes::new(&root, plan.lanes, &*group, setup.threads),
            group,
            plan,
            root,
            model,
            feed,
            compared,
            metadata: own_metadata(weights.metadata()),
            extras,
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
        self.feed.position()
    }

    /// All parameters, for reading.
    pub fn parameters(&self) -> impl std::ops::Deref<Target = Parameters> {
        self.root.parameters()
    }

    /// The processes that make the model together.
    pub fn group(&self) -> &Rc<dyn Group> {
        &self.group
    }

    /// What the weights came with: what their architecture is, and all that stood beside it.
    pub(crate) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Tensors that belong to the weights and are not trained.
    pub(crate) fn extras(&self) -> &[TensorView] {
        &self.extras
    }

    pub(crate) fn optimiser(&self) -> &Optimiser {
        &self.optimiser
    }

    pub(crate) fn progress(&self) -> Progress {
        let Self { step, updates, guard, .. } = *self;
        Progress { step, updates, position: self.feed.position(), guard }
    }

    /// Goes to where a checkpoint stood; `fill` fills each of the optimiser's tensors by its name.
    pub(crate) fn restore(
        &mut self,
        progress: &Progress,
        mut fill: impl FnMut(Held<&mut [f32]>) -> Result<(), TrainError>,
    ) -> Result<(), TrainError> {
        self.feed.seek(&progress.position)?;
        for held in self.optimiser.tensors_mut(&self.root.parameters()) {
            fill(held)?;
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
        mut fill: impl FnMut(Held<&mut [f32]>) -> Result<(), TrainError>,
    ) -> Result<(), TrainError> {
        {
            let mut parameters = self.root.parameters_mut();
            let ids: Vec<ParameterId> = parameters.ids().collect();
            for id in ids {
                let name = parameters.name(id).to_owned();
                let view = weights.tensor(&name).ok_or_else(|| TrainError::missing(&name))?;
                let values = parameters.values_mut(id);
                crate::saved::read_floats(&name, &view, 0, values.len(), values)?;
            }
            parameters.repack(&self.pool);
            for held in self.optimiser.tensors_mut(&parameters) {
                fill(held)?;
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
        let before = self.feed.position();
        let sums = self.fetch().inspect_err(|_| {
            // A place that it came from is there.
            let _ = self.feed.seek(&before);
        });
        let sums = sums?;
        let scale = (1.0 / sums.units.max(1) as f64) as f32;
        let judge = judge(&self.plan, self.compared.as_ref());
        let group = Rc::clone(&self.group);
        let (pool, parts) = (&self.pool, self.optimiser.parts());
        self.lanes.begin(self.micro.len(), pool);
        self.lanes.compute(&self.model, &self.micro, Some(scale), judge, pool);
        let mut outcome = Outcome::default();
        for of in self.lanes.outcomes(self.micro.len(), &*group) {
            outcome.add(of);
        }
        let loss = outcome.loss / sums.units.max(1) as f64;
        self.lanes.sum(parts, &*group, pool);
        let norm = self.lanes.norm(parts, &*group, pool);
        let rate = self.plan.learning_rate * self.plan.schedule.factor(self.step);
        let verdict = self.guard.judge(loss, norm);
        if verdict == Verdict::Taken {
            self.updates += 1;
            let scale = if norm > self.plan.clip { self.plan.clip / norm } else { 1.0 };
            let pace = Pace { rate, scale, count: self.updates };
            let gradients = self.lanes.gradients_mut();
            let mut parameters = self.root.parameters_mut();
            self.optimiser.step(&mut parameters, gradients, pace, &self.pool);
            let mut values: Vec<_> = parameters.all_mut().into_iter().map(|(_, one)| one).collect();
            group::spread(&*group, self.optimiser.parts(), &mut values);
            parameters.repack(&self.pool);
        }
        self.step += 1;
        let tokens = self.micro.iter().map(|batch| batch.tokens.len() as u64).sum();
        let (bits_per_byte, told) = (sums.bits_per_byte(outcome), outcome.told(sums.units));
        Ok(StepReport { step: self.step, loss, bits_per_byte, told, norm, rate, tokens, verdict })
    }

    /// Fills the micro-batches of a step.
    fn fetch(&mut self) -> Result<Sums, TrainError> {
        let count = self.plan.rows_per_step.div_ceil(self.plan.rows_per_micro_batch);
        self.micro.resize_with(count, Batch::default);
        let mut sums = Sums::default();
        let judge = judge(&self.plan, self.compared.as_ref());
        for batch in &mut self.micro {
            self.feed.next_batch(batch)?;
            sums.add(batch, judge, &self.bytes);
        }
        Ok(sums)
    }

    /// How well the network predicts text that it does not learn from: all of it, or about
    /// `targets_max` tokens that are spread over it, always the same ones.
    ///
    /// Of conversations the answers are predicted. Text is cut into rows, each document from its
    /// beginning, so each token of the text (but the first of a document, where the vocabulary has
    /// no token that begins one) is predicted once, from what stands before it in its row. Bits per
    /// byte are the nats of all these tokens, divided by
    /// ln 2 and by the bytes that they stand for; ends of documents are not predicted.
    /// All ranks call this at once.
    ///
    /// # Errors
    /// The text cannot be read, or holds nothing to predict.
    pub fn validate(
        &mut self,
        material: &Material,
        targets_max: Option<u64>,
    ) -> Result<Validation, TrainError> {
        let mut feed = Feed::once(material, &self.plan, targets_max)?;
        let judge = judge(&self.plan, compared(&self.plan, material)?);
        let lanes = self.lanes.count();
        let (mut sums, mut batch_count) = (Sums::default(), 0);
        self.lanes.clear_losses();
        self.micro.resize_with(lanes.max(self.micro.len()), Batch::default);
        loop {
            let mut count = 0;
            for batch in &mut self.micro[..lanes] {
                if !feed.next_batch(batch)? {
                    break;
                }
                sums.add(batch, judge, &self.bytes);
                count += 1;
            }
            self.lanes.compute(&self.model, &self.micro[..count], None, judge, &self.pool);
            batch_count += count;
            if count < lanes {
                break;
            }
        }
        let outcomes = self.lanes.outcomes(batch_count, &*self.group);
        let mut outcome = Outcome::default();
        for round in outcomes.chunks(lanes) {
            let mut of_round = Outcome::default();
            for of in round {
                of_round.add(*of);
            }
            outcome.add(of_round);
        }
        let nothing = sums.targets == 0 || sums.bytes == 0;
        if sums.units == 0 || nothing && judge.is_none() {
            return Err(TrainError::NothingToPredict);
        }
        Ok(sums.validation(outcome))
    }

    /// Measures how probable compared answers are by the weights as they are, and keeps that as
    /// what they are compared with: to be called before the first step. Not over several ranks.
    ///
    /// # Errors
    /// The answers cannot be put into rows.
    pub fn measure_reference(
        &mut self,
        compared: &Compared,
        told: &mut dyn FnMut(usize, usize),
    ) -> Result<(), TrainError> {
        let material = Material::Comparisons(compared.clone());
        let mut feed = Feed::once(&material, &self.plan, None)?;
        let lanes = self.lanes.count();
        let mut reference = vec![0.0; compared.examples.len()];
        self.micro.resize_with(lanes.max(self.micro.len()), Batch::default);
        let (mut count, mut done) = (lanes, 0);
        while count == lanes {
            count = 0;
            while count < lanes && feed.next_batch(&mut self.micro[count])? {
                count += 1;
            }
            let sums = self.lanes.log_probs(&self.model, &self.micro[..count], &self.pool);
            for (batch, sums) in self.micro.iter().zip(&sums) {
                for (&unit, of) in batch.units.iter().zip(sums.chunks(2)) {
                    reference[2 * unit as usize..][..2].copy_from_slice(of);
                }
                done += sums.len();
            }
            told(done, reference.len());
        }
        compared.set_reference(reference)
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
        while tokens.len() < (prompt.len() + count).min(self.plan.network.context_length) {
            if tokens.is_empty() {
                break;
            }
            let logits = self.lanes.logits(&self.model, &tokens);
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

/// What is compared in a material, where that is the objective.
fn compared<'a>(plan: &Plan, material: &'a Material) -> Result<Option<&'a Compared>, TrainError> {
    let compared = match material {
        Material::Comparisons(compared) => Some(compared),
        Material::Text(_) | Material::Conversations(_) => None,
    };
    match (plan.objective, compared) {
        (Objective::Likelihood, None) => Ok(None),
        (Objective::Preference(_), Some(compared)) => {
            plan.objective.check(&compared.examples)?;
            Ok(Some(compared))
        }
        _ => Err(TrainError::Setting {
            what: "objective".to_owned(),
            found: format!("{:?}", plan.objective),
            expected: "a loss over comparisons where comparisons are given, and only there"
                .to_owned(),
        }),
    }
}

fn judge<'a>(plan: &Plan, compared: Option<&'a Compared>) -> Option<Judge<'a>> {
    let Objective::Preference(preference) = plan.objective else { return None };
    let compared = compared?;
    let reference = match preference.reference {
        Reference::Base => compared.reference(),
        Reference::Nothing => &[],
    };
    Some(Judge { preference, examples: &compared.examples, reference })
}

/// Keys that hold for the files that weights came in, and not for those that a run writes.
const KEYS_OF_FILES: [&str; 4] =
    ["general.alignment", "general.file_type", "general.quantization_version", "split."];

fn own_metadata(given: &Metadata) -> Metadata {
    let mut metadata = Metadata::default();
    for (key, value) in given.iter() {
        if !KEYS_OF_FILES.iter().any(|dropped| key.starts_with(dropped)) {
            metadata.insert(key, value.clone(), None);
        }
    }
    metadata
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
