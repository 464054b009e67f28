//! Reads any bytes as an adapter: a GGUF file, PEFT's safetensors file or, where they start with
//! `{`, its configuration.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lucid_checkpoint::AdapterFile;
use lucid_sys::Bytes;
use std::path::Path;

const CONFIG: &str = r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 3}"#;

fuzz_target!(|data: &[u8]| {
    let bytes = || Bytes::from(data.to_vec());
    let opened = if data.starts_with(b"GGUF") {
        AdapterFile::from_gguf_bytes(Path::new("fuzz.gguf"), bytes())
    } else if data.starts_with(b"{") {
        let empty = Bytes::from([&2u64.to_le_bytes()[..], b"{}"].concat());
        AdapterFile::from_peft_bytes(Path::new("fuzz.safetensors"), data, empty)
    } else {
        AdapterFile::from_peft_bytes(Path::new("fuzz.safetensors"), CONFIG.as_bytes(), bytes())
    };
    if let Ok(adapter) = opened {
        assert!(!adapter.parts().is_empty());
        for part in adapter.parts() {
            let (rank, [rows, cols]) = part.shape();
            assert!(rank > 0 && rows > 0 && cols > 0 && part.scale.is_finite());
            for view in [&part.a, &part.b] {
                let bytes = view.dtype.row_bytes(view.shape[1]).expect("whole blocks");
                assert_eq!(view.data.len(), view.shape[0] * bytes);
            }
        }
    }
});
