//! A model whose every answer is known beforehand: attention and the feed-forward block add
//! nothing, and the head of token `n` looks for the embedding of the token that comes before it.
//!
//! Bytes are followed by the next byte, except that an answer reads "Hi!" and ends.

use lucid_checkpoint::GgufWriter;
use lucid_tensor::{DType, MetaArray, MetaValue};

pub(crate) const WIDTH: usize = 64;
pub(crate) const LAYERS: usize = 2;
const FEED_FORWARD: usize = 96;
const KV_WIDTH: usize = 32;

pub(crate) const BOS: u32 = 257;
pub(crate) const START: u32 = 258;
pub(crate) const END: u32 = 259;
/// `he`, `<|bos|>`, `<|im_start|>`, `<|im_end|>` beside the bytes.
pub(crate) const VOCABULARY: usize = 260;

pub(crate) const TEMPLATE: &str = "{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}";

/// Metadata, and the name, shape and values of each tensor.
#[derive(Clone)]
pub(crate) struct Tiny {
    pub(crate) metadata: Vec<(String, MetaValue)>,
    pub(crate) tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
}

impl Tiny {
    pub(crate) fn new() -> Self {
        Self { metadata: metadata(), tensors: tensors() }
    }

    /// Sets a key, or adds it.
    pub(crate) fn with(mut self, key: &str, value: MetaValue) -> Self {
        match self.metadata.iter_mut().find(|entry| entry.0 == key) {
            Some(entry) => entry.1 = value,
            None => self.metadata.push((key.to_owned(), value)),
        }
        self
    }

    pub(crate) fn without(mut self, key: &str) -> Self {
        self.metadata.retain(|entry| entry.0 != key);
        self
    }

    /// Gives a tensor another shape, filled with zeros.
    pub(crate) fn reshaped(mut self, name: &str, shape: &[usize]) -> Self {
        let tensor = self.tensors.iter_mut().find(|tensor| tensor.0 == name).unwrap();
        (tensor.1, tensor.2) = (shape.to_vec(), vec![0.0; shape.iter().product()]);
        self
    }

    pub(crate) fn without_tensor(mut self, name: &str) -> Self {
        self.tensors.retain(|tensor| tensor.0 != name);
        self
    }

    fn writer(&self) -> GgufWriter {
        let mut writer = GgufWriter::new();
        for (key, value) in &self.metadata {
            writer.metadata(key, value.clone());
        }
        for (name, shape, _) in &self.tensors {
            writer.tensor(name, DType::F32, shape).unwrap();
        }
        writer
    }

    pub(crate) fn header_len(&self) -> usize {
        self.writer().layout().unwrap().header.len()
    }

    /// The GGUF file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let data: Vec<Vec<u8>> = self.tensors.iter().map(|tensor| le_bytes(&tensor.2)).collect();
        let data: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
        self.writer().to_bytes(&data).unwrap()
    }
}

pub(crate) fn le_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// GPT-2's alphabet: bytes that print stand for themselves, the others are numbered from 256.
pub(crate) fn byte_alphabet() -> Vec<char> {
    let mut next = 256;
    (0..=255u32)
        .map(|byte| {
            let prints = matches!(byte, 33..=126 | 161..=172 | 174..=255);
            let code = if prints { byte } else { next };
            next += u32::from(!prints);
            char::from_u32(code).unwrap()
        })
        .collect()
}

