//! Vocabularies as plain lists: `vocab.json` with `merges.txt`, and BERT's `vocab.txt`. Sources:
//! openai/gpt-2's `encoder.py`; google-research/bert's `tokenization.py`.

use serde_json::Value;

use crate::error::excerpt;
use crate::from_config::Config;
use crate::from_json::{invalid, parse};
use crate::hash::FastMap;
use crate::{TokenId, TokenKind, TokenizerError, Vocabulary};

/// Ids may leave gaps, but no more than this beside the tokens that are there.
const GAPS_MAX: usize = 1 << 16;

/// Texts by id; a gap becomes an unused token of its own name.
pub(crate) fn by_id(
    entries: Vec<(Vec<u8>, u64)>,
    key: &'static str,
) -> Result<(Vec<Vec<u8>>, Vec<TokenKind>), TokenizerError> {
    let len_max = 2 * entries.len() + GAPS_MAX;
    let top = entries.iter().map(|(_, id)| *id).max().unwrap_or(0);
    if top >= len_max as u64 {
        return Err(TokenizerError::IdOutOfRange { key, id: top, len: entries.len() });
    }
    let len = if entries.is_empty() { 0 } else { top as usize + 1 };
    let mut tokens: Vec<Option<Vec<u8>>> = vec![None; len];
    for (text, id) in entries {
        let slot = &mut tokens[id as usize];
        if let Some(other) = slot.as_ref().filter(|other| **other != text) {
            return Err(TokenizerError::BadEntry {
                what: key,
                index: id as usize,
                found: format!("both {:?} and {:?}", excerpt(other), excerpt(&text)),
                expected: "one token for each id",
            });
        }
        *slot = Some(text);
    }
    let kinds = tokens.iter().map(|text| match text {
        Some(_) => TokenKind::Normal,
        None => TokenKind::Unused,
    });
    let kinds = kinds.collect();
    let name = |(id, text): (usize, Option<Vec<u8>>)| {
        text.unwrap_or_else(|| format!("[UNUSED_{id}]").into_bytes())
    };
    Ok((tokens.into_iter().enumerate().map(name).collect(), kinds))
}

/// The object `{"token": id, ...}`.
pub(crate) fn vocab_entries(
    vocab: &Value,
    key: &'static str,
) -> Result<Vec<(Vec<u8>, u64)>, TokenizerError> {
    let object = vocab.as_object().ok_or_else(|| invalid(key, "expected an object of ids"))?;
    object
        .iter()
        .map(|(text, id)| match id.as_u64() {
            Some(id) => Ok((text.as_bytes().to_vec(), id)),
            None => Err(invalid(
                key,
                &format!("the id of {:?} is no integer", excerpt(text.as_bytes())),
            )),
        })
        .collect()
}

/// GPT-2's pair of files, with what `tokenizer_config.json` adds.
pub(crate) fn vocab_and_merges(
    vocab: &[u8],
    merges: &[u8],
    family: &str,
    tokenizer_config: Option<&[u8]>,
) -> Result<Vocabulary, TokenizerError> {
    let config = Config::read(tokenizer_config)?;
    let mut entries = vocab_entries(&parse("vocab.json", vocab)?, "vocab.json")?;
    let mut known: FastMap<Vec<u8>, u64> = entries.iter().cloned().collect();
    for token in &config.added {
        if !known.contains_key(&token.content) {
            known.insert(token.content.clone(), u64::from(token.id));
            entries.push((token.content.clone(), u64::from(token.id)));
        }
    }
    let (tokens, kinds) = by_id(entries, "vocab.json")?;
    let lines =
        merges.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let header = |(index, line): &(usize, &[u8])| *index == 0 && line.starts_with(b"#version");
    let lines = lines.enumerate().filter(|entry| !header(entry) && !entry.1.is_empty());
    let mut vocabulary = Vocabulary {
        model: "gpt2".to_owned(),
        pre: Some(family.to_owned()),
        tokens,
        kinds,
        merges: lines.map(|(_, line)| line.to_vec()).collect(),
        ..Vocabulary::default()
    };
    for token in &config.added {
        let kind = if token.special { TokenKind::Control } else { TokenKind::UserDefined };
        if let Some(id) = known.get(&token.content) {
            vocabulary.kinds[*id as usize] = kind;
        }
    }
    let end = vocabulary.tokens.iter().position(|text| text == b"<|endoftext|>");
    if let Some(end) = end {
        vocabulary.kinds[end] = TokenKind::Control;
        vocabulary.eos = Some(end as TokenId);
    }
    config.apply(&mut vocabulary);
    Ok(vocabulary)
}

/// BERT's list of pieces.
pub(crate) fn bert(vocab: &[u8], lowercase: bool) -> Result<Vocabulary, TokenizerError> {
    let mut vocabulary = Vocabulary {
        model: "bert".to_owned(),
        lowercase: Some(lowercase),
        ..Vocabulary::default()
    };
    let vocab = vocab.strip_suffix(b"\n").unwrap_or(vocab);
    let lines = vocab.split(|byte| *byte == b'\n');
    for line in lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line)) {
        let id = Some(vocabulary.tokens.len() as TokenId);
        let slot = match line {
            b"[UNK]" => &mut vocabulary.unk,
            b"[CLS]" => &mut vocabulary.cls,
            b"[SEP]" => &mut vocabulary.sep,
            b"[PAD]" => &mut vocabulary.pad,
            b"[MASK]" => &mut vocabulary.mask,
            _ => {
                vocabulary.tokens.push(word_piece(line, "##"));
                vocabulary.kinds.push(TokenKind::Normal);
                continue;
            }
        };
        *slot = id;
        vocabulary.tokens.push(line.to_vec());
        vocabulary.kinds.push(TokenKind::Control);
    }
    for (what, id) in
        [("[UNK]", vocabulary.unk), ("[CLS]", vocabulary.cls), ("[SEP]", vocabulary.sep)]
    {
        if id.is_none() {
            return Err(TokenizerError::Missing { what, expected: "a line of vocab.txt" });
        }
    }
    vocabulary.bos = vocabulary.cls;
    Ok(vocabulary)
}

/// GGUF's spelling of a piece: U+2581 before the first of a word, continuations bare.
pub(crate) fn word_piece(text: &[u8], prefix: &str) -> Vec<u8> {
    match text.strip_prefix(prefix.as_bytes()) {
        Some(rest) if !prefix.is_empty() && !rest.is_empty() => rest.to_vec(),
        _ => ["\u{2581}".as_bytes(), text].concat(),
    }
}
