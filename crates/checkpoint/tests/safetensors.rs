//! Reading Hugging Face folders: one file, several, Gemma's norms, Llama 3's factors, wrong
//! headers.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod common;

use common::{LLAMA_CONFIG, TempDir, bf16s, f32s, llama_file, safetensors_file, with_header};
use lucid_checkpoint::{Checkpoint, Format, TokenizerSource};
use lucid_sys::Bytes;
use lucid_tensor::{DType, WeightSource};
use std::path::Path;

fn open(config: &str, bytes: Vec<u8>) -> Result<Checkpoint, String> {
    let name = Path::new("model.safetensors");
    Checkpoint::from_safetensors_bytes(name, config.as_bytes(), Bytes::from(bytes))
        .map_err(|error| error.to_string())
}

fn values(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    let view = checkpoint.tensor(name).unwrap();
    assert_eq!(view.dtype, DType::F32);
    view.data.as_chunks().0.iter().map(|&c| f32::from_le_bytes(c)).collect()
}

#[test]
fn a_folder_opens_by_any_of_its_paths() {
    let folder = TempDir::new("hf");
    folder.write("config.json", LLAMA_CONFIG.as_bytes());
    folder.write("tokenizer.json", b"{}");
    folder.write("chat_template.jinja", b"x");
    let file = folder.write("model.safetensors", &llama_file());
    for path in [folder.path(), &file] {
        let checkpoint = Checkpoint::open(path).unwrap();
        assert_eq!(checkpoint.format(), Format::Safetensors);
        assert_eq!(checkpoint.files(), std::slice::from_ref(&file));
        let names = ["token_embd.weight", "blk.0.attn_q.weight", "blk.0.attn_q.bias"];
        assert_eq!(checkpoint.tensor_names()[..3], names);
        assert_eq!(checkpoint.tensor_names().len(), 5, "the table of rotations is left out");
        let q = checkpoint.tensor("blk.0.attn_q.weight").unwrap();
        assert_eq!((q.dtype, &q.shape[..], q.data.is_mapped()), (DType::BF16, &[8, 8][..], true));
        assert_eq!(q.data[2..4], bf16s([1.0]));
        let metadata = checkpoint.metadata();
        assert_eq!(metadata.text("lucid.rope.pairing"), Ok(Some("halves")));
        assert_eq!(metadata.unsigned("llama.rope.dimension_count"), Ok(Some(4)));
        let TokenizerSource::Files(files) = checkpoint.tokenizer() else { panic!("no files") };
        assert_eq!(files.tokenizer_json.as_deref(), Some(&b"{}"[..]));
        assert_eq!(files.chat_template_jinja.as_deref(), Some(&b"x"[..]));
        assert!(files.sentencepiece.is_none());
    }
    std::fs::remove_file(folder.path().join("config.json")).unwrap();
    let error = Checkpoint::open(&file).unwrap_err().to_string();
    assert!(error.contains("model.safetensors") && error.contains("config.json"), "{error}");
}

#[test]
fn an_index_joins_several_files() {
    let folder = TempDir::new("sharded");
    folder.write("config.json", LLAMA_CONFIG.as_bytes());
    let part = |name: &str| safetensors_file(&[(name, "F32", &[8], f32s([1.0; 8]))]);
    let first = folder.write("a.safetensors", &part("model.norm.weight"));
    folder.write("b.safetensors", &part("model.layers.0.input_layernorm.weight"));
    let index = |in_a: &str| {
        let map = format!(
            r#"{{"weight_map": {{"{in_a}": "a.safetensors",
                "model.layers.0.input_layernorm.weight": "b.safetensors"}}}}"#
        );
        folder.write("model.safetensors.index.json", map.as_bytes())
    };
    let path = index("model.norm.weight");
    for path in [folder.path(), &path, &first] {
        let checkpoint = Checkpoint::open(path).unwrap();
        assert_eq!(checkpoint.files().len(), 2);
        assert_eq!(checkpoint.tensor_names(), ["output_norm.weight", "blk.0.attn_norm.weight"]);
    }
    index("model.embed_tokens.weight");
    let error = Checkpoint::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("index.json") && error.contains("model.embed_tokens"), "{error}");
    index("model.norm.weight");
    folder.write("b.safetensors", &part("model.norm.weight"));
    let error = Checkpoint::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("b.safetensors") && error.contains("output_norm.weight"), "{error}");
    std::fs::remove_file(folder.path().join("b.safetensors")).unwrap();
    let error = Checkpoint::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("b.safetensors"), "{error}");
}

