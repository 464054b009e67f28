//! tiktoken's files of ranks: `base64 rank` a line. A piece's rank is its id, and two neighbours
//! merge when their bytes are a piece, the lowest rank first; written out, that is a list of
//! merges. Sources: openai/tiktoken; meta-llama's `llama3/tokenizer.py` and `llama_models` for the
//! special tokens of Llama 3 and 3.1.

use std::sync::Arc;

use crate::budget::Budget;
use crate::error::excerpt;
use crate::family::Family;
use crate::index::TokenIndex;
use crate::model::MERGE_COST;
use crate::texts::TextBuilder;
use crate::unicode::byte_to_char;
use crate::{Merge, Merges, TextList, TokenId, TokenKind, Tokenizer, TokenizerError, Vocabulary};

const WHAT: &str = "tiktoken line";
/// Longest piece: the merges of a piece number as many as its bytes.
const PIECE_BYTES_MAX: usize = 1024;
/// What a budget says.
const MEMORY: &str = "memory for the pieces of a tiktoken file";
/// A piece beside its bytes: its place in two lists, its place in a table, its kind.
const PIECE_COST: usize = 4 + 4 + TokenIndex::COST + 1;
/// The special tokens' names, of which there are at most 256.
const NAMES_BYTES_MAX: usize = 256 * 40;

/// The tokenizer of a file of ranks.
pub(crate) fn read(file: &[u8], family: &str) -> Result<Tokenizer, TokenizerError> {
    let mut budget = Budget::for_files(file.len())?;
    let pre = Family::named(family).ok_or_else(|| TokenizerError::Unsupported {
        what: "pre-tokenizer family",
        name: excerpt(family.as_bytes()),
        supported: "the names of tokenizer.ggml.pre",
    })?;
    let count = file.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
    budget.charge(MEMORY, count, PIECE_COST)?;
    budget.charge(MEMORY, file.len() / 4 * 3 + 3, 1)?;
    let pieces = pieces(file, count)?;
    let ranks = TokenIndex::new(&pieces).map_err(|(first, second)| {
        let text = excerpt(&pieces[first as usize]);
        TokenizerError::DuplicateToken { text, first, second }
    })?;
    let merges = merges(&pieces, &ranks, &mut budget)?;
    drop(ranks);
    let names = special_names(pieces.len(), family);
    let bytes = pieces.iter().map(spelled_len).sum();
    budget.charge(MEMORY, bytes, 1)?;
    let mut tokens = TextBuilder::with_capacity(count + names.len(), bytes + NAMES_BYTES_MAX);
    let mut kinds = Vec::with_capacity(count + names.len());
    for piece in pieces.iter() {
        spell(piece, &mut tokens);
        kinds.push(TokenKind::Normal);
    }
    for (name, kind) in &names {
        tokens.push(name.as_bytes());
        kinds.push(*kind);
    }
    drop(pieces);
    let mut vocabulary = Vocabulary {
        model: "gpt2".to_owned(),
        pre: Some(if family == "cl100k" { "dbrx".to_owned() } else { pre.names[0].to_owned() }),
        tokens: tokens.finish(),
        kinds,
        merges: Merges::Ids(Arc::new(merges)),
        ..Vocabulary::default()
    };
    special_ids(&mut vocabulary, family);
    crate::from_gguf::build(vocabulary, &mut budget)
}

/// Bytes of a piece in GPT-2's alphabet.
fn spelled_len(piece: &[u8]) -> usize {
    piece.iter().map(|byte| byte_to_char(*byte).len_utf8()).sum()
}

/// Appends a piece in GPT-2's alphabet.
fn spell(piece: &[u8], tokens: &mut TextBuilder) {
    for byte in piece {
        tokens.extend(byte_to_char(*byte).encode_utf8(&mut [0; 4]).as_bytes());
    }
    tokens.end();
}

fn pieces(file: &[u8], count: usize) -> Result<TextList, TokenizerError> {
    let mut pieces = TextBuilder::with_capacity(count, file.len() / 4 * 3 + 3);
    for (index, line) in file.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let bad = |expected| TokenizerError::BadEntry {
            what: WHAT,
            index: index + 1,
            found: excerpt(line),
            expected,
        };
        let space = line
            .iter()
            .position(|byte| *byte == b' ')
            .ok_or_else(|| bad("base64, a space, a rank"))?;
        let rank = std::str::from_utf8(&line[space + 1..])
            .ok()
            .and_then(|rank| rank.parse::<usize>().ok());
        let rank = rank.ok_or_else(|| bad("a rank"))?;
        if space > PIECE_BYTES_MAX.div_ceil(3) * 4 {
            return Err(bad("at most 1024 bytes"));
        }
        let piece = base64(&line[..space]).ok_or_else(|| bad("base64"))?;
        if piece.len() > PIECE_BYTES_MAX {
            return Err(bad("at most 1024 bytes"));
        }
        if rank != pieces.len() {
            return Err(bad("ranks in order, from 0"));
        }
        pieces.push(&piece);
    }
    Ok(pieces.finish())
}

