//! The operations a network is written in, once, for every executor.
//!
//! `model` calls these; an executor decides where values live, how weights are packed and what runs
//! in parallel. `Eager` computes at once and recycles memory; `Tape` (training) records the same
//! calls for a backward pass. The operations are coarse so that an executor has something to fuse:
//! one projection onto several weights, one residual addition with the norm that follows it, one
//! gated feed-forward block.
//!
//! Rules that both executors rely on:
//! - A value is a Copy handle on a `[rows, width]` f32 matrix, one row per token of the pass.
//! - `rotary`, `head_norm` and `soft_cap` *consume* their input: an executor may work in place, so
//!   the old handle is dead.
//! - Values made inside `scope` die at its end, except those it returns. For `Tape` a scope is
//!   where activations may be dropped and computed again.
//! - Shapes were checked when the weights were bound, and capacity when the pass was planned; so
//!   nothing here returns an error. A mismatch is our bug and panics.

use crate::{TensorError, TensorView};

/// A matrix with an optional bias: `y = x W^T + b`, `W` being `[out, in]` row-major.
#[derive(Clone, Copy, Debug)]
pub struct Linear<W> {
    /// The matrix, `[out, in]`.
    pub weight: W,
    /// The bias, `[out]`.
    pub bias: Option<W>,
}

/// A normalisation over the width of a row (or of a head).
#[derive(Clone, Copy, Debug)]
pub enum Norm<W> {
    /// `x / sqrt(mean(x^2) + epsilon) * weight`. Zhang and Sennrich, arXiv:1910.07467.
    Rms {
        /// `[width]`.
        weight: W,
        /// Added to the mean square.
        epsilon: f32,
    },
    /// `(x - mean) / sqrt(var + epsilon) * weight + bias`. Ba et al., arXiv:1607.06450.
    Layer {
        /// `[width]`.
        weight: W,
        /// `[width]`.
        bias: Option<W>,
        /// Added to the variance.
        epsilon: f32,
    },
}

/// The nonlinearity of a gated feed-forward block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// The tanh approximation of GELU.
    GeluTanh,
}

/// Which elements of a head rotate together.
pub use lucid_kernels::RotaryPairing;

/// Rotary position embedding (Su et al., arXiv:2104.09864), reduced to what its variants share.
#[derive(Clone, Debug, PartialEq)]
pub struct RotarySpec {
    /// Radians per position for each pair; scaling methods are already applied. `2 * len` elements
    /// of a head rotate.
    pub inverse_frequencies: Vec<f32>,
    /// Multiplies sine and cosine (1 except for YaRN).
    pub magnitude: f32,
    /// Which elements form a pair.
    pub pairing: RotaryPairing,
}

/// How a layer attends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionSpec {
    /// Number of query heads; a multiple of the number of key-value heads.
    pub head_count: usize,
    /// Number of key-value heads.
    pub kv_head_count: usize,
    /// Width of a query or key head.
    pub head_dim: usize,
    /// Width of a value head.
    pub value_dim: usize,
    /// Multiplies `q . k`.
    pub scale: f32,
    /// `cap * tanh(score / cap)` when present.
    pub soft_cap: Option<f32>,
    /// A position sees itself and the `window - 1` before it; all before it when absent.
    pub window: Option<usize>,
}

/// Where in the network a value stands: the address of an inspection hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Site {
    /// The (scaled) token embeddings that enter layer 0.
    Embedding,
    /// The residual stream after the attention of a layer was added.
    AfterAttention(usize),
    /// The residual stream after a whole layer.
    AfterLayer(usize),
    /// What the final norm made; only the rows of which something was asked for.
    Head,
}

/// The operations. See the module's text for the rules.
pub trait Ops {
    /// A handle on an activation matrix.
    type Value: Copy;
    /// A handle on a bound parameter.
    type Weight: Copy;
    /// A handle on a bound rotary embedding.
    type Rotary: Copy;

    /// Takes a parameter into the executor: a matrix `[out, in]`, or a vector.
    ///
    /// # Errors
    /// The tensor is not one that the executor can hold.
    fn bind(&mut self, view: &TensorView) -> Result<Self::Weight, TensorError>;

    /// Takes a rotary embedding into the executor.
    fn bind_rotary(&mut self, spec: RotarySpec) -> Self::Rotary;

    /// The rows of `table` that the pass's tokens name, times `scale`.
    fn embed(&mut self, table: Self::Weight, scale: f32) -> Self::Value;

    /// Projects `x` onto several weights at once.
    fn linear<const N: usize>(
        &mut self,
        x: Self::Value,
        weights: [Linear<Self::Weight>; N],
    ) -> [Self::Value; N];

    /// Normalises each row.
    fn norm(&mut self, x: Self::Value, norm: Norm<Self::Weight>) -> Self::Value;

    /// `(residual + x, norm(residual + x))`; the sum is what `site` addresses.
    fn add_norm(
        &mut self,
        site: Site,
        residual: Self::Value,
        x: Self::Value,
        norm: Norm<Self::Weight>,
    ) -> (Self::Value, Self::Value);

    /// Normalises each head of `head_dim` elements by itself. Consumes `x`.
    fn head_norm(
        &mut self,
        x: Self::Value,
        head_dim: usize,
        norm: Norm<Self::Weight>,
    ) -> Self::Value;

    /// Rotates each head of `head_dim` elements by its row's position. Consumes `x`.
    fn rotary(&mut self, x: Self::Value, head_dim: usize, rotary: Self::Rotary) -> Self::Value;

    /// Causal attention of the pass's rows over their own sequences, including what earlier passes
    /// left there.
    fn attention(
        &mut self,
        layer: usize,
        q: Self::Value,
        k: Self::Value,
        v: Self::Value,
        spec: &AttentionSpec,
    ) -> Self::Value;

    /// `down(activation(gate(x)) * up(x))`.
    fn gated_mlp(
        &mut self,
        x: Self::Value,
        gate: Linear<Self::Weight>,
        up: Linear<Self::Weight>,
        down: Linear<Self::Weight>,
        activation: Activation,
    ) -> Self::Value;

    /// `cap * tanh(x / cap)`. Consumes `x`.
    fn soft_cap(&mut self, x: Self::Value, cap: f32) -> Self::Value;

    /// Only the rows of which the pass wants something, in its order. Takes also a
    /// value that `narrow_to_outputs` made.
    fn select_outputs(&mut self, x: Self::Value) -> Self::Value;

    /// Of the rows that `select_outputs` gave, those whose logits the pass wants.
    fn select_scored(&mut self, x: Self::Value) -> Self::Value;

    /// Says that of `x`, and of what is made of it, only the rows that `select_outputs` asks for
    /// matter: nothing that follows looks at other rows. An executor may keep all.
    fn narrow_to_outputs(&mut self, x: Self::Value) -> Self::Value;

    /// Shows a value to the inspection hook, which may replace its contents. Consumes `x`.
    fn probe(&mut self, site: Site, x: Self::Value) -> Self::Value;

    /// Runs `body`; of the values that it makes only those it returns live on.
    fn scope<const N: usize>(
        &mut self,
        body: impl FnOnce(&mut Self) -> [Self::Value; N],
    ) -> [Self::Value; N];
}