#[test]
fn gemma_norms_have_one_added() {
    let config = r#"{"architectures": ["Gemma3ForCausalLM"], "hidden_size": 4,
        "num_hidden_layers": 1,
        "intermediate_size": 4, "head_dim": 2}"#;
    let file = safetensors_file(&[
        ("model.norm.weight", "BF16", &[4], bf16s([0.0, 1.0, -2.0, 0.5])),
        ("model.layers.0.self_attn.q_norm.weight", "F32", &[2], f32s([0.25, -1.0])),
        ("model.layers.0.mlp.up_proj.weight", "F32", &[1, 2], f32s([3.0, 4.0])),
    ]);
    let checkpoint = open(config, file).unwrap();
    assert_eq!(values(&checkpoint, "output_norm.weight"), [1.0, 2.0, -1.0, 1.5]);
    assert_eq!(values(&checkpoint, "blk.0.attn_q_norm.weight"), [1.25, 0.0]);
    assert_eq!(values(&checkpoint, "blk.0.ffn_up.weight"), [3.0, 4.0]);
    let matrix = safetensors_file(&[("model.norm.weight", "F32", &[1, 1], f32s([0.0]))]);
    let error = open(config, matrix).unwrap_err();
    assert!(error.contains("output_norm.weight") && error.contains(" byte "), "{error}");
}

