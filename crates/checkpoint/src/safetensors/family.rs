//! The families that are known: their names in `config.json`, and how their tensors are called in
//! GGUF. Source of the names on both sides: llama.cpp's `gguf-py/gguf/tensor_mapping.py`.

use super::header::Named;

/// A family of networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Llama,
    Qwen2,
    Qwen3,
    Gemma3,
}

/// (class in `architectures`, `model_type`, family).
const KNOWN: [(&str, &str, Family); 6] = [
    ("LlamaForCausalLM", "llama", Family::Llama),
    ("MistralForCausalLM", "mistral", Family::Llama),
    ("Qwen2ForCausalLM", "qwen2", Family::Qwen2),
    ("Qwen3ForCausalLM", "qwen3", Family::Qwen3),
    ("Gemma3ForCausalLM", "gemma3_text", Family::Gemma3),
    ("Gemma3ForConditionalGeneration", "gemma3", Family::Gemma3),
];

impl Family {
    pub(crate) fn from_class(class: &str) -> Option<Self> {
        KNOWN.iter().find(|row| row.0 == class).map(|row| row.2)
    }

    pub(crate) fn from_model_type(model_type: &str) -> Option<Self> {
        KNOWN.iter().find(|row| row.1 == model_type).map(|row| row.2)
    }

    /// The classes that are known, for an error message.
    pub(crate) fn known() -> String {
        KNOWN.map(|row| row.0).join(", ")
    }

