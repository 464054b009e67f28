//! Exactness against the test vectors beside the vocabularies: `.inp`/`.out` of llama.cpp's files, BERT's goldens.

mod common;

use lucid_tokenizer::{AddSpecial, ParseSpecial, ShowSpecial, Tokenizer};

/// Every text of an `.inp` file encodes to its line of the `.out` file.
fn check(name: &str) {
    let Some(data) = common::data() else { return };
    let path = data.join("tokenizers").join(name);
    let tokenizer = Tokenizer::new(common::vocabulary(&std::fs::read(&path).unwrap())).unwrap();
    let side = |extension: &str| {
        std::fs::read_to_string(format!("{}.{extension}", path.display())).unwrap()
    };
    let (inputs, outputs) = (side("inp"), side("out"));
    let texts: Vec<&str> = inputs.split("\n__ggml_vocab_test__\n").collect();
    let lines: Vec<&str> = outputs.lines().collect();
    let mut checked = 0;
    for (text, line) in texts.iter().zip(&lines) {
        let expected: Vec<u32> = line.split_whitespace().map(|id| id.parse().unwrap()).collect();
        let ids = tokenizer.encode(text.as_bytes(), &[], AddSpecial::No, ParseSpecial::No);
        assert_eq!(ids, expected, "{name}: {text:?}");
        checked += 1;
        if !name.contains("bert") {
            let back = tokenizer.decode(&ids, ShowSpecial::Yes);
            assert_eq!(String::from_utf8_lossy(&back), *text, "{name}");
        }
    }
    assert!(checked > 40 && texts.len() >= lines.len(), "{name}: {checked} texts");
}

#[test]
fn deepseek_coder() {
    check("ggml-vocab-deepseek-coder.gguf");
}

#[test]
fn deepseek_llm() {
    check("ggml-vocab-deepseek-llm.gguf");
}

#[test]
fn falcon() {
    check("ggml-vocab-falcon.gguf");
}

#[test]
fn gpt_2() {
    check("ggml-vocab-gpt-2.gguf");
}

#[test]
fn llama_spm() {
    check("ggml-vocab-llama-spm.gguf");
}

#[test]
fn phi_3() {
    check("ggml-vocab-phi-3.gguf");
}

#[test]
fn refact() {
    check("ggml-vocab-refact.gguf");
}

#[test]
fn starcoder() {
    check("ggml-vocab-starcoder.gguf");
}

#[test]
fn bert() {
    check("ggml-vocab-bert-bge.gguf");
}
