//! What the decoder-only architectures share: the plain pre-norm Transformer with grouped heads and
//! a gated block.

use lucid_tensor::{Activation, MetaArray, MetaValue, RotaryPairing};

use crate::keys::Keys;
use crate::{Config, ModelError, Pooling, RotaryConfig, RotaryScaling, Window};

/// A `Config` as Llama has it; the other tables start from it and change what differs.
/// `window_period`: of layers with a window each so-many-th sees everything, where the file does
/// not say; 0 means that none does.
pub(super) fn base(
    keys: &Keys<'_>,
    pairing: RotaryPairing,
    window_period: usize,
) -> Result<Config, ModelError> {
    if keys.metadata.unsigned(&keys.key("expert_count"))?.is_some_and(|count| count > 0) {
        return Err(keys.unsupported("expert_count", &"a mixture of experts"));
    }
    if keys.metadata.bool(&keys.key("attention.causal"))? == Some(false) {
        return Err(keys.unsupported("attention.causal", &"attention to what follows"));
    }
    let width = keys.need_dimension("embedding_length")?;
    let layer_count = keys.layer_count()?;
    let head_count = keys
        .uniform_dimension("attention.head_count")?
        .map_or_else(|| keys.need_dimension("attention.head_count"), Ok)?;
    let kv_head_count = keys.uniform_dimension("attention.head_count_kv")?.unwrap_or(head_count);
    let head_dim = match keys.dimension("attention.key_length")? {
        Some(dim) => dim,
        None if width.is_multiple_of(head_count) => width / head_count,
        None => {
            let expected = format!("a divisor of the embedding length {width}");
            return Err(keys.out_of_range("attention.head_count", &head_count, &expected));
        }
    };
    let value_dim = keys.dimension("attention.value_length")?.unwrap_or(head_dim);
    let rotary = RotaryConfig {
        theta: keys.positive("rope.freq_base")?.unwrap_or(10_000.0),
        dim: keys.dimension("rope.dimension_count")?.unwrap_or(head_dim),
        pairing: self::pairing(keys, pairing)?,
        scaling: scaling(keys)?,
    };
    Ok(Config {
        architecture: keys.metadata.text("general.architecture")?.unwrap_or_default().to_owned(),
        vocab_size: vocab_size(keys)?,
        width,
        layer_count,
        head_count,
        kv_head_count,
        head_dim,
        value_dim,
        feed_forward_width: keys
            .uniform_dimension("feed_forward_length")?
            .map_or_else(|| keys.need_dimension("feed_forward_length"), Ok)?,
        norm_epsilon: keys.need_positive("attention.layer_norm_rms_epsilon")?,
        context_length: keys.need_dimension("context_length")?,
        rotary,
        rotary_windowed: None,
        window: window(keys, layer_count, window_period)?,
        activation: Activation::Silu,
        embedding_scale: 1.0,
        attention_scale: keys
            .positive("attention.scale")?
            .unwrap_or_else(|| 1.0 / (head_dim as f32).sqrt()),
        attention_soft_cap: keys.positive("attn_logit_softcapping")?,
        logit_soft_cap: keys.positive("final_logit_softcapping")?,
        tied_head: keys.source.tensor("output.weight").is_none(),
        qk_norm: false,
        post_norms: false,
        pooling: pooling(keys)?,
    })
}

/// Whether the file says that the model ranks texts.
pub(super) fn ranks(keys: &Keys<'_>) -> Result<bool, ModelError> {
    let stated = keys.metadata.unsigned(&keys.key("pooling_type"))?;
    Ok(stated.map_or(keys.source.tensor("cls.output.weight").is_some(), |kind| kind == 4))
}

/// `pooling_type`, in llama.cpp's numbers; the mean where none is stated. What ranks looks at the
/// first token.
fn pooling(keys: &Keys<'_>) -> Result<Pooling, ModelError> {
    let tail = "pooling_type";
    match keys.metadata.unsigned(&keys.key(tail))? {
        _ if ranks(keys)? => Ok(Pooling::First),
        None | Some(0 | 1) => Ok(Pooling::Mean),
        Some(2) => Ok(Pooling::First),
        Some(3) => Ok(Pooling::Last),
        Some(kind) => Err(keys.out_of_range(tail, &kind, "0 to 4")),
    }
}

/// What every `Config` must satisfy before memory is spent on it.
pub(super) fn check(keys: &Keys<'_>, config: &Config) -> Result<(), ModelError> {
    if !config.head_count.is_multiple_of(config.kv_head_count) {
        let expected = format!("a divisor of the head count {}", config.head_count);
        let tail = "attention.head_count_kv";
        return Err(keys.out_of_range(tail, &config.kv_head_count, &expected));
    }
    for rotary in std::iter::once(&config.rotary).chain(&config.rotary_windowed) {
        if !rotary.dim.is_multiple_of(2) || rotary.dim > config.head_dim {
            let expected = format!("an even number up to the head's width {}", config.head_dim);
            return Err(keys.out_of_range("rope.dimension_count", &rotary.dim, &expected));
        }
        if let RotaryScaling::Factors(factors) = &rotary.scaling
            && (factors.len() != rotary.dim / 2 || factors.iter().any(|f| !f.is_normal()))
        {
            let found = format!("{} factors", factors.len());
            let expected = format!("{} finite factors, none 0", rotary.dim / 2);
            return Err(ModelError::HyperParameter {
                key: "rope_freqs.weight".to_owned(),
                found,
                expected,
                offset: keys.source.tensor("rope_freqs.weight").map(|view| view.offset),
            });
        }
    }
    Ok(())
}

