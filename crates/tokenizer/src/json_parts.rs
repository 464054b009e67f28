//! The components of a `tokenizer.json`: normalizers, pre-tokenizers, post-processors, and what the
//! decoder says about spelling. Source: the `tokenizers` library.

use serde_json::Value;

use crate::budget::Budget;
use crate::charsmap::Charsmap;
use crate::error::excerpt;
use crate::from_gguf::bert_steps;
use crate::from_json::{FILE, family_name};
use crate::from_tiktoken::base64;
use crate::json_stream::invalid;
use crate::normalize::Normalizer;
use crate::pattern::Pattern;
use crate::scan::Scanner;
use crate::spelling::Spelling;
use crate::split::{Behavior, Prepend, Step};
use crate::unicode::is_punctuation;
use crate::{TokenId, TokenizerError};

/// Bounds: what a file inserts for each character of a text, and how many components it chains.
const INSERT_BYTES_MAX: usize = 256;
const PARTS_MAX: usize = 64;
/// How many times as long normalizers may make a text by replacing parts of it.
const GROWTH_MAX: usize = 1024;

pub(crate) fn kind(value: &Value) -> &str {
    value.get("type").and_then(Value::as_str).unwrap_or("")
}

pub(crate) fn flag(value: &Value, name: &str, default: bool) -> bool {
    value.get(name).and_then(Value::as_bool).unwrap_or(default)
}

/// The parts of a `Sequence`, nested ones laid flat.
pub(crate) fn flat<'a>(
    value: &'a Value,
    list: &str,
    out: &mut Vec<&'a Value>,
) -> Result<(), TokenizerError> {
    if kind(value) == "Sequence" {
        let parts = value.get(list).and_then(Value::as_array);
        for part in parts.ok_or_else(|| invalid(FILE, "a Sequence has no list"))? {
            flat(part, list, out)?;
        }
    } else if !value.is_null() {
        out.push(value);
    }
    if out.len() > PARTS_MAX {
        let what = "number of components in a Sequence";
        return Err(TokenizerError::Limit { what, found: out.len(), limit: PARTS_MAX });
    }
    Ok(())
}

fn text_of<'a>(value: &'a Value, name: &str) -> Result<&'a str, TokenizerError> {
    let text = value.get(name).and_then(Value::as_str);
    text.ok_or_else(|| {
        invalid(FILE, &format!("{} has no text in `{name}`", excerpt(kind(value).as_bytes())))
    })
}

fn inserted(text: &str) -> Result<String, TokenizerError> {
    if text.len() > INSERT_BYTES_MAX {
        let what = "length of a text that a component inserts";
        return Err(TokenizerError::Limit { what, found: text.len(), limit: INSERT_BYTES_MAX });
    }
    Ok(text.to_owned())
}

/// `{"String": ..}` or `{"Regex": ..}`, with its source as a regular expression where it is one.
fn pattern(
    value: &Value,
    budget: &mut Budget,
) -> Result<(Pattern, Option<String>), TokenizerError> {
    let pattern = value.get("pattern");
    if let Some(text) = pattern.and_then(|p| p.get("String")).and_then(Value::as_str) {
        if text.is_empty() {
            return Err(invalid(FILE, "a pattern is empty"));
        }
        return Ok((Pattern::Literal(text.to_owned()), None));
    }
    let source = pattern.and_then(|p| p.get("Regex")).and_then(Value::as_str);
    let source = source.ok_or_else(|| invalid(FILE, "a pattern is neither String nor Regex"))?;
    Ok((Pattern::new(source, budget)?, Some(source.to_owned())))
}

