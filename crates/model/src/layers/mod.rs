//! The kinds of layer parts, one file each.

mod attention;
mod mlp;

pub(crate) use attention::Attention;
pub(crate) use mlp::GatedMlp;