/// Rows of the token embedding, and the metadata's own count where it states one.
fn vocab_size(keys: &Keys<'_>) -> Result<usize, ModelError> {
    let stated = keys.dimension("vocab_size")?;
    let rows = keys.source.tensor("token_embd.weight").and_then(|view| view.shape.first().copied());
    match (rows, stated) {
        (Some(rows), Some(stated)) if rows < stated => {
            let expected = format!("at most the {rows} rows of `token_embd.weight`");
            Err(keys.out_of_range("vocab_size", &stated, &expected))
        }
        (Some(rows), _) => Ok(rows),
        (None, Some(stated)) => Ok(stated),
        (None, None) => Err(ModelError::MissingTensor {
            name: "token_embd.weight".to_owned(),
            expected: vec![],
        }),
    }
}

/// The file may say how query and key rows are laid out; else it is the architecture's habit in
/// GGUF.
fn pairing(keys: &Keys<'_>, default: RotaryPairing) -> Result<RotaryPairing, ModelError> {
    let key = "lucid.rope.pairing";
    match keys.metadata.text(key)? {
        None => Ok(default),
        Some("neighbours") => Ok(RotaryPairing::Neighbours),
        Some("halves") => Ok(RotaryPairing::Halves),
        Some(_) => {
            let found = keys.metadata.value(key).cloned().unwrap_or(MetaValue::Bool(false));
            Err(keys.metadata.wrong(key, "`neighbours` or `halves`", &found).into())
        }
    }
}

/// The window and the layers that have it: a period, a list that says it of each layer, or the
/// architecture's habit.
fn window(
    keys: &Keys<'_>,
    layer_count: usize,
    default_period: usize,
) -> Result<Option<Window>, ModelError> {
    let size = keys.metadata.unsigned(&keys.key("attention.sliding_window"))?;
    let Some(size) = size.filter(|&size| size > 0 && size < u64::from(u32::MAX)) else {
        return Ok(None);
    };
    let tail = "attention.sliding_window_pattern";
    let layers = match keys.metadata.value(&keys.key(tail)) {
        Some(MetaValue::Array(MetaArray::Bool(layers))) if layers.len() == layer_count => {
            layers.clone()
        }
        Some(MetaValue::Array(MetaArray::Bool(layers))) => {
            let found = format!("a list of {}", layers.len());
            return Err(keys.out_of_range(tail, &found, &format!("one of {layer_count} layers")));
        }
        _ => {
            let period = keys.metadata.unsigned(&keys.key(tail))?;
            let period = period.map_or(default_period, |period| period as usize);
            let is_full = |layer: usize| period != 0 && (layer + 1).is_multiple_of(period);
            (0..layer_count).map(|layer| !is_full(layer)).collect()
        }
    };
    Ok(Some(Window { size: size as usize, layers }))
}

/// `rope.scaling.*`, or the tensor of factors that Llama 3.1 files carry.
fn scaling(keys: &Keys<'_>) -> Result<RotaryScaling, ModelError> {
    if let Some(view) = keys.source.tensor("rope_freqs.weight") {
        return factors(&view);
    }
    let factor = match keys.positive("rope.scaling.factor")? {
        Some(factor) => Some(factor),
        // The key of older files.
        None => keys.positive("rope.scale_linear")?,
    };
    let (unscaled, factor) = (factor.is_none(), factor.unwrap_or(1.0));
    let tail = "rope.scaling.type";
    match keys.metadata.text(&keys.key(tail))? {
        Some("none" | "default") => Ok(RotaryScaling::None),
        None if unscaled => Ok(RotaryScaling::None),
        // A factor without a type is linear, as llama.cpp reads it.
        None | Some("linear") => Ok(RotaryScaling::Linear { factor }),
        Some("llama3") => Ok(RotaryScaling::Llama3 {
            factor,
            low_frequency_factor: keys.need_positive("rope.scaling.low_freq_factor")?,
            high_frequency_factor: keys.need_positive("rope.scaling.high_freq_factor")?,
            original_context: keys.need_positive("rope.scaling.original_context_length")?,
        }),
        Some(other) => Err(keys.unsupported(tail, &format!("the rotary scaling `{other}`"))),
    }
}

fn factors(view: &lucid_tensor::TensorView) -> Result<RotaryScaling, ModelError> {
    let shape_error = || ModelError::Shape {
        name: view.name.clone(),
        offset: view.offset,
        expected: vec![0],
        found: view.shape.clone(),
    };
    let [len] = *view.shape.as_slice() else { return Err(shape_error()) };
    if view.dtype != lucid_tensor::DType::F32 || view.data.len() != len * 4 {
        return Err(shape_error());
    }
    let value = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    Ok(RotaryScaling::Factors(view.data.chunks_exact(4).map(value).collect()))
}
