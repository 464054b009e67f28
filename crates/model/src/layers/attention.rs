//! Grouped-query self-attention with rotary positions. Source: Ainslie et al., arXiv:2305.13245.

use lucid_tensor::{AttentionSpec, Linear, Norm, Ops};

use crate::bind::Binder;
use crate::{Config, ModelError};

pub(crate) struct Attention<O: Ops> {
    q: Linear<O::Weight>,
    k: Linear<O::Weight>,
    v: Linear<O::Weight>,
    out: Linear<O::Weight>,
    q_norm: Option<Norm<O::Weight>>,
    k_norm: Option<Norm<O::Weight>>,
    rotary: O::Rotary,
    spec: AttentionSpec,
}

impl<O: Ops> Attention<O> {
    pub(crate) fn bind(
        binder: &mut Binder<'_, O>,
        config: &Config,
        layer: usize,
        rotary: O::Rotary,
    ) -> Result<Self, ModelError> {
        let Config { width, head_count, kv_head_count, head_dim, value_dim, .. } = *config;
        let name = |part: &str| format!("blk.{layer}.attn_{part}");
        let (q_norm, k_norm) = if config.qk_norm {
            let q_norm = binder.norm(&name("q_norm"), head_dim)?;
            (Some(q_norm), Some(binder.norm(&name("k_norm"), head_dim)?))
        } else {
            (None, None)
        };
        Ok(Self {
            q: binder.linear(&name("q"), head_count * head_dim, width)?,
            k: binder.linear(&name("k"), kv_head_count * head_dim, width)?,
            v: binder.linear(&name("v"), kv_head_count * value_dim, width)?,
            out: binder.linear(&name("output"), width, head_count * value_dim)?,
            q_norm,
            k_norm,
            rotary,
            spec: AttentionSpec {
                head_count,
                kv_head_count,
                head_dim,
                value_dim,
                scale: config.attention_scale,
                soft_cap: config.attention_soft_cap,
                window: config.layer_window(layer),
            },
        })
    }

    /// `last`: of the result only the rows matter whose logits are wanted.
    pub(crate) fn forward(&self, ops: &mut O, layer: usize, x: O::Value, last: bool) -> O::Value {
        let head_dim = self.spec.head_dim;
        let [mut q, mut k, v] = ops.linear(x, [self.q, self.k, self.v]);
        if let (Some(q_norm), Some(k_norm)) = (self.q_norm, self.k_norm) {
            q = ops.head_norm(q, head_dim, q_norm);
            k = ops.head_norm(k, head_dim, k_norm);
        }
        q = ops.rotary(q, head_dim, self.rotary);
        k = ops.rotary(k, head_dim, self.rotary);
        let mut mixed = ops.attention(layer, q, k, v, &self.spec);
        if last {
            mixed = ops.narrow_to_outputs(mixed);
        }
        let [out] = ops.linear(mixed, [self.out]);
        out
    }
}
