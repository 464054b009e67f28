//! The accumulators of gradients that this rank holds, and their sums.
//!
//! Lane l of L takes micro-batches l, l + L, ... in this order; the lanes' gradients are added in a
//! fixed tree, losses in the order of micro-batches. Threads and ranks only decide who computes
//! what.

use std::ops::Range;

use lucid_kernels::{Level, sum_of_squares};
use lucid_model::Transformer;
use lucid_sys::ThreadPool;
use lucid_tensor::{ParameterId, PassRow, Purpose, Tape, TapeValue, TokenId};

use crate::data::Batch;
use crate::group::{self, Group, PART, Parts};
use crate::preference::{Judge, Outcome};

/// One accumulator of gradients.
struct Lane {
    tape: Tape,
    rows: Vec<PassRow>,
    weights: Vec<f32>,
    /// Slopes of the sequences of a micro-batch of comparisons.
    slopes: Vec<f64>,
    /// What its micro-batches came to.
    outcomes: Vec<Outcome>,
}

impl Lane {
    fn forward(&mut self, model: &Transformer<Tape>, batch: &Batch, purpose: Purpose) -> TapeValue {
        self.rows.clear();
        let places = batch.tokens.iter().zip(&batch.positions).zip(&batch.sequences);
        self.rows.extend(places.map(|((&token, &position), &sequence)| PassRow {
            token,
            position,
            sequence,
        }));
        self.tape.begin(&self.rows, purpose);
        model.forward(&mut self.tape).logits
    }

    /// What a micro-batch comes to; `scale` is the weight of each target (or of each comparison) in
    /// the step's loss, none where no gradients are wanted.
    fn compute(
        &mut self,
        model: &Transformer<Tape>,
        batch: &Batch,
        scale: Option<f32>,
        judge: Option<Judge<'_>>,
    ) {
        let purpose = if scale.is_some() { Purpose::Train } else { Purpose::Evaluate };
        let logits = self.forward(model, batch, purpose);
        let factor = scale.unwrap_or(1.0);
        self.weights.clear();
        if let Some(judge) = judge {
            let losses = self.tape.losses(logits, &batch.targets, &batch.weights);
            self.outcomes.push(judge.judge(batch, losses, &mut self.slopes));
            // A loss is a negated log-probability.
            let slopes = batch.sequences.iter().map(|&of| -self.slopes[of as usize] as f32);
            let weighed = slopes.zip(&batch.weights).map(|(slope, weight)| slope * weight * factor);
            self.weights.extend(weighed);
            if purpose == Purpose::Train {
                self.tape.cross_entropy(logits, &batch.targets, &self.weights);
            }
        } else {
            self.weights.extend(batch.weights.iter().map(|weight| weight * factor));
            let losses = match purpose {
                Purpose::Train => self.tape.cross_entropy(logits, &batch.targets, &self.weights),
                Purpose::Evaluate => self.tape.losses(logits, &batch.targets, &self.weights),
            };
            let counted = losses.iter().zip(&batch.weights).filter(|&(_, &weight)| weight > 0.0);
            let nats = counted.map(|(&loss, _)| f64::from(loss)).sum();
            self.outcomes.push(Outcome::of_nats(nats));
        }
        if purpose == Purpose::Train {
            self.tape.backward();
        }
    }
}

/// The lanes of this rank.
pub(crate) struct Lanes {
    level: Level,
    count: usize,
    held: Range<usize>,
    own: Vec<Lane>,
}

impl Lanes {
    /// This rank's share of `count` lanes over the parameters of `root`; at least one. Where there
    /// are two threads or more for each, they share its rows.
    pub(crate) fn new(root: &Tape, count: usize, group: &dyn Group, threads: usize) -> Self {
        let held = group::held(count, group.ranks(), group.rank());
        let threads = (threads / held.len().max(1)).max(1);
        let lane = |_| {
            let mut tape = root.lane();
            tape.set_threads(threads);
            Lane {
                tape,
                rows: Vec::new(),
                weights: Vec::new(),
                slopes: Vec::new(),
                outcomes: Vec::new(),
            }
        };
        let own = held.clone().map(lane).collect();
        Self { level: root.options().level, count, held, own }
    }

    /// Lanes of all ranks.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Losses, and with a `scale` gradients, of this rank's share of a step.
    pub(crate) fn compute(
        &mut self,
        model: &Transformer<Tape>,
        micro: &[Batch],
        scale: Option<f32>,
        judge: Option<Judge<'_>>,
        pool: &ThreadPool,
    ) {
        let (first, stride) = (self.held.start, self.count);
        // Those that have nothing to do come last.
        let busy = self.own.len().min(micro.len().saturating_sub(first));
        pool.for_each(&mut self.own[..busy], |index, lane| {
            for batch in micro.iter().skip(first + index).step_by(stride) {
                lane.compute(model, batch, scale, judge);
            }
        });
    }

    /// Forgets gradients and losses, before a step of so many micro-batches of all ranks.
    pub(crate) fn begin(&mut self, count: usize, pool: &ThreadPool) {
        let first = self.held.start;
        pool.for_each(&mut self.own, |index, lane| {
            // What has nothing to compute is added to the others all the same.
            if first + index < count {
                lane.tape.forget_gradients();
            } else {
                lane.tape.zero_gradients();
            }
            lane.outcomes.clear();
        });
    }

