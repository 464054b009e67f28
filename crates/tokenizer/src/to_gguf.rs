//! A `tokenizer.json` in GGUF's terms, so that a conversion can write its vocabulary. Source:
//! llama.cpp's `convert_hf_to_gguf.py` and `llama-vocab.cpp`; SentencePiece's `bpe_model.cc`.
//! Invariant: a tokenizer built from the filled-in vocabulary gives the same ids, except where a
//! warning says otherwise.

use serde_json::Value;

use crate::added::AddedToken;
use crate::budget::Budget;
use crate::error::excerpt;
use crate::from_gguf::Prepared;
use crate::from_tiktoken::base64;
use crate::json_model::ModelPart;
use crate::json_parts::{flag, flat, kind, metaspace};
use crate::model::{Bpe, Model, NONE, is_plain};
use crate::spelling::Spelling;
use crate::split::{Prepend, Step};
use crate::{TokenId, TokenKind, TokenizerError, Vocabulary};

const MARK: char = '\u{2581}';
/// Begins every warning about a conversion.
pub(crate) const LOST: &str = "lost in GGUF: ";
/// Longer pieces are not looked through for other ways to make them.
const PIECE_BYTES_MAX: usize = 64;

/// What scores of merges take for each token: first and last rank, twice, the score, a flag.
const SCORED_COST: usize = 8 + 8 + 4 + 1;

/// The file's parts that decide.
pub(crate) struct Source<'a> {
    pub(crate) model: &'a ModelPart<'a>,
    pub(crate) spelling: Spelling,
    pub(crate) normalizer: &'a Value,
    pub(crate) pre_tokenizer: &'a Value,
    pub(crate) added: &'a [AddedToken],
    pub(crate) around: &'a [Vec<TokenId>; 2],
}

/// Fills in the model, scores, kinds and settings.
pub(crate) fn fill(
    prepared: &mut Prepared,
    model: &Model,
    source: &Source<'_>,
    budget: &mut Budget,
) -> Result<(), TokenizerError> {
    let mut lost = Vec::new();
    let affixes = source.model.kind == "BPE" && source.model.has_affixes();
    let ignore_merges = source.model.settings.ignore_merges == Some(true);
    let v = &mut prepared.vocabulary;
    let form = match (model, source.spelling) {
        (Model::Bpe(_), Spelling::ByteLevel) if !affixes => "gpt2",
        (Model::Bpe(_), Spelling::Marked) if !affixes && !ignore_merges => "llama",
        (Model::Unigram(_), Spelling::Marked) => "t5",
        (Model::WordPiece(_), _) => "bert",
        _ => {
            let text = "this kind of vocabulary has no form there, it would be unreadable";
            prepared.warnings.push(format!("{LOST}{text}"));
            return Ok(());
        }
    };
    form.clone_into(&mut v.model);
    match model {
        Model::Bpe(_) if v.model == "gpt2" => byte_level(v, source, &mut lost)?,
        Model::Bpe(bpe) => {
            let split = spaces(v, source, &mut lost)?;
            budget.charge(
                "memory for model.vocab",
                prepared.vocabulary.tokens.len(),
                SCORED_COST,
            )?;
            scored(prepared, bpe, split, &mut lost);
            unknown(&prepared.vocabulary, source, &mut lost);
        }
        Model::Unigram(_) => {
            if spaces(v, source, &mut lost)? {
                for id in 0..v.tokens.len() {
                    if crosses(&v.tokens[id]) {
                        unuse(v, id);
                    }
                }
            }
        }
        _ => word_pieces(v, source, &mut lost),
    }
    added(&prepared.vocabulary, source, &mut lost);
    around(&prepared.vocabulary, source, &mut lost);
    prepared.warnings.extend(lost.into_iter().map(|what| format!("{LOST}{what}")));
    Ok(())
}

fn byte_level(
    v: &Vocabulary,
    source: &Source<'_>,
    lost: &mut Vec<String>,
) -> Result<(), TokenizerError> {
    if v.pre.is_none() {
        lost.push("the pre-tokenizer has no name there; words would be cut differently".to_owned());
    }
    let mut parts = Vec::new();
    flat(source.normalizer, "normalizers", &mut parts)?;
    let names = parts.into_iter().map(kind).filter(|name| *name != "ByteLevel");
    lost.extend(names.map(|name| format!("the normalizer {}", excerpt(name.as_bytes()))));
    Ok(())
}

