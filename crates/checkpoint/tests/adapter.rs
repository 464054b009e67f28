//! Reading adapters: what PEFT and llama.cpp's converter write, and what damage or other kinds of
//! adapters are called.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod common;

use common::{TempDir, f32s, safetensors_file};
use lucid_checkpoint::{AdapterFile, GgufWriter};
use lucid_sys::Bytes;
use lucid_tensor::{DType, MetaValue, RotaryPairing};
use std::path::Path;

const CONFIG: &str = r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 3, "bias": "none",
    "use_dora": false, "modules_to_save": null, "rank_pattern": {}, "alpha_pattern": {}}"#;

fn count(n: usize) -> Vec<u8> {
    f32s((0..n).map(|n| n as f32))
}

const LAYER: &str = "base_model.model.model.layers.0.";

/// Factors of a query matrix `[4, 8]` and of an embedding `[5, 8]`, of rank 2.
fn peft_file() -> Vec<u8> {
    let name = |rest: &str| format!("{LAYER}self_attn.q_proj.{rest}");
    let embedding = "base_model.model.model.embed_tokens.lora_embedding_";
    safetensors_file(&[
        (&name("lora_A.weight"), "F32", &[2, 8], count(16)),
        (&name("lora_B.weight"), "F32", &[4, 2], count(8)),
        (&format!("{embedding}A"), "F32", &[2, 5], count(10)),
        (&format!("{embedding}B"), "F32", &[8, 2], count(16)),
    ])
}

fn peft(config: &str, file: Vec<u8>) -> Result<AdapterFile, String> {
    let name = Path::new("adapter_model.safetensors");
    let bytes = Bytes::from(file);
    AdapterFile::from_peft_bytes(name, config.as_bytes(), bytes).map_err(|error| error.to_string())
}

/// A GGUF adapter whose tensors are these, with these keys beside the usual ones.
fn gguf_file(keys: &[(&str, MetaValue)], tensors: &[(&str, &[usize])]) -> Vec<u8> {
    let text = |s: &str| MetaValue::Text(s.to_owned());
    let mut writer = GgufWriter::new();
    let usual = [("general.type", text("adapter")), ("adapter.type", text("lora"))]
        .into_iter()
        .filter(|(key, _)| keys.iter().all(|(other, _)| other != key));
    for (key, value) in usual {
        writer.metadata(key, value);
    }
    for (key, value) in keys {
        writer.metadata(*key, value.clone());
    }
    let mut data = Vec::new();
    for (name, shape) in tensors {
        writer.tensor(*name, DType::F32, shape).unwrap();
        data.push(count(shape.iter().product()));
    }
    let data: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
    writer.to_bytes(&data).unwrap()
}

fn gguf(file: Vec<u8>) -> Result<AdapterFile, String> {
    AdapterFile::from_gguf_bytes(Path::new("a.gguf"), Bytes::from(file))
        .map_err(|error| error.to_string())
}

const QUERY: [(&str, &[usize]); 2] =
    [("blk.0.attn_q.weight.lora_a", &[2, 8]), ("blk.0.attn_q.weight.lora_b", &[4, 2])];

