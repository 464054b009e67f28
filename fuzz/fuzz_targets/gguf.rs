//! Reads any bytes as a GGUF file, looks at everything in it, and makes its vocabulary as the
//! command line does.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lucid_checkpoint::Checkpoint;
use lucid_sys::Bytes;
use lucid_tensor::WeightSource;
use lucid_tokenizer::{AddSpecial, ParseSpecial, ShowSpecial};
use std::path::Path;

#[allow(dead_code, reason = "only the way from metadata to a tokenizer is used")]
#[path = "../../crates/cli/src/vocabulary.rs"]
mod vocabulary;

const TEXT: &[u8] = "Hello, w\u{f6}rld 123 \u{2581}\u{4e2d} <s></s>\t\r\n  x".as_bytes();

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::from(data.to_vec());
    match Checkpoint::from_gguf_bytes(Path::new("fuzz.gguf"), bytes) {
        Ok(checkpoint) => {
            for name in checkpoint.tensor_names() {
                let view = checkpoint.tensor(&name).expect("a listed tensor is there");
                assert!(view.offset as usize + view.data.len() <= data.len());
                assert!(view.element_count() > 0);
            }
            let memory = checkpoint.vocabulary_bytes_max();
            if let Ok(Some(tokenizer)) = vocabulary::tokenizer(checkpoint.metadata(), 0, memory) {
                let ids = tokenizer.encode(TEXT, &[2..9], AddSpecial::Yes, ParseSpecial::Yes);
                assert!(ids.iter().all(|&id| (id as usize) < tokenizer.len()));
                tokenizer.decode(&ids, ShowSpecial::Yes);
            }
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("fuzz.gguf") && text.contains("byte "), "{text}");
        }
    }
});