/// The normalizers in order.
pub(crate) fn normalizers(
    value: &Value,
    budget: &mut Budget,
) -> Result<Vec<Normalizer>, TokenizerError> {
    let mut parts = Vec::new();
    flat(value, "normalizers", &mut parts)?;
    let normalizers: Vec<Normalizer> =
        parts.into_iter().map(|part| normalizer(part, budget)).collect::<Result<_, _>>()?;
    let growth = normalizers.iter().fold(1usize, |all, one| all.saturating_mul(one.growth()));
    if growth > GROWTH_MAX {
        let what = "growth of a text through all normalizers";
        return Err(TokenizerError::Limit { what, found: growth, limit: GROWTH_MAX });
    }
    Ok(normalizers)
}

fn normalizer(part: &Value, budget: &mut Budget) -> Result<Normalizer, TokenizerError> {
    Ok(match kind(part) {
        "BertNormalizer" => {
            let lowercase = flag(part, "lowercase", true);
            Normalizer::Bert {
                clean: flag(part, "clean_text", true),
                chinese: flag(part, "handle_chinese_chars", true),
                strip_accents: flag(part, "strip_accents", lowercase),
                lowercase,
            }
        }
        "NFC" => Normalizer::Nfc,
        "NFD" => Normalizer::Nfd,
        "NFKC" => Normalizer::Nfkc,
        "NFKD" => Normalizer::Nfkd,
        "Nmt" => Normalizer::Nmt,
        "Lowercase" => Normalizer::Lowercase,
        "StripAccents" => Normalizer::StripAccents,
        "ByteLevel" => Normalizer::ByteLevel,
        "Strip" => Normalizer::Strip {
            left: flag(part, "strip_left", true),
            right: flag(part, "strip_right", true),
        },
        "Prepend" => Normalizer::Prepend(inserted(text_of(part, "prepend")?)?),
        "Replace" => Normalizer::Replace {
            pattern: pattern(part, budget)?.0,
            content: inserted(text_of(part, "content")?)?,
        },
        "Precompiled" => match part.get("precompiled_charsmap").and_then(Value::as_str) {
            None | Some("") => Normalizer::Charsmap(Charsmap::default()),
            Some(text) => {
                let blob = base64(text.as_bytes());
                let blob =
                    blob.ok_or_else(|| invalid(FILE, "precompiled_charsmap is no base64"))?;
                Normalizer::Charsmap(Charsmap::new(&blob)?)
            }
        },
        other => {
            return Err(TokenizerError::Unsupported {
                what: "normalizer",
                name: excerpt(other.as_bytes()),
                supported: "BertNormalizer, NFC, NFD, NFKC, NFKD, Nmt, Lowercase, StripAccents, \
                            Strip, Prepend, Replace, Precompiled, ByteLevel",
            });
        }
    })
}

/// The pre-tokenizer's steps, and their patterns where all are patterns.
pub(crate) struct Cuts {
    pub(crate) steps: Vec<Step>,
    patterns: Option<Vec<String>>,
}

impl Cuts {
    /// The family that these steps make up.
    pub(crate) fn names(&self, ignore_merges: bool) -> Option<String> {
        family_name(self.patterns.as_deref()?, ignore_merges)
    }
}

/// The steps in order.
pub(crate) fn steps(value: &Value, budget: &mut Budget) -> Result<Cuts, TokenizerError> {
    let mut parts = Vec::new();
    flat(value, "pretokenizers", &mut parts)?;
    let mut cuts = Cuts { steps: Vec::new(), patterns: Some(Vec::new()) };
    for part in parts {
        let source = step(part, &mut cuts.steps, budget)?;
        cuts.patterns = cuts.patterns.zip(source).map(|(mut patterns, source)| {
            patterns.extend((!source.is_empty()).then_some(source));
            patterns
        });
    }
    Ok(cuts)
}

