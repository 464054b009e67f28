//! Training against the `tokenizers` crate's trainer: the same merges and ids on the same text;
//! and what becomes of input that is no text.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and says why")]

mod common;

use std::convert::Infallible;

use common::Random;
use lucid_tokenizer::train::{
    Alphabet, Input, SplitPattern, TrainOptions, Trained, Unit, WordCounts, train,
};
use lucid_tokenizer::{AddSpecial, ParseSpecial, ShowSpecial, Tokenizer, TokenizerError};
use serde_json::{Value, json};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, TokenizerImpl,
};

type Peer = TokenizerImpl<
    BPE,
    NormalizerWrapper,
    PreTokenizerWrapper,
    PostProcessorWrapper,
    DecoderWrapper,
>;

const MEMORY: u64 = 1 << 30;

fn counts(documents: &[Vec<u8>], pattern: &str, unit: Unit, threads: usize) -> WordCounts {
    let pattern = SplitPattern::parse(pattern).unwrap();
    let mut counts = WordCounts::new(pattern, unit, threads, MEMORY);
    let input = documents.iter().flat_map(|text| [Input::Bytes(text.clone()), Input::End]);
    counts.count(input.map(Ok::<_, Infallible>), &mut |_| {}).unwrap();
    counts
}

fn made(documents: &[Vec<u8>], pattern: &str, options: &TrainOptions) -> Trained {
    train(&counts(documents, pattern, Unit::Document, 1), options, &mut |_| {}).unwrap()
}

fn json_of(trained: &Trained) -> Value {
    let mut file = Vec::new();
    trained.write_json(&mut file).unwrap();
    serde_json::from_slice(&file).unwrap()
}

/// What the crate makes of the same texts, with the pre-tokenizer that our file names.
fn peer(texts: &[String], ours: &Value, options: &TrainOptions) -> Value {
    let mut trainer = BpeTrainer::builder()
        .vocab_size(options.vocab_size)
        .min_frequency(options.frequency_min)
        .max_token_length(options.token_bytes_end)
        .special_tokens(options.special.iter().map(|it| AddedToken::from(it, true)).collect())
        .show_progress(false);
    if options.alphabet == Alphabet::All {
        let alphabet = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
        trainer = trainer.initial_alphabet(alphabet.into_iter().collect());
    }
    let mut peer = Peer::new(BPE::default());
    let cut: PreTokenizerWrapper = serde_json::from_value(ours["pre_tokenizer"].clone()).unwrap();
    peer.with_pre_tokenizer(Some(cut));
    peer.train(&mut trainer.build(), texts.iter()).unwrap();
    serde_json::from_str(&peer.to_string(false).unwrap()).unwrap()
}

fn check(texts: &[String], pattern: &str, options: &TrainOptions) -> usize {
    let documents: Vec<Vec<u8>> = texts.iter().map(|text| text.clone().into_bytes()).collect();
    let trained = made(&documents, pattern, options);
    let ours = json_of(&trained);
    let theirs = peer(texts, &ours, options);
    for part in ["merges", "vocab"] {
        let (ours, theirs) = (&ours["model"][part], &theirs["model"][part]);
        if let (Some(ours), Some(theirs)) = (ours.as_array(), theirs.as_array()) {
            let differ = ours.iter().zip(theirs).position(|(a, b)| a != b);
            let at = differ.unwrap_or(ours.len().min(theirs.len()));
            assert_eq!((ours.get(at), ours.len()), (theirs.get(at), theirs.len()), "merge {at}");
        }
        assert!(ours == theirs, "{part} for {pattern} and {options:?}");
    }
    trained.merges().len()
}

/// Words of few letters, so that many pairs are equally frequent, in several scripts.
fn ties(random: &mut Random, count: usize) -> String {
    let alphabets =
        ["ab", "abcde", "ab'12 ", "аб", "中文字", "é e\u{301}", "\n \t", "👩\u{200d}👧"];
    let mut text = String::new();
    for _ in 0..count {
        let letters: Vec<char> = alphabets[random.below(alphabets.len())].chars().collect();
        for _ in 0..=random.below(14) {
            text.push(letters[random.below(letters.len())]);
        }
        text.push_str([" ", "", "\n", "  "][random.below(4)]);
    }
    text
}

#[test]
fn merges_are_those_of_the_crate() {
    let mut random = Random(0x1234_5678_9abc_def1);
    let mut merges = 0;
    for round in 0..30 {
        let texts: Vec<String> = (0..=random.below(4)).map(|_| ties(&mut random, 60)).collect();
        let pattern = ["gpt2", "llama3", "qwen2", "o200k", "tekken", r"\w+|[^\w\s]+"][round % 6];
        let bare = TrainOptions { special: Vec::new(), begin: None, ..TrainOptions::default() };
        let options = match round % 5 {
            0 => TrainOptions { vocab_size: 600, ..TrainOptions::default() },
            1 => TrainOptions { vocab_size: 400, alphabet: Alphabet::Seen, ..bare },
            2 => TrainOptions { frequency_min: 3, ..TrainOptions::default() },
            3 => TrainOptions { token_bytes_end: Some(2 + round % 7), ..bare },
            // A special token that the text spells, and a doubled one.
            _ => TrainOptions { special: ["ab", "<x>", "ab"].map(str::to_owned).into(), ..bare },
        };
        merges += check(&texts, pattern, &options);
    }
    assert!(merges > 5_000, "{merges}");
}

