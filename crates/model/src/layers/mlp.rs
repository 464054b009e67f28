//! The gated feed-forward block. Source: Shazeer, arXiv:2002.05202.

use lucid_tensor::{Activation, Linear, Ops};

use crate::bind::Binder;
use crate::{Config, ModelError};

pub(crate) struct GatedMlp<O: Ops> {
    gate: Linear<O::Weight>,
    up: Linear<O::Weight>,
    down: Linear<O::Weight>,
    activation: Activation,
}

impl<O: Ops> GatedMlp<O> {
    pub(crate) fn bind(
        binder: &mut Binder<'_, O>,
        config: &Config,
        layer: usize,
    ) -> Result<Self, ModelError> {
        let Config { width, feed_forward_width, activation, .. } = *config;
        let name = |part: &str| format!("blk.{layer}.ffn_{part}");
        Ok(Self {
            gate: binder.linear(&name("gate"), feed_forward_width, width)?,
            up: binder.linear(&name("up"), feed_forward_width, width)?,
            down: binder.linear(&name("down"), width, feed_forward_width)?,
            activation,
        })
    }

    pub(crate) fn forward(&self, ops: &mut O, x: O::Value) -> O::Value {
        ops.gated_mlp(x, self.gate, self.up, self.down, self.activation)
    }
}