/// How spaces are treated. Gives whether words are cut before every mark.
fn spaces(
    v: &mut Vocabulary,
    source: &Source<'_>,
    lost: &mut Vec<String>,
) -> Result<bool, TokenizerError> {
    let (mut normalizers, mut cuts) = (Vec::new(), Vec::new());
    flat(source.normalizer, "normalizers", &mut normalizers)?;
    flat(source.pre_tokenizer, "pretokenizers", &mut cuts)?;
    let (mut prefix, mut collapse, mut split, mut marked) = (false, false, false, false);
    let mut other = Vec::new();
    let text = |part: &Value, name: &str| {
        part.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    for part in normalizers {
        let pattern = |name: &str| part.get("pattern").map(|it| text(it, name)).unwrap_or_default();
        let content = text(part, "content");
        match kind(part) {
            "Prepend" if ["\u{2581}", " "].contains(&&*text(part, "prepend")) => prefix = true,
            "Replace" if pattern("String") == " " && content == "\u{2581}" => marked = true,
            "Replace" if pattern("Regex") == " {2,}" => collapse = true,
            "Precompiled" if v.precompiled_charsmap.is_none() => {
                let blob = base64(text(part, "precompiled_charsmap").as_bytes());
                v.precompiled_charsmap = blob.filter(|blob| !blob.is_empty());
            }
            "Strip" => {}
            name => other.push(name),
        }
    }
    let (mut first, mut always) = (false, false);
    for part in cuts {
        match kind(part) {
            "Metaspace" => {
                let Step::Metaspace { replacement: MARK, prepend, .. } = metaspace(part)? else {
                    other.push("Metaspace");
                    continue;
                };
                marked = true;
                split |= flag(part, "split", true);
                first = prepend == Prepend::First;
                always = prepend == Prepend::Always;
            }
            "WhitespaceSplit" => (collapse, split) = (true, true),
            name => other.push(name),
        }
    }
    prefix |= first || always;
    v.add_space_prefix = Some(prefix);
    v.remove_extra_whitespaces = Some(collapse);
    let mut lose = |when: bool, what: &str| lost.extend(when.then(|| what.to_owned()));
    lose(first, "text behind a special token gets a space before it there");
    lose(always && !collapse, "text that begins with a space gets another one there");
    lose(!marked, "spaces become U+2581 there");
    for name in other {
        lost.push(format!("the component {}", excerpt(name.as_bytes())));
    }
    Ok(split)
}

/// Scores that put pieces in the order of the first merge that makes them. Pieces that no merge
/// makes become unused, which keeps them from being made.
fn scored(prepared: &mut Prepared, bpe: &Bpe, split: bool, lost: &mut Vec<String>) {
    let v = &prepared.vocabulary;
    // First and last rank.
    let mut ranks = vec![(NONE, 0); v.tokens.len()];
    for (rank, whole) in bpe.merges() {
        let entry = &mut ranks[whole as usize];
        *entry = (entry.0.min(rank), entry.1.max(rank));
    }
    let lowest = -(v.merges.len() as f32);
    let (mut scores, mut unused) = (Vec::with_capacity(ranks.len()), vec![false; ranks.len()]);
    let (mut made, mut ways) = (Vec::with_capacity(ranks.len()), 0);
    for (id, &(first, last)) in ranks.iter().enumerate() {
        let text = &v.tokens[id];
        let plain = is_plain(v, id as TokenId);
        let score = if first == NONE { lowest } else { -(first as f32) };
        scores.push(if plain { score } else { 0.0 });
        let single = crate::unicode::char_len(text) >= text.len();
        if single || v.kinds[id] != TokenKind::Normal {
            // Text holds no marks, so such a token is not found there before pieces are made.
            let marked = text.starts_with(MARK.encode_utf8(&mut [0; 4]).as_bytes());
            ways += usize::from(plain && !single && marked && first == NONE);
            continue;
        }
        if first == NONE || split && crosses(text) {
            unused[id] = true;
        } else {
            // Runs of one character share a score in SentencePiece; any order makes the same.
            if !is_run(text) {
                made.push((first, last));
            }
            ways += usize::from(made_otherwise(prepared, bpe, text));
        }
    }
    let count = unused.iter().filter(|unused| **unused).count();
    if count > 0 {
        let text = "pieces that no merge makes are unused there, not every program heeds that";
        lost.push(format!("{count} {text}"));
    }
    let v = &mut prepared.vocabulary;
    v.scores = scores;
    for (id, _) in unused.iter().enumerate().filter(|(_, unused)| **unused) {
        unuse(v, id);
    }
    // One score stands for all merges of a piece: none of another piece may lie between them.
    made.sort_unstable();
    let apart = made.windows(2).filter(|two| two[1].0 < two[0].1).count();
    if apart + ways > 0 {
        lost.push(format!(
            "the order of merges of {apart} pieces; {ways} can be made in ways that no merge lists"
        ));
    }
}

/// Whether two tokens that no merge lists make this piece.
fn made_otherwise(prepared: &Prepared, bpe: &Bpe, text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let v = &prepared.vocabulary;
    let id = |text: &str| prepared.id(text).filter(|&id| is_plain(v, id));
    text.len() <= PIECE_BYTES_MAX
        && text.char_indices().skip(1).any(|(at, _)| {
            let pair = id(&text[..at]).zip(id(&text[at..]));
            pair.is_some_and(|(left, right)| !bpe.merges_pair(left, right))
        })
}

/// One character over and over.
fn is_run(text: &[u8]) -> bool {
    let width = crate::unicode::char_len(text);
    text.chunks(width).all(|part| part == &text[..width])
}

/// Whether a mark stands behind the first character.
fn crosses(text: &[u8]) -> bool {
    String::from_utf8_lossy(text).chars().skip(1).any(|c| c == MARK)
}

fn unuse(v: &mut Vocabulary, id: usize) {
    if v.kinds[id] == TokenKind::Normal {
        v.kinds[id] = TokenKind::Unused;
    }
}

fn unknown(v: &Vocabulary, source: &Source<'_>, lost: &mut Vec<String>) {
    let all = v.kinds.iter().filter(|kind| **kind == TokenKind::Byte).count() == 256;
    if !all && v.unk.is_some() && source.model.settings.fuse_unk == Some(true) {
        lost.push("a run of unknown characters is one unknown token each there".to_owned());
    }
}

fn word_pieces(v: &mut Vocabulary, source: &Source<'_>, lost: &mut Vec<String>) {
    let [prefix, suffix] = source.around;
    let mut lose = |when: bool, what: &str| lost.extend(when.then(|| what.to_owned()));
    let part = source.normalizer;
    let lowercase = flag(part, "lowercase", true);
    let accents = flag(part, "strip_accents", lowercase);
    let usual = kind(part) == "BertNormalizer"
        && flag(part, "clean_text", true)
        && flag(part, "handle_chinese_chars", true)
        && kind(source.pre_tokenizer) == "BertPreTokenizer";
    lose(!usual, "normalizer and pre-tokenizer are BERT's there");
    lose(!lowercase || !accents, "text is lower-cased and loses its accents there");
    lose(source.model.chars_max() != 100, "max_input_chars_per_word is 100 there");
    v.lowercase = Some(lowercase);
    v.strip_accents = Some(accents);
    (v.cls, v.sep) = (prefix.first().copied().or(v.cls), suffix.last().copied().or(v.sep));
    (v.bos, v.eos) = (v.cls, None);
    (v.add_bos, v.add_eos) = (Some(!prefix.is_empty()), None);
    v.add_sep = Some(!suffix.is_empty());
}

fn added(v: &Vocabulary, source: &Source<'_>, lost: &mut Vec<String>) {
    let normalized = !source.normalizer.is_null();
    for (name, lost_flag) in [
        ("lstrip", (|token| token.lstrip) as fn(&AddedToken) -> bool),
        ("rstrip", |token| token.rstrip),
        ("single_word", |token| token.single_word),
        ("normalized", |token| token.normalized),
    ] {
        let mut with = source.added.iter().filter(|token| lost_flag(token));
        let Some(token) = with.next().filter(|_| name != "normalized" || normalized) else {
            continue;
        };
        let text = excerpt(&v.tokens[token.id as usize]);
        lost.push(format!("`{name}` of the added token {text:?} and {} more", with.count()));
    }
}

fn around(v: &Vocabulary, source: &Source<'_>, lost: &mut Vec<String>) {
    let [prefix, suffix] = source.around;
    let last = if v.model == "bert" { v.sep } else { v.eos };
    let as_written = |ids: &[TokenId], id: Option<TokenId>| match ids {
        [] => true,
        [one] => id == Some(*one),
        _ => false,
    };
    if !as_written(prefix, v.bos) || !as_written(suffix, last) {
        lost.push("the tokens around a text".to_owned());
    }
}
