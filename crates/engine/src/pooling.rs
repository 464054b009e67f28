//! From the final states of a text's tokens to one vector: an embedding, or what a ranking head
//! looks at.
//!
//! Invariant: states are taken in the order of their positions, each once, so the result depends
//! neither on how the text was cut into passes nor on what else they computed.

use lucid_model::Pooling;
use lucid_tensor::Linear;

use crate::engine::{Engine, Wanted};

/// The states of a text that were taken in so far.
#[derive(Debug)]
pub(crate) struct Pool {
    pooling: Pooling,
    /// Tokens of the text.
    len: usize,
    /// Positions whose states were taken in, or are not needed.
    taken: usize,
    /// The sum of the states that count. In f64, so that thousands of them add up.
    sum: Vec<f64>,
}

impl Pool {
    /// Nothing yet of a text of `len` tokens, at least one.
    pub(crate) fn new(pooling: Pooling, len: usize) -> Self {
        let taken = if pooling == Pooling::Last { len - 1 } else { 0 };
        Self { pooling, len, taken, sum: Vec::new() }
    }

    /// Positions whose states are not needed any more: those before the first that is.
    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    /// Which states of positions up to `end` a pass must give.
    pub(crate) fn wanted(&self, end: usize) -> Wanted {
        if self.taken >= end { Wanted::None } else { Wanted::Hidden }
    }

    /// Takes in the states of consecutive positions, the first one being `first`.
    pub(crate) fn take<'a>(&mut self, first: usize, rows: impl Iterator<Item = &'a [f32]>) {
        for (position, row) in (first..).zip(rows) {
            if position != self.taken || self.taken == self.len {
                continue;
            }
            self.sum.resize(row.len(), 0.0);
            for (sum, &value) in self.sum.iter_mut().zip(row) {
                *sum += f64::from(value);
            }
            self.taken = if self.pooling == Pooling::First { self.len } else { position + 1 };
        }
    }

    /// The vector, once all states were taken in.
    pub(crate) fn finish(&self) -> Option<Vec<f32>> {
        let count = if self.pooling == Pooling::Mean { self.len as f64 } else { 1.0 };
        let whole = self.taken == self.len;
        whole.then(|| self.sum.iter().map(|sum| (sum / count) as f32).collect())
    }
}

impl Engine {
    /// How the model wants the states of a text to be joined.
    pub fn pooling(&self) -> Pooling {
        self.config().pooling
    }

    /// Whether the model has a head that ranks texts.
    pub fn ranks(&self) -> bool {
        self.transformer.classifier().is_some()
    }

    /// How relevant a text is, by the model's ranking head; `pooled` is its state as
    /// `Engine::pooling` has it. Greater is more relevant. `None` where there is no such head.
    ///
    /// Source: llama.cpp's `build_pooling`: the first label's score; of Qwen 3 its probability
    /// among the labels, which are "yes" and "no".
    pub fn rank(&self, pooled: &[f32]) -> Option<f32> {
        let classifier = self.transformer.classifier()?;
        let project = |x: &[f32], linear: Linear<_>| self.eager.project(x, linear);
        let scores = match classifier.dense {
            Some(dense) => {
                let inner: Vec<f32> = project(pooled, dense).into_iter().map(f32::tanh).collect();
                project(&inner, classifier.output)
            }
            None => project(pooled, classifier.output),
        };
        if self.config().architecture != "qwen3" {
            return scores.first().copied();
        }
        let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weights = scores.iter().map(|score| f64::from(score - most).exp());
        let (first, all) = (weights.clone().next()?, weights.sum::<f64>());
        Some((first / all) as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cuts a text of five tokens at `cuts` and hands the parts in; twice, as after a preemption.
    fn check(pooling: Pooling, cuts: &[usize], expected: [f32; 2]) {
        let rows: Vec<[f32; 2]> = (0..5).map(|n| [n as f32 + 1.0, -0.5 * n as f32]).collect();
        let mut pool = Pool::new(pooling, rows.len());
        for pair in cuts.windows(2) {
            assert_eq!(pool.finish().is_some(), pool.taken() == 5);
            if pool.wanted(pair[1]) == Wanted::Hidden {
                pool.take(pair[0], rows[pair[0]..pair[1]].iter().map(<[f32; 2]>::as_slice));
            }
        }
        assert_eq!(pool.finish().unwrap(), expected, "{pooling:?} {cuts:?}");
    }

    #[test]
    fn parts_make_the_whole() {
        for cuts in [&[0, 5][..], &[0, 1, 2, 5], &[0, 3, 0, 4, 5], &[0, 4, 2, 5]] {
            check(Pooling::Mean, cuts, [3.0, -1.0]);
            check(Pooling::First, cuts, [1.0, 0.0]);
            check(Pooling::Last, cuts, [5.0, -2.0]);
        }
    }
}
