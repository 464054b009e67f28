//! The network a run begins with: its shape, what it costs, its first weights.

use std::collections::BTreeMap;

use lucid_sys::Bytes;
use lucid_tensor::{DType, MetaValue, Metadata, TensorView, WeightSource};
use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::random::Random;

/// The architectures that runs make: those that other programs load as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// As Llama 2.
    Llama,
    /// Llama with an RMS norm on each query and key head, which keeps attention's logits small, so
    /// that larger learning rates hold.
    Qwen3,
    /// That of weights that were given, whose metadata say what they are.
    Given,
}

impl Architecture {
    /// The name in metadata.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen3 => "qwen3",
            Self::Given => "given",
        }
    }
}

/// A network's dimensions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// Which architecture.
    pub architecture: Architecture,
    /// Tokens of the vocabulary.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Layers.
    pub layer_count: usize,
    /// Query heads.
    pub head_count: usize,
    /// Key-value heads: a divisor of `head_count`.
    pub kv_head_count: usize,
    /// Width of a head; even.
    pub head_dim: usize,
    /// Width inside the feed-forward blocks.
    pub feed_forward_width: usize,
    /// Tokens of a row.
    pub context_length: usize,
    /// Whether the head's matrix is that of the embeddings.
    pub tied_head: bool,
    /// Base of the rotary frequencies.
    pub rotary_theta: f32,
}

/// What the norms add to the mean square.
const NORM_EPSILON: f64 = 1e-5;

/// Parameters at most: what `Config` accepts and an `f32` file may hold.
const PARAMETERS_MAX: usize = 1 << 36;

/// One tensor of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// The name in GGUF's vocabulary.
    pub name: String,
    /// Outermost first.
    pub shape: Vec<usize>,
    /// What it is filled with.
    pub first: First,
}

/// First values of a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum First {
    /// Ones: norms begin by changing nothing.
    Ones,
    /// Zeros: a block's last matrix begins by adding nothing.
    Zeros,
    /// Normal numbers of this deviation.
    Normal(f32),
}

impl Network {
    /// Every tensor, in the order of a file.
    ///
    /// Matrices begin with a deviation of `0.5 / sqrt(columns)`, near that of GPT-2 at its own
    /// width; the last matrix of each block with zeros, so that the network begins as its
    /// embeddings and head (Zhang et al., arXiv:1901.09321, with many since); embeddings with 0.02.
    pub fn tensors(&self) -> Vec<Planned> {
        let mut tensors = Vec::new();
        let mut add = |name: String, shape: &[usize], first: First| {
            tensors.push(Planned { name, shape: shape.to_vec(), first });
        };
        let Self { vocab_size, width, head_dim, feed_forward_width, .. } = *self;
        let (heads, kv_heads) = (self.head_count * head_dim, self.kv_head_count * head_dim);
        let matrix = First::Normal(0.5 / (width as f32).sqrt());
        add("token_embd.weight".to_owned(), &[vocab_size, width], First::Normal(0.02));
        for layer in 0..self.layer_count {
            let name = |part: &str| format!("blk.{layer}.{part}.weight");
            add(name("attn_norm"), &[width], First::Ones);
            add(name("attn_q"), &[heads, width], matrix);
            add(name("attn_k"), &[kv_heads, width], matrix);
            add(name("attn_v"), &[kv_heads, width], matrix);
            add(name("attn_output"), &[width, heads], First::Zeros);
            if self.architecture == Architecture::Qwen3 {
                add(name("attn_q_norm"), &[head_dim], First::Ones);
                add(name("attn_k_norm"), &[head_dim], First::Ones);
            }
            add(name("ffn_norm"), &[width], First::Ones);
            add(name("ffn_gate"), &[feed_forward_width, width], matrix);
            add(name("ffn_up"), &[feed_forward_width, width], matrix);
            add(name("ffn_down"), &[width, feed_forward_width], First::Zeros);
        }
        add("output_norm.weight".to_owned(), &[width], First::Ones);
        if !self.tied_head {
            add("output.weight".to_owned(), &[vocab_size, width], First::Normal(0.02));
        }
        tensors
    }

    /// All parameters.
    pub fn parameter_count(&self) -> usize {
        self.tensors().iter().map(|tensor| tensor.shape.iter().product::<usize>()).sum()
    }

