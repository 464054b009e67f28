//! From the keys of `config.json` to GGUF's. Source of both: llama.cpp's `convert_hf_to_gguf.py`,
//! and the defaults of transformers' configuration classes for keys that may be left out.

use super::family::Family;
use super::json::Object;
use super::rope::Rope;
use super::window;
use crate::CheckpointError;
use crate::cursor::brief;
use lucid_tensor::{MetaValue, Metadata};
use std::path::Path;

/// What a `config.json` says.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) family: Family,
    pub(crate) metadata: Metadata,
    /// Whether the output matrix is the embedding.
    pub(crate) tied: bool,
    /// Llama 3's factors, which GGUF stores as the tensor `rope_freqs.weight`.
    pub(crate) rope_factors: Option<Vec<f32>>,
}

impl Config {
    pub(crate) fn read(file: &Path, text: &[u8]) -> Result<Self, CheckpointError> {
        let whole = Object::parse(file, text)?;
        let family = family(&whole)?;
        // Models that see keep the text part's configuration apart.
        let config = whole.object("text_config")?.unwrap_or_else(|| whole.clone());
        let tied = config.bool("tie_word_embeddings")?.or(whole.bool("tie_word_embeddings")?);
        let mut reader = Reader { config: &config, family, metadata: Metadata::default() };
        reader.check_activation()?;
        let rope_factors = reader.read()?;
        let mut metadata = reader.metadata;
        let name = whole.text("_name_or_path")?.filter(|name| !name.is_empty());
        if let Some(name) = name {
            let last = name.rsplit(['/', '\\']).next().unwrap_or(name);
            metadata.insert("general.name", MetaValue::Text(last.to_owned()), None);
        }
        Ok(Self { family, metadata, tied: tied.unwrap_or(family == Family::Gemma3), rope_factors })
    }
}

/// The family, by class or, where no class is given, by `model_type`.
fn family(config: &Object) -> Result<Family, CheckpointError> {
    let key = "architectures";
    let class = match config.array(key)?.and_then(|classes| classes.first()) {
        None => None,
        Some(class) => {
            Some(class.as_str().ok_or_else(|| config.wrong(key, "an array of texts", class))?)
        }
    };
    let model_type = config.text("model_type")?;
    let (found, family) = match (class, model_type) {
        (Some(class), _) => (class, Family::from_class(class)),
        (None, Some(model_type)) => (model_type, Family::from_model_type(model_type)),
        (None, None) => return Err(config.missing(key, "an array with one of the known classes")),
    };
    family.ok_or_else(|| CheckpointError::UnknownArchitecture {
        file: config.file.clone(),
        found: brief(found),
        known: Family::known(),
    })
}

struct Reader<'a> {
    config: &'a Object,
    family: Family,
    metadata: Metadata,
}