    /// Forgets losses.
    pub(crate) fn clear_losses(&mut self) {
        self.own.iter_mut().for_each(|lane| lane.outcomes.clear());
    }

    /// What each of `count` micro-batches of all ranks came to, in their order.
    pub(crate) fn outcomes(&self, count: usize, group: &dyn Group) -> Vec<Outcome> {
        let mut numbers = vec![[0.0; Outcome::LEN]; count];
        for (lane, of) in self.held.clone().zip(&self.own) {
            for (all, one) in numbers.iter_mut().skip(lane).step_by(self.count).zip(&of.outcomes) {
                *all = one.to_array();
            }
        }
        group.merge(numbers.as_flattened_mut());
        numbers.into_iter().map(Outcome::from_array).collect()
    }

    /// The log-probability of each sequence, of as many batches as there are lanes; all lanes are
    /// this rank's.
    pub(crate) fn log_probs(
        &mut self,
        model: &Transformer<Tape>,
        micro: &[Batch],
        pool: &ThreadPool,
    ) -> Vec<Vec<f32>> {
        let mut tasks: Vec<_> = self.own.iter_mut().zip(micro).map(|of| (of, Vec::new())).collect();
        pool.for_each(&mut tasks, |_, ((lane, batch), sums)| {
            let logits = lane.forward(model, batch, Purpose::Evaluate);
            let losses = lane.tape.losses(logits, &batch.targets, &batch.weights);
            let mut exact = vec![0.0_f64; batch.sequence_count as usize];
            for (&sequence, &loss) in batch.sequences.iter().zip(losses) {
                exact[sequence as usize] -= f64::from(loss);
            }
            sums.extend(exact.iter().map(|&sum| sum as f32));
        });
        tasks.into_iter().map(|(_, sums)| sums).collect()
    }

    /// Adds the gradients of all lanes up. The first lane then holds the sum of this rank's part.
    pub(crate) fn sum(&mut self, parts: &Parts, group: &dyn Group, pool: &ThreadPool) {
        let mut stride = 1;
        while stride < self.count {
            self.sum_at(stride, pool);
            stride *= 2;
        }
        let open = group::open(self.count, &self.held);
        let first = self.held.start;
        let mut left: Vec<Vec<&mut [f32]>> = Vec::new();
        for (index, lane) in self.own.iter_mut().enumerate() {
            if open.contains(&(first + index)) {
                left.push(lane.tape.gradients_mut().into_iter().map(|(_, one)| one).collect());
            }
        }
        group::sum(group, self.level, parts, self.count, &mut left);
    }

    fn sum_at(&mut self, stride: usize, pool: &ThreadPool) {
        let level = self.level;
        let first = self.held.start;
        let mut lanes: Vec<_> = self.own.iter_mut().map(Some).collect();
        let mut tasks = Vec::new();
        for (onto, from) in group::pairs(self.count, &self.held, stride) {
            let (Some(onto), Some(from)) = (lanes[onto - first].take(), lanes[from - first].take())
            else {
                unreachable!("a lane is in one pair of a stride");
            };
            let onto = onto.tape.gradients_flat_mut();
            for (onto, from) in onto.into_iter().zip(from.tape.gradients_flat()) {
                tasks.extend(onto.chunks_mut(PART).zip(from.chunks(PART)));
            }
        }
        pool.for_each(&mut tasks, |_, (onto, from)| group::accumulate(level, onto, from));
    }

    /// The norm of the sum, its parts added in their order.
    pub(crate) fn norm(&mut self, parts: &Parts, group: &dyn Group, pool: &ThreadPool) -> f64 {
        let level = self.level;
        let mut tasks: Vec<(usize, &[f32], f64)> = Vec::new();
        let mut count = 0;
        for (parameter, (_, values)) in self.own[0].tape.gradients_mut().into_iter().enumerate() {
            let own = parts.range(parameter, group.rank());
            let values = &*values;
            let numbered = values[own.clone()].chunks(PART).enumerate();
            let base = count + own.start / PART;
            tasks.extend(numbered.map(|(number, part)| (base + number, part, 0.0)));
            count += values.len().div_ceil(PART);
        }
        pool.for_each(&mut tasks, |_, (_, part, sum)| *sum = sum_of_squares(level, part));
        let mut sums = vec![0.0; count];
        for (number, _, sum) in tasks {
            sums[number] = sum;
        }
        group.merge(&mut sums);
        sums.iter().sum::<f64>().sqrt()
    }

    /// The gradients' sum, where this rank updates.
    pub(crate) fn gradients_mut(&mut self) -> Vec<(ParameterId, &mut [f32])> {
        self.own[0].tape.gradients_mut()
    }

    /// The logits of a text, `[rows, vocabulary]`; its last token's come last.
    pub(crate) fn logits(&mut self, model: &Transformer<Tape>, tokens: &[TokenId]) -> Vec<f32> {
        let Lane { tape, rows, .. } = &mut self.own[0];
        rows.clear();
        rows.extend(tokens.iter().enumerate().map(|(position, &token)| PassRow {
            token,
            position: position as u32,
            sequence: 0,
        }));
        tape.begin(rows, Purpose::Evaluate);
        let logits = model.forward(tape).logits;
        tape.logits(logits)
    }
}