#[test]
fn merges_of_real_text_are_those_of_the_crate() {
    let Some(data) = common::data() else { return };
    let shakespeare = std::fs::read_to_string(data.join("text/tinyshakespeare.txt")).unwrap();
    let options = TrainOptions { vocab_size: 2048, ..TrainOptions::default() };
    let short: String = shakespeare.chars().take(100_000).collect();
    assert_eq!(check(&[short], "llama3", &options), 2048 - 266);
}

#[test]
fn lines_are_what_the_crate_reads_from_files() {
    let text = ties(&mut Random(77), 500);
    let options = TrainOptions { vocab_size: 500, ..TrainOptions::default() };
    let lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    let counts = counts(&[text.into_bytes()], "llama3", Unit::Line, 1);
    let ours = json_of(&train(&counts, &options, &mut |_| {}).unwrap());
    assert!(ours["model"]["merges"] == peer(&lines, &ours, &options)["model"]["merges"]);
}

#[test]
fn threads_and_pieces_change_nothing() {
    let mut random = Random(99);
    let documents: Vec<Vec<u8>> = (0..40).map(|_| ties(&mut random, 8_000).into_bytes()).collect();
    let options = TrainOptions { vocab_size: 700, ..TrainOptions::default() };
    let one = counts(&documents, "o200k", Unit::Document, 1);
    let expected = json_of(&train(&one, &options, &mut |_| {}).unwrap());
    for threads in [2, 5] {
        let many = counts(&documents, "o200k", Unit::Document, threads);
        assert_eq!(one.summary(), many.summary());
        assert!(expected == json_of(&train(&many, &options, &mut |_| {}).unwrap()));
    }
    // The same bytes in pieces of any length, in two calls.
    let mut counts =
        WordCounts::new(SplitPattern::parse("o200k").unwrap(), Unit::Document, 2, MEMORY);
    for half in documents.chunks(20) {
        let input = half.iter().flat_map(|text| {
            let pieces = text.chunks(1 + text.len() / 7).map(|it| Input::Bytes(it.to_vec()));
            pieces.chain([Input::End]).collect::<Vec<_>>()
        });
        counts.count(input.map(Ok::<_, Infallible>), &mut |_| {}).unwrap();
    }
    assert!(expected == json_of(&train(&counts, &options, &mut |_| {}).unwrap()));
}

/// What is dropped does not depend on threads either, and memory stays bounded.
#[test]
fn rare_words_are_dropped_and_counted() {
    let mut random = Random(5);
    let documents: Vec<Vec<u8>> = (0..8)
        .map(|_| {
            let words = (0..100_000).map(|_| format!(" {}", random.below(1 << 40)));
            (words.collect::<String>() + &" often".repeat(1000)).into_bytes()
        })
        .collect();
    let mut all = Vec::new();
    for threads in [1, 3] {
        let pattern = SplitPattern::parse("gpt2").unwrap();
        let mut counts = WordCounts::new(pattern, Unit::Document, threads, 8 << 20);
        let input = documents.iter().flat_map(|text| [Input::Bytes(text.clone()), Input::End]);
        counts.count(input.map(Ok::<_, Infallible>), &mut |_| {}).unwrap();
        let summary = counts.summary();
        assert!(summary.dropped_distinct > 500_000 && summary.dropped_count_max < 20);
        assert!(summary.distinct < 100_000, "{summary:?}");
        let options = TrainOptions { vocab_size: 320, ..TrainOptions::default() };
        all.push((summary, json_of(&train(&counts, &options, &mut |_| {}).unwrap())));
    }
    assert!(all[0] == all[1]);
    assert!(all[0].1["model"]["vocab"]["Ġoften"].is_number());
}

