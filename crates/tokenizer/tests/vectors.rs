//! Exactness against the test vectors beside the vocabularies: `.inp`/`.out` of llama.cpp's files,
//! BERT's goldens.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test may panic, and says why it skips"
)]

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

/// BERT's goldens: texts to ids with the tokens around them, and back.
#[test]
fn bert_goldens() {
    let Some(data) = common::data() else { return };
    let folder = data.join("tokenizers/bert");
    let tokenizer =
        Tokenizer::from_bert_vocab(&std::fs::read(folder.join("bert-vocab.txt")).unwrap(), true)
            .unwrap();
    let read = |name: &str| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap()
    };
    let all = read("tokenizer_tests.json");
    let cases = all["bert-base-uncased"].as_array().unwrap();
    for case in cases {
        let text = case["input"].as_str().unwrap();
        let expected: Vec<u32> = case["encoded"]["input_ids"]
            .as_array()
            .unwrap()
            .iter()
            .map(|id| id.as_u64().unwrap() as u32)
            .collect();
        let ids = tokenizer.encode(text.as_bytes(), &[], AddSpecial::Yes, ParseSpecial::Yes);
        assert_eq!(ids, expected, "{text:?}");
    }
    assert!(cases.len() >= 5);
    let words = read("basic_tokenized_questions.json");
    let ids = read("tokenized_questions.json");
    for (words, ids) in words.as_array().unwrap().iter().zip(ids.as_array().unwrap()) {
        let text: Vec<&str> =
            words.as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        let expected: Vec<u32> =
            ids.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
        let ids =
            tokenizer.encode(text.join(" ").as_bytes(), &[], AddSpecial::No, ParseSpecial::No);
        assert_eq!(ids, expected, "{text:?}");
    }
}
