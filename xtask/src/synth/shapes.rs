//! Shapes of real models, by name. Source: the `config.json` that each model's publisher gives
//! (Llama 3.1 and 3.2, Qwen 2.5, Qwen 3, Gemma 3); `llama-1b` is a Llama of 1.04 billion parameters
//! with Llama 2's vocabulary, the shape that this project measures on; `tiny` is for tests.
//! Departure: rotary scaling for long contexts is left out, since it changes no cost.

use lucid_checkpoint::GgufWriter;
use lucid_tensor::MetaValue;

/// The sizes of a network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    architecture: &'static str,
    pub(crate) layers: usize,
    pub(crate) width: usize,
    pub(crate) feed_forward: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) vocab: usize,
    /// The head is the token embedding.
    pub(crate) tied: bool,
    rope_theta: f64,
    norm_epsilon: f64,
    context: usize,
}

const LLAMA: Shape = Shape {
    name: "llama-1b",
    architecture: "llama",
    layers: 16,
    width: 2048,
    feed_forward: 8192,
    heads: 32,
    kv_heads: 8,
    head_dim: 64,
    vocab: 32_000,
    tied: true,
    rope_theta: 10_000.0,
    norm_epsilon: 1e-5,
    context: 32_768,
};

const LLAMA3: Shape = Shape {
    vocab: 128_256,
    rope_theta: 500_000.0,
    context: 131_072,
    name: "llama-3.2-1b",
    ..LLAMA
};

const QWEN3: Shape = Shape {
    name: "qwen3-0.6b",
    architecture: "qwen3",
    layers: 28,
    width: 1024,
    feed_forward: 3072,
    heads: 16,
    kv_heads: 8,
    head_dim: 128,
    vocab: 151_936,
    tied: true,
    rope_theta: 1_000_000.0,
    norm_epsilon: 1e-6,
    context: 40_960,
};

const TABLE: [Shape; 11] = [
    Shape {
        name: "tiny",
        layers: 2,
        width: 256,
        feed_forward: 512,
        heads: 8,
        kv_heads: 2,
        head_dim: 32,
        vocab: 512,
        context: 2048,
        ..LLAMA
    },
    LLAMA,
    LLAMA3,
    Shape { name: "llama-3b", layers: 28, width: 3072, heads: 24, head_dim: 128, ..LLAMA3 },
    Shape {
        name: "llama-8b",
        layers: 32,
        width: 4096,
        feed_forward: 14_336,
        head_dim: 128,
        tied: false,
        ..LLAMA3
    },
    QWEN3,
    Shape { name: "qwen3-1.7b", width: 2048, feed_forward: 6144, ..QWEN3 },
    Shape { name: "qwen3-4b", layers: 36, width: 2560, feed_forward: 9728, heads: 32, ..QWEN3 },
    Shape {
        name: "qwen3-8b",
        layers: 36,
        width: 4096,
        feed_forward: 12_288,
        heads: 32,
        tied: false,
        ..QWEN3
    },
    Shape {
        name: "qwen2.5-0.5b",
        architecture: "qwen2",
        layers: 24,
        width: 896,
        feed_forward: 4864,
        heads: 14,
        kv_heads: 2,
        head_dim: 64,
        context: 32_768,
        ..QWEN3
    },
    Shape {
        name: "gemma3-1b",
        architecture: "gemma3",
        layers: 26,
        width: 1152,
        feed_forward: 6912,
        heads: 4,
        kv_heads: 1,
        head_dim: 256,
        vocab: 262_144,
        context: 32_768,
        ..QWEN3
    },
];

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|shape| shape.name)
}

pub(crate) fn named(name: &str) -> Option<&'static Shape> {
    TABLE.iter().find(|shape| shape.name == name)
}

impl Shape {
    pub(crate) fn has_head_norms(&self) -> bool {
        matches!(self.architecture, "qwen3" | "gemma3")
    }

    pub(crate) fn has_post_norms(&self) -> bool {
        self.architecture == "gemma3"
    }

    /// Of query, key and value.
    pub(crate) fn has_biases(&self) -> bool {
        self.architecture == "qwen2"
    }

    /// Sets the hyper-parameters' keys (source: llama.cpp's `gguf-py/gguf/constants.py`).
    pub(crate) fn metadata(&self, writer: &mut GgufWriter) {
        writer.metadata("general.architecture", MetaValue::Text(self.architecture.to_owned()));
        writer.metadata("general.name", MetaValue::Text(format!("{}, random weights", self.name)));
        let mut put = |tail: &str, value: MetaValue| {
            writer.metadata(format!("{}.{tail}", self.architecture), value);
        };
        for (tail, value) in [
            ("block_count", self.layers),
            ("context_length", self.context),
            ("embedding_length", self.width),
            ("feed_forward_length", self.feed_forward),
            ("attention.head_count", self.heads),
            ("attention.head_count_kv", self.kv_heads),
            ("attention.key_length", self.head_dim),
            ("attention.value_length", self.head_dim),
            ("rope.dimension_count", self.head_dim),
            ("vocab_size", self.vocab),
        ] {
            put(tail, MetaValue::Unsigned(value as u64));
        }
        if self.architecture == "gemma3" {
            put("attention.sliding_window", MetaValue::Unsigned(512));
        }
        put("rope.freq_base", MetaValue::Float(self.rope_theta));
        put("attention.layer_norm_rms_epsilon", MetaValue::Float(self.norm_epsilon));
    }
}