#[test]
fn llama3_scaling_becomes_a_tensor() {
    let scaling = r#""hidden_size": 8, "rope_scaling": {"rope_type": "llama3", "factor": 8.0,
        "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}"#;
    let config = LLAMA_CONFIG.replace(r#""hidden_size": 8"#, scaling);
    let checkpoint = open(&config, llama_file()).unwrap();
    let factors = values(&checkpoint, "rope_freqs.weight");
    assert_eq!(factors.len(), 2);
    assert!((factors[1] - 8.0).abs() < 1e-6, "{factors:?}");
    assert!(open(LLAMA_CONFIG, llama_file()).unwrap().tensor("rope_freqs.weight").is_none());
}

#[test]
fn truncation_at_every_byte_is_an_error() {
    let whole = llama_file();
    for len in 0..whole.len() {
        let error = open(LLAMA_CONFIG, whole[..len].to_vec()).unwrap_err();
        assert!(error.contains("model.safetensors") && error.contains(" byte "), "{error}");
    }
    assert!(open(LLAMA_CONFIG, whole).is_ok());
}

#[test]
fn hostile_headers_are_errors() {
    let check = |json: &str, data: usize, expected: &[&str]| {
        let error = open(LLAMA_CONFIG, with_header(json, &vec![0; data])).unwrap_err();
        for expected in expected.iter().chain(&["model.safetensors", " byte "]) {
            assert!(error.contains(expected), "{json}: {error}");
        }
    };
    let norm = |rest: &str| format!(r#"{{"model.norm.weight":{{{rest}}}}}"#);
    let tensor = "`model.norm.weight`";
    check("", 0, &["object"]);
    check("[]", 0, &["object"]);
    check("{}", 4, &["4 bytes behind the last tensor", "byte 10"]);
    check("{} x", 0, &["byte 11"]);
    check(&norm(r#""dtype":"F32","shape":[1]"#), 0, &[tensor, "data_offsets"]);
    check(&norm(r#""dtype":"F64","shape":[1],"data_offsets":[0,8]"#), 8, &["F64", "byte 29"]);
    check(&norm(r#""dtype":7,"shape":[1],"data_offsets":[0,4]"#), 4, &[tensor]);
    for shape in ["[0]", "[2]", "[-1]", "[1.5]", "[1,1,1,1,1]", "3", "[9223372036854775808,2]"] {
        let json = norm(&format!(r#""dtype":"F32","shape":{shape},"data_offsets":[0,4]"#));
        check(&json, 4, &[tensor]);
    }
    for offsets in ["[1,5]", "[4,0]", "[0,18446744073709551615]", "[0]", "[0,4,8]", "[-4,0]"] {
        let json = norm(&format!(r#""dtype":"F32","shape":[1],"data_offsets":{offsets}"#));
        check(&json, 4, &[]);
    }
    let two = |a: &str, b: &str, name: &str| {
        let entry = r#""dtype":"F32","shape":[1],"data_offsets":"#;
        format!(r#"{{"model.norm.weight":{{{entry}{a}}},"{name}":{{{entry}{b}}}}}"#)
    };
    let other = "lm_head.weight";
    check(&two("[0,4]", "[0,4]", other), 4, &["data_offsets"]);
    check(&two("[0,4]", "[2,6]", other), 6, &["starts at 4"]);
    check(&two("[0,4]", "[8,12]", other), 12, &["starts at 4"]);
    check(&two("[0,4]", "[4,8]", "model.norm.weight"), 8, &["output_norm.weight", "second"]);
    check(&two("[0,4]", "[4,8]", "model.what.weight"), 8, &["model.what.weight"]);
    check(r#"{"__metadata__":{"a":1}}"#, 0, &["__metadata__"]);
    check(r#"{"__metadata__":[]}"#, 0, &["__metadata__"]);
    check(&"[".repeat(1000), 0, &[]);
    check(&format!(r#"{{"a":{}"#, "[".repeat(1000)), 0, &[]);
    for claimed in [100_000_001, 1 << 31, 1 << 63, u64::MAX] {
        let error = open(LLAMA_CONFIG, claimed.to_le_bytes().to_vec()).unwrap_err();
        assert!(error.contains("100000000") && error.contains("byte 0"), "{error}");
    }
    let mut broken = with_header("{\"\u{e9}\":1}", &[]);
    broken[11] = 0xff;
    assert!(open(LLAMA_CONFIG, broken).unwrap_err().contains("byte 10"));
    assert!(open(LLAMA_CONFIG, with_header("{}   ", &[])).is_ok(), "padding is allowed");
}

/// The engine's golden models come with a `config.json` of transformers 5 and one of transformers
/// 4.
#[test]
fn both_generations_of_config_say_the_same() {
    let goldens = concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/tests/goldens");
    let Ok(listing) = std::fs::read_dir(goldens) else {
        println!("skipped: the engine's goldens are absent");
        return;
    };
    for folder in listing.map(|entry| entry.unwrap().path()) {
        let Ok(old) = std::fs::read(folder.join("config.old.json")) else { continue };
        let new = Checkpoint::open(&folder).unwrap();
        let empty = Bytes::from(with_header("{}", &[]));
        let old = Checkpoint::from_safetensors_bytes(&folder.join("x"), &old, empty).unwrap();
        let keys = |of: &Checkpoint| -> Vec<(String, String)> {
            let all = of.metadata().iter().filter(|(key, _)| *key != "general.name");
            all.map(|(key, value)| (key.to_owned(), format!("{value:?}"))).collect()
        };
        assert_eq!(keys(&new), keys(&old), "{}", folder.display());
        let factors =
            |of: &Checkpoint| of.tensor("rope_freqs.weight").map(|view| view.data.to_vec());
        assert_eq!(factors(&new), factors(&old), "{}", folder.display());
    }
}