impl Reader<'_> {
    fn put(&mut self, key: &str, from: &str, value: MetaValue) {
        let key = format!("{}.{key}", self.family.name());
        self.metadata.insert(key, value, Some(self.config.offset(from)));
    }

    /// Copies an integer; required where there is no default.
    fn unsigned(
        &mut self,
        key: &str,
        from: &str,
        default: Option<u64>,
    ) -> Result<u64, CheckpointError> {
        let value = self.config.unsigned(from)?.or(default);
        let value = value.ok_or_else(|| self.config.missing(from, "a non-negative integer"))?;
        self.put(key, from, MetaValue::Unsigned(value));
        Ok(value)
    }

    /// All keys; returns the factors of llama-3 scaling.
    fn read(&mut self) -> Result<Option<Vec<f32>>, CheckpointError> {
        let family = self.family;
        let gemma = family == Family::Gemma3;
        let name = MetaValue::Text(family.name().to_owned());
        self.metadata.insert("general.architecture", name, None);
        let layers = self.unsigned("block_count", "num_hidden_layers", None)?;
        let context = match family {
            Family::Llama => 2048,
            Family::Qwen2 | Family::Qwen3 => 32_768,
            Family::Gemma3 => 131_072,
        };
        self.unsigned("context_length", "max_position_embeddings", Some(context))?;
        let width = self.unsigned("embedding_length", "hidden_size", None)?;
        self.unsigned("feed_forward_length", "intermediate_size", None)?;
        let heads =
            self.unsigned("attention.head_count", "num_attention_heads", gemma.then_some(8))?;
        let kv_default = Some(if gemma { 4 } else { heads });
        self.unsigned("attention.head_count_kv", "num_key_value_heads", kv_default)?;
        self.optional("vocab_size", "vocab_size", None)?;
        let epsilon = self.config.float("rms_norm_eps")?.unwrap_or(1e-6);
        let epsilon = MetaValue::Float(epsilon);
        self.put("attention.layer_norm_rms_epsilon", "rms_norm_eps", epsilon);

        let head_default = match family {
            Family::Gemma3 => Some(256),
            Family::Qwen3 => Some(128),
            Family::Llama | Family::Qwen2 => None,
        };
        let head = self.optional("attention.key_length", "head_dim", head_default)?;
        self.optional("attention.value_length", "head_dim", head_default)?;
        let head = head.or(width.checked_div(heads)).unwrap_or(0);
        if gemma {
            self.gemma()?;
        }
        if family == Family::Llama {
            let halves = MetaValue::Text("halves".to_owned());
            self.metadata.insert("lucid.rope.pairing", halves, None);
        }
        window::read(self.config, family, layers, &mut self.metadata)?;
        self.rope(head)
    }

    /// Copies an integer where there is one.
    fn optional(
        &mut self,
        key: &str,
        from: &str,
        default: Option<u64>,
    ) -> Result<Option<u64>, CheckpointError> {
        if default.is_none() && !self.config.has(from) {
            return Ok(None);
        }
        self.unsigned(key, from, default).map(Some)
    }

    /// Scale of the scores and caps of the logits.
    fn gemma(&mut self) -> Result<(), CheckpointError> {
        let from = "query_pre_attn_scalar";
        let scalar = self.config.float(from)?.unwrap_or(256.0);
        if scalar <= 0.0 {
            return Err(self.config.refuse(from, "a positive number", &scalar.to_string()));
        }
        self.put("attention.scale", from, MetaValue::Float(1.0 / scalar.sqrt()));
        for from in ["final_logit_softcapping", "attn_logit_softcapping"] {
            if let Some(cap) = self.config.float(from)? {
                self.put(from, from, MetaValue::Float(cap));
            }
        }
        Ok(())
    }

    fn rope(&mut self, head: u64) -> Result<Option<Vec<f32>>, CheckpointError> {
        let gemma = self.family == Family::Gemma3;
        let rope = Rope::read(self.config)?;
        let theta = rope.theta.unwrap_or(if gemma { 1e6 } else { 1e4 });
        self.put("rope.freq_base", "rope_theta", MetaValue::Float(theta));
        if gemma {
            let theta = MetaValue::Float(rope.theta_windowed.unwrap_or(1e4));
            self.put("rope.freq_base_swa", "rope_local_base_freq", theta);
        }
        let partial = rope.partial.unwrap_or(1.0);
        if !(partial > 0.0 && partial <= 1.0) {
            let expected = "a number above 0, up to 1";
            return Err(self.config.refuse(
                "partial_rotary_factor",
                expected,
                &partial.to_string(),
            ));
        }
        let dims = (head as f64 * partial) as u64;
        self.put("rope.dimension_count", "head_dim", MetaValue::Unsigned(dims));
        rope.scaling(self.family.name(), theta, dims, &mut self.metadata)
    }

    fn check_activation(&self) -> Result<(), CheckpointError> {
        let known = self.family.activations();
        for key in ["hidden_activation", "hidden_act"] {
            if let Some(found) = self.config.text(key)? {
                if known.contains(&found) {
                    break;
                }
                return Err(self.config.refuse(key, &known.join(" or "), &brief(found)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LLAMA: &str = r#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 64,
        "head_dim": 16,
        "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2,
        "vocab_size": 100,
        "num_hidden_layers": 3, "max_position_embeddings": 77, "rms_norm_eps": 1e-5,
        "rope_theta": 5e4,
        "tie_word_embeddings": false, "hidden_act": "silu", "torch_dtype": "bfloat16"}"#;

    fn read(text: &str) -> Result<Config, CheckpointError> {
        Config::read(Path::new("config.json"), text.as_bytes())
    }

    #[test]
    fn llama_keys() {
        let config = read(LLAMA).unwrap();
        assert!(!config.tied && config.rope_factors.is_none());
        let check = |key: &str, expected: f64| {
            assert_eq!(config.metadata.float(&format!("llama.{key}")), Ok(Some(expected)), "{key}");
        };
        check("block_count", 3.0);
        check("context_length", 77.0);
        check("embedding_length", 64.0);
        check("feed_forward_length", 96.0);
        check("attention.head_count", 4.0);
        check("attention.head_count_kv", 2.0);
        check("attention.key_length", 16.0);
        check("attention.value_length", 16.0);
        check("attention.layer_norm_rms_epsilon", 1e-5);
        check("rope.freq_base", 5e4);
        check("rope.dimension_count", 16.0);
        check("vocab_size", 100.0);
        assert_eq!(config.metadata.text("lucid.rope.pairing"), Ok(Some("halves")));
        assert_eq!(config.metadata.text("general.architecture"), Ok(Some("llama")));
    }

    #[test]
    fn gemma_defaults_in_a_text_part() {
        let text = r#"{"architectures": ["Gemma3ForConditionalGeneration"], "vision_config": {},
            "text_config": {"hidden_size": 64, "intermediate_size": 8, "num_hidden_layers": 2,
            "sliding_window": 512, "query_pre_attn_scalar": 64, "rope_local_base_freq": 10000.0,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"}}}"#;
        let config = read(text).unwrap();
        assert!(config.tied);
        let check = |key: &str, expected: f64| {
            assert_eq!(
                config.metadata.float(&format!("gemma3.{key}")),
                Ok(Some(expected)),
                "{key}"
            );
        };
        check("attention.scale", 0.125);
        check("attention.key_length", 256.0);
        check("attention.head_count_kv", 4.0);
        check("rope.freq_base", 1e6);
        check("rope.freq_base_swa", 1e4);
        check("rope.scaling.factor", 8.0);
        check("attention.sliding_window", 512.0);
        check("attention.sliding_window_pattern", 6.0);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |from: &str, to: &str, expected: &[&str]| {
            let error = read(&LLAMA.replace(from, to)).unwrap_err().to_string();
            for expected in expected.iter().chain(&["config.json"]) {
                assert!(error.contains(expected), "{error}");
            }
        };
        let offset = LLAMA.find("\"hidden_size\"").unwrap();
        check(
            "\"hidden_size\": 64",
            "\"hidden_size\": \"a\"",
            &["hidden_size", &offset.to_string()],
        );
        check("\"hidden_size\": 64,", "", &["`hidden_size`", "found nothing"]);
        check("\"hidden_size\": 64", "\"hidden_size\": -1", &["hidden_size", "-1"]);
        check("LlamaForCausalLM", "FooForCausalLM", &["FooForCausalLM", "Qwen3ForCausalLM"]);
        check("[\"LlamaForCausalLM\"]", "[3]", &["architectures"]);
        check("[\"LlamaForCausalLM\"]", "null", &["architectures"]);
        check("silu", "relu", &["hidden_act", "relu"]);
        check("5e4", "[]", &["rope_theta"]);
        check("5e4", "NaN", &["JSON"]);
    }
}