/// Appends the steps of one part. Gives its pattern, if it is no more than that; empty for none at
/// all.
fn step(
    part: &Value,
    steps: &mut Vec<Step>,
    budget: &mut Budget,
) -> Result<Option<String>, TokenizerError> {
    let mut split = |pattern: Pattern, behavior: Behavior, invert: bool| {
        steps.push(Step::Split { pattern, behavior, invert });
    };
    match kind(part) {
        "ByteLevel" => {
            let words = flag(part, "use_regex", true);
            let add_prefix_space = flag(part, "add_prefix_space", true);
            steps.push(Step::ByteLevel { add_prefix_space, words });
            let source = if words { Scanner::Gpt2.pattern() } else { String::new() };
            return Ok((!add_prefix_space).then_some(source));
        }
        "Split" => {
            let (pattern, source) = pattern(part, budget)?;
            let (behavior, invert) =
                (behavior(part, Behavior::Isolated)?, flag(part, "invert", false));
            split(pattern, behavior, invert);
            return Ok(source.filter(|_| behavior != Behavior::Contiguous));
        }
        "Metaspace" => steps.push(metaspace(part)?),
        "BertPreTokenizer" => steps.extend(bert_steps()),
        "Digits" => {
            let individual = flag(part, "individual_digits", false);
            let behavior = if individual { Behavior::Isolated } else { Behavior::Contiguous };
            split(Pattern::Char(char::is_numeric), behavior, false);
            return Ok(individual.then(|| r"\p{N}".to_owned()));
        }
        "Punctuation" => {
            split(Pattern::Char(is_punctuation), behavior(part, Behavior::Isolated)?, false);
        }
        "Whitespace" => {
            split(Pattern::new(r"\w+|[^\w\s]+", budget)?, Behavior::Removed, true);
        }
        "WhitespaceSplit" => split(Pattern::Char(char::is_whitespace), Behavior::Removed, false),
        "CharDelimiterSplit" => {
            let delimiter = text_of(part, "delimiter")?;
            if delimiter.is_empty() {
                return Err(invalid(FILE, "CharDelimiterSplit has an empty `delimiter`"));
            }
            split(Pattern::Literal(delimiter.to_owned()), Behavior::Removed, false);
        }
        "FixedLength" => {
            let length = part.get("length").and_then(Value::as_u64).unwrap_or(5).max(1);
            steps.push(Step::FixedLength { length: usize::try_from(length).unwrap_or(usize::MAX) });
        }
        other => {
            return Err(TokenizerError::Unsupported {
                what: "pre-tokenizer",
                name: excerpt(other.as_bytes()),
                supported: "ByteLevel, Split, Metaspace, BertPreTokenizer, Digits, Punctuation, \
                            Whitespace, WhitespaceSplit, CharDelimiterSplit, FixedLength, Sequence",
            });
        }
    }
    Ok(None)
}

fn behavior(part: &Value, default: Behavior) -> Result<Behavior, TokenizerError> {
    Ok(match part.get("behavior").and_then(Value::as_str) {
        None => default,
        Some("Removed") => Behavior::Removed,
        Some("Isolated") => Behavior::Isolated,
        Some("MergedWithPrevious") => Behavior::MergedWithPrevious,
        Some("MergedWithNext") => Behavior::MergedWithNext,
        Some("Contiguous") => Behavior::Contiguous,
        Some(other) => {
            return Err(TokenizerError::Unsupported {
                what: "split behavior",
                name: excerpt(other.as_bytes()),
                supported: "Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous",
            });
        }
    })
}

pub(crate) fn metaspace(part: &Value) -> Result<Step, TokenizerError> {
    let replacement = part.get("replacement").and_then(Value::as_str).unwrap_or("\u{2581}");
    let replacement = replacement.chars().next();
    let replacement =
        replacement.ok_or_else(|| invalid(FILE, "Metaspace has an empty `replacement`"))?;
    let prepend = match part.get("prepend_scheme").and_then(Value::as_str) {
        Some("first") => Prepend::First,
        Some("never") => Prepend::Never,
        _ if !flag(part, "add_prefix_space", true) => Prepend::Never,
        _ => Prepend::Always,
    };
    Ok(Step::Metaspace { replacement, prepend, split: flag(part, "split", true) })
}