/// Standard base64 with padding.
pub(crate) fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.chunks(4) {
        let mut bits = 0u32;
        for letter in group {
            let value = match letter {
                b'A'..=b'Z' => letter - b'A',
                b'a'..=b'z' => letter - b'a' + 26,
                b'0'..=b'9' => letter - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        let count = match group.len() {
            4 => 3,
            3 => 2,
            2 => 1,
            _ => return None,
        };
        bits <<= 6 * (4 - group.len());
        bytes.extend_from_slice(&bits.to_be_bytes()[1..=count]);
    }
    Some(bytes)
}

/// Every way to make a piece of two, in the order of pieces, then of their halves.
fn merges(
    pieces: &TextList,
    ranks: &TokenIndex,
    budget: &mut Budget,
) -> Result<Vec<Merge>, TokenizerError> {
    let halves = |whole: TokenId, piece: &[u8], take: &mut dyn FnMut(Merge)| {
        for at in 1..piece.len() {
            let (left, right) = piece.split_at(at);
            if let Some((left, right)) = ranks.id(left).zip(ranks.id(right)) {
                take(Merge { left, right, whole });
            }
        }
    };
    let each = |take: &mut dyn FnMut(Merge)| {
        pieces.iter().enumerate().for_each(|(id, piece)| halves(id as TokenId, piece, take));
    };
    let mut count = 0;
    each(&mut |_| count += 1);
    budget.charge("memory for the merges of tiktoken's pieces", count, MERGE_COST)?;
    let mut merges = Vec::with_capacity(count);
    each(&mut |merge| merges.push(merge));
    merges.sort_unstable_by_key(|merge| (merge.whole, merge.left, merge.right));
    Ok(merges)
}

/// The tokens behind the pieces, of which there are `len`.
fn special_names(len: usize, family: &str) -> Vec<(String, TokenKind)> {
    let control = |name: &str| (name.to_owned(), TokenKind::Control);
    match family {
        "llama3" | "llama-v3" => llama(false).iter().map(|name| control(name)).collect(),
        "llama-bpe" => llama(true).iter().map(|name| control(name)).collect(),
        "cl100k" => numbered(
            len,
            &[
                ("<|endoftext|>", 100_257),
                ("<|fim_prefix|>", 100_258),
                ("<|fim_middle|>", 100_259),
                ("<|fim_suffix|>", 100_260),
                ("<|endofprompt|>", 100_276),
            ],
        ),
        "gpt-4o" => numbered(len, &[("<|endoftext|>", 199_999), ("<|endofprompt|>", 200_018)]),
        _ => vec![control("<|endoftext|>")],
    }
}

/// Their roles.
fn special_ids(vocabulary: &mut Vocabulary, family: &str) {
    let id = |name: &str| vocabulary.tokens.position(name.as_bytes()).map(|id| id as TokenId);
    match family {
        "llama3" | "llama-v3" | "llama-bpe" => {
            let [bos, eos, eom, eot] =
                ["<|begin_of_text|>", "<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"].map(id);
            (vocabulary.bos, vocabulary.eos) = (bos, eos);
            (vocabulary.eom, vocabulary.eot) = (eom, eot);
        }
        "cl100k" | "gpt-4o" => vocabulary.eos = id("<|endoftext|>"),
        _ => {
            let end = id("<|endoftext|>");
            (vocabulary.bos, vocabulary.eos) = (end, end);
            vocabulary.add_bos = Some(false);
        }
    }
}

/// Llama 3's 256 special tokens: eleven that may have names, the rest reserved. 3.1 names more.
fn llama(newer: bool) -> Vec<String> {
    let name = |index: usize| match index {
        0 => Some("begin_of_text"),
        1 => Some("end_of_text"),
        4 if newer => Some("finetune_right_pad_id"),
        6 => Some("start_header_id"),
        7 => Some("end_header_id"),
        8 if newer => Some("eom_id"),
        9 => Some("eot_id"),
        10 if newer => Some("python_tag"),
        _ => None,
    };
    let mut reserved = 0..256;
    let names = (0..256).map(|index| match name(index) {
        Some(name) => format!("<|{name}|>"),
        None => format!("<|reserved_special_token_{}|>", reserved.next().unwrap_or_default()),
    });
    names.collect()
}

/// OpenAI's special tokens at their published ids; a file of another size has no gaps to fill.
fn numbered(len: usize, names: &[(&str, usize)]) -> Vec<(String, TokenKind)> {
    let mut list = Vec::new();
    for (name, id) in names {
        let gap = id.saturating_sub(len + list.len());
        for _ in 0..if gap <= 32 { gap } else { 0 } {
            list.push((format!("[UNUSED_{}]", len + list.len()), TokenKind::Unused));
        }
        list.push(((*name).to_owned(), TokenKind::Control));
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_decodes() {
        assert_eq!(base64(b"IQ==").unwrap(), b"!");
        assert_eq!(base64(b"aGVsbG8=").unwrap(), b"hello");
        assert_eq!(base64(b"A"), None);
        assert_eq!(base64(b"a*=="), None);
    }

    #[test]
    fn broken_lines_are_named() {
        let error = |file: &str| read(file.as_bytes(), "gpt-2").err().unwrap();
        assert!(matches!(error("IQ== 0\nIg== 2\n"), TokenizerError::BadEntry { index: 2, .. }));
        assert!(matches!(error("IQ==\n"), TokenizerError::BadEntry { index: 1, .. }));
        assert!(matches!(error("IQ== x\n"), TokenizerError::BadEntry { expected: "a rank", .. }));
        assert!(matches!(
            error("IQ== 0\nIQ== 1\n"),
            TokenizerError::DuplicateToken { second: 1, .. }
        ));
        assert!(matches!(read(b"IQ== 0\n", "x").err(), Some(TokenizerError::Unsupported { .. })));
    }
}