#[test]
fn a_trained_vocabulary_reads_back() {
    let mut random = Random(3);
    let texts: Vec<String> = (0..4).map(|_| ties(&mut random, 300)).collect();
    let documents: Vec<Vec<u8>> = texts.iter().map(|text| text.clone().into_bytes()).collect();
    for pattern in ["gpt2", "llama3", r"[^\s]+|\s+"] {
        let trained = made(&documents, pattern, &TrainOptions::default());
        let json = json_of(&trained).to_string();
        let ours = Tokenizer::from_tokenizer_json(json.as_bytes(), None).unwrap();
        let theirs: Peer = json.parse().unwrap();
        // GGUF has no name for an expression of one's own.
        let named = pattern.bytes().all(|byte| byte.is_ascii_alphanumeric());
        assert_eq!(ours.warnings().len(), usize::from(!named), "{:?}", ours.warnings());
        let gguf = Tokenizer::new(ours.vocabulary().clone()).unwrap();
        assert_eq!((ours.bos(), ours.eos(), ours.adds_bos()), (Some(0), Some(4), true));
        for text in texts.iter().map(String::as_str).chain(["<|end|>x", "", "naïve 🦀 x = 10**3"])
        {
            let ids = ours.encode(text.as_bytes(), &[], AddSpecial::Yes, ParseSpecial::Yes);
            assert_eq!(ids, theirs.encode(text, true).unwrap().get_ids(), "{pattern} {text:?}");
            if named {
                let same = gguf.encode(text.as_bytes(), &[], AddSpecial::Yes, ParseSpecial::Yes);
                assert_eq!(ids, same);
            }
            assert_eq!(ours.decode(&ids[1..], ShowSpecial::Yes), text.as_bytes());
        }
        let typed = ours.encode(b"<|end|>", &[], AddSpecial::No, ParseSpecial::No);
        assert!(typed.iter().all(|&id| !ours.is_control(id)));
    }
}

/// Bytes that are no text are counted as what the encoder makes of them.
#[test]
fn any_bytes_are_trained_on() {
    let mut random = Random(11);
    let binary: Vec<u8> = (0..200_000).map(|_| random.below(256) as u8).collect();
    let broken = b"caf\xE9 caf\xE9 caf\xE9 \xFF\xFE\x00".repeat(50);
    let options = TrainOptions { vocab_size: 300, ..TrainOptions::default() };
    let trained = made(&[binary.clone(), broken.clone(), Vec::new()], "llama3", &options);
    let tokenizer = trained.tokenizer().unwrap();
    assert!(trained.tokens().iter().any(|token| token == "caf" || token == "Ġcaf"));
    for text in [binary, broken] {
        let ids = tokenizer.encode(&text, &[], AddSpecial::No, ParseSpecial::No);
        assert_eq!(tokenizer.decode(&ids, ShowSpecial::Yes), text);
    }
}

/// Lines of megabytes without a space: cut where that changes nothing, kept whole up to a bound.
#[test]
fn endless_lines_end() {
    let options = TrainOptions { vocab_size: 500, ..TrainOptions::default() };
    let mut random = Random(21);
    let letters: Vec<u8> = (0..5 << 20).map(|_| b"acgt"[random.below(4)]).collect();
    let counted = counts(&[letters], "gpt2", Unit::Document, 2);
    assert_eq!((counted.summary().distinct, counted.summary().cuts), (2, 1));
    let trained = train(&counted, &options, &mut |_| {}).unwrap();
    assert_eq!(trained.len(), 500);
    let same = counts(&[vec![b'a'; 3 << 20]], "gpt2", Unit::Document, 1);
    assert!(train(&same, &options, &mut |_| {}).unwrap().len() < 300);
}

#[test]
fn what_cannot_be_trained_is_refused() {
    let refused = |documents: &[Vec<u8>], options: &TrainOptions| {
        let counts = counts(documents, "gpt2", Unit::Document, 1);
        train(&counts, options, &mut |_| {}).map(|_| ()).unwrap_err().to_string()
    };
    let usual = TrainOptions::default();
    let text = [b"some text".to_vec()];
    assert!(refused(&[Vec::new(), Vec::new()], &usual).contains("text to train on"));
    let small = TrainOptions { vocab_size: 265, ..usual.clone() };
    let message = refused(&text, &small);
    assert!(message.contains("265") && message.contains("266 is the least"), "{message}");
    for bad in ["", "a", "é"] {
        let special = vec!["<ok>".to_owned(), bad.to_owned()];
        let message = refused(&text, &TrainOptions { special, ..usual.clone() });
        assert!(message.contains("special token 1"), "{message}");
    }
    let failing = [Ok(Input::Bytes(b"x".to_vec())), Err("unreadable")];
    let pattern = SplitPattern::parse("gpt2").unwrap();
    let mut counts = WordCounts::new(pattern, Unit::Document, 2, MEMORY);
    assert_eq!(counts.count(failing.into_iter(), &mut |_| {}), Err("unreadable"));
    assert!(matches!(SplitPattern::parse("(").err(), Some(TokenizerError::Pattern { .. })));
    // The least vocabulary is the bytes and the special tokens.
    let least = TrainOptions { vocab_size: 266, ..usual };
    let trained = made(&text, "gpt2", &least);
    assert_eq!((trained.len(), trained.merges().len()), (266, 0));
    assert_eq!(json_of(&trained)["model"]["merges"], json!([]));
}