    /// Parameters that a token is multiplied with: all matrices, the head's counted even where it
    /// is the embeddings', but no table of embeddings.
    pub fn multiplied_count(&self) -> usize {
        let heads = (self.head_count + self.kv_head_count) * self.head_dim;
        let layer = self.width * (2 * heads + 3 * self.feed_forward_width);
        self.layer_count * layer + self.vocab_size * self.width
    }

    /// Floating-point operations that one token of a row of `context_length` tokens takes in
    /// training: two per parameter and direction, of which backward has two; and the products of
    /// attention, of which causality leaves half.
    pub fn flops_per_token(&self) -> f64 {
        let products = 6.0 * self.multiplied_count() as f64;
        let heads = (self.layer_count * self.head_count * self.head_dim) as f64;
        products + 6.0 * heads * self.context_length as f64
    }

    /// Metadata in GGUF's vocabulary, all that `model` needs.
    pub fn metadata(&self) -> Metadata {
        let architecture = self.architecture.name();
        let mut metadata = Metadata::default();
        let mut insert = |key: &str, value: MetaValue| metadata.insert(key, value, None);
        insert("general.architecture", MetaValue::Text(architecture.to_owned()));
        let counts = [
            ("vocab_size", self.vocab_size),
            ("context_length", self.context_length),
            ("embedding_length", self.width),
            ("block_count", self.layer_count),
            ("feed_forward_length", self.feed_forward_width),
            ("attention.head_count", self.head_count),
            ("attention.head_count_kv", self.kv_head_count),
            ("attention.key_length", self.head_dim),
            ("attention.value_length", self.head_dim),
            ("rope.dimension_count", self.head_dim),
        ];
        for (key, count) in counts {
            insert(&format!("{architecture}.{key}"), MetaValue::Unsigned(count as u64));
        }
        let floats = [
            ("attention.layer_norm_rms_epsilon", NORM_EPSILON),
            ("rope.freq_base", f64::from(self.rotary_theta)),
        ];
        for (key, number) in floats {
            insert(&format!("{architecture}.{key}"), MetaValue::Float(number));
        }
        metadata
    }

    /// Refuses what cannot be built.
    ///
    /// # Errors
    /// `Network`: which dimension, and what it may be.
    pub fn check(&self) -> Result<(), TrainError> {
        let refuse = |what: &str, found: usize, expected: String| {
            Err(TrainError::Network { what: what.to_owned(), found, expected })
        };
        let dimensions = [
            ("vocabulary", self.vocab_size),
            ("width", self.width),
            ("layers", self.layer_count),
            ("heads", self.head_count),
            ("key-value heads", self.kv_head_count),
            ("head width", self.head_dim),
            ("feed-forward width", self.feed_forward_width),
            ("context length", self.context_length),
        ];
        for (what, found) in dimensions {
            if !(1..=1 << 20).contains(&found) {
                return refuse(what, found, "1 to 1048576".to_owned());
            }
        }
        if !self.head_count.is_multiple_of(self.kv_head_count) {
            let expected = format!("a divisor of the {} heads", self.head_count);
            return refuse("key-value heads", self.kv_head_count, expected);
        }
        if !self.head_dim.is_multiple_of(2) {
            return refuse("head width", self.head_dim, "an even number".to_owned());
        }
        if self.layer_count > 4096 {
            return refuse("layers", self.layer_count, "1 to 4096".to_owned());
        }
        // No overflow: each factor is at most 2^20, 2^12 for the layers.
        let heads = (self.head_count as u128) * (self.head_dim as u128);
        let layer = self.width as u128 * (4 * heads + 3 * self.feed_forward_width as u128);
        let count = self.layer_count as u128 * layer + 2 * (self.vocab_size * self.width) as u128;
        if count > PARAMETERS_MAX as u128 {
            let found = usize::try_from(count).unwrap_or(usize::MAX);
            return refuse("parameters", found, format!("at most {PARAMETERS_MAX}"));
        }
        Ok(())
    }
}

/// A network's tensors in memory, as f32.
#[derive(Clone, Debug)]
pub struct Weights {
    metadata: Metadata,
    tensors: BTreeMap<String, TensorView>,
    names: Vec<String>,
}

