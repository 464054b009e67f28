//! tiktoken's files of ranks: `base64 rank` a line. A piece's rank is its id, and two neighbours
//! merge when their bytes are a piece, the lowest rank first; written out, that is a list of
//! merges. Sources: openai/tiktoken; meta-llama's `llama3/tokenizer.py` and `llama_models` for the
//! special tokens of Llama 3 and 3.1.

use crate::error::excerpt;
use crate::family::Family;
use crate::hash::FastMap;
use crate::unicode::byte_to_char;
use crate::{TokenId, TokenKind, Tokenizer, TokenizerError, Vocabulary};

const WHAT: &str = "tiktoken line";
/// Longest piece: the merges of a piece number as many as its bytes.
const PIECE_BYTES_MAX: usize = 1024;

/// The tokenizer of a file of ranks.
pub(crate) fn read(file: &[u8], family: &str) -> Result<Tokenizer, TokenizerError> {
    let pieces = pieces(file)?;
    let mut ranks: FastMap<&[u8], u32> = FastMap::default();
    for (rank, piece) in pieces.iter().enumerate() {
        if let Some(first) = ranks.insert(piece, rank as u32).filter(|_| !piece.is_empty()) {
            let text = excerpt(piece);
            return Err(TokenizerError::DuplicateToken { text, first, second: rank as u32 });
        }
    }
    let pre = Family::named(family).ok_or_else(|| TokenizerError::Unsupported {
        what: "pre-tokenizer family",
        name: excerpt(family.as_bytes()),
        supported: "the names of tokenizer.ggml.pre",
    })?;
    let mut vocabulary = Vocabulary {
        model: "gpt2".to_owned(),
        pre: Some(if family == "cl100k" { "dbrx".to_owned() } else { pre.names[0].to_owned() }),
        tokens: pieces.iter().map(|piece| spelled(piece)).collect(),
        merges: merges(&pieces, &ranks),
        ..Vocabulary::default()
    };
    vocabulary.kinds = vec![TokenKind::Normal; pieces.len()];
    special_tokens(&mut vocabulary, family);
    Tokenizer::new(vocabulary)
}

fn spelled(piece: &[u8]) -> Vec<u8> {
    piece.iter().map(|byte| byte_to_char(*byte)).collect::<String>().into_bytes()
}

fn pieces(file: &[u8]) -> Result<Vec<Vec<u8>>, TokenizerError> {
    let mut pieces: Vec<Vec<u8>> = Vec::new();
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
        let piece = base64(&line[..space]).ok_or_else(|| bad("base64"))?;
        if piece.len() > PIECE_BYTES_MAX {
            return Err(bad("at most 1024 bytes"));
        }
        if rank != pieces.len() {
            return Err(bad("ranks in order, from 0"));
        }
        pieces.push(piece);
    }
    Ok(pieces)
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
fn merges(pieces: &[Vec<u8>], ranks: &FastMap<&[u8], u32>) -> Vec<Vec<u8>> {
    let mut merges = Vec::new();
    for piece in pieces {
        let mut halves: Vec<(u32, u32, usize)> = (1..piece.len())
            .filter_map(|at| {
                let (left, right) = piece.split_at(at);
                Some((*ranks.get(left)?, *ranks.get(right)?, at))
            })
            .collect();
        halves.sort_unstable();
        for (.., at) in halves {
            let (left, right) = piece.split_at(at);
            merges.push([spelled(left), b" ".to_vec(), spelled(right)].concat());
        }
    }
    merges
}

/// Appends a control token.
fn control(vocabulary: &mut Vocabulary, name: &str) -> TokenId {
    vocabulary.tokens.push(name.as_bytes().to_vec());
    vocabulary.kinds.push(TokenKind::Control);
    (vocabulary.tokens.len() - 1) as TokenId
}

fn special_tokens(vocabulary: &mut Vocabulary, family: &str) {
    match family {
        "llama3" | "llama-v3" => llama(vocabulary, false),
        "llama-bpe" => llama(vocabulary, true),
        "cl100k" => {
            let names = [
                ("<|endoftext|>", 100_257),
                ("<|fim_prefix|>", 100_258),
                ("<|fim_middle|>", 100_259),
                ("<|fim_suffix|>", 100_260),
                ("<|endofprompt|>", 100_276),
            ];
            numbered(vocabulary, &names);
        }
        "gpt-4o" => {
            numbered(vocabulary, &[("<|endoftext|>", 199_999), ("<|endofprompt|>", 200_018)]);
        }
        _ => {
            let end = Some(control(vocabulary, "<|endoftext|>"));
            (vocabulary.bos, vocabulary.eos) = (end, end);
            vocabulary.add_bos = Some(false);
        }
    }
}

/// Llama 3's 256 special tokens: eleven that may have names, the rest reserved. 3.1 names more.
fn llama(vocabulary: &mut Vocabulary, newer: bool) {
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
    let first = vocabulary.tokens.len() as TokenId;
    let mut reserved = 0;
    for index in 0..256 {
        if let Some(name) = name(index) {
            control(vocabulary, &format!("<|{name}|>"));
        } else {
            control(vocabulary, &format!("<|reserved_special_token_{reserved}|>"));
            reserved += 1;
        }
    }
    (vocabulary.bos, vocabulary.eos) = (Some(first), Some(first + 1));
    (vocabulary.eom, vocabulary.eot) = (newer.then_some(first + 8), Some(first + 9));
}

/// OpenAI's special tokens at their published ids; a file of another size has no gaps to fill.
fn numbered(vocabulary: &mut Vocabulary, names: &[(&str, usize)]) {
    for (name, id) in names {
        let gap = id.saturating_sub(vocabulary.tokens.len());
        for _ in 0..if gap <= 32 { gap } else { 0 } {
            let name = format!("[UNUSED_{}]", vocabulary.tokens.len());
            vocabulary.tokens.push(name.into_bytes());
            vocabulary.kinds.push(TokenKind::Unused);
        }
        let id = control(vocabulary, name);
        if *name == "<|endoftext|>" {
            vocabulary.eos = Some(id);
        }
    }
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
