//! Small models with random weights, in memory.

use std::collections::BTreeMap;

use lucid_sys::Bytes;
use lucid_tensor::{
    DType, MetaArray, MetaValue, Metadata, PassRow, TensorView, TokenId, WeightSource,
};

/// Numbers from -1 to 1.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub(crate) fn token(&mut self, vocabulary: usize) -> TokenId {
        ((self.next() + 1.0) * 1e6) as u32 % vocabulary as u32
    }
}

/// A model's size.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) vocabulary: usize,
    pub(crate) width: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) feed_forward: usize,
}

pub(crate) const SMALL: Size = Size {
    vocabulary: 48,
    width: 32,
    layers: 2,
    heads: 4,
    kv_heads: 2,
    head_dim: 16,
    feed_forward: 48,
};

/// Whether the head has a matrix of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Head {
    Tied,
    Own,
}

pub(crate) struct Model {
    metadata: Metadata,
    tensors: Vec<TensorView>,
    places: BTreeMap<String, usize>,
}

impl WeightSource for Model {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn tensor(&self, name: &str) -> Option<TensorView> {
        self.places.get(name).map(|place| self.tensors[*place].clone())
    }

    fn tensor_names(&self) -> Vec<String> {
        self.tensors.iter().map(|tensor| tensor.name.clone()).collect()
    }
}

impl Model {
    /// A model of this architecture; its matrices are of the format `matrices` (vectors are f32),
    /// and their numbers are bfloat16 whatever it is.
    pub(crate) fn new(architecture: &str, size: Size, head: Head, matrices: DType) -> Self {
        let mut model =
            Self { metadata: Metadata::default(), tensors: Vec::new(), places: BTreeMap::new() };
        model.describe(architecture, size);
        let mut random = Random(11);
        let Size { vocabulary, width, layers, heads, kv_heads, head_dim, feed_forward } = size;
        let (q, kv) = (heads * head_dim, kv_heads * head_dim);
        let mut matrix = |model: &mut Self, name: &str, rows: usize, cols: usize| {
            model.add(&mut random, matrices, name, &[rows, cols]);
        };
        matrix(&mut model, "token_embd.weight", vocabulary, width);
        if head == Head::Own {
            matrix(&mut model, "output.weight", vocabulary, width);
        }
        for layer in 0..layers {
            let name = |part: &str| format!("blk.{layer}.{part}.weight");
            matrix(&mut model, &name("attn_q"), q, width);
            matrix(&mut model, &name("attn_k"), kv, width);
            matrix(&mut model, &name("attn_v"), kv, width);
            matrix(&mut model, &name("attn_output"), width, q);
            matrix(&mut model, &name("ffn_gate"), feed_forward, width);
            matrix(&mut model, &name("ffn_up"), feed_forward, width);
            matrix(&mut model, &name("ffn_down"), width, feed_forward);
        }
        let mut vector = |model: &mut Self, name: &str, len: usize| {
            model.add(&mut random, DType::F32, name, &[len]);
        };
        vector(&mut model, "output_norm.weight", width);
        for layer in 0..layers {
            let name = |part: &str| format!("blk.{layer}.{part}");
            vector(&mut model, &name("attn_norm.weight"), width);
            vector(&mut model, &name("ffn_norm.weight"), width);
            match architecture {
                "qwen2" => {
                    vector(&mut model, &name("attn_q.bias"), q);
                    vector(&mut model, &name("attn_k.bias"), kv);
                    vector(&mut model, &name("attn_v.bias"), kv);
                }
                "qwen3" | "gemma3" => {
                    vector(&mut model, &name("attn_q_norm.weight"), head_dim);
                    vector(&mut model, &name("attn_k_norm.weight"), head_dim);
                }
                _ => {}
            }
            if architecture == "gemma3" {
                vector(&mut model, &name("post_attention_norm.weight"), width);
                vector(&mut model, &name("post_ffw_norm.weight"), width);
            }
        }
        model
    }

    fn describe(&mut self, architecture: &str, size: Size) {
        let text = MetaValue::Text(architecture.to_owned());
        self.metadata.insert("general.architecture", text, None);
        let mut set = |tail: &str, value: MetaValue| {
            self.metadata.insert(format!("{architecture}.{tail}"), value, None);
        };
        let counts = [
            ("embedding_length", size.width),
            ("block_count", size.layers),
            ("attention.head_count", size.heads),
            ("attention.head_count_kv", size.kv_heads),
            ("attention.key_length", size.head_dim),
            ("attention.value_length", size.head_dim),
            ("feed_forward_length", size.feed_forward),
            ("context_length", 4096),
        ];
        for (tail, count) in counts {
            set(tail, MetaValue::Unsigned(count as u64));
        }
        set("attention.layer_norm_rms_epsilon", MetaValue::Float(1e-5));
        if architecture == "gemma3" {
            set("attention.sliding_window", MetaValue::Unsigned(5));
            let windowed = (0..size.layers).map(|layer| layer % 2 == 0).collect();
            let windowed = MetaValue::Array(MetaArray::Bool(windowed));
            set("attention.sliding_window_pattern", windowed);
            set("attn_logit_softcapping", MetaValue::Float(3.0));
            set("final_logit_softcapping", MetaValue::Float(5.0));
        }
    }

    /// Matrices keep the size of what they multiply; norms lie around 1, biases around 0.
    fn add(&mut self, random: &mut Random, dtype: DType, name: &str, shape: &[usize]) {
        let (centre, scale) = match *shape {
            [_, cols] => (0.0, (3.0 / cols as f32).sqrt()),
            _ if name.ends_with("bias") => (0.0, 0.5),
            _ => (1.0, 0.3),
        };
        let scale = if name == "token_embd.weight" { 1.0 } else { scale };
        let mut data = Vec::new();
        for _ in 0..shape.iter().product() {
            let bits = (centre + scale * random.next()).to_bits() & 0xffff_0000;
            match dtype {
                DType::BF16 => data.extend(((bits >> 16) as u16).to_le_bytes()),
                _ => data.extend(f32::from_bits(bits).to_le_bytes()),
            }
        }
        let (owned, shape) = (name.to_owned(), shape.to_vec());
        self.places.insert(owned.clone(), self.tensors.len());
        let data = Bytes::from(data);
        self.tensors.push(TensorView { name: owned, dtype, shape, data, offset: 0 });
    }
}

/// A micro-batch with a target for each row.
pub(crate) struct Batch {
    pub(crate) rows: Vec<PassRow>,
    pub(crate) targets: Vec<TokenId>,
    pub(crate) weights: Vec<f32>,
}

impl Batch {
    /// Documents of these lengths; each row's target is what follows, as far as the document goes.
    pub(crate) fn new(vocabulary: usize, lengths: &[usize]) -> Self {
        let mut random = Random(23);
        let (mut rows, mut targets, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        for (sequence, &length) in lengths.iter().enumerate() {
            let tokens: Vec<_> = (0..=length).map(|_| random.token(vocabulary)).collect();
            for position in 0..length {
                let (token, sequence) = (tokens[position], sequence as u32);
                rows.push(PassRow { token, position: position as u32, sequence });
                targets.push(tokens[position + 1]);
                weights.push(if position + 1 < length { 1.0 } else { 0.0 });
            }
        }
        let count = weights.iter().sum::<f32>();
        for weight in &mut weights {
            *weight /= count;
        }
        Self { rows, targets, weights }
    }
}
