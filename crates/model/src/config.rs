//! A network's hyper-parameters, as every architecture's table fills them in.

use lucid_tensor::{Activation, Metadata, RotaryPairing, WeightSource};

use crate::{ModelError, arch};

/// What the one Transformer needs to know about an architecture and a size.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The name in `general.architecture`.
    pub architecture: String,
    /// Rows of the token embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Number of layers.
    pub layer_count: usize,
    /// Query heads per layer.
    pub head_count: usize,
    /// Key-value heads per layer.
    pub kv_head_count: usize,
    /// Width of a query or key head.
    pub head_dim: usize,
    /// Width of a value head.
    pub value_dim: usize,
    /// Width of the feed-forward block.
    pub feed_forward_width: usize,
    /// Epsilon of every RMS norm.
    pub norm_epsilon: f32,
    /// Positions that the model was trained for.
    pub context_length: usize,
    /// Rotary embedding of the layers that see everything.
    pub rotary: RotaryConfig,
    /// Rotary embedding of the layers with a window, where it differs.
    pub rotary_windowed: Option<RotaryConfig>,
    /// Which layers see only a window.
    pub window: Option<Window>,
    /// The feed-forward block's nonlinearity.
    pub activation: Activation,
    /// Multiplies token embeddings.
    pub embedding_scale: f32,
    /// Multiplies `q . k`.
    pub attention_scale: f32,
    /// Caps attention scores.
    pub attention_soft_cap: Option<f32>,
    /// Caps logits.
    pub logit_soft_cap: Option<f32>,
    /// The output head shares the token embedding's matrix.
    pub tied_head: bool,
    /// Queries and keys are normalised per head.
    pub qk_norm: bool,
    /// Attention and feed-forward outputs are normalised before they are added.
    pub post_norms: bool,
    /// What the model takes for the state of a whole text.
    pub pooling: Pooling,
}

/// Which final states stand for a text as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pooling {
    /// The mean of those of all its tokens.
    #[default]
    Mean,
    /// That of its first token.
    First,
    /// That of its last token.
    Last,
}

/// A rotary embedding before it is reduced to frequencies.
#[derive(Clone, Debug, PartialEq)]
pub struct RotaryConfig {
    /// The base of the geometric series of frequencies.
    pub theta: f32,
    /// How many elements of a head rotate.
    pub dim: usize,
    /// Which elements form a pair.
    pub pairing: RotaryPairing,
    /// How positions beyond the trained length are reached.
    pub scaling: RotaryScaling,
}

/// Context extension of a rotary embedding.
#[derive(Clone, Debug, PartialEq)]
pub enum RotaryScaling {
    /// As trained.
    None,
    /// Every frequency divided by the factor. Chen et al., arXiv:2306.15595.
    Linear {
        /// The factor.
        factor: f32,
    },
    /// Low frequencies divided, high ones kept, a ramp between (Llama 3.1).
    Llama3 {
        /// Divides the low frequencies.
        factor: f32,
        /// Wavelengths above `original_context / low` are divided.
        low_frequency_factor: f32,
        /// Wavelengths below `original_context / high` are kept.
        high_frequency_factor: f32,
        /// The context length before extension.
        original_context: f32,
    },
    /// Each pair's frequency divided by its own factor (the tensor `rope_freqs.weight`).
    Factors(Vec<f32>),
}

/// Sliding-window attention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Positions that a windowed layer sees, itself included.
    pub size: usize,
    /// Of each layer, whether it sees only the window.
    pub layers: Vec<bool>,
}

impl Config {
    /// Reads the hyper-parameters of a weights file, by the table of its architecture.
    ///
    /// # Errors
    /// The architecture is unknown, or a key is missing, of the wrong type, out of range or
    /// contradicted by another.
    pub fn read(source: &dyn WeightSource) -> Result<Self, ModelError> {
        arch::read(source)
    }

    /// The architecture's name alone.
    ///
    /// # Errors
    /// The key is missing or no text.
    pub fn architecture(metadata: &Metadata) -> Result<&str, ModelError> {
        crate::keys::architecture(metadata)
    }

    /// The window of a layer, if it has one.
    pub fn layer_window(&self, layer: usize) -> Option<usize> {
        self.window.as_ref().filter(|window| window.layers[layer]).map(|window| window.size)
    }

    /// Elements that the keys and values of one position take, over all layers.
    pub fn kv_elements_per_position(&self) -> usize {
        self.layer_count * self.kv_head_count * (self.head_dim + self.value_dim)
    }
}
