//! Reads any bytes as a safetensors file of a small Llama, or, where they start with `{`, as its
//! `config.json`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lucid_checkpoint::Checkpoint;
use lucid_sys::Bytes;
use lucid_tensor::WeightSource;
use std::path::Path;

const CONFIG: &str = r#"{"architectures": ["Gemma3ForCausalLM"], "hidden_size": 8, "head_dim": 4,
    "intermediate_size": 6, "num_attention_heads": 2, "num_key_value_heads": 1,
    "num_hidden_layers": 1, "vocab_size": 5, "rms_norm_eps": 1e-5}"#;

fuzz_target!(|data: &[u8]| {
    let name = Path::new("fuzz.safetensors");
    let opened = if data.starts_with(b"{") {
        let empty = [&2u64.to_le_bytes()[..], b"{}"].concat();
        Checkpoint::from_safetensors_bytes(name, data, Bytes::from(empty))
    } else {
        Checkpoint::from_safetensors_bytes(name, CONFIG.as_bytes(), Bytes::from(data.to_vec()))
    };
    if let Ok(checkpoint) = opened {
        for name in checkpoint.tensor_names() {
            let view = checkpoint.tensor(&name).expect("a listed tensor is there");
            assert!(view.element_count() > 0 && !view.data.is_empty());
        }
    }
});
