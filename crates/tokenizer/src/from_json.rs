//! Hugging Face's `tokenizer.json`. Source: the `tokenizers` library's serialisation of its
//! components. Parsing keeps serde_json's depth limit, so that nested components cannot exhaust the
//! stack.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::added::{AddedSet, AddedToken};
use crate::budget::Budget;
use crate::family::Family;
use crate::from_config::{Added, AddedEntry, AddedList, Config};
use crate::from_gguf::Prepared;
use crate::json_model::ModelPart;
use crate::json_parts::{decoding, normalizers, post_processor, steps};
use crate::json_stream::Part;
use crate::model::{Bpe, BpeSettings, Model, Unigram, WordLevel, WordPiece};
use crate::normalize::Normalizer;
use crate::spaces::SpaceCut;
use crate::spelling::Spelling;
use crate::split::Step;
use crate::texts::TextBuilder;
use crate::to_gguf::{self, Source};
use crate::tokenizer::Pipeline;
use crate::{TokenId, Tokenizer, TokenizerError, Vocabulary};

pub(crate) const FILE: &str = "tokenizer.json";

/// The file's parts, in place.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Document<'a> {
    #[serde(borrow)]
    added_tokens: Option<&'a RawValue>,
    normalizer: Option<&'a RawValue>,
    pre_tokenizer: Option<&'a RawValue>,
    post_processor: Option<&'a RawValue>,
    decoder: Option<&'a RawValue>,
    model: Option<&'a RawValue>,
}

/// The tokenizer of the file, `tokenizer_config.json` beside it.
pub(crate) fn read(
    json: &[u8],
    tokenizer_config: Option<&[u8]>,
) -> Result<Tokenizer, TokenizerError> {
    let whole = Part::whole(FILE, json)?;
    let document: Document<'_> = whole.read()?;
    let mut budget = Budget::for_files(json.len() + tokenizer_config.unwrap_or_default().len())?;
    let mut config = Config::read(tokenizer_config, &mut budget)?;
    // They are in tokenizer.json too.
    config.added = Added::default();
    let mut tree = |key, raw: Option<&_>| {
        raw.map_or(Ok(Value::Null), |raw| whole.inner(key, raw).tree(&mut budget))
    };
    let normalizer = tree("normalizer", document.normalizer)?;
    let pre_tokenizer = tree("pre_tokenizer", document.pre_tokenizer)?;
    let decoder = tree("decoder", document.decoder)?;
    let post = tree("post_processor", document.post_processor)?;
    // Before the vocabulary: compiling takes more for a while than it keeps.
    let normalizing = normalizers(&normalizer, &mut budget)?;
    let cuts = steps(&pre_tokenizer, &mut budget)?;
    let model = ModelPart::read(&whole, document.model)?;
    let added = added_tokens(&whole, document.added_tokens, &mut budget)?;
    let decoding = decoding(&[&decoder, &pre_tokenizer, &normalizer]);
    let mut vocabulary = model.vocabulary(&added, &mut budget)?;
    vocabulary.pre = cuts.names(model.settings.ignore_merges == Some(true));
    let sides = post_processor(&post, vocabulary.tokens.len())?;
    around(&mut vocabulary, &sides);
    config.apply(&mut vocabulary);
    let mut prepared = Prepared::new(vocabulary, &mut budget)?;
    prepared.vocabulary.merges = model.merges(&prepared.ids, &mut budget)?;
    // Texts of added tokens are the vocabulary's by now.
    let mut added = added.tokens;
    for token in &mut added {
        token.text = token.id;
    }
    let spelling = decoding.spelling(model.kind);
    let built = build_model(&model, &prepared, spelling, &cuts.steps, &mut budget)?;
    let source = Source {
        model: &model,
        spelling,
        normalizer: &normalizer,
        pre_tokenizer: &pre_tokenizer,
        added: &added,
        around: &sides,
    };
    to_gguf::fill(&mut prepared, &built.0, &source, &mut budget)?;
    let sets = added_sets(&prepared.vocabulary, added, &normalizing, &mut budget)?;
    let (model, cut) = built;
    let [prefix, suffix] = sides;
    let pipeline = Pipeline {
        raw: sets.raw,
        normalized: sets.normalized,
        all: sets.all,
        normalizers: normalizing,
        steps: cuts.steps,
        model,
        cut,
        prefix,
        suffix,
        spelling,
        leading_space: decoding.leading_space || spelling == Spelling::WordPiece,
    };
    Ok(prepared.finish(pipeline))
}

/// The added tokens by when they are matched.
struct AddedSets {
    raw: Arc<AddedSet>,
    normalized: AddedSet,
    all: Arc<AddedSet>,
}