    /// The name in GGUF's `general.architecture`, which also starts its keys.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Gemma3 => "gemma3",
        }
    }

    /// The class and the `model_type` that `config.json` names.
    pub(crate) fn class(self) -> (&'static str, &'static str) {
        let row = KNOWN.iter().find(|row| row.2 == self);
        row.map_or(("", ""), |row| (row.0, row.1))
    }

    /// The reverse of `rename`, for families without norms after their blocks.
    pub(crate) fn name_in_transformers(self, name: &str) -> Option<String> {
        let candidates = match name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
            None => vec![
                "model.embed_tokens.weight".to_owned(),
                "model.norm.weight".to_owned(),
                "lm_head.weight".to_owned(),
            ],
            Some((number, part)) => {
                let suffix = part.rsplit_once('.')?.1;
                let stems = [
                    "self_attn.q_proj",
                    "self_attn.k_proj",
                    "self_attn.v_proj",
                    "self_attn.o_proj",
                    "self_attn.q_norm",
                    "self_attn.k_norm",
                    "mlp.gate_proj",
                    "mlp.up_proj",
                    "mlp.down_proj",
                    "input_layernorm",
                    "post_attention_layernorm",
                ];
                stems.map(|stem| format!("model.layers.{number}.{stem}.{suffix}")).to_vec()
            }
        };
        let wanted = Named::Tensor(name.to_owned());
        candidates.into_iter().find(|candidate| self.rename(candidate, false) == wanted)
    }

    /// The activation of the gated MLP, as `config.json` may call it.
    pub(crate) fn activations(self) -> &'static [&'static str] {
        match self {
            Self::Gemma3 => &["gelu_pytorch_tanh"],
            _ => &["silu", "swish"],
        }
    }

    /// What a tensor is called in GGUF.
    pub(crate) fn rename(self, name: &str, tied: bool) -> Named {
        const OTHER_PARTS: [&str; 3] = ["vision_tower.", "multi_modal_projector.", "vision_model."];
        let inner = name.strip_prefix("model.").unwrap_or(name);
        if OTHER_PARTS.iter().any(|part| inner.starts_with(part)) {
            return Named::Skip;
        }
        let inner = inner.strip_prefix("language_model.").unwrap_or(inner);
        let inner = inner.strip_prefix("model.").unwrap_or(inner);
        match inner {
            "embed_tokens.weight" => Named::Tensor("token_embd.weight".to_owned()),
            "norm.weight" => Named::Tensor("output_norm.weight".to_owned()),
            "lm_head.weight" if tied => Named::Skip,
            "lm_head.weight" => Named::Tensor("output.weight".to_owned()),
            "rotary_emb.inv_freq" => Named::Skip,
            _ => inner.strip_prefix("layers.").map_or(Named::Unknown, |rest| self.in_layer(rest)),
        }
    }

    /// A tensor of one layer, `12.self_attn.q_proj.weight`.
    fn in_layer(self, name: &str) -> Named {
        let Some((number, name)) = name.split_once('.') else { return Named::Unknown };
        let canonical = number.parse::<u32>().is_ok_and(|n| n.to_string() == number);
        if !canonical {
            return Named::Unknown;
        }
        if name == "self_attn.rotary_emb.inv_freq" {
            return Named::Skip;
        }
        let Some((stem, suffix)) = name.rsplit_once('.') else { return Named::Unknown };
        let gemma = self == Self::Gemma3;
        let stem = match stem {
            "self_attn.q_proj" => "attn_q",
            "self_attn.k_proj" => "attn_k",
            "self_attn.v_proj" => "attn_v",
            "self_attn.o_proj" => "attn_output",
            "self_attn.q_norm" => "attn_q_norm",
            "self_attn.k_norm" => "attn_k_norm",
            "mlp.gate_proj" => "ffn_gate",
            "mlp.up_proj" => "ffn_up",
            "mlp.down_proj" => "ffn_down",
            "input_layernorm" => "attn_norm",
            "post_attention_layernorm" if gemma => "post_attention_norm",
            "post_attention_layernorm" => "ffn_norm",
            "pre_feedforward_layernorm" if gemma => "ffn_norm",
            "post_feedforward_layernorm" if gemma => "post_ffw_norm",
            _ => return Named::Unknown,
        };
        match suffix {
            "weight" | "bias" => Named::Tensor(format!("blk.{number}.{stem}.{suffix}")),
            _ => Named::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_ggufs() {
        let check = |family: Family, name: &str, expected: Option<&str>| {
            let expected = expected.map_or(Named::Unknown, |name| match name {
                "" => Named::Skip,
                name => Named::Tensor(name.to_owned()),
            });
            assert_eq!(family.rename(name, false), expected, "{name}");
        };
        let (llama, qwen, gemma) = (Family::Llama, Family::Qwen3, Family::Gemma3);
        check(llama, "model.embed_tokens.weight", Some("token_embd.weight"));
        check(llama, "lm_head.weight", Some("output.weight"));
        check(llama, "model.layers.10.self_attn.q_proj.weight", Some("blk.10.attn_q.weight"));
        check(
            llama,
            "model.layers.0.post_attention_layernorm.weight",
            Some("blk.0.ffn_norm.weight"),
        );
        check(llama, "model.layers.0.self_attn.rotary_emb.inv_freq", Some(""));
        check(llama, "model.layers.01.mlp.up_proj.weight", None);
        check(llama, "model.layers.0.mlp.experts.0.up_proj.weight", None);
        check(llama, "model.layers.0.mlp.up_proj.lora_A", None);
        check(qwen, "layers.3.self_attn.k_norm.weight", Some("blk.3.attn_k_norm.weight"));
        check(qwen, "model.layers.3.self_attn.k_proj.bias", Some("blk.3.attn_k.bias"));
        check(qwen, "model.layers.3.pre_feedforward_layernorm.weight", None);
        let layer = "language_model.model.layers.1.";
        let in_layer = |rest: &str| format!("{layer}{rest}");
        let pairs = [
            ("post_attention_layernorm.weight", "blk.1.post_attention_norm.weight"),
            ("pre_feedforward_layernorm.weight", "blk.1.ffn_norm.weight"),
            ("post_feedforward_layernorm.weight", "blk.1.post_ffw_norm.weight"),
        ];
        for (name, expected) in pairs {
            check(gemma, &in_layer(name), Some(expected));
        }
        check(gemma, "model.language_model.norm.weight", Some("output_norm.weight"));
        check(gemma, "model.vision_tower.encoder.x.weight", Some(""));
        assert_eq!(llama.rename("lm_head.weight", true), Named::Skip);
    }
}
