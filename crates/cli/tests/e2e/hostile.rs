//! Hostile files at the command line and at the engine: an error that names the file and the part,
//! or a valid model; never a panic, a hang or a message of another kind.

use std::path::Path;
use std::sync::Arc;

use lucid_checkpoint::Checkpoint;
use lucid_engine::{Engine, EngineOptions, KvDType, Level, Packing};
use lucid_sys::{Bytes, ThreadPool};
use lucid_tensor::{MetaArray, MetaValue};

use crate::support::{Home, within};
use crate::tiny::{Tiny, VOCABULARY, WIDTH};

const SECONDS: u64 = 20;

fn text(text: &str) -> MetaValue {
    MetaValue::Text(text.to_owned())
}

/// The model is refused by `run`, with these words and the file's name.
fn check_refused(tiny: &Tiny, words: &[&str]) {
    let home = Home::new();
    home.write("bad.gguf", &tiny.bytes());
    let args = ["run", "bad.gguf", "x", "-n", "1"];
    let run = within(SECONDS, home.command(&args));
    run.check_refusal(&args, &[words, &["bad.gguf"]].concat());
}

#[test]
fn hyper_parameters() {
    let with = |key: &str, value: MetaValue| Tiny::new().with(&format!("llama.{key}"), value);
    let number = MetaValue::Unsigned;
    for (key, value) in [
        ("attention.head_count", number(0)),
        ("attention.head_count_kv", number(3)),
        ("attention.head_count_kv", number(0)),
        ("block_count", number(1_000_000)),
        ("block_count", number(0)),
        ("attention.layer_norm_rms_epsilon", MetaValue::Float(f64::NAN)),
        ("attention.layer_norm_rms_epsilon", MetaValue::Float(f64::INFINITY)),
        ("attention.layer_norm_rms_epsilon", MetaValue::Float(-1.0)),
        ("rope.freq_base", MetaValue::Float(f64::NAN)),
        ("rope.scaling.factor", MetaValue::Float(0.0)),
        ("rope.scaling.type", text("spiral")),
        ("rope.dimension_count", number(15)),
        ("rope.dimension_count", number(18)),
        ("context_length", number(0)),
        ("expert_count", number(8)),
        ("vocab_size", number(1 << 20)),
        ("embedding_length", number(1 << 40)),
    ] {
        check_refused(&with(key, value), &[&format!("llama.{key}"), "byte "]);
    }
    let odd = with("attention.head_count", number(5)).without("llama.attention.key_length");
    check_refused(&odd, &["llama.attention.head_count", "divisor", "byte "]);
    for key in ["block_count", "context_length", "embedding_length", "feed_forward_length"] {
        let key = format!("llama.{key}");
        check_refused(&Tiny::new().without(&key), &[&key, "missing"]);
    }
    let unknown = Tiny::new().with("general.architecture", text("mamba"));
    check_refused(&unknown, &["mamba", "llama", "qwen3"]);
}

#[test]
fn shapes() {
    // Hyper-parameters that the tensors contradict.
    for (key, tensor) in [
        ("embedding_length", "token_embd.weight"),
        ("feed_forward_length", "blk.0.ffn_"),
        ("attention.head_count", "blk.0.attn_"),
    ] {
        let tiny = Tiny::new().with(&format!("llama.{key}"), MetaValue::Unsigned(128));
        check_refused(&tiny, &[tensor, "byte ", "shape", "hyper-parameters"]);
    }
    let deeper = Tiny::new().with("llama.block_count", MetaValue::Unsigned(3));
    check_refused(&deeper, &["blk.2.", "missing"]);
    for (name, shape) in [
        ("blk.1.attn_q.weight", &[WIDTH, WIDTH - 1][..]),
        ("blk.1.attn_norm.weight", &[WIDTH + 1]),
        ("blk.0.ffn_down.weight", &[WIDTH]),
        ("output.weight", &[VOCABULARY - 1, WIDTH]),
        ("output_norm.weight", &[WIDTH, 1]),
    ] {
        check_refused(&Tiny::new().reshaped(name, shape), &[name, "byte ", "shape"]);
    }
    for name in ["token_embd.weight", "output_norm.weight", "blk.1.ffn_up.weight"] {
        check_refused(&Tiny::new().without_tensor(name), &[name, "missing"]);
    }
}

#[test]
fn vocabularies() {
    let array = |array: MetaArray| MetaValue::Array(array);
    for (key, value) in [
        ("tokenizer.ggml.scores", array(MetaArray::float(vec![0.0; 7]))),
        ("tokenizer.ggml.token_type", array(MetaArray::signed(vec![1; 7]))),
        ("tokenizer.ggml.token_type", array(MetaArray::signed(vec![9; VOCABULARY]))),
        ("tokenizer.ggml.merges", array(MetaArray::texts(vec![b"he".to_vec()]))),
        ("tokenizer.ggml.merges", array(MetaArray::texts(vec![b"q x".to_vec()]))),
        ("tokenizer.ggml.bos_token_id", MetaValue::Unsigned(260)),
        ("tokenizer.ggml.eos_token_id", MetaValue::Unsigned(1 << 33)),
        ("tokenizer.ggml.model", text("morse")),
        ("tokenizer.ggml.tokens", array(MetaArray::texts([""; 0]))),
    ] {
        check_refused(&Tiny::new().with(key, value), &[key, "byte "]);
    }
}

