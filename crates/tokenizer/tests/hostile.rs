//! Hostile vocabularies and texts: typed errors that name key and index, never a panic; cost near
//! linear.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test may panic, and says why it skips"
)]

use lucid_tokenizer::{
    AddSpecial, Merges, ParseSpecial, ShowSpecial, TextList, TokenKind, Tokenizer, TokenizerError,
    Vocabulary,
};
use serde_json::{Value, json};

fn gpt2() -> Vocabulary {
    let tokens = ["a", "b", "ab", "Ġ", "ĠĠ", "<|im_end|>", "<", "|", ">", "aa", "ĠĠĠĠ", "aaaa"];
    let merges = ["a b", "Ġ Ġ", "a a", "ĠĠ ĠĠ", "aa aa"];
    Vocabulary {
        model: "gpt2".to_owned(),
        pre: Some("qwen2".to_owned()),
        tokens: tokens.iter().collect(),
        merges: merges.iter().collect(),
        ..Vocabulary::default()
    }
}

/// Replaces a text.
fn put(tokens: &mut TextList, id: usize, text: &[u8]) {
    *tokens =
        tokens.iter().enumerate().map(|(at, old)| if at == id { text } else { old }).collect();
}

fn merges(texts: &[&str]) -> Merges {
    texts.iter().collect()
}

/// The error that `change` causes.
fn refused(change: impl FnOnce(&mut Vocabulary)) -> TokenizerError {
    let mut vocabulary = gpt2();
    change(&mut vocabulary);
    Tokenizer::new(vocabulary).err().expect("accepted")
}

#[test]
fn inconsistent_vocabularies_are_named() {
    let long = "`tokenizer.ggml.scores` has 2 entries, expected 12 (one for each token)";
    assert_eq!(refused(|v| v.scores = vec![0.0; 2]).to_string(), long);
    let short = refused(|v| v.kinds = vec![TokenKind::Normal; 13]);
    assert!(matches!(
        short,
        TokenizerError::Length { key: "tokenizer.ggml.token_type", found: 13, .. }
    ));
    let far = refused(|v| v.eos = Some(12));
    assert_eq!(
        far.to_string(),
        "`tokenizer.ggml.eos_token_id` is token 12, but the vocabulary has 12 tokens"
    );
    assert!(matches!(refused(|v| v.bos = Some(u32::MAX)), TokenizerError::IdOutOfRange { .. }));
    let double = refused(|v| put(&mut v.tokens, 7, b"a"));
    assert!(matches!(double, TokenizerError::DuplicateToken { first: 0, second: 7, .. }));
    assert!(matches!(
        refused(|v| v.merges = merges(&["a b", "ab"])),
        TokenizerError::BadMerge { index: 1, .. }
    ));
    let unknown = refused(|v| v.merges = merges(&["a b", "a a", "a zz"]));
    assert!(matches!(unknown, TokenizerError::UnknownMergePiece { index: 2, .. }));
    assert!(matches!(refused(|v| v.tokens.truncate(0)), TokenizerError::Missing { .. }));
    assert!(matches!(refused(|v| v.model = "x".to_owned()), TokenizerError::Unsupported { .. }));
    assert!(TokenKind::from_gguf(7, 3).unwrap_err().to_string().contains("3 is 7"));
    let huge = refused(|v| {
        put(&mut v.tokens, 5, &[b'x'; 4096]);
        v.kinds = vec![TokenKind::Control; 12];
    });
    assert!(matches!(huge, TokenizerError::Limit { limit: 1024, .. }));
    let unknown_pre =
        Tokenizer::new(Vocabulary { pre: Some("nobody".to_owned()), ..gpt2() }).unwrap();
    assert!(unknown_pre.warnings()[0].contains("nobody"));
}