#[test]
fn names_shapes_and_scales_of_both_formats() {
    let check = |file: &AdapterFile, tensor: &str, shape: [usize; 2], scale: f32| {
        let part = file.parts().iter().find(|part| part.tensor == tensor).unwrap();
        assert_eq!((part.shape(), part.scale), ((2, shape), scale), "{tensor}");
    };
    let file = peft(CONFIG, peft_file()).unwrap();
    assert_eq!((file.parts().len(), file.architecture()), (2, None));
    assert_eq!(file.pairing(), RotaryPairing::Halves);
    check(&file, "blk.0.attn_q.weight", [4, 8], 1.5);
    check(&file, "token_embd.weight", [5, 8], 1.5);
    // A row for each token.
    let embedding = &file.parts()[1].a;
    assert_eq!(embedding.data[..], f32s([0, 5, 1, 6, 2, 7, 3, 8, 4, 9].map(|n| n as f32)));
    let rslora = CONFIG.replace(r#""use_dora""#, r#""use_rslora": true, "use_dora""#);
    check(&peft(&rslora, peft_file()).unwrap(), "blk.0.attn_q.weight", [4, 8], 2.121_320_3);
    for (name, scale) in [("q_proj", 4.0), ("layers.0.self_attn.q_proj", 4.0), ("proj", 1.5)] {
        let pattern = format!(r#""alpha_pattern": {{"{name}": 8}}"#);
        let config = CONFIG.replace(r#""alpha_pattern": {}"#, &pattern);
        check(&peft(&config, peft_file()).unwrap(), "blk.0.attn_q.weight", [4, 8], scale);
    }

    let alpha = ("adapter.lora.alpha", MetaValue::Float(3.0));
    let arch = |name: &str| ("general.architecture", MetaValue::Text(name.to_owned()));
    let file = gguf(gguf_file(&[alpha, arch("llama")], &QUERY)).unwrap();
    check(&file, "blk.0.attn_q.weight", [4, 8], 1.5);
    assert_eq!((file.architecture(), file.pairing()), (Some("llama"), RotaryPairing::Neighbours));
    let embedding: [(&str, &[usize]); 2] =
        [("token_embd.weight.lora_a", &[5, 2]), ("token_embd.weight.lora_b", &[8, 2])];
    let file = gguf(gguf_file(&[arch("qwen3")], &embedding)).unwrap();
    assert_eq!(file.pairing(), RotaryPairing::Halves);
    check(&file, "token_embd.weight", [5, 8], 1.0);
}

#[test]
fn a_folder_opens_by_any_of_its_paths() {
    let folder = TempDir::new("adapter");
    let config = folder.write("adapter_config.json", CONFIG.as_bytes());
    let error = AdapterFile::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("adapter_model.safetensors"), "{error}");
    folder.write("adapter_model.bin", b"PK");
    let error = AdapterFile::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("pickle"), "{error}");
    let weights = folder.write("adapter_model.safetensors", &peft_file());
    for path in [folder.path(), &config, &weights] {
        assert_eq!(AdapterFile::open(path).unwrap().parts().len(), 2);
    }
    let other = folder.write("x.gguf", &gguf_file(&[], &QUERY));
    assert_eq!(AdapterFile::open(&other).unwrap().parts().len(), 1);
    let none = folder.write("x.txt", b"abc");
    let error = AdapterFile::open(&none).unwrap_err().to_string();
    assert!(error.contains("x.txt") && error.contains("adapter_config.json"), "{error}");
}

#[test]
fn other_kinds_of_adapters_are_refused_by_name() {
    let check = |from: &str, to: &str, expected: &str| {
        let error = peft(&CONFIG.replace(from, to), peft_file()).unwrap_err();
        assert!(error.contains(expected) && error.contains("adapter_"), "{to}: {error}");
    };
    check("LORA", "IA3", "`IA3`");
    check(r#""use_dora": false"#, r#""use_dora": true"#, "DoRA");
    check(r#""modules_to_save": null"#, r#""modules_to_save": ["lm_head"]"#, "`modules_to_save`");
    check(r#""bias": "none""#, r#""bias": "all""#, "`bias`");
    for key in ["fan_in_fan_out", "use_qalora", "lora_bias"] {
        check(r#""r""#, &format!(r#""{key}": true, "r""#), &format!("`{key}`"));
    }
    check(r#""r""#, r#""init_lora_weights": "pissa_niter_4", "r""#, "pissa_niter_4");
    check(r#""rank_pattern": {}"#, r#""rank_pattern": {"(a|b)": 3}"#, "(a|b)");
    check(r#""rank_pattern": {}"#, r#""rank_pattern": {"q_proj": 3}"#, "the rank 3");
    check(r#""r": 2"#, r#""r": 0"#, "the rank 0");
    check(r#""r": 2"#, r#""s": 2"#, "`r`");
    check(r#""lora_alpha": 3"#, r#""lora_alpha": "3""#, "`lora_alpha`");
    check(r#""lora_alpha": 3"#, r#""lora_alpha": 1e300"#, "finite");

    let check = |keys: &[(&str, MetaValue)], tensors: &[(&str, &[usize])], expected: &str| {
        let error = gguf(gguf_file(keys, tensors)).unwrap_err();
        assert!(error.contains(expected) && error.contains("a.gguf"), "{error}");
    };
    let text = |s: &str| MetaValue::Text(s.to_owned());
    check(&[("general.type", text("model"))], &QUERY, "`model`");
    check(&[("adapter.type", text("dora"))], &QUERY, "`dora`");
    let tokens = "adapter.alora.invocation_tokens";
    check(&[(tokens, MetaValue::Unsigned(1))], &QUERY, tokens);
    check(&[("adapter.lora.alpha", text("x"))], &QUERY, "adapter.lora.alpha");
    check(&[], &[QUERY[0], QUERY[1], ("blk.0.attn_norm.weight", &[8])], "blk.0.attn_norm.weight");
}

#[test]
fn factors_that_do_not_fit_are_named() {
    let check = |tensors: &[(&str, &[usize])], expected: &[&str]| {
        let error = gguf(gguf_file(&[], tensors)).unwrap_err();
        assert!(expected.iter().all(|part| error.contains(part)), "{error}");
    };
    let [a, b] = ["blk.0.attn_q.weight.lora_a", "blk.0.attn_q.weight.lora_b"];
    check(&[(a, &[2, 8])], &[a, "one alone", "byte"]);
    check(&[(b, &[2, 8])], &[b, "one alone"]);
    check(&[(a, &[2, 8]), (b, &[4, 3])], &[b, "rank", "[4, 3]"]);
    check(&[(a, &[2, 8]), (b, &[4])], &[b, "a matrix"]);
    check(&[(a, &[2, 2, 8]), (b, &[4, 2])], &[a, "a matrix"]);
    check(&[("token_embd.weight.lora_a", &[5, 2]), ("token_embd.weight.lora_b", &[2, 8])], &["8"]);
    check(&[], &["0 tensors"]);

    let check = |name: &str, expected: &str| {
        let file = safetensors_file(&[(name, "F32", &[2, 8], count(16))]);
        let error = peft(CONFIG, file).unwrap_err();
        assert!(error.contains(expected) && error.contains("byte"), "{error}");
    };
    check("base_model.model.lm_head.weight", "lm_head.weight");
    check(&format!("{LAYER}self_attn.q_proj.lora_magnitude_vector"), "lora_magnitude_vector");
    check(&format!("{LAYER}self_attn.q_proj.lora_embedding_A"), "embed_tokens");
    check(&format!("{LAYER}self_attn.q_proj.lora_A.weight"), "one alone");
    let both = |module: &str| {
        let [a, b] = ["A", "B"].map(|side| format!("{module}.lora_{side}.weight"));
        safetensors_file(&[(&a, "F32", &[2, 8], count(16)), (&b, "F32", &[4, 2], count(8))])
    };
    let error = peft(CONFIG, both(&format!("{LAYER}mlp.experts.0.up_proj"))).unwrap_err();
    assert!(error.contains("mlp.experts.0.up_proj"), "{error}");
}

#[test]
fn truncation_at_every_byte_is_an_error() {
    let whole = peft_file();
    for len in 0..whole.len() {
        let error = peft(CONFIG, whole[..len].to_vec()).unwrap_err();
        assert!(error.contains("adapter_model.safetensors") && error.contains("byte"), "{error}");
    }
    let whole = gguf_file(&[], &QUERY);
    for len in 0..whole.len() {
        assert!(gguf(whole[..len].to_vec()).unwrap_err().contains("a.gguf"));
    }
    assert!(gguf(whole).is_ok());
}
