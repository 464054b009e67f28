//! Hugging Face's `tokenizer.json`. Source: the `tokenizers` library's serialisation of its
//! components. Parsing keeps serde_json's depth limit, so that nested components cannot exhaust the
//! stack.

use std::collections::HashSet;

use serde_json::Value;

use crate::added::{AddedSet, AddedToken};
use crate::error::excerpt;
use crate::family::Family;
use crate::from_config::{Config, added_token};
use crate::from_gguf::Prepared;
use crate::from_lists::{by_id, vocab_entries, word_piece};
use crate::hash::Folded;
use crate::json_parts::{Decoding, decoding, normalizers, post_processor, steps};
use crate::model::{Bpe, BpeSettings, Model, Unigram, WordLevel, WordPiece};
use crate::spaces::SpaceCut;
use crate::spelling::Spelling;
use crate::split::Step;
use crate::tokenizer::Pipeline;
use crate::{TokenId, TokenKind, Tokenizer, TokenizerError, Vocabulary};

pub(crate) const FILE: &str = "tokenizer.json";

/// An error in one of the JSON files.
pub(crate) fn invalid(file: &'static str, reason: &str) -> TokenizerError {
    TokenizerError::Json { file, reason: reason.to_owned() }
}

pub(crate) fn parse(file: &'static str, bytes: &[u8]) -> Result<Value, TokenizerError> {
    serde_json::from_slice(bytes)
        .map_err(|error| invalid(file, &excerpt(error.to_string().as_bytes())))
}

/// The tokenizer of the file, `tokenizer_config.json` beside it.
pub(crate) fn read(
    json: &[u8],
    tokenizer_config: Option<&[u8]>,
) -> Result<Tokenizer, TokenizerError> {
    let value = parse(FILE, json)?;
    let config = Config::read(tokenizer_config)?;
    let null = Value::Null;
    let part = |name: &str| value.get(name).unwrap_or(&null);
    let model = Kind::of(part("model"))?;
    let added = added_tokens(part("added_tokens"))?;
    let decoding = decoding(&[part("decoder"), part("pre_tokenizer"), part("normalizer")]);
    let mut vocabulary = vocabulary(&model, &added)?;
    let normalizers = normalizers(part("normalizer"))?;
    let cuts = steps(part("pre_tokenizer"))?;
    let ignore_merges = model.flag("ignore_merges");
    vocabulary.pre = cuts.names(ignore_merges);
    vocabulary.lowercase = cuts_lowercase(part("normalizer"));
    let [prefix, suffix] = post_processor(part("post_processor"), vocabulary.tokens.len())?;
    around(&mut vocabulary, &prefix, &suffix);
    config.apply(&mut vocabulary);
    let mut prepared = Prepared::new(vocabulary)?;
    if model.kind == "BPE"
        && prepared.vocabulary.model == "gpt2"
        && prepared.vocabulary.pre.is_none()
    {
        let named =
            "this pre-tokenizer has no name in GGUF; a conversion would cut words differently";
        prepared.warnings.push(named.to_owned());
    }
    let spelling = decoding.spelling(model.kind);
    let built = build_model(&model, &prepared, spelling, &cuts.steps)?;
    let pipeline =
        assemble(built, added, normalizers, cuts.steps, [prefix, suffix], &decoding, spelling);
    Ok(prepared.finish(pipeline))
}

fn assemble(
    (model, cut): (Model, Option<SpaceCut>),
    added: Vec<AddedToken>,
    normalizers: Vec<crate::normalize::Normalizer>,
    steps: Vec<Step>,
    [prefix, suffix]: [Vec<TokenId>; 2],
    decoding: &Decoding,
    spelling: Spelling,
) -> Pipeline {
    let all = AddedSet::new(added.clone());
    // Without normalizers the text after normalization is the text.
    let after = |token: &AddedToken| token.normalized && !normalizers.is_empty();
    let (late, early): (Vec<_>, Vec<_>) = added.into_iter().partition(after);
    let late = late.into_iter().map(|mut token| {
        let text = String::from_utf8_lossy(&token.content).into_owned();
        let text =
            normalizers.iter().fold(text.into(), |text, normalizer| normalizer.apply(text, false));
        token.content = text.into_owned().into_bytes();
        token
    });
    let late: Vec<AddedToken> = late.collect();
    Pipeline {
        raw: AddedSet::new(early),
        normalized: AddedSet::new(late),
        all,
        normalizers,
        steps,
        model,
        cut,
        prefix,
        suffix,
        spelling,
        leading_space: decoding.leading_space || spelling == Spelling::WordPiece,
    }
}