fn metadata() -> Vec<(String, MetaValue)> {
    let text = |text: &str| MetaValue::Text(text.to_owned());
    let mut tokens: Vec<Vec<u8>> =
        byte_alphabet().iter().map(|c| c.to_string().into_bytes()).collect();
    tokens.extend([&b"he"[..], b"<|bos|>", b"<|im_start|>", b"<|im_end|>"].map(<[u8]>::to_vec));
    let mut kinds = vec![1; 257];
    kinds.extend([3, 3, 3]);
    let entries = [
        ("general.architecture", text("llama")),
        ("general.name", text("Tiny")),
        ("general.alignment", MetaValue::Unsigned(32)),
        ("llama.block_count", MetaValue::Unsigned(LAYERS as u64)),
        ("llama.context_length", MetaValue::Unsigned(512)),
        ("llama.embedding_length", MetaValue::Unsigned(WIDTH as u64)),
        ("llama.feed_forward_length", MetaValue::Unsigned(FEED_FORWARD as u64)),
        ("llama.attention.head_count", MetaValue::Unsigned(4)),
        ("llama.attention.head_count_kv", MetaValue::Unsigned(2)),
        ("llama.attention.key_length", MetaValue::Unsigned(16)),
        ("llama.attention.value_length", MetaValue::Unsigned(16)),
        ("llama.attention.layer_norm_rms_epsilon", MetaValue::Float(1e-5)),
        ("llama.attention.sliding_window", MetaValue::Unsigned(256)),
        ("llama.rope.dimension_count", MetaValue::Unsigned(16)),
        ("llama.rope.freq_base", MetaValue::Float(10_000.0)),
        ("llama.rope.scaling.type", text("linear")),
        ("llama.rope.scaling.factor", MetaValue::Float(2.0)),
        ("llama.vocab_size", MetaValue::Unsigned(VOCABULARY as u64)),
        ("llama.expert_count", MetaValue::Unsigned(0)),
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("gpt-2")),
        ("tokenizer.ggml.tokens", MetaValue::Array(MetaArray::texts(tokens))),
        ("tokenizer.ggml.token_type", MetaValue::Array(MetaArray::signed(kinds))),
        ("tokenizer.ggml.merges", MetaValue::Array(MetaArray::texts(vec![b"h e".to_vec()]))),
        ("tokenizer.ggml.bos_token_id", MetaValue::Unsigned(BOS.into())),
        ("tokenizer.ggml.eos_token_id", MetaValue::Unsigned(END.into())),
        ("tokenizer.ggml.add_bos_token", MetaValue::Bool(false)),
        ("tokenizer.ggml.add_eos_token", MetaValue::Bool(false)),
        ("tokenizer.chat_template", text(TEMPLATE)),
    ];
    entries.map(|(key, value)| (key.to_owned(), value)).into()
}

/// The token whose successor is `token`.
fn before(token: usize) -> usize {
    match token {
        // An answer: "H" follows the line break that ends a turn's heading, then "i", "!", the end.
        72 => 10,
        105 => 72,
        33 => 105,
        259 => 33,
        // A document begins with "a".
        97 => BOS as usize,
        // What these would have followed is taken.
        11 => 258,
        73 => 71,
        106 => 104,
        34 => 32,
        258 => 96,
        _ => (token + VOCABULARY - 1) % VOCABULARY,
    }
}

fn tensors() -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let mut state = 1u64;
    let mut random = |count: usize, scale: f32| -> Vec<f32> {
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next() * scale).collect()
    };
    let embedding = random(VOCABULARY * WIDTH, 1.0);
    let row = |token: usize| &embedding[token * WIDTH..(token + 1) * WIDTH];
    let head: Vec<f32> = (0..VOCABULARY).flat_map(|token| row(before(token)).to_vec()).collect();
    let mut tensors = vec![
        ("token_embd.weight".to_owned(), vec![VOCABULARY, WIDTH], embedding.clone()),
        ("output_norm.weight".to_owned(), vec![WIDTH], vec![1.0; WIDTH]),
        ("output.weight".to_owned(), vec![VOCABULARY, WIDTH], head),
    ];
    for layer in 0..LAYERS {
        let mut put = |name: &str, shape: &[usize], values: Vec<f32>| {
            tensors.push((format!("blk.{layer}.{name}.weight"), shape.to_vec(), values));
        };
        let count = |shape: [usize; 2]| shape[0] * shape[1];
        put("attn_norm", &[WIDTH], vec![1.0; WIDTH]);
        put("ffn_norm", &[WIDTH], vec![1.0; WIDTH]);
        for (name, shape, scale) in [
            ("attn_q", [WIDTH, WIDTH], 0.1),
            ("attn_k", [KV_WIDTH, WIDTH], 0.1),
            ("attn_v", [KV_WIDTH, WIDTH], 0.1),
            ("attn_output", [WIDTH, WIDTH], 0.0),
            ("ffn_gate", [FEED_FORWARD, WIDTH], 0.1),
            ("ffn_up", [FEED_FORWARD, WIDTH], 0.1),
            ("ffn_down", [WIDTH, FEED_FORWARD], 0.0),
        ] {
            put(name, &shape, random(count(shape), scale));
        }
    }
    tensors
}
