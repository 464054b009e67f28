//! Vocabularies are hostile input: any bytes as `tokenizer.json`, `tokenizer.model`, tiktoken,
//! llama2.c and lists; what is accepted must encode and decode without a panic and within the
//! fuzzer's time and memory.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lucid_tokenizer::{AddSpecial, ParseSpecial, ShowSpecial, Tokenizer, TokenizerError};

const TEXT: &[u8] = "Hello, w\u{f6}rld 123 \u{2581}\u{4e2d} <s></s>\t\r\n  x".as_bytes();

fn use_it(tokenizer: Result<Tokenizer, TokenizerError>, text: &[u8]) {
    let Ok(tokenizer) = tokenizer else { return };
    let ids = tokenizer.encode(text, &[2..9], AddSpecial::Yes, ParseSpecial::Yes);
    assert!(ids.iter().all(|&id| (id as usize) < tokenizer.len()));
    let whole = tokenizer.decode(&ids, ShowSpecial::Yes);
    let mut stream = tokenizer.stream_decoder(ShowSpecial::Yes);
    let mut text = String::new();
    for &id in &ids {
        text.push_str(stream.push(id));
    }
    text.push_str(stream.finish());
    assert_eq!(text, String::from_utf8_lossy(&whole));
    // A second build from the vocabulary alone may fail, but not panic.
    let _ = Tokenizer::new(tokenizer.vocabulary().clone());
}

fuzz_target!(|data: &[u8]| {
    let cut = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let (head, tail) = data.split_at(cut);
    let text = if tail.is_empty() { TEXT } else { &tail[..tail.len().min(64)] };
    use_it(Tokenizer::from_tokenizer_json(head, None), text);
    use_it(Tokenizer::from_tokenizer_json(head, Some(tail)), TEXT);
    use_it(Tokenizer::from_sentencepiece(data), TEXT);
    use_it(Tokenizer::from_tiktoken(data, "gpt-2"), TEXT);
    use_it(Tokenizer::from_llama2c(data, data.len() / 9), TEXT);
    use_it(Tokenizer::from_bert_vocab(data, true), TEXT);
    use_it(Tokenizer::from_vocab_and_merges(head, tail, "qwen2", None), TEXT);
});
