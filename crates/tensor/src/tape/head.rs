//! The head: projection onto the vocabulary, soft cap, softmax and cross-entropy in one sweep over
//! chunks of rows. The logits of a chunk are made, turned into their gradient in place, and used up
//! before the next chunk, so they are never in memory as a whole. The weight of each row is known
//! beforehand, so one sweep gives losses and gradients.
//!
//! Source: the derivative of `w * (log sum exp(l) - l[target])` by `l` is
//! `w * (softmax(l) - onehot(target))`.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use lucid_kernels::{self as kernels, Level, Onto};

use super::elementwise;
use super::linear::{Machine, Rows, RowsMut, onto, read_packed};
use super::parameters::{Block, Orientation, ParameterId};
use super::team::Team;
use super::values::{Buffer, Kind, TapeValue, ValueId};
use super::{Purpose, Tape};
use crate::TokenId;
use crate::aligned::Aligned;
use crate::ops::Linear;

/// Logits of a chunk, about: large enough that the gradient of the matrix, which is read and
/// written once for each chunk, costs less than the products.
const CHUNK_ELEMENTS: usize = 1 << 20;

/// Rows of a chunk, at least and at most.
const CHUNK_ROWS: Range<usize> = 64..512;

/// 2^-40: probabilities below it count as 0 in the gradient. Beside a whole they are nothing, and
/// numbers so small that their products are subnormal are multiplied many times slower.
const LEAST_PROBABILITY: f32 = 9.094_947e-13;

/// Logits that were not computed yet.
#[derive(Clone, Copy)]
pub(super) struct Head {
    x: ValueId,
    linear: Linear<ParameterId>,
    cap: Option<f32>,
}

/// Working memory of a sweep.
#[derive(Default)]
pub(super) struct Scratch {
    logits: Aligned<f32>,
    /// Rows that were picked out of the head's input, and their gradients.
    picked: Aligned<f32>,
    picked_gradient: Aligned<f32>,
    chosen: Vec<u32>,
    /// Of a chunk's rows.
    found: Vec<f32>,
    /// Rows of logits after the soft cap, one for each thread.
    capped: Mutex<Vec<Aligned<f32>>>,
    pub(super) losses: Vec<f32>,
}

/// What a sweep is to make.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Losses,
    Gradients,
}

/// What the rows of a chunk are compared with.
#[derive(Clone, Copy)]
struct Task<'a> {
    targets: &'a [TokenId],
    weights: &'a [f32],
    cap: Option<f32>,
    wanted: Wanted,
}

impl Tape {
    /// Cross-entropy of each row in nats, `-log softmax(logits)[target]`, and the gradient of the
    /// sum of `weights[i] * loss[i]`: that of the head's parameters and input is made at once,
    /// `backward` does the rest. Rows of weight 0 are skipped: their loss is told as 0, and their
    /// targets mean nothing.
    ///
    /// A loss that is not one cross-entropy fits as well: compute the log-probabilities first
    /// (`losses`, negated), then call this with `weights[i] = -dL/dlog p[i]`.
    ///
    /// # Panics The pass is no `Purpose::Train`, `logits` are not the head's, there is not one
    /// target and one weight for each row, or a target is beyond the vocabulary.
    pub fn cross_entropy(
        &mut self,
        logits: TapeValue,
        targets: &[TokenId],
        weights: &[f32],
    ) -> &[f32] {
        assert_eq!(self.purpose, Purpose::Train, "gradients of a pass that only evaluates");
        self.sweep(logits, targets, weights, Wanted::Gradients)
    }

    /// Cross-entropy of each row, without gradients; only whether a weight is 0 matters. May be
    /// called before `cross_entropy` of the same pass.
    ///
    /// # Panics
    /// As `cross_entropy`, in passes of either purpose.
    pub fn losses(&mut self, logits: TapeValue, targets: &[TokenId], weights: &[f32]) -> &[f32] {
        self.sweep(logits, targets, weights, Wanted::Losses)
    }

