//! Reads any bytes as a GGUF file, and looks at everything in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lucid_checkpoint::Checkpoint;
use lucid_sys::Bytes;
use lucid_tensor::WeightSource;
use std::path::Path;

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::from(data.to_vec());
    match Checkpoint::from_gguf_bytes(Path::new("fuzz.gguf"), bytes) {
        Ok(checkpoint) => {
            for name in checkpoint.tensor_names() {
                let view = checkpoint.tensor(&name).expect("a listed tensor is there");
                assert!(view.offset as usize + view.data.len() <= data.len());
                assert!(view.element_count() > 0);
            }
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("fuzz.gguf") && text.contains("byte "), "{text}");
        }
    }
});