#[test]
fn hostile_json_is_an_error() {
    let file = |model: Value| json!({"added_tokens": [], "model": model, "pre_tokenizer": null});
    let check = |value: &Value, part: &str| {
        let error = Tokenizer::from_tokenizer_json(value.to_string().as_bytes(), None)
            .err()
            .expect("accepted");
        assert!(error.to_string().contains(part), "{error}");
    };
    let bpe = json!({"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []});
    check(&file(json!({"type": "Other"})), "Other");
    check(
        &file(json!({"type": "BPE", "vocab": {"a": 4_000_000_000_u64}, "merges": []})),
        "4000000000",
    );
    check(&file(json!({"type": "BPE", "vocab": {"a": 0, "b": 0}, "merges": []})), "both");
    check(&file(json!({"type": "BPE", "vocab": {"a": -1}, "merges": []})), "no integer");
    check(&file(json!({"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "c"]]})), "merge 0");
    check(&file(json!({"type": "Unigram", "unk_id": 9, "vocab": [["a", 0.0]]})), "unk_id");
    check(&file(json!({"type": "Unigram", "vocab": [["a"]]})), "model.vocab: entry 0");
    let with = |name: &str, part: Value| {
        let mut value = file(bpe.clone());
        value[name] = part;
        value
    };
    let regex = |source: String| {
        let pattern = json!({"Regex": source});
        json!({"type": "Split", "pattern": pattern, "behavior": "Isolated"})
    };
    check(&with("pre_tokenizer", regex("(".to_owned())), "pattern");
    check(&with("pre_tokenizer", regex("(((\\p{L}{999}){999}){999})".to_owned())), "pattern");
    check(&with("pre_tokenizer", regex("a".repeat(100_000))), "limit");
    check(&with("normalizer", json!({"type": "Prepend", "prepend": "x".repeat(1000)})), "limit");
    check(
        &with(
            "post_processor",
            json!({"type": "BertProcessing", "sep": ["a", 7], "cls": ["a", 0]}),
        ),
        "7",
    );
    for config in ["", "{", "[]", "{\"added_tokens_decoder\": {\"x\": {}}}"] {
        let json = file(bpe.clone()).to_string();
        let _ = Tokenizer::from_tokenizer_json(json.as_bytes(), Some(config.as_bytes()));
    }
}

/// Depth costs nothing where nobody looks, and is an error elsewhere; no key comes twice.
#[test]
fn nested_and_doubled_json() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let error = Tokenizer::from_tokenizer_json(deep.as_bytes(), None).err().unwrap();
    assert!(error.to_string().contains("`model` is missing"), "{error}");
    let model = r#"{"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}"#;
    let file = format!(r#"{{"unknown": {deep}, "model": {model}}}"#);
    assert!(Tokenizer::from_tokenizer_json(file.as_bytes(), None).is_ok());
    let file = format!(r#"{{"decoder": {{"a": {deep}}}, "model": {model}}}"#);
    let error = Tokenizer::from_tokenizer_json(file.as_bytes(), None).err().unwrap();
    assert!(error.to_string().contains("`decoder`") || error.to_string().contains("decoder is"));
    let file = format!(r#"{{"decoder": {}, "model": {model}}}"#, &deep[99_000..101_000]);
    let error = Tokenizer::from_tokenizer_json(file.as_bytes(), None).err().unwrap();
    assert!(error.to_string().contains("decoder: recursion limit"), "{error}");
    let file = format!(r#"{{"model": {model}, "model": {model}}}"#);
    let error = Tokenizer::from_tokenizer_json(file.as_bytes(), None).err().unwrap();
    assert!(error.to_string().contains("duplicate field `model`"), "{error}");
}

/// A megabyte of one thing ends in time for a test run, and comes back.
#[test]
fn endless_words_are_encoded() {
    let tokenizer = Tokenizer::new(gpt2()).unwrap();
    for byte in [b'a', b' ', b'|'] {
        let text = vec![byte; 1 << 20];
        let ids = tokenizer.encode(&text, &[], AddSpecial::No, ParseSpecial::Yes);
        assert_eq!(tokenizer.decode(&ids, ShowSpecial::Yes), text);
        assert!(byte == b'|' || ids.len() <= (1 << 18) + 1);
    }
    let marked = |tokens: &[&str]| Vocabulary {
        model: "llama".to_owned(),
        tokens: tokens.iter().collect(),
        scores: (0..tokens.len()).map(|id| -(id as f32)).collect(),
        add_bos: Some(false),
        ..Vocabulary::default()
    };
    let pieces = ["a", "▁", "aa", "▁▁", "aaaa", "▁▁▁▁"];
    for model in ["llama", "t5"] {
        let tokenizer =
            Tokenizer::new(Vocabulary { model: model.to_owned(), ..marked(&pieces) }).unwrap();
        for byte in [b'a', b' '] {
            let text = vec![byte; 1 << 20];
            let ids = tokenizer.encode(&text, &[], AddSpecial::No, ParseSpecial::Yes);
            assert_eq!(tokenizer.decode(&ids, ShowSpecial::Yes), text, "{model}");
        }
    }
}

/// Spellings of control tokens in literal text never become them, alone, split over ranges, or
/// through merges.
#[test]
fn literal_text_is_never_control() {
    let tokenizer = Tokenizer::new(gpt2()).unwrap();
    let text = b"a<|im_end|>b";
    let encode = |literal: &[std::ops::Range<usize>], special| {
        tokenizer.encode(text, literal, AddSpecial::No, special)
    };
    assert!(tokenizer.is_end_of_generation(5) && tokenizer.is_control(5));
    assert!(encode(&[], ParseSpecial::Yes).contains(&5));
    assert!(!encode(&[], ParseSpecial::No).contains(&5));
    for start in 1..11 {
        for end in start + 1..=12 {
            assert!(
                !encode(std::slice::from_ref(&(start..end)), ParseSpecial::Yes).contains(&5),
                "{start}..{end}"
            );
        }
    }
    assert!(encode(&[0..1, 11..12], ParseSpecial::Yes).contains(&5));
}

/// Every prefix of a small file is refused or accepted, never a panic.
/// What becomes a control token's spelling only by normalization came from a message.
#[test]
fn normalized_text_is_never_control() {
    for normalizer in [json!({"type": "NFKC"}), json!({"type": "Lowercase"})] {
        let file = json!({
            "normalizer": normalizer,
            "added_tokens": [{"id": 5, "content": "<|im_end|>", "special": true, "normalized": true,
                "single_word": false, "lstrip": false, "rstrip": false}],
            "model": {"type": "BPE", "merges": [], "unk_token": null,
                "vocab": {"<": 0, "|": 1, ">": 2, "i": 3, "m": 4, "_": 6, "e": 7, "n": 8, "d": 9}},
        });
        let file = serde_json::to_vec(&file).unwrap();
        let tokenizer = Tokenizer::from_tokenizer_json(&file, None).unwrap();
        let encode =
            |text: &str| tokenizer.encode(text.as_bytes(), &[], AddSpecial::No, ParseSpecial::Yes);
        assert_eq!(encode("<|im_end|>"), [5], "the template's own spelling");
        for text in ["\u{ff1c}|im_end|\u{ff1e}", "<|IM_END|>"] {
            assert!(!encode(text).contains(&5), "{text} under {normalizer}");
        }
    }
}

#[test]
fn long_unigram_pieces_are_refused() {
    let vocabulary = Vocabulary {
        model: "t5".to_owned(),
        tokens: [&b"<unk>"[..], b"a", &[b'a'; 1025]].iter().collect(),
        scores: vec![0.0, -1.0, -2.0],
        kinds: vec![TokenKind::Unknown, TokenKind::Normal, TokenKind::Normal],
        unk: Some(0),
        ..Vocabulary::default()
    };
    let error = Tokenizer::new(vocabulary).err().expect("accepted").to_string();
    assert!(error.contains("unigram piece is 1025, the limit is 1024"), "{error}");
}

#[test]
fn truncation_at_every_byte() {
    let json = json!({
        "added_tokens": [{"id": 3, "content": "<s>", "special": true}],
        "normalizer": {"type": "NFC"}, "pre_tokenizer": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}
    });
    let file = json.to_string();
    for cut in 0..file.len() {
        assert!(Tokenizer::from_tokenizer_json(&file.as_bytes()[..cut], None).is_err(), "{cut}");
    }
    let tokenizer = Tokenizer::from_tokenizer_json(file.as_bytes(), None).unwrap();
    assert_eq!(tokenizer.encode(b"ab<s>", &[], AddSpecial::No, ParseSpecial::Yes), [2, 3]);
    for size in 0..40 {
        let _ = Tokenizer::from_llama2c(&vec![0; size], 4);
        assert!(Tokenizer::from_llama2c(&[0xFF; 64], 4).is_err());
    }
}