/// The `model` part, its type found out.
pub(crate) struct Kind<'a> {
    pub(crate) kind: &'static str,
    value: &'a Value,
}

impl<'a> Kind<'a> {
    /// By `type`, which old files leave out.
    fn of(value: &'a Value) -> Result<Self, TokenizerError> {
        let kind = match value.get("type").and_then(Value::as_str) {
            Some("BPE") => "BPE",
            Some("Unigram") => "Unigram",
            Some("WordPiece") => "WordPiece",
            Some("WordLevel") => "WordLevel",
            Some(other) => {
                return Err(TokenizerError::Unsupported {
                    what: "model",
                    name: excerpt(other.as_bytes()),
                    supported: "BPE, Unigram, WordPiece, WordLevel",
                });
            }
            None if value.get("merges").is_some() => "BPE",
            None if value.get("vocab").is_some_and(Value::is_array) => "Unigram",
            None if value.get("continuing_subword_prefix").is_some() => "WordPiece",
            None if value.get("vocab").is_some() => "WordLevel",
            None => return Err(invalid(FILE, "`model` is missing or has no `vocab`")),
        };
        Ok(Self { kind, value })
    }

    fn flag(&self, name: &str) -> bool {
        self.value.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    fn text(&self, name: &str) -> &'a str {
        self.value.get(name).and_then(Value::as_str).unwrap_or("")
    }
}

fn added_tokens(value: &Value) -> Result<Vec<AddedToken>, TokenizerError> {
    let Some(list) = value.as_array() else { return Ok(Vec::new()) };
    let mut tokens = Vec::with_capacity(list.len());
    for token in list {
        let id = token.get("id").and_then(Value::as_u64).and_then(|id| TokenId::try_from(id).ok());
        let id = id.ok_or_else(|| invalid(FILE, "an added token has no integer in `id`"))?;
        let token = added_token(FILE, id, token)?;
        if !token.content.is_empty() {
            tokens.push(token);
        }
    }
    Ok(tokens)
}

fn vocabulary(model: &Kind<'_>, added: &[AddedToken]) -> Result<Vocabulary, TokenizerError> {
    let mut scores = Vec::new();
    let null = Value::Null;
    let vocab = model.value.get("vocab").unwrap_or(&null);
    let mut entries = match model.kind {
        "Unigram" => unigram_entries(vocab, &mut scores)?,
        _ => vocab_entries(vocab, "model.vocab")?,
    };
    let unk_name = model.text("unk_token").as_bytes();
    let special: HashSet<&[u8], Folded> =
        added.iter().filter(|token| token.special).map(|token| &token.content[..]).collect();
    let is_added = |text: &[u8]| text == unk_name || special.contains(text);
    if model.kind == "WordPiece" {
        let prefix = model.text("continuing_subword_prefix");
        for (text, _) in entries.iter_mut().filter(|(text, _)| !is_added(text)) {
            *text = word_piece(text, if prefix.is_empty() { "##" } else { prefix });
        }
    }
    let unk = if model.kind == "Unigram" {
        model.value.get("unk_id").and_then(Value::as_u64)
    } else {
        let found = entries.iter().find(|(text, _)| !unk_name.is_empty() && text == unk_name);
        found.map(|(_, id)| *id)
    };
    for token in added {
        entries.push((token.content.clone(), u64::from(token.id)));
    }
    let (tokens, mut kinds) = by_id(entries, "model.vocab")?;
    if let Some(id) = unk.filter(|id| *id >= tokens.len() as u64) {
        return Err(TokenizerError::IdOutOfRange { key: "model.unk_id", id, len: tokens.len() });
    }
    for (kind, text) in kinds.iter_mut().zip(&tokens) {
        if model.flag("byte_fallback") && crate::model::byte_of(text).is_some() {
            *kind = TokenKind::Byte;
        }
    }
    for token in added {
        let kind = if token.special { TokenKind::Control } else { TokenKind::UserDefined };
        kinds[token.id as usize] = kind;
    }
    if let Some(unk) = unk {
        kinds[unk as usize] = TokenKind::Unknown;
    }
    let unk = unk.map(|id| id as TokenId);
    if !scores.is_empty() {
        scores.resize(tokens.len(), 0.0);
    }
    let merges = merges(model)?;
    Ok(Vocabulary { tokens, scores, kinds, merges, unk, ..Vocabulary::default() })
}