/// The ids that go before and behind a text.
pub(crate) fn post_processor(
    value: &Value,
    len: usize,
) -> Result<[Vec<TokenId>; 2], TokenizerError> {
    let mut parts = Vec::new();
    flat(value, "processors", &mut parts)?;
    let mut around = [Vec::new(), Vec::new()];
    for part in parts {
        match kind(part) {
            "TemplateProcessing" => template(part, len, &mut around)?,
            "BertProcessing" | "RobertaProcessing" => {
                for (side, name) in around.iter_mut().zip(["cls", "sep"]) {
                    let id = part.get(name).and_then(|pair| pair.get(1));
                    side.push(id_of(id, len)?);
                }
            }
            _ => {}
        }
    }
    Ok(around)
}

fn id_of(id: Option<&Value>, len: usize) -> Result<TokenId, TokenizerError> {
    let id = id.and_then(Value::as_u64);
    let id = id.ok_or_else(|| invalid(FILE, "post_processor: a special token has no id"))?;
    if id >= len as u64 {
        return Err(TokenizerError::IdOutOfRange { key: "post_processor", id, len });
    }
    Ok(id as TokenId)
}

fn template(
    part: &Value,
    len: usize,
    around: &mut [Vec<TokenId>; 2],
) -> Result<(), TokenizerError> {
    let pieces = part.get("single").and_then(Value::as_array);
    let mut side = 0;
    for piece in pieces.ok_or_else(|| invalid(FILE, "TemplateProcessing has no `single`"))? {
        if piece.get("Sequence").is_some() {
            side = 1;
        }
        let Some(name) =
            piece.get("SpecialToken").and_then(|t| t.get("id")).and_then(Value::as_str)
        else {
            continue;
        };
        let ids =
            part.get("special_tokens").and_then(|all| all.get(name)).and_then(|t| t.get("ids"));
        let ids = ids.and_then(Value::as_array);
        let ids =
            ids.ok_or_else(|| invalid(FILE, "TemplateProcessing names a token without ids"))?;
        if around[side].len() + ids.len() > PARTS_MAX {
            let what = "number of tokens around a text";
            return Err(TokenizerError::Limit { what, found: ids.len(), limit: PARTS_MAX });
        }
        for id in ids {
            around[side].push(id_of(Some(id), len)?);
        }
    }
    Ok(())
}

/// What the components say about the way from tokens to text.
#[derive(Default)]
pub(crate) struct Decoding {
    byte_level: bool,
    marked: bool,
    pub(crate) leading_space: bool,
}

/// Looks through `decoder`, `pre_tokenizer` and `normalizer`, in this order.
pub(crate) fn decoding(parts: &[&Value]) -> Decoding {
    let mut decoding = Decoding::default();
    for (index, value) in parts.iter().enumerate() {
        let mut flattened = Vec::new();
        for list in ["decoders", "pretokenizers", "normalizers"] {
            if flat(value, list, &mut flattened).is_ok() {
                break;
            }
            flattened.clear();
        }
        for part in flattened {
            match kind(part) {
                "ByteLevel" => decoding.byte_level = true,
                "ByteFallback" => decoding.marked = true,
                "Metaspace" => {
                    decoding.marked = true;
                    let never = part.get("prepend_scheme").and_then(Value::as_str) == Some("never");
                    decoding.leading_space |=
                        index == 0 && !never && flag(part, "add_prefix_space", true);
                }
                "Replace" if index == 0 => decoding.marked = true,
                "Strip" if index == 0 => {
                    let start = part.get("start").and_then(Value::as_u64).unwrap_or(0);
                    decoding.leading_space |= start > 0;
                }
                _ => {}
            }
        }
    }
    decoding
}

impl Decoding {
    /// How the vocabulary of a `model` of this kind is spelled.
    pub(crate) fn spelling(&self, model: &str) -> Spelling {
        match model {
            "WordPiece" => Spelling::WordPiece,
            _ if self.byte_level => Spelling::ByteLevel,
            _ if self.marked => Spelling::Marked,
            _ => Spelling::Plain,
        }
    }
}