    /// The logits of all rows, `[rows, vocabulary]`: for tests and for small looks. Training never
    /// holds them.
    pub fn logits(&mut self, logits: TapeValue) -> Vec<f32> {
        let head = self.head_of(logits);
        let parameters = super::linear::read(&self.shared);
        let block = parameters.block(head.linear.weight);
        let x = Rows::dense(self.values.data(head.x), block.cols);
        let mut out = vec![0.0; x.count * block.rows];
        let bias = head.linear.bias.map(|bias| parameters.vector(bias));
        let (level, products) = (self.options.level, self.options.products);
        let team = &self.team;
        let scratch = &mut self.scratch.gemm[..];
        let mut machine = Machine { level, products, team: Some(team), scratch };
        let rows = RowsMut { data: &mut out, stride: block.rows };
        machine.project(&parameters, x, block, bias, rows);
        if let Some(cap) = head.cap {
            kernels::soft_cap(level, &mut out, cap);
        }
        out
    }

    /// Remembers a projection of what `select_scored` gave.
    pub(super) fn set_head(&mut self, x: TapeValue, linear: Linear<ParameterId>) -> TapeValue {
        let id = self.values.check(x, Kind::Scored);
        self.head = Some(Head { x: id, linear, cap: None });
        let vocabulary = super::linear::read(&self.shared).block(linear.weight).rows;
        self.values.add(x.rows(), vocabulary, Kind::Logits)
    }

    pub(super) fn set_head_cap(&mut self, logits: TapeValue, cap: f32) {
        let head = Head { cap: Some(cap), ..self.head_of(logits) };
        self.head = Some(head);
    }

    fn head_of(&self, logits: TapeValue) -> Head {
        self.values.check(logits, Kind::Logits);
        self.head.expect("logits were made of a head")
    }

    fn sweep(
        &mut self,
        logits: TapeValue,
        targets: &[TokenId],
        weights: &[f32],
        wanted: Wanted,
    ) -> &[f32] {
        let head = self.head_of(logits);
        let (rows, width) = self.values.shape(head.x);
        assert!(targets.len() == rows && weights.len() == rows, "a target and a weight per row");
        let block = super::linear::read(&self.shared).block(head.linear.weight);
        let scratch = &mut self.scratch.head;
        scratch.losses.clear();
        scratch.losses.resize(rows, 0.0);
        scratch.chosen.clear();
        scratch.chosen.extend((0..rows as u32).filter(|row| weights[*row as usize] != 0.0));
        let gradient = (wanted == Wanted::Gradients).then(|| {
            let (mut gradient, exists) = self.values.take_gradient(head.x);
            let skips = self.scratch.head.chosen.len() < rows;
            if skips && !exists {
                gradient.as_mut_slice().fill(0.0);
            }
            (gradient, exists || skips)
        });
        let chunk = (CHUNK_ELEMENTS / block.rows.max(1)).clamp(CHUNK_ROWS.start, CHUNK_ROWS.end);
        let task = Task { targets, weights, cap: head.cap, wanted };
        let gradient = self.sweep_chunks(head, block, width, chunk, task, gradient);
        if let Some(gradient) = gradient {
            self.values.set_gradient(head.x, gradient);
        }
        &self.scratch.head.losses
    }