/// Each key of the model with each odd value: refused with the key's name, or valid.
#[test]
fn every_key_with_every_odd_value() {
    let home = Home::new();
    let values = [
        text("x"),
        MetaValue::Bool(true),
        MetaValue::Float(0.5),
        MetaValue::Float(f64::NAN),
        MetaValue::Signed(-1),
        MetaValue::Unsigned(0),
        MetaValue::Unsigned(1 << 31),
        MetaValue::Unsigned(1 << 63),
        MetaValue::Unsigned(u64::MAX),
        MetaValue::Array(MetaArray::unsigned(vec![1, 2, 3])),
        MetaValue::Array(MetaArray::texts([""; 0])),
    ];
    let keys: Vec<String> = Tiny::new().metadata.into_iter().map(|entry| entry.0).collect();
    let mut refused = 0;
    for key in keys.iter().filter(|key| *key != "general.alignment") {
        for value in &values {
            home.write("odd.gguf", &Tiny::new().with(key, value.clone()).bytes());
            let args = ["run", "odd.gguf", "x", "-n", "1", "-t", "1"];
            let run = within(SECONDS, home.command(&args));
            if run.code == Some(0) {
                continue;
            }
            refused += 1;
            let name = key.rsplit('.').next().unwrap();
            let name = name.trim_end_matches("_token_id");
            run.check_refusal(&args, &["odd.gguf"]);
            assert!(run.err.contains(name) || run.err.contains("architecture"), "{key}: {run:?}");
        }
    }
    assert!(refused > 150, "only {refused} were refused");
}

/// Cut anywhere in front of its data, the file is refused, and nothing else happens.
#[test]
fn truncation_at_every_byte() {
    let tiny = Tiny::new();
    let (whole, header_len) = (tiny.bytes(), tiny.header_len());
    let pool = Arc::new(ThreadPool::new(1));
    let load = |bytes: Vec<u8>| {
        let name = Path::new("cut.gguf");
        let checkpoint = Checkpoint::from_gguf_bytes(name, Bytes::from(bytes));
        let checkpoint = checkpoint.map_err(|error| error.to_string())?;
        let kv_dtype = KvDType::F16;
        let level = Level::detect();
        let kv_blocks = lucid_engine::kv_blocks_for(64);
        let packing = Packing::Pack;
        let options = EngineOptions { context: 64, kv_blocks, kv_dtype, level, packing };
        let engine = Engine::load(&checkpoint, pool.clone(), options);
        engine.map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(load(whole.clone()), Ok(()));
    for len in 0..=header_len {
        let error = load(whole[..len].to_vec()).unwrap_err();
        assert!(error.contains("cut.gguf") && error.contains("byte "), "{len}: {error}");
    }
    let error = load(whole[..whole.len() - 1].to_vec()).unwrap_err();
    assert!(error.contains("ffn_down"), "{error}");
}

#[test]
fn files_of_other_kinds() {
    let home = Home::new();
    let header = |json: &str| [&(json.len() as u64).to_le_bytes(), json.as_bytes()].concat();
    let tensor = r#"{"t":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#;
    let files: &[(&str, Vec<u8>, &[&str])] = &[
        ("empty.gguf", Vec::new(), &["byte 0"]),
        ("magic.gguf", b"GGML\x03\0\0\0".to_vec(), &["magic", "byte 0"]),
        ("old.gguf", b"GGUF\x01\0\0\0".to_vec(), &["version", "byte 4"]),
        ("turned.gguf", b"GGUF\0\0\0\x03".to_vec(), &["endian", "byte 4"]),
        ("empty.safetensors", Vec::new(), &["byte 0"]),
        ("huge.safetensors", [0xff; 16].to_vec(), &["byte 0"]),
        ("short.safetensors", header(tensor), &["`t`", "byte "]),
        ("json.safetensors", header("{\"t\":"), &["byte "]),
        ("empty.bin", Vec::new(), &["byte 0"]),
        ("zero.bin", vec![0; 28], &["byte "]),
        ("wild.bin", vec![0xff; 64], &["byte "]),
        ("pickle.pt", b"PK\x03\x04archive/data.pkl".to_vec(), &[]),
    ];
    let config = r#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 8,
        "intermediate_size": 6, "num_attention_heads": 2, "num_hidden_layers": 1,
        "vocab_size": 5, "rms_norm_eps": 1e-5}"#;
    home.write("config.json", config.as_bytes());
    for (name, bytes, words) in files {
        home.write(name, bytes);
        for command in ["show", "run"] {
            let args = [command, name, "x"];
            let args = if command == "show" { &args[..2] } else { &args[..] };
            let run = within(SECONDS, home.command(args));
            run.check_refusal(args, &[words, &[*name][..]].concat());
        }
    }
}

/// Templates are programs, so they are bounded.
#[test]
fn templates() {
    let home = Home::new();
    for (name, template) in [
        (
            "loop",
            "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        ),
        ("recursion", "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}"),
        ("output", "{% for a in range(100000) %}{{ 'x' * 100000 }}{% endfor %}"),
        (
            "double",
            "{% set n = namespace(s='x') %}{% for a in range(64) %}{% set n.s = n.s ~ n.s %}\
            {% endfor %}{{ n.s }}",
        ),
        ("syntax", "{% for %}"),
        ("raise", "{{ raise_exception('only poems') }}"),
    ] {
        let tiny = Tiny::new().with("tokenizer.chat_template", text(template));
        home.write("template.gguf", &tiny.bytes());
        let args = ["run", "template.gguf", "x", "-n", "1"];
        let run = within(SECONDS, home.command(&args));
        run.check_refusal(&args, &["chat template"]);
        assert!(name != "raise" || run.err.contains("only poems"), "{run:?}");
    }
}