impl Weights {
    /// First weights of a network; the same for the same seed on every machine.
    ///
    /// # Errors
    /// As `Network::check`.
    pub fn initial(network: &Network, seed: u64) -> Result<Self, TrainError> {
        network.check()?;
        if network.architecture == Architecture::Given {
            return Err(TrainError::Setting {
                what: "architecture".to_owned(),
                found: "given".to_owned(),
                expected: "llama or qwen3, for weights that are new".to_owned(),
            });
        }
        let mut weights =
            Self { metadata: network.metadata(), tensors: BTreeMap::new(), names: Vec::new() };
        for Planned { name, shape, first } in network.tensors() {
            let count: usize = shape.iter().product();
            let mut random = Random::new(&format!("lucid: first weights of {name}"), seed, 0);
            let mut bytes = Vec::with_capacity(4 * count);
            for _ in 0..count {
                let value = match first {
                    First::Ones => 1.0,
                    First::Zeros => 0.0,
                    First::Normal(deviation) => deviation * random.normal(),
                };
                bytes.extend_from_slice(&f32::to_le_bytes(value));
            }
            let data = Bytes::from(bytes);
            let view = TensorView { name: name.clone(), dtype: DType::F32, shape, data, offset: 0 };
            weights.tensors.insert(name.clone(), view);
            weights.names.push(name);
        }
        Ok(weights)
    }
}

impl WeightSource for Weights {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn tensor(&self, name: &str) -> Option<TensorView> {
        self.tensors.get(name).cloned()
    }

    fn tensor_names(&self) -> Vec<String> {
        self.names.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lucid_model::Config;

    /// The two shapes that the comparison with PyTorch uses.
    fn network(width: usize, layer_count: usize, head_count: usize) -> Network {
        Network {
            architecture: Architecture::Llama,
            vocab_size: 4096,
            width,
            layer_count,
            head_count,
            kv_head_count: head_count,
            head_dim: width / head_count,
            feed_forward_width: width * 11 / 4,
            context_length: 256,
            tied_head: false,
            rotary_theta: 10_000.0,
        }
    }

    #[test]
    fn what_is_planned_is_what_the_model_reads() {
        for (architecture, tied_head) in [(Architecture::Llama, false), (Architecture::Qwen3, true)]
        {
            let network = Network { architecture, tied_head, ..network(64, 2, 2) };
            let weights = Weights::initial(&network, 1).unwrap();
            let config = Config::read(&weights).unwrap();
            assert_eq!(config.width, 64);
            assert_eq!(config.tied_head, tied_head);
            assert_eq!(config.qk_norm, architecture == Architecture::Qwen3);
            assert_eq!(config.feed_forward_width, 176);
            let count: usize = weights
                .tensor_names()
                .iter()
                .map(|name| weights.tensor(name).unwrap().element_count())
                .sum();
            assert_eq!(count, network.parameter_count());
        }
    }

    #[test]
    fn the_cost_is_that_of_the_matrices_and_of_attention() {
        let network = network(256, 6, 4);
        // Per layer 4 * 256^2 + 3 * 256 * 704; the head; the embeddings; thirteen norms.
        assert_eq!(network.parameter_count(), 6_917_376);
        assert_eq!(network.multiplied_count(), 6 * (4 * 65_536 + 3 * 180_224) + (1 << 20));
        let attention = 6.0 * 6.0 * 256.0 * 256.0;
        let expected = 6.0 * network.multiplied_count() as f64 + attention;
        assert!((network.flops_per_token() - expected).abs() < 1.0);
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_name() {
        let refused = |network: Network| network.check().unwrap_err().to_string();
        let good = network(64, 2, 2);
        assert!(refused(Network { width: 0, ..good.clone() }).contains("width"));
        assert!(refused(Network { kv_head_count: 3, ..good.clone() }).contains("divisor"));
        assert!(refused(Network { head_dim: 33, ..good.clone() }).contains("even"));
        let huge = Network { width: 1 << 20, layer_count: 4096, ..good.clone() };
        assert!(refused(huge).contains("parameters"));
    }

    #[test]
    fn a_seed_fixes_the_weights() {
        let bytes = |seed| {
            let weights = Weights::initial(&network(64, 1, 2), seed).unwrap();
            weights.tensor("blk.0.attn_q.weight").unwrap().data.to_vec()
        };
        assert_eq!(bytes(1), bytes(1));
        assert_ne!(bytes(1), bytes(2));
    }
}
