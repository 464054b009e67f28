//! What a tape remembers of an operation: enough to compute it again and to run it backward.

use super::parameters::ParameterId;
use super::rotary::RotaryHandle;
use super::values::ValueId;
use crate::ops::{Activation, AttentionSpec, Linear, Norm, Site};

/// One operation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Record {
    Embed {
        table: ParameterId,
        scale: f32,
        out: ValueId,
    },
    Linear {
        x: ValueId,
        linear: Linear<ParameterId>,
        out: ValueId,
    },
    /// Each `width` elements by themselves: a row, or a head.
    Norm {
        x: ValueId,
        norm: Norm<ParameterId>,
        width: usize,
        out: ValueId,
    },
    AddNorm {
        site: Site,
        residual: ValueId,
        x: ValueId,
        norm: Norm<ParameterId>,
        sum: ValueId,
        normed: ValueId,
    },
    /// Consumes `x`.
    Rotary {
        x: ValueId,
        head_dim: usize,
        rotary: RotaryHandle,
        out: ValueId,
    },
    Attention {
        q: ValueId,
        k: ValueId,
        v: ValueId,
        spec: AttentionSpec,
        out: ValueId,
    },
    Gated {
        x: ValueId,
        gated: Gated,
        /// `[rows, 2 * width]`: what the gate made beside what the up made.
        inner: ValueId,
        out: ValueId,
    },
    /// Consumes `x`.
    SoftCap {
        x: ValueId,
        cap: f32,
        out: ValueId,
    },
}

/// A gated feed-forward block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gated {
    pub(super) gate: Linear<ParameterId>,
    pub(super) up: Linear<ParameterId>,
    pub(super) down: Linear<ParameterId>,
    pub(super) activation: Activation,
}

impl Record {
    /// The values that it is made of.
    pub(super) fn inputs(&self) -> impl Iterator<Item = ValueId> + use<> {
        let inputs = match *self {
            Record::Embed { .. } => [None; 3],
            Record::Linear { x, .. }
            | Record::Norm { x, .. }
            | Record::Rotary { x, .. }
            | Record::Gated { x, .. }
            | Record::SoftCap { x, .. } => [Some(x), None, None],
            Record::AddNorm { residual, x, .. } => [Some(residual), Some(x), None],
            Record::Attention { q, k, v, .. } => [Some(q), Some(k), Some(v)],
        };
        inputs.into_iter().flatten()
    }

    /// The values that backward reads.
    pub(super) fn needs(&self) -> impl Iterator<Item = ValueId> + use<> {
        let needs = match *self {
            Record::Embed { .. } | Record::Rotary { .. } => [None; 3],
            Record::Linear { x, .. } | Record::Norm { x, .. } => [Some(x), None, None],
            Record::AddNorm { sum, .. } => [Some(sum), None, None],
            Record::Attention { q, k, v, .. } => [Some(q), Some(k), Some(v)],
            Record::Gated { x, inner, .. } => [Some(x), Some(inner), None],
            Record::SoftCap { out, .. } => [Some(out), None, None],
        };
        needs.into_iter().flatten()
    }

    /// The values that it makes.
    pub(super) fn outs(&self) -> impl Iterator<Item = ValueId> + use<> {
        let outs = match *self {
            Record::Embed { out, .. }
            | Record::Linear { out, .. }
            | Record::Norm { out, .. }
            | Record::Rotary { out, .. }
            | Record::Attention { out, .. }
            | Record::SoftCap { out, .. } => [Some(out), None],
            Record::AddNorm { sum, normed, .. } => [Some(sum), Some(normed)],
            Record::Gated { inner, out, .. } => [Some(inner), Some(out)],
        };
        outs.into_iter().flatten()
    }
}
