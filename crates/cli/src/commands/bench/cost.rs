//! What a test must at least do: bytes that have to be read and operations that have to be done,
//! and the time that the ceilings allow for them.
//!
//! Counted are the matrices (2 operations per weight and row; each read once per pass of up to 512
//! rows), the keys and values that the rows attend to (each sequence's once per pass), and the
//! products of attention, in f32. The head works on the rows whose logits are wanted. Norms,
//! rotations and activations count for nothing, so a share is never flattered.

use lucid_checkpoint::Checkpoint;
use lucid_model::Config;
use lucid_tensor::{DType, KvDType, WeightSource as _};

use super::ceilings::Ceilings;
use super::measure::CHUNK;
use super::{Kind, Test};

/// What operations are counted under: f32, bf16, int8.
const F32: usize = 0;
const BF16: usize = 1;
const INT8: usize = 2;

/// A set of matrices.
#[derive(Clone, Copy, Debug, Default)]
struct Matrices {
    bytes: f64,
    /// Weights by what multiplies them.
    weights: [f64; 3],
}

/// A model's cost.
pub(super) struct Cost {
    layers: Matrices,
    head: Matrices,
    kv_bytes_per_position: f64,
    /// Of one row, for each position that it attends to.
    attention_ops_per_position: f64,
    /// The window of each layer.
    windows: Vec<Option<usize>>,
}

/// The cost of a test.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Work {
    pub(super) bytes: f64,
    /// By multiplier.
    pub(super) ops: [f64; 3],
}

impl Work {
    /// The time that it takes at least: that of reading, or that of computing.
    pub(super) fn seconds_at(&self, ceilings: &Ceilings) -> f64 {
        // Products of bfloat16 may be slower than widening and multiplying in f32.
        let bf16 = ceilings.bf16_gflop_s.max(ceilings.f32_gflop_s);
        let rates = [ceilings.f32_gflop_s, bf16, ceilings.int8_gop_s];
        let computing = self.ops.iter().zip(rates).map(|(ops, rate)| ops / (rate * 1e9));
        computing.sum::<f64>().max(self.bytes / (ceilings.read_gb_s * 1e9))
    }
}

impl Cost {
    pub(super) fn new(checkpoint: &Checkpoint, config: &Config, kv_dtype: KvDType) -> Self {
        let (mut layers, mut head) = (Matrices::default(), Matrices::default());
        let head_name = if config.tied_head { "token_embd.weight" } else { "output.weight" };
        for name in checkpoint.tensor_names() {
            let Some(view) = checkpoint.tensor(&name) else { continue };
            if view.shape.len() != 2 || (name == "token_embd.weight" && name != head_name) {
                continue;
            }
            let matrices = if name == head_name { &mut head } else { &mut layers };
            matrices.bytes += view.data.len() as f64;
            matrices.weights[multiplier(view.dtype)] += view.element_count() as f64;
        }
        let kv_elements = config.kv_elements_per_position() / config.layer_count;
        let widths = config.head_count * (config.head_dim + config.value_dim);
        Self {
            layers,
            head,
            kv_bytes_per_position: kv_dtype.bytes(kv_elements) as f64,
            attention_ops_per_position: 2.0 * widths as f64,
            windows: (0..config.layer_count).map(|layer| config.layer_window(layer)).collect(),
        }
    }

    pub(super) fn work(&self, test: Test) -> Work {
        let mut work = Work::default();
        let end = test.depth + test.tokens;
        match test.kind {
            Kind::Prompt => {
                let mut from = test.depth;
                while from < end {
                    let to = end.min(from + CHUNK);
                    let outputs = usize::from(to == end);
                    self.add_pass(&mut work, from..to, 1, outputs);
                    from = to;
                }
            }
            Kind::Generate => {
                for at in test.depth..end {
                    self.add_pass(&mut work, at..at + 1, test.sequences, test.sequences);
                }
            }
        }
        work
    }

    /// A pass in which so many sequences each take these positions.
    fn add_pass(
        &self,
        work: &mut Work,
        positions: std::ops::Range<usize>,
        sequences: usize,
        outputs: usize,
    ) {
        let rows = (positions.len() * sequences) as f64;
        work.bytes += self.layers.bytes;
        for (ops, weights) in work.ops.iter_mut().zip(self.layers.weights) {
            *ops += 2.0 * weights * rows;
        }
        if outputs > 0 {
            work.bytes += self.head.bytes;
            for (ops, weights) in work.ops.iter_mut().zip(self.head.weights) {
                *ops += 2.0 * weights * outputs as f64;
            }
        }
        for window in &self.windows {
            let seen = |position: usize| window.map_or(position + 1, |size| size.min(position + 1));
            let attended: usize = positions.clone().map(seen).sum();
            work.ops[F32] += self.attention_ops_per_position * attended as f64 * sequences as f64;
            // From the first position that the first row sees to the last row's.
            let first = positions.start + 1 - seen(positions.start);
            let read = (positions.end - first) as f64;
            work.bytes += self.kv_bytes_per_position * read * sequences as f64;
        }
    }
}

/// What multiplies weights of this format where it is multiplied fastest without a loss.
fn multiplier(dtype: DType) -> usize {
    match dtype {
        DType::F32 | DType::F16 => F32,
        DType::BF16 => BF16,
        _ => INT8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: Kind, tokens: usize, depth: usize, sequences: usize, expected: (f64, [f64; 3])) {
        let cost = Cost {
            layers: Matrices { bytes: 1000.0, weights: [0.0, 0.0, 500.0] },
            head: Matrices { bytes: 100.0, weights: [0.0, 50.0, 0.0] },
            kv_bytes_per_position: 4.0,
            attention_ops_per_position: 8.0,
            windows: vec![None, Some(2)],
        };
        let work = cost.work(Test { kind, tokens, depth, sequences });
        assert_eq!((work.bytes, work.ops), expected, "{tokens} {depth} {sequences}");
    }

    #[test]
    fn prompts_and_answers() {
        // Three rows see 1 + 2 + 3 positions, with the window 1 + 2 + 2.
        let attention = 8.0 * (6.0 + 5.0);
        check(Kind::Prompt, 3, 0, 1, (1124.0, [attention, 100.0, 3000.0]));
        // Two passes of one row, two sequences: 11 + 12 positions, with the window 2 + 2.
        let (seen, rows) = ((11.0 + 12.0 + 4.0) * 2.0, 4.0);
        let bytes = 2.0 * 1100.0 + seen * 4.0;
        check(Kind::Generate, 2, 10, 2, (bytes, [seen * 8.0, 100.0 * rows, 1000.0 * rows]));
        // 513 tokens are two passes; logits are wanted of the last row.
        let positions = |n: f64| n * (n + 1.0) / 2.0;
        let (bytes, seen) =
            (2100.0 + 4.0 * (512.0 + 513.0 + 512.0 + 2.0), positions(513.0) + 1025.0);
        check(Kind::Prompt, 513, 0, 1, (bytes, [8.0 * seen, 100.0, 513_000.0]));
    }
}
