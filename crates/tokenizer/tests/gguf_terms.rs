//! What a small `tokenizer.json` becomes in GGUF's terms: the vocabulary by hand, the ids of a
//! tokenizer built from it, and what is lost.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use lucid_tokenizer::{AddSpecial, ParseSpecial, TokenKind, Tokenizer, Vocabulary};
use serde_json::{Value, json};

fn read(file: &Value) -> Tokenizer {
    Tokenizer::from_tokenizer_json(file.to_string().as_bytes(), None).unwrap()
}

/// Both ways give the same ids; the tokenizer of the file comes back.
fn check(file: &Value, model: &str, texts: &[&str]) -> Tokenizer {
    let tokenizer = read(file);
    let vocabulary = tokenizer.vocabulary();
    assert_eq!(vocabulary.model, model);
    let merges = vocabulary.merges.texts(&vocabulary.tokens).collect();
    let converted = Tokenizer::new(Vocabulary { merges, ..vocabulary.clone() }).unwrap();
    for text in texts {
        let [ours, again] = [&tokenizer, &converted]
            .map(|it| it.encode(text.as_bytes(), &[], AddSpecial::Yes, ParseSpecial::Yes));
        assert!(!ours.is_empty());
        assert_eq!(ours, again, "{model}: {text:?}");
    }
    tokenizer
}

fn special(id: u32, content: &str) -> Value {
    json!({"id": id, "content": content, "special": true})
}

fn begins_with(id: u32, name: &str) -> Value {
    json!({"type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": name, "type_id": 0}},
                   {"Sequence": {"id": "A", "type_id": 0}}],
        "special_tokens": {name: {"id": name, "ids": [id], "tokens": [name]}}})
}

fn llama() -> Value {
    let vocab = ["<unk>", "<s>", "</s>", "<0x0A>", "▁", "a", "b", "c", "ab", "▁ab", "bc", "cab"];
    let vocab: serde_json::Map<String, Value> =
        vocab.iter().enumerate().map(|(id, text)| ((*text).to_owned(), id.into())).collect();
    json!({
        "added_tokens": [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>"),
            {"id": 12, "content": "\n\n", "special": false}],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "post_processor": begins_with(1, "<s>"),
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "unk_token": "<unk>", "byte_fallback": true, "vocab": vocab,
            "merges": [["b", "c"], "a b", "▁ ab"]}
    })
}

#[test]
fn merges_become_scores() {
    let texts = ["abc ab", "cab\n\n\nab</s>", " a  b", "x", "aabbccab"];
    let tokenizer = check(&llama(), "llama", &texts);
    let v = tokenizer.vocabulary();
    let of = |text: &str| {
        let id = tokenizer.token_id(text.as_bytes()).unwrap();
        (v.kind(id), v.score(id))
    };
    assert_eq!(of("bc"), (TokenKind::Normal, 0.0));
    assert_eq!(of("ab"), (TokenKind::Normal, -1.0));
    assert_eq!(of("▁ab"), (TokenKind::Normal, -2.0));
    assert_eq!(of("a"), (TokenKind::Normal, -3.0));
    // No merge makes it, so nothing may.
    assert_eq!(of("cab"), (TokenKind::Unused, -3.0));
    assert_eq!(of("<0x0A>").0, TokenKind::Byte);
    assert_eq!(of("<unk>").0, TokenKind::Unknown);
    assert_eq!(of("</s>").0, TokenKind::Control);
    assert_eq!(of("\n\n").0, TokenKind::UserDefined);
    assert_eq!((v.bos, v.eos, v.unk), (Some(1), Some(2), Some(0)));
    assert_eq!((v.add_bos, v.add_eos, v.add_space_prefix), (Some(true), Some(false), Some(true)));
    assert_eq!(tokenizer.warnings().len(), 1, "{:?}", tokenizer.warnings());
    assert!(tokenizer.warnings()[0].contains("1 pieces that no merge makes"));
    let mut bare = llama();
    bare["normalizer"] = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let tokenizer = check(&bare, "llama", &texts);
    assert_eq!(tokenizer.vocabulary().add_space_prefix, Some(false));
}

#[test]
fn losses_are_named() {
    let lost = |change: &dyn Fn(&mut Value), part: &str| {
        let mut file = llama();
        change(&mut file);
        let tokenizer = read(&file);
        let found = tokenizer.warnings().iter().any(|warning| warning.contains(part));
        assert!(found, "{part}: {:?}", tokenizer.warnings());
    };
    lost(&|file| file["added_tokens"][2]["lstrip"] = true.into(), "`lstrip` of the added token");
    lost(&|file| file["normalizer"] = json!({"type": "NFC"}), "the component NFC");
    lost(&|file| file["model"]["merges"] = json!(["a b", "▁ ab", "c ab"]), "unused");
    lost(
        &|file| {
            file["model"]["vocab"]["abc"] = 13.into();
            file["model"]["merges"] = json!(["a b", "b c", "ab c", "▁ ab", "c ab"]);
        },
        "of 0 pieces; 1 can be made",
    );
    lost(
        &|file| {
            file["model"]["vocab"]["abb"] = 13.into();
            file["model"]["vocab"]["bb"] = 14.into();
            file["model"]["merges"] = json!(["b b", "ab b", "b c", "a bb", "a b"]);
        },
        "order of merges of 1 pieces; 0",
    );
    lost(&|file| file["added_tokens"][3]["content"] = "▁▁".into(), "of 0 pieces; 1 can be made");
    lost(
        &|file| {
            let metaspace = json!({"type": "Metaspace", "prepend_scheme": "first", "split": false});
            (file["normalizer"], file["pre_tokenizer"]) = (Value::Null, metaspace);
        },
        "behind a special token",
    );
}

#[test]
fn unigram_and_word_pieces() {
    let unigram = json!({
        "added_tokens": [special(0, "</s>"), special(1, "<unk>")],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Strip"},
            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]},
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"},
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"},
        "model": {"type": "Unigram", "unk_id": 1, "vocab": [["</s>", 0.0], ["<unk>", 0.0],
            ["▁", -2.0], ["a", -3.0], ["▁a", -2.5], ["b", -3.0], ["b▁a", -0.1], ["ab", -1.0]]}
    });
    let tokenizer = check(&unigram, "t5", &["a b", "  a   b a ", "ab</s>a", "xyz a"]);
    let v = tokenizer.vocabulary();
    assert_eq!((v.add_space_prefix, v.remove_extra_whitespaces), (Some(true), Some(true)));
    assert_eq!(v.scores[4], -2.5);
    assert_eq!(v.kind(6), TokenKind::Unused);

    let bert = json!({
        "added_tokens": [special(0, "[CLS]"), special(1, "[SEP]"), special(2, "[UNK]")],
        "normalizer": {"type": "BertNormalizer", "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 1], "cls": ["[CLS]", 0]},
        "decoder": {"type": "WordPiece"},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "vocab": {"[CLS]": 0, "[SEP]": 1, "[UNK]": 2, "he": 3, "##llo": 4, ",": 5}}
    });
    let tokenizer = check(&bert, "bert", &["Hello, he", "he[SEP]he", "x"]);
    let v = tokenizer.vocabulary();
    let pieces: Vec<_> = v.tokens.iter().skip(3).map(String::from_utf8_lossy).collect();
    assert_eq!(pieces, ["▁he", "llo", "▁,"]);
    assert_eq!((v.cls, v.sep, v.unk, v.lowercase), (Some(0), Some(1), Some(2), Some(true)));
    assert!(tokenizer.warnings().is_empty(), "{:?}", tokenizer.warnings());
}
