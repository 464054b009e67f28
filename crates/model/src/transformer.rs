//! The one Transformer: embedding, layers, norm, head. Everything that differs between
//! architectures is in `Config`.
//!
//! A layer hands on the residual stream and what is still to be added to it, so that the addition
//! and the next norm are one operation.

use lucid_tensor::{Linear, Norm, Ops, Site, WeightSource};

use crate::bind::{Binder, Matrices};
use crate::layers::{Attention, Classifier, GatedMlp};
use crate::{Config, ModelError};

struct Layer<O: Ops> {
    attention_norm: Norm<O::Weight>,
    attention: Attention<O>,
    attention_post_norm: Option<Norm<O::Weight>>,
    mlp_norm: Norm<O::Weight>,
    mlp: GatedMlp<O>,
    mlp_post_norm: Option<Norm<O::Weight>>,
}

/// A decoder-only Transformer whose parameters live in an executor.
pub struct Transformer<O: Ops> {
    config: Config,
    embedding: O::Weight,
    layers: Vec<Layer<O>>,
    norm: Norm<O::Weight>,
    head: Linear<O::Weight>,
    classifier: Option<Classifier<O>>,
    matrices: Matrices<O>,
}

/// What a pass computes.
#[derive(Clone, Copy, Debug)]
pub struct Computed<V> {
    /// What the final norm made, `[outputs, width]`.
    pub hidden: V,
    /// The logits of those outputs that are scored, `[scored, vocab_size]`.
    pub logits: V,
}

impl<O: Ops> Transformer<O> {
    /// Reads the hyper-parameters and takes all tensors into the executor.
    ///
    /// # Errors
    /// The description is refused (see `Config::read`), or a tensor is missing or of another shape
    /// than it says.
    pub fn bind(source: &dyn WeightSource, ops: &mut O) -> Result<Self, ModelError> {
        let config = Config::read(source)?;
        let rotary = ops.bind_rotary(config.rotary.spec());
        let rotary_windowed = match &config.rotary_windowed {
            Some(windowed) => ops.bind_rotary(windowed.spec()),
            None => rotary,
        };
        let mut binder = Binder {
            source,
            ops,
            norm_epsilon: config.norm_epsilon,
            matrices: Matrices::<O>::new(),
        };
        let matrix = [config.vocab_size, config.width];
        let embedding = binder.need("token_embd.weight", &matrix)?;
        let layers = (0..config.layer_count)
            .map(|layer| {
                let windowed = config.layer_window(layer).is_some();
                let rotary = if windowed { rotary_windowed } else { rotary };
                Layer::bind(&mut binder, &config, layer, rotary)
            })
            .collect::<Result<_, _>>()?;
        let norm = binder.norm("output_norm", config.width)?;
        let head = if config.tied_head {
            Linear { weight: embedding, bias: None }
        } else {
            binder.linear("output", config.vocab_size, config.width)?
        };
        // Those that passes multiply by; the ranking head is not among them.
        let mut matrices = std::mem::take(&mut binder.matrices);
        let classifier = Classifier::bind(&mut binder, config.width)?;
        // Under the name that adapters know.
        matrices.entry("output.weight".to_owned()).or_insert((embedding, matrix));
        Ok(Self { config, embedding, layers, norm, head, classifier, matrices })
    }

    /// The hyper-parameters.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// A matrix of a pass by its name in GGUF, and its shape `[rows, cols]`; `output.weight` even
    /// where it is the embedding's.
    pub fn matrix(&self, name: &str) -> Option<(O::Weight, [usize; 2])> {
        self.matrices.get(name).copied()
    }

    /// The head that ranks, if the model has one.
    pub fn classifier(&self) -> Option<&Classifier<O>> {
        self.classifier.as_ref()
    }

    /// Runs the pass that the executor has begun.
    pub fn forward(&self, ops: &mut O) -> Computed<O::Value> {
        let x = ops.embed(self.embedding, self.config.embedding_scale);
        let mut residual = ops.probe(Site::Embedding, x);
        let mut normed = ops.norm(residual, self.layers[0].attention_norm);
        for (index, layer) in self.layers.iter().enumerate() {
            let next = self.layers.get(index + 1);
            let next_norm = next.map_or(self.norm, |next| next.attention_norm);
            let place = Place { index, last: next.is_none() };
            [residual, normed] =
                ops.scope(|ops| layer.forward(ops, place, residual, normed, next_norm));
        }
        let selected = ops.select_outputs(normed);
        let hidden = ops.probe(Site::Head, selected);
        let scored = ops.select_scored(hidden);
        let [mut logits] = ops.linear(scored, [self.head]);
        if let Some(cap) = self.config.logit_soft_cap {
            logits = ops.soft_cap(logits, cap);
        }
        Computed { hidden, logits }
    }
}

/// Where a layer stands.
#[derive(Clone, Copy)]
struct Place {
    index: usize,
    last: bool,
}

impl<O: Ops> Layer<O> {
    fn bind(
        binder: &mut Binder<'_, O>,
        config: &Config,
        layer: usize,
        rotary: O::Rotary,
    ) -> Result<Self, ModelError> {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let (attention_post_norm, mlp_post_norm) = if config.post_norms {
            let attention = binder.norm(&name("post_attention_norm"), config.width)?;
            (Some(attention), Some(binder.norm(&name("post_ffw_norm"), config.width)?))
        } else {
            (None, None)
        };
        Ok(Self {
            attention_norm: binder.norm(&name("attn_norm"), config.width)?,
            attention: Attention::bind(binder, config, layer, rotary)?,
            attention_post_norm,
            mlp_norm: binder.norm(&name("ffn_norm"), config.width)?,
            mlp: GatedMlp::bind(binder, config, layer)?,
            mlp_post_norm,
        })
    }

    /// Takes the residual stream and its normed copy, returns both as the next layer (or the head)
    /// wants them. After the last attention no row looks at another one any more.
    fn forward(
        &self,
        ops: &mut O,
        Place { index, last }: Place,
        residual: O::Value,
        normed: O::Value,
        next_norm: Norm<O::Weight>,
    ) -> [O::Value; 2] {
        let [residual, normed] = ops.scope(|ops| {
            let mut mixed = self.attention.forward(ops, index, normed, last);
            let residual = if last { ops.narrow_to_outputs(residual) } else { residual };
            if let Some(norm) = self.attention_post_norm {
                mixed = ops.norm(mixed, norm);
            }
            ops.add_norm(Site::AfterAttention(index), residual, mixed, self.mlp_norm).into()
        });
        let mut fed = self.mlp.forward(ops, normed);
        if let Some(norm) = self.mlp_post_norm {
            fed = ops.norm(fed, norm);
        }
        ops.add_norm(Site::AfterLayer(index), residual, fed, next_norm).into()
    }
}