fn unigram_entries(
    vocab: &Value,
    scores: &mut Vec<f32>,
) -> Result<Vec<(Vec<u8>, u64)>, TokenizerError> {
    let list = vocab.as_array().ok_or_else(|| invalid(FILE, "model.vocab: expected an array"))?;
    let mut entries = Vec::with_capacity(list.len());
    for (index, entry) in list.iter().enumerate() {
        let text = entry.get(0).and_then(Value::as_str);
        let score = entry.get(1).and_then(Value::as_f64);
        let (Some(text), Some(score)) = (text, score) else {
            return Err(invalid(FILE, &format!("model.vocab {index}: expected [text, score]")));
        };
        scores.push(score as f32);
        entries.push((text.as_bytes().to_vec(), index as u64));
    }
    Ok(entries)
}

/// Old files write `"a b"`, new ones `["a", "b"]`.
fn merges(model: &Kind<'_>) -> Result<Vec<Vec<u8>>, TokenizerError> {
    let Some(list) = model.value.get("merges").and_then(Value::as_array) else {
        return Ok(Vec::new());
    };
    let mut merges = Vec::with_capacity(list.len());
    for (index, merge) in list.iter().enumerate() {
        let pair = (merge.get(0).and_then(Value::as_str), merge.get(1).and_then(Value::as_str));
        merges.push(match (merge.as_str(), pair) {
            (Some(text), _) => text.as_bytes().to_vec(),
            (None, (Some(left), Some(right))) if !left.contains(' ') => {
                format!("{left} {right}").into_bytes()
            }
            _ => {
                let text = excerpt(merge.to_string().as_bytes());
                return Err(TokenizerError::BadMerge { index, text });
            }
        });
    }
    Ok(merges)
}

/// What the post-processor puts around a text, as the vocabulary's settings.
fn around(vocabulary: &mut Vocabulary, prefix: &[TokenId], suffix: &[TokenId]) {
    vocabulary.bos = prefix.first().copied();
    vocabulary.add_bos = Some(!prefix.is_empty());
    vocabulary.add_eos = Some(!suffix.is_empty());
    vocabulary.eos = suffix.last().copied();
    let id = |name: &str| vocabulary.tokens.iter().position(|text| text == name.as_bytes());
    if vocabulary.eos.is_none() {
        let known = ["</s>", "<|end_of_text|>", "<|endoftext|>", "<eos>"];
        vocabulary.eos = known.iter().find_map(|name| id(name)).map(|id| id as TokenId);
    }
    vocabulary.cls = id("[CLS]").map(|id| id as TokenId);
    vocabulary.sep = id("[SEP]").map(|id| id as TokenId);
}

fn cuts_lowercase(normalizer: &Value) -> Option<bool> {
    (normalizer.get("type")?.as_str()? == "BertNormalizer")
        .then(|| normalizer.get("lowercase")?.as_bool())?
}

fn build_model(
    model: &Kind<'_>,
    prepared: &Prepared,
    spelling: Spelling,
    steps: &[Step],
) -> Result<(Model, Option<SpaceCut>), TokenizerError> {
    let v = &prepared.vocabulary;
    let unk = v.unk.or_else(|| {
        prepared.id(model.text("unk_token")).filter(|_| !model.text("unk_token").is_empty())
    });
    Ok(match model.kind {
        "BPE" => {
            let byte_level = steps.iter().any(|step| matches!(step, Step::ByteLevel { .. }));
            let settings = BpeSettings {
                byte_level,
                byte_fallback: model.flag("byte_fallback"),
                ignore_merges: model.flag("ignore_merges"),
                unk,
                fuse_unk: model.flag("fuse_unk"),
                continuing_prefix: model.text("continuing_subword_prefix").to_owned(),
                word_suffix: model.text("end_of_word_suffix").to_owned(),
            };
            let affixes =
                !settings.continuing_prefix.is_empty() || !settings.word_suffix.is_empty();
            let whole =
                !byte_level && !affixes && !settings.ignore_merges && spelling == Spelling::Marked;
            let cut = if whole { SpaceCut::new(v) } else { None };
            (Model::Bpe(Bpe::new(v, settings)?), cut)
        }
        "Unigram" => {
            (Model::Unigram(Unigram::new(v, model.flag("byte_fallback"))), SpaceCut::new(v))
        }
        "WordPiece" => {
            let most = model.value.get("max_input_chars_per_word").and_then(Value::as_u64);
            let most = usize::try_from(most.unwrap_or(100)).unwrap_or(usize::MAX);
            (Model::WordPiece(WordPiece::new(v, most)), None)
        }
        _ => (Model::WordLevel(WordLevel::new(v)), None),
    })
}

/// The name of a family, for `Vocabulary::pre`.
pub(crate) fn family_name(patterns: &[String], ignore_merges: bool) -> Option<String> {
    Family::of_patterns(patterns, ignore_merges).map(|family| family.names[0].to_owned())
}
