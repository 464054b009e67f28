//! The kinds of layer parts, one file each.

mod attention;
mod classifier;
mod mlp;

pub(crate) use attention::Attention;
pub use classifier::Classifier;
pub(crate) use mlp::GatedMlp;
