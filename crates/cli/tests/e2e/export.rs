//! Trained models for other programs: `lucid convert` to safetensors and to smaller GGUF files.
//! transformers and llama.cpp are asked for their logits and ids where Python has them
//! (`export.py`; `LUCID_PYTHON` names an interpreter), else that part is skipped, with a word.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use crate::runs::documents;
use crate::support::Home;

/// With what tokenizers cut at: letters of several bytes, numbers, spaces, contractions, a control
/// token.
const TEXT: &str =
    "Document 7: word12 caf\u{e9}3, 12345 it's\n\n  WORD200?<|bos|>\t\u{4e2d}\u{6587} word";

fn python() -> Option<OsString> {
    let python = env::var_os("LUCID_PYTHON").unwrap_or_else(|| "python3".into());
    let imports = ["-c", "import numpy, tokenizers, torch, transformers"];
    let found = Command::new(&python).args(imports).output();
    found.is_ok_and(|output| output.status.success()).then_some(python)
}

/// The numbers of a matrix of f32.
fn numbers(home: &Home, name: &str) -> Vec<f32> {
    let bytes = std::fs::read(home.path(name)).unwrap();
    let header = u16::from_le_bytes([bytes[8], bytes[9]]);
    let data = bytes[10 + usize::from(header)..].as_chunks::<4>().0;
    data.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// Root of the mean squared difference, in parts of the first one's deviation.
fn difference(ours: &[f32], theirs: &[f32]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let count = ours.len() as f64;
    let mean = ours.iter().map(|x| f64::from(*x)).sum::<f64>() / count;
    let spread: f64 = ours.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum();
    let off: f64 = ours.iter().zip(theirs).map(|(x, y)| f64::from(x - y).powi(2)).sum();
    (off / spread).sqrt()
}

fn check(architecture: &str) {
    let home = Home::new();
    home.write("in.jsonl", documents(80).as_bytes());
    home.write("text.txt", TEXT.as_bytes());
    let small = "--depth=2 --width=256 --heads=4 --kv-heads=2 --ff=256 --ctx=128 --vocab-size=400 \
                 --batch-tokens=256 --held-out=0.1 --steps=30 --sample-every=0";
    let small: Vec<&str> = small.split_whitespace().collect();
    home.ok(&[&["pretrain", "in.jsonl", "-o", "run", "--arch", architecture], &small[..]].concat());
    home.ok(&["convert", "run/model.gguf", "hf", "--to", "safetensors"]);
    let again = ["convert", "run/model.gguf", "hf", "--to", "safetensors"];
    home.fails(&again, &["hf exists already", "--force"]);
    home.ok(&[&again[..], &["--force"]].concat());

    let ids =
        |model: &str| home.json(&["tokenize", model, TEXT, "--special", "--json"])["ids"].clone();
    assert_eq!(ids("hf"), ids("run/model.gguf"));
    home.write("ids.json", ids("hf").to_string().as_bytes());
    let list: Vec<_> = ids("hf").as_array().unwrap().iter().map(ToString::to_string).collect();
    let list = list.join(",");
    let logits = |model: &str, out: &str| {
        home.ok(&["logits", model, "--tokens", &list, "--out", out]);
        numbers(&home, out)
    };
    let exact = logits("run/model.gguf", "logits.npy");
    let folder = difference(&exact, &logits("hf", "hf.npy"));
    assert!(folder < 1e-6, "{architecture}: safetensors differ by {folder}");
    // Found: 1.8e-4, 1.4e-3, 6.6e-3 and 8.4e-2 at most.
    for (name, bound) in [("f16", 2e-3), ("bf16", 1e-2), ("q8_0", 2e-2), ("q4_k", 0.2)] {
        let out = format!("{name}.gguf");
        home.ok(&["convert", "run/model.gguf", &out, "--type", name]);
        let off = difference(&exact, &logits(&out, &format!("{name}.npy")));
        assert!(off < bound && off > 0.0, "{architecture} {name}: {off}");
        println!("{architecture} {name}: logits differ by {off:.1e} of their deviation");
    }
    let types = home.json(&["show", "q4_k.gguf", "--json"])["types"].clone();
    assert!(types["Q4_K"]["bytes"].as_u64() > Some(0), "{types}");

    let Some(python) = python() else {
        println!("skipped: no Python with torch and transformers (LUCID_PYTHON names one)");
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/export.py");
    let output = Command::new(python).arg("-B").arg(script).arg(home.path("")).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{architecture}: {told}\n{errors}");
    println!("{architecture}: {told}");
}

#[test]
fn llama_is_the_same_elsewhere() {
    check("llama");
}

#[test]
fn qwen3_is_the_same_elsewhere() {
    check("qwen3");
}

#[test]
fn a_folder_is_not_written_where_it_cannot_be() {
    let home = Home::new();
    home.write("tiny.gguf", &crate::tiny::Tiny::new().bytes());
    home.write("file", b"precious");
    let to = |out| ["convert", "tiny.gguf", out, "--to", "safetensors"];
    home.fails(&to("file"), &["file is a file", "folder"]);
    assert_eq!(std::fs::read(home.path("file")).unwrap(), b"precious");
    let quantised = [&to("out")[..], &["--type", "q8_0"]].concat();
    home.fails(&quantised, &["--type q8_0", "bf16"]);
    assert!(!home.path("out").exists());
}
