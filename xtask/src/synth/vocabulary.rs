//! A vocabulary that means nothing and that every loader takes: the layout of SentencePiece models
//! (`llama` in GGUF) with unknown, begin, end, the 256 bytes, and made-up words.

use lucid_checkpoint::GgufWriter;
use lucid_tensor::{MetaArray, MetaValue};

/// Token kinds, as `tokenizer.ggml.token_type` numbers them (ggml's `docs/gguf.md`).
const NORMAL: i64 = 1;
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const BYTE: i64 = 6;

/// Sets the keys of a vocabulary of `size` tokens, at least 259.
pub(crate) fn metadata(size: usize, writer: &mut GgufWriter) {
    let mut tokens: Vec<Vec<u8>> = vec![b"<unk>".into(), b"<s>".into(), b"</s>".into()];
    let mut kinds = vec![UNKNOWN, CONTROL, CONTROL];
    for byte in 0..=255u8 {
        tokens.push(format!("<0x{byte:02X}>").into_bytes());
        kinds.push(BYTE);
    }
    for number in 0..size.saturating_sub(tokens.len()) {
        tokens.push(word(number).into_bytes());
        kinds.push(NORMAL);
    }
    // Of two ways to cut a text, the one with the more frequent pieces wins: the earlier ones.
    let scores = (0..tokens.len()).map(|id| -(id.saturating_sub(258) as f32)).collect();
    let mut put = |key: &str, value: MetaValue| {
        writer.metadata(format!("tokenizer.ggml.{key}"), value);
    };
    put("model", MetaValue::Text("llama".to_owned()));
    put("pre", MetaValue::Text("default".to_owned()));
    put("tokens", MetaValue::Array(MetaArray::texts(tokens)));
    put("scores", MetaValue::Array(MetaArray::float(scores)));
    put("token_type", MetaValue::Array(MetaArray::signed(kinds)));
    put("bos_token_id", MetaValue::Unsigned(1));
    put("eos_token_id", MetaValue::Unsigned(2));
    put("unknown_token_id", MetaValue::Unsigned(0));
    put("add_bos_token", MetaValue::Bool(true));
    put("add_eos_token", MetaValue::Bool(false));
}

/// `▁a` to `▁z`, `a` to `z`, `▁aa`, ...: each number a word of its own.
fn word(number: usize) -> String {
    let mut letters = String::new();
    let mut rest = number / 2 + 1;
    while rest > 0 {
        letters.insert(0, char::from(b'a' + ((rest - 1) % 26) as u8));
        rest = (rest - 1) / 26;
    }
    if number.is_multiple_of(2) { format!("\u{2581}{letters}") } else { letters }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_differ() {
        assert_eq!(
            [0, 1, 2, 52, 53].map(word),
            ["\u{2581}a", "a", "\u{2581}b", "\u{2581}aa", "aa"]
        );
        let words: std::collections::BTreeSet<_> = (0..10_000).map(word).collect();
        assert_eq!(words.len(), 10_000);
    }
}