fn added_sets(
    vocabulary: &Vocabulary,
    added: Vec<AddedToken>,
    normalizers: &[Normalizer],
    budget: &mut Budget,
) -> Result<AddedSets, TokenizerError> {
    const WHAT: &str = "memory for added tokens";
    let texts = &vocabulary.tokens;
    // Without normalizers the text after normalization is the text.
    let after = |token: &&AddedToken| token.normalized && !normalizers.is_empty();
    let late_count = added.iter().filter(after).count();
    budget.charge(WHAT, added.len(), AddedSet::COST)?;
    if late_count == 0 {
        let all = Arc::new(AddedSet::new(texts, added));
        return Ok(AddedSets { raw: Arc::clone(&all), normalized: AddedSet::default(), all });
    }
    budget.charge(WHAT, added.len(), AddedSet::COST)?;
    budget.charge(WHAT, late_count, size_of::<u32>())?;
    let normalized = |token: &AddedToken| {
        let text = String::from_utf8_lossy(&texts[token.id as usize]);
        normalizers.iter().fold(text, |text, normalizer| normalizer.apply(text, false))
    };
    let bytes = added.iter().filter(after).map(|token| normalized(token).len()).sum();
    budget.charge(WHAT, bytes, 1)?;
    let mut late_texts = TextBuilder::with_capacity(late_count, bytes);
    let mut late = Vec::with_capacity(late_count);
    let mut early = Vec::with_capacity(added.len() - late_count);
    for token in &added {
        if after(&token) {
            late.push(AddedToken { text: late_texts.len() as u32, ..*token });
            late_texts.push(normalized(token).as_bytes());
        } else {
            early.push(*token);
        }
    }
    Ok(AddedSets {
        raw: Arc::new(AddedSet::new(texts, early)),
        normalized: AddedSet::new(&late_texts.finish(), late),
        all: Arc::new(AddedSet::new(texts, added)),
    })
}

fn added_tokens<'a>(
    whole: &Part<'a>,
    raw: Option<&'a RawValue>,
    budget: &mut Budget,
) -> Result<Added, TokenizerError> {
    let Some(raw) = raw else { return Ok(Added::default()) };
    let part = whole.inner("added_tokens", raw);
    let mut list = AddedList::new(&part, budget)?;
    part.each(&mut |_, entry: AddedEntry<'_>| list.push(entry))?;
    Ok(list.finish())
}

/// What the post-processor puts around a text, as the vocabulary's settings.
fn around(vocabulary: &mut Vocabulary, [prefix, suffix]: &[Vec<TokenId>; 2]) {
    vocabulary.bos = prefix.first().copied();
    vocabulary.add_bos = Some(!prefix.is_empty());
    vocabulary.add_eos = Some(!suffix.is_empty());
    vocabulary.eos = suffix.last().copied();
    let id = |name: &str| vocabulary.tokens.position(name.as_bytes());
    if vocabulary.eos.is_none() {
        let known = ["</s>", "<|end_of_text|>", "<|endoftext|>", "<eos>", "<|end|>"];
        vocabulary.eos = known.iter().find_map(|name| id(name)).map(|id| id as TokenId);
    }
    vocabulary.cls = id("[CLS]").map(|id| id as TokenId);
    vocabulary.sep = id("[SEP]").map(|id| id as TokenId);
}

fn build_model(
    model: &ModelPart<'_>,
    prepared: &Prepared,
    spelling: Spelling,
    steps: &[Step],
    budget: &mut Budget,
) -> Result<(Model, Option<SpaceCut>), TokenizerError> {
    let v = &prepared.vocabulary;
    let it = &model.settings;
    let is = |flag: Option<bool>| flag == Some(true);
    let unk = v.unk.or_else(|| prepared.id(model.unk_name()));
    Ok(match model.kind {
        "BPE" => {
            let byte_level = steps.iter().any(|step| matches!(step, Step::ByteLevel { .. }));
            let settings = BpeSettings {
                byte_level,
                byte_fallback: is(it.byte_fallback),
                ignore_merges: is(it.ignore_merges),
                unk,
                fuse_unk: is(it.fuse_unk),
                continuing_prefix: it.continuing_subword_prefix.clone().unwrap_or_default(),
                word_suffix: it.end_of_word_suffix.clone().unwrap_or_default(),
            };
            let whole = !byte_level
                && !model.has_affixes()
                && !settings.ignore_merges
                && spelling == Spelling::Marked;
            let cut = if whole { SpaceCut::new(v) } else { None };
            (Model::Bpe(Bpe::new(v, &prepared.ids, settings, budget)?), cut)
        }
        "Unigram" => {
            let unigram = Unigram::new(v, is(it.byte_fallback), budget)?;
            (Model::Unigram(unigram), SpaceCut::new(v))
        }
        "WordPiece" => (Model::WordPiece(WordPiece::new(v, model.chars_max(), budget)?), None),
        _ => (Model::WordLevel(WordLevel::new(v, budget)?), None),
    })
}

/// The name of a family, for `Vocabulary::pre`.
pub(crate) fn family_name(patterns: &[String], ignore_merges: bool) -> Option<String> {
    Family::of_patterns(patterns, ignore_merges).map(|family| family.names[0].to_owned())
}