    fn sweep_chunks(
        &mut self,
        head: Head,
        block: Block,
        width: usize,
        chunk: usize,
        task: Task,
        mut gradient: Option<(Buffer, bool)>,
    ) -> Option<Buffer> {
        drop(read_packed(&self.shared, &[block], Orientation::Forward));
        if gradient.is_some() {
            drop(read_packed(&self.shared, &[block], Orientation::Backward));
        }
        let parameters = super::linear::read(&self.shared);
        let (level, products) = (self.options.level, self.options.products);
        let team = &self.team;
        let scratch = &mut self.scratch.gemm[..];
        let mut machine = Machine { level, products, team: Some(team), scratch };
        let x = self.values.data(head.x);
        let bias = head.linear.bias.map(|bias| parameters.vector(bias));
        let Scratch { logits, picked, picked_gradient, chosen, found, capped, losses } =
            &mut self.scratch.head;
        for chosen in chosen.chunks(chunk) {
            // All rows of the chunk, if they follow one another.
            let (first, count) = (chosen[0] as usize, chosen.len());
            let whole = chosen[count - 1] as usize - first + 1 == count;
            let x = if whole {
                &x[first * width..][..count * width]
            } else {
                pick(x, width, chosen, picked)
            };
            let x = Rows::dense(x, width);
            let stride = stride_of(block.rows);
            logits.resize(count * stride);
            let logits = logits.as_mut_slice();
            let out = RowsMut { data: &mut *logits, stride };
            machine.project(&parameters, x, block, bias, out);
            found.resize(count, 0.0);
            let out = RowsMut { data: &mut *logits, stride };
            row_losses((level, team, capped), task, chosen, out, block.rows, found);
            for (row, found) in chosen.iter().zip(&*found) {
                losses[*row as usize] = *found;
            }
            let Some((gradient, exists)) = &mut gradient else { continue };
            let dy = Rows { data: logits, count, width: block.rows, stride };
            let dx = gradient.as_mut_slice();
            if whole {
                let dx = RowsMut { data: &mut dx[first * width..], stride: width };
                machine.input_gradient(&parameters, dy, block, onto(*exists), dx);
            } else {
                picked_gradient.resize(count * width);
                let part = picked_gradient.as_mut_slice();
                let out = RowsMut { data: &mut *part, stride: width };
                machine.input_gradient(&parameters, dy, block, Onto::Replace, out);
                for (row, part) in chosen.iter().zip(part.chunks_exact(width)) {
                    let dx = &mut dx[*row as usize * width..][..width];
                    elementwise::add_scaled(level, part, 1.0, dx);
                }
            }
            machine.weight_gradient(dy, x, self.gradients.product_mut(block));
            if let Some(bias) = head.linear.bias {
                elementwise::add_rows(level, dy, self.gradients.vector_mut(&parameters, bias));
            }
        }
        gradient.map(|(gradient, _)| gradient)
    }
}

/// Elements from a row of logits to the next. Rows that all begin at the same place of a page would
/// drive each other out of the cache where products read them.
fn stride_of(vocabulary: usize) -> usize {
    if vocabulary.is_multiple_of(1024) { vocabulary + 16 } else { vocabulary }
}

/// Rows of `x` one after the other.
fn pick<'a>(x: &[f32], width: usize, rows: &[u32], picked: &'a mut Aligned<f32>) -> &'a [f32] {
    picked.resize(rows.len() * width);
    for (row, out) in rows.iter().zip(picked.as_mut_slice().chunks_exact_mut(width)) {
        out.copy_from_slice(&x[*row as usize * width..][..width]);
    }
    picked.as_slice()
}

/// The losses of some rows, of whose logits `vocabulary` each are meant; see `row_loss`.
fn row_losses(
    (level, team, spare): (Level, &Team, &Mutex<Vec<Aligned<f32>>>),
    task: Task,
    rows: &[u32],
    RowsMut { data, stride }: RowsMut,
    vocabulary: usize,
    losses: &mut [f32],
) {
    team.rows(rows.len(), [(data, stride), (losses, 1)], |part, [logits, losses]| {
        let lock = || spare.lock().unwrap_or_else(PoisonError::into_inner);
        let mut capped = lock().pop().unwrap_or_default();
        let each = rows[part].iter().zip(logits.chunks_exact_mut(stride)).zip(losses);
        for ((row, logits), loss) in each {
            let logits = &mut logits[..vocabulary];
            *loss = row_loss(level, task, *row as usize, logits, &mut capped);
        }
        lock().push(capped);
    });
}

/// The loss of a row; its logits become their gradient if that is wanted.
fn row_loss(
    level: Level,
    task: Task,
    row: usize,
    logits: &mut [f32],
    capped: &mut Aligned<f32>,
) -> f32 {
    let (target, weight) = (task.targets[row] as usize, task.weights[row]);
    assert!(target < logits.len(), "target {target} of a vocabulary of {}", logits.len());
    if let Some(cap) = task.cap {
        kernels::soft_cap(level, logits, cap);
        capped.resize(logits.len());
        capped.as_mut_slice().copy_from_slice(logits);
    }
    let wanted = logits[target];
    let (max, sum) = elementwise::exponentials(level, logits, 1.0);
    if task.wanted == Wanted::Gradients {
        let least = weight.abs() * LEAST_PROBABILITY;
        elementwise::scale_and_clear(level, logits, weight / sum, least);
        logits[target] -= weight;
        if let Some(cap) = task.cap {
            elementwise::soft_cap(level, capped.as_slice(), cap, logits);
        }
    }
    sum.ln() + (max - wanted)
}
